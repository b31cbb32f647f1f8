"""Frames of a video by display index, decoding no more of it than they need.

All packets are read (cheap) and counted, the caller picks, and each picked frame is decoded from the keyframe before it.
This is done only where packet timestamps are known to name frames. Any other file is decoded whole and its frames are
counted as they come; both ways give the pixels of a plain sequential decode. Damage shows only where it is met: a lost
frame that nobody picked keeps its place in the count. The compressed video is held in memory.
"""

import os
from bisect import bisect_right
from contextlib import contextmanager
from dataclasses import dataclass

import av
import numpy as np
from av.video.reformatter import VideoReformatter

from storage import addresses
from storage.files import not_a_file
from utils.errors import ObjectError, VideoError

# What a file may hold. Left out: playlists, which name other files and may be waited on for ever, still pictures, text.
FORMATS = "mov,matroska,avi,mpegts,mpeg,mpegvideo,m4v,h264,hevc,ivf,flv,asf,ogg,rm,mxf,dv,nut,wtv,gif"
# Left out: AVI and MPEG-TS guess timestamps, VP8 has packets that show nothing, MPEG-4 part 2 packs two frames in one.
TIMED_CONTAINERS = {"mov", "mp4", "matroska", "webm"}
TIMED_CODECS = {"h264", "hevc", "vp9", "av1"}
PROGRESSIVE = {0, 1}  # AVFieldOrder: unknown, progressive; else a packet may be one field
NO_FRAME = "no frame of it can be decoded; re-encode it or take it off the list"


@dataclass(frozen=True)
class VideoInfo:
    """What `probe` finds out; codec and container by FFmpeg's names."""

    frames: int  # that decode
    width: int  # pixels, upright
    height: int
    fps: float  # mean, by the header; 0 if unknown
    duration: float  # seconds, by the header
    codec: str
    container: str


def read_frames(path, pick, convert=None):
    """Frames of a video, RGB uint8 [n, H, W, 3], or the stacked results of `convert`.

    `pick(frame_count)` returns n display-order indices in [0, frame_count), repeats allowed. It must be deterministic: it
    is asked again where a file turns out to hold another number of frames than it has packets.
    `convert(frame)` is given each distinct picked frame, uint8 [H, W, 3] and upright, in display order; it must not write
    into it. Crop and resize there: full-size frames are then never held. Where the size changes within the video, each
    frame comes in its own; interlaced ones come as decoded.
    Raises VideoError where no frame can be read or the results differ in shape.
    """
    arrays, to_array = None, _converter(convert)
    with _opened(path) as stream:
        packets, timed = _demux(stream)
        count = _shown(packets)
        indices = _picked(path, pick, count)
        if timed:
            arrays = _decode_sparse(stream, packets, set(indices), to_array)
    if arrays is None:
        arrays, decoded = _decode_whole(path, set(indices), to_array)
        if decoded != count:
            indices = _picked(path, pick, decoded)
            arrays, _ = _decode_whole(path, set(indices), to_array)
    shapes = {np.shape(array) for array in arrays.values()}
    if len(shapes) > 1:
        raise VideoError(path, f"frames differ in shape, {sorted(shapes)}; scale them to one size")
    return np.stack([arrays[index] for index in indices])


def probe(path):
    """VideoInfo of a file, from its packets and first frame; decodes all of it only where packets do not tell the count.

    Raises VideoError.
    """
    with _opened(path) as stream:
        packets, timed = _demux(stream)
        frames = _every_frame(stream.codec_context, packets)
        first = next(frames, None)
        if first is None:
            raise VideoError(path, NO_FRAME)
        count = _shown(packets) if timed else 1 + sum(1 for _ in frames)
        width, height = first.width, first.height
        if _quarter_turns(first) % 2:
            width, height = height, width
        fps = float(stream.average_rate or stream.guessed_rate or 0)
        seconds = _header_seconds(stream) or (count / fps if fps else 0.0)
        return VideoInfo(count, width, height, fps, seconds, stream.codec.canonical_name, stream.container.format.name)


@contextmanager
def _opened(path):
    """The video stream of a file or address; whatever FFmpeg cannot do with it, then or later, becomes a VideoError."""
    try:
        with addresses.reading(path) as file, _container(path, file) as container:
            stream = container.streams.best("video")
            if stream is None or stream.disposition & av.stream.Disposition.attached_pic:
                raise VideoError(path, "no video stream in it; expected a video")
            if stream.codec_context is None:
                raise VideoError(path, "no decoder for its codec; re-encode it, for example as H.264")
            stream.codec_context.thread_count = 1  # two threads cost 7 to 29 % more CPU: workers are the parallelism
            yield stream
    except ObjectError as error:
        raise VideoError(path, error.reason) from error
    except av.FFmpegError as error:
        raise VideoError(
            path, f"not a readable video ({error.strerror}); fetch it again or take it off the list"
        ) from error


def _container(path, file):
    """PyAV's of a local file, which messages call `path`."""
    if not os.path.isfile(file):  # opening a pipe would wait for ever
        raise VideoError(path, not_a_file(file))
    if not os.path.getsize(file):
        raise VideoError(path, "empty, 0 bytes; fetch it again or take it off the list")
    return av.open(
        f"file:{os.fsdecode(file)}", container_options={"format_whitelist": FORMATS}, metadata_errors="ignore"
    )  # without `file:` a name with a colon may be a protocol


def _demux(stream):
    """All packets of a stream in decode order, and whether their timestamps name the frames they become."""
    packets = []
    try:
        for packet in stream.container.demux(stream):
            if packet.size:  # an empty one would end the decoding
                packets.append(packet)
    except (av.FFmpegError, IndexError):  # cut off, or (PyAV's IndexError) garbage taken for another stream
        return packets, False
    return packets, bool(packets) and _timed(stream, packets)


def _timed(stream, packets):
    """Whether timestamps put the frames in order and decoding can start at every keyframe."""
    decoder = stream.codec_context
    times = [packet.pts for packet in packets]
    keys = [packet.pts for packet in packets if packet.is_keyframe]
    return (
        bool(TIMED_CONTAINERS & set(stream.container.format.name.split(",")))
        and stream.codec.canonical_name in TIMED_CODECS
        and decoder.field_order in PROGRESSIVE
        and not any(packet.is_corrupt for packet in packets)
        # Headers that change within the video would be missed on the way to a later keyframe.
        and not any(data.data_type == "new_extradata" for packet in packets for data in packet.iter_sidedata())
        and None not in times
        and len(set(times)) == len(times)
        # Where the decoder reorders and the timestamps do not, or the reverse, the muxer had them wrong.
        and decoder.has_b_frames == (times != sorted(times))
        and packets[0].is_keyframe
        and times[0] == min(times)
        and keys == sorted(keys)
    )


def _shown(packets):
    """How many packets become frames; an edit list keeps others, to be decoded only, before its start."""
    return sum(not packet.is_discard for packet in packets)


def _picked(path, pick, count):
    """The indices a caller picks among `count` frames."""
    if not count:
        raise VideoError(path, NO_FRAME)
    indices = [int(index) for index in pick(count)]
    if not 0 <= min(indices) <= max(indices) < count:
        raise IndexError(f"picked frames {min(indices)}..{max(indices)} of a video of {count} frames")
    return indices


def _converter(convert):
    """A function from decoded frame to what is kept of it. One converter serves a video: setting it up costs a frame's time."""
    reformatter = VideoReformatter()

    def to_array(frame):
        rgb = reformatter.reformat(frame, format="rgb24", threads=1).to_ndarray()
        turns = _quarter_turns(frame)
        if turns:
            rgb = np.ascontiguousarray(np.rot90(rgb, turns))
        return rgb if convert is None else convert(rgb)

    return to_array


def _quarter_turns(frame):
    """Counterclockwise quarter turns that set a frame upright, 0 to 3."""
    return round(frame.rotation / 90) % 4


def _decode_sparse(stream, packets, wanted, to_array):
    """{display index: array} of the `wanted` indices, decoded from keyframes; None where the decoder contradicts the packets."""
    decoder = stream.codec_context
    order = sorted((n for n, packet in enumerate(packets) if not packet.is_discard), key=lambda n: packets[n].pts)
    index_of = {packets[order[index]].pts: index for index in wanted}
    # Frames that no other refers to need not be decoded. H.264 alone is known to tell: on AV1 this spoils wanted frames.
    unwanted = "NONREF" if stream.codec.canonical_name == "h264" else "DEFAULT"
    arrays = {}
    try:
        for first, last in _runs(packets, [order[index] for index in sorted(wanted)]):
            decoder.flush_buffers()
            for packet in (*packets[first : last + 1], None):
                decoder.skip_frame = "DEFAULT" if packet is None or packet.pts in index_of else unwanted
                for frame in decoder.decode(packet):
                    if frame.is_corrupt:  # patched up from pictures that a whole decode has others of
                        return None
                    if frame.pts in index_of:
                        arrays[index_of[frame.pts]] = to_array(frame)
    except av.FFmpegError:
        return None
    return arrays if len(arrays) == len(wanted) else None


def _runs(packets, wanted):
    """[first, last] packet numbers to decode for the `wanted` ones (in display order): from a keyframe, ascending, disjoint."""
    keys = [n for n, packet in enumerate(packets) if packet.is_keyframe]
    key_times = [packets[n].pts for n in keys]
    runs = []
    for number in wanted:
        first = keys[bisect_right(key_times, packets[number].pts) - 1]
        if runs and first <= runs[-1][1] + 1:  # the decoder is there already: go on
            runs[-1][1] = max(runs[-1][1], number)
        else:
            runs.append([first, number])
    return runs


def _decode_whole(path, wanted, to_array):
    """{display index: array} of the `wanted` indices that turn up in a plain sequential decode, and its number of frames.

    Opens the file anew: a decoder that has been further down the video may keep headers and pictures from there.
    """
    arrays, count = {}, 0
    with _opened(path) as stream:
        packets, _ = _demux(stream)
        for frame in _every_frame(stream.codec_context, packets):
            if count in wanted:
                arrays[count] = to_array(frame)
            count += 1
    return arrays, count


def _every_frame(decoder, packets):
    """Frames in the decoder's order, which is display order; packets that do not decode are passed over."""
    for packet in (*packets, None):
        try:
            yield from decoder.decode(packet)
        except av.FFmpegError:
            continue


def _header_seconds(stream):
    """Duration by the header of the stream, else of the file, else None."""
    if stream.duration:
        return float(stream.duration * stream.time_base)
    return stream.container.duration and stream.container.duration / av.time_base

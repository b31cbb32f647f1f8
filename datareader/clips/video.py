"""Frames of a video by display index, decoding no more of it than they need.

All packets are read (cheap) and counted, the caller picks frames, and each picked frame is decoded from the keyframe
before it. This is done only where packet timestamps are known to name frames. Any other file is decoded whole and its
frames are counted as they come. Both ways give the pixels of a plain sequential decode. Damage is noticed only where it
is decoded: a lost frame that nobody picked keeps its place in the count. The compressed video is held in memory.
"""

import os
from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import av
import numpy as np
from av.video.reformatter import VideoReformatter

from datareader.clips.container import NO_FRAME, OpenedClip, header_seconds, open_clip
from datareader.clips.limits import DEFAULTS, Limits
from datareader.stopping import check_stopped
from utils.errors import VideoError

__all__ = [
    "VideoInfo",
    "converter",
    "header",
    "names_frames",
    "probe",
    "quarter_turns",
    "read_frames",
    "unwanted_skip",
]

# Left out: AVI and MPEG-TS guess timestamps, VP8 has packets that show nothing, MPEG-4 part 2 packs two frames in one.
TIMED_CONTAINERS = {"mov", "mp4", "matroska", "webm"}
TIMED_CODECS = {"h264", "hevc", "vp9", "av1"}
Converter = Callable[[av.VideoFrame], np.ndarray]
PROGRESSIVE = {0, 1}  # AVFieldOrder: unknown, progressive; else a packet may be one field


@dataclass(frozen=True)
class VideoInfo:
    """The result of `probe`; codec and container have FFmpeg's names."""

    frames: int  # that decode
    width: int  # pixels, upright
    height: int
    fps: float  # mean, by the header; 0 if unknown
    duration: float  # seconds, by the header
    codec: str
    container: str


def read_frames(
    path: str | os.PathLike,
    pick: Callable[[int], Iterable[int]],
    convert: Callable[[np.ndarray], np.ndarray] | None = None,
    limits: Limits = DEFAULTS,
) -> np.ndarray:
    """Frames of a video, RGB uint8 [n, H, W, 3], or the stacked results of `convert`.

    `pick(frame_count)` returns n display-order indices in [0, frame_count); repeats are allowed. It must be
    deterministic: it is called again if a file turns out to hold another number of frames than it has packets.
    `convert(frame)` gets each distinct picked frame, uint8 [H, W, 3] and upright, in display order; it must not write
    into it. Crop and resize there, so that full-size frames are never held. If the size changes within the video, each
    frame has its own size. Interlaced frames come as decoded.
    Raises VideoError if no frame can be read, the results differ in shape, or the video exceeds `limits`.
    """
    arrays, to_array = None, converter(convert)
    with open_clip(path, limits) as clip:
        packets, timed = _demux(clip)
        count = _shown(packets)
        indices = _picked(path, pick, count)
        if timed:
            arrays = _decode_sparse(clip.stream, packets, set(indices), to_array)
    if arrays is None:
        arrays, decoded = _decode_whole(path, set(indices), to_array, limits)
        if decoded != count:
            indices = _picked(path, pick, decoded)
            arrays, _ = _decode_whole(path, set(indices), to_array, limits)
    shapes = {np.shape(array) for array in arrays.values()}
    if len(shapes) > 1:
        raise VideoError(path, f"frames differ in shape, {sorted(shapes)}; scale them to one size")
    return np.stack([arrays[index] for index in indices])


def probe(path: str | os.PathLike, limits: Limits = DEFAULTS) -> VideoInfo:
    """VideoInfo of a file, from its packets and first frame. Decodes all of it only if packets do not tell the count.

    Raises VideoError.
    """
    with open_clip(path, limits) as clip:
        stream = clip.stream
        packets, timed = _demux(clip)
        frames = clip.frames(packets)
        first = next(frames, None)
        if first is None:
            raise VideoError(path, NO_FRAME)
        count = _shown(packets) if timed else 1 + sum(1 for _ in frames)
        width, height = first.width, first.height
        if quarter_turns(first) % 2:
            width, height = height, width
        fps = float(stream.average_rate or stream.guessed_rate or 0)
        seconds = header_seconds(stream) or (count / fps if fps else 0.0)
        return VideoInfo(count, width, height, fps, seconds, stream.codec.canonical_name, stream.container.format.name)


def header(path: str | os.PathLike, limits: Limits = DEFAULTS) -> tuple[float, float]:
    """(seconds, frames a second) of a video by its header, 0 where that does not tell. Raises VideoError."""
    with open_clip(path, limits) as clip:
        stream = clip.stream
        return header_seconds(stream) or 0.0, float(stream.average_rate or stream.guessed_rate or 0)


def _demux(clip: OpenedClip) -> tuple[list[av.Packet], bool]:
    """All packets in decode order, and whether their timestamps name the frames they become."""
    packets, whole = clip.packets()
    return packets, whole and bool(packets) and names_frames(clip.stream, packets)


def names_frames(stream: av.VideoStream, packets: list[av.Packet]) -> bool:
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


def _shown(packets: list[av.Packet]) -> int:
    """How many packets become frames. An edit list keeps others before its start, which are only decoded."""
    return sum(not packet.is_discard for packet in packets)


def _picked(path: str | os.PathLike, pick: Callable[[int], Iterable[int]], count: int) -> list[int]:
    """The indices a caller picks among `count` frames."""
    if not count:
        raise VideoError(path, NO_FRAME)
    indices = [int(index) for index in pick(count)]
    if not 0 <= min(indices) <= max(indices) < count:
        raise IndexError(f"picked frames {min(indices)}..{max(indices)} of a video of {count} frames")
    return indices


def converter(convert: Callable[[np.ndarray], np.ndarray] | None) -> Converter:
    """A function from a decoded frame to what is kept of it.

    Making one costs as much as a frame, so one serves a video.
    """
    reformatter = VideoReformatter()

    def to_array(frame: av.VideoFrame) -> np.ndarray:
        rgb = reformatter.reformat(frame, format="rgb24", threads=1).to_ndarray()
        turns = quarter_turns(frame)
        if turns:
            rgb = np.ascontiguousarray(np.rot90(rgb, turns))
        return rgb if convert is None else convert(rgb)

    return to_array


def quarter_turns(frame: av.VideoFrame) -> int:
    """Counterclockwise quarter turns that set a frame upright, 0 to 3."""
    return round(frame.rotation / 90) % 4


def unwanted_skip(stream: av.VideoStream) -> str:
    """`skip_frame` of the decoder for packets whose frames nobody wants.

    Frames that no other frame refers to need not be decoded. Only H.264 says so reliably.
    """
    return "NONREF" if stream.codec.canonical_name == "h264" else "DEFAULT"


def _decode_sparse(
    stream: av.VideoStream, packets: list[av.Packet], wanted: set[int], to_array: Converter
) -> dict[int, np.ndarray] | None:
    """{display index: array} of the `wanted` indices, decoded from keyframes.

    None if the decoder contradicts the packets.
    """
    decoder = stream.codec_context
    order = sorted((n for n, packet in enumerate(packets) if not packet.is_discard), key=lambda n: packets[n].pts)
    index_of = {packets[order[index]].pts: index for index in wanted}
    unwanted = unwanted_skip(stream)
    arrays = {}
    try:
        for first, last in _runs(packets, [order[index] for index in sorted(wanted)]):
            decoder.flush_buffers()
            for packet in (*packets[first : last + 1], None):
                check_stopped()
                decoder.skip_frame = "DEFAULT" if packet is None or packet.pts in index_of else unwanted
                for frame in decoder.decode(packet):
                    if frame.is_corrupt:  # patched up from pictures that a whole decode has others of
                        return None
                    if frame.pts in index_of:
                        arrays[index_of[frame.pts]] = to_array(frame)
    except av.FFmpegError:
        return None
    return arrays if len(arrays) == len(wanted) else None


def _runs(packets: list[av.Packet], wanted: Sequence[int]) -> list[list[int]]:
    """[first, last] packet numbers to decode for the `wanted` ones (in display order).

    Each run starts at a keyframe. Runs ascend and do not overlap.
    """
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


def _decode_whole(
    path: str | os.PathLike, wanted: set[int], to_array: Converter, limits: Limits
) -> tuple[dict[int, np.ndarray], int]:
    """{display index: array} of the `wanted` indices found in a plain sequential decode, and its number of frames.

    Opens the file again: a decoder that has been further down the video may keep headers and pictures from there.
    """
    arrays, count = {}, 0
    with open_clip(path, limits) as clip:
        packets, _ = clip.packets()
        for frame in clip.frames(packets):
            if count in wanted:
                arrays[count] = to_array(frame)
            count += 1
    return arrays, count

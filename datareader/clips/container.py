"""Opening a video file within limits, and reading its packets.

FFmpeg is given only formats that hold videos, only files whose headers claim no more than the limits allow, and it
refuses larger frames. Errors become a VideoError that says whether the file or the machine is at fault.
"""

import errno
import itertools
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import av

from datareader.clips.limits import Limits, claimed_entries
from datareader.stopping import check_stopped
from storage import addresses
from storage.files import not_a_file
from utils.errors import ObjectError, VideoError

__all__ = ["FORMATS", "NO_FRAME", "CutOffError", "OpenedClip", "open_clip"]

# What a file may hold. Left out: playlists, which name other files and may be waited on for ever, still pictures, text.
FORMATS = "mov,matroska,avi,mpegts,mpeg,mpegvideo,m4v,h264,hevc,ivf,flv,asf,ogg,rm,mxf,dv,nut,wtv,gif"
NO_FRAME = "no frame of it can be decoded; re-encode it or take it off the list"
CLAIMS_PER_PACKET = 4  # a header mentions each packet up to three times, and sound has packets of its own
UNPACKED_BYTES = 64 << 20  # that packets may hold beyond the size of their file: some containers compress them
SMALLER = "scale the video down, or raise the limit"
MACHINE = {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EACCES, errno.ENOENT}  # never caused by a file's content


class CutOffError(Exception):
    """A file breaks off, or what follows is garbage: the packets before are all there is of it."""


@dataclass(frozen=True)
class OpenedClip:
    """A clip that is open for decoding: its path for messages, the local file, its video stream and its limits."""

    path: str | os.PathLike
    file: Path
    stream: av.VideoStream
    limits: Limits

    def packets(self) -> tuple[list[av.Packet], bool]:
        """All packets in decode order, and whether they were read to the end of the file.

        Raises VideoError for more packets than the limit, packets that overlap, and a file that cannot be read.
        """
        found = []
        try:
            for packet in self.demuxed():
                found.append(packet)
        except CutOffError:
            return found, False
        return found, True

    def demuxed(self) -> Iterator[av.Packet]:
        """`packets` one by one, none of which is kept here. Raises CutOffError where the file breaks off."""
        count, held = 0, 0
        allowed = self.stream.container.size + UNPACKED_BYTES
        try:
            for packet in self.stream.container.demux(self.stream):
                check_stopped()
                if not packet.size:  # an empty packet would end the decoding
                    continue
                yield packet
                count, held = count + 1, held + packet.size
                if count > self.limits.packets or held > allowed:
                    raise VideoError(
                        self.path,
                        f"it holds more than MODEL.max_packets '{self.limits.packets}' packets, or the same bytes many "
                        "times; cut it into parts, or raise the limit if the video is that long",
                    )
        except (
            av.FFmpegError,
            IndexError,
        ) as error:  # cut off, or (PyAV's IndexError) garbage taken for another stream
            problem = _reading_problem(self.file, error)
            if problem:
                raise VideoError(self.path, problem) from error
            raise CutOffError from error

    def frames(self, packets: Iterable[av.Packet]) -> Iterator[av.VideoFrame]:
        """Frames in the decoder's order, which is display order; packets that do not decode are skipped.

        Raises VideoError for frames that are larger than the limit.
        """
        decoder = self.stream.codec_context
        for packet in itertools.chain(packets, [None]):
            check_stopped()
            try:
                yield from decoder.decode(packet)
            except av.FFmpegError as error:
                # A decoder that refuses the size of a frame forgets it.
                if isinstance(error, av.error.ArgumentError) and not decoder.width:
                    found = "frames without a valid size, or of more than MODEL.max_pixels"
                    raise VideoError(self.path, f"{found} '{self.limits.pixels}'; {SMALLER}") from error


@contextmanager
def open_clip(path: str | os.PathLike, limits: Limits) -> Iterator[OpenedClip]:
    """Open a file or address. FFmpeg's errors inside the block become VideoErrors."""
    try:
        with addresses.reading(path) as file:
            try:
                with _container(path, file, limits) as container:
                    yield OpenedClip(path, file, _stream(path, container, limits), limits)
            except av.FFmpegError as error:
                bad = f"not a readable video ({error.strerror}); fetch it again or take it off the list"
                raise VideoError(path, _reading_problem(file, error) or bad) from error
    except ObjectError as error:
        raise VideoError(path, error.reason) from error


def _container(path: str | os.PathLike, file: Path, limits: Limits) -> av.container.InputContainer:
    """PyAV's container of the local `file`, which messages call `path`."""
    if not os.path.isfile(file):  # opening a pipe would wait for ever
        raise VideoError(path, not_a_file(file))
    if not os.path.getsize(file):
        raise VideoError(path, "empty, 0 bytes; fetch it again or take it off the list")
    try:
        claimed = claimed_entries(file)
    except OSError as error:
        raise VideoError(path, _machine(error)) from error
    if claimed > CLAIMS_PER_PACKET * limits.packets:
        raise VideoError(
            path,
            f"its header claims '{claimed}' index entries, too many for MODEL.max_packets '{limits.packets}'; "
            "fetch it again, or raise the limit if the video is that long",
        )
    return av.open(
        f"file:{os.fsdecode(file)}",  # without `file:` a name with a colon may be a protocol
        options={"max_pixels": str(limits.pixels)},
        container_options={"format_whitelist": FORMATS},
        metadata_errors="ignore",
    )


def _stream(path: str | os.PathLike, container: av.container.InputContainer, limits: Limits) -> av.VideoStream:
    stream = container.streams.best("video")
    if stream is None or stream.disposition & av.stream.Disposition.attached_pic:
        raise VideoError(path, "no video stream in it; expected a video")
    decoder = stream.codec_context
    if decoder is None:
        raise VideoError(path, "no decoder for its codec; re-encode it, for example as H.264")
    if decoder.width * decoder.height > limits.pixels:
        found = f"frames of {decoder.width}x{decoder.height} pixels"
        raise VideoError(path, f"{found}, more than MODEL.max_pixels '{limits.pixels}'; {SMALLER}")
    seconds = header_seconds(stream) or 0.0
    if seconds > limits.seconds:
        raise VideoError(
            path,
            f"its header says '{seconds:.0f}' seconds, more than MODEL.max_seconds '{limits.seconds:g}'; "
            "cut it into parts, or raise the limit",
        )
    decoder.options = {**decoder.options, "max_pixels": str(limits.pixels)}
    decoder.thread_count = 1  # two threads cost 7 to 29 % more CPU: the workers are the parallelism
    return stream


def header_seconds(stream: av.VideoStream) -> float | None:
    """Duration by the header of the stream, else of the file, else None."""
    if stream.duration:
        return float(stream.duration * stream.time_base)
    return stream.container.duration and stream.container.duration / av.time_base


def _reading_problem(file: Path, error: Exception) -> str | None:
    """Why this machine cannot read `file`; None if it can, which means that the content is at fault."""
    if getattr(error, "errno", None) in MACHINE:
        return _machine(error)
    try:
        with open(file, "rb", buffering=0) as opened:
            while opened.read(1 << 22):
                pass
    except OSError as problem:
        return _machine(problem)
    return None


def _machine(error: OSError) -> str:
    return f"cannot be read ({error.strerror or error}): check the disk, the network and this machine's limits"

"""A video with the names of the moment drawn into it, as H.264 that browsers play.

    packets -> frames -> a box mixed into the brightness -> libx264;  packets of sound -> copied as they are
Only the box changes colours: frames that are yuv420p already go to the encoder as they were decoded.
"""

import contextlib
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np

from datareader.clips.container import OpenedClip, open_clip
from datareader.clips.limits import Limits
from datareader.clips.video import quarter_turns
from datareader.long.stream import TIMELESS
from datareader.long.windows import MICRO
from metrics.timeline import Segment, Timeline, cells
from reports.plots import labels
from reports.timelines.lettering import Box, box
from storage.files import replacing
from utils.errors import ConfigError, VideoError

__all__ = ["ENDINGS", "draw"]

ENDINGS = (".mp4", ".mov", ".mkv")
BEST = 3  # classes of the moment that are drawn
OPTIONS = {"crf": "20", "preset": "veryfast"}


def draw(
    source: str | Path, target: Path, timeline: Timeline, limits: Limits, seen: Callable[[float], object] | None = None
) -> Path:
    """Write `source` with its timeline drawn in to `target`, which ends with one of ENDINGS; returns that.

    Frames, their times and sound are kept.

    seen: called with the time of each frame in seconds
    Raises ConfigError where the target cannot be written, VideoError.
    """
    with _written(target) as output, open_clip(source, limits) as clip:
        _Drawing(clip, output, timeline, target).run(seen)
    return target


@contextlib.contextmanager
def _written(target: Path) -> Iterator[av.container.OutputContainer]:
    """A container whose file takes the name `target` when it is whole. Raises ConfigError."""
    try:
        with replacing(target) as beside, contextlib.ExitStack() as opened:
            output = opened.enter_context(av.open(str(beside), "w"))
            yield output
    except OSError as error:  # FFmpeg's errors of files are OSErrors too
        raise _unwritable(target, error) from error


def _unwritable(target: Path, error: Exception) -> ConfigError:
    return ConfigError(f"--draw '{target}' cannot be written ({getattr(error, 'strerror', None) or error})")


class _Drawing:
    """One video on its way from `clip` to `output`."""

    def __init__(self, clip: OpenedClip, output: av.container.OutputContainer, timeline: Timeline, target: Path):
        self.clip, self.output, self.target = clip, output, target
        self.moments, self.box = _moments(timeline), None
        video = clip.stream
        self.start = video.container.start_time or 0
        self.rate = video.average_rate or video.guessed_rate or Fraction(25)
        self.base = video.time_base
        self.offset = round(Fraction(self.start, MICRO) / self.base)
        self.counted = False  # whether frames tell no times, and are counted
        self.stream = None
        self.count, self.waiting = 0, []
        self.sound = {each.index: output.add_stream_from_template(each) for each in video.container.streams.audio}

    def run(self, seen: Callable[[float], object] | None) -> None:
        source = self.clip.stream.container
        for packet in source.demux(self.clip.stream, *source.streams.audio):
            if packet.stream.type == "audio":
                self.waiting.append(packet)
                if self.stream:  # all streams must be there before anything is written
                    self._copy_sound()
                continue
            for frame in self._decoded(packet):
                pts = self._encode(frame)
                if seen:
                    seen(float(pts * self.base))
        if self.stream is None:
            raise VideoError(self.clip.path, "no frame of it can be decoded")
        self._copy_sound()
        self._mux(self.stream.encode(None))

    def _decoded(self, packet: av.Packet) -> list[av.VideoFrame]:
        last = not packet.size and packet.dts is None  # other packets without bytes mean a frame that is shown again
        if not packet.size and not last:
            return []
        try:
            return self.clip.stream.codec_context.decode(None if last else packet)
        except av.FFmpegError:
            return []

    def _copy_sound(self) -> None:
        """Write the packets that wait as they are, only earlier where the file does not start at 0."""
        for packet in self.waiting:
            if packet.dts is None:  # the mark at the end
                continue
            shift = round(Fraction(self.start, MICRO) / packet.time_base)
            packet.pts, packet.dts = packet.pts - shift, packet.dts - shift
            packet.stream = self.sound[packet.stream.index]
            self._mux([packet])
        self.waiting.clear()

    def _mux(self, packets: Sequence[av.Packet]) -> None:
        """Write packets; what goes wrong is the target's fault, not the video's."""
        try:
            self.output.mux(packets)
        except av.FFmpegError as error:
            raise _unwritable(self.target, error) from error

    def _encode(self, frame: av.VideoFrame) -> int:
        """Draw into a frame and encode it; returns its time in units of `base`."""
        planes = _planes(frame, self.stream and (self.stream.width, self.stream.height))
        height, width = planes[0].shape
        if self.stream is None:
            self._open(width, height, frame)
        pts = self.count if self.counted or frame.pts is None else frame.pts - self.offset
        self.count += 1
        drawn = self._box(float(pts * self.base), width, height)
        if drawn.brightness.size:
            _mix(planes, drawn)
        new = _frame(planes)
        new.pts, new.time_base = pts, self.base
        if frame.duration and not self.counted:
            new.duration = frame.duration
        self._mux(self.stream.encode(new))
        return pts

    def _open(self, width: int, height: int, frame: av.VideoFrame) -> None:
        """The stream that frames go to, with the colours of the source."""
        self.stream = self.output.add_stream("libx264", rate=self.rate, options=OPTIONS)
        self.stream.width, self.stream.height, self.stream.pix_fmt = width, height, "yuv420p"
        if self.clip.stream.container.format.name in TIMELESS or frame.pts is None:
            self.counted, self.base = True, 1 / self.rate
        encoder, decoder = self.stream.codec_context, self.clip.stream.codec_context
        encoder.time_base = self.base
        encoder.colorspace, encoder.color_primaries = decoder.colorspace, decoder.color_primaries
        encoder.color_trc = decoder.color_trc
        if frame.format.name == "yuv420p":
            encoder.color_range = decoder.color_range
        try:
            self.output.start_encoding()
        except (av.FFmpegError, ValueError) as error:
            kinds = ", ".join(sound.codec_context.name for sound in self.clip.stream.container.streams.audio)
            raise ConfigError(
                f"--draw '{self.target}' cannot be written: {self.target.suffix} seems not to take sound of the kind "
                f"'{kinds}' ({getattr(error, 'strerror', error)}); let the name end with .mkv"
            ) from error

    def _box(self, time: float, width: int, height: int) -> Box:
        """The box of a moment; it is drawn once for all frames that show it."""
        while self.moments and self.moments[0][1] <= time and len(self.moments) > 1:
            self.moments.popleft()
            self.box = None
        if self.box is None:
            _, _, title, best = self.moments[0]
            self.box = box(title, best, width, height)
        return self.box


def _moments(timeline: Timeline) -> deque[tuple[float, float, str, list[tuple[str, float]]]]:
    """(start, end, title, best classes) of each stretch of time with the same scores."""
    names, found, place = labels(timeline.names), deque(), 0
    for start, end, q in cells(timeline.windows, timeline.scores):
        while place < len(timeline.segments) and timeline.segments[place].end <= start:
            place += 1
        title = _title(timeline.segments[place], names) if _covers(timeline.segments[place : place + 1], start) else ""
        best = np.argsort(-q, kind="stable")[:BEST].tolist()
        found.append((start, end, title, [(names[index], float(q[index])) for index in best]))
    return found


def _covers(segment: list[Segment], time: float) -> bool:
    return bool(segment) and segment[0].start <= time < segment[0].end


def _title(segment: Segment, names: list[str]) -> str:
    name = labels([segment.name])[0] if segment.index is None else names[segment.index]
    return f"{name}  {100 * segment.score:.0f} %"


def _planes(frame: av.VideoFrame, size: tuple[int, int] | None) -> list[np.ndarray]:
    """Y, U and V of a frame, upright; an odd last row or column is there twice. `size`: what it has to become."""
    frame = frame.reformat(format="yuv420p")
    turns, found = quarter_turns(frame), []
    for plane in frame.planes:
        rows = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)[: plane.height, : plane.width]
        found.append(np.rot90(rows, turns).copy())
    height, width = found[0].shape
    found[0] = np.pad(found[0], ((0, height % 2), (0, width % 2)), mode="edge")
    if size and size != found[0].shape[::-1]:  # the size changes within the video
        sizes = [size, (size[0] // 2, size[1] // 2), (size[0] // 2, size[1] // 2)]
        found = [
            cv2.resize(plane, wanted, interpolation=cv2.INTER_AREA) for plane, wanted in zip(found, sizes, strict=True)
        ]
    return found


def _mix(planes: list[np.ndarray], drawn: Box) -> None:
    """Mix a grey box into the upper left of a frame."""
    height, width = drawn.cover.shape
    y = planes[0][:height, :width]
    y[:] = np.round(y * (1 - drawn.cover) + drawn.brightness * drawn.cover)
    cover = drawn.cover[::2, ::2]
    for plane in planes[1:]:
        colour = plane[: height // 2, : width // 2]
        colour[:] = np.round(colour * (1 - cover) + 128 * cover)


def _frame(planes: list[np.ndarray]) -> av.VideoFrame:
    height, width = planes[0].shape
    frame = av.VideoFrame(width, height, "yuv420p")
    for plane, rows in zip(frame.planes, planes, strict=True):
        room = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)
        room[: rows.shape[0], : rows.shape[1]] = rows
    return frame

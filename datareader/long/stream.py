"""Windows of a long video, one after the other, in memory that does not grow with the video.

    packets -> timestamps -> windows (Planner) -> which frames -> only those decoded and scaled -> uint8 arrays

Packets wait undecoded until every window that may look at them is known: about one window's length. What a window
picks is converted and scaled once and dropped after the last window that looks at it. Frames that no other frame needs,
and parts between keyframes where no window looks, are not decoded. This is done where packets are known to name frames
(datareader/clips/video.py). Any other file, and one that turns out to be damaged, is decoded frame by frame
(arriving.py), which gives the pixels of a plain sequential decode as well.
"""

import heapq
import itertools
import math
import os
from collections import Counter, deque
from collections.abc import Iterator

import av
import numpy as np

from datareader.clips.container import NO_FRAME, CutOffError, OpenedClip, open_clip
from datareader.clips.limits import Limits
from datareader.clips.video import converter, names_frames, unwanted_skip
from datareader.long.arriving import Arriving
from datareader.long.clip import Clip, Sampler, as_clip
from datareader.long.windows import MICRO, Planner, Span
from datareader.stopping import check_stopped
from utils.errors import DataError, VideoError

__all__ = ["TIMELESS", "file_windows"]

PROBED = 240  # packets that are looked at before the first one is decoded
REORDERED = 17  # packets: no codec here lets more than 16 frames overtake another
HELD_BYTES = 32 << 20  # of packets that wait for a keyframe in a part where no window looks
TIMELESS = {"avi"}  # containers that hold a frame rate and no timestamps; FFmpeg's guesses need not even ascend
USUAL_SECONDS = 0.04  # of a frame, where a file does not tell


class _UntimedError(Exception):
    """Packets do not name frames, or the decoder contradicts them."""


def file_windows(
    path: str | os.PathLike, window: int, stride: int, sampler: Sampler, limits: Limits, first: int = 0
) -> Iterator[Clip]:
    """The windows of a video in order, from window `first` on; lengths in microseconds.

    Times are those of a player: the file's first timestamp is 0. Raises VideoError where no frame can be decoded, for
    frames that become another shape, and for a video that exceeds `limits`.
    """
    done = first
    for reader in (_timed_windows, _decoded_windows):
        try:
            with open_clip(path, limits) as clip:
                for found in reader(clip, Planner(window, stride, limits.seconds), sampler, done):
                    yield found
                    done = found.number + 1
            return
        except _UntimedError:  # window `done` and later ones come from the second reader
            continue
        except VideoError:
            raise
        except DataError as error:
            raise VideoError(path, str(error)) from error


def _timed_windows(clip: OpenedClip, planner: Planner, sampler: Sampler, first: int) -> Iterator[Clip]:
    return _TimedFile(clip, planner, sampler, first).windows()


def _decoded_windows(clip: OpenedClip, planner: Planner, sampler: Sampler, first: int) -> Iterator[Clip]:
    """Windows of a file that is decoded whole, frame by frame; frames without a timestamp follow the one before."""
    clock, to_array, arriving = _Clock(clip.stream), converter(sampler.scale), Arriving(planner, sampler, first)
    timeless = clip.stream.container.format.name in TIMELESS
    before, after = None, 0
    for frame in clip.frames(_until_cut(clip)):
        if timeless:
            time = round(arriving.count * clock.usual)
        else:
            time = after if frame.pts is None else clock.micro(frame.pts)
        if before is not None:
            time = max(time, before + 1)
        before, after = time, time + clock.length(frame.duration)
        yield from arriving.add(time, after - time, to_array(frame))
    yield from arriving.finish()
    if not arriving.count:
        raise VideoError(clip.path, NO_FRAME)


class _Clock:
    """Timestamps of a stream as microseconds after the start of its file."""

    def __init__(self, stream: av.VideoStream) -> None:
        self.base = stream.time_base
        self.start = stream.container.start_time or 0
        rate = stream.average_rate or stream.guessed_rate
        self.usual = MICRO / rate if rate else USUAL_SECONDS * MICRO  # of a frame

    def micro(self, pts: int) -> int:
        return round(pts * self.base * MICRO) - self.start

    def length(self, duration: int | None) -> int:
        return round(duration * self.base * MICRO if duration else self.usual)


def _until_cut(clip: OpenedClip) -> Iterator[av.Packet]:
    """The packets of a file that may break off."""
    try:
        yield from clip.demuxed()
    except CutOffError:
        return


class _TimedFile:
    """A file whose packets name frames. `windows` raises _UntimedError as soon as that turns out to be wrong."""

    def __init__(self, clip: OpenedClip, planner: Planner, sampler: Sampler, first: int) -> None:
        self.clip, self.planner, self.sampler, self.first = clip, planner, sampler, first
        self.clock, self.decoder = _Clock(clip.stream), clip.stream.codec_context
        self.to_array, self.unwanted = converter(sampler.scale), unwanted_skip(clip.stream)
        self.queue: deque[av.Packet] = deque()  # in decode order, not sent yet
        self.held = 0  # bytes in it
        self.keys: deque[int] = deque()  # timestamps of the keyframes in it
        self.shown: list[tuple[int, int]] = []  # heap of (timestamp, duration): frames whose turn is not certain yet
        self.latest, self.last_key, self.turn = -math.inf, -math.inf, -math.inf
        self.pending: deque[tuple[Span, list[int]]] = deque()  # windows and the frames that they picked
        self.wanted: Counter[int] = Counter()  # timestamp: windows that still need this frame
        self.unsent: set[int] = set()  # wanted timestamps whose packets wait
        self.arrays: dict[int, np.ndarray] = {}
        self.run_start = -math.inf  # timestamp of the keyframe where decoding began

    def windows(self) -> Iterator[Clip]:
        packets = _until_cut(self.clip)
        head = list(itertools.islice(packets, PROBED))
        if not head or not names_frames(self.clip.stream, head):
            raise _UntimedError
        try:
            for packet in itertools.chain(head, packets):
                self._take(packet)
                self._decode(self._horizon())
                yield from self._ready()
            while self.shown:
                self._next_shown()
            self._plan(self.planner.finish())
            self._decode(math.inf)
            self._drain()
        except av.FFmpegError as error:
            raise _UntimedError from error
        yield from self._ready()
        if self.pending or not self.planner.number:
            raise _UntimedError  # a frame did not come out

    # ---- which frames

    def _take(self, packet: av.Packet) -> None:
        """Put a packet into the queue."""
        pts = packet.pts
        if (
            pts is None
            or packet.is_corrupt
            or any(data.data_type == "new_extradata" for data in packet.iter_sidedata())
            or (pts < self.latest and not self.decoder.has_b_frames)
            or (packet.is_keyframe and pts <= self.last_key)
        ):
            raise _UntimedError
        self.latest = max(self.latest, pts)
        self.queue.append(packet)
        self.held += packet.size
        if packet.is_keyframe:
            self.last_key = pts
            self.keys.append(pts)
        if not packet.is_discard:  # an edit list keeps others before its start, which are only decoded
            heapq.heappush(self.shown, (pts, packet.duration or 0))
        if len(self.shown) > REORDERED:
            self._next_shown()

    def _next_shown(self) -> None:
        """Give the next frame in display order to the planner."""
        pts, duration = heapq.heappop(self.shown)
        if pts <= self.turn:
            raise _UntimedError
        self.turn = pts
        self._plan(self.planner.add(self.clock.micro(pts), pts, self.clock.length(duration)))

    def _plan(self, spans: list[Span]) -> None:
        for span in spans:
            if span.number < self.first:
                continue
            picked = [span.keys[index] for index in self.sampler.pick(len(span.keys))]
            self.pending.append((span, picked))
            for pts in set(picked):
                if not self.wanted[pts]:
                    self.unsent.add(pts)
                self.wanted[pts] += 1

    def _horizon(self) -> float:
        """Frames with earlier timestamps are in no window that is not planned yet."""
        return -math.inf if self.planner.horizon is None else self.planner.horizon

    # ---- decoding

    def _decode(self, limit: float) -> None:
        """Send packets up to the last wanted frame before `limit`; no further, for what follows may be left out."""
        while True:
            target = min(self.unsent, default=math.inf)
            self._skip_to(min(target, limit))
            if target >= limit:
                break
            while target in self.unsent:
                if not self.queue:
                    raise _UntimedError
                if self.queue[0].pts >= limit:  # a window that is not planned yet may want it
                    return
                self._send()
        while self.held > HELD_BYTES and self.queue[0].pts < limit:
            self._send()

    def _skip_to(self, target: float) -> None:
        """Drop the packets before the last keyframe at or before `target`: no frame among them is wanted."""
        key = None
        while self.keys and self.keys[0] <= target:
            key = self.keys.popleft()
        if key is None:
            return
        self.keys.appendleft(key)
        if self.queue[0].pts == key:
            return
        self._drain()
        while self.queue[0].pts != key:
            self.held -= self.queue.popleft().size
        self.run_start = key

    def _send(self) -> None:
        packet = self.queue.popleft()
        self.held -= packet.size
        if self.keys and packet.pts == self.keys[0]:
            self.keys.popleft()
        self.unsent.discard(packet.pts)
        self.decoder.skip_frame = "DEFAULT" if packet.pts in self.wanted else self.unwanted
        self._receive(packet)

    def _drain(self) -> None:
        """Take the frames that the decoder holds back, and make it ready for a keyframe."""
        self.decoder.skip_frame = "DEFAULT"
        self._receive(None)
        self.decoder.flush_buffers()

    def _receive(self, packet: av.Packet | None) -> None:
        check_stopped()
        for frame in self.decoder.decode(packet):
            # Pictures before the keyframe where decoding began may refer to others before it; nobody wants them.
            if frame.is_corrupt and frame.pts is not None and frame.pts >= self.run_start:
                raise _UntimedError
            if frame.pts in self.wanted and frame.pts not in self.arrays:
                self.arrays[frame.pts] = self.to_array(frame)

    def _ready(self) -> Iterator[Clip]:
        """The windows whose frames are all there."""
        while self.pending and all(pts in self.arrays for pts in self.pending[0][1]):
            span, picked = self.pending.popleft()
            yield as_clip(span, [self.arrays[pts] for pts in picked], self.sampler)
            for pts in set(picked):
                self.wanted[pts] -= 1
                if not self.wanted[pts]:
                    del self.wanted[pts], self.arrays[pts]

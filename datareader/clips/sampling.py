"""Choosing the frames that a network sees. Pure functions of numbers; indices wrap around at `frame_count`."""

from collections.abc import Sequence

import numpy as np


def segment_starts(
    frame_count: int, segments: int, length: int, rng: np.random.Generator | None = None, centre: str = "clip"
) -> list[int]:
    """First frame of each of `segments` equal parts (old zoo, v1.5 rule).

    With `rng` (training) the start is uniform inside the part; without it the clip is centred:
    `centre="clip"` centres all `length` frames (pickle reader), `"frame"` the first one only (mp4 reader; so the last
    frames may run past the part, as those of the released scores did).
    """
    part = frame_count // segments
    if part == 0:  # fewer frames than segments: one frame each, wrapped
        return list(range(segments))
    if part < length:  # parts shorter than a clip: clips overlap the next part
        return [i * part for i in range(segments)]
    if rng is not None:
        return [i * part + int(rng.integers(0, part - length + 1)) for i in range(segments)]
    offset = (part - (length if centre == "clip" else 1)) // 2
    return [i * part + offset for i in range(segments)]


def view_starts(frame_count: int, segments: int, length: int, clips: int) -> list[int]:
    """`segment_starts` of `clips` clips that lie evenly over each part, clip-major: the test of dense sampling.

    With one segment these are the starts of TPN's authors: of 300 frames and clips of 64, 11, 35, 59, ... 225. Videos
    (parts) shorter than a clip give `clips` equal ones.
    """
    part = frame_count // segments
    if part < length:
        return segment_starts(frame_count, segments, length) * clips
    tick = (part - length + 1) / clips
    return [i * part + int(tick / 2 + tick * clip) for clip in range(clips) for i in range(segments)]


def frame_indices(starts: Sequence[int], length: int, frame_count: int, interval: int = 1) -> list[int]:
    """`length` frames from each start, `interval` apart, wrapped around a short video.

    mmaction2 wraps too; TPN's authors repeat the last frame.
    """
    return [(start + i * interval) % frame_count for start in starts for i in range(length)]


def stride_indices(frame_count: int, wanted: int, rng: np.random.Generator | None = None) -> list[int]:
    """`wanted` frames spread evenly over a video of any length: frame floor((i + u) * frame_count / wanted) for each i.

    u is uniform in [0, 1) with `rng` (training), else 1/2 (old zoo v1.3 drew it in every mode: scores varied from run
    to run).
    """
    offsets = rng.random(wanted) if rng is not None else [0.5] * wanted
    stride = frame_count / wanted
    return [min(frame_count - 1, int((i + u) * stride)) for i, u in enumerate(offsets)]


def window_starts(
    frame_count: int, seconds: float, span: int, every: float = 1.0, rows: int | None = None, least: int = 1
) -> list[int]:
    """First frames of windows of `span` frames, evenly spread over a video that lasts `seconds`.

    One window for each `every` seconds, but `least` of them; or `rows` of them. A window's middle is the middle of its
    part of the video; windows stay inside where the video is long enough.
    """
    count = rows or max(least, round(seconds / every), 1)
    middles = ((k + 0.5) * frame_count / count for k in range(count))
    last = max(0, frame_count - span)
    return [min(last, max(0, int(middle - (span - 1) / 2))) for middle in middles]

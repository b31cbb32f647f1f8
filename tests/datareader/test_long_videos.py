"""Windows of long videos: which there are, and that streaming gives the pixels of a decode of the whole file."""

import itertools
import threading

import av
import numpy as np
import pytest

from datareader.clips.limits import DEFAULTS
from datareader.clips.sampling import frame_indices, segment_starts
from datareader.clips.video import read_frames
from datareader.long.ahead import ahead
from datareader.long.arriving import caller_windows
from datareader.long.clip import Sampler
from datareader.long.stream import file_windows
from datareader.long.windows import spans
from support.clips import damage, write_clip
from utils.errors import ConfigError, DataError, VideoError

SECOND = 1_000_000


def sampler(segments=3, converted=None):
    """`segments` frames of a window, whole; `converted` counts the frames that are scaled."""

    def scale(frame):
        if converted is not None:
            converted.append(1)
        return frame.copy()

    def pick(count):
        return frame_indices(segment_starts(count, segments, 1, centre="frame"), 1, count)

    return Sampler(pick, scale, np.asarray)


def whole(path):
    """[(seconds, RGB)] of a plain decode."""
    with av.open(str(path)) as container:
        return [(frame.time, frame.to_ndarray(format="rgb24")) for frame in container.decode(video=0)]


def same(found, expected):
    """Compare two lists of clips; the end of the last one may differ by the length of its last frame."""
    assert [clip[:2] for clip in found] == [clip[:2] for clip in expected] and len(found) > 1
    assert [clip.end for clip in found[:-1]] == [clip.end for clip in expected[:-1]]
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one.frames, other.frames)


@pytest.mark.parametrize(
    ("duration", "window", "stride", "expected"),
    [
        (10, 4, 2, [(0, 4), (2, 6), (4, 8), (6, 10)]),
        (9, 4, 2, [(0, 4), (2, 6), (4, 8), (5, 9)]),  # the tail: a whole window that ends with the video
        (3, 4, 2, [(0, 3)]),
        (4, 4, 4, [(0, 4)]),
        (0.5, 0.3, 0.1, [(0, 0.3), (0.1, 0.4), (0.2, 0.5)]),  # no rounding error makes a fourth one
    ],
)
def test_every_second_is_in_a_window(duration, window, stride, expected):
    assert spans(duration, window, stride) == expected


@pytest.mark.parametrize(("window", "stride"), [(4, 5), (0, 1), (float("nan"), 1), (1e6, 1)])
def test_lengths_that_make_no_windows(window, stride):
    with pytest.raises(ConfigError, match="--stride_seconds '5' is longer|is not a length"):
        spans(10, window, stride)


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("closed.mp4", {"options": {"g": "12"}}),
        ("long gop.mp4", {"options": {"g": "250", "bf": "3"}}),
        ("open gop.mp4", {"options": {"g": "12", "x264-params": "open-gop=1:scenecut=0"}}),
        ("mpeg4.avi", {"codec": "mpeg4"}),
        ("vp9.webm", {"codec": "libvpx-vp9", "options": {"deadline": "realtime", "cpu-used": "8"}}),
        ("turned.mp4", {"rotation": 90}),
    ],
)
def test_streamed_windows_are_those_of_a_whole_decode(tmp_path, name, settings):
    path = write_clip(tmp_path / name, frames=75, **settings)
    found = list(file_windows(path, SECOND, SECOND // 2, sampler(), DEFAULTS))
    frames = [(index / 30, frame) for index, (_, frame) in enumerate(whole(path))]
    if "rotation" in settings:
        frames = [(time, np.rot90(frame)) for time, frame in frames]
    same(found, list(caller_windows(frames, SECOND, SECOND // 2, sampler())))
    later = list(file_windows(path, SECOND, SECOND // 2, sampler(), DEFAULTS, first=2))
    same(later, found[2:])


def test_a_frame_is_scaled_once_and_only_if_a_window_looks_at_it(tmp_path):
    path, converted = write_clip(tmp_path / "clip.mp4", frames=90), []
    found = list(file_windows(path, SECOND, SECOND // 3, sampler(3, converted), DEFAULTS))
    distinct = {clip.frames[place].tobytes() for clip in found for place in range(3)}
    assert len(converted) == len(distinct) < 3 * len(found) < 90


def test_a_window_is_the_span_cut_out(tmp_path):
    """Cut at keyframes without encoding again and read as a clip, each span gives the frames of its window."""
    path = write_clip(tmp_path / "clip.mp4", frames=90, options={"g": "15", "bf": "2", "x264-params": "scenecut=0"})
    for number, clip in enumerate(file_windows(path, SECOND, SECOND // 2, sampler(), DEFAULTS)):
        cut = tmp_path / f"{number}.mp4"
        with av.open(str(path)) as source, av.open(str(cut), "w") as target:
            stream = target.add_stream_from_template(source.streams.video[0])
            for packet in source.demux(video=0):
                if packet.size and clip.start <= packet.pts * packet.time_base < clip.end:
                    packet.stream = stream
                    target.mux(packet)
        np.testing.assert_array_equal(read_frames(cut, sampler().pick), clip.frames)


def test_damage_in_the_middle(tmp_path):
    """Windows before the damage stay, and those after it hold what a plain decode gives."""
    path = write_clip(tmp_path / "clip.mp4", frames=90, options={"g": "10", "bf": "0"})
    damage(path, 41, 44, part=0.6)
    found = list(file_windows(path, SECOND, SECOND, sampler(1), DEFAULTS))
    assert [clip.number for clip in found] == [0, 1, 2]
    frames = [frame for _, frame in whole(write_clip(tmp_path / "good.mp4", frames=90, options={"g": "10", "bf": "0"}))]
    np.testing.assert_array_equal(found[0].frames[0], frames[14])


def test_times_are_those_of_the_frames(tmp_path):
    """A pause of four seconds holds windows that show the frame before it."""

    def pause(packets):
        for packet in packets:
            if packet.pts >= 30:
                packet.pts, packet.dts = packet.pts + 120, packet.dts + 120
        return packets

    path = write_clip(tmp_path / "pause.mp4", frames=60, retouch=pause, options={"bf": "0"})
    found = list(file_windows(path, SECOND, SECOND, sampler(1), DEFAULTS))
    assert [clip.start for clip in found] == [0, 1, 2, 3, 4, 5]
    last = whole(path)[29][1]
    assert all((clip.frames[0] == last).all() for clip in found[1:5])


def test_files_without_frames(tmp_path):
    empty, one = tmp_path / "empty.mp4", write_clip(tmp_path / "one.mp4", frames=1)
    empty.touch()
    with pytest.raises(VideoError, match="empty, 0 bytes"):
        list(file_windows(empty, SECOND, SECOND, sampler(), DEFAULTS))
    (clip,) = file_windows(one, SECOND, SECOND, sampler(), DEFAULTS)
    assert clip.start == 0 and clip.end == pytest.approx(1 / 30, abs=1e-5) and len(clip.frames) == 3


@pytest.mark.parametrize(
    ("frames", "message"),
    [
        ([(0, np.zeros((4, 4, 3), np.uint8))] * 2, "timestamp is '0' s, after one of '0' s"),
        ([(0, np.zeros((4, 4), np.uint8))], r"a frame is 'uint8 \[4, 4\]'"),
        ([("now", None)], "timestamp is 'now'"),
    ],
)
def test_frames_that_are_none(frames, message):
    with pytest.raises(DataError, match=message):
        list(caller_windows(frames, SECOND, SECOND, sampler()))


def test_a_camera_is_answered_at_once():
    """A window is there as soon as a frame after it is; nothing is read ahead."""
    seen = []

    def camera():
        for index in itertools.count():
            seen.append(index)
            yield index / 10, np.full((8, 8, 3), index, np.uint8)

    windows = caller_windows(camera(), SECOND, SECOND, sampler(1))
    assert next(windows).frames[0, 0, 0, 0] == 4 and seen[-1] == 10


def test_a_thread_that_hangs_is_given_up():
    def items():
        yield 1
        threading.Event().wait(1)
        yield 2

    found = ahead(items(), 1, timeout=0.3)
    assert next(found) == 1
    with pytest.raises(DataError, match=r"no answer within 0\.3 s"):
        next(found)


def test_working_ahead_ends_with_its_reader():
    closed = []

    def items():
        try:
            yield from range(1000)
        finally:
            closed.append(True)

    for item in ahead(items(), 2):
        if item == 3:
            break
    assert closed
    with pytest.raises(ZeroDivisionError):
        list(ahead((1 // (2 - number) for number in range(9)), 2))

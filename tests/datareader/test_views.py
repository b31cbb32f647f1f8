"""Several views of a video: which clips, which crops, in which order, and no frame decoded or scaled twice."""

import numpy as np
import pytest

from datareader import loader_for
from datareader.clips.dataset import ClipDataset
from datareader.clips.sampling import frame_indices, segment_starts, view_starts
from datareader.clips.transforms import scale, windows
from datareader.clips.video import read_frames
from datareader.lists import Item
from models.tpn import TPN
from support import clips, tiny


@pytest.mark.parametrize(
    "frames, starts",
    [
        (300, [11, 35, 59, 82, 106, 130, 154, 177, 201, 225]),  # (300 - 64 + 1) / 10 = 23.7 apart, from half of that
        (250, [9, 28, 46, 65, 84, 102, 121, 140, 158, 177]),
        (64, [0] * 10),
        (63, [0] * 10),
        (1, [0] * 10),
    ],
)
def test_ten_clips_of_64_frames(frames, starts):
    """The rule of TPN's authors; videos shorter than a clip give ten equal ones."""
    assert view_starts(frames, 1, 64, 10) == starts


def test_clips_inside_segments_are_clip_major():
    assert view_starts(100, 2, 10, 2) == [10, 60, 30, 80]  # parts of 50, 41 places, ticks of 20.5
    assert view_starts(10, 5, 4, 2) == [0, 2, 4, 6, 8] * 2  # parts shorter than a clip
    assert view_starts(3, 5, 1, 2) == [0, 1, 2, 3, 4] * 2


def test_one_dense_clip():
    """Centred without a generator; with one, every start that fits and no other."""
    assert segment_starts(300, 1, 64) == [118] and segment_starts(40, 1, 64) == [0]
    rng = np.random.default_rng(0)
    drawn = {segment_starts(70, 1, 64, rng)[0] for _ in range(200)}
    assert drawn == set(range(7)) and segment_starts(64, 1, 64, rng) == [0]


def test_frames_at_an_interval_wrap_around_a_short_video():
    assert frame_indices([118], 8, 300, interval=8) == [118, 126, 134, 142, 150, 158, 166, 174]
    assert frame_indices([0], 8, 20, interval=8) == [0, 8, 16, 4, 12, 0, 8, 16]
    assert frame_indices([0], 3, 1, interval=8) == [0, 0, 0]


def test_windows():
    assert windows(341, 256, 256) == [(42, 0, False)]
    assert windows(341, 256, 256, 3) == [(0, 0, False), (84, 0, False), (42, 0, False)]  # left, right, middle
    assert windows(256, 455, 256, 3) == [
        (0, 0, False),
        (0, 198, False),
        (0, 99, False),
    ]  # an upright video: along its height
    assert windows(341, 256, 224, 3) == [(0, 16, False), (116, 16, False), (58, 16, False)]
    ten = windows(341, 256, 224, 10)
    assert [place[:2] for place in ten[:5]] == [(0, 0), (117, 0), (0, 32), (117, 32), (58, 16)]
    assert [place[:2] for place in ten[5:]] == [place[:2] for place in ten[:5]] and [flip for *_, flip in ten] == [
        False
    ] * 5 + [True] * 5


class Counting(ClipDataset):
    """Counts the frames that are scaled and cut."""

    converted = 0

    def crop(self, rng):
        crop = super().crop(rng)

        def counted(frame):
            self.converted += 1
            return crop(frame)

        return counted


def dataset(path, views=None, kind=Counting, **keys):
    sizes = {"short_size": 32, "target_size": 24}
    config = TPN.config_class(
        MODEL={"num_classes": 2, "seglen": 4, "frame_interval": 2, "temporal_scales": [4, 4], **keys},
        TRAIN=sizes,
        VALID=sizes,
        TEST={**sizes, "num_clips": 5, "num_crops": 3, **(views or {})},
        INFER=sizes,
    )
    return kind(config, "test", [Item(path, 1, str(path))])


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """24 frames: five clips of 4 frames, every second one, start at 1, 5, 8, 11, 15."""
    return clips.write_clip(tmp_path_factory.mktemp("views") / "clip.mp4", frames=24)


def test_views_are_clip_by_clip_and_crop_by_crop(clip):
    frames, label, name = dataset(clip).read(0, 0)
    assert frames.shape == (15, 4, 24, 24, 3) and frames.dtype == np.uint8 and (label, name) == (1, str(clip))
    whole = [scale(frame, (43, 32)) for frame in read_frames(clip, range)]
    for i, start in enumerate((1, 5, 8, 11, 15)):
        for j, x in enumerate((0, 18, 9)):
            for t in range(4):
                np.testing.assert_array_equal(frames[3 * i + j, t], whole[start + 2 * t][4:28, x : x + 24])


@pytest.mark.parametrize("name", ["clip.mp4", "video.pkl"])
def test_shared_frames_are_converted_once(clip, tmp_path, name):
    path = clip
    if name == "video.pkl":
        path = tmp_path / name
        tiny.make_pickle(path, label=1, count=24)
    data = dataset(path)
    data.read(0, 0)
    wanted = {start + 2 * t for start in (1, 5, 8, 11, 15) for t in range(4)}
    assert data.converted == len(wanted) == 15  # of 60 in all views


def test_a_short_video_fills_every_view(tmp_path):
    frames, *_ = dataset(clips.write_clip(tmp_path / "short.mp4", frames=3)).read(0, 0)
    assert frames.shape == (15, 4, 24, 24, 3)
    np.testing.assert_array_equal(frames[:, 3], frames[:, 0])  # frames 0, 2, 1, 0
    np.testing.assert_array_equal(frames[3:6], frames[:3])


def test_one_view_is_the_centre(clip):
    data = dataset(clip, {"num_clips": 1, "num_crops": 1})
    frames, *_ = data.read(0, 0)
    whole = [scale(frame, (43, 32)) for frame in read_frames(clip, range)]
    np.testing.assert_array_equal(frames, [whole[8 + 2 * t][4:28, 10:34] for t in range(4)])


def test_rows_of_a_batch(clip):
    """A step sees `batch_size` views: videos are read one at a time when one has more views than that."""
    data = dataset(clip)
    data.items = data.items * 3
    assert [len(batch.ids) for batch in loader_for(data, data.section).epoch()] == [1, 1, 1]
    data.section = data.section.model_copy(update={"batch_size": 30})
    batches = list(loader_for(data, data.section).epoch())
    assert [batch.feed["frames"].shape for batch in batches] == [(30, 4, 24, 24, 3), (15, 4, 24, 24, 3)]
    assert batches[0].feed["label"].tolist() == [[1]] * 30
    np.testing.assert_array_equal(batches[0].feed["frames"][15:], data.read(0, 0)[0])

"""The old zoo's temporal sampling (v1.5 rule) and its geometry, with the check values of its readers."""

import cv2
import numpy as np
import pytest

from datareader.clips.sampling import frame_indices, segment_starts, stride_indices
from datareader.clips.transforms import CropResize, centre_offset, scale, scaled_size
from models import find
from utils.errors import DataError


@pytest.mark.parametrize(
    "segments, length, starts",
    [
        (3, 1, [4, 14, 24]),
        (7, 5, [0, 4, 8, 12, 16, 20, 24]),  # parts of 4 frames cannot hold 5
        (40, 1, list(range(40))),  # more segments than frames
        (25, 5, list(range(25))),
    ],
)
def test_centred_starts_of_30_frames(segments, length, starts):
    assert segment_starts(30, segments, length, centre="clip") == starts
    if length == 1 or 30 // segments < length:  # only then do the two centres agree
        assert segment_starts(30, segments, length, centre="frame") == starts


def test_mp4_centre_differs_from_the_pickle_centre():
    """Quirk 9, kept: parts of 14 frames; the mp4 reader centres one frame, the pickle reader the whole clip."""
    assert segment_starts(100, 7, 5, centre="clip") == [i * 14 + 4 for i in range(7)]
    assert segment_starts(100, 7, 5, centre="frame") == [i * 14 + 6 for i in range(7)]


def test_frames_that_lie_apart_are_centred_as_a_whole():
    """In a clip of 30 frames, 5 frames 3 apart of the second half would run past the end and wrap around."""
    near, apart = (find("STNET").config_class(MODEL={"frame_interval": n}).MODEL for n in (1, 3))
    assert near.mp4_centre == "frame" and apart.mp4_centre == "clip"
    assert frame_indices(segment_starts(30, 2, 15, centre=apart.mp4_centre), 5, 30, 3)[5:] == [15, 18, 21, 24, 27]
    assert frame_indices(segment_starts(30, 2, 15, centre=near.mp4_centre), 5, 30, 3)[5:] == [22, 25, 28, 1, 4]


def test_training_starts_stay_inside_their_part():
    rng = np.random.default_rng(0)
    drawn = np.array([segment_starts(100, 7, 5, rng) for _ in range(500)]) - np.arange(7) * 14
    assert drawn.min() == 0 and drawn.max() == 9  # both ends are reachable


def test_indices_wrap_around_a_short_video():
    assert frame_indices([0, 1], length=2, frame_count=2) == [0, 1, 1, 0]
    assert frame_indices(segment_starts(1, 3, 5), 5, frame_count=1) == [0] * 15


@pytest.mark.parametrize(
    "source, scaled",
    [
        ((320, 240), (341, 256)),
        ((1280, 720), (341, 256)),
        ((256, 500), (256, 500)),
        ((240, 320), (256, 341)),
        ((300, 300), (341, 256)),
    ],
)
def test_everything_becomes_4_to_3(source, scaled):
    """Quirk 4, kept: released weights were trained and scored so; a short side that fits already is left alone."""
    assert scaled_size(*source, 256) == scaled


def test_keep_ratio():
    assert scaled_size(1280, 720, 256, "keep_ratio") == (455, 256)
    assert scaled_size(240, 320, 256, "keep_ratio") == (256, 341)


@pytest.mark.parametrize("size, target, offset", [(341, 224, 58), (341, 256, 42), (256, 224, 16)])
def test_centre_crop_rounds_halves_to_even(size, target, offset):
    assert centre_offset(size, target) == offset


@pytest.mark.parametrize("kernel", ["linear", "pil"])
def test_check_value_of_the_whole_geometry(kernel):
    """R=4, G=x, B=0 at 320x240 -> 341x256 -> centre 224: pixel (0, 0) normalises to -2.0494, -1.0903, -1.8044."""
    frame = np.zeros((240, 320, 3), np.uint8)
    frame[..., 0], frame[..., 1] = 4, np.minimum(np.arange(320), 255)
    pixel = CropResize(256, 224, kernel=kernel)(frame)[0, 0] / 255.0
    found = (pixel - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    np.testing.assert_allclose(found, [-2.0494, -1.0903, -1.8044], atol=1e-4)


def test_training_crop_is_drawn_once_per_clip_and_covers_every_place():
    frame = np.arange(40 * 60, dtype=np.int64).reshape(40, 60, 1).repeat(3, axis=2).astype(np.uint8)
    crops = [CropResize(40, 32, resize="keep_ratio", rng=np.random.default_rng(i)) for i in range(300)]
    for crop in crops[:5]:
        assert np.array_equal(crop(frame), crop(frame))
    plans = np.array([crop.plan[2][0] for crop in crops if crop(frame) is not None])
    assert (
        plans[:, 0].min() == 0
        and plans[:, 0].max() == 28
        and set(plans[:, 1]) == set(range(9))
        and set(plans[:, 2]) == {0, 1}
    )


def test_stride_indices_are_the_old_zoos_for_the_same_draws():
    """A check value of its reader, made with numpy's generator of seed 0; fewer frames than wanted repeat."""
    assert stride_indices(7, 10, np.random.RandomState(0)) == [0, 1, 1, 2, 3, 3, 4, 5, 6, 6]
    assert stride_indices(7, 10) == [0, 1, 1, 2, 3, 3, 4, 5, 5, 6] and stride_indices(1, 3) == [0, 0, 0]
    assert stride_indices(200, 4) == [25, 75, 125, 175]


def test_flip_mirrors():
    frame = np.random.default_rng(0).integers(0, 256, (32, 32, 3)).astype(np.uint8)
    flipped = [
        crop(frame)
        for crop in (CropResize(32, 32, rng=np.random.default_rng(i)) for i in range(20))
        if crop(frame) is not None
    ]
    assert any(np.array_equal(image, frame) for image in flipped) and any(
        np.array_equal(image, frame[:, ::-1]) for image in flipped
    )


def test_large_sources_are_averaged_not_aliased():
    checkerboard = (np.indices((720, 1280)).sum(axis=0) % 2 * 255).astype(np.uint8)[..., None].repeat(3, axis=2)
    assert np.abs(scale(checkerboard, (320, 180)).astype(int) - 127).max() <= 1


@pytest.mark.parametrize(
    "width, height", [(1920, 1080), (1280, 720), (640, 360), (480, 320), (640, 272), (720, 1280), (320, 240)]
)
def test_scaled_pixels_are_near_pillows(width, height):
    """Mean difference of a picture with detail at every size: under a level and a half, and less than half of plain
    linear's where that would alias.
    """
    rng = np.random.default_rng(0)
    picture = sum(cv2.resize(rng.normal(0, 6 * 2**k, (height >> k, width >> k, 3)), (width, height)) for k in range(6))
    picture = np.clip(picture / 2 + 128, 0, 255).astype(np.uint8)
    size = scaled_size(width, height, 256)
    wanted = scale(picture, size, "pil").astype(int)
    error = np.abs(scale(picture, size) - wanted).mean()
    plain = np.abs(cv2.resize(picture, size, interpolation=cv2.INTER_LINEAR) - wanted).mean()
    assert error < 1.5 and error <= plain * (0.5 if min(width, height) >= 360 else 1.01)


def test_crop_that_does_not_fit_says_what_to_do():
    with pytest.raises(DataError, match="smaller than target_size '48'.*raise short_size"):
        CropResize(40, 48)(np.zeros((40, 60, 3), np.uint8))

"""Random resized crops and colours: inside their ranges, the same for all frames of a clip, a function of the
generator alone.
"""

import numpy as np
import pytest

from datareader.clips.dataset import ClipDataset, mirrored_labels
from datareader.clips.transforms import AREA, RATIO, YIQ, CropResize, colour_matrix, resized_window
from datareader.lists import read_clip_list
from models import find
from support import tiny
from utils.errors import ConfigError


def noise(height=48, width=64):
    return np.random.default_rng(0).integers(0, 256, (height, width, 3)).astype(np.uint8)


def test_resized_windows_cover_the_ranges_and_stay_inside():
    rng = np.random.default_rng(0)
    x, y, width, height = np.array([resized_window(340, 256, rng) for _ in range(3000)]).T
    assert x.min() == y.min() == 0 and (x + width).max() == 340 and (y + height).max() == 256
    area, ratio = width * height / (340 * 256), width / height
    assert AREA[0] - 0.01 < area.min() < 0.1 and 0.9 < area.max() <= 1.0
    assert RATIO[0] - 0.02 < ratio.min() < 0.77 and 1.3 < ratio.max() < RATIO[1] + 0.02


def test_a_window_that_never_fits_becomes_the_central_square():
    assert resized_window(1000, 10, np.random.default_rng(0)) == (495, 0, 10, 10)


def test_one_window_and_one_colour_for_a_clip():
    frame = noise()
    crops = [CropResize(48, 32, rng=np.random.default_rng(5), resized=True, jitter=True) for _ in range(2)]
    first, again, other = crops[0](frame), crops[0](frame), crops[1](frame)
    assert first.shape == (32, 32, 3) and first.dtype == np.uint8
    np.testing.assert_array_equal(first, again)
    np.testing.assert_array_equal(first, other)
    assert not np.array_equal(first, CropResize(48, 32, rng=np.random.default_rng(6), resized=True, jitter=True)(frame))


def test_a_resized_crop_shows_its_window():
    """Of a ramp in x and y the crop's means tell where it was cut, and both directions are reachable."""
    ramp = np.zeros((200, 240, 3), np.uint8)
    ramp[..., 0], ramp[..., 1] = np.arange(240), np.arange(200)[:, None]
    flips = set()
    for seed in range(20):
        crop = CropResize(256, 64, rng=np.random.default_rng(seed), resized=True)
        cut = crop(ramp).astype(int)
        (x, y, width, height), (*_, flip) = crop.plan[1], crop.plan[2][0]
        np.testing.assert_allclose(cut.mean(axis=(0, 1))[:2], [x + (width - 1) / 2, y + (height - 1) / 2], atol=1)
        assert (cut[0, 0, 0] > cut[0, -1, 0]) == flip
        flips.add(flip)
    assert flips == {False, True}


def test_frames_of_another_size_are_brought_to_the_first_ones():
    crop = CropResize(48, 32, rng=np.random.default_rng(1), resized=True)
    assert crop(noise()).shape == crop(noise(24, 32)).shape == (32, 32, 3)


def test_colours_stay_in_their_ranges():
    """Grey shows brightness, contrast and light; saturation and hue leave it grey up to the light."""
    rng = np.random.default_rng(0)
    maps = np.array([colour_matrix(rng) for _ in range(2000)])
    greys = maps[:, :, :3] @ np.full(3, 100.0) + maps[:, :, 3]
    level = greys @ YIQ[0]
    assert 35 < level.min() < 55 and 130 < level.max() < 150  # 44 to 134, and the light
    assert 0.5 < np.abs(greys - level[:, None]).max() < 3
    unchanged = [np.allclose(m[:, :3], np.eye(3)) for m in maps]
    assert 0.09 < np.mean(unchanged) < 0.16  # contrast, saturation and hue all off: 1 in 8
    offsets = np.array([m[:, 3] for m, plain in zip(maps, unchanged, strict=True) if plain])
    assert np.abs(offsets.mean(axis=1)).max() < 32 + 15  # brightness, and the light


def test_off_by_default():
    frame = noise()
    crop = CropResize(48, 32, resize="keep_ratio", rng=np.random.default_rng(0))
    cut = crop(frame)
    x, y, flip = crop.plan[2][0]
    np.testing.assert_array_equal(cut, frame[y : y + 32, x : x + 32][:, :: -1 if flip else 1])


def flipping(folder, flip, names=("left turn", "wave", "right turn")):
    (folder / "names.txt").write_text("\n".join(names))
    sizes = {"short_size": 36, "target_size": 32, "flip": flip}
    return find("TSN").config_class(
        MODEL={"num_classes": 3, "class_names": str(folder / "names.txt"), "format": "mp4"}, TRAIN=sizes
    )


def test_mirrored_clips_change_their_label_by_name(tmp_path):
    clips = tiny.make_clips(tmp_path / "clips", count=2)

    def read(flip):
        config = flipping(tmp_path, flip)
        items = read_clip_list(clips, "TRAIN.filelist", 3, labelled=True, data_root=None, fallback="mp4")
        data = ClipDataset(config, "train", items, seed=1)
        return [data.read(index, epoch)[:2] for index in (0, 1) for epoch in range(8)]

    plain, mapped, still = read(True), read({"right turn": "left turn"}), read(False)
    mirrored = [not np.array_equal(one[0], other[0]) for one, other in zip(plain, still, strict=True)]
    assert {True, False} == set(mirrored[:8]) == set(mirrored[8:])
    for (frames, label), (same, new), turned in zip(plain, mapped, mirrored, strict=True):
        np.testing.assert_array_equal(frames, same)
        assert new == (2 if turned and label == 0 else label)  # class 1 has no counterpart
    for (frames, _), (cut, _), turned in zip(plain, still, mirrored, strict=True):
        np.testing.assert_array_equal(frames, cut[:, :, ::-1] if turned else cut)


def test_a_map_of_mirrored_classes_goes_both_ways_and_names_mistakes(tmp_path):
    assert mirrored_labels(flipping(tmp_path, {"left turn": "right turn"})) == {0: 2, 2: 0}
    assert mirrored_labels(flipping(tmp_path, True)) == mirrored_labels(flipping(tmp_path, False)) == {}
    with pytest.raises(ConfigError, match="TRAIN.flip 'left trun': no class .* did you mean 'left turn'?"):
        mirrored_labels(flipping(tmp_path, {"left trun": "right turn"}))
    with pytest.raises(ConfigError, match="TRAIN.flip 'right turn': it has two counterparts"):
        mirrored_labels(flipping(tmp_path, {"left turn": "right turn", "wave": "right turn"}))
    with pytest.raises(ConfigError, match="TRAIN.flip .* names classes: set MODEL.class_names"):
        mirrored_labels(find("TSN").config_class(TRAIN={"flip": {"a": "b"}}))

"""A clip may use so much memory: files that claim more are refused before anything is allocated for them."""

import struct
import zlib
from dataclasses import replace

import numpy as np
import pytest

from datareader.clips.dataset import ClipDataset
from datareader.clips.limits import DEFAULTS, claimed_entries
from datareader.clips.pickles import decode_image
from datareader.clips.transforms import CropResize
from datareader.clips.video import probe, read_frames
from datareader.lists import Item
from engine.configuration import configure
from support import bombs
from support.clips import write_clip
from utils.errors import DataError, VideoError


def test_an_index_of_millions_of_entries_in_a_few_bytes_is_refused(tmp_path):
    """Regression: FFmpeg allocated 4 GB for 3 kB."""
    for path in (bombs.long_mp4(tmp_path / "long.mp4"), bombs.long_fragment(tmp_path / "fragments.mp4")):
        assert path.stat().st_size < 10_000 and claimed_entries(path) >= 60_000_000
        for read in (probe, lambda path: read_frames(path, range)):
            with pytest.raises(
                VideoError, match="its header claims '[0-9]+' index entries.*MODEL.max_packets '2000000'"
            ):
                read(path)


def test_claims_are_counted_where_the_header_is_compressed_or_in_free_space(tmp_path):
    """FFmpeg reads a header in both places."""
    data = bombs.long_mp4(tmp_path / "long.mp4").read_bytes()
    start = next(bombs.boxes(data, (b"moov",)))
    packed = zlib.compress(data[start - 8 :])
    inner = struct.pack(">I4sI", 12 + len(packed), b"cmvd", len(data) - start + 8) + packed
    compressed = struct.pack(">I4sI4s", 16 + len(inner), b"moov", 8 + len(inner), b"cmov") + inner
    for name, content in (("free", data[: start - 4] + b"free" + data[start:]), ("cmov", compressed)):
        (tmp_path / name).write_bytes(content)
        assert claimed_entries(tmp_path / name) == claimed_entries(tmp_path / "long.mp4")


def test_uncompressed_sound_is_no_claim(tmp_path):
    path = bombs.write_with_pcm(tmp_path / "sound.mov")
    assert claimed_entries(path) < 10_000  # of 480,000 samples of sound
    assert read_frames(path, range).shape == (100, 48, 64, 3)


def test_what_a_file_claims_is_about_what_it_holds(tmp_path):
    assert 24 <= claimed_entries(write_clip(tmp_path / "a.mp4", frames=24)) <= 4 * 24
    assert claimed_entries(write_clip(tmp_path / "a.mkv", frames=24)) == 0


def test_a_frame_larger_than_the_limit_is_refused(tmp_path):
    """Regression: a GIF of 35 bytes took 1.8 GB."""
    with pytest.raises(VideoError, match="more than MODEL.max_pixels '67108864'"):
        read_frames(bombs.wide_gif(tmp_path / "wide.gif"), range)
    clip = write_clip(tmp_path / "a.mp4", size=(64, 48))
    for read in (probe, lambda path, limits: read_frames(path, range, limits=limits)):
        with pytest.raises(VideoError, match="frames of 64x48 pixels, more than MODEL.max_pixels '3071'"):
            read(clip, replace(DEFAULTS, pixels=64 * 48 - 1))
        read(clip, replace(DEFAULTS, pixels=64 * 48))


def test_more_packets_or_seconds_than_the_limits_are_refused(tmp_path):
    clip = write_clip(tmp_path / "a.mkv", frames=24, rate=10)
    with pytest.raises(VideoError, match="more than MODEL.max_packets '23' packets"):
        probe(clip, replace(DEFAULTS, packets=23))
    with pytest.raises(VideoError, match="its header says '2' seconds, more than MODEL.max_seconds '1'"):
        probe(clip, replace(DEFAULTS, seconds=1))
    assert probe(clip, replace(DEFAULTS, packets=24, seconds=3)).frames == 24


@pytest.mark.parametrize(("width", "height"), [(65500, 65500), (32000, 32000)])
def test_an_image_larger_than_the_limit_is_refused(width, height):
    """Regression: 65500x65500 ended the run with OpenCV's traceback, 32000x32000 took 7 GB."""
    with pytest.raises(VideoError, match=f"frame 2 has {width}x{height} pixels, more than MODEL.max_pixels"):
        decode_image(bombs.wide_jpeg(width, height), "a.pkl", 2)


def test_a_long_thin_frame_is_not_scaled_to_gigabytes():
    thin = np.zeros((2, 65500, 3), np.uint8)
    with pytest.raises(DataError, match="frames of 65500x2 pixels would become 8384000x256 pixels"):
        CropResize(256, 224, resize="keep_ratio")(thin)


def test_limits_come_from_the_configuration(tmp_path):
    _, config = configure("TSN", overrides={"MODEL.max_pixels": 1000})
    clip = write_clip(tmp_path / "a.mp4")
    bombs.wide_pickle(tmp_path / "p.pkl", 100, 100)
    items = [Item(path, 0, path.name) for path in (clip, tmp_path / "p.pkl")]
    dataset = ClipDataset(config, "infer", items)
    for index in range(2):
        with pytest.raises(VideoError, match="more than MODEL.max_pixels '1000'"):
            dataset.read(index, 0)

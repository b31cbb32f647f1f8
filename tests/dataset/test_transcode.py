"""A folder of clips re-encoded: every frame, frequent keyframes, true colours, nothing half done."""

import csv

import av
import numpy as np
import pytest

from datareader.clips.video import probe, read_frames
from dataset import transcode
from support import drivers
from support.clips import damage, write_clip
from utils.errors import ConfigError, DataError

NAME = 'it\'s a "test" (é): 100%.mp4'


def run(capsys, *words):
    return drivers.status(capsys, "dataset/transcode.py", *words)


def keyframes(path):
    with av.open(f"file:{path}") as container:
        return [
            number for number, packet in enumerate(p for p in container.demux(video=0) if p.size) if packet.is_keyframe
        ]


def same_pictures(source, target, levels):
    old, new = read_frames(source, range), read_frames(target, range)
    return (
        old.shape == new.shape and np.abs(old.astype(int) - new).mean() < levels and abs(old.mean() - new.mean()) < 1.5
    )


@pytest.fixture
def folder(tmp_path):
    """Three clips in a tree, of one group of pictures each."""
    source = tmp_path / "my 'clips'"
    for name in (NAME, "jump 2/b.mkv", "jump 2/deep/ä.mp4"):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        write_clip(source / name, frames=30, options={"g": "250", "crf": "10"})
    (source / "train.list").write_text("not a clip")
    return source


def test_a_tree_keeps_its_names_and_frames(folder, tmp_path, capsys):
    target = tmp_path / 'new "clips"'
    code, output = run(capsys, folder, target, "--gop", "8", "--crf=5", "--workers=2")
    assert code == 0 and "3 clips in" in output and "3 clips written" in output and "times as fast" in output
    assert {str(path.relative_to(target)) for path in target.rglob("*.*")} == {
        NAME,
        "jump 2/b.mp4",
        "jump 2/deep/ä.mp4",
    }
    found = keyframes(target / NAME)
    assert keyframes(folder / NAME) == [0] and all(0 < b - a <= 8 for a, b in zip(found, found[1:] + [30], strict=True))
    assert same_pictures(folder / NAME, target / NAME, 8) and same_pictures(
        folder / "jump 2/b.mkv", target / "jump 2/b.mp4", 8
    )
    info = probe(target / NAME)
    assert (info.codec, info.frames, info.fps) == ("h264", 30, 30)


def test_keyframes_are_not_the_sources(tmp_path):
    source = write_clip(tmp_path / "a.mp4", frames=30, options={"g": "1"})
    transcode.transcode(source, tmp_path / "b.mp4", transcode.Settings(gop=15))
    assert len(keyframes(source)) == 30 and len(keyframes(tmp_path / "b.mp4")) < 6


def test_a_dry_run_writes_nothing(folder, tmp_path, capsys):
    code, output = run(capsys, folder, tmp_path / "new", "--dry-run")
    assert (
        code == 0
        and "by 3 of them: " in output
        and "encoding takes about" in output
        and not (tmp_path / "new").exists()
    )


def test_a_second_run_does_what_is_left(folder, tmp_path, capsys):
    target = tmp_path / "new"
    (target / "jump 2").mkdir(parents=True)
    (target / "jump 2" / "b.mp4").write_bytes(b"kept")
    code, output = run(capsys, folder, target)
    assert code == 0 and "1 are in" in output and "2 clips written" in output
    assert (target / "jump 2" / "b.mp4").read_bytes() == b"kept"


def test_clips_that_cannot_be_read_whole_are_listed(folder, tmp_path, capsys):
    target = tmp_path / "new"
    damage(write_clip(folder / "damaged.mp4", frames=24, options={"g": "6", "bf": "0"}), 6, 24)
    (folder / "empty.mp4").write_bytes(b"")
    (folder / "link.mp4").symlink_to("nowhere.mp4")
    code, output = run(capsys, folder, target)
    assert code == 1 and "3 clips written" in output and "3 could not be read: see" in output
    with open(target / "failed.csv", encoding="utf-8", newline="") as file:
        reasons = {row["sample"]: row["reason"] for row in csv.DictReader(file)}
    assert (
        reasons[str(folder / "damaged.mp4")].startswith("damaged") and "0 bytes" in reasons[str(folder / "empty.mp4")]
    )
    assert sorted(path.name for path in target.iterdir()) == sorted([NAME, "jump 2", "failed.csv"])
    for name in ("damaged.mp4", "empty.mp4", "link.mp4"):
        (folder / name).unlink()
    assert run(capsys, folder, target)[0] == 0 and not (target / "failed.csv").exists()


def test_sizes_become_small_and_even(tmp_path):
    for size, short, wanted in (((161, 123), 256, (160, 124)), ((96, 64), 48, (72, 48)), ((50, 90), 30, (30, 54))):
        source = write_clip(tmp_path / "a.mkv", frames=3, size=size, pix_fmt="yuv444p")
        transcode.transcode(source, tmp_path / "b.mp4", transcode.Settings(short_size=short))
        info = probe(tmp_path / "b.mp4")
        assert (info.width, info.height) == wanted


@pytest.mark.parametrize(
    "options, levels",
    [
        ({"rotation": 90}, 4),
        ({"pix_fmt": "yuvj420p"}, 4),
        ({"options": {"crf": "5", "x264-params": "colormatrix=bt709"}}, 4),
        ({"codec": "libx264rgb", "pix_fmt": "bgr24"}, 10),
        ({"codec": "mpeg4", "options": {"b": "4M"}}, 4),
        ({"frames": 1}, 4),
    ],
    ids=["rotated", "full range", "bt709", "rgb", "mpeg4", "one frame"],
)
def test_colours_and_directions_stay(options, levels, tmp_path):
    """Red, green and blue keep their values but for what x264 and, of RGB sources, the coarser colour of 4:2:0
    change.
    """
    source = write_clip(tmp_path / "a.mp4", **{"options": {"crf": "5"}, "frames": 8} | options)
    transcode.transcode(source, tmp_path / "b.mp4", transcode.Settings(crf=1))
    assert same_pictures(source, tmp_path / "b.mp4", levels)


def test_sound_is_dropped(folder, tmp_path):
    source = tmp_path / "loud.mp4"
    with av.open(str(source), "w") as container:
        video, sound = container.add_stream("libx264", rate=10), container.add_stream("aac", rate=8000)
        video.width, video.height, video.pix_fmt = 32, 32, "yuv420p"
        for _ in range(5):
            container.mux(video.encode(av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8))))
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 4000), np.float32), format="fltp", layout="mono")
        silence.sample_rate = 8000
        container.mux(sound.encode(silence))
        container.mux(video.encode(None))
        container.mux(sound.encode(None))
    transcode.transcode(source, tmp_path / "quiet.mp4", transcode.Settings())
    with av.open(str(tmp_path / "quiet.mp4")) as container:
        assert [stream.type for stream in container.streams] == ["video"]


def test_folders_that_cannot_be_transcoded(folder, tmp_path):
    with pytest.raises(ConfigError, match="lies in the source folder"):
        transcode.find(folder, folder / "new")
    with pytest.raises(DataError, match="none' is not a folder"):
        transcode.find(tmp_path / "none", tmp_path / "new")
    (tmp_path / "bare").mkdir()
    with pytest.raises(DataError, match="holds no clip"):
        transcode.find(tmp_path / "bare", tmp_path / "new")
    write_clip(folder / "jump 2" / "b.mp4", frames=1)
    with pytest.raises(DataError, match="would both become"):
        transcode.find(folder, tmp_path / "new")

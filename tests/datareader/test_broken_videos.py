"""What is no video gives one VideoError that names the path, soon and without leaks.

Odd names and headers are no hindrance.
"""

import os
import threading

import av
import numpy as np
import pytest

from datareader.clips.video import probe, read_frames
from support.clips import damage, picture, write_clip
from utils.errors import VideoError


def middle(n):
    return [n // 2]


def missing(path):
    pass


def directory(path):
    path.mkdir()


def pipe(path):
    os.mkfifo(path)


def empty(path):
    path.touch()


def garbage(path):
    path.write_bytes(np.random.default_rng(0).bytes(20000))


def text(path):
    path.write_text("not a video at all\n" * 50)


def playlist(path):
    clip = write_clip(path.with_suffix(".ts"))
    path.write_text(f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{clip}\n")


def index_cut_off(path):
    write_clip(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def audio(path, cover=False):
    with av.open(str(path), "w") as container:
        sound = container.add_stream("aac", rate=8000, layout="mono")
        if cover:
            stream = container.add_stream("mjpeg", rate=1)
            stream.width, stream.height, stream.pix_fmt = 64, 48, "yuvj420p"
            stream.disposition = av.stream.Disposition.attached_pic
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture(0))) + stream.encode(None))
        samples = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.float32), format="fltp", layout="mono")
        samples.rate = 8000
        container.mux(sound.encode(samples) + sound.encode(None))


def audio_with_cover(path):
    audio(path, cover=True)


def undecodable(path):
    write_clip(path)
    damage(path, 0, 24)


def no_packets(path):
    """A header alone."""
    with av.open(str(path), "w") as container:
        container.add_stream("libx264", rate=30)
        container.start_encoding()


def no_width(path):
    """Raw pictures of 0 by 48 pixels, by the header."""
    write_clip(path, codec="rawvideo", pix_fmt="bgr24")
    content = bytearray(path.read_bytes())
    width = content.index(b"strf") + 8 + 4  # chunk name and size, then BITMAPINFOHEADER.biSize
    content[width : width + 4] = bytes(4)
    path.write_bytes(content)


@pytest.mark.parametrize(
    "make, file, reason",
    [
        (missing, "a.mp4", "does not exist"),
        (directory, "a.mp4", "is a folder; expected a file"),
        (pipe, "a.mp4", "is a pipe or a device"),
        (empty, "a.mp4", "0 bytes"),
        (garbage, "a.mp4", "not a readable video"),
        (text, "a.txt", "not a readable video"),
        (playlist, "a.m3u8", "not a readable video"),
        (index_cut_off, "a.mp4", "not a readable video"),
        (audio, "a.mp4", "no video stream"),
        (audio_with_cover, "a.mp4", "no video stream"),
        (undecodable, "a.mp4", "no frame of it can be decoded"),
        (no_packets, "a.mkv", "not a readable video"),
        (no_width, "a.avi", "no frame of it can be decoded"),
    ],
)
@pytest.mark.parametrize("read", [lambda path: read_frames(path, middle), probe], ids=["read_frames", "probe"])
def test_what_is_no_video(read, make, file, reason, tmp_path):
    path = tmp_path / file
    make(path)
    with pytest.raises(VideoError, match=reason) as caught:
        read(path)
    assert caught.value.path == str(path)
    assert str(caught.value).startswith(f"'{path}': ") and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "name", ["12:30.mp4", "http:x.mp4", "two words.mp4", "%03d.mp4", "-y.mp4", "ünïcode.mp4", b"\xff\xfe.mp4"]
)
def test_any_name_will_do(name, tmp_path, monkeypatch):
    clip = write_clip(tmp_path / "a.mp4", frames=3)
    monkeypatch.chdir(tmp_path)  # a bare name: nothing before the colon but the "protocol"
    os.rename(clip, name)
    assert read_frames(name, range).shape == (3, 48, 64, 3)


def test_tags_that_are_no_utf8(tmp_path):
    path = write_clip(tmp_path / "a.mp4", frames=3)
    content = path.read_bytes()
    assert b"Lavf" in content  # the muxer's name
    path.write_bytes(content.replace(b"Lavf", b"\xff\xfe\xfd\xfc"))
    assert probe(path).frames == 3


def test_files_are_closed(tmp_path):
    whole, cut = write_clip(tmp_path / "a.avi", codec="mpeg4"), tmp_path / "b.mp4"
    undecodable(cut)
    before = os.listdir("/proc/self/fd")
    for _ in range(3):
        read_frames(whole, middle)
        probe(whole)
        with pytest.raises(VideoError):
            read_frames(cut, middle)
        with pytest.raises(ZeroDivisionError):
            read_frames(whole, lambda n: 1 // 0)
    assert len(os.listdir("/proc/self/fd")) == len(before)


def test_threads_do_not_disturb_each_other(tmp_path):
    paths = [write_clip(tmp_path / file, frames=40) for file in ("a.mp4", "b.mkv", "c.avi", "d.ts")]
    expected = [read_frames(path, range) for path in paths]
    found = {}

    def read(worker):
        found[worker] = [read_frames(path, range) for path in paths for _ in range(3)]

    workers = [threading.Thread(target=read, args=(worker,)) for worker in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    for frames in found.values():
        np.testing.assert_array_equal(frames, [frames for frames in expected for _ in range(3)])
    assert len(found) == 4

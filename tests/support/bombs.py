"""Files of a few bytes that claim to be huge."""

import pickle
import struct
from collections.abc import Iterator
from pathlib import Path

import av
import cv2
import numpy as np

from support.clips import write_clip

TABLES = (b"moov", b"trak", b"mdia", b"minf", b"stbl")


def boxes(data: bytes, kinds: tuple, start: int = 0, end: int | None = None) -> Iterator[int]:
    """Where the content of each box at the path `kinds` of an MP4 file starts."""
    end = len(data) if end is None else end
    while start + 8 <= end:
        length, kind = struct.unpack(">I4s", data[start : start + 8])
        if kind == kinds[0] and len(kinds) == 1:
            yield start + 8
        elif kind == kinds[0]:
            yield from boxes(data, kinds[1:], start + 8, start + length)
        start += length


def long_mp4(path: Path, samples: int = 60_000_000) -> Path:
    """An MP4 of 3 kB whose index claims `samples` frames; FFmpeg takes 4 GB for 60 million."""
    data = bytearray(write_clip(path, frames=12, options={"g": "4", "bf": "0"}).read_bytes())
    for kind, numbers in (
        (b"stsz", (0, 10, samples)),
        (b"stts", (0, 1, samples, 512)),
        (b"stsc", (0, 1, 1, samples, 1)),
    ):
        for start in boxes(data, (*TABLES, kind)):
            struct.pack_into(f">{len(numbers)}I", data, start, *numbers)
    path.write_bytes(data)
    return path


def long_fragment(path: Path, samples: int = 60_000_000) -> Path:
    """A fragmented MP4 whose run claims `samples` frames."""
    write_clip(path, frames=12, muxer={"movflags": "frag_keyframe+empty_moov"})
    data = bytearray(path.read_bytes())
    for start in boxes(data, (b"moof", b"traf", b"trun")):
        struct.pack_into(">II", data, start, 0, samples)
    path.write_bytes(data)
    return path


def wide_gif(path: Path, side: int = 16000) -> Path:
    """A GIF of 35 bytes with one frame of side x side pixels."""
    screen = struct.pack("<HHBBB", side, side, 0x80, 0, 0) + bytes(6)
    image = b"\x2c" + struct.pack("<HHHHB", 0, 0, side, side, 0) + b"\x02\x02\x4c\x01\x00;"
    path.write_bytes(b"GIF89a" + screen + image)
    return path


def wide_jpeg(width: int, height: int) -> bytes:
    """A JPEG of a few hundred bytes whose header claims this size."""
    data = cv2.imencode(".jpg", np.zeros((16, 16, 3), np.uint8))[1].tobytes()
    start = data.index(b"\xff\xc0") + 5
    return data[:start] + struct.pack(">HH", height, width) + data[start + 4 :]


def wide_pickle(path: Path, width: int = 32000, height: int = 32000) -> Path:
    """A Kinetics pickle of 1 kB whose frames claim this size."""
    path.write_bytes(pickle.dumps((f"./{path.stem}", 0, [wide_jpeg(width, height)] * 3), 2))
    return path


def write_with_pcm(path: Path, seconds: int = 10) -> Path:
    """A QuickTime file with uncompressed sound: as many samples claimed as there are, a hundred times those of the
    video.
    """
    with av.open(str(path), "w") as container:
        video, sound = container.add_stream("libx264", rate=10), container.add_stream("pcm_s16le", rate=48000)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        for index in range(10 * seconds):
            picture = av.VideoFrame.from_ndarray(np.zeros((48, 64, 3), np.uint8))
            noise = av.AudioFrame.from_ndarray(np.zeros((1, 4800 * 2), np.int16), format="s16", layout="stereo")
            picture.pts, noise.pts, noise.sample_rate = index, 4800 * index, 48000
            container.mux(video.encode(picture))
            container.mux(sound.encode(noise))
        container.mux(video.encode(None))
        container.mux(sound.encode(None))
    return path

"""Damaged files by the thousand: each reads as what is left of it, or gives one DataError of one line that names it.

    python tests/support/mutations.py --inputs 2000

Runs as a process of its own, so that a crash of a decoder is noticed. It prints the number of each input before reading
it, and ends with a traceback if one takes longer than `--seconds`.
"""

import argparse
import faulthandler
import sys
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from datareader.clips.pickles import decode_image, read_pickle
from datareader.clips.sampling import frame_indices, segment_starts
from datareader.clips.transforms import CropResize
from datareader.clips.video import probe, read_frames
from datareader.features.shards import LRUCache, open_shard, pickled_videos
from dataset.youtube8m.synthetic import videos, write_shard
from support import tiny
from support.clips import write_clip
from utils.errors import DataError


def read_clip(path):
    def pick(count):
        return frame_indices(segment_starts(count, 3, 2, centre="frame"), 2, count)

    frames = read_frames(path, pick, CropResize(36, 32))
    assert frames.shape == (6, 32, 32, 3) and probe(path).frames > 0


def read_kinetics(path):
    name, label, jpegs = read_pickle(path)
    assert isinstance(name, str) and isinstance(label, int)
    crop = CropResize(36, 32)
    for i, jpeg in enumerate(jpegs):
        assert crop(decode_image(jpeg, path, i)).shape == (32, 32, 3)


def read_shard(path):
    shard = open_shard(path, LRUCache(pickled_videos, 1))
    for i in range(len(shard)):
        video = shard.video(i)
        assert len(video["rgb"]) == len(video["audio"]) > 0 and video["rgb"].dtype == np.uint8


def write_all(folder):
    """{file of a kind: function that reads it}."""
    for name, codec in (
        ("h264.mp4", "libx264"),
        ("h264.mkv", "libx264"),
        ("mpeg4.avi", "mpeg4"),
        ("h264.ts", "libx264"),
    ):
        write_clip(folder / name, frames=30, codec=codec, options={"g": "10"})
    tiny.make_pickle(folder / "two.pkl", 1)
    tiny.make_pickle(folder / "four.pkl", 1, protocol=4)
    for name in ("shard.pkl", "shard.tfrecord"):
        write_shard(folder / name, list(videos("train", 4, 4, 4)))
    readers = {".pkl": read_kinetics, ".tfrecord": read_shard}
    return {
        path: read_shard if path.stem == "shard" else readers.get(path.suffix, read_clip)
        for path in sorted(folder.iterdir())
    }


def mutated(content, rng):
    """A copy with one to four changes: flipped bits, overwritten bytes, a part removed, repeated or random, no end."""
    data = bytearray(content)
    for _ in range(rng.integers(1, 5)):
        # Half of them near an end, where headers and indices are.
        at = int(
            rng.integers(0, len(data) + 1)
            if rng.random() < 0.5
            else rng.choice([0, max(0, len(data) - 200)]) + rng.integers(0, 200)
        )
        size = int(2 ** rng.uniform(0, 10))
        kind = rng.integers(0, 6)
        if kind == 0:
            data[at : at + 1] = bytes(byte ^ 1 << int(rng.integers(0, 8)) for byte in data[at : at + 1])
        elif kind == 1:
            data[at : at + size] = rng.bytes(len(data[at : at + size]))
        elif kind == 2:
            del data[at : at + size]
        elif kind == 3:
            data[at:at] = data[at : at + size]
        elif kind == 4:
            data[at:at] = rng.bytes(size)
        else:
            del data[max(1, at) :]
    return bytes(data)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inputs", type=int, default=2000)
    parser.add_argument("--first", type=int, default=0, help="number of the first one, to see one again")
    parser.add_argument("--seconds", type=float, default=30, help="that reading one may take")
    args = parser.parse_args()
    outcomes = Counter()
    with tempfile.TemporaryDirectory() as folder:
        kinds = write_all(Path(folder))
        contents = {path: path.read_bytes() for path in kinds}
        for path, read in kinds.items():
            read(path)
        for number in range(args.first, args.first + args.inputs):
            path = list(kinds)[number % len(kinds)]
            print(f"input {number}: {path.name}", flush=True)
            path.write_bytes(mutated(contents[path], np.random.default_rng(number)))
            faulthandler.dump_traceback_later(args.seconds, exit=True)
            try:
                kinds[path](path)
                outcomes[path.name, "read"] += 1
            except DataError as error:
                assert str(path) in str(error) and "\n" not in str(error), str(error)
                outcomes[path.name, "refused"] += 1
            faulthandler.cancel_dump_traceback_later()
    for path in kinds:
        print(f"{path.name}: {outcomes[path.name, 'read']} read, {outcomes[path.name, 'refused']} refused")


if __name__ == "__main__":
    main()

"""Speed of the clip side on one CPU core: sparse decoding against reading every frame, as the old zoo did.

    python benchmarks/data.py
    python benchmarks/data.py --source clip.mp4     # its pictures instead of generated ones

From file to a cropped sample, files in the page cache. Both ways take turns on the same clips; printed are the median
CPU milliseconds per clip (1000 / ms = clips a second on one core) and their ratio. The old sample is normalised
float32, the new one uint8: normalisation moved into the graph and is not in the new number.
"""

import statistics
import tempfile
import time
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
from PIL import Image

from datareader.clips.sampling import frame_indices, segment_starts
from datareader.clips.transforms import CropResize, centre_offset, scaled_size
from datareader.clips.video import read_frames
from utils import cli

FRAMES, TARGET = 300, 224
MEAN, STD = np.array([0.485, 0.456, 0.406], np.float32), np.array([0.229, 0.224, 0.225], np.float32)


def segments(number, length):
    return lambda count: frame_indices(segment_starts(count, number, length, centre="frame"), length, count)


PATTERNS = {
    "TSN 3": segments(3, 1),
    "TSN 25": segments(25, 1),
    "STNET 7x5": segments(7, 5),
    "STNET 25x5": segments(25, 5),
    "TPN 8x8": lambda count: range(count // 2 - 32, count // 2 + 32, 8),
}


def landscape(size, seed=0):
    """A camera that pans over soft noise, with a box that crosses it: FRAMES pictures."""
    width, height = size
    rng = np.random.default_rng(seed)
    scene = sum(
        cv2.resize(
            rng.normal(0, 10 * 2**k, (height // 2**k + 8, width // 2**k + 8, 3)),
            (2 * width, 2 * height),
            interpolation=cv2.INTER_CUBIC,
        )
        for k in range(1, 6)
    )
    scene = np.clip(scene / 2 + 128, 0, 255).astype(np.uint8)
    for i in range(FRAMES):
        x, y = (int(part * (1 + np.sin(i / period)) / 2) for part, period in ((width, 60), (height, 45)))
        image = scene[y : y + height, x : x + width].copy()
        image[height // 3 : height // 2, 2 * i % (width - 64) :][:, :64] = i % 256
        yield image


def replayed(source, size):
    """FRAMES pictures of a video, scaled to `size`, to and fro."""
    frames = read_frames(source, range, lambda frame: cv2.resize(frame, size, interpolation=cv2.INTER_CUBIC))
    there_and_back = [*range(len(frames)), *range(len(frames) - 2, 0, -1)]
    yield from (frames[there_and_back[i % len(there_and_back)]] for i in range(FRAMES))


def make_clip(path, gop, size, pictures):
    """10 seconds of H.264."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=30, options={"g": str(gop), "crf": "23"})
        (stream.width, stream.height), stream.pix_fmt = size, "yuv420p"
        for i, image in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(image)
            frame.pts, frame.time_base = i, Fraction(1, 30)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def old_way(path, pick, short_size):
    """Decode and convert all, then scale with Pillow, crop and normalise what was picked (old zoo v1.5)."""
    capture, frames = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1]), []
    for _ in range(int(capture.get(cv2.CAP_PROP_FRAME_COUNT))):
        read, frame = capture.read()
        if read:
            frames.append(frame[:, :, ::-1])
    sample = []
    for index in pick(len(frames)):
        image = Image.fromarray(frames[index])
        size = scaled_size(*image.size, short_size)
        image = image if image.size == size else image.resize(size, Image.BILINEAR)
        left, top = (centre_offset(side, TARGET) for side in size)
        image = np.asarray(image.crop((left, top, left + TARGET, top + TARGET)), np.float32)
        sample.append(((image / 255 - MEAN) / STD).transpose(2, 0, 1))
    return np.stack(sample)


def new_way(path, pick, short_size):
    return read_frames(path, pick, CropResize(short_size, TARGET))


def compare(path, pick, short_size, rounds):
    """Median CPU milliseconds of the two ways, which take turns so that a slow spell of the machine hits both."""
    taken = {old_way: [], new_way: []}
    for _ in range(rounds):
        for way, times in taken.items():
            start = time.process_time()
            way(path, pick, short_size)
            times.append(1000 * (time.process_time() - start))
    return [statistics.median(times) for times in taken.values()]


def main(argv=None):
    parser = cli.Parser(prog="data.py", description=__doc__)
    parser.add_argument("--source", help="video whose pictures the clips show (default: generated ones)")
    parser.add_argument(
        "--short_size", type=cli.at_least(TARGET), default=256, help="short side before the crop (default: 256)"
    )
    parser.add_argument("--rounds", type=cli.at_least(1), default=3, help="times each way is timed (default: 3)")
    args = parser.parse_args(argv)
    cv2.setNumThreads(1)
    print(f"{'clip':>14} {'pattern':>10} {'old ms':>8} {'new ms':>8} {'new clips/s':>12} {'ratio':>6}")
    with tempfile.TemporaryDirectory() as folder:
        for width, height in ((340, 256), (1280, 720)):
            for gop in (1, 12, 50, 250):
                path = Path(folder) / f"{width}-{gop}.mp4"
                size = (width, height)
                make_clip(path, gop, size, replayed(args.source, size) if args.source else landscape(size))
                for name, pick in PATTERNS.items():
                    old, new = compare(path, pick, args.short_size, args.rounds)
                    print(
                        f"{f'{width} g{gop}':>14} {name:>10} {old:8.0f} {new:8.1f} {1000 / new:12.1f} {old / new:6.1f}",
                        flush=True,
                    )


if __name__ == "__main__":
    cli.run(main)

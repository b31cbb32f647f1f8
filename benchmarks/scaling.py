"""Ways to scale a frame to a short side of 256: CPU milliseconds, and how far the pixels are from Pillow's bilinear
(the old zoo's).

    python benchmarks/scaling.py clip.mp4

The middle frame of the video, enlarged or shrunk beforehand to each source size; difference in grey levels: mean / 99th
percentile / largest. `chosen` is what the readers do by default; `one step` is Pillow scaling the central 224x224
window alone.
"""

import time

import cv2
import numpy as np
from PIL import Image

from datareader.clips.transforms import centre_offset, scale, scaled_size
from datareader.clips.video import read_frames
from utils import cli

SOURCES = ((1920, 1080), (1280, 720), (854, 480), (640, 360), (480, 320), (320, 240))
TARGET = 224


def pillow(frame, size):
    return scale(frame, size, "pil")


def one_step(frame, size):
    """The window that a centre crop would cut, straight from the source."""
    ratios = [side / scaled for side, scaled in zip(frame.shape[1::-1], size, strict=True)]
    x, y = (centre_offset(side, TARGET) for side in size)
    box = (x * ratios[0], y * ratios[1], (x + TARGET) * ratios[0], (y + TARGET) * ratios[1])
    return np.asarray(Image.fromarray(frame).resize((TARGET, TARGET), Image.BILINEAR, box=box))


WAYS = {
    "Pillow": pillow,
    "one step": one_step,
    "chosen": scale,
    "OpenCV linear": lambda frame, size: cv2.resize(frame, size, interpolation=cv2.INTER_LINEAR),
    "OpenCV area": lambda frame, size: cv2.resize(frame, size, interpolation=cv2.INTER_AREA),
}


def milliseconds(way, frame, size, rounds=20):
    """CPU time of the fastest round."""
    taken = []
    for _ in range(rounds):
        start = time.process_time()
        way(frame, size)
        taken.append(1000 * (time.process_time() - start))
    return min(taken)


def difference(found, wanted):
    if found.shape != wanted.shape:  # a window
        x, y = (centre_offset(side, TARGET) for side in wanted.shape[1::-1])
        wanted = wanted[y : y + TARGET, x : x + TARGET]
    levels = np.abs(found.astype(int) - wanted)
    return f"{levels.mean():.2f} / {np.percentile(levels, 99):.0f} / {levels.max()}"


def main(argv=None):
    parser = cli.Parser(prog="scaling.py", description=__doc__)
    parser.add_argument("video", help="any that can be read; a detailed one of 720 lines or more tells most")
    args = parser.parse_args(argv)
    cv2.setNumThreads(1)
    middle = read_frames(args.video, lambda count: [count // 2])[0]
    for source in SOURCES:
        frame = np.asarray(Image.fromarray(middle).resize(source, Image.BICUBIC))
        size = scaled_size(*source, 256)
        wanted = pillow(frame, size)
        print(f"{source[0]}x{source[1]} -> {size[0]}x{size[1]}")
        for name, way in WAYS.items():
            print(f"    {name:14} {milliseconds(way, frame, size):6.2f} ms   {difference(way(frame, size), wanted)}")


if __name__ == "__main__":
    cli.run(main)

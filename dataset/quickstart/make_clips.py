"""A small set of synthetic clips whose classes differ in motion only.

    python dataset/quickstart/make_clips.py quickstart_data

A square rises, falls, grows or shrinks over a noisy background. Rising is falling played backwards, and growing is
shrinking played backwards: no single frame, nor all of them without their order, tells the two of a pair apart.
(All four survive the horizontal flip of training.) Writes clips/<class>/*.mp4, train.list, val.list and classes.txt.
"""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import av
import numpy as np
from tqdm.contrib.concurrent import thread_map

from utils import cli

CLASSES = ("rising", "falling", "growing", "shrinking")
WIDTH, HEIGHT, FRAMES, RATE = 128, 96, 30, 15


def frames(name: str, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """RGB uint8 [FRAMES, HEIGHT, WIDTH, 3] of one clip of class `name`."""
    background = rng.integers(40, 120, (HEIGHT, WIDTH, 3))
    colour = rng.integers(140, 256, 3)
    x, margin = rng.integers(30, WIDTH - 30), rng.uniform(0.0, 0.1)
    size, level = rng.uniform(18, 26), rng.uniform(0.35, 0.65) * HEIGHT
    for t in np.linspace(margin, 1 - margin, FRAMES):
        progress = 1 - t if name in ("falling", "shrinking") else t
        if name in ("rising", "falling"):
            side, y = size, HEIGHT * (0.85 - 0.7 * progress)
        else:
            side, y = 8 + 44 * progress, level
        image = background + rng.integers(-15, 16, (HEIGHT, WIDTH, 1))
        top, left = int(y - side / 2), int(x - side / 2)
        image[max(0, top) : max(0, int(top + side)), max(0, left) : int(left + side)] = colour
        yield np.clip(image, 0, 255).astype(np.uint8)


def write_clip(
    path: str | Path, images: Iterable[np.ndarray], rate: int = RATE, codec: str = "libx264", **options: str
) -> None:
    """Encode RGB uint8 images [H, W, 3] (even sizes) as a clip."""
    with av.open(str(path), "w") as container:
        stream = None
        for image in images:
            if stream is None:
                stream = container.add_stream(codec, rate=rate, options=options)
                stream.height, stream.width = image.shape[:2]
                stream.pix_fmt = "yuv420p"
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode(None))


def make(folder: str | Path, train: int = 64, val: int = 12, seed: int = 0) -> tuple[Path, Path]:
    """Write `train` and `val` clips per class under `folder`; returns the paths of the two lists."""
    folder = Path(folder)
    counts = {"train": train, "val": val}
    lines = {part: [] for part in counts}
    jobs = [
        (part, label, name, i) for part in counts for label, name in enumerate(CLASSES) for i in range(counts[part])
    ]
    for name in CLASSES:
        (folder / "clips" / name).mkdir(parents=True, exist_ok=True)

    def write(job: tuple[str, int, str, int]) -> str:
        part, label, name, i = job
        path = folder / "clips" / name / f"{part}_{i:03d}.mp4"
        write_clip(path, frames(name, np.random.default_rng([seed, part == "val", label, i])))
        return f"{path.relative_to(folder)} {label}"

    for (part, *_), line in zip(jobs, thread_map(write, jobs, desc="clips", disable=None), strict=True):
        lines[part].append(line)
    for part, rows in lines.items():
        (folder / f"{part}.list").write_text("\n".join(rows) + "\n", encoding="utf-8")
    (folder / "classes.txt").write_text("\n".join(CLASSES) + "\n", encoding="utf-8")
    return folder / "train.list", folder / "val.list"


def main(argv: Sequence[str] | None = None) -> None:
    parser = cli.Parser(prog="dataset/quickstart/make_clips.py", description=__doc__)
    parser.add_argument("folder", type=cli.given, help="where to write, for example quickstart_data")
    parser.add_argument("--train", type=cli.at_least(1), default=64, help="training clips per class (default: 64)")
    parser.add_argument("--val", type=cli.at_least(1), default=12, help="validation clips per class (default: 12)")
    parser.add_argument("--seed", type=cli.at_least(0), default=0, help="of the pictures (default: 0)")
    args = parser.parse_args(argv)
    make(args.folder, args.train, args.val, args.seed)
    print(f"{len(CLASSES)} classes, {args.train} training and {args.val} validation clips each, in '{args.folder}'")


if __name__ == "__main__":
    cli.run(main)

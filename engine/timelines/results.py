"""What a user gets of a timeline: lines on the screen, files, a page, a drawn video."""

import argparse
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from tqdm import tqdm

from datareader import lists
from datareader.clips.limits import Limits
from datareader.long.windows import MICRO
from metrics.timeline import Window
from reports.pages import page
from reports.pages import timeline as pages
from reports.timelines import drawn, files
from utils.errors import ConfigError
from utils.names import printable

__all__ = ["drawn_files", "text", "with_bar", "write"]

SHOWN = 40  # segments of a video on the screen
BAR = "{desc}: {percentage:3.0f} %|{bar}| {n:.0f} of {total:.0f} s of video{postfix}, {remaining} left"
ENDLESS = "{desc}: {n:.0f} s of video{postfix}"


def text(video: files.Video) -> str:
    """The segments of a video for the screen."""
    found, windows = video.timeline.segments, len(video.timeline.windows)
    lines = [
        f"\t{files.clock(s.start)} to {files.clock(s.end)}  {100 * s.score:5.1f} %  {printable(s.name)}"
        for s in found[:SHOWN]
    ]
    if len(found) > SHOWN:
        lines.append(f"\t... {len(found) - SHOWN} more in {printable(video.name)}_timeline.csv")
    counts = f"{_counted(windows, 'window')}, {_counted(len(found), 'segment')}"
    return "\n".join([f"{printable(video.path)}: {counts}", *lines])


def _counted(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def drawn_files(draw: str | None, videos: dict[str, lists.Item]) -> dict[str, Path]:
    """{name of a video: the file that --draw makes of it}. Raises ConfigError."""
    if not draw:
        return {}
    found, ending = {name: Path(draw) / f"{name}_drawn.mp4" for name in videos}, Path(draw).suffix.lower()
    if ending in lists.CLIPS and ending not in drawn.ENDINGS:
        raise ConfigError(f"--draw '{draw}' ends with '{ending}'; expected {', '.join(drawn.ENDINGS)}, or a folder")
    if ending in drawn.ENDINGS:
        if len(videos) > 1:
            raise ConfigError(f"--draw '{draw}' is one file for {len(videos)} videos; give a folder")
        found = dict.fromkeys(videos, Path(draw))
    for name, path in found.items():
        if path.exists() and Path(videos[name].path).exists() and path.samefile(videos[name].path):
            raise ConfigError(f"--draw '{path}' is the video itself; name another file")
    return found


def write(
    args: argparse.Namespace, predictor: Any, video: files.Video, lengths: tuple[int, int], target: Path | None
) -> list:
    """Write tables and subtitles, the video with its names drawn in to `target`, the picture and the page.

    lengths: of window and stride in microseconds. Returns the paths. Raises ConfigError, VideoError.
    """
    paths = files.write_segments(args.save_dir, video)
    if target:
        limits = Limits.of(predictor.config.MODEL)
        with tqdm(
            total=video.timeline.windows[-1].end, desc="drawing", bar_format=BAR, disable=None, leave=False
        ) as bar:
            paths.append(drawn.draw(video.path, target, video.timeline, limits, _mover(bar)))
    if args.no_report:
        return paths
    facts = page.Facts(
        protocol=page.protocol(predictor.config, "infer"),
        command=page.command(),
        weights=str(args.exported or args.weights or f"the released ones of {predictor.model.name}"),
    )
    seconds = lengths[0] / MICRO, lengths[1] / MICRO
    made = page.attempt("page", lambda: pages.write(args.save_dir, video, seconds, facts, target))
    return [*(made or []), *paths]


def _mover(bar: tqdm):
    """A function that moves a bar to a place in the video."""

    def move(seconds: float) -> None:
        bar.update(max(0.0, min(seconds, bar.total or seconds) - bar.n))

    return move


def with_bar(windows: Iterable[Window], name: str, seconds: float, start: float) -> Iterator[Window]:
    """The windows, with a bar that shows the place in a video of about so many seconds, the speed and the time left."""
    began = time.monotonic()
    shown = {"total": seconds, "bar_format": BAR} if seconds else {"bar_format": ENDLESS}
    with tqdm(initial=start, desc=name, disable=None, leave=False, **shown) as bar:
        move = _mover(bar)
        for window in windows:
            yield window
            speed = (window.end - start) / max(time.monotonic() - began, 1e-6)
            bar.set_postfix_str(f"{speed:.1f} times real time", refresh=False)
            move(window.end)

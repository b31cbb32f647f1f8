"""What `infer.py --window_seconds` does: windows of each video, their segments, and the files of both."""

import argparse
import logging
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from tqdm import tqdm

from datareader import READERS, lists
from datareader.clips.limits import Limits
from datareader.clips.video import header
from engine.reporting.opening import announce
from engine.timelines import kept
from engine.timelines.windows import lengths, stream
from metrics.timeline import Timeline, Window, segments
from reports.timelines import files
from storage import addresses
from utils.errors import ConfigError, DataError, RemoteError
from utils.names import printable

__all__ = ["check", "run"]

log = logging.getLogger("zoo")

SHOWN = 40  # segments of a video on the screen
SAVE_SECONDS = 60.0  # of work that may be lost where the process is killed
BAR = "{desc}: {percentage:3.0f} %|{bar}| {n:.0f} of {total:.0f} s of video{postfix}, {remaining} left"


def check(args: argparse.Namespace) -> None:
    """Raises ConfigError for flags of infer.py that do not go together."""
    given = {
        "--stride_seconds": args.stride_seconds,
        "--threshold": args.threshold,
        "--min_seconds": args.min_seconds,
        "--unsure": args.unsure,
        "--resume_windows": args.resume_windows,
    }
    alone = [flag for flag, value in given.items() if value]
    if alone and not args.window_seconds:
        raise ConfigError(f"{alone[0]} '{given[alone[0]]}' is for long videos; give --window_seconds too")
    if args.smooth_windows % 2 == 0:
        raise ConfigError(f"--smooth_windows '{args.smooth_windows}' is even; a median needs an odd number")


def run(args: argparse.Namespace, predictor: Any, clips: Sequence[str]) -> int:
    """Classify the windows of all videos, write and print; returns the exit status.

    args: flags of infer.py; clips: files and folders, else the list INFER.filelist
    """
    length, step = lengths(predictor.network, args.window_seconds, args.stride_seconds)
    reader = READERS[predictor.model.data]
    found = (
        reader.from_paths(predictor.config, "infer", clips) if clips else reader.from_config(predictor.config, "infer")
    )
    announce(predictor.config, "infer", args.save_dir)
    videos, failed, paths = [], 0, []
    for item, name in zip(found.items, _names(found.items), strict=True):
        try:
            video = _video(args, predictor, item, name, length, step, paths)
        except (DataError, RemoteError) as error:
            log.error("not classified: %s", error)
            failed += 1
            continue
        videos.append(video)
        print(_shown(video))
    if videos:
        paths += files.write_all(args.save_dir, predictor.model.name, videos)
    log.info("[INFER] timelines finished. classified %d of %d", len(videos), len(found.items))
    log.info("written: %s", ", ".join(map(str, paths)))
    return 1 if failed else 0


def _video(args, predictor, item: lists.Item, name: str, length: int, step: int, paths: list) -> files.Video:
    """The timeline of one video, whose files are written and appended to `paths`."""
    seconds, fps = header(item.path, Limits.of(predictor.config.MODEL))
    windows = _windows(args, predictor, item, name, length, step, seconds)
    found = segments(windows, predictor.names, args.threshold, args.min_seconds, args.smooth_windows, args.unsure)
    video = files.Video(name, item.name, fps, Timeline(windows, found, predictor.names))
    paths += [*files.write_segments(args.save_dir, video), _scores_file(args, name)]
    return video


def _windows(args, predictor, item, name, length, step, seconds) -> list[Window]:
    """All windows of a video of about so many seconds; what is done is kept, also by Ctrl-C."""
    path = _scores_file(args, name)
    windows = kept.restart(path, predictor.names, length, step) if args.resume_windows else []
    last = windows.pop() if windows else None  # scored again, to see that video and weights are the same
    if last:
        log.info("%s: going on at %s", item.name, files.clock(last.start))
    source = stream(predictor.network, item.path, length, step, len(windows))
    saved = time.monotonic()
    try:
        for window in _with_bar(source, name, seconds, last.start if last else 0.0):
            if last:
                kept.require_same(path, last, window)
                last = None
            windows.append(window)
            if time.monotonic() - saved > SAVE_SECONDS:
                kept.write(path, windows, predictor.names, length, step)
                saved = time.monotonic()
    except KeyboardInterrupt:
        if windows:
            kept.write(path, windows, predictor.names, length, step)
            log.warning("kept %d windows in %s; go on with --resume_windows", len(windows), path)
        raise
    kept.write(path, windows, predictor.names, length, step)
    return windows


def _with_bar(windows: Iterator[Window], name: str, seconds: float, start: float) -> Iterator[Window]:
    """The windows, with a bar that shows the place in the video, the speed and the time left."""
    began = time.monotonic()
    with tqdm(total=seconds or None, initial=start, desc=name, bar_format=BAR, disable=None, leave=False) as bar:
        for window in windows:
            yield window
            speed = (window.end - start) / max(time.monotonic() - began, 1e-6)
            bar.set_postfix_str(f"{speed:.1f} times real time", refresh=False)
            bar.update(min(window.end, bar.total or window.end) - bar.n)


def _names(items: Sequence[lists.Item]) -> Iterator[str]:
    """What the files of each video are called: its own name, with a number where an earlier one has it too."""
    counts = Counter()
    for item in items:
        stem = addresses.stem(item.path)
        counts[stem] += 1
        yield stem if counts[stem] == 1 else f"{stem}-{counts[stem]}"


def _scores_file(args, name):
    return addresses.join(args.save_dir, f"{name}_scores.npz")


def _shown(video: files.Video) -> str:
    """The segments for the screen."""
    found = video.timeline.segments
    lines = [
        f"\t{files.clock(s.start)} to {files.clock(s.end)}  {100 * s.score:5.1f} %  {printable(s.name)}"
        for s in found[:SHOWN]
    ]
    if len(found) > SHOWN:
        lines.append(f"\t... {len(found) - SHOWN} more in {video.name}_timeline.csv")
    windows = len(video.timeline.windows)
    return "\n".join([f"{printable(video.path)}: {windows} windows, {len(found)} segments", *lines])

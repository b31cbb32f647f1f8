"""What `infer.py --window_seconds` does: windows of each video, their segments, and the files of both."""

import argparse
import logging
import os
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from datareader import READERS, lists
from datareader.clips.limits import Limits
from datareader.clips.video import header
from engine.reporting.opening import announce
from engine.timelines import kept, results
from engine.timelines.windows import lengths, stream
from metrics.timeline import Timeline, Window, segments
from reports.timelines import files
from storage import addresses
from utils.errors import ConfigError, DataError, RemoteError

__all__ = ["check", "run"]

log = logging.getLogger("zoo")

FEW = 3  # videos up to which all files are named
SAVE_SECONDS = 60.0  # of work that may be lost where the process is killed


def check(args: argparse.Namespace) -> None:
    """Raises ConfigError for flags of infer.py that do not go together."""
    given = {
        "--stride_seconds": args.stride_seconds,
        "--threshold": args.threshold,
        "--min_seconds": args.min_seconds,
        "--unsure": args.unsure,
        "--resume_windows": args.resume_windows,
        "--draw": args.draw,
    }
    alone = [flag for flag, value in given.items() if value]
    if alone and not args.window_seconds:
        raise ConfigError(f"{alone[0]} '{given[alone[0]]}' is for long videos; give --window_seconds too")
    if args.smooth_windows % 2 == 0:
        raise ConfigError(f"--smooth_windows '{args.smooth_windows}' is even; a median needs an odd number")
    if args.draw and addresses.is_remote(args.draw):
        raise ConfigError(f"--draw '{args.draw}' is an address; give a file or folder of this machine")


def run(args: argparse.Namespace, predictor: Any, clips: Sequence[str]) -> int:
    """Classify the windows of all videos, write and print; returns the exit status.

    args: flags of infer.py; clips: files and folders, else the list INFER.filelist
    """
    length, step = lengths(predictor.network, args.window_seconds, args.stride_seconds)
    reader = READERS[predictor.model.data]
    found = (
        reader.from_paths(predictor.config, "infer", clips) if clips else reader.from_config(predictor.config, "infer")
    )
    targets = dict(zip(_names(found.items), found.items, strict=True))
    drawn = results.drawn_files(args.draw, targets)
    announce(predictor.config, "infer", args.save_dir)
    videos, failed, paths = [], 0, []
    for name, item in targets.items():
        try:
            video = _video(args, predictor, item, name, length, step)
            print(results.text(video))
            videos.append(replace(video, timeline=replace(video.timeline, windows=[])))  # scores are in a file
            paths += [_scores_file(args, name), *results.write(args, predictor, video, (length, step), drawn.get(name))]
        except (DataError, RemoteError) as error:
            log.error("not classified: %s", error)
            failed += 1
        except ConfigError as error:  # the drawn video cannot be written: others may be
            log.error("%s: not finished: %s", item.name, error)
            failed += 1
    if videos:
        paths += files.write_all(args.save_dir, predictor.model.name, videos)
    log.info("[INFER] timelines finished. classified %d of %d", len(found.items) - failed, len(found.items))
    if len(videos) > FEW:
        log.info("written: for each video its files in '%s', and", args.save_dir)
        paths = paths[-2:]
    if paths:
        log.info("written: %s", ", ".join(map(str, paths)))
    return 1 if failed else 0


def _video(args, predictor, item: lists.Item, name: str, length: int, step: int) -> files.Video:
    """The timeline of one video, whose scores are written."""
    seconds, fps = header(item.path, Limits.of(predictor.config.MODEL))
    size = _size(item.path)
    windows = _windows(args, predictor, item, name, length, step, seconds)
    if _size(item.path) != size:
        log.warning(
            "'%s' grew while it was read; its windows end at %s, and --resume_windows goes on from there",
            item.name,
            files.clock(windows[-1].end),
        )
    found = segments(windows, predictor.names, args.threshold, args.min_seconds, args.smooth_windows, args.unsure)
    return files.Video(name, str(item.path), fps, Timeline(windows, found, predictor.names))


def _size(path) -> int | None:
    return None if addresses.is_remote(path) else os.path.getsize(path)


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
        for window in results.with_bar(source, name, seconds, last.start if last else 0.0):
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


def _names(items: Sequence[lists.Item]) -> Iterator[str]:
    """What the files of each video are called: its own name, with a number where an earlier one has it too."""
    counts = Counter()
    for item in items:
        stem = addresses.stem(item.path)
        counts[stem] += 1
        yield stem if counts[stem] == 1 else f"{stem}-{counts[stem]}"


def _scores_file(args, name):
    return addresses.join(args.save_dir, f"{name}_scores.npz")

"""The page of a long video: a player, and a timeline whose segments are played when they are clicked.

It is the only page with a script, which the page's policy allows by its checksum. The video is not in the page: it is
played from where it lies beside it.
"""

import base64
import hashlib
import os
import urllib.parse
from pathlib import Path

from markupsafe import Markup

from metrics.timeline import Segment, Timeline
from reports.pages import page
from reports.pages.evaluation import Picture
from reports.timelines.files import Video, clock
from reports.timelines.picture import main_classes, picture
from storage import addresses

__all__ = ["write"]

LANES = 12  # classes in the clickable timeline
MOST = 1000  # segments in the table
TICKS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400)  # seconds between marks


def write(
    folder: str | Path, video: Video, lengths: tuple[float, float], facts: page.Facts, played: str | Path | None = None
) -> list:
    """Write `<name>_timeline.png` and `<name>_timeline.html`; returns their paths, the page first.

    lengths: of window and stride, in seconds; played: the file that the page plays, if it is not the video itself
    """
    drawn = picture(video.timeline)
    at = addresses.join(folder, f"{video.name}_timeline")
    script = (page.TEMPLATES / "player.js").read_text(encoding="utf-8")
    paths = [page.write_png(f"{at}.png", drawn)]
    target = page.write(
        f"{at}.html",
        "timeline.html",
        title=f"{video.name}: {len(video.timeline.segments):,} segments",
        source=_source(folder, played or video.path),
        picture=Picture("timeline", "Scores of the classes over time", drawn),
        windows=len(video.timeline.windows),
        window=f"{lengths[0]:g}",
        stride=f"{lengths[1]:g}",
        most=MOST,
        facts=facts,
        versions=page.versions(),
        script=Markup(script),
        script_hash=f"sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}",
        **_lanes(video.timeline),
        segments=[_row(segment) for segment in video.timeline.segments],
    )
    return [target, *paths]


def _source(folder, path) -> str | None:
    """The address of a video relative to the page's folder; None where one of them is not on this machine."""
    if addresses.is_remote(path) or addresses.is_remote(folder):
        return None
    return urllib.parse.quote(Path(os.path.relpath(path, folder)).as_posix())


def _row(segment: Segment) -> dict:
    return {
        "start": f"{segment.start:.3f}",
        "end": f"{segment.end:.3f}",
        "begins": _short(segment.start),
        "ends": _short(segment.end),
        "name": segment.name,
        "percent": f"{100 * segment.score:.0f}",
        "score": segment.score,
    }


def _lanes(timeline: Timeline) -> dict:
    """A lane for each of the main classes with segments, and the marks below them."""
    seconds = timeline.windows[-1].end
    lanes = {index: [] for index in main_classes(timeline, LANES)}
    for segment in timeline.segments:
        if segment.index in lanes:
            lanes[segment.index].append(_block(segment, seconds))
    used = [{"name": timeline.names[index], "blocks": blocks} for index, blocks in lanes.items() if blocks]
    step = next((step for step in TICKS if seconds / step <= 10), TICKS[-1])
    marks = [step * number for number in range(int(seconds / step) + 1)]
    ticks = [{"left": f"{100 * mark / seconds:.3f}", "text": _mark(mark)} for mark in marks]
    return {
        "rows": used,
        "hidden_classes": len({segment.index for segment in timeline.segments} - {None, *lanes}),
        "ticks": ticks,
        "seconds": f"{seconds:.3f}",
    }


def _block(segment: Segment, seconds: float) -> dict:
    return {
        "at": f"{segment.start:.3f}",
        "left": f"{100 * segment.start / seconds:.3f}",
        "width": f"{100 * (segment.end - segment.start) / seconds:.3f}",
        "opacity": f"{0.35 + 0.65 * segment.score:.2f}",
        "title": f"{clock(segment.start)} to {clock(segment.end)}: {segment.name} {100 * segment.score:.0f} %",
    }


def _short(seconds: float) -> str:
    """`1:02:03.4` or `2:03.4`."""
    hours, rest = clock(seconds)[:-2].split(":", 1)
    return f"{int(hours)}:{rest}" if int(hours) else rest.removeprefix("0")


def _mark(seconds: int) -> str:
    hours, rest = divmod(seconds, 3600)
    return f"{hours}:{rest // 60:02}:{rest % 60:02}" if hours else f"{rest // 60}:{rest % 60:02}"

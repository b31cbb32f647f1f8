"""A timeline in the formats that other programs read: tables, subtitles, ActivityNet, Label Studio."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from metrics.timeline import Segment, Timeline
from reports import tables
from storage import addresses
from storage.files import write_file
from storage.tables import write_csv
from utils.names import printable

__all__ = ["Video", "activitynet", "clock", "label_studio", "write_all", "write_segments"]

ACTIVITYNET_VERSION = "VERSION 1.3"
# What the configuration of a Label Studio project must call its tags for the predictions to fit.
CONTROL, PLAYER = "label", "video"


@dataclass(frozen=True)
class Video:
    """A video with its timeline.

    name: file names and ids begin with it; path: as the user gave it; fps: mean frame rate, 0 if unknown
    """

    name: str
    path: str
    fps: float
    timeline: Timeline


def clock(seconds: float, mark: str = ".") -> str:
    """`01:02:03.450`, as subtitles write a time; `mark` stands before the milliseconds."""
    thousandths = round(seconds * 1000)
    minutes, rest = divmod(thousandths, 60_000)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02}:{minutes:02}:{rest // 1000:02}{mark}{rest % 1000:03}"


def write_segments(folder: str | Path, video: Video) -> list[str | Path]:
    """Write `<name>_timeline.csv` and the subtitles `<name>.srt` and `<name>.vtt`; returns the paths."""
    found = video.timeline.segments
    rows = [(f"{s.start:.3f}", f"{s.end:.3f}", _cell(s.index), s.name, f"{s.score:.6f}") for s in found]
    cues = [f"{clock(s.start, ',')} --> {clock(s.end, ',')}\n{_caption(s)}\n" for s in found]
    srt = "\n".join(f"{number}\n{cue}" for number, cue in enumerate(cues, 1))
    cues = [f"{clock(s.start)} --> {clock(s.end)}\n{_escaped(_caption(s))}\n" for s in found]
    vtt = "\n".join(["WEBVTT\n", *cues])
    at = addresses.join(folder, video.name)
    return [
        write_csv(f"{at}_timeline.csv", ["start", "end", "class", "name", "score"], rows),
        write_file(f"{at}.srt", lambda file: file.write(srt)),
        write_file(f"{at}.vtt", lambda file: file.write(vtt)),
    ]


def write_all(folder: str | Path, model: str, videos: Sequence[Video]) -> list[str | Path]:
    """Write the files that hold all videos: `<model>_timelines.json` and `<model>_label_studio.json`."""
    at = addresses.join(folder, model)
    return [
        tables.write_json(f"{at}_timelines.json", activitynet(model, videos)),
        tables.write_json(f"{at}_label_studio.json", label_studio(model, videos)),
    ]


def activitynet(model: str, videos: Sequence[Video]) -> dict:
    """Detections as the evaluation of ActivityNet reads them. Time without a class is in none of them."""
    results = {
        video.name: [
            {"label": s.name, "score": round(s.score, 6), "segment": [round(s.start, 3), round(s.end, 3)]}
            for s in video.timeline.segments
            if s.index is not None
        ]
        for video in videos
    }
    return {
        "version": ACTIVITYNET_VERSION,
        "results": results,
        "external_data": {"used": True, "details": f"{model} of Paddle video zoo, sliding windows"},
    }


def label_studio(model: str, videos: Sequence[Video]) -> list[dict]:
    """Tasks with predictions of a project whose tags are `<TimelineLabels name="label" toName="video">` and `<Video
    name="video" value="$video" frameRate="...">`. Frames are counted from 1.
    """
    return [
        {
            "data": {"video": video.path},
            "predictions": [
                {
                    "model_version": model,
                    "score": _mean([s.score for s in video.timeline.segments]),
                    "result": [_region(number, s, video.fps) for number, s in enumerate(video.timeline.segments, 1)],
                }
            ],
        }
        for video in videos
        if video.fps
    ]


def _region(number: int, segment: Segment, fps: float) -> dict:
    first = round(segment.start * fps) + 1
    return {
        "id": f"segment{number}",
        "type": "timelinelabels",
        "from_name": CONTROL,
        "to_name": PLAYER,
        "score": round(segment.score, 6),
        "value": {
            "ranges": [{"start": first, "end": max(first, round(segment.end * fps))}],
            "timelinelabels": [segment.name],
        },
    }


def _caption(segment: Segment) -> str:
    """One line, whatever the name holds."""
    return f"{printable(segment.name)} {100 * segment.score:.0f} %"


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _cell(index: int | None) -> int | str:
    return "" if index is None else index


def _mean(scores: Sequence[float]) -> float:
    return round(sum(scores) / len(scores), 6) if scores else 0.0

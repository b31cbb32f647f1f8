"""What `test.py --timeline` does: score a file of segments against the true ones."""

import logging
import math
from collections.abc import Iterable
from numbers import Real
from pathlib import Path
from typing import Any

from metrics import detection
from metrics.detection import Span, Videos
from reports import tables
from storage import addresses
from storage.files import parse_json
from storage.tables import write_csv
from utils.errors import DataError, ObjectError, shown

__all__ = ["read", "run"]

log = logging.getLogger("zoo")

MEANING = {
    "map_50": "mAP at overlap 0.5",
    "map_75": "mAP at overlap 0.75",
    "map_95": "mAP at overlap 0.95",
    "map": "mAP, mean of 0.5 to 0.95",
    "seconds": "seconds with the right class",
}


def run(truth: str | Path, predicted: str | Path, save_dir: str | Path) -> dict[str, float]:
    """Score `predicted` against `truth`, print a table, write `timeline_scores.json` and `timeline_classes.csv`.

    Both files are JSON of ActivityNet: annotations ("database") or detections ("results"). Returns the scores in
    percent. Raises DataError where a file cannot be used, ConfigError.
    """
    true, found = read(truth), read(predicted)
    if not any(true.values()):
        raise DataError(f"'{truth}' holds no segment; nothing can be scored against it")
    missing = [name for name in true if name not in found]
    if len(missing) == len(true):
        raise DataError(f"'{predicted}' has none of the {len(true)} videos of '{truth}', such as '{missing[0]}'")
    if missing:
        log.warning(
            "'%s' lacks %d of %d videos, such as '%s'; they count as missed",
            predicted,
            len(missing),
            len(true),
            missing[0],
        )
    scores = detection.scores(true, found)
    columns = {threshold: detection.average_precisions(true, found, threshold) for threshold in (0.5, 0.75, 0.95)}
    counts = {label: sum(span.label == label for spans in true.values() for span in spans) for label in columns[0.5]}
    rows = [(label, counts[label], *(f"{column[label]:.6f}" for column in columns.values())) for label in counts]
    paths = [
        tables.write_json(addresses.join(save_dir, "timeline_scores.json"), scores),
        write_csv(
            addresses.join(save_dir, "timeline_classes.csv"), ["class", "segments", *map("ap_{}".format, columns)], rows
        ),
    ]
    print(tables.table([(MEANING[name], f"{value:.2f} %") for name, value in scores.items()]))
    log.info("written: %s", ", ".join(map(str, paths)))
    return scores


def read(path: str | Path) -> Videos:
    """{id: segments} of a file of annotations or detections. Raises DataError."""
    try:
        with addresses.reading(path) as copy:
            content = parse_json(copy.read_text(encoding="utf-8"))
    except ObjectError as error:
        raise DataError(f"timeline {error}") from error
    except (OSError, ValueError) as error:
        raise DataError(f"timeline '{path}' cannot be read: {error}") from error
    content = content if isinstance(content, dict) else {}
    if isinstance(content.get("database"), dict):
        videos = {name: _field(video, "annotations") for name, video in content["database"].items()}
    elif isinstance(content.get("results"), dict):
        videos = content["results"]
    else:
        raise DataError(
            f"timeline '{path}' is not ActivityNet's JSON: expected an object with 'database' (annotations) or "
            "'results' (detections, as infer.py --window_seconds writes them)"
        )
    return {name: list(_spans(path, name, spans)) for name, spans in videos.items()}


def _spans(path: str | Path, name: str, spans: Any) -> Iterable[Span]:
    for span in spans if isinstance(spans, list) else [spans]:
        times, label, score = _field(span, "segment"), _field(span, "label"), _field(span, "score")
        numbers = [1.0 if score is None else score, *(times if isinstance(times, list) else [])]
        if not isinstance(label, str) or len(numbers) != 3 or not all(map(_number, numbers)) or numbers[1] > numbers[2]:
            raise DataError(
                f"timeline '{path}': '{shown(span)}' of video '{shown(name)}' is no segment; expected "
                '{"label": "run", "segment": [1.5, 4.0]}, seconds'
            )
        yield Span(float(numbers[1]), float(numbers[2]), label, float(numbers[0]))


def _field(value: Any, name: str) -> Any:
    return value.get(name) if isinstance(value, dict) else None


def _number(value: Any) -> bool:
    return isinstance(value, Real) and math.isfinite(value)

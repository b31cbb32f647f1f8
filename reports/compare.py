"""Put runs side by side: scores, curves, classes that gained and lost, and whether a difference can be chance.

    python -m reports.compare runs/a runs/b --save_dir=comparison
    python -m reports.compare results/TSN results/STNET         # of a folder with several models: folder/MODEL

A run is the --save_dir of train.py or test.py. Writes comparison.html, comparison.csv and, where two runs were tested
on the same classes, comparison_classes.csv. The first run is the one that the others are compared with.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from reports import statistics
from reports.curves import SCORES, points, score_key, several
from reports.pages import page
from reports.pages.evaluation import HEAD, Picture
from reports.tables import table
from storage import addresses
from storage.files import parse_json
from storage.tables import read_csv, write_csv
from utils import cli
from utils.errors import ConfigError, DataError

FILES = ("results.csv", "test_result.json", "per_class.csv", "predictions.csv")
CHANGES = 15  # classes shown that gained most, and that lost most


@dataclass
class Run:
    """The files in the folder of a run; empty for a file that is missing."""

    name: str
    history: list = field(default_factory=list)
    result: dict = field(default_factory=dict)
    classes: dict = field(default_factory=dict)  # {class name: recall or average precision}
    right: dict = field(default_factory=dict)  # {(id, label): whether it was classified right}

    @property
    def scores(self) -> dict:
        """Scores of the test, else the best and the last of the training."""
        if self.result:
            return {key: value for key, value in self.result.items() if isinstance(value, float)}
        key = score_key(self.history)
        found = {f"valid_{key}": points(self.history, f"valid_{key}")[1], key: points(self.history, key)[1]}
        return {f"best {name}": max(values) for name, values in found.items() if values}


def find(where: str) -> Run:
    """The run in a folder, or `folder/MODEL`. Raises ConfigError where there is none, or several models."""
    folder, model = where, None
    if not Path(where).is_dir() and not addresses.is_remote(where):
        folder, model = addresses.parent(where), Path(where).name
    models = [model] if model else _models(folder)
    if len(models) > 1:
        raise ConfigError(
            f"'{where}' holds runs of {', '.join(models)}; give one of them, such as '{where}/{models[0]}'"
        )
    prefix = addresses.join(folder, models[0]) if models else None
    present = [name for name in FILES if prefix and addresses.exists(f"{prefix}_{name}")]
    if not present:
        raise ConfigError(
            f"'{where}' is no run: expected a --save_dir of train.py or test.py, with <MODEL>_results.csv or "
            "<MODEL>_test_result.json in it"
        )
    return _read(str(where), str(prefix), present)


def _models(folder):
    """Models that have files of a run in a folder."""
    found = (
        re.fullmatch(rf"(\w+?)_(?:{'|'.join(map(re.escape, FILES))})", Path(str(file)).name) for file in _files(folder)
    )
    return sorted({match[1] for match in found if match})


def _files(folder):
    if addresses.is_remote(folder):
        return addresses.files(folder)
    try:
        return sorted(Path(folder).iterdir())
    except OSError as error:
        raise ConfigError(f"'{folder}' cannot be read ({error.strerror}); give the folder of a run") from error


def _read(name, prefix, present):
    run = Run(name)
    if "results.csv" in present:
        run.history = [{key: _number(cell) for key, cell in row.items()} for row in read_csv(f"{prefix}_results.csv")]
    if "test_result.json" in present:
        run.result = _result(f"{prefix}_test_result.json")
    if "per_class.csv" in present:
        for row in read_csv(f"{prefix}_per_class.csv"):
            value = _number(row.get("recall", row.get("average_precision", "")))
            if value is not None:
                run.classes[row.get("name", "")] = value
    if "predictions.csv" in present:
        rows = read_csv(f"{prefix}_predictions.csv")
        run.right = {(row["id"], row["class"]): row["class"] == row["predicted"] for row in rows}
    return run


def _number(cell):
    """The number in a cell, whole where it is one; None of an empty cell."""
    try:
        return int(cell) if cell.isdecimal() else float(cell)
    except ValueError:
        return None


def _result(path):
    try:
        with addresses.reading(path) as copy:
            content = parse_json(copy.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"'{path}' cannot be read: {error}") from error
    if not isinstance(content, dict):
        raise DataError(f"'{path}': expected the result of test.py; run it again")
    return content


def mcnemar(first: Run, other: Run) -> dict | None:
    """McNemar's test of two runs on the clips that both were tested on. None if they share no clip."""
    shared = first.right.keys() & other.right.keys()
    if not shared:
        return None
    gained = sum(other.right[key] and not first.right[key] for key in shared)
    lost = sum(first.right[key] and not other.right[key] for key in shared)
    p = statistics.mcnemar(lost, gained)
    return {"name": other.name, "clips": len(shared), "gained": gained, "lost": lost, "p": p}


def changes(first: Run, other: Run) -> list[tuple]:
    """Rows (class, value of the first run, of the other, difference), what gained most first."""
    shared = [name for name in first.classes if name in other.classes]
    rows = [
        (name, first.classes[name], other.classes[name], other.classes[name] - first.classes[name]) for name in shared
    ]
    return sorted(rows, key=lambda row: -row[3])


def scores(runs: list[Run]) -> tuple[list[str], list[tuple]]:
    """(keys of the scores of all runs, rows (name of the run, its scores as text, "" where it has none))."""
    keys = list(dict.fromkeys(key for run in runs for key in run.scores))
    return keys, [(run.name, *(_digits(key, run.scores.get(key)) for key in keys)) for run in runs]


def named(runs: list[Run]) -> list[Run]:
    """The runs under the last part of their paths where these differ. Raises ConfigError for a run given twice."""
    short = [Path(run.name).name for run in runs]
    names = short if len(set(short)) == len(short) else [run.name for run in runs]
    twice = [name for i, name in enumerate(names) if name in names[:i]]
    if twice:
        raise ConfigError(f"'{twice[0]}' is given twice; give each run once")
    return [replace(run, name=name) for run, name in zip(runs, names, strict=True)]


def compare(runs: list[Run], folder: str | Path) -> list:
    """Write the page and the tables; returns their paths, the page first."""
    first, others = runs[0], runs[1:]
    keys, rows = scores(runs)
    written = [write_csv(addresses.join(folder, "comparison.csv"), ["run", *keys], rows)]
    pairs = [(other, changes(first, other)) for other in others]
    if any(found for _, found in pairs):
        lines = [(other.name, *row[:3], f"{row[3]:.6g}") for other, found in pairs for row in found]
        path = addresses.join(folder, "comparison_classes.csv")
        written.append(write_csv(path, ["run", "class", first.name, "here", "difference"], lines))
    target = page.write(
        addresses.join(folder, "comparison.html"),
        "comparison.html",
        title=f"{len(runs)} runs",
        runs=runs,
        keys=[_title(key) for key in keys],
        rows=rows,
        curves=_curves(runs),
        tests=[found for found in (mcnemar(first, other) for other in others) if found],
        changes=[(other.name, *_ends(found)) for other, found in pairs if found],
        versions=page.versions(),
        facts=page.Facts(command=page.command()),
    )
    return [target, *written]


def _ends(rows):
    """The classes that gained most, and those that lost most."""
    gained, lost = [row for row in rows if row[3] > 0], [row for row in rows[::-1] if row[3] < 0]
    return gained[:CHANGES], lost[:CHANGES]


def _digits(key, value):
    if value is None:
        return ""
    return f"{value:.2f}" if "top" in key else f"{value:.4f}"


def _title(key):
    """What a score is called, such as `best valid top-1`."""
    words = key.replace("valid_", "validation ").split()
    last = words[-1]
    if words[0] == "best" and len(words) == 2:
        words.insert(1, "training")
    return " ".join([*words[:-1], HEAD.get(last, f"top-{last[3:]} %" if last.startswith("top") else last)])


def _curves(runs):
    trained = {run.name: run.history for run in runs if run.history}
    if not trained:
        return []
    key = next((found for found in map(score_key, trained.values()) if found), "")
    wanted = [("loss", "training loss"), ("valid_loss", "validation loss"), (key, f"training {SCORES.get(key, '')}")]
    wanted.append((f"valid_{key}", f"validation {SCORES.get(key, '')}"))
    shown = [each for each in wanted if any(points(history, each[0])[0] for history in trained.values())]
    return [Picture(name, f"{title} by epoch", several(trained, name, title)) for name, title in shown]


def main(argv: Sequence[str] | None = None) -> None:
    parser = cli.Parser(prog="reports/compare.py", description=__doc__)
    parser.add_argument("runs", nargs="+", type=cli.given, help="folders of runs, or folder/MODEL")
    parser.add_argument("--save_dir", type=cli.given, default="comparison", help="where to write (default: comparison)")
    args = parser.parse_args(argv)
    if len(args.runs) < 2:
        raise ConfigError(f"'{args.runs[0]}' is one run; give at least two to compare")
    runs = named([find(where) for where in args.runs])
    paths = compare(runs, args.save_dir)
    keys, rows = scores(runs)
    print(table([("run", *map(_title, keys)), *rows]))
    print(f"written: {', '.join(map(str, paths))}")


if __name__ == "__main__":
    cli.run(main)

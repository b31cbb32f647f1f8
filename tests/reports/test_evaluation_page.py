"""The page of an evaluation: its numbers are those of the tables, names stay names, parts give the whole."""

import logging
import types

import numpy as np
import pytest

from metrics import METRICS
from reports.evaluation import WORST, Classification, MultiLabel
from reports.pages import evaluation, page
from storage.tables import read_csv
from support import pages

NAMES = ["<script>alert(1)</script>", "$a$ _b_", "跑步", '=SUM("x")', "esc\x1b[31m"]


def batches(count=60, classes=5, size=7, views=1):
    """(batch, scores) of a made-up evaluation, in the order of the list."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, classes - 1, count)  # of the last class there is none
    scores = rng.dirichlet(np.ones(classes), count).astype(np.float32)
    frames = rng.integers(0, 255, (count * views, 3, 20, 24, 3), dtype=np.uint8)
    for start in range(0, count, size):
        rows = range(start, min(count, start + size))
        feed = {"frames": frames[rows.start * views : rows.stop * views]}
        ids = [f"clips/<b>{i}.mp4" for i in rows]
        yield types.SimpleNamespace(indices=list(rows), ids=ids, labels=labels[rows].tolist(), feed=feed), scores[rows]


def scored(names=NAMES, **settings):
    """(what is kept, the metric's result)."""
    kept, metric = Classification(settings.get("views", 1)), METRICS["clips"](len(names))
    for batch, scores in batches(classes=len(names), **settings):
        kept.add(batch, scores)
        metric.update(scores, np.array(batch.labels), 1.0)
    return kept, metric.result()


def written(folder, kept, result, names=NAMES, **facts):
    kept.write(folder, "TSN", names, None)
    facts = page.Facts(**{"listed": 60, **facts})
    return evaluation.write(folder, "TSN", evaluation.classification(kept, names, result), facts)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    kept, result = scored()
    bad = [{"id": "<img src=x>.mp4", "error": "moov \x1b[2J atom"}]
    written(folder, kept, result, bad=bad, command="python test.py '<b>'", protocol=[("size", "<i>")])
    return folder


@pytest.fixture
def log_lines():
    """Messages of the log while a test runs."""
    lines, handler = [], logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage())
    page.log.addHandler(handler)
    yield lines
    page.log.removeHandler(handler)


@pytest.fixture(scope="module")
def read(folder):
    return pages.Page(folder / "TSN_report.html")


def test_numbers_are_those_of_the_tables(folder, read):
    """Regression: numbers computed twice drift apart."""
    rows = {row["name"]: row for row in read_csv(folder / "TSN_per_class.csv")}
    shown = read.table("class", "clips", "right")
    assert len(shown) == 4  # the fifth class has no clip
    for name, clips, right, recall, _, precision in shown:
        row = rows[name.replace("\\x1b", "\x1b")]
        assert (clips, right, recall, precision) == (row["clips"], row["correct"], row["recall"], row["precision"])
    assert [float(row[3]) for row in shown] == sorted(float(row[3]) for row in shown)
    assert "1 class had no sample in the list: esc\\x1b[31m" in read.text


def test_confused_pairs_are_those_of_the_matrix(folder, read):
    matrix = {row["true \\ predicted"]: row for row in read_csv(folder / "TSN_confusion.csv")}
    pairs = read.table("true class", "predicted as")
    assert pairs
    for true, predicted, clips, _ in pairs:
        assert matrix[true][predicted.replace("\\x1b", "\x1b")] == clips


def test_headline(read):
    result = scored()[1]
    assert f"{result['top1']:.2f} %" in read.text and f"{result['top5']:.2f} %" in read.text


def test_names_are_data(folder, read):
    assert not [tag for tag, _ in read.tags if tag in ("script", "b>", "i")]
    assert "<script>alert(1)</script>" in read.text and "\x1b" not in (folder / "TSN_report.html").read_text()
    assert "python test.py '<b>'" in read.text and "<img src=x>.mp4" in read.text


def test_the_page_needs_nothing_else(read):
    assert all(source.startswith("data:image/") for source in read.pictures)
    assert all(attributes.get("alt") for tag, attributes in read.tags if tag == "img")
    assert not [tag for tag, attributes in read.tags if tag in ("link", "iframe", "object") or "href" in attributes]


def test_the_worst_mistakes_come_first(read):
    kept, _ = scored()
    margins = [margin for margin, _, _ in kept.mistakes]
    assert len(margins) == WORST and margins == sorted(margins, reverse=True)
    found = kept.arrays()
    wrong = found["best"][:, 0] != found["labels"]
    assert margins == sorted((found["scores"][:, 0] - found["truth"])[wrong].tolist(), reverse=True)[:WORST]
    assert len(read.pictures) == 3 + WORST


def test_pictures_lie_beside_the_page(folder):
    for name in ("confusion_matrix", "confusion_matrix_normalized", "calibration"):
        assert (folder / f"TSN_{name}.png").read_bytes().startswith(b"\x89PNG")


def test_two_parts_give_the_page_of_one(tmp_path):
    kept, result = scored()
    parts = [Classification(), Classification(), Classification()]  # the third process has read nothing
    for batch, scores in batches():
        half = len(batch.ids) // 2
        for part, rows in zip(parts, (slice(half), slice(half, None)), strict=False):
            piece = {name: getattr(batch, name)[rows] for name in ("indices", "ids", "labels")}
            feed = {"frames": batch.feed["frames"][rows]}
            if piece["ids"]:
                part.add(types.SimpleNamespace(**piece, feed=feed), scores[rows])
    merged = Classification()
    merged.merge([part.state() for part in parts])
    for name, each in (("one", kept), ("two", merged)):
        written(tmp_path / name, each, result)
    for path in sorted((tmp_path / "one").iterdir()):
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes(), path.name


def test_a_view_of_several_is_shown():
    kept, _ = scored(views=3)
    assert kept.views == 3 and len(kept.mistakes) == WORST


@pytest.mark.parametrize("classes", [2, 3, 130])
def test_any_number_of_classes(classes, tmp_path):
    """Regression: PaddleX #4518, a top-5 of three classes."""
    names = [f"class {i}" for i in range(classes)]
    kept, result = scored(names)
    written(tmp_path, kept, result, names)
    read = pages.Page(tmp_path / "TSN_report.html")
    assert f"top-{min(5, classes)}" in read.text
    assert ("top-5" in read.text) == (classes >= 5)


def test_all_right_makes_a_page_without_mistakes(tmp_path):
    kept = Classification()
    kept.add(types.SimpleNamespace(indices=[0, 1], ids=["a", "b"], labels=[0, 1], feed={}), np.eye(2, dtype=np.float32))
    written(tmp_path, kept, {"loss": 0.0, "top1": 100.0, "top2": 100.0}, ["a", "b"])
    read = pages.Page(tmp_path / "TSN_report.html")
    assert "Worst mistakes" not in read.text and "100.00 %" in read.text


def test_multilabel(tmp_path):
    rng = np.random.default_rng(0)
    names, metric, kept = [f"<{i}>" for i in range(30)], METRICS["features"](30), MultiLabel()
    labels = rng.random((50, 30)) < 0.1
    labels[:, 7] = False
    metric.update(np.clip(rng.random((50, 30)) * 0.5 + 0.4 * labels, 0, 1), labels, 1.5)
    result = metric.result()
    kept.write(tmp_path, "NEXTVLAD", names, metric)
    evaluation.write(tmp_path, "NEXTVLAD", evaluation.multilabel(names, result, metric), page.Facts(listed=50))
    read = pages.Page(tmp_path / "NEXTVLAD_report.html")
    assert f"{result['gap']:.4f}" in read.text and f"{result['map']:.4f}" in read.text
    rows = {row["name"]: row for row in read_csv(tmp_path / "NEXTVLAD_per_class.csv")}
    every = [row for table in read.tables if table[0][:2] == ["class", "videos"] for row in table[1:]]
    assert {row[0] for row in every} == {name for name in names if rows[name]["average_precision"]}
    assert "<7>" not in {row[0] for row in every}
    for name, videos, precision, _ in every:
        assert (videos, precision) == (rows[name]["videos"], rows[name]["average_precision"])
    assert (tmp_path / "NEXTVLAD_precision_recall.png").exists()


def test_a_failing_page_costs_nothing(tmp_path, log_lines):
    """Whatever is wrong with a page, the run goes on, and one line says so."""
    kept, result = scored()
    (tmp_path / "TSN_report.html").mkdir()
    (tmp_path / "TSN_report.html" / "file").write_text("")

    def write():
        return evaluation.write(tmp_path, "TSN", evaluation.classification(kept, NAMES, result), page.Facts())

    assert page.attempt("report", write) is None
    assert page.attempt("report", lambda: evaluation.classification(kept, ["too few"], result)) is None
    assert [line.split(" was made")[0] for line in log_lines] == ["no report"] * 2


def test_opens_in_a_browser(folder, tmp_path):
    html = pages.dump(folder / "TSN_report.html", tmp_path)
    if html is None:
        pytest.skip("no Chromium here")
    (tmp_path / "dumped.html").write_text(html, encoding="utf-8")
    read, rendered = pages.Page(folder / "TSN_report.html"), pages.Page(tmp_path / "dumped.html")
    assert rendered.text.split() == read.text.split() and rendered.pictures == read.pictures

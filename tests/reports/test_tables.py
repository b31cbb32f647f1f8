"""Tables: names of any kind come back as they were, and do nothing on the way."""

import csv
import pickle

import numpy as np
import pytest

from reports import tables
from storage.tables import read_csv, write_csv
from utils.errors import DataError
from utils.names import printable

NAMES = [
    "=cmd|' /C calc'!A0",
    "+1",
    "-1",
    "@SUM(A1)",
    "\tx",
    "'quoted",
    "''",
    "a,b",
    'say "hi"',
    "跑步",
    "two\nlines",
    "",
]


def test_csv_cells_are_defused_and_come_back(tmp_path):
    path = write_csv(tmp_path / "t.csv", ["name", "=head"], [(name, i) for i, name in enumerate(NAMES)])
    with open(path, encoding="utf-8", newline="") as file:
        written = [row[0] for row in csv.reader(file)]
    assert not any(cell.startswith(("=", "+", "-", "@", "\t", "\r")) for cell in written)
    assert read_csv(path) == [{"name": name, "=head": str(i)} for i, name in enumerate(NAMES)]


def test_numbers_stay_numbers(tmp_path):
    path = write_csv(tmp_path / "t.csv", ["value"], [(-1.5,), (-2,)])
    assert path.read_text().split() == ["value", "-1.5", "-2"]


def test_a_name_that_is_no_utf8_is_written(tmp_path):
    path = write_csv(tmp_path / "t.csv", ["id"], [("clip\udcff.mp4",)])
    assert read_csv(path) == [{"id": "clip\\udcff.mp4"}]


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", None])
def test_a_table_that_cannot_be_read_is_one_error(content, tmp_path):
    if content:
        (tmp_path / "t.csv").write_bytes(content)
    with pytest.raises(DataError, match="t.csv"):
        read_csv(tmp_path / "t.csv")


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("a\x1b[2J", "a\\x1b[2J"),
        ("a\r\nb", "a\\r\\nb"),
        ("a\u202eb", "a\\u202eb"),
        ("a\udcff", "a\\udcff"),
        ("跑步 é\u3000x", "跑步 é\u3000x"),
    ],
)
def test_control_characters_are_shown_not_sent(name, shown):
    assert printable(name) == shown
    result = {"id": name, "names": [name], "probabilities": [1.0]}
    assert tables.text(result, 1).count(shown) == 2
    assert shown in tables.text({"error": name}, 1)


def test_columns_line_up_with_wide_letters():
    lines = tables.table([("跑步", "1.00"), ("ab\x1b", "22.00")]).split("\n")
    assert lines == ["跑步     1.00", "ab\\x1b  22.00"]


def test_inference_files(tmp_path):
    results = [
        {"id": "=a.mp4", "probabilities": [0.75, 0.25], "indices": [1, 0], "names": ["+b", "c"]},
        {"id": "broken.mp4", "error": "no video stream"},
    ]
    prefix = str(tmp_path / "TSN_infer_result")
    paths = tables.write_inference(prefix, results)
    assert [str(path) for path in paths] == [prefix, f"{prefix}.csv", f"{prefix}.json"]
    assert pickle.loads((tmp_path / "TSN_infer_result").read_bytes()) == [("=a.mp4", [0.75, 0.25], [1, 0])]
    rows = read_csv(f"{prefix}.csv")
    assert [row["name"] for row in rows] == ["+b", "c", ""] and rows[2]["error"] == "no video stream"
    assert rows[0] == {"id": "=a.mp4", "rank": "1", "class": "1", "name": "+b", "probability": "0.750000", "error": ""}


def test_top_breaks_ties_by_class():
    assert tables.top(np.array([0.2, 0.4, 0.4]), 2) == ([0.4, 0.4], [1, 2])

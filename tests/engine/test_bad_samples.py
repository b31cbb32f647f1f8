"""The list of samples that cannot be read, with any content of an earlier list and any names of samples."""

import csv
import logging
import os
from concurrent.futures import ThreadPoolExecutor

import pytest

from datareader.loader import Loader
from engine import bad_samples


class Named:
    """A dataset of names."""

    def __init__(self, *names):
        self.names = names

    def __len__(self):
        return len(self.names)

    def name(self, index):
        return self.names[index]


def write(folder, mode="train", name="a.mp4", reason="no good", model="TSN"):
    loader = Loader(Named(name, "b.mp4", "c.mp4"), 1)
    loader.reject(0, reason)
    bad_samples.write(folder, mode, loader, model)


def rows(folder):
    with open(folder / "bad_samples.csv", encoding="utf-8", newline="") as file:
        return list(csv.reader(file))[1:]


def test_rows_of_a_mode_replace_its_earlier_ones(tmp_path):
    write(tmp_path, "train", reason="first")
    write(tmp_path, "valid")
    write(tmp_path, "train", reason="second")
    write(tmp_path, "train", model="STNET")
    assert sorted(rows(tmp_path)) == [
        ["train", "a.mp4", "no good", "STNET"],
        ["train", "a.mp4", "second", "TSN"],
        ["valid", "a.mp4", "no good", "TSN"],
    ]


def test_an_earlier_list_without_models_is_replaced(tmp_path):
    (tmp_path / "bad_samples.csv").write_text("list,sample,reason\ntrain,a.mp4,old\nvalid,b.mp4,old\n")
    write(tmp_path)
    assert rows(tmp_path) == [["valid", "b.mp4", "old", ""], ["train", "a.mp4", "no good", "TSN"]]


def test_models_trained_in_one_folder_lose_no_rows(tmp_path):
    """Each read the list and wrote it anew, without the rows that another wrote meanwhile."""
    names = [f"MODEL{i}" for i in range(8)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda name: [write(tmp_path, model=name) for _ in range(5)], names))
    assert sorted(row[3] for row in rows(tmp_path)) == names and os.listdir(tmp_path) == ["bad_samples.csv"]


@pytest.mark.parametrize(
    "content", ["list,sample,reason\ntrain,caf\xe9.mp4,x\n".encode("latin1"), b"a,b\n" + b"x" * 300_000]
)
def test_an_earlier_list_that_cannot_be_read_is_kept_aside(tmp_path, content, caplog):
    """Regression: Latin-1, or a field of 300 kB, ended the training with a traceback."""
    (tmp_path / "bad_samples.csv").write_bytes(content)
    logging.getLogger("zoo").addHandler(caplog.handler)
    write(tmp_path)
    logging.getLogger("zoo").removeHandler(caplog.handler)
    assert rows(tmp_path) == [["train", "a.mp4", "no good", "TSN"]] and "is kept as" in caplog.text
    assert (tmp_path / "bad_samples_unreadable.csv").read_bytes() == content


def test_reasons_are_short_and_can_be_stored(tmp_path):
    write(tmp_path, reason="'\ud800' " + "x" * 300_000)
    write(tmp_path, "valid")
    assert rows(tmp_path)[0][2].startswith(r"'\ud800' xxx") and len(rows(tmp_path)[0][2]) < 3000


def test_a_list_that_cannot_be_written_is_a_warning(tmp_path, caplog):
    (tmp_path / "bad_samples.csv").mkdir()
    (tmp_path / "bad_samples.csv" / "file").touch()
    logging.getLogger("zoo").addHandler(caplog.handler)
    write(tmp_path)
    logging.getLogger("zoo").removeHandler(caplog.handler)
    assert "cannot be written" in caplog.text

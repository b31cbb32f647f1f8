"""The list of samples that cannot be read, with any content of an earlier list and any names of samples."""

import csv
import logging

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


def write(folder, mode="train", name="a.mp4", reason="no good"):
    loader = Loader(Named(name, "b.mp4", "c.mp4"), 1)
    loader.reject(0, reason)
    bad_samples.write(folder, mode, loader)


def rows(folder):
    with open(folder / "bad_samples.csv", encoding="utf-8", newline="") as file:
        return list(csv.reader(file))[1:]


def test_rows_of_a_mode_replace_its_earlier_ones(tmp_path):
    write(tmp_path, "train", reason="first")
    write(tmp_path, "valid")
    write(tmp_path, "train", reason="second")
    assert sorted(rows(tmp_path)) == [["train", "a.mp4", "second"], ["valid", "a.mp4", "no good"]]


@pytest.mark.parametrize(
    "content", ["list,sample,reason\ntrain,caf\xe9.mp4,x\n".encode("latin1"), b"a,b\n" + b"x" * 300_000]
)
def test_an_earlier_list_that_cannot_be_read_is_kept_aside(tmp_path, content, caplog):
    """Regression: Latin-1, or a field of 300 kB, ended the training with a traceback."""
    (tmp_path / "bad_samples.csv").write_bytes(content)
    logging.getLogger("zoo").addHandler(caplog.handler)
    write(tmp_path)
    logging.getLogger("zoo").removeHandler(caplog.handler)
    assert rows(tmp_path) == [["train", "a.mp4", "no good"]] and "is kept as" in caplog.text
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

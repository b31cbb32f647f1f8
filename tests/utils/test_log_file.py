"""Where messages go: plain sentences on the screen, the old zoo's lines in the file."""

import re

import pytest

from utils import log as logs


@pytest.fixture(autouse=True)
def _log_as_before():
    handlers, level, propagate = logs.log.handlers, logs.log.level, logs.log.propagate
    yield
    for handler in logs.log.handlers:
        handler.close()
    logs.log.handlers, logs.log.propagate = handlers, propagate
    logs.log.setLevel(level)


def test_the_file_has_the_old_form_and_everything(capsys, tmp_path):
    logs.setup_log()
    logs.log.debug("whole configuration")
    logs.log.info("[TRAIN] Epoch 0, iter 0 \tLoss: 1.0")
    path = logs.open_log(tmp_path / "log", "train")
    logs.log.warning("odd \x1b[2J name")
    assert capsys.readouterr().out == "[TRAIN] Epoch 0, iter 0 \tLoss: 1.0\nwarning: odd \\x1b[2J name\n"
    lines = path.read_text(encoding="utf-8").splitlines()
    assert re.fullmatch(r"\[DEBUG: test_log_file.py: +\d+\]: whole configuration", lines[0])
    assert re.fullmatch(r"\[INFO: test_log_file.py: +\d+\]: \[TRAIN\] Epoch 0, iter 0 \tLoss: 1.0", lines[1])
    assert re.fullmatch(r"\[WARNING: test_log_file.py: +\d+\]: odd \\x1b\[2J name", lines[2]) and len(lines) == 3


def test_verbose_shows_what_else_is_in_the_file(capsys):
    logs.setup_log(verbose=True)
    logs.log.debug("whole configuration")
    assert capsys.readouterr().out == "whole configuration\n"


def test_two_runs_in_one_second_have_a_file_each(capsys, tmp_path):
    logs.setup_log()
    one = logs.open_log(tmp_path, "test")
    logs.setup_log()
    other = logs.open_log(tmp_path, "test")
    assert one != other and one.exists() and other.exists()


def test_a_folder_that_cannot_be_written_is_a_warning(capsys, tmp_path):
    logs.setup_log()
    (tmp_path / "log").write_text("")
    assert logs.open_log(tmp_path / "log", "train") is None
    assert "no log file in" in capsys.readouterr().out


def test_a_function_of_a_larger_program_writes_a_file_and_changes_nothing_else(tmp_path, caplog):
    logs.log.handlers, logs.log.propagate = [], True
    logs.log.setLevel("WARNING")
    with logs.log_file(tmp_path, "train"):
        logs.log.info("only in the file")
        logs.log.warning("in both")
    logs.log.warning("only the host")
    (file,) = tmp_path.iterdir()
    assert [line.partition("]: ")[2] for line in file.read_text().splitlines()] == ["only in the file", "in both"]
    assert [record.getMessage() for record in caplog.records] == ["in both", "only the host"]

"""Runs side by side."""

import pytest

from reports import compare, tables
from storage.tables import read_csv, write_csv
from support import pages
from utils.errors import ConfigError

NAMES = ["=a", "<b>"]


def finished(folder, right, model="TSN"):
    """Files of a test of len(right) clips, of which these are classified right."""
    rows = [(f"{i}.mp4", i % 2, NAMES[i % 2], i % 2 if ok else 1 - i % 2, "", "0.9") for i, ok in enumerate(right)]
    header = ["id", "class", "name", "predicted", "predicted_name", "probability"]
    write_csv(folder / f"{model}_predictions.csv", header, rows)
    recall = [100 * sum(right[i::2]) / len(right[i::2]) for i in range(2)]
    classes = [(i, name, "", "", f"{recall[i]:.2f}", "") for i, name in enumerate(NAMES)]
    header = ["class", "name", "clips", "correct", "recall", "precision"]
    write_csv(folder / f"{model}_per_class.csv", header, classes)
    score = 100 * sum(right) / len(right)
    tables.write_json(folder / f"{model}_test_result.json", {"loss": 1.0, "top1": score, "scored": len(right)})
    return folder


def test_two_tests(tmp_path, capsys):
    one = finished(tmp_path / "one", [1, 0, 1, 0, 1, 1, 0, 0])
    two = finished(tmp_path / "_two", [1, 1, 1, 1, 0, 1, 1, 1])
    compare.main([str(one), str(two), f"--save_dir={tmp_path}"])
    read = pages.Page(tmp_path / "comparison.html")
    assert read.table("run", "clips") == [["_two", "8", "+4", "−1", "0.375"]]  # (C(5,0) + C(5,1)) / 2^4
    assert read_csv(tmp_path / "comparison.csv") == [
        {"run": "one", "loss": "1.0000", "top1": "50.00"},
        {"run": "_two", "loss": "1.0000", "top1": "87.50"},
    ]
    assert [row[1:] for row in read.table("run", "loss")] == [["1.0000", "50.00"], ["1.0000", "87.50"]]
    changes = read_csv(tmp_path / "comparison_classes.csv")
    assert [(row["class"], row["difference"]) for row in changes] == [("<b>", "75"), ("=a", "0")]
    assert "top-1 %" in capsys.readouterr().out


def test_two_trainings_have_curves(tmp_path):
    for name, values in (("a", (10.0, 30.0, 20.0)), ("b", (5.0,))):
        rows = [(i, 1.0, value, value + 1) for i, value in enumerate(values)]
        write_csv(tmp_path / name / "TSN_results.csv", ["epoch", "loss", "top1", "valid_top1"], rows)
    compare.main([str(tmp_path / "a"), str(tmp_path / "b" / "TSN"), f"--save_dir={tmp_path / 'out'}"])
    read = pages.Page(tmp_path / "out" / "comparison.html")
    assert len(read.pictures) == 3  # loss, training and validation score
    assert read.table("run") == [["a", "31.00", "30.00"], ["TSN", "6.00", "5.00"]]


def test_lists_without_a_clip_in_common_are_not_tested_against_each_other(tmp_path):
    first, other = compare.Run("a", right={("1", "0"): True}), compare.Run("b", right={("2", "0"): True})
    assert compare.mcnemar(first, other) is None


@pytest.mark.parametrize(
    "words", [["{0}/none", "{0}/one"], ["{0}/one", "{0}/one"], ["{0}/one"], ["{0}/two", "{0}/one"]]
)
def test_what_is_no_comparison_is_one_error(words, tmp_path):
    finished(tmp_path / "one", [1, 1])
    finished(finished(tmp_path / "two", [1, 1]), [1, 1], "STNET")
    with pytest.raises(ConfigError, match="is no run|given twice|is one run|holds runs of STNET, TSN"):
        compare.main([word.format(tmp_path) for word in words])


@pytest.mark.parametrize("content", ["[1]", "{", '{"top1": "x"}'])
def test_a_result_that_is_none(content, tmp_path):
    finished(tmp_path / "one", [1, 1])
    (tmp_path / "one" / "TSN_test_result.json").write_text(content, encoding="utf-8")
    if content.startswith('{"'):
        assert compare.find(str(tmp_path / "one")).scores == {}
        return
    with pytest.raises(compare.DataError, match="TSN_test_result.json"):
        compare.find(str(tmp_path / "one"))

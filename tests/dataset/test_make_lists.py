"""A folder of class folders becomes lists that the readers read: any names, every class in both lists, broken clips
named.
"""

import os

import pytest
import yaml

from datareader import lists
from datareader.names import read_names
from dataset import make_lists, recipe
from engine.configuration import configure
from support.clips import write_clip
from support.goldens import ROOT
from utils import cli


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "my clips"
    for name, count in (("küssen & lachen", 5), ("run 2", 3), ("jump 0", 2)):
        for i in range(count):
            path = root / name / ("deep" if i % 2 else "") / f" clip {i} (é).mp4"
            path.parent.mkdir(parents=True, exist_ok=True)
            write_clip(path, frames=2)
    (root / "empty").mkdir()
    (root / "readme.txt").write_text("not a clip")
    return root


def run(capsys, *words):
    with pytest.raises(SystemExit) as stop:
        cli.run(make_lists.main, [str(word) for word in words])
    output = capsys.readouterr()
    return stop.value.code, output.out + output.err


def test_lists_config_and_summary(folder, capsys):
    code, output = run(capsys, folder, "--val", "0.4")
    assert code == 0 and "     3      2  küssen & lachen" in output and "     6      4  in all 3 classes" in output
    names = read_names(folder / "classes.txt")
    assert names == ["jump 0", "küssen & lachen", "run 2"]
    seen = []
    for name, count in (("train.list", 6), ("val.list", 4)):
        items = lists.read_clip_list(folder / name, "TRAIN.filelist", num_classes=3, fallback="mp4")
        assert len(items) == count and {item.label for item in items} == {0, 1, 2}
        assert all(
            item.path.is_file() and item.path.relative_to(folder).parts[0] == names[item.label] for item in items
        )
        seen += [item.path for item in items]
    assert len(set(seen)) == 10 and "\n/" not in (folder / "train.list").read_text(encoding="utf-8")
    config = yaml.safe_load((folder / "clips.yaml").read_text(encoding="utf-8"))
    assert config["MODEL"] == {"num_classes": 3, "class_names": str(folder / "classes.txt"), "format": "mp4"}
    assert (config["TRAIN"]["batch_size"], config["TRAIN"]["epoch"]) == (1, 33)  # 200 steps


def test_a_model_from_scratch_starts_from_its_recipe_for_few_clips(folder, capsys):
    assert run(capsys, folder, "--model", "stnet")[0] == 0
    name, config = configure(None, folder / "clips.yaml")
    small = yaml.safe_load((ROOT / "configs" / "small" / "stnet.yaml").read_text(encoding="utf-8"))
    assert name.name == "STNET" and config.MODEL.num_layers == small["MODEL"]["num_layers"] == 18
    assert config.TRAIN.precise_bn == small["TRAIN"]["precise_bn"] and config.TRAIN.epoch == 57  # 400 steps of 1
    assert "For 7 training clips and training STNET from scratch" in (folder / "clips.yaml").read_text()
    for name in ("NEXTVLAD", "I3D"):
        code, output = run(capsys, folder, "--model", name)
        assert code == 2 and f"'{name}' has no recipe for few clips; give STNET, TPN or TSN" in output


def test_steps_and_rate_follow_from_the_number_of_clips():
    assert recipe.steps_for(84, 200, 0.01) == (8, 19, 0.01)  # 19 epochs of 10 steps
    assert recipe.steps_for(16, 200, 0.01) == (4, 50, 0.005)
    assert recipe.steps_for(8, 400, 0.01) == (2, 60, 0.0025)
    assert recipe.steps_for(4000, 200, 0.01) == (8, 5, 0.01)


def test_mirrored_classes_are_asked_about(tmp_path):
    sided = recipe.text(tmp_path, ["turn left", "Wave", "turn right", "bright"], 84)
    assert "a mirrored clip of 'turn left', 'turn right' still one of its class?" in sided
    asked = yaml.safe_load(sided.replace("  # flip:", "  flip:"))
    assert asked["TRAIN"]["flip"] == {"turn left": "turn right"} and "flip" not in yaml.safe_load(sided)["TRAIN"]
    assert "# flip: false" in recipe.text(tmp_path, ["go left", "stop"], 84)
    assert "flip" not in recipe.text(tmp_path, ["bright", "dark"], 84)


def test_the_split_is_the_seeds(folder, tmp_path, capsys):
    def split(out, seed):
        assert run(capsys, folder, "--val", "0.4", "--out", tmp_path / out, "--seed", seed)[0] == 0
        return (tmp_path / out / "val.list").read_text(encoding="utf-8")

    first = split("a", 0)
    assert first == split("b", 0) and any(split(f"c{seed}", seed) != first for seed in range(1, 4))
    items = lists.read_clip_list(tmp_path / "a" / "val.list", "VALID.filelist", num_classes=3, fallback="mp4")
    assert all(item.path.is_file() for item in items)  # written elsewhere: absolute paths


def test_broken_clips_are_left_out_and_named(folder, capsys):
    (folder / "run 2" / "broken.mp4").write_bytes(b"")
    (folder / "run 2" / "two\nlines.mp4").write_bytes(b"")
    with open(os.fsencode(folder / "run 2") + b"/caf\xe9.mp4", "wb") as file:
        file.write((folder / "jump 0" / " clip 0 (é).mp4").read_bytes())
    code, output = run(capsys, folder)
    assert code == 1 and "broken.mp4': empty, 0 bytes" in output
    assert "a line break in its name" in output and "a name that is not UTF-8" in output
    assert "broken.mp4" not in (folder / "train.list").read_text(encoding="utf-8") + (folder / "val.list").read_text(
        encoding="utf-8"
    )


def test_what_cannot_be_split_is_said(folder, tmp_path, capsys):
    (folder / "jump 0" / " clip 0 (é).mp4").write_bytes(b"not a video")
    code, output = run(capsys, folder)
    assert (
        code == 2
        and "'jump 0' has 1" in output
        and "not a readable video" in output
        and not (folder / "train.list").exists()
    )
    assert "expected one for each of two or more classes" in run(capsys, folder / "run 2")[1]
    assert "is not a folder" in run(capsys, tmp_path / "nowhere")[1]
    assert "--val '1.5': expected a share between 0 and 1" in run(capsys, folder, "--val", "1.5")[1]


def test_classes_that_are_called_by_numbers(tmp_path):
    """Their order is the sorted one, not the one that the numbers spell."""
    names = ["0", "1", "10", "2"]
    sample = tmp_path / "clip.mp4"
    make_lists.write(tmp_path, {name: [sample, sample] for name in names}, [(sample, 0)], [(sample, 1)])
    assert read_names(tmp_path / "classes.txt") == names


@pytest.mark.parametrize(
    "words, message",
    [
        (["--out={file}"], "--out '{file}' cannot be created as a folder (File exists); name another folder"),
        (["--out="], "'' is empty; give a path"),
        (["--seed=-1"], "'-1' is not a whole number of at least 0"),
        (["--seed=x"], "'x' is not a whole number of at least 0"),
    ],
)
def test_wrong_flags_are_named(folder, tmp_path, capsys, words, message):
    file = tmp_path / "file"
    file.touch()
    code, output = run(capsys, folder, *(word.format(file=file) for word in words))
    assert code == 2 and message.format(file=file) in output and "Traceback" not in output

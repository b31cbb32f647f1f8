"""Configuration: both file forms, the layers, typed keys, and errors that name the key, the value and the way out."""

import itertools
import os
from string import ascii_letters

import pytest
import yaml

from engine.configuration import SHIPPED, class_names, configure
from support.tinynet import ZOO
from utils.errors import ConfigError

OLD_STNET = """
[MODEL]
name = "STNET"
format = "pkl"
num_classes = 400
seg_num = 7
seglen = 5
image_mean = [0.485, 0.456, 0.406]
image_std = [0.229, 0.224, 0.225]
num_layers = 50

[TRAIN]
epoch = 60
short_size = 256
target_size = 224
num_reader_threads = 12
buf_size = 1024
batch_size = 128
num_gpus = 8
use_gpu = True
filelist = ./dataset/kinetics/train.list
learning_rate = 0.01
learning_rate_decay = 0.1
l2_weight_decay = 1e-4
momentum = 0.9
total_videos = 224684
pretrain_base = None

[TEST]
seg_num = 25
short_size = 256
target_size = 256
num_reader_threads = 12
buf_size = 1024
filelist = "./dataset/kinetics/test.list"
batch_size = 4

[INFER]
seg_num = 25
target_size = 256
"""


def write(folder, text, name="own.yaml"):
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_old_ini_gives_the_same_values_as_the_yaml(tmp_path):
    _, old = configure("STNET", write(tmp_path, OLD_STNET, "stnet_old.txt"))
    _, shipped = configure("STNET", "configs/stnet.yaml")
    assert old.model_dump() == shipped.model_dump()
    assert old.TRAIN.l2_weight_decay == 1e-4 and old.TEST.seg_num == 25 and old.section("valid").target_size == 224


def test_literals_in_yaml(tmp_path):
    """PyYAML reads 1e-4 and None as strings; the old zoo turned them into numbers and None."""
    _, config = configure("TSN", write(tmp_path, "TRAIN:\n  l2_weight_decay: 1e-5\n  filelist: None\n"))
    assert config.TRAIN.l2_weight_decay == 1e-5 and config.TRAIN.filelist is None


def test_values_are_never_code(tmp_path):
    """The old zoo evaluated every value."""
    marker = tmp_path / "marker"
    _, config = configure(
        "TSN", write(tmp_path, f"[TRAIN]\nfilelist = __import__('pathlib').Path('{marker}').touch()\n", "evil.txt")
    )
    assert not marker.exists() and "__import__" in config.TRAIN.filelist
    with pytest.raises(ConfigError, match="line 1: could not determine a constructor for the tag 'tag:yaml.org"):
        configure("TSN", write(tmp_path, "MODEL: !!python/object/apply:os.system [ls]\n"))


@pytest.mark.parametrize("model", ZOO.values(), ids=ZOO)
def test_shipped_recipe_lists_and_comments_every_key(model):
    path = SHIPPED / f"{model.slug}.yaml"
    text = path.read_text(encoding="utf-8")
    for section, field in model.config_class.model_fields.items():
        assert set(yaml.safe_load(text)[section]) == set(field.annotation.model_fields)
    assert all("#" in line for line in text.splitlines() if line.startswith("  "))


@pytest.mark.parametrize("path", sorted(SHIPPED.glob("*/*.yaml")), ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_small_recipes_hold_what_differs(path):
    model, config = configure(None, path)
    assert path.stem == model.slug and config.TRAIN.batch_size <= 64
    assert set(yaml.safe_load(path.read_text(encoding="utf-8"))["MODEL"]) < set(type(config.MODEL).model_fields)


def test_a_key_that_stands_twice_is_an_error(tmp_path):
    with pytest.raises(ConfigError, match="'MODEL' stands there twice"):
        configure("TSN", write(tmp_path, "MODEL: {num_classes: 2}\nMODEL: {num_classes: 3}\n"))
    with pytest.raises(ConfigError, match="'epoch' stands there twice"):
        configure("TSN", write(tmp_path, "TRAIN:\n  epoch: 2\n  epoch: 3\n"))


@pytest.mark.parametrize(
    "name, text", [("a.yaml", "TRAIN: {epoch: 2}\ntrain: {batch_size: 3}\n"), ("a.txt", "[TRAIN]\nepoch=2\n[train]\n")]
)
def test_a_section_in_two_spellings_is_an_error(tmp_path, name, text):
    """The last one used to win, and the keys of the first were lost."""
    with pytest.raises(ConfigError, match="the section 'TRAIN' stands there twice, in other letters; keep one"):
        configure("TSN", write(tmp_path, text, name))


def test_keys_that_are_lists(tmp_path):
    with pytest.raises(ConfigError, match="line 2: a list or mapping stands where a key is expected"):
        configure("TSN", write(tmp_path, "TRAIN:\n  ? [a, b]\n  : 1\n"))
    with pytest.raises(ConfigError, match="TRAIN.lr_multipliers = '{.1.: 0.1}': expected a mapping of names to values"):
        configure("TSN", None, {"TRAIN.lr_multipliers": "{[1]: 0.1}"})


@pytest.mark.parametrize("name, line", [("a.yaml", "  k{}: 1"), ("a.txt", "k{} = 1")])
def test_many_keys_take_no_time_and_no_screens(tmp_path, name, line):
    """60,000 unknown keys took half a minute, most of it to look for the nearest known one of each."""
    head = "MODEL:" if name.endswith("yaml") else "[MODEL]"
    text = "\n".join([head, *(line.format(i) for i in range(4000))])
    with pytest.raises(ConfigError, match="unknown key in MODEL 'k0'.*; and 3990 more") as caught:
        configure("TSN", write(tmp_path, text, name))
    assert len(str(caught.value)) < 10_000
    with pytest.raises(ConfigError, match="a.*' is larger than 1 MiB"):
        configure("TSN", write(tmp_path, text * 40, name))


@pytest.mark.parametrize(
    "name, text", [("a.yaml", 'TRAIN: {filelist: "a\\0b"}\n'), ("a.txt", "[TRAIN]\nfilelist = a\0b\n")]
)
def test_no_value_holds_a_nul(tmp_path, name, text):
    with pytest.raises(ConfigError, match="TRAIN.filelist.*contains a NUL character, which paths and names cannot"):
        configure("TSN", write(tmp_path, text, name))
    with pytest.raises(ConfigError, match="contains a NUL character"):
        configure("TSN", None, {"TRAIN.freeze": ["a\0b"]})


def test_a_byte_order_mark_is_no_part_of_a_file(tmp_path):
    assert configure("TSN", write(tmp_path, "\ufeff[TRAIN]\nepoch = 3\n", "old.txt"))[1].TRAIN.epoch == 3


def test_command_line_beats_file_beats_recipe(tmp_path):
    path = write(tmp_path, "TRAIN: {batch_size: 7, epoch: 3}\n")
    _, config = configure("tsn", path, {"TRAIN.batch_size": "9"})
    assert (config.TRAIN.batch_size, config.TRAIN.epoch, config.TRAIN.momentum) == (9, 3, 0.9)


def test_the_number_of_segments_a_user_wrote_counts(tmp_path):
    _, config = configure("STNET", None, {"MODEL.seg_num": 3})
    assert config.segments("test") == config.segments("infer") == 3
    _, config = configure("STNET", write(tmp_path, "MODEL: {seg_num: 4}\nTEST: {seg_num: 9}\n"))
    assert config.segments("test") == 9 and config.segments("infer") == 4
    _, config = configure("STNET", None, {"MODEL.seg_num": 3, "TEST.seg_num": 5})
    assert config.segments("test") == 5


@pytest.mark.parametrize(
    "overrides, message",
    [
        ({"MODEL.num_clases": 6}, "unknown key in MODEL 'num_clases'; did you mean 'num_classes'?"),
        ({"TRIAN.epoch": 6}, "expected SECTION.key=value"),
        (
            {"TRAIN.batch_size": "many"},
            "TRAIN.batch_size = 'many': expected a whole number .samples per step, .*; the default is 256",
        ),
        ({"TRAIN.epoch": 0}, "command line or overrides: TRAIN.epoch = '0': expected a number of at least 1"),
        ({"INFER.short_size": 10**9}, "INFER.short_size = '1000000000': expected a number of at most 8192"),
        ({"TRAIN.num_reader_threads": 10**8}, "expected a number of at most 512"),
        ({"TRAIN.batch_size": 2.5}, "TRAIN.batch_size = '2.5': expected a whole number"),
        ({"TRAIN.batch_size": 0}, "TRAIN.batch_size = '0': expected a number of at least 1"),
        ({"TRAIN.momentum": 1}, "TRAIN.momentum = '1': expected a number below 1"),
        (
            {"MODEL.num_layers": 60},
            "MODEL.num_layers = '60': expected 18, 34, 50, 101 or 152; did you mean '50'.* .depth of the ResNet",
        ),
        (
            {"MODEL.resize": "keep-ratio"},
            "MODEL.resize = 'keep-ratio': expected '4:3', 'keep_ratio' or 'squash'; did you mean 'keep_ratio'",
        ),
        ({"MODEL.image_mean": [0, 1]}, "expected at least 3 values, found 2"),
        ({"TRAIN.freeze_bn": "perhaps"}, "TRAIN.freeze_bn = 'perhaps': expected True or False"),
        ({"TRAIN.learning_rate": "1e400"}, "TRAIN.learning_rate = 'inf'.*finite"),
        ({"MODEL.image_std": [0, 1, 1]}, "MODEL.image_std.0 = '0'"),
        ({"MODEL.name": "STNET"}, "is for 'STNET', but --model_name says 'TSN'"),
        ({"TRAIN.target_size": 512}, "target_size 512 does not fit into TRAIN.short_size 256"),
    ],
)
def test_mistakes_are_named(overrides, message):
    with pytest.raises(ConfigError, match=message):
        configure("TSN", None, overrides)


@pytest.mark.parametrize(
    "name, text, message",
    [
        ("a.yaml", "MODEL:\n  x: [1\n  y: 2\n", "a.yaml', line 3: expected ',' or ']', but got ':'"),
        ("a.yaml", "MODEL:\n\tx: 1\n", "a.yaml', line 2: found character"),
        ("a.yaml", "a: b: c\n", "a.yaml', line 1: mapping values are not allowed here; .*quote a value that holds :"),
        (
            "a.yaml",
            "MODEL:\n  class_names:\n  - &a [x]\n"
            + "".join(f"  - &{b} [*{a}, *{a}]\n" for a, b in itertools.pairwise(ascii_letters)),
            "it holds more than 10000 values, each counted as often as aliases repeat it",
        ),
        ("a.yaml", "MODEL:\n  class_names: [[x]]\n", "MODEL.class_names holds nested lists; expected a value"),
        ("a.yaml", "MODEL: " + "{a: " * 3000, "a.yaml' nests too deep"),
        ("a.yaml", f"MODEL:\n  num_classes: 0x{'f' * 6000}\n", "MODEL.num_classes is a number beyond 64 bits"),
        ("a.txt", f"[MODEL]\nnum_classes = 0x{'f' * 6000}\n", "expected a whole number"),
        ("a.yaml", "\x07", "a.yaml' cannot be read: unacceptable character"),
        ("a.txt", "x = 1\n", "a.txt', line 1: 'x = 1' stands before any section; expected .SECTION. lines"),
        ("a.txt", "[TRAIN]\n\n= 5\n", "a.txt', line 3: '= 5' is no `key = value`"),
        ("a.txt", "[TRAIN]\nepoch = 1\nepoch = 2\n", "a.txt', line 3: 'epoch' stands twice in .TRAIN."),
        ("a.txt", "[TRAIN]\nepoch = 1\n[TRAIN]\n", "a.txt', line 3: .TRAIN. stands there twice"),
    ],
)
def test_mistakes_in_the_form_of_a_file_are_one_sentence_with_a_line(tmp_path, name, text, message):
    with pytest.raises(ConfigError, match=message) as caught:
        configure("TSN", write(tmp_path, text, name))
    assert "\n" not in str(caught.value)


def test_a_folder_is_no_config(tmp_path):
    with pytest.raises(ConfigError, match="' is a folder; give a file in it"):
        configure("TSN", tmp_path)
    write(tmp_path, "MODEL: {}\n", "clips.yaml")
    with pytest.raises(ConfigError, match="' is a folder; give a file in it, such as '.*clips.yaml'"):
        configure("TSN", tmp_path)


def test_unknown_model_and_disagreement():
    with pytest.raises(ConfigError, match="unknown model 'stnett'; did you mean 'STNET'?"):
        configure("stnett")
    with pytest.raises(ConfigError, match="is for 'STNET', but --model_name says 'TSN'"):
        configure("TSN", "configs/stnet.yaml")
    with pytest.raises(ConfigError, match="which model"):
        configure()


def test_missing_files(tmp_path, monkeypatch):
    with pytest.raises(ConfigError, match="'nowhere.yaml' does not exist; shipped in configs/: .*tsn.yaml"):
        configure("TSN", "nowhere.yaml")
    assert configure("STNET", "configs/stnet.txt")[1] == configure("STNET")[1]  # the old ending
    monkeypatch.chdir(tmp_path)
    assert configure("STNET", "./configs/stnet.txt")[1] == configure("STNET")[1]  # from any folder


def test_old_keys_without_effect_are_accepted_with_a_notice(caplog):
    with caplog.at_level("INFO", "zoo"):
        configure("TSN", None, {"TRAIN.num_gpus": 8, "TRAIN.buf_size": 1024, "MODEL.dataset": "Kinetics"})
    assert "TRAIN.num_gpus" in caplog.text and "TRAIN.buf_size" in caplog.text and "MODEL.dataset" in caplog.text


OLD_TPN = """
[MODEL]
name = "TPN"
format = "mp4"
num_classes = 400
seglen = 8
step = 4

[TRAIN]
epoch = 47
batch_size = 128
num_gpus = 8
learning_rate = 0.01
l2_weight_decay = 1e-4
target_size = 224

[VALID]
batch_size = 64
target_size = 224

[TEST]
seg_num = 5
batch_size = 8
target_size = 256
"""


def test_renamed_keys_beat_the_shipped_file(tmp_path, caplog):
    """TPN's `step` and its test's `seg_num`, though the shipped file has the new names."""
    with caplog.at_level("INFO", "zoo"):
        _, config = configure("tpn", write(tmp_path, OLD_TPN, "tpn_kinetics400.txt"))
    assert (config.MODEL.frame_interval, config.TEST.num_clips, config.TEST.num_crops, config.segments("test")) == (
        4,
        5,
        3,
        1,
    )
    assert (
        "MODEL.step is now called frame_interval" in caplog.text
        and "TEST.seg_num is now called num_clips" in caplog.text
    )
    assert configure("TPN", None, {"MODEL.step": 2})[1].MODEL.frame_interval == 2
    with pytest.raises(ConfigError, match="MODEL.step is the old name of MODEL.frame_interval; give one of them"):
        configure("TPN", None, {"MODEL.step": 2, "MODEL.frame_interval": 4})
    with pytest.raises(ConfigError, match="unknown key in MODEL 'step'"):
        configure("TSN", None, {"MODEL.step": 2})


def test_the_other_editions_tpn_config_is_ours():
    assert configure("TPN", "configs/tpn_kinetics400.txt")[1] == configure("TPN")[1]


def test_class_names(tmp_path):
    assert class_names(configure("TSN")[1])[:2] == ["abseiling", "air drumming"]
    assert class_names(configure("TSN", None, {"MODEL.num_classes": 2})[1]) == ["class 0", "class 1"]
    names = write(tmp_path, "a\nb\nc\n", "names.txt")
    with pytest.raises(ConfigError, match="names 3 classes, MODEL.num_classes is '2'"):
        class_names(configure("TSN", None, {"MODEL.num_classes": 2, "MODEL.class_names": str(names)})[1])
    labels = write(tmp_path, '["x_y", "z"]', "labels.json")
    assert class_names(configure("TSN", None, {"MODEL.num_classes": 2, "INFER.kinetics_labels": str(labels)})[1]) == [
        "x_y",
        "z",
    ]


def test_a_path_that_is_not_utf_8_is_refused_at_the_start():
    """Regression: a training on such a list lost its first epoch at the save."""
    for key in ("TRAIN.filelist", "MODEL.class_names"):
        with pytest.raises(ConfigError, match=rf"{key} = 'caf\\udce9.list' is not UTF-8 text; rename"):
            configure("TSN", overrides={key: os.fsdecode(b"caf\xe9.list")})

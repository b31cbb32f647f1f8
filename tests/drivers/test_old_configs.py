"""The 31 configuration files of the old zoo (v1.3 to v1.8), with its own commands: train, test, infer.

The files are made from a table of their keys and values (`support/old_configs.py`). Each is read and its run is built.
Some of each form also run for real, with smaller numbers for the same keys; `-m slow` does so with all 31 and
the models themselves. Lists lie where the documents put them.
"""

import copy

import numpy as np
import pytest

from datareader import READERS
from dataset.youtube8m import synthetic
from engine.configuration import class_names, configure
from engine.graph.program import Graph
from models import find
from support import drivers, old_configs, tiny
from support.goldens import ROOT

FORMS = {form.path: form for form in old_configs.forms()}
CLASSES = 6
MODES = ("TRAIN", "VALID", "TEST", "INFER")
SMALL = {
    "MODEL.num_classes": CLASSES,
    "TRAIN.epoch": 1,
    "TRAIN.learning_rate": 1e-5,
    "MODEL.cluster_nums": [2, 2],
    "MODEL.embedding_size": 8,
    "MODEL.lstm_size": 4,
    "MODEL.cluster_size": 4,
    "MODEL.hidden_size": 16,
    "MODEL.seg_num": 2,
    "TEST.seg_num": 3,
    "INFER.seg_num": 3,
    "INFER.batch_size": 1,
    **{f"{mode}.{key}": size for mode in MODES for key, size in (("short_size", 36), ("target_size", 32))},
    **{f"{mode}.{key}": 2 for mode in MODES[:3] for key in ("batch_size", "num_reader_threads")},
}
DISTINCT = ("v1.3/stnet.txt", "v1.4/tsn.txt", "v1.6/stnet.yaml", "v1.8/tsn_dist_and_dali.yaml")
DISTINCT += ("v1.6/attention_cluster.yaml", "v1.3/attention_lstm.txt", "v1.6/nextvlad.yaml")


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A folder with lists, features and eigenvalues below dataset/, as v1.3 wants them; later releases find them."""
    folder = tmp_path_factory.mktemp("zoo")
    clips, features = folder / "dataset" / "kinetics", folder / "dataset" / "youtube8m"
    clips.mkdir(parents=True)
    for i in range(2):
        tiny.make_pickle(clips / f"video{i}.pkl", i, seed=i)
    for name in ("train", "val", "test", "infer"):
        for pattern in ("{}.list", "{}_video_file.list"):
            (clips / pattern.format(name)).write_text("video0.pkl\nvideo1.pkl\n", encoding="utf-8")
    train, val = synthetic.make(features / "made", "pkl", train=4, val=2, shard=2, classes=CLASSES, frames=5)
    for name, source in (("train", train), ("val", val), ("test", val), ("infer", val)):
        lines = [f"{source.parent / line}\n" for line in source.read_text(encoding="utf-8").split("\n") if line]
        (features / f"{name}.list").write_text("".join(lines), encoding="utf-8")
    (features / "yt8m_pca").mkdir()
    np.save(features / "yt8m_pca" / "eigenvals.npy", np.ones((1024, 1), np.float32))
    return folder


@pytest.fixture
def config(project, tmp_path, monkeypatch):
    """Writes a form into a file, from the folder of the project."""
    monkeypatch.chdir(project)

    def write(form, sizes=None):
        path = tmp_path / form.file
        path.write_text(form.text(sizes), encoding="utf-8")
        return path

    return write


@pytest.fixture(scope="module")
def built():
    """{(model, segments): number of parameters} of the networks that were built."""
    return {}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_every_file_is_read_and_its_run_is_built(form, config, built):
    model, read = configure(None, config(form))
    assert model.name == form.model
    for section, keys in form.sections.items():
        kept = getattr(read, section)
        for key, value in keys.items():
            if key not in kept.retired and key not in ("filelist", "eigen_file"):
                assert getattr(kept, key) == value, f"{section}.{key}"
    for mode in ("train", "valid", "test", "infer"):
        assert len(READERS[model.data].from_config(read, mode)) > 0
    assert len(class_names(read)) == read.MODEL.num_classes
    network = (model.name, read.segments("infer") if model.data == "clips" else None)
    if network not in built:
        built[network] = len(Graph(model(read, "infer")).shapes)
    assert built[network]


def typed(form, path, folder):
    """[(program, words)] of training, test and inference, as the release's documents spell them."""
    spelt = "-" if form.version == "v1.3" else "_"
    programs = ("train.py", "test.py", "infer.py") if form.version < "v1.6" else ("train.py", "eval.py", "predict.py")
    name = form.sections["MODEL"]["name"]
    common = [f"--model{spelt}name={name}", f"--config={path}", f"--log{spelt}interval=1"]
    weights = f"--weights={folder / 'checkpoints' / f'{name}_epoch0'}"
    yield programs[0], [*common, f"--save{spelt}dir={folder / 'checkpoints'}", "--pretrain=none", "--no_report"]
    yield programs[1], [*common, weights, f"--save_dir={folder / 'tested'}", "--no_report"]
    yield programs[2], [*common, weights, f"--save{spelt}dir={folder}", "--no_report"]


def check(form, path, folder, capsys, *more):
    """Train, test and infer; what each prints."""
    for program, words in typed(form, path, folder):
        code, output = drivers.status(capsys, program, *words, *more)
        assert code == 0, f"{program} {form.path}: {output}"
        expected = {"train.py": "[TRAIN] Epoch 0, iter 0"}.get(program, "2 of 2")
        assert expected in output, output
    assert (folder / f"{form.sections['MODEL']['name']}_infer_result").is_file()


@pytest.mark.parametrize("path", DISTINCT)
def test_files_of_both_forms_train_test_and_infer(path, config, tmp_path, capsys):
    """Of the clip models' files only the name is changed, to that of a tiny network with the same keys."""
    form, more = copy.deepcopy(FORMS[path]), []
    if find(form.model).data == "clips":
        form.sections["MODEL"]["name"] = "TINYNET"
    elif form.model != "NEXTVLAD":
        more = ["-o", "MODEL.hidden_sizes=[16, 16]"]
    check(form, config(form, SMALL), tmp_path, capsys, *more)


def test_both_forms_of_a_file_say_the_same(config):
    for slug in old_configs.MODELS:
        ini, yaml = (configure(None, config(FORMS[path]))[1] for path in (f"v1.5/{slug}.txt", f"v1.6/{slug}.yaml"))
        ours, theirs = ini.model_dump(), yaml.model_dump()
        for later in ("kinetics_labels", "video_path"):
            ours["INFER"].pop(later, None)
            theirs["INFER"].pop(later, None)
        assert ours == theirs


@pytest.mark.slow
@pytest.mark.parametrize("form", old_configs.forms(), ids=FORMS)
def test_every_file_trains_tests_and_infers(form, config, tmp_path, capsys):
    check(form, config(form, SMALL), tmp_path, capsys)


def test_the_table_agrees_with_the_recipes():
    """What the shipped recipes say of those keys is what the last release said."""
    for slug, name in old_configs.MODELS.items():
        form = FORMS[f"v1.8/{slug}.yaml"]
        _, recipe = configure(name, ROOT / "configs" / f"{slug}.yaml")
        for section in ("MODEL", "TRAIN"):
            kept = getattr(recipe, section)
            same = {key: getattr(kept, key) for key in form.sections[section] if hasattr(kept, key)}
            for moved in ("filelist", "eigen_file"):
                same.pop(moved, None)
            assert same == {key: form.sections[section][key] for key in same}

"""`python -m engine.weights inspect` says what is in a file and whose weights they are."""

import numpy as np
import pytest

from engine.configuration import configure
from engine.graph.program import Graph
from engine.weights import formats
from engine.weights.__main__ import main
from utils import cli

SMALL = {"MODEL.cluster_nums": "[2, 2]", "MODEL.hidden_sizes": "[16, 16]", "MODEL.num_classes": 6}


def run(capsys, *words):
    with pytest.raises(SystemExit) as stop:
        cli.run(main, [str(word) for word in words])
    output = capsys.readouterr()
    return stop.value.code, output.out + output.err


@pytest.fixture(scope="module")
def arrays():
    model, config = configure("AttentionCluster", overrides=SMALL)
    return {name: np.zeros(shape, np.float32) for name, shape in Graph(model(config, "infer")).shapes.items()}


def flags(**changed):
    return [word for key, value in {**SMALL, **changed}.items() for word in ("-o", f"{key}={value}")]


def test_weights_of_the_model_and_of_none(arrays, tmp_path, capsys):
    formats.save(tmp_path / "own.npz", arrays)
    code, output = run(capsys, "inspect", tmp_path / "own.npz", "--model", "attentioncluster", *flags())
    assert code == 0 and "these are weights of AttentionCluster" in output
    code, output = run(capsys, "inspect", tmp_path / "own.npz")
    assert code == 0 and "these are" not in output


def test_weights_of_another_model_are_called_so(arrays, tmp_path, capsys):
    formats.save(tmp_path / "own.npz", arrays)
    code, output = run(capsys, "inspect", tmp_path / "own.npz", "--model", "TSN")
    assert code == 1 and "these are NOT whole weights of TSN: 0 of its 267 tensors are there; 267 missing: " in output
    assert f"{len(arrays)} unknown to it: " in output
    code, output = run(
        capsys, "inspect", tmp_path / "own.npz", "--model", "AttentionCluster", *flags(**{"MODEL.num_classes": 7})
    )
    assert code == 1 and "shapes differ: " in output and "the model wants [16, 7]" in output

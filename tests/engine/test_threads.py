"""One Predictor in several threads, and Predictors built in several threads: answers as in one thread."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from engine import Predictor
from engine.export import write as exporter
from support import networks, tiny

SETTINGS = {**tiny.TINY, "MODEL.num_classes": 6}
THREADS, BATCHES, ROUNDS = 4, 8, 40


@pytest.fixture(scope="module")
def weights():
    return networks.weights("TINYNET", SETTINGS)


def build(weights):
    return Predictor("TINYNET", weights=weights, overrides=SETTINGS, use_gpu=False)


@pytest.fixture(scope="module")
def folder(weights, tmp_path_factory):
    folder = tmp_path_factory.mktemp("exported") / "tiny"
    exporter.export(build(weights).network, folder)
    return folder


def frames(seed):
    return {"frames": np.random.default_rng(seed).integers(0, 256, (2, 2, 32, 32, 3), np.uint8)}


@pytest.mark.parametrize("kind", ["trained", "exported"])
def test_a_shared_predictor_answers_as_in_one_thread(kind, weights, folder, monkeypatch):
    """Once, 362 of 400 answers of an exported model were those of other threads."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # so that there are clones
    predictor = build(weights) if kind == "trained" else Predictor(exported=folder)
    expected = [predictor.run(frames(seed))["logits"] for seed in range(BATCHES)]
    assert not np.allclose(expected[0], expected[1])

    def answers(thread):
        return [predictor.run(frames((thread + i) % BATCHES))["logits"] for i in range(ROUNDS)]

    with ThreadPoolExecutor(THREADS) as pool:
        found = list(pool.map(answers, range(THREADS)))
    for thread, rows in enumerate(found):
        for i, logits in enumerate(rows):
            np.testing.assert_allclose(logits, expected[(thread + i) % BATCHES], rtol=1e-5, atol=1e-6)


def test_predictors_built_in_several_threads(weights, folder):
    """Once, this aborted the process."""
    expected = build(weights).run(frames(0))["logits"]

    def answer(thread):
        predictor = build(weights) if thread % 2 else Predictor(exported=folder)
        return predictor.run(frames(0))["logits"]

    with ThreadPoolExecutor(THREADS) as pool:
        for logits in pool.map(answer, range(2 * THREADS)):
            np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-5)

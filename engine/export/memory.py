"""Run a loaded model as the program that export.py would write, in paddle.inference, without writing an export.

Batch norms are folded into the convolutions before them, and Paddle fuses what follows. Scores equal those of the plain
program to about 1e-6 of the largest.
"""

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import paddle

from engine.export.engines import Choice, PaddleEngine, Scores
from engine.graph import compat
from engine.graph.device import Device
from engine.graph.program import Graph
from models.base import Model
from utils.errors import ConfigError, unknown

__all__ = ["ENGINES", "PRECISIONS", "FoldedProgram", "FoldedScorer", "choose", "loaded", "save_program"]

ENGINES = ("auto", "inference", "executor")
PRECISIONS = ("auto", "fp32", "bf16")

NO_FASTER = ("AttentionLSTM", "NEXTVLAD")  # measured (docs/benchmarks.md); building their folded programs takes seconds

PROGRAM = "model.json"
PARAMETERS = "model.pdiparams"


def choose(engine: str, precision: str, model: Model, use_gpu: bool) -> Choice | None:
    """How paddle.inference runs a model; None for the plain executor. Raises ConfigError.

    engine: one of ENGINES; "auto" is paddle.inference on a CPU, for the models that it makes faster
    precision: one of PRECISIONS; "auto" is fp32
    """
    for value, known, called in ((engine, ENGINES, "engine"), (precision, PRECISIONS, "precision")):
        if value not in known:
            raise ConfigError(unknown(called, value, known))
    if precision == "bf16" and (engine == "executor" or use_gpu or not model.onednn):
        raise ConfigError(
            f"--precision 'bf16' needs a CPU, paddle.inference and a model that oneDNN makes faster: "
            f"engine is '{engine}', use_gpu '{use_gpu}', oneDNN for {model.name} '{model.onednn}'; leave it out"
        )
    if engine == "auto":
        faster = compat.PIR and compat.onednn_allowed() and not use_gpu and model.name not in NO_FASTER
        engine = "inference" if faster or precision == "bf16" else "executor"
    if engine == "executor":
        return None
    return Choice(use_gpu, model.onednn, "bf16" if precision == "bf16" else "fp32")


class FoldedProgram(PaddleEngine):
    """The program of a model in inference mode for one input shape; the graph's `inputs` go in.

    values: {name: array} of the plain network's parameters
    raw, shape: as for Graph
    """

    def __init__(self, model: Model, values: dict[str, np.ndarray], choice: Choice, raw: bool = True, **shape: Any):
        graph = Graph(model, raw, fold_norms=True, **shape)
        device = loaded(graph, values)
        with _in_memory(PROGRAM, PARAMETERS) as folder:
            save_program(folder / "model", graph, device)
            super().__init__(folder / PROGRAM, folder / PARAMETERS, choice, f"{model.name}'s folded program")


def loaded(graph: Graph, values: dict[str, np.ndarray]) -> Device:
    """A device that holds the parameters of a folded graph, made of those of the plain network."""
    device, folded = Device(), graph.options.folded_values(values)
    device.initialise(graph)
    device.set({name: folded[name] for name in graph.shapes})
    return device


def save_program(prefix: Path, graph: Graph, device: Device) -> None:
    """Write the graph to `<prefix>.json` (Paddle 2.6: `.pdmodel`) and its parameters to `<prefix>.pdiparams`."""
    outputs = [graph.probabilities, graph.logits]
    with compat.static_mode(), paddle.static.scope_guard(device.scope):
        paddle.static.save_inference_model(
            str(prefix), list(graph.inputs.values()), outputs, device.executor, program=graph.program
        )


class FoldedScorer:
    """Scores batches of a test graph as `Device` does, by the folded program."""

    def __init__(self, model: Model, values: dict[str, np.ndarray], choice: Choice):
        """model: in test mode; values, choice: as for FoldedProgram."""
        self.folded = FoldedProgram(model, values, choice)
        self.device, self.program = Device(), paddle.static.Program()
        with compat.static_mode(), paddle.static.program_guard(self.program, paddle.static.Program()):
            logits = paddle.static.data("logits", [None, model.settings.num_classes], "float32")
            self.loss = model.loss(logits, model.label())

    def scores(self, graph: Graph, feed: dict[str, np.ndarray]) -> Scores:
        """(probabilities, logits) [B, classes] of one batch."""
        return self.folded.run(feed)

    def scored(self, graph: Graph, feed: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """(probabilities [B, classes], loss) of one batch with its labels."""
        probabilities, logits = self.folded.run(feed)
        given = {"logits": logits, "label": feed["label"]}
        return probabilities, self.device.run_program(self.program, given, [self.loss])[0]


@contextlib.contextmanager
def _in_memory(*names: str) -> Iterator[Path]:
    """A folder whose files of these names are in memory only. Paddle writes and reads programs as files."""
    with tempfile.TemporaryDirectory(prefix="zoo-") as folder, contextlib.ExitStack() as stack:
        for name in names if hasattr(os, "memfd_create") else ():
            number = os.memfd_create(name)
            stack.callback(os.close, number)
            (Path(folder) / name).symlink_to(f"/proc/self/fd/{number}")
        yield Path(folder)

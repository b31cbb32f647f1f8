"""What the programs train.py, test.py and export.py do, as functions that return their results."""

import contextlib
import fnmatch
from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike
from typing import Any

import numpy as np

from engine import evaluator
from engine.configuration import choose_gpu, configure
from engine.export import write
from engine.graph import compat
from engine.predictor import load_model
from engine.reporting.opening import say
from engine.trainer import Trainer
from engine.weights import load as weight_files
from models import MODELS
from paddle_video_zoo.arguments import names_arguments
from storage import addresses
from storage.files import writable_folder
from utils.log import log_file

Path = str | PathLike


@dataclass(frozen=True)
class Training:
    """What `train` returns.

    model: name; history: one dictionary of scores an epoch
    best: {"key", "value", "epoch"} of the best epoch, or None where there was none
    latest_weights, best_weights: path or address to give as `weights` or `resume`
    """

    model: str
    history: list[dict[str, Any]]
    best: dict[str, Any] | None
    latest_weights: str
    best_weights: str | None


@dataclass(frozen=True)
class Evaluation:
    """Result of `evaluate`: the model's name, scores by name, number of unreadable samples, folder of the report."""

    model: str
    scores: dict[str, Any]
    unreadable: int
    folder: str


@dataclass(frozen=True)
class Export:
    """What `export` returns: the model's name, the folder, and the largest relative difference of the answers."""

    model: str
    folder: str
    difference: float


def list_models(pattern: str = "*") -> list[str]:
    """Names of the models that match a pattern such as "T*", in any letter case, sorted."""
    return sorted(name for name in MODELS if fnmatch.fnmatchcase(name.lower(), pattern.lower()))


def _merged(overrides, *pairs):
    """Overrides of the arguments that are given, under those that the caller wrote."""
    given = {key: value for value, *keys in pairs if value is not None for key in keys}
    return {**given, **(overrides or {})}


@names_arguments
def train(
    name: str | None = None,
    config: Path | None = None,
    overrides: dict[str, Any] | None = None,
    *,
    filelist: Path | None = None,
    valid_filelist: Path | None = None,
    pretrain: Path | None = None,
    resume: Path | None = None,
    save_dir: Path = "checkpoints",
    epochs: int | None = None,
    batch_size: int | None = None,
    learning_rate: float | None = None,
    valid_interval: int = 1,
    patience: int = 0,
    keep_checkpoints: int = 0,
    log_interval: int = 10,
    amp: str | None = None,
    use_gpu: bool | None = None,
) -> Training:
    """Train a model in this process, with checkpoints, pages and a log file in `save_dir`.

    Ctrl-C saves at once and raises KeyboardInterrupt.

    name: model, in any letter case; may be left out where the config or the checkpoint tells it
    config: YAML or old .txt file; default: the checkpoint's own, else the shipped recipe
    overrides: {"SECTION.key": value} of the config; they win over the arguments below
    filelist, valid_filelist: lists of labelled samples, instead of TRAIN.filelist and VALID.filelist
    pretrain: backbone weights; "none" to train from scratch; default: the released ResNet-50
    resume: checkpoint to continue exactly, or weights to fine-tune
    epochs, batch_size (samples an update), learning_rate: instead of the config's
    valid_interval: validate every so many epochs; 0: never
    patience: stop when so many validations bring no better score; 0: never
    keep_checkpoints: number of epochs whose checkpoints are kept; 0: all
    log_interval: log every so many steps (logger "zoo"); 0: never
    amp: None, "bf16" or "fp16"
    use_gpu: default: a GPU where this Paddle can use one
    Raises ZooError.
    """
    settings = _merged(
        overrides,
        (filelist and str(filelist), "TRAIN.filelist"),
        (valid_filelist and str(valid_filelist), "VALID.filelist"),
        (epochs, "TRAIN.epoch"),
        (batch_size, "TRAIN.batch_size", "VALID.batch_size"),
        (learning_rate, "TRAIN.learning_rate"),
    )
    model, merged = configure(name, config, settings, weights=resume)
    pretrain, resume = (source and str(source) for source in (pretrain, resume))
    _require_weights(model.name, resume, pretrain)
    writable_folder(save_dir, "--save_dir")
    intervals = (log_interval, valid_interval, keep_checkpoints, patience)
    with compat.random_state_kept(), _logged(merged, "train", save_dir):
        trainer = Trainer(model, merged, save_dir, choose_gpu(use_gpu), *intervals, amp=amp)
        trainer.start(pretrain, resume)
        history = trainer.fit()
    prefix = addresses.join(save_dir, model.name)
    best = f"{prefix}_best" if trainer.best else None
    return Training(model.name, history, trainer.best, f"{prefix}_latest", best)


@contextlib.contextmanager
def _logged(config, mode, save_dir):
    """A log file of a run in `<save_dir>/log`; none where that is an address, which cannot be appended to."""
    remote = addresses.is_remote(save_dir)
    with contextlib.nullcontext() if remote else log_file(addresses.join(save_dir, "log"), mode):
        say(config, mode, save_dir)
        yield


def _require_weights(model_name, *sources):
    """Raise WeightsError for weights that are missing, before a graph is built for them."""
    for source in sources:
        if source and source.lower() != "none":
            weight_files.file_of(source, model_name)


@names_arguments
def evaluate(
    name: str | None = None,
    config: Path | None = None,
    weights: Path | dict[str, np.ndarray] | None = None,
    overrides: dict[str, Any] | None = None,
    *,
    filelist: Path | None = None,
    save_dir: Path = "data/evaluate_results",
    batch_size: int | None = None,
    use_gpu: bool | None = None,
) -> Evaluation:
    """Score weights on a list of labelled samples, and write the report of test.py to `save_dir`.

    name, config, weights, overrides, use_gpu: as for Predictor
    filelist: instead of TEST.filelist
    batch_size: views a step, instead of TEST.batch_size
    Raises ZooError; DataError where no sample could be read.
    """
    settings = _merged(overrides, (filelist and str(filelist), "TEST.filelist"), (batch_size, "TEST.batch_size"))
    model, merged = configure(name, config, settings, weights=weights)
    writable_folder(save_dir, "--save_dir")
    with _logged(merged, "test", save_dir):
        scores, unreadable = evaluator.test(model, merged, weights, choose_gpu(use_gpu), 0, save_dir)
    return Evaluation(model.name, scores, unreadable, str(save_dir))


@names_arguments
def export(
    name: str | None = None,
    config: Path | None = None,
    weights: Path | dict[str, np.ndarray] | None = None,
    overrides: dict[str, Any] | None = None,
    *,
    save_dir: Path | None = None,
    format: str = "paddle",
    interface: str = "uint8",
    paths: Sequence[Path] = (),
) -> Export:
    """Write a model as a program of its own, and compare its answers with the trained model's.

    name, config, weights, overrides: as for Predictor
    save_dir: folder, new or an earlier export; default: exported/<model>
    format: "paddle" (paddle.inference) or "onnx"
    interface: "uint8" (what readers deliver) or "float" (what the network takes)
    paths: clips, feature shards or folders to compare the answers on; default: random numbers
    Raises ConfigError, DataError, WeightsError.
    """
    loaded = load_model(name, config, weights, overrides, use_gpu=False)
    folder = save_dir or f"exported/{loaded.model.slug}"
    difference = write.export(loaded, folder, format, interface, paths)
    return Export(loaded.model.name, str(folder), difference)

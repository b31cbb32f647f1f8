"""Write a trained model as a program that includes the normalisation, and check that both give the same scores.

The batch norms behind convolutions are folded into the convolutions.
"""

import errno
import logging
import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import paddle

from datareader import READERS, loader_for
from engine.export import onnx as to_onnx
from engine.export import sidecar
from engine.export.engines import readable_by_paddle
from engine.export.memory import loaded, save_program
from engine.export.quantise import Quantisation, quantise, require_clips
from engine.export.run import ExportedModel, load_exported
from engine.graph import compat
from engine.graph.program import Graph
from engine.predictor import LoadedModel
from models.base import Model
from storage import addresses
from storage.files import replacing_folder, writable_folder
from utils.errors import ConfigError, DataError, WeightsError

log = logging.getLogger("zoo")

Feed = dict[str, np.ndarray]

# Relative to the largest number. float32 sums in another order differ by about 1e-6; a hardly trained network can turn
# that into 1e-4.
USUAL, TOLERANCE = 1e-5, 1e-3
FRAMES = 13  # of a random video where the length is free


def export(
    trained: LoadedModel,
    folder: str | Path,
    form: str = "paddle",
    interface: str = "uint8",
    clips: Sequence[str | Path] = (),
    int8: Quantisation | None = None,
) -> float:
    """Write a model into `folder`. Returns the largest relative difference from the trained model's answers.

    form: "paddle" or "onnx"
    interface: "uint8" (what readers deliver) or "float" (what the network takes)
    clips: paths to compare the answers on; default: random numbers
    int8: quantise the ONNX program to 8 bits (engine/export/quantise.py); what that costs is logged. The difference is
        that of the program before
    An earlier export in `folder` is replaced when the new one is whole and answers alike; to an address it is uploaded.
    Raises ConfigError, DataError, WeightsError, RemoteError.
    """
    if addresses.is_remote(folder):
        writable_folder(folder, "--save_dir")
        staged = addresses.staging(str(folder))
        difference = export(trained, staged, form, interface, clips, int8)
        _upload(staged, str(folder))
        return difference
    folder = Path(folder).resolve()  # of a link, what it points to
    _check_target(folder)
    if int8:
        _check_quantisation(trained.model, form, interface)
    if form == "onnx":
        to_onnx.require(*(["ml_dtypes"] if int8 else []))
    if clips and interface == "float":
        raise ConfigError("--video_path is for --interface=uint8: clips are read as uint8")
    feeds = _read(trained, clips) if clips else random_feeds(trained.model, interface == "uint8")
    try:
        with replacing_folder(folder) as beside:
            beside.mkdir()
            _write(trained, beside, form, interface)
            difference = compare(trained, load_exported(beside, use_gpu=False), feeds, interface == "uint8")
            judge(trained.model.name, difference)
            if int8:
                log.info("%s", quantise(beside, trained.config, int8))
    except OSError as error:
        raise ConfigError(
            f"--save_dir '{folder}' cannot be written: {error.strerror or error}; name another one"
        ) from error
    return difference


def judge(name: str, difference: float) -> None:
    """Raise WeightsError if an export of model `name` has other answers; warn where they differ unusually."""
    if not difference <= TOLERANCE:
        raise WeightsError(
            f"not exported: the exported {name} answers differently from the trained one, by {difference:.1e} of the "
            f"largest number (allowed: {TOLERANCE:.0e}); train it further or check it"
        )
    if difference > USUAL:
        log.warning(
            "answers differ by %.1e of the largest number, usual is %.0e: is the model trained?", difference, USUAL
        )


def compare(trained: LoadedModel, exported: ExportedModel, feeds: Sequence[Feed], raw: bool) -> float:
    """Largest difference of probabilities or logits, relative to the largest of them; NaN if one is NaN."""
    worst = [
        np.abs(found - wanted).max() / np.abs(wanted).max()
        for feed in feeds
        for found, wanted in zip(exported.run(feed, raw), trained.run(feed, raw), strict=True)
    ]
    return float(np.max(worst))


def _write(trained, folder, form, interface):
    """Program, parameters and sidecar."""
    graph = Graph(trained.model, raw=interface == "uint8", fold_norms=True, portable=form == "onnx")
    device = loaded(graph, trained.device.get(trained.graph().shapes))
    # Beside the folder, not in TMPDIR: that may be small, and an error would not name it.
    with (
        readable_by_paddle(Path(folder).parent) as parent,
        tempfile.TemporaryDirectory(prefix="program-", dir=parent) as aside,
    ):
        prefix = parent / folder.name / "model" if form == "paddle" else Path(aside) / "model"
        save_program(prefix, graph, device)
        # Paddle does not report a full disk.
        size = Path(f"{prefix}.pdiparams").stat().st_size
        if size < sum(value.nbytes for value in device.get(graph.shapes).values()):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        if form == "onnx":
            to_onnx.convert(prefix, parent / folder.name / sidecar.PROGRAMS["onnx"][0])
    inputs = [
        sidecar.Input(name=name, shape=_shape(value), dtype=_dtype(value)) for name, value in graph.inputs.items()
    ]
    sidecar.write(
        folder,
        model=trained.model.name,
        format=form,
        interface=interface,
        inputs=inputs,
        class_names=trained.names,
        config=trained.config.model_dump(mode="json"),
        paddle=paddle.__version__,
        clip_seconds=trained.clip_seconds,
    )


def _shape(value):
    return [int(size) if size > 0 else None for size in value.shape]


def _dtype(value):
    """The numpy name of the type of a program's value."""
    return str(value.dtype).rpartition(".")[2].lower()


def random_feeds(model: Model, raw: bool = True) -> list[Feed]:
    """Random batches of two samples and of one; videos of free length have up to FRAMES frames."""
    rng, feed = np.random.default_rng(0), {}
    program = paddle.static.Program()  # must outlive its values
    with compat.static_mode(), paddle.static.program_guard(program, paddle.static.Program()):
        inputs = model.inputs(raw)
    for name, value in inputs.items():
        shape, kind = [size or n for size, n in zip(_shape(value), (2, FRAMES, 1, 1, 1), strict=False)], _dtype(value)
        if name == "length":
            feed[name] = np.array([FRAMES, FRAMES - 4], np.int64)
        elif kind == "uint8":
            feed[name] = rng.integers(0, 256, shape, np.uint8)
        else:
            feed[name] = rng.standard_normal(shape, np.float32)
    return [feed, {name: array[:1] for name, array in feed.items()}]


def _read(trained, paths):
    """One batch per readable sample of the paths."""
    dataset = READERS[trained.model.data].from_paths(trained.config, "infer", paths)
    loader = loader_for(dataset, trained.config.INFER)
    feeds = [batch.feed for batch in loader.epoch()]
    if not feeds:
        raise DataError(f"nothing to compare the exported model on: {'; '.join(list(loader.bad.values())[:3])}")
    for reason in loader.bad.values():
        log.warning("not compared: %s", reason)
    return feeds


def _upload(folder, address):
    """Upload an exported model. The sidecar is removed first and uploaded last: it marks a complete model."""
    addresses.remove(addresses.join(address, sidecar.FILE))
    for file in sorted(folder.iterdir(), key=lambda file: file.name == sidecar.FILE):
        addresses.publish(file, addresses.join(address, file.name))
    shutil.rmtree(folder)


def _check_quantisation(model, form, interface):
    if (form, interface) != ("onnx", "uint8"):
        raise ConfigError("--int8 is for --format=onnx with --interface=uint8: onnxruntime calibrates it on clips")
    require_clips(model)


def _check_target(folder):
    """ConfigError unless `folder` is absent, empty or an earlier export."""
    if folder.exists() and not (folder.is_dir() and {path.name for path in folder.iterdir()} <= _ours()):
        raise ConfigError(
            f"--save_dir '{folder}' is not a folder, or holds other things than an exported model; name a new one"
        )


def _ours():
    return {sidecar.FILE, sidecar.PARAMETERS, *(name for names in sidecar.PROGRAMS.values() for name in names)}

"""Quantise an exported ONNX program to 8 bits, and say what that costs.

    clips of a list -> reader -> ranges of all activations (minimum, maximum)
    model.onnx + ranges -> the same graph with QuantizeLinear and DequantizeLinear pairs around its products and sums
    both programs on the list -> how often the best class is the same, CPU time, size

onnxruntime does the work: weights become int8 for each output channel, activations uint8.
"""

import logging
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from datareader import READERS, loader_for
from datareader.loader import Loader
from engine.export import sidecar
from engine.export.engines import onnx_engine, readable_by_paddle
from engine.graph import compat
from utils.errors import ConfigError, DataError, WeightsError

__all__ = ["Quantisation", "quantise", "require_clips"]

log = logging.getLogger("zoo")

CALIBRATED, COMPARED = 64, 1000  # clips that ranges are measured on, and that both programs classify: at most so many
ROUNDS = 5  # runs of a clip that are timed; the best counts
# What is computed in 8 bits. Normalisation, softmax and the rest stay in float32: they cost little.
OPERATORS = ["Add", "AveragePool", "Concat", "Conv", "Gemm", "GlobalAveragePool", "MatMul", "MaxPool"]


@dataclass(frozen=True)
class Quantisation:
    """filelist: clips to measure and compare on; min_agreement: share of them whose best class must stay (0 to 1)."""

    filelist: str
    min_agreement: float = 0.98


@dataclass(frozen=True)
class Outcome:
    """Both programs side by side, (float32, 8 bits): bytes, CPU seconds of a clip; and the share of equal answers."""

    clips: int
    agreement: float
    bytes: tuple[int, int]
    seconds: tuple[float, float]

    def __str__(self) -> str:
        (large, small), (slow, fast) = self.bytes, self.seconds
        return (
            f"8 bits: {small / 1e6:.1f} MB instead of {large / 1e6:.1f}, {fast * 1e3:.0f} ms of CPU time a clip "
            f"instead of {slow * 1e3:.0f}, the same best class for {self.agreement:.1%} of {self.clips} clips"
        )


def require_clips(model: type | Any) -> None:
    """ConfigError for a model that does not read clips."""
    if model.data != "clips":
        raise ConfigError(f"--int8 is for models on clips, and '{model.name}' reads features; leave it out")


def quantise(folder: Path, config: Any, wanted: Quantisation) -> Outcome:
    """Replace the ONNX program in `folder` by one in 8 bits. Returns how the two compare.

    config: of the exported model; each clip is looked at once, whatever INFER.num_clips and num_crops say
    Raises DataError for a list without a readable clip, WeightsError if too few answers stay the same.
    """
    program = folder / sidecar.PROGRAMS["onnx"][0]
    config = _one_view(config, wanted.filelist)
    with readable_by_paddle(folder.parent) as parent, tempfile.TemporaryDirectory(dir=parent) as aside:
        whole, plain = Path(aside) / "float32.onnx", Path(aside) / "plain.onnx"
        os.replace(program, whole)
        _simplify(whole, plain)
        _convert(plain, parent / folder.name / program.name, config)
        outcome = _compare(whole, program, config)
    if outcome.agreement < wanted.min_agreement:
        raise WeightsError(
            f"not exported: in 8 bits only {outcome.agreement:.1%} of the {outcome.clips} clips of '{wanted.filelist}' "
            f"keep their best class, expected --min_agreement '{wanted.min_agreement}'; calibrate on more clips, train "
            "the model longer, or lower --min_agreement"
        )
    sidecar.renew(folder, precision="int8")
    return outcome


def _one_view(config, filelist):
    infer = config.INFER.model_copy(
        update={"filelist": filelist, "num_clips": 1, "num_crops": 1, "batch_size": 1, "video_path": None}
    )
    return config.model_copy(update={"INFER": infer})


def _loader(config, most) -> Loader:
    """The clips of the list, at most so many, evenly spread over it: lists are often sorted by class."""
    reader = READERS["clips"]
    items = reader.from_config(config, "infer").items
    chosen = [items[i] for i in np.unique(np.linspace(0, len(items) - 1, min(most, len(items))).astype(int))]
    return loader_for(reader(config, "infer", chosen), config.INFER)


def _feeds(config, most, level) -> Iterator[dict[str, np.ndarray]]:
    """The frames of each readable clip; the others are logged at this level. Raises DataError if there is none."""
    with _loader(config, most) as loader:
        count = 0
        for batch in loader.epoch():
            count += 1
            yield batch.feed
        for reason in loader.bad.values():
            log.log(level, "not calibrated or compared on: %s", reason)
        if not count:
            raise DataError(
                f"no clip of '{config.INFER.filelist}' can be read: {'; '.join(list(loader.bad.values())[:3])}"
            )


def _simplify(whole, plain):
    """Constants become initialisers, and biases parts of their convolutions: else onnxruntime quantises neither."""
    from onnxruntime.quantization.shape_inference import quant_pre_process

    quant_pre_process(whole, plain, skip_symbolic_shape=True)  # that would need sympy; every shape is known without it


def _convert(plain, program, config):
    """Measure ranges and write the quantised program."""
    from onnxruntime import quantization

    class Clips(quantization.CalibrationDataReader):
        """What onnxruntime asks for the next input, None at the end."""

        def __init__(self):
            self.feeds = _feeds(config, CALIBRATED, logging.DEBUG)

        def get_next(self):
            return next(self.feeds, None)

    quantization.quantize_static(
        plain,
        program,
        Clips(),
        quant_format=quantization.QuantFormat.QDQ,
        op_types_to_quantize=OPERATORS,
        per_channel=True,
        # Without VNNI, sums of two 8-bit products overflow their 16 bits; weights of 7 bits cannot.
        reduce_range=not compat.vnni_available(),
        activation_type=quantization.QuantType.QUInt8,
        weight_type=quantization.QuantType.QInt8,
    )


def _compare(whole, program, config):
    before, after = (onnx_engine(path, use_gpu=False) for path in (whole, program))
    same, feed = [], None
    for feed in _feeds(config, COMPARED, logging.WARNING):
        same.append(before(feed)[1].argmax() == after(feed)[1].argmax())
    seconds = _seconds((before, after), feed)
    sizes = whole.stat().st_size, program.stat().st_size
    return Outcome(len(same), float(np.mean(same)), sizes, seconds)


def _seconds(engines: Sequence[Any], feed) -> tuple[float, float]:
    """CPU seconds of one clip in each of two programs, taken in turns; nothing else runs in this process now."""
    best = [float("inf")] * len(engines)
    for _ in range(ROUNDS):
        for i, run in enumerate(engines):
            start = time.process_time()
            run(feed)
            best[i] = min(best[i], time.process_time() - start)
    return best[0], best[1]

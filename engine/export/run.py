"""Run exported models, without weights and config."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from engine.configuration import choose_gpu
from engine.export import sidecar
from engine.export.engines import Choice, PaddleEngine, onnx_engine
from models import find
from utils.config import reading as configs
from utils.errors import ConfigError, DataError, WeightsError

FREE = {"MODEL": ("topk", "format")}  # keys that may be set anew, besides those of INFER that shape no input
FIXED = ("target_size", "seg_num", "kinetics_labels")


class Description(NamedTuple):
    """The description in an exported model's folder, with the caller's overrides in `config`."""

    sidecar: sidecar.Sidecar
    model_class: type
    config: Any


def describe(folder: str | Path, overrides: dict[str, Any] | None = None, name: str | None = None) -> Description:
    """The Description of the exported model in `folder`, whose files' checksums are checked here.

    name: of the model that the caller expects, or None
    Raises ConfigError, WeightsError.
    """
    found = sidecar.read(folder)
    source = f"{folder} (exported)"
    model = find(found.model)
    if name and find(name) is not model:
        raise ConfigError(f"'{folder}' is an exported '{model.name}', but --model_name says '{name}'")
    layer = configs.apply_renames(model.config_class, configs.nested(overrides or {}), source)
    for section, keys in layer.items():
        for key in keys:
            if key in FIXED if section == "INFER" else key not in FREE.get(section, ()):
                raise ConfigError(
                    f"{section}.{key} '{keys[key]}': that was fixed when '{folder}' was exported; free are INFER's "
                    f"keys without {', '.join(FIXED)}, and MODEL.{' and MODEL.'.join(FREE['MODEL'])}"
                )
    config = configs.validate(model.config_class, configs.merge(found.config, layer), source, layer, found.config)
    if len(found.class_names) != config.MODEL.num_classes:
        raise WeightsError(
            f"'{Path(folder) / sidecar.FILE}' is damaged: {len(found.class_names)} class names for "
            f"{config.MODEL.num_classes} classes; export the model again"
        )
    return Description(found, model, config)


class ExportedModel:
    """An exported model, loaded.

    folder, description: where it is, and what `describe` returned of it
    precision: "auto" and "fp32", or "bf16" on a CPU that has it
    tensorrt: run by TensorRT, on a GPU
    providers: of an ONNX model, what onnxruntime runs it on, such as ["openvino"]; see engines.PROVIDERS
    Raises ConfigError, WeightsError.
    """

    def __init__(
        self,
        folder: str | Path,
        description: Description,
        use_gpu: bool | None = None,
        precision: str = "auto",
        tensorrt: bool = False,
        providers: Sequence[str] = (),
    ):
        self.sidecar, model_class, self.config = description
        self.model, self.names, self.folder = model_class(self.config, "infer"), self.sidecar.class_names, Path(folder)
        self.clip_seconds = self.sidecar.clip_seconds
        if self.sidecar.format == "onnx":
            if precision == "bf16" or tensorrt:
                raise ConfigError(
                    f"'{folder}' is an ONNX model; --precision and --tensorrt are for those of --format=paddle"
                )
            self._scores = onnx_engine(self.folder / self.sidecar.program, use_gpu, providers)
        else:
            if providers:
                raise ConfigError(f"--providers is for ONNX models; '{folder}' is of --format=paddle: leave it out")
            choice = Choice(choose_gpu(use_gpu), self.model.onednn, precision, tensorrt)
            called = f"'{self.folder / self.sidecar.program}', written by Paddle {self.sidecar.paddle},"
            program, parameters = self.folder / self.sidecar.program, self.folder / sidecar.PARAMETERS
            self._scores = PaddleEngine(program, parameters, choice, called).run

    def run(self, feed: dict[str, np.ndarray], raw: bool = True, **shape: Any) -> tuple[np.ndarray, np.ndarray]:
        """(probabilities, logits), float32 [B, classes], of one batch as `LoadedModel.run` takes it.

        Raises ConfigError for the other interface, DataError for another shape.
        """
        if raw != (self.sidecar.interface == "uint8"):
            taken = ", ".join(f"{one.name} {one.dtype}" for one in self.sidecar.inputs)
            given, other = ("what readers deliver", "uint8") if raw else ("ready floats", "float")
            raise ConfigError(
                f"'{self.folder}' was exported with --interface={self.sidecar.interface}: it takes {taken}, not "
                f"{given}; export it with --interface={other}"
            )
        for one in self.sidecar.inputs:  # Paddle 3 does not check
            if one.name not in feed:
                raise WeightsError(
                    f"'{self.folder}' is damaged: it takes '{one.name}', and a {self.model.name} {', '.join(feed)}; "
                    "export the model again"
                )
            array = feed[one.name]
            if (
                array.dtype != one.dtype
                or array.ndim != len(one.shape)
                or any(wanted not in (None, size) for size, wanted in zip(array.shape, one.shape, strict=True))
            ):
                shape = str(one.shape).replace("None", "any")
                raise DataError(
                    f"input '{one.name}' is {array.dtype} {list(array.shape)}; '{self.folder}' takes "
                    f"{one.dtype} {shape}"
                )
        return self._scores({one.name: np.ascontiguousarray(feed[one.name]) for one in self.sidecar.inputs})


def load_exported(
    folder: str | Path,
    overrides: dict[str, Any] | None = None,
    use_gpu: bool | None = None,
    precision: str = "auto",
    tensorrt: bool = False,
    name: str | None = None,
) -> ExportedModel:
    """`describe` and load the exported model in `folder`. Raises ConfigError, WeightsError."""
    return ExportedModel(folder, describe(folder, overrides, name), use_gpu, precision, tensorrt)

"""Run what export.py wrote, without weights and config: Paddle programs in paddle.inference, ONNX in onnxruntime."""

import logging
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from engine.configuration import choose_gpu
from engine.export import sidecar
from engine.graph import compat
from models import find
from utils import runtime
from utils.config import reading as configs
from utils.errors import ConfigError, DataError, WeightsError

log = logging.getLogger("zoo")

FREE = {"MODEL": ("topk", "format")}  # keys that may be set anew, besides those of INFER that shape no input
FIXED = ("target_size", "seg_num", "kinetics_labels")
GPU_MEMORY_MB = 256  # taken at the start; more as needed


class Description(NamedTuple):
    """What an exported model's folder says of it, with the caller's overrides in `config`."""

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
                    f"{section}.{key} '{keys[key]}': that was fixed when '{folder}' was exported; free are INFER's keys "
                    f"without {', '.join(FIXED)}, and MODEL.{' and MODEL.'.join(FREE['MODEL'])}"
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
    precision: "fp32", or "bf16" on a CPU that has it
    tensorrt: run by TensorRT, on a GPU
    Raises ConfigError, WeightsError.
    """

    def __init__(
        self,
        folder: str | Path,
        description: Description,
        use_gpu: bool | None = None,
        precision: str = "fp32",
        tensorrt: bool = False,
    ):
        self.sidecar, model_class, self.config = description
        self.model, self.names, self.folder = model_class(self.config, "infer"), self.sidecar.class_names, Path(folder)
        if self.sidecar.format == "onnx":
            if precision != "fp32" or tensorrt:
                raise ConfigError(
                    f"'{folder}' is an ONNX model; --precision and --tensorrt are for Paddle's (export.py --format=paddle)"
                )
            self._scores = _onnx_scores(self.folder / self.sidecar.program, use_gpu)
        else:
            self._scores = _paddle_scores(
                self.folder, self.sidecar, self.model.onednn, choose_gpu(use_gpu), precision, tensorrt
            )

    def run(self, feed: dict[str, np.ndarray], raw: bool = True, **shape) -> tuple[np.ndarray, np.ndarray]:
        """(probabilities, logits), float32 [B, classes], of one batch as `LoadedModel.run` takes it, in the exported shape.

        Raises ConfigError for the other interface, DataError for another shape.
        """
        if raw != (self.sidecar.interface == "uint8"):
            raise ConfigError(
                f"'{self.folder}' was exported with --interface={self.sidecar.interface}: it takes "
                f"{', '.join(f'{one.name} {one.dtype}' for one in self.sidecar.inputs)}, not "
                f"{'what readers deliver' if raw else 'ready floats'}; export it with "
                f"--interface={'uint8' if raw else 'float'}"
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
                    f"input '{one.name}' is {array.dtype} {list(array.shape)}; '{self.folder}' takes {one.dtype} {shape}"
                )
        return self._scores({one.name: np.ascontiguousarray(feed[one.name]) for one in self.sidecar.inputs})


def load_exported(
    folder: str | Path,
    overrides: dict[str, Any] | None = None,
    use_gpu: bool | None = None,
    precision: str = "fp32",
    tensorrt: bool = False,
    name: str | None = None,
) -> ExportedModel:
    """`describe` and load the exported model in `folder`. Raises ConfigError, WeightsError."""
    return ExportedModel(folder, describe(folder, overrides, name), use_gpu, precision, tensorrt)


def _paddle_scores(folder, found, onednn, use_gpu, precision, tensorrt):
    """feed -> (probabilities, logits) by paddle.inference."""
    from paddle import inference

    config = inference.Config(str(folder / found.program), str(folder / sidecar.PARAMETERS))
    config.disable_glog_info()
    if use_gpu:
        config.enable_use_gpu(GPU_MEMORY_MB, 0)
    else:
        config.disable_gpu()
        config.set_cpu_math_library_num_threads(runtime.threads())
        if (onednn or precision == "bf16") and compat.onednn_allowed():
            config.enable_mkldnn()
        else:
            config.disable_mkldnn()  # Paddle 3 switches it on
    if precision == "bf16":
        if use_gpu or not compat.bfloat16_available():
            raise ConfigError(
                "--precision 'bf16' needs a CPU with bfloat16 instructions (AVX-512 BF16 or AMX) and --use_gpu=False; "
                "leave it out"
            )
        config.enable_mkldnn_bfloat16()
    if tensorrt:
        if not use_gpu or not any(inference.get_trt_compile_version()):
            raise ConfigError("--tensorrt needs a GPU and a Paddle that was built with TensorRT; leave it out")
        config.enable_tensorrt_engine(precision_mode=inference.PrecisionType.Float32)
    predictor = _predictor(config, folder / found.program, found.paddle)
    inputs = {name: predictor.get_input_handle(name) for name in predictor.get_input_names()}
    outputs = [predictor.get_output_handle(name) for name in predictor.get_output_names()]

    def scores(feed):
        for name, handle in inputs.items():
            handle.copy_from_cpu(feed[name])
        predictor.run()
        return tuple(output.copy_to_cpu() for output in outputs)

    return scores


def _predictor(config, program, written_by):
    """The predictor of a configuration. Raises WeightsError."""
    from paddle import inference, static

    try:
        if program.suffix == ".pdmodel":  # Paddle 2.6's predictor would crash on what is no program
            with compat.static_mode():
                static.deserialize_program(program.read_bytes())
        return inference.create_predictor(config)
    except (RuntimeError, ValueError, NotImplementedError, OSError) as error:
        raise WeightsError(
            f"'{program}', written by Paddle {written_by}, cannot be run by this one: "
            f"{str(error).strip().splitlines()[-1]}; export the model again with this Paddle"
        ) from error


def _onnx_scores(path, use_gpu):
    """feed -> (probabilities, logits) by onnxruntime."""
    try:
        import onnxruntime
    except ImportError as error:
        raise ConfigError(f"'{path}' needs onnxruntime: pip install -e '.[onnx]'") from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = runtime.threads(), 3
    cuda = "CUDAExecutionProvider" in onnxruntime.get_available_providers()
    if use_gpu and not cuda:
        log.warning("use_gpu True: this onnxruntime cannot use a GPU here; running on the CPU")
    providers = ["CUDAExecutionProvider"] if cuda and use_gpu is not False else []
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=[*providers, "CPUExecutionProvider"])
    except Exception as error:  # its exceptions have nothing else in common
        raise WeightsError(
            f"'{path}' cannot be run by this onnxruntime: {' '.join(str(error).split())}; export the model again"
        ) from error
    return lambda feed: tuple(session.run(["probabilities", "logits"], feed))

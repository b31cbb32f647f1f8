"""What runs an exported program: paddle.inference or onnxruntime. Both may be shared by threads."""

import contextlib
import logging
import queue
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from engine.graph import compat
from utils import runtime
from utils.errors import ConfigError, WeightsError

__all__ = ["Choice", "PaddleEngine", "Scores", "onnx_engine", "readable_by_paddle"]

log = logging.getLogger("zoo")

Scores = tuple[np.ndarray, np.ndarray]  # probabilities and logits, float32 [B, classes]

# Short names of onnxruntime's execution providers; which of them are there depends on the package that is installed.
PROVIDERS = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
    "openvino": "OpenVINOExecutionProvider",
    "directml": "DmlExecutionProvider",
    "coreml": "CoreMLExecutionProvider",
    "rocm": "ROCMExecutionProvider",
}

GPU_MEMORY_MB = 256  # taken at the start; more as needed


@dataclass(frozen=True)
class Choice:
    """How paddle.inference runs a program.

    onednn: use oneDNN on a CPU, where the environment allows it; precision: "fp32" or "bf16", which needs oneDNN
    """

    use_gpu: bool = False
    onednn: bool = True
    precision: str = "fp32"
    tensorrt: bool = False


class PaddleEngine:
    """A program in paddle.inference.

    A predictor of Paddle serves one thread at a time. Threads that come meanwhile get clones of it, which share its
    parameters, as long as the cores have room for the threads of one more (utils/runtime.py); then they wait.
    Measured with 4 threads on 2 cores, TSN, one computing thread each: 1.8 times the answers of a single predictor.
    """

    def __init__(self, program: Path, parameters: Path, choice: Choice, called: str):
        """`called`: what messages call the program. Raises ConfigError, WeightsError."""
        with readable_by_paddle(program.parent) as folder:
            config = _configuration(folder / program.name, folder / parameters.name, choice)
            self._first = _create(config, folder / program.name, called, choice)
            lasting = folder == program.parent and not program.is_symlink()
        self._free = queue.LifoQueue()
        self._free.put(self._first)
        # A clone reads the program's file again, which must still be there.
        self._more = 0 if choice.use_gpu or not lasting else max(1, runtime.cores() // runtime.threads()) - 1
        self._growing = threading.Lock()

    def run(self, feed: dict[str, np.ndarray]) -> Scores:
        """(probabilities, logits) of one batch {input: array}."""
        with self._borrowed() as predictor:
            for name in predictor.get_input_names():
                predictor.get_input_handle(name).copy_from_cpu(feed[name])
            predictor.run()
            names = predictor.get_output_names()
            probabilities, logits = (predictor.get_output_handle(name).copy_to_cpu() for name in names)
        return probabilities, logits

    @contextlib.contextmanager
    def _borrowed(self):
        predictor = self._take()
        try:
            yield predictor
        finally:
            self._free.put(predictor)

    def _take(self):
        with contextlib.suppress(queue.Empty):
            return self._free.get_nowait()
        with self._growing:
            if self._more:
                self._more -= 1
                with compat.static_mode():
                    return self._first.clone()
        return self._free.get()


@contextlib.contextmanager
def readable_by_paddle(folder: Path) -> Iterator[Path]:
    """The folder by a path that Paddle can open: it takes UTF-8 only, so other paths get a link with a plain name."""
    try:
        str(folder).encode()
    except UnicodeEncodeError:
        with tempfile.TemporaryDirectory(prefix="zoo-") as aside:
            link = Path(aside) / "folder"
            link.symlink_to(folder.absolute())
            yield link
    else:
        yield folder


def _configuration(program, parameters, choice):
    from paddle import inference

    config = inference.Config(str(program), str(parameters))
    config.disable_glog_info()
    if choice.use_gpu:
        config.enable_use_gpu(GPU_MEMORY_MB, 0)
    else:
        config.disable_gpu()
        config.set_cpu_math_library_num_threads(runtime.threads())
        if (choice.onednn or choice.precision == "bf16") and compat.onednn_allowed():
            config.enable_mkldnn()
        else:
            config.disable_mkldnn()  # Paddle 3 switches it on
    if choice.precision == "bf16":
        if choice.use_gpu or not compat.bfloat16_available():
            raise ConfigError(
                "--precision 'bf16' needs a CPU that computes in bfloat16 (AVX-512, which ONEDNN_MAX_CPU_ISA "
                "must not forbid) and --use_gpu=False; leave it out"
            )
        config.enable_mkldnn_bfloat16()
    if choice.tensorrt:
        if not choice.use_gpu or not any(inference.get_trt_compile_version()):
            raise ConfigError("--tensorrt needs a GPU and a Paddle that was built with TensorRT; leave it out")
        config.enable_tensorrt_engine(precision_mode=inference.PrecisionType.Float32)
    return config


def _create(config, program, called, choice):
    """The predictor of a configuration. Raises ConfigError, WeightsError."""
    from paddle import inference, static

    try:
        with compat.static_mode():  # one thread at a time: Paddle optimises programs with settings of the whole process
            if program.suffix == ".pdmodel":  # Paddle 2.6's predictor would crash if the file is not a program
                static.deserialize_program(program.read_bytes())
            return inference.create_predictor(config)
    except (RuntimeError, ValueError, NotImplementedError, OSError) as error:
        reason = " ".join(str(error).strip().splitlines()[-1].split())
        if choice.precision == "bf16":
            raise ConfigError(f"{called} cannot be run with --precision 'bf16': {reason}; leave it out") from error
        raise WeightsError(
            f"{called} cannot be run by this one: {reason}; export the model again with this Paddle"
        ) from error


def onnx_engine(
    path: Path, use_gpu: bool | None, providers: Sequence[str] = ()
) -> Callable[[dict[str, np.ndarray]], Scores]:
    """feed -> (probabilities, logits) by onnxruntime.

    providers: keys of PROVIDERS, the preferred one first; default: the GPU if `use_gpu` and onnxruntime allow it,
        then the CPU
    Raises ConfigError, WeightsError.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise ConfigError(f"'{path}' needs onnxruntime: pip install -e '.[onnx]'") from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = runtime.threads()
    options.log_severity_level = 3
    if providers:
        chosen = _installed(providers, onnxruntime.get_available_providers())
    else:
        cuda = PROVIDERS["cuda"] in onnxruntime.get_available_providers()
        if use_gpu and not cuda:
            log.warning("use_gpu True: this onnxruntime cannot use a GPU here; running on the CPU")
        chosen = [PROVIDERS["cuda"]] if cuda and use_gpu is not False else []
    try:
        with readable_by_paddle(path.parent) as folder:
            name = str(folder / path.name)
            session = onnxruntime.InferenceSession(name, options, providers=[*chosen, PROVIDERS["cpu"]])
    except Exception as error:  # its exceptions have nothing else in common
        raise WeightsError(
            f"'{path}' cannot be run by this onnxruntime: {' '.join(str(error).split())}; export the model again"
        ) from error
    if providers:
        log.info("onnxruntime runs the model on %s", ", ".join(session.get_providers()))
    return lambda feed: tuple(session.run(["probabilities", "logits"], feed))


def _installed(names, available):
    """onnxruntime's names of providers. Raises ConfigError for one that is unknown or not installed."""
    here = [name for name, full in PROVIDERS.items() if full in available]
    for name in names:
        if name not in here:
            raise ConfigError(
                f"--providers '{name}': this onnxruntime has {', '.join(here)}; others come with its packages "
                "onnxruntime-gpu, onnxruntime-openvino and onnxruntime-directml"
            )
    return [PROVIDERS[name] for name in names if name != "cpu"]

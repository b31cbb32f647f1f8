"""Classify clips or ready tensors with trained or exported weights, for infer.py and for other Python programs."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from os import PathLike
from typing import Any

import numpy as np
from tqdm import tqdm

from datareader import loader_for
from datareader.loader import Batch
from engine import views
from engine.checkpoints import finding
from engine.configuration import choose_gpu, class_names, configure
from engine.export import memory
from engine.export import run as exports
from engine.features import datasets
from engine.features.windows import on_clips
from engine.graph import compat
from engine.graph.device import Device
from engine.graph.program import Graph
from engine.timelines.windows import Frames, lengths, stream
from engine.weights import load as weight_files
from metrics.timeline import Timeline, Window, segments
from reports import tables as report
from utils.errors import ConfigError, DataError, RemoteError

__all__ = ["LoadedModel", "Predictor", "load_model"]

Weights = str | PathLike | dict[str, np.ndarray]
Paths = str | PathLike | Iterable[str | PathLike]


class LoadedModel:
    """A model in inference mode with its weights.

    model_class, config: what `configure` returns
    weights: path, address or {parameter name: array}; None for the released ones
    engine, precision: see `choose` in engine/export/memory.py; the plain executor by default
    Attributes: `model`, `config`, `names` (of the classes, in index order), `report` (which weights matched),
    `clip_seconds` (mean length of the training clips, or None).
    """

    def __init__(
        self,
        model_class: type,
        config: Any,
        weights: Weights | None = None,
        use_gpu: bool | None = None,
        engine: str = "executor",
        precision: str = "auto",
    ):
        self.config, self.model = config, model_class(config, "infer")
        state = finding.state_for(weights, self.model.name)
        self.names, self.clip_seconds = class_names(config, state), state.get("clip_seconds")
        use_gpu = choose_gpu(use_gpu)
        self.choice = memory.choose(engine, precision, self.model, use_gpu)
        self.device = Device(use_gpu, self.model.onednn)
        self.graphs, self.programs = {}, {}
        source = weight_files.require(weights, self.model)
        self.device.initialise(self.graph())
        self.report = weight_files.load_into(weight_files.strict, self.device, self.graph(), self.model, source)

    def graph(self, raw: bool = True, **shape: Any) -> Graph:
        """The graph of an input shape, built when it is first asked for; all graphs share their parameters."""
        key = (raw, *shape.items())
        with compat.static_mode():  # threads that ask for the same shape get the same graph
            if key not in self.graphs:
                self.graphs[key] = Graph(self.model, raw, **shape)
            return self.graphs[key]

    def run(self, feed: dict[str, np.ndarray], raw: bool = True, **shape: Any) -> tuple[np.ndarray, np.ndarray]:
        """(probabilities, logits), float32 [B, classes], of one batch.

        raw: whether the batch is as readers deliver it (uint8), or as the network takes it (float32)
        """
        if self.choice:
            return self._program(raw, shape).run(feed)
        return self.device.scores(self.graph(raw, **shape), feed)

    def _program(self, raw, shape):
        key = (raw, *shape.items())
        with compat.static_mode():
            if key not in self.programs:
                values = self.device.get(self.graph().shapes)
                self.programs[key] = memory.FoldedProgram(self.model, values, self.choice, raw, **shape)
            return self.programs[key]


def load_model(
    name: str | None = None,
    config: str | PathLike | None = None,
    weights: Weights | None = None,
    overrides: dict[str, Any] | None = None,
    use_gpu: bool | None = None,
    engine: str = "executor",
    precision: str = "auto",
) -> LoadedModel:
    """The LoadedModel of the arguments that Predictor takes. Raises ConfigError, WeightsError."""
    model_class, settings = configure(name, config, overrides, weights)
    return LoadedModel(model_class, settings, weights, use_gpu, engine, precision)


def check_source(
    config: Any, weights: Any, exported: Any, tensorrt: bool, engine: str, providers: Sequence[str] = ()
) -> None:
    """ConfigError where these arguments of Predictor do not go together."""
    if exported and (config or weights):
        raise ConfigError(f"'{exported}' is an exported model and brings its own; leave out '{config or weights}'")
    if exported and engine != "auto":
        raise ConfigError(
            f"--engine '{engine}' is for weights; what runs '{exported}' was decided by the export; leave it out"
        )
    if not exported and providers:
        raise ConfigError("--providers is for exported ONNX models; write one with export.py --format=onnx")
    if not exported and tensorrt:
        raise ConfigError("--tensorrt is for exported models; write one with export.py and give --exported")


class Predictor:
    """A model in inference mode.

    Predictor("STNET", config="configs/stnet.yaml", weights=path_or_dict, overrides={"MODEL.seg_num": 7})
    Predictor(exported="exported/stnet", overrides={"INFER.num_clips": 10})
        ("a.mp4") -> [{"label": "archery", "score": 0.98}, ...]; of a list of clips, one such list a clip
        .predict(["a.mp4", "folder"]) -> [{"id", "probabilities", "indices", "names"} or {"id", "error"}]
        .timeline("match.mp4", window=4) -> what happens when; .stream("match.mp4", window=4) yields its windows
        .run({"image": float32 [B, seg_num, 3*seglen, H, W]}) -> {"probabilities": float32 [B, classes], "logits": ...}

    name: of the model, in any letter case; may be left out where a config, a checkpoint or an export tells it
    config: YAML or old .txt file; default: the one that a checkpoint brings, else the shipped recipe
    weights: path, address or {parameter name: array}; default: the released weights
    overrides: {"SECTION.key": value} of the config
    use_gpu: default: a GPU where this Paddle can use one
    exported: a folder that `export` wrote. It needs neither config nor weights, and takes only the shapes that it was
        exported for
    precision: "auto" (fp32), "fp32", or "bf16" on a CPU that has it
    tensorrt: run an exported model by TensorRT, on a GPU
    engine: what runs weights: "executor" (Paddle's plain executor), "inference" (paddle.inference), or "auto": on a CPU
        paddle.inference for the models that it makes faster
    Several predictors may live in one process, and be built in several threads. One predictor may be shared by threads:
    answers are those of a single thread. Trained models then answer one after the other; exported ones at the same time
    where OMP_NUM_THREADS leaves cores free. Raises ConfigError, WeightsError.
    """

    def __init__(
        self,
        name: str | None = None,
        config: str | PathLike | None = None,
        weights: Weights | None = None,
        overrides: dict[str, Any] | None = None,
        use_gpu: bool | None = None,
        exported: str | PathLike | None = None,
        precision: str = "auto",
        tensorrt: bool = False,
        engine: str = "auto",
    ):
        check_source(config, weights, exported, tensorrt, engine)
        if exported:
            self._use(exports.load_exported(exported, overrides, use_gpu, precision, tensorrt, name))
        else:
            self._use(load_model(name, config, weights, overrides, use_gpu, engine, precision))

    @classmethod
    def of(cls, network: "LoadedModel | exports.ExportedModel") -> "Predictor":
        """A predictor of a network that is loaded already."""
        predictor = cls.__new__(cls)
        predictor._use(network)
        return predictor

    def _use(self, network):
        self.network = network
        self.model, self.config, self.names = network.model, network.config, network.names

    def __call__(self, paths: Paths, topk: int | None = None) -> list:
        """The best classes of a clip, best first: [{"label": class name, "score": probability}, ...].

        Of several clips, a list of such lists in the same order.

        paths: one clip, or a list of clips (of feature models: files of one video each)
        topk: number of classes; default: MODEL.topk
        Raises DataError where a clip cannot be read or a path stands for several; `predict` takes folders, and reports
        unreadable clips one by one.
        """
        single = isinstance(paths, str | PathLike)
        given = [paths] if single else list(paths)
        if not given:
            return []
        dataset = datasets.from_paths(self.model.data, self.config, "infer", given)
        if len(dataset) != len(given):
            raise DataError(
                f"{len(given)} paths, first '{given[0]}', hold {len(dataset)} samples; give one file a sample here, or "
                "use predict(), which takes folders"
            )
        results = self._classify(dataset, self.config.INFER, topk)
        for result in results:
            if "error" in result:
                raise DataError(f"{result['error']}; predict() reports unreadable clips and classifies the others")
        found = [
            [{"label": label, "score": score} for label, score in zip(one["names"], one["probabilities"], strict=True)]
            for one in results
        ]
        return found[0] if single else found

    def run(self, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """{"probabilities", "logits"}, float32 [B, classes], of inputs as the model's `interface` takes them.

        Raises DataError, and for exported models ConfigError.
        """
        settings, feed = self.model.interface(inputs)
        probabilities, logits = self.network.run(feed, **settings)
        return {"probabilities": probabilities, "logits": logits}

    def predict(
        self,
        paths: Paths | None = None,
        filelist: str | PathLike | None = None,
        topk: int | None = None,
        collect: Callable[[Batch, np.ndarray], None] | None = None,
    ) -> list[dict[str, Any]]:
        """One dictionary a sample, in the order of the input.

        {"id", "probabilities", "indices", "names"}, best class first, or {"id", "error"} where it cannot be read.

        paths: files and folders; filelist: a list of samples; neither: INFER.filelist
        topk: number of classes; default: MODEL.topk
        collect: called with each batch and its probabilities [B, classes]
        Where a connection is lost, that is the error of all samples not read by then.
        Raises RemoteError where no sample was read; DataError where a path or a list is not there.
        """
        family, section = self.model.data, self.config.INFER
        if paths is not None:
            given = [paths] if isinstance(paths, str | PathLike) else list(paths)
            if not given:
                return []
            return self._classify(datasets.from_paths(family, self.config, "infer", given), section, topk, collect)
        config = self.config
        if filelist:
            section = section.model_copy(update={"filelist": str(filelist)})
            config = config.model_copy(update={"INFER": section})
        return self._classify(datasets.from_config(family, config, "infer"), section, topk, collect)

    def stream(
        self, source: str | PathLike | Frames, window: float | str = "auto", stride: float | None = None
    ) -> Iterator[Window]:
        """Yield the windows of a long video in order, as soon as they are scored: Window(start, end, probabilities).

        source: a video, or an iterator of (timestamp in seconds, RGB uint8 [H, W, 3]): a camera, say
        window: seconds, or "auto" for the mean length of the training clips, if the weights tell it
        stride: seconds from one window's start to the next one's; default: half a window
        A video shorter than a window is one window; the last window ends with the video, so that every second is in
        one. Memory does not grow with the video. Raises ConfigError; while it is iterated, DataError.
        """
        network = on_clips(self.network)
        length, step = lengths(network, window, stride)
        return stream(network, source, length, step)

    def timeline(
        self,
        source: str | PathLike | Frames,
        window: float | str = "auto",
        stride: float | None = None,
        threshold: float = 0.0,
        min_seconds: float = 0.0,
        smooth: int = 1,
        unsure: str | None = None,
    ) -> Timeline:
        """What happens when in a long video: Timeline(windows, segments, names).

        source, window, stride: as for `stream`; threshold, min_seconds, smooth, unsure: see `segments` in
        metrics/timeline.py. Raises ConfigError, DataError.
        """
        windows = list(self.stream(source, window, stride))
        found = segments(windows, self.names, threshold, min_seconds, smooth, unsure)
        return Timeline(windows, found, self.names)

    def _classify(self, dataset, section, topk, collect=None):
        loader = loader_for(dataset, section)
        results = [None] * len(dataset)
        for batch in tqdm(loader.epoch(), total=len(loader), desc="infer", unit="batch", disable=None, leave=False):
            scores = views.probabilities(self.network.run, batch.feed, section)
            if collect:
                collect(batch, scores)
            for index, name, row in zip(batch.indices, batch.ids, scores, strict=True):
                results[index] = self._result(name, row, topk or self.config.MODEL.topk)
        if loader.lost and not any(results):
            raise RemoteError(loader.lost)
        for index, reason in loader.bad.items():
            results[index] = {"id": dataset.name(index), "error": reason}
        return results

    def _result(self, name, row, topk):
        probabilities, indices = report.top(row, topk)
        names = [self.names[index] for index in indices]
        return {"id": name, "probabilities": probabilities, "indices": indices, "names": names}

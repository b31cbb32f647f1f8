"""Classify clips, or ready tensors, with a trained or an exported model: the class that people embed, and that infer.py is built on."""

from tqdm import tqdm

from datareader import READERS, loader_for
from engine import views
from engine.configuration import choose_gpu, class_names, configure
from engine.export.run import Exported
from engine.graph.device import Device
from engine.graph.program import Graph
from engine.weights import load as weights
from reports import tables as report
from utils.errors import ConfigError, RemoteError


class Trained:
    """A model in inference mode with its weights. `model`, `config`, `names` (of the classes), `report` (of loading)."""

    def __init__(self, name=None, config=None, weights=None, overrides=None, use_gpu=None):
        model_class, self.config = configure(name, config, overrides, weights)
        self.model = model_class(self.config, "infer")
        self.names = class_names(self.config, weights)
        self.device = Device(choose_gpu(use_gpu), self.model.onednn)
        self.graphs = {}
        self._load(weights)

    def _load(self, source):
        source = weights.require(source, self.model)
        graph = self.graph()
        self.device.initialise(graph)
        self.report = weights.put(weights.strict, self.device, graph, self.model, source)

    def graph(self, raw=True, **shape):
        """The graph of an input shape, built when it is first asked for; all share their parameters."""
        key = (raw, *shape.items())
        if key not in self.graphs:
            self.graphs[key] = Graph(self.model, raw, **shape)
        return self.graphs[key]

    def run(self, feed, raw=True, **shape):
        """(probabilities, logits) [B, classes] of one batch: as readers deliver it (`raw`), or as the network takes it."""
        return self.device.scores(self.graph(raw, **shape), feed)


class Predictor:
    """A model in inference mode.

    Predictor("STNET", config="configs/stnet.yaml", weights=path_or_dict, overrides={"MODEL.seg_num": 7})
    Predictor(exported="exported/stnet", overrides={"INFER.num_clips": 10})
        .run({"image": float32 [B, seg_num, 3*seglen, H, W]}) -> {"probabilities": float32 [B, classes], "logits": ...}
        .predict(["a.mp4", "folder"]) -> [{"id", "probabilities", "indices", "names"} or {"id", "error"}]

    Without `config`, a checkpoint brings its own. An exported model (export.py) needs neither weights nor config, and takes only
    the shapes it was exported for; `precision` ("bf16") and `tensorrt` are for such. Several predictors may live in one process.
    Raises ConfigError, WeightsError.
    """

    def __init__(
        self,
        name=None,
        config=None,
        weights=None,
        overrides=None,
        use_gpu=None,
        exported=None,
        precision="fp32",
        tensorrt=False,
    ):
        if exported and (config or weights):
            raise ConfigError(f"'{exported}' is an exported model and brings its own; leave out '{config or weights}'")
        if not exported and (precision != "fp32" or tensorrt):
            raise ConfigError(
                "--precision and --tensorrt are for exported models; write one with export.py and give --exported"
            )
        if exported:
            self.network = Exported(exported, overrides, use_gpu, precision, tensorrt, name)
        else:
            self.network = Trained(name, config, weights, overrides, use_gpu)
        self.model, self.config, self.names = self.network.model, self.network.config, self.network.names

    def run(self, inputs):
        """Probabilities and logits of inputs as the model's `interface` takes them. Raises DataError."""
        settings, feed = self.model.interface(inputs)
        probabilities, logits = self.network.run(feed, **settings)
        return {"probabilities": probabilities, "logits": logits}

    def predict(self, paths=None, filelist=None, topk=None, collect=None):
        """Results in the order of the input: of files and folders, of a list, or (neither) of INFER.filelist.
        `collect(batch, probabilities)` sees each batch. Where a connection is
        lost, the samples not read by then have that as their error; raises RemoteError where nothing was."""
        reader, section = READERS[self.model.data], self.config.INFER
        if paths:
            dataset = reader.from_paths(self.config, "infer", [paths] if isinstance(paths, str) else paths)
        else:
            if filelist:
                section = section.model_copy(update={"filelist": str(filelist)})
                dataset = reader.from_config(self.config.model_copy(update={"INFER": section}), "infer")
            else:
                dataset = reader.from_config(self.config, "infer")
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
        return {
            "id": name,
            "probabilities": probabilities,
            "indices": indices,
            "names": [self.names[i] for i in indices],
        }

"""The evaluation loop: batches through a graph into a metric, and what test.py reports."""

import logging
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from tqdm import tqdm

from datareader import loader_for
from datareader.loader import Loader
from engine import bad_samples, views
from engine.checkpoints import finding
from engine.configuration import class_names
from engine.distributed.group import Group
from engine.export import memory
from engine.features import datasets
from engine.graph.device import Device
from engine.graph.program import Graph
from engine.reporting.testing import report
from engine.stop import Interrupted, StopSignal
from engine.weights import load as weights
from metrics import METRICS
from models.base import Model
from reports import REPORTS
from reports.pages.evaluation import prepare
from storage import locks
from utils.errors import DataError, RemoteError

log = logging.getLogger("zoo")


def evaluate(
    device: Device,
    graph: Graph,
    loader: Loader,
    new_metric: Callable[[], Any],
    log_interval: int = 0,
    prefix: str = "[TEST] test_iter",
    collect: Callable | None = None,
    group: Group | None = None,
    stop: Any = None,
) -> Any:
    """Score every readable sample of `loader`, by the average of its views; returns the metric that `new_metric()`
    makes, updated.

    A logged line has its own batch's scores; `collect(batch, probabilities)` sees each batch. The processes of `group`
    score their slices of each batch, and afterwards process 0's metric has the scores of all of them; log lines are
    of its slices.
    Raises DataError or RemoteError where nothing could be read; where a connection is lost later, `loader.lost` says
    so.
    Raises Interrupted where `stop` (a StopSignal) asks for it.
    """
    group = group or Group()
    metric, section = new_metric(), loader.dataset.section
    hidden = None if group.is_main else True
    batches = tqdm(loader.epoch(), total=len(loader), desc=prefix, unit="batch", disable=hidden, leave=False)
    with loader:
        for batch in batches:
            labels = batch.feed["label"][:: section.views]
            if section.views > 1:
                probabilities = views.probabilities(partial(device.scores, graph), batch.feed, section)
                loss = views.cross_entropy(probabilities, labels)
            else:
                probabilities, loss = device.scored(graph, batch.feed)
                views.finite(probabilities)
            metric.update(probabilities, labels, loss, batch.number)
            if collect:
                collect(batch, probabilities)
            if log_interval > 0 and batch.number % log_interval == 0:
                single = new_metric()
                single.update(probabilities, labels, loss)
                log.info("%s %d%s", prefix, batch.number, single.line(single.result()))
            if stop and stop.requested:
                break
    if stop and stop.agree():
        log.warning("interrupted in validation; the epoch is saved, and is validated when training goes on")
        raise Interrupted
    bad_samples.merge(group, loader)
    if loader.bad and len(loader.bad) == len(loader.dataset):
        if loader.lost:
            raise RemoteError(loader.lost)
        reasons = "; ".join(list(loader.bad.values())[:3])
        raise DataError(f"nothing was scored: none of the {len(loader.bad)} listed samples can be read: {reasons}")
    merge(group, metric)
    return metric


def merge(group: Group, kept: Any) -> None:
    """Give process 0's metric or report (`state`, `merge`) what all processes' have kept."""
    states = group.gather(kept.state()) if group.world > 1 else []
    if states:
        kept.merge(states)


def gathered(group: Group, metric: Any) -> dict[str, float]:
    """The result of all processes' parts of a metric, on each of them. Process 0's keeps all parts."""
    merge(group, metric)
    return group.broadcast_object(metric.result() if group.is_main else None)


class Validation:
    """The validation list of a training, scored by a graph that shares the training graph's parameters.

    Reads the list at once: raises ConfigError, DataError.
    """

    def __init__(
        self,
        model_class: type[Model],
        config: Any,
        device: Device,
        new_metric: Callable[[], Any],
        save_dir: str | Path,
        group: Group,
        log_interval: int = 0,
    ):
        model = model_class(config, "valid", group.world)
        self.reader, self.model_name = model.data, model.name
        self.data = datasets.from_config(self.reader, config, "valid", group=group)
        self.section, self.device, self.graph = config.VALID, device, Graph(model)
        self.new_metric, self.save_dir, self.group = new_metric, save_dir, group
        self.log_interval = log_interval
        self.kept = self.metric = self.loader = None  # of the last validation

    def scores(self, stop: StopSignal) -> dict:
        """{name: score} of the whole list. Raises Interrupted where a stop was asked for; DataError; RemoteError."""
        started = time.monotonic()
        kept = REPORTS[self.reader](self.section.views)
        loader = self.loader = loader_for(self.data, self.section, part=self.group.part)
        try:
            metric = evaluate(
                self.device,
                self.graph,
                loader,
                self.new_metric,
                self.log_interval,
                collect=kept.add,
                group=self.group,
                stop=stop,
            )
            if loader.lost:  # scores of a part of the list must not choose the best epoch
                raise RemoteError(loader.lost)
            merge(self.group, kept)
            self.kept, self.metric = kept, metric
            result = self.group.broadcast_object(metric.result() if self.group.is_main else None)
        finally:
            if self.group.is_main:
                bad_samples.write(self.save_dir, "valid", loader, self.model_name)
        log.info(
            "[TEST] Finish%s\tscored %d of %d in %.1f s",
            metric.line(result, final=True),
            len(self.data) - len(loader.bad),
            len(self.data),
            time.monotonic() - started,
        )
        return result


def test(
    model_class: type[Model],
    config: Any,
    source: Any,
    use_gpu: bool = False,
    log_interval: int = 1,
    save_dir: str | Path = "data/evaluate_results",
    group: Group | None = None,
    pages: bool = True,
    engine: str = "auto",
    precision: str = "auto",
) -> tuple[dict[str, float], list]:
    """Evaluate weights on the TEST list, write tables and (`pages`) a page with pictures.

    engine, precision: see engine/export/memory.py

    Returns (result, number of unreadable samples)."""
    group = group or Group()
    with locks.locked(save_dir, f"{model_class.name}_test", wanted=group.is_main):
        choice = memory.choose(engine, precision, model_class(config, "test"), use_gpu)
        return _test(model_class, config, source, use_gpu, log_interval, save_dir, group, pages, choice)


def _test(model_class, config, source, use_gpu, log_interval, save_dir, group, pages, choice):
    model = model_class(config, "test", group.world)
    dataset = datasets.from_config(model.data, config, "test", group=group)
    names = class_names(
        config, finding.state_for(source, model_class.name)
    )  # what is wrong with them is said before an hour of scoring
    loader = loader_for(dataset, config.TEST, part=group.part)
    found = weights.require(source, model)
    device, graph = Device(use_gpu, model.onednn), Graph(model)
    device.initialise(graph)
    weights.load_into(weights.strict, device, graph, model, found)

    new_metric, written = (
        partial(METRICS[model.data], config.MODEL.num_classes, config.MODEL.topk),
        REPORTS[model.data](config.TEST.views),
    )
    if choice:
        device = memory.FoldedScorer(model, device.get(graph.shapes), choice)
    if pages and group.is_main:
        prepare()
    metric = evaluate(device, graph, loader, new_metric, log_interval, "[EVAL] Batch", written.add, group)
    merge(group, written)
    result = None
    if group.is_main:
        result = report(model, config, source, names, metric, written, loader, save_dir, pages)
    return group.broadcast_object(result), len(loader.bad)

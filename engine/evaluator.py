"""The evaluation loop: batches through a graph into a metric, and what test.py reports."""
import logging
from functools import partial
from pathlib import Path

from tqdm import tqdm

from datareader import READERS, loader_for
from engine import views, weights
from engine.configuration import class_names
from engine.graph import Device, Graph
from metrics import METRICS, REPORTS, report
from utils.errors import DataError

log = logging.getLogger("zoo")


def evaluate(device, graph, loader, new_metric, log_interval=0, prefix="[TEST] test_iter", collect=None):
    """Score every readable sample of `loader`, by the average of its views; returns the metric that `new_metric()` makes, updated.

    A logged line has its own batch's scores; `collect(ids, labels, probabilities)` sees each batch.
    """
    metric, section = new_metric(), loader.dataset.section
    batches = tqdm(loader.epoch(), total=len(loader), desc=prefix, unit="batch", disable=None, leave=False)
    for number, batch in enumerate(batches):
        labels = batch.feed["label"][::section.views]
        if section.views > 1:
            probabilities = views.probabilities(partial(device.scores, graph), batch.feed, section)
            loss = views.cross_entropy(probabilities, labels)
        else:
            probabilities, loss = device.run(graph, batch.feed, [graph.probabilities, graph.loss])
        metric.update(probabilities, labels, loss)
        if collect:
            collect(batch.ids, batch.labels, probabilities)
        if log_interval > 0 and number % log_interval == 0:
            single = new_metric()
            single.update(probabilities, labels, loss)
            log.info("%s %d%s", prefix, number, single.line(single.result()))
    if loader.bad and len(loader.bad) == len(loader.dataset):
        reasons = "; ".join(list(loader.bad.values())[:3])
        raise DataError(f"nothing was scored: none of the {len(loader.bad)} listed samples can be read: {reasons}")
    return metric


def test(model_class, config, source, use_gpu=False, log_interval=1, save_dir="data/evaluate_results"):
    """Evaluate weights on the TEST list, write the report, return (result, number of unreadable samples)."""
    model = model_class(config, "test")
    dataset = READERS[model.data].from_config(config, "test")
    loader = loader_for(dataset, config.TEST)
    device, graph = Device(use_gpu, inference=True), Graph(model)
    device.initialise(graph)
    weights.put(weights.strict, device, graph, model, source)

    new_metric, written = partial(METRICS[model.data], config.MODEL.num_classes, config.MODEL.topk), REPORTS[model.data]()
    metric = evaluate(device, graph, loader, new_metric, log_interval, "[EVAL] Batch", written.add)
    result = metric.result()
    log.info("[EVAL] eval finished. %s", metric.line(result, final=True))
    scored = len(dataset) - len(loader.bad)
    bad = [{"id": dataset.name(index), "error": reason} for index, reason in sorted(loader.bad.items())]
    paths = written.write(save_dir, model.name, class_names(config, source), metric)
    paths.append(report.write_json(Path(save_dir) / f"{model.name}_test_result.json",
                                   {**result, "scored": scored, "listed": len(dataset), "unreadable": bad}))
    for sample in bad:
        log.error("not scored: %s", sample["error"])
    log.info("scored %d of %d; written: %s", scored, len(dataset), ", ".join(map(str, paths)))
    return result, len(bad)

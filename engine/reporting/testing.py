"""The results of test.py, once all samples are scored: tables, JSON, a page."""

import logging
from functools import partial
from pathlib import Path
from typing import Any

from datareader.loader import Loader
from models.base import Model
from reports import tables
from reports.pages import evaluation, page
from storage import addresses

log = logging.getLogger("zoo")


def report(
    model: Model,
    config: Any,
    source: Any,
    names: list[str],
    metric: Any,
    kept: Any,
    loader: Loader,
    save_dir: str | Path,
    pages: bool = True,
) -> dict:
    """Write and log the scores of all samples; returns the result.

    source: the weights; names: of the classes
    kept: what reports.REPORTS of the model's reader has collected
    pages: also write the page and its pictures, as the last step
    """
    dataset, result = loader.dataset, metric.result()
    log.info("[EVAL] eval finished. %s", metric.line(result, final=True))
    scored = len(dataset) - len(loader.bad)
    bad = unreadable(loader)
    paths = kept.write(save_dir, model.name, names, metric)
    content = {**result, "scored": scored, "listed": len(dataset), "unreadable": bad}
    paths.append(tables.write_json(addresses.join(save_dir, f"{model.name}_test_result.json"), content))
    for sample in bad:
        log.error("not scored: %s", sample["error"])
    if pages:
        facts = page.Facts(
            listed=len(dataset),
            bad=bad,
            protocol=page.protocol(config, "test"),
            command=page.command(),
            weights=str(source or f"the released ones of {model.name}"),
            filelist=str(config.TEST.filelist),
        )
        write = partial(_page, save_dir, model.name, kept, names, result, metric, facts)
        paths = [*(page.attempt("report", write) or []), *paths]
    rows = [(card["name"], card["value"], card["note"]) for card in evaluation.headline(result, scored)]
    log.info("scored %d of %d\n%s", scored, len(dataset), tables.table(rows))
    log.info("written: %s", ", ".join(map(str, paths)))
    return result


def unreadable(loader: Loader) -> list[dict]:
    """[{"id", "error"}] of the samples of a loader that could not be read, in the order of the list."""
    return [{"id": loader.dataset.name(index), "error": reason} for index, reason in sorted(loader.bad.items())]


def _page(save_dir, name, kept, names, result, metric, facts):
    return evaluation.write(save_dir, name, evaluation.values(kept, names, result, metric), facts)

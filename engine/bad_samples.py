"""Samples that cannot be read: shared by all processes of a training, and written to a list."""

import logging
import os
import shutil
from pathlib import Path

import numpy as np

from datareader.loader import Loader, too_many_bad
from engine.distributed.group import Group
from storage import addresses, locks
from storage.files import replacing
from storage.tables import read_csv, write_csv
from utils.errors import ConfigError, DataError, RemoteError

log = logging.getLogger("zoo")

COLUMNS = ["list", "sample", "reason", "model"]
PATIENCE = 10.0  # seconds to wait while another run writes into the same list


def merge(group: Group, loader: Loader) -> None:
    """Give every process's loader the bad samples of all processes, each once, and whether one lost its connection.

    Raises DataError if that is more than half of a training list.
    """
    known = sorted(loader.bad)
    found = group.gather(
        {
            "indices": np.array(known, int),
            "reasons": np.array([loader.bad[index] for index in known], str),
            "lost": np.array([loader.lost or ""]),
        }
    )
    merged = {}
    for part in found:
        for index, reason in zip(part["indices"].tolist(), part["reasons"].tolist(), strict=True):
            merged.setdefault(index, reason)
    lost = next((part["lost"].item() for part in found if part["lost"].item()), None)
    bad, loader.lost = group.broadcast_object([sorted(merged.items()), lost])
    loader.bad.update((int(index), reason) for index, reason in bad)
    if loader.training and 2 * len(loader.bad) > len(loader.dataset):
        raise too_many_bad(loader)


def write(folder: str | os.PathLike, mode: str, loader: Loader, model: str) -> None:
    """Write them to <folder>/bad_samples.csv. The rows of this mode and model replace its earlier ones.

    Several models may be trained in one folder at the same time: each waits for the other. A list that cannot be
    written is a warning: no training ends because of it.
    """
    if not loader.bad:
        return
    path, dataset = addresses.join(folder, "bad_samples.csv"), loader.dataset
    rows = [[mode, dataset.name(index), reason, model] for index, reason in sorted(loader.bad.items())]
    try:
        with locks.locked(folder, "bad_samples", patience=PATIENCE):
            # Rows of earlier versions name no model.
            earlier = [row for row in _earlier(path) if row[0] != mode or row[3] not in (model, "")]
            write_csv(path, COLUMNS, [*earlier, *rows])
    except (OSError, ConfigError, RemoteError, DataError) as error:
        log.warning("%d of %d %s samples cannot be read", len(loader.bad), len(dataset), mode)
        log.warning("'%s' cannot be written: %s; make room there, or see the log", path, error)
        return
    log.warning("%d of %d %s samples cannot be read; listed in '%s'", len(loader.bad), len(dataset), mode, path)


def _earlier(path: Path | str) -> list[list[str]]:
    """Rows of an earlier list. A list in an unknown format is renamed and kept, and gives no rows."""
    if not addresses.exists(path):
        return []
    try:
        return [[row.get(column, "") for column in COLUMNS] for row in read_csv(path)]
    except DataError as error:
        kept = addresses.join(addresses.parent(path), "bad_samples_unreadable.csv")
        with addresses.reading(path) as copy, replacing(kept) as beside:
            shutil.copyfile(copy, beside)
        log.warning("%s; it is kept as '%s'", error, kept)
        return []

"""Samples that cannot be read: known to all processes of a training, and listed for people."""

import csv
import logging

import numpy as np

from datareader.loader import too_many_bad
from storage import addresses
from storage.files import replacing

log = logging.getLogger("zoo")


def merge(group, loader):
    """Give every process's loader what all of them have found to be bad, each sample once, and whether one lost its connection.
    Raises DataError when that is more than half of a training list."""
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
    bad, loader.lost = group.broadcast_object(
        [sorted(merged.items()), next((part["lost"].item() for part in found if part["lost"].item()), None)]
    )
    loader.bad.update((int(index), reason) for index, reason in bad)
    if loader.training and 2 * len(loader.bad) > len(loader.dataset):
        raise too_many_bad(loader)


def write(folder, mode, loader):
    """Write them to <folder>/bad_samples.csv, this mode's rows replacing its earlier ones."""
    if not loader.bad:
        return
    path, dataset = addresses.join(folder, "bad_samples.csv"), loader.dataset
    rows = []
    if addresses.exists(path):
        with addresses.reading(path) as earlier, open(earlier, encoding="utf-8", newline="") as file:
            rows = [row for row in list(csv.reader(file))[1:] if row and row[0] != mode]
    rows += [[mode, dataset.name(index), reason] for index, reason in sorted(loader.bad.items())]
    with replacing(path) as beside, open(beside, "w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([["list", "sample", "reason"], *rows])
    log.warning("%d of %d %s samples cannot be read; listed in '%s'", len(loader.bad), len(dataset), mode, path)

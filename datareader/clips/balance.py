"""Weights of classes that are unequally frequent in a list."""

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np

from datareader import lists
from utils.errors import DataError

log = logging.getLogger("zoo")


def balanced(items: Sequence[lists.Item], config: Any) -> np.ndarray:
    """Factors on the loss of each class, inverse to its share of the list and one on average over the samples.

    Raises DataError.
    """
    labels = [item.label for item in items]
    if None in labels:
        raise DataError(
            f"TRAIN.class_weights 'balanced' counts the labels of '{config.TRAIN.filelist}', but "
            f"'{items[labels.index(None)].name}' has none there; write `path label` lines"
        )
    counts = np.bincount(labels, minlength=config.MODEL.num_classes)
    log.info("class weights are balanced: from %d to %d samples a class", counts.min(), counts.max())
    return (len(labels) / np.count_nonzero(counts) / np.maximum(counts, 1)).tolist()

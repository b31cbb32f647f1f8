"""Several views of a video (clips in time, crops in space): through the graph a few at a time, averaged outside it."""

from collections.abc import Callable
from typing import Any

import numpy as np

from utils.errors import WeightsError


def probabilities(run: Callable[[dict[str, Any]], Any], feed: dict[str, Any], section: Any) -> np.ndarray:
    """Scores [B, classes] of a batch whose rows are the `section.views` views of each video, one after the other;
    `run(feed) -> (probabilities, logits)` is the network.

    `section.average` says what is averaged: "prob" the probabilities (as papers do), "logits" what the softmax is
    then taken of. The network sees at most `section.batch_size` views at once, so that its memory does not grow with
    their number.
    """
    if section.views == 1:
        return finite(run(feed)[0])
    wanted = 1 if section.average == "logits" else 0
    starts = range(0, len(next(iter(feed.values()))), section.batch_size)
    parts = [{name: rows[start : start + section.batch_size] for name, rows in feed.items()} for start in starts]
    rows = finite(np.concatenate([run(part)[wanted] for part in parts]))  # [B*views, classes]
    mean = rows.reshape(-1, section.views, rows.shape[1]).mean(axis=1)
    return softmax(mean) if section.average == "logits" else mean


def finite(scores: np.ndarray) -> np.ndarray:
    """Return `scores` unchanged.

    Raises WeightsError if one is not finite: huge but finite weights overflow.
    """
    if np.isfinite(scores).all():
        return scores
    raise WeightsError(
        "the network's scores are not finite numbers: its weights are too large, or damaged; "
        "`python -m engine.weights inspect` shows them; use an earlier checkpoint"
    )


def softmax(logits: np.ndarray) -> np.ndarray:
    """Of rows [B, classes]."""
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def cross_entropy(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Mean over rows, from averaged probabilities [B, classes] and labels [B, 1]: the loss of what is reported, which
    is not the mean of the views' losses.
    """
    found = np.take_along_axis(probabilities, labels, axis=1)
    return float(-np.log(np.maximum(found, np.finfo(np.float32).tiny)).mean())

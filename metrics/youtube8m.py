"""The YouTube-8M scores: Hit@1, PERR, GAP and mAP of sigmoid scores against multi-hot labels.

Definitions of the YouTube-8M starter kit (Abu-El-Haija et al., arXiv 1609.08675, section 5), which old zoo v1.3
carried. An epoch keeps k (score, hit, class) triples a video, about 140 bytes at k = 20, and one count a class.
"""

import heapq
import random
from collections.abc import Sequence

import numpy as np

from metrics.accuracy import ranks
from utils.errors import ConfigError, DataError

SUMS = ("count", "loss", "hit_at_one", "perr", "positives", "single", "top1", "top5")


def best_classes(probabilities: np.ndarray, k: int) -> np.ndarray:
    """Indices [B, k] of the k largest of [B, C], best first, equal scores by class index.

    Which of several equal scores at the limit is kept is not defined, as in the old zoo.
    """
    top = np.sort(np.argpartition(probabilities, -k, axis=1)[:, -k:], axis=1)
    order = np.argsort(-np.take_along_axis(probabilities, top, axis=1), axis=1, kind="stable")
    return np.take_along_axis(top, order, axis=1)


def hits_at_one(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """bool [B]: is each video's best class one of *its own* labels? (old zoo v1.8.0 looked it up in all rows)"""
    return labels[np.arange(len(labels)), probabilities.argmax(axis=1)]


def precisions_at_equal_recall(scores: np.ndarray, hits: np.ndarray, positives: np.ndarray) -> np.ndarray:
    """float [B]: share of true classes among a video's n best, n being how many labels it has; 0 for n = 0.

    scores, hits [B, K]: of the K >= max(positives) best classes, best first; positives int [B]. A score of 0 finds
    nothing.
    """
    counted = np.arange(scores.shape[1]) < positives[:, None]
    return (hits & counted & (scores > 0)).sum(axis=1) / np.maximum(positives, 1)


def average_precision(scores: np.ndarray, hits: np.ndarray, positives: int) -> float:
    """Sum over the hits, best score first, of the precision down to them, over all `positives`, pooled or not.

    0.0 without any.

    scores, hits: [N], the pooled pairs in the order they came in.
    """
    if not hits.any():
        return 0.0
    order = np.lexsort((hits, -scores))
    equal = scores[order[1:]] == scores[order[:-1]]
    if (equal & (hits[order[1:]] != hits[order[:-1]])).any():
        order = _old_ranking(scores, hits)  # the order inside a tie changes the value
    ranks = np.flatnonzero(hits[order]) + 1
    return float((np.arange(1, len(ranks) + 1) / ranks).sum() / positives)


def _old_ranking(scores, hits):
    """Indices [N] by descending score, ties in the old zoo's order, so that its numbers come out to the last digit.

    The old zoo pooled (score, hit) pairs in a binary heap, shuffled the heap by Python's generator seeded with 0, and
    sorted stably. Where ties are rare the choice is far below what is printed; on saturated scores it is not. The seed
    went to the global generator, which made every shuffle after a log line the same: here the generator is private.
    """
    count = len(scores)
    ascending = np.lexsort((hits, scores))
    places = np.empty(count, np.int64)
    places[ascending] = np.arange(count)
    heap = []
    for place in places.tolist():  # a pair's place compares like the pair, and faster
        heapq.heappush(heap, place)
    shuffled = ascending[heap][random.Random(0).sample(range(count), count)]
    return shuffled[np.argsort(-scores[shuffled], kind="stable")]


class YouTube8M:
    """`update` with batches, `result` -> {"loss", "hit_at_one", "perr", "gap", "map"}.

    All but the loss are fractions. Where every video has one label, also "top1" and "top5" in percent, as for clips.
    """

    best = "gap"  # the value by which the best checkpoint is chosen

    def __init__(self, num_classes: int, topk: int = 20):
        if num_classes < 2:
            raise ConfigError(f"MODEL.num_classes is '{num_classes}': YouTube-8M scores need at least 2 classes")
        self.num_classes, self.k = num_classes, min(topk, num_classes)
        self.reset()

    def reset(self) -> None:
        self.count, self.loss, self.hit_at_one, self.perr = 0, 0.0, 0.0, 0.0
        self.single, self.top1, self.top5 = 0, 0, 0  # videos of one label, and how many of them were found
        self.positives = np.zeros(self.num_classes, np.int64)
        self.numbers, self.pools = [], []

    def update(self, probabilities: np.ndarray, labels: np.ndarray, loss: float, number: int = 0) -> None:
        """probabilities [B, C], labels multi-hot [B, C], loss: mean over the batch.

        Where several processes share each batch, its `number` in the epoch lets `merge` restore the order, which
        decides ties.
        """
        probabilities, labels = np.asarray(probabilities), np.asarray(labels) > 0
        if probabilities.shape != labels.shape or labels.shape[1:] != (self.num_classes,):
            raise DataError(
                f"scores {list(probabilities.shape)} and labels {list(labels.shape)} do not fit; "
                f"expected [videos, {self.num_classes}] for both"
            )
        if not len(labels):
            return
        positives = labels.sum(axis=1)
        best = best_classes(probabilities, min(max(self.k, positives.max()), self.num_classes))
        scores, hits = np.take_along_axis(probabilities, best, axis=1), np.take_along_axis(labels, best, axis=1)
        self.count += len(labels)
        self.loss += float(loss) * len(labels)
        self.hit_at_one += hits_at_one(probabilities, labels).sum()
        self.perr += precisions_at_equal_recall(scores, hits, positives).sum()
        self.positives += labels.sum(axis=0)
        self._count_single(probabilities[positives == 1], labels[positives == 1])
        narrow = best[:, : self.k].astype(np.min_scalar_type(self.num_classes))
        self._pool(number, scores[:, : self.k].reshape(-1), hits[:, : self.k].reshape(-1), narrow.reshape(-1))

    def _count_single(self, probabilities, labels):
        found = ranks(probabilities, labels.argmax(axis=1))
        self.single += len(found)
        self.top1 += int((found < 1).sum())
        self.top5 += int((found < min(5, self.num_classes)).sum())

    def _pool(self, number, scores, hits, classes):
        """Keep a batch's k best of each video, [B*k] each, by class and then by video: ties depend on the order."""
        order = np.argsort(classes, kind="stable")
        self.numbers.append(number)
        self.pools.append(tuple(part[order] for part in (scores, hits, classes)))

    def state(self) -> dict[str, np.ndarray]:
        """The state as {name: array}."""
        scores, hits, classes = (
            [np.concatenate(parts) for parts in zip(*self.pools, strict=True)] if self.pools else [np.empty(0)] * 3
        )
        sums = {name: np.array(getattr(self, name)) for name in SUMS}
        return {
            **sums,
            "scores": scores,
            "hits": hits,
            "classes": classes,
            "numbers": np.array(self.numbers, int),
            "sizes": np.array([len(pool[0]) for pool in self.pools], int),
        }

    def merge(self, states: Sequence[dict[str, np.ndarray]]) -> None:
        """Become the sum of several metrics' states.

        Parts of a batch that have one number are put together, in this order.
        """
        self.reset()
        for name in SUMS:
            setattr(self, name, sum(state.get(name, 0) for state in states))
        batches = {}
        for state in states:
            ends = np.cumsum(state["sizes"])[:-1]
            parts = zip(*(np.split(state[name], ends) for name in ("scores", "hits", "classes")), strict=True)
            for number, part in zip(
                state["numbers"].tolist(), parts, strict=False
            ):  # of no batch, split makes one part
                batches.setdefault(number, []).append(part)
        for number in sorted(batches):
            self._pool(number, *(np.concatenate(parts) for parts in zip(*batches[number], strict=True)))

    def _pooled(self):
        if not self.count:
            raise DataError("nothing was scored: no sample of the list could be read")
        return [np.concatenate(parts) for parts in zip(*self.pools, strict=True)]

    def average_precisions(self) -> np.ndarray:
        """Average precision of each class, [C], over the videos that have it among their k best.

        0 for classes never seen.
        """
        scores, hits, classes = self._pooled()
        by_class = np.argsort(classes, kind="stable")
        ends = np.cumsum(np.bincount(classes, minlength=self.num_classes))
        parts = np.split(by_class, ends[:-1])
        return np.array(
            [
                average_precision(scores[part], hits[part], total)
                for part, total in zip(parts, self.positives, strict=True)
            ]
        )

    def result(self) -> dict[str, float]:
        """Ranks the whole pool anew, two seconds a million pairs: once an epoch, not once a batch."""
        scores, hits, _ = self._pooled()
        return {
            "loss": self.loss / self.count,
            "hit_at_one": float(self.hit_at_one / self.count),
            "perr": float(self.perr / self.count),
            "gap": average_precision(scores, hits, self.positives.sum()),
            "map": float(self.average_precisions().mean()),
            **self._accuracies(),
        }

    def _accuracies(self):
        if self.single < self.count:
            return {}
        return {"top1": 100.0 * float(self.top1) / self.count, "top5": 100.0 * float(self.top5) / self.count}

    @staticmethod
    def line(result: dict[str, float], final: bool = False) -> str:
        """The text of a log line, as the old zoo's scrapers know it: ` , loss = 0.693147, Hit@1 = 0.50, PERR = 0.21,
        GAP = 0.43`.

        `final` gives the line that closed an evaluation; where the old zoo listed every class's average precision
        there, thousands of numbers, their mean stands.
        """
        more = "".join(f", {key} = {result[key]:.2f}" for key in ("top1", "top5") if key in result)
        if final:
            return (
                f"\tavg_hit_at_one: {result['hit_at_one']},\tavg_perr: {result['perr']},\tavg_loss :{result['loss']},"
                f"\tmAP: {result['map']},\tgap:{result['gap']}{more}"
            )
        return (
            f" , loss = {result['loss']:.6f}, Hit@1 = {result['hit_at_one']:.2f}, PERR = {result['perr']:.2f}, "
            f"GAP = {result['gap']:.2f}{more}"
        )

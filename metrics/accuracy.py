"""Loss and top-k accuracy of single-label clips, weighted by samples."""

from collections.abc import Sequence

import numpy as np

from utils.errors import DataError


def ranks(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """0-based rank of each label among its row's scores. probabilities [B, C], labels [B].

    Ties, and NaN, go against the label.
    """
    scores = probabilities[np.arange(len(labels)), labels]
    return (~(probabilities < scores[:, None])).sum(axis=1) - 1


class Accuracy:
    """`update` with batches, `result` -> {"loss", "top1", "top5"}; accuracies in percent.

    With fewer than five classes k is the class count, and the key says so: {"top1", "top3"} (regression: old zoo
    crashed).
    """

    best = "top1"  # the value by which the best checkpoint is chosen

    def __init__(self, num_classes: int, topk: int = 5):
        self.ks = sorted({1, min(topk, 5, num_classes)})
        self.reset()

    def reset(self) -> None:
        self.count, self.loss, self.correct = 0, 0.0, dict.fromkeys(self.ks, 0)

    def update(self, probabilities: np.ndarray, labels: np.ndarray, loss: float, number: int = 0) -> None:
        """probabilities [B, C], labels int [B] or [B, 1], loss: mean over the batch.

        `number` of the batch: see YouTube8M.
        """
        found = ranks(np.asarray(probabilities), np.asarray(labels).reshape(-1))
        self.count += len(found)
        self.loss += float(loss) * len(found)
        for k in self.ks:
            self.correct[k] += int((found < k).sum())

    def state(self) -> dict[str, np.ndarray]:
        """The state as {name: array}."""
        return {
            "count": np.array(self.count),
            "loss": np.array(self.loss),
            "correct": np.array([self.correct[k] for k in self.ks]),
        }

    def merge(self, states: Sequence[dict[str, np.ndarray]]) -> None:
        """Replace this state by the sum of several metrics' states."""
        self.count = int(sum(state["count"] for state in states))
        self.loss = float(sum(state["loss"] for state in states))
        self.correct = dict(zip(self.ks, sum(state["correct"] for state in states).tolist(), strict=True))

    def result(self) -> dict[str, float]:
        if not self.count:
            raise DataError("nothing was scored: no sample of the list could be read")
        accuracies = {f"top{k}": 100.0 * self.correct[k] / self.count for k in self.ks}
        return {"loss": self.loss / self.count, **accuracies}

    @staticmethod
    def line(result: dict[str, float], final: bool = False) -> str:
        """The text of a log line, as the old zoo's scrapers know it: `Loss: 5.99,  top1_acc: 0.00, ...`.

        No other one when `final`.
        """
        shown = "".join(f"\t{key}_acc: {value:.2f}, " for key, value in result.items() if key != "loss")
        return f"\tLoss: {result['loss']:.6f},{shown}"

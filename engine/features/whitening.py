"""PCA with whitening, as YouTube-8M quantises features: decorrelated, clipped to -2..2, one byte a value.

Fitted on the rows of the training list (scikit-learn). The matrices are kept beside the shards, so that later clips get
the same treatment.
"""

import hashlib
import io
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from storage.files import replacing
from utils.errors import ConfigError

__all__ = ["Whitening"]

MOST_VALUES = 1024
BATCH = 4096  # rows that are fitted at a time
EPSILON = 1e-4  # added to the deviations, as in YouTube-8M


class Whitening:
    """(rows - mean) @ components, scaled to unit variance: float32 [n, width] -> [n, fewer]."""

    def __init__(self, mean: np.ndarray, components: np.ndarray, variances: np.ndarray):
        """mean [width], components [fewer, width], variances [fewer]."""
        self.mean, self.components, self.variances = mean, components, variances

    @classmethod
    def fitted(cls, rows: Iterable[np.ndarray], most: int = MOST_VALUES) -> "Whitening":
        """Of rows [n, width] that come in parts; at most `most` dimensions, and fewer than there are rows.

        Raises ConfigError where scikit-learn is missing or there are too few rows.
        """
        try:
            from sklearn.decomposition import IncrementalPCA
        except ImportError as error:
            raise ConfigError("--quantise needs scikit-learn: pip install -e '.[features]'") from error
        parts = list(_batches(rows))
        count, width = sum(map(len, parts)), parts[0].shape[1] if parts else 0
        if count < 2:
            raise ConfigError(f"--quantise is fitted on the training list, which has '{count}' rows of features")
        size = min(most, width, count - 1, *(len(part) for part in parts))
        pca = IncrementalPCA(size)
        for part in parts:
            pca.partial_fit(part)
        kept = pca.explained_variance_ > 1e-8 * pca.explained_variance_[0]  # the rest is rounding
        return cls(pca.mean_, pca.components_[kept], pca.explained_variance_[kept])

    def __call__(self, rows: np.ndarray) -> np.ndarray:
        values = (rows.astype(np.float32) - self.mean.astype(np.float32)) @ self.components.T.astype(np.float32)
        return values / (np.sqrt(self.variances).astype(np.float32) + np.float32(EPSILON))

    def save(self, folder: Path) -> Path:
        """Write the matrices into a folder; returns the file, whose name has their hash."""
        content = io.BytesIO()
        np.savez(content, mean=self.mean, components=self.components, variances=self.variances)
        digest = hashlib.sha256(content.getvalue()).hexdigest()[:16]
        path = folder / f"whitening-{digest}.npz"
        with replacing(path) as beside:
            beside.write_bytes(content.getvalue())
        return path

    @classmethod
    def load(cls, path: str | Path) -> "Whitening":
        """The matrices in a file. Raises ConfigError where they are missing or others."""
        try:
            data = Path(path).read_bytes()
            if hashlib.sha256(data).hexdigest()[:16] not in Path(path).name:
                raise ValueError("its hash is not the one in its name")
            with np.load(io.BytesIO(data), allow_pickle=False) as file:
                return cls(file["mean"], file["components"], file["variances"])
        except (OSError, ValueError, KeyError) as error:
            raise ConfigError(
                f"EXTRACTOR.whitening '{path}' cannot be used ({error}); give the file that extract.py wrote"
            ) from error


def _batches(parts):
    """Arrays of BATCH rows; the last one has up to twice as many, so that none is short."""
    held, count = [], 0
    for part in parts:
        held.append(part.astype(np.float32))
        count += len(part)
        while count >= 2 * BATCH:
            rows = np.concatenate(held)
            yield rows[:BATCH]
            held, count = [rows[BATCH:]], count - BATCH
    if held:
        yield np.concatenate(held)

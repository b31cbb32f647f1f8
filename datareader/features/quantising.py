"""Features as YouTube-8M stores them: one byte a value between -2 and 2 (starter code of YouTube-8M)."""

import numpy as np

__all__ = ["dequantised", "quantised"]

STEP, OFFSET = 4 / 255, 4 / 512 - 2


def quantised(features: np.ndarray) -> np.ndarray:
    """uint8 of features, clipped to what a byte can say."""
    return np.clip(np.rint((features - OFFSET) / STEP), 0, 255).astype(np.uint8)


def dequantised(stored: np.ndarray) -> np.ndarray:
    """Features float32 of those stored as uint8."""
    return stored.astype(np.float32) * np.float32(STEP) + np.float32(OFFSET)

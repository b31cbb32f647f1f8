"""How the model of a dataset looks at the windows of a long video."""

import numpy as np

from datareader.clips.dataset import ClipDataset
from datareader.long.clip import Sampler

__all__ = ["sampler"]


def sampler(dataset: ClipDataset) -> Sampler:
    """The Sampler of a dataset's model; frames of each size have their own geometry."""
    crops = {}

    def scale(frame: np.ndarray) -> np.ndarray:
        if frame.shape not in crops:
            crops[frame.shape] = dataset.crop(None)
        return crops[frame.shape](frame)

    return Sampler(dataset.picker(None, dataset.model.mp4_centre), scale, dataset.in_views)

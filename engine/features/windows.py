"""A feature model and its extractor as one network on clips, for the windows of long videos."""

from typing import Any, NamedTuple

import numpy as np

from datareader.features.quantising import quantised
from engine.features import settings
from engine.features.extractor import LEAST, shared
from engine.features.whitening import Whitening

__all__ = ["ThroughFeatures", "on_clips"]


class Described(NamedTuple):
    """What messages and files say of a network."""

    name: str
    data: str = "clips"


class ThroughFeatures:
    """Frames of clips -> rows of features -> scores. Has what a LoadedModel has for models on clips."""

    def __init__(self, network: Any):
        section = network.config.EXTRACTOR
        self.network, self.extractor = network, shared(section)
        self.whitening = Whitening.load(section.whitening) if section.whitening else None
        self.rows = section.rows or section.least or LEAST[self.extractor.model.seglen > 1]
        self.config = settings.clip_model(section, {"MODEL.seg_num": self.rows}).config
        self.model, self.names = Described(network.model.name), network.names
        self.clip_seconds = network.clip_seconds

    def run(self, feed: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """(probabilities, logits) [B, classes] of {"frames": uint8 [B, rows*seglen, H, W, 3]}."""
        frames = feed["frames"]
        rows = self.extractor.of_frames(frames.reshape(-1, *frames.shape[2:]), "a window")
        if self.whitening:
            rows = quantised(self.whitening(rows))
        shape, given = self.network.model.interface({"rgb": list(rows.reshape(len(frames), self.rows, -1))})
        return self.network.run(given, **shape)


def on_clips(network: Any) -> Any:
    """The network itself, or for a feature model whose extractor is known both together."""
    section = getattr(network.config, "EXTRACTOR", None)
    return ThroughFeatures(network) if section and section.model else network

"""The machinery between the drivers and the rooms: graphs, training, evaluation, prediction, checkpoints, weights."""

import utils.runtime  # noqa: F401  (its zlib must be loaded before Paddle's)


def __getattr__(name):
    """`from engine import Predictor` without paying for the whole engine on every import of one of its parts."""
    if name == "Predictor":
        from engine.predictor import Predictor

        return Predictor
    raise AttributeError(f"module 'engine' has no attribute '{name}'")

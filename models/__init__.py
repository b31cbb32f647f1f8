"""The table of models. Adding one: a file in this folder and a line in `MODELS`."""

import utils.runtime  # noqa: F401  (its zlib must be loaded before Paddle's)
from models.attention_cluster import AttentionCluster
from models.attention_lstm import AttentionLSTM
from models.base import Model
from models.i3d import I3D
from models.nextvlad import NEXTVLAD
from models.stnet import STNET
from models.tpn import TPN
from models.tsn import TSN
from utils.errors import ConfigError, unknown

MODELS = {model.name: model for model in (AttentionCluster, AttentionLSTM, NEXTVLAD, STNET, TSN, TPN, I3D)}


def find(name: str) -> type[Model]:
    """The model class called `name`, in any letter case; ConfigError names the nearest one."""
    for known, model in MODELS.items():
        if known.lower() == str(name).lower():
            return model
    raise ConfigError(unknown("model", name, MODELS))

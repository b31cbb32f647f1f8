"""Checkpoints of the first-generation zoo (Paddle 1.x), which have no JSON: optimizer state by name, the epoch in the
file's name.

<MODEL>_epoch<N>/             v1.3 to v1.5: a folder of variables, the optimizer's among them
<MODEL>_epoch<N>.pdparams     v1.7 and v1.8, with <MODEL>_epoch<N>.pdopt
"""

import re
from pathlib import Path
from typing import NamedTuple

import numpy as np

from engine.weights import formats


class OldState(NamedTuple):
    """`accumulators` {name: array} under the names wanted, and the 0-based epoch to go on with, None where the name
    tells none.
    """

    accumulators: dict
    epoch: int | None


def read(path: str | Path, wanted: dict[str, tuple[int, ...]]) -> OldState | None:
    """The optimizer's state beside weights at a local `path`; None where there is none.

    wanted: {name: shape} of the optimizer's tensors. Paddle counts equal names, so `w_velocity_0` is also found as
    `w_velocity_1`.
    Raises WeightsError for a file that cannot be read.
    """
    path = Path(path)
    if path.is_dir():
        source, name = path, path.name
    else:
        prefix = path.with_suffix("") if path.suffix in (".pdparams", ".pdopt") else path
        source, name = Path(f"{prefix}.pdopt"), prefix.name
    if not source.exists():
        return None
    theirs = {_uncounted(key): value for key, value in formats.read(source).arrays.items()}
    found = {}
    for key, shape in wanted.items():
        value = theirs.get(_uncounted(key))
        if value is not None and value.size == np.prod(shape, dtype=int):
            found[key] = value.reshape(shape)
    if wanted and not found:
        return None
    epoch = re.search(r"_epoch([0-9]{1,6})$", name)
    return OldState(found, int(epoch[1]) + 1 if epoch else None)


def _uncounted(name):
    return re.sub(r"_[0-9]+$", "", name)

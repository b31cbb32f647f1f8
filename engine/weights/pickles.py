"""Weights in pickles: those of Paddle 1.7 to 3.x, and Flax trees.

What Paddle puts into them besides {name: array}, by version:
    1.8 to 3.x dygraph   "StructuredToParameterName@@": {attribute path: parameter name}; the keys are attribute paths
    2.0 to 3.x           arrays above 1 GiB cut into flat slices, listed under "UnpackBigParamInfor@@"
    2.1 to 3.x           a tensor as the pair (parameter name, array), or, if it came from a static program, as
                         eval("data", {"data": array}); here that call is a lookup
"""

from pathlib import Path
from typing import Any

import numpy as np

from utils.errors import WeightsError
from utils.pickles import safe as unpickle

MAX_ENTRIES, MAX_DEPTH = 100_000, 50  # of a tree of dictionaries


def read(path: Path) -> dict[str, Any]:
    """{name: array or other value} of a pickle. Raises WeightsError."""
    lookups = {f"{module}.eval": _data_of for module in ("__builtin__", "builtins")}
    tree = unpickle.load(path, error=WeightsError, more_globals=lookups)
    if not isinstance(tree, dict):
        raise WeightsError(
            f"'{path}': a pickle that holds a '{type(tree).__name__}'; expected a dictionary of name -> array"
        )
    try:
        return _flat(_by_parameter_name(_joined(tree)))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise WeightsError(
            f"'{path}': its table of slices or names is damaged ({error}); fetch or write it again"
        ) from error


def _data_of(expression, variables):
    if expression != "data":
        raise ValueError(f"the expression '{expression}'")
    return variables["data"]


def _joined(tree):
    """`tree` with sliced arrays put together again."""
    sliced = tree.get("UnpackBigParamInfor@@", {})
    parts = {part for info in sliced.values() for part in info["slices"]}
    whole = {
        name: np.concatenate([tree[part] for part in info["slices"]]).reshape(info["OriginShape"])
        for name, info in sliced.items()
    }
    return {
        name: value for name, value in tree.items() if name not in parts and name != "UnpackBigParamInfor@@"
    } | whole


def _by_parameter_name(tree):
    """`tree` under the names of its parameters instead of the attribute paths of Layers."""
    table = tree.get("StructuredToParameterName@@", {})
    named = {}
    for key, value in tree.items():
        if isinstance(value, tuple) and len(value) == 2 and isinstance(value[1], np.ndarray):
            named[value[0]] = value[1]
        elif key != "StructuredToParameterName@@":
            named[table.get(key, key)] = value
    return named


def _flat(tree):
    """A Flax tree {"params": {"conv": {"kernel": array}}, ...} as {"params/conv/kernel": array}; others as they are."""
    if not isinstance(tree.get("params"), dict):
        return tree
    found, waiting = {}, [("", tree)]
    while waiting:
        prefix, branch = waiting.pop()
        if len(found) + len(waiting) + len(branch) > MAX_ENTRIES or prefix.count("/") > MAX_DEPTH:
            raise ValueError(f"more than {MAX_ENTRIES} entries, or {MAX_DEPTH} levels")
        for key, value in branch.items():
            if isinstance(value, dict):
                waiting.append((f"{prefix}{key}/", value))
            else:
                found[f"{prefix}{key}"] = value
    return found

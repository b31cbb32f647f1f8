"""Where programs run: a place, and the scope that holds their variables.

Device(use_gpu, onednn)         one scope; programs on it share parameters by name
device.run(graph, feed, fetch)  numpy in, numpy out
"""

import contextlib
import weakref
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import paddle

from engine.graph import compat
from utils.errors import ConfigError, WeightsError


class Device:
    """A place to run on, and the scope that holds the variables of the graphs run there.

    onednn: run CPU kernels through oneDNN, for graphs that do not train (see `Model.onednn`); the environment variable
    FLAGS_use_mkldnn=0 turns it off
    """

    def __init__(self, use_gpu: bool = False, onednn: bool = False):
        if use_gpu and not compat.gpu_available():
            raise ConfigError(
                "use_gpu 'True': this Paddle cannot use a GPU here; pass --use_gpu=False, or install paddlepaddle-gpu"
            )
        self.use_gpu, self.place = use_gpu, compat.place(use_gpu)
        self.flags = {}
        if not use_gpu:  # one operator at a time: each uses all cores anyway, and a fifth less memory is held
            self.flags["FLAGS_new_executor_serial_run"] = True
        if onednn and not use_gpu and compat.onednn_allowed():  # set only during a run: training would crash with it
            self.flags["FLAGS_use_mkldnn"] = True
        self.scope = paddle.static.Scope()
        weakref.finalize(self, compat.release, self.scope)
        self.executor = paddle.static.Executor(self.place)

    def initialise(self, graph: Any, seed: int | None = None) -> None:
        """Fill the graph's variables from their initialisers; the same seed gives the same values.

        Without a seed, the caller's random numbers go on as if nothing had been drawn.
        """
        kept = compat.random_state_kept() if seed is None else contextlib.nullcontext()
        with compat.static_mode(), kept, paddle.static.scope_guard(self.scope):
            if seed is not None:
                paddle.seed(seed)
            if graph.accumulation:
                self.executor.run(graph.accumulation.startup)
            self.executor.run(graph.startup)

    def run(self, graph: Any, feed: dict[str, Any], fetch: Sequence[Any]) -> list[np.ndarray]:
        """Run one batch. `feed`: {name: array}; `fetch`: values of the graph.

        Returns arrays in the order of `fetch`.
        """
        feed = {name: feed[name] for name in graph.feeds if name in feed}
        return self.run_program(graph.program, feed, fetch)

    def run_program(self, program: Any, feed: dict[str, Any], fetch: Sequence[Any]) -> list[np.ndarray]:
        """Run a program in this device's scope; `feed` and `fetch` as in `run`, with all that the program takes."""
        with compat.static_mode(), paddle.static.scope_guard(self.scope), compat.flags(self.flags):
            return self.executor.run(program, feed=feed, fetch_list=list(fetch))

    def scores(self, graph: Any, feed: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
        """(probabilities, logits) [B, classes] of one batch."""
        return tuple(self.run(graph, feed, [graph.probabilities, graph.logits]))

    def scored(self, graph: Any, feed: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
        """(probabilities [B, classes], loss) of one batch with its labels."""
        return tuple(self.run(graph, feed, [graph.probabilities, graph.loss]))

    def get(self, names: Iterable[str]) -> dict[str, np.ndarray]:
        """{name: array} of variables, copied out of the scope."""
        return {name: np.array(self._tensor(name)) for name in names}

    def set(self, values: dict[str, np.ndarray]) -> None:
        """Overwrite variables, each in its own precision.

        Raises WeightsError where a shape or a kind of number differs; Paddle would accept either silently.
        """
        for name, value in values.items():
            tensor = self._tensor(name)
            if tuple(tensor.shape()) != tuple(value.shape):
                raise WeightsError(f"'{name}' has shape {list(value.shape)}, the model wants {list(tensor.shape())}")
            dtype = np.array(tensor).dtype
            if value.dtype.kind != dtype.kind:
                raise WeightsError(f"'{name}' holds numbers of type {value.dtype}, the model wants {dtype}")
            tensor.set(np.ascontiguousarray(value, dtype), self.place)

    def _tensor(self, name):
        variable = self.scope.find_var(name)
        if variable is None:
            raise WeightsError(f"the model has no variable '{name}'")
        return variable.get_tensor()

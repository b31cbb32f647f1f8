"""Training with several processes, on one host or more.

    python -m paddle.distributed.launch --nproc_per_node 2 train.py ...

Every process computes its slice of each batch. The program averages the gradients before the optimizer uses them, so
parameters stay equal in all processes. The same code runs over gloo (CPU) and NCCL (GPU).
With one process, every method is a no-op.
"""

import contextlib
import io
import json
from typing import Any

import numpy as np
import paddle

BUCKET = 8 << 20  # gradient values that one collective reduces; measured in docs/distributed.md


class Group:
    """The processes of a training; this one is number `rank` of `world`. With one process, every method is a no-op.

    Every process must call `broadcast_object`, `broadcast`, `gather`, `mean` and `wait`, in the same order.
    """

    def __init__(self, rank: int = 0, world: int = 1, place: Any = None):
        self.rank = rank
        self.world = world
        self.place = place

    @property
    def is_main(self) -> bool:
        """Whether this process writes files and log lines."""
        return self.rank == 0

    @property
    def part(self) -> tuple[int, int]:
        """(rank, world): which part of each batch this process reads."""
        return self.rank, self.world

    def broadcast_object(self, value: Any) -> Any:
        """Process 0's `value`, in every process. JSON must be able to hold it."""
        if self.world == 1:
            return value
        text = json.dumps(value).encode() if self.is_main else b""
        return json.loads(self._broadcast(np.frombuffer(text, np.uint8)).tobytes())

    def gather(self, arrays: dict[str, np.ndarray]) -> list[dict[str, np.ndarray]]:
        """Every process's {name: array}, in the order of their ranks; an empty list except in process 0."""
        if self.world == 1:
            return [arrays]
        packed = np.frombuffer(_packed(arrays), np.uint8)
        with self._eager() as collective:
            lengths = []
            collective.all_gather(lengths, paddle.to_tensor([len(packed)], "int64"))
            lengths = [length.item() for length in lengths]
            padded = paddle.to_tensor(np.pad(packed, (0, max(lengths) - len(packed))))
            found = [] if self.is_main else None
            collective.gather(padded, found, dst=0)
            return [
                _unpacked(part.numpy()[:length].tobytes()) for part, length in zip(found or [], lengths, strict=False)
            ]

    def broadcast(self, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Process 0's {name: array}, in every process. All processes pass arrays of the same shapes."""
        if self.world == 1:
            return arrays
        return {name: self._broadcast(array, array.shape) for name, array in arrays.items()}

    def mean(self, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The mean over processes of {name: float array}, in double precision, so that equal values stay equal."""
        if self.world == 1 or not arrays:
            return arrays
        flat = np.concatenate([array.reshape(-1).astype(np.float64) for array in arrays.values()])
        with self._eager() as collective:
            tensor = paddle.to_tensor(flat)
            collective.all_reduce(tensor)
            flat = tensor.numpy() / self.world
        parts = np.split(flat, np.cumsum([array.size for array in arrays.values()])[:-1])
        return {
            name: part.reshape(array.shape).astype(array.dtype)
            for (name, array), part in zip(arrays.items(), parts, strict=True)
        }

    def wait(self) -> None:
        """Wait until every process has called this."""
        if self.world > 1:
            with self._eager() as collective:
                collective.barrier()

    def _broadcast(self, array, shape=None):
        """Process 0's array. Without a `shape`, the other processes are told its size first."""
        with self._eager() as collective:
            if shape is None:
                size = paddle.to_tensor([array.size], "int64")
                collective.broadcast(size, src=0)
                array = array if self.is_main else np.empty(size.item(), array.dtype)
            tensor = paddle.to_tensor(array)
            collective.broadcast(tensor, src=0)
            return tensor.numpy()

    @contextlib.contextmanager
    def _eager(self):
        """Paddle's collectives on values outside a program, which exist in its dynamic mode only."""
        paddle.disable_static(self.place)
        try:
            yield paddle.distributed
        finally:
            paddle.enable_static()

    def mean_gradients(self, pairs: list, stop: Any) -> tuple[list, object]:
        """Record the mean of the gradients over all processes in the program being built.

        pairs: [(parameter, gradient)]; stop: [1], above 0 where a process was asked to stop
        Returns pairs with the mean gradients, and the mean of `stop`.

        Gradients are sent in a few flat buckets. The first value of each bucket is taken from the bucket before it
        (`stop` in the first one). This forces every executor to send the buckets in the same order.
        """
        if self.world == 1:
            return pairs, stop
        found = []
        for bucket in _buckets([gradient for _, gradient in pairs]):
            flat = paddle.concat([stop, *(paddle.reshape(gradient, [-1]) for gradient in bucket)])
            paddle.distributed.all_reduce(flat)
            parts = paddle.split(flat / self.world, [1, *(_size(gradient) for gradient in bucket)])
            stop = parts[0]
            found += [paddle.reshape(part, gradient.shape) for part, gradient in zip(parts[1:], bucket, strict=True)]
        return [(parameter, gradient) for (parameter, _), gradient in zip(pairs, found, strict=True)], stop


def _size(gradient):
    return int(np.prod(gradient.shape))


def _buckets(gradients):
    """Lists of neighbouring gradients with up to BUCKET values together."""
    found, filled = [[]], 0
    for gradient in gradients:
        if filled and filled + _size(gradient) > BUCKET:
            found.append([])
            filled = 0
        found[-1].append(gradient)
        filled += _size(gradient)
    return found


def _packed(arrays):
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def _unpacked(data):
    with np.load(io.BytesIO(data), allow_pickle=False) as file:
        return {name: file[name] for name in file.files}

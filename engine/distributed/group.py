"""Training by several processes: `python -m paddle.distributed.launch --nproc_per_node 2 train.py ...`, on one host or more.

Every process computes its slice of each batch; gradients are averaged inside the program, before the optimizer sees them, so
that parameters stay equal. The same code runs over gloo (CPU) and NCCL (GPU). One process pays nothing for it.
"""

import contextlib
import io
import json

import numpy as np
import paddle

BUCKET = 8 << 20  # gradient values that are reduced at once; measured in docs/distributed.md


class Group:
    """The processes of a training: this is number `rank` of `world`. What it does among one process is nothing.

    `share`, `gather`, `copy`, `mean` and `wait` are to be called by every process, in the same order.
    """

    def __init__(self, rank=0, world=1, place=None):
        self.rank, self.world, self.place = rank, world, place

    @property
    def first(self):
        """Whether this process writes files and log lines."""
        return self.rank == 0

    @property
    def part(self):
        return self.rank, self.world

    def share(self, value):
        """Process 0's `value`, which JSON can hold."""
        if self.world == 1:
            return value
        text = json.dumps(value).encode() if self.first else b""
        return json.loads(self._broadcast(np.frombuffer(text, np.uint8)).tobytes())

    def gather(self, arrays):
        """[{name: array}] of every process, in their order; empty except on process 0."""
        if self.world == 1:
            return [arrays]
        packed = np.frombuffer(_packed(arrays), np.uint8)
        with self._eager() as collective:
            lengths = []
            collective.all_gather(lengths, paddle.to_tensor([len(packed)], "int64"))
            lengths = [length.item() for length in lengths]
            padded = paddle.to_tensor(np.pad(packed, (0, max(lengths) - len(packed))))
            found = [] if self.first else None
            collective.gather(padded, found, dst=0)
            return [
                _unpacked(part.numpy()[:length].tobytes()) for part, length in zip(found or [], lengths, strict=False)
            ]

    def copy(self, arrays):
        """{name: array} of process 0."""
        return (
            arrays if self.world == 1 else {name: self._broadcast(array, array.shape) for name, array in arrays.items()}
        )

    def mean(self, arrays):
        """{name: float array}, averaged in double precision, so that equal values stay as they are."""
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

    def wait(self):
        """Until every process has come here."""
        if self.world > 1:
            with self._eager() as collective:
                collective.barrier()

    def _broadcast(self, array, shape=None):
        """Process 0's array; where `shape` is not given the others do not know its size."""
        with self._eager() as collective:
            if shape is None:
                size = paddle.to_tensor([array.size], "int64")
                collective.broadcast(size, src=0)
                array = array if self.first else np.empty(size.item(), array.dtype)
            tensor = paddle.to_tensor(array)
            collective.broadcast(tensor, src=0)
            return tensor.numpy()

    @contextlib.contextmanager
    def _eager(self):
        """Paddle's collectives on values rather than in a program, which exist in its dynamic mode only."""
        paddle.disable_static(self.place)
        try:
            yield paddle.distributed
        finally:
            paddle.enable_static()

    def mean_gradients(self, pairs, stop):
        """Record the average of gradients over the processes: ([(parameter, gradient)], whether any process's `stop` [1] was set).

        Gradients travel in few flat buckets. The first value of each comes from the bucket before it, `stop` in the first one, so
        that no executor can reorder them, which would mix up values of different processes.
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
    """Neighbours put together up to BUCKET values."""
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

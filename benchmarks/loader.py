"""The whole loader: threads against processes, and what it costs over decoding alone.

    python benchmarks/loader.py

Clips of 340x256 with a keyframe every 12 frames (cheap to decode, so that overhead shows), StNet's 7 x 5 frames,
batches of 8.
    bare        each thread reads clips into a buffer of its own: no queue, no order, no batches
    loader      datareader.loader.Loader with as many threads
    processes   as many processes, which write in place into a ring of batches in shared memory
The three take turns. Printed: clips a second by the wall (the median of the rounds), and CPU milliseconds a clip with
all its processes.
"""

import multiprocessing
import os
import statistics
import tempfile
import threading
import time
from multiprocessing import shared_memory
from pathlib import Path

import cv2
import numpy as np

import utils.main_program  # noqa: F401  (process settings, before Paddle is imported)
from data import landscape, make_clip
from datareader import ClipDataset, Loader
from engine.configuration import configure
from utils import cli

BATCH, SIZE = 8, (340, 256)
RING = 4  # batches in shared memory


def dataset_of(paths):
    return ClipDataset.from_paths(
        configure("STNET", None, {"INFER.seg_num": 7, "INFER.target_size": 224})[1], "infer", paths
    )


def bare(dataset, workers):
    def work(first):
        buffer = dataset.buffer(1)
        for index in range(first, len(dataset), workers):
            buffer[0] = dataset.read(index, 0)[0]

    threads = [threading.Thread(target=work, args=(first,)) for first in range(workers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def loader(dataset, workers):
    for _ in Loader(dataset, BATCH, threads=workers).epoch():
        pass


def serve(paths, name, shape, tasks, done):
    """A worker process: (batch, row, index) -> the clip at that place of the ring."""
    cv2.setNumThreads(1)
    dataset, memory = dataset_of(paths), shared_memory.SharedMemory(name)
    ring = np.ndarray(shape, np.uint8, memory.buf)
    done.put(None)  # ready: starting is not timed
    for batch, row, index in iter(tasks.get, None):
        ring[batch % RING, row] = dataset.read(index, 0)[0]
        done.put(batch)
    del ring
    memory.close()


class Processes:
    """The alternative: a pool that stays, batches in order from a ring of shared memory."""

    def __init__(self, dataset, paths, workers):
        context = multiprocessing.get_context("spawn")
        shape = (RING, *dataset.buffer(BATCH).shape)
        self.memory = shared_memory.SharedMemory(create=True, size=int(np.prod(shape)))
        self.ring = np.ndarray(shape, np.uint8, self.memory.buf)
        self.tasks, self.done = context.Queue(), context.Queue()
        arguments = (paths, self.memory.name, shape, self.tasks, self.done)
        self.pool = [context.Process(target=serve, args=arguments, daemon=True) for _ in range(workers)]
        for process in self.pool:
            process.start()
        for _ in self.pool:
            self.done.get()

    def __call__(self, dataset, _):
        batches = len(dataset) // BATCH
        for batch in range(min(RING, batches)):
            self._ask(batch)
        missing = dict.fromkeys(range(batches), BATCH)
        for ready in range(batches):
            while missing[ready]:
                missing[self.done.get()] -= 1
            self.ring[ready % RING].copy()  # the graph is fed an array of its own
            if ready + RING < batches:
                self._ask(ready + RING)

    def _ask(self, batch):
        for row in range(BATCH):
            self.tasks.put((batch, row, batch * BATCH + row))

    def cpu_seconds(self):
        ticks = [
            Path(f"/proc/{process.pid}/stat").read_text().rsplit(")", 1)[1].split()[11:13] for process in self.pool
        ]
        return sum(int(tick) for pair in ticks for tick in pair) / os.sysconf("SC_CLK_TCK")

    def close(self):
        for _ in self.pool:
            self.tasks.put(None)
        for process in self.pool:
            process.join()
        del self.ring
        self.memory.close()
        self.memory.unlink()


def measure(dataset, paths, workers, rounds):
    """{way: (clips a second, CPU milliseconds a clip)}, medians of the rounds."""
    pool = Processes(dataset, paths, workers)
    ways, found = {"bare": bare, "loader": loader, "processes": pool}, {}
    for _ in range(rounds):
        for name, way in ways.items():
            cpu, wall = time.process_time() + pool.cpu_seconds(), time.perf_counter()
            way(dataset, workers)
            wall, cpu = time.perf_counter() - wall, time.process_time() + pool.cpu_seconds() - cpu
            found.setdefault(name, []).append((len(dataset) / wall, 1000 * cpu / len(dataset)))
    pool.close()
    return {name: [statistics.median(column) for column in zip(*rows, strict=True)] for name, rows in found.items()}


def main(argv=None):
    parser = cli.Parser(prog="loader.py", description=__doc__)
    parser.add_argument("--clips", type=cli.at_least(BATCH), default=96, help="clips an epoch (default: 96)")
    parser.add_argument("--rounds", type=cli.at_least(1), default=5, help="epochs of each way (default: 5)")
    args = parser.parse_args(argv)
    cv2.setNumThreads(1)
    print(f"{'workers':>7} {'way':>10} {'clips/s':>8} {'to bare':>8} {'CPU ms':>7} {'to bare':>8}")
    with tempfile.TemporaryDirectory() as folder:
        first = Path(folder) / "0.mp4"
        make_clip(first, 12, SIZE, landscape(SIZE))
        for i in range(1, args.clips // BATCH * BATCH):
            os.link(first, Path(folder) / f"{i}.mp4")
        dataset = dataset_of([folder])
        for workers in (1, 2, 4, 8, 16):
            found = measure(dataset, [folder], workers, args.rounds)
            for name, (speed, cpu) in found.items():
                bare_speed, bare_cpu = found["bare"]
                line = f"{workers:7} {name:>10} {speed:8.1f} {speed / bare_speed:8.2f} {cpu:7.1f} {cpu / bare_cpu:8.2f}"
                print(line, flush=True)


if __name__ == "__main__":
    cli.run(main)

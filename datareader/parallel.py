"""Run one function over many files, several at a time, with a progress bar."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from itertools import islice
from typing import TypeVar

from tqdm import tqdm

Job = TypeVar("Job")
Result = TypeVar("Result")

__all__ = ["each"]


def each(
    function: Callable[[Job], Result], jobs: Sequence[Job], workers: int, title: str
) -> Iterator[tuple[Job, Result]]:
    """Yield (job, function(job)) in the order in which the jobs finish, `workers` jobs at a time.

    Threads are enough: decoding and encoding release the interpreter's lock. Only a few jobs are handed out ahead, so
    Ctrl-C and errors end the run soon.
    """
    waiting = iter(jobs)
    with ThreadPoolExecutor(workers) as pool, tqdm(total=len(jobs), desc=title, unit="clip", disable=None) as bar:
        running = {pool.submit(function, job): job for job in islice(waiting, 2 * workers)}
        while running:
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                job = running.pop(future)
                running.update((pool.submit(function, following), following) for following in islice(waiting, 1))
                bar.update()
                yield job, future.result()

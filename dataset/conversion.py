"""What the tools that go through many clips share: several at a time, a progress bar, whole files only, a list of what failed."""

import contextlib
import csv
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from itertools import islice
from pathlib import Path

from tqdm import tqdm

from storage.files import replacing
from utils.errors import DataError, VideoError


def each(function, jobs, workers, title):
    """Yield (job, function(job)) as they are done, `workers` at a time. Threads do: decoding and encoding release the lock.

    Only a few jobs are handed out ahead, so that Ctrl-C and errors end the run soon.
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


def convert_all(convert, jobs, workers, title):
    """([result of convert(job)], [VideoError]): a clip that cannot be converted stops no other. Raises DataError for the rest."""

    def attempt(job):
        try:
            return convert(job), None
        except VideoError as error:
            return None, error

    outcomes = [outcome for _, outcome in each(attempt, jobs, workers, title)]
    return [result for result, error in outcomes if not error], [error for _, error in outcomes if error]


@contextlib.contextmanager
def writing(target):
    """`replacing` for a converted clip: what stops this one would stop them all. Raises DataError."""
    try:
        with replacing(target) as path:
            yield path
    except OSError as error:
        raise DataError(f"'{target}' cannot be written: {error.strerror or error}") from error


def write_failures(path, failures):
    """A csv file with the columns sample and reason, sorted; an older one goes away when nothing failed."""
    path = Path(path)
    if not failures:
        path.unlink(missing_ok=True)
        return
    with writing(path) as beside, open(beside, "w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(("sample", "reason"))
        rows.writerows(sorted((failure.path, failure.reason) for failure in failures))

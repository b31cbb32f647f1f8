"""From files to batches. Readers know nothing of Paddle programs.

To add a reader: a file here and a line in READERS.
"""

from datareader.clips.dataset import ClipDataset
from datareader.features.dataset import FeatureDataset
from datareader.loader import Dataset, Loader
from utils.config.schema import ReadSection

READERS = {"clips": ClipDataset, "features": FeatureDataset}  # by the reader family of the model


def loader_for(
    dataset: Dataset, section: ReadSection, training: bool = False, seed: int = 0, part: tuple[int, int] = (0, 1)
) -> Loader:
    """The loader of a dataset with the batch size (in views), threads and bounds of a config section.

    part: (rank, world) of this process, which reads its slice of each batch.
    """
    batch_size = max(1, section.batch_size // section.views)
    return Loader(
        dataset,
        batch_size,
        section.num_reader_threads,
        section.buffer_mb << 20,
        section.sample_timeout,
        training,
        seed,
        part,
    )

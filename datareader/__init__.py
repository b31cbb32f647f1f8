"""From files to batches. Readers know nothing of Paddle programs. Adding a reader: a file here, a line in `READERS`."""

from datareader.clips.dataset import ClipDataset
from datareader.features.dataset import FeatureDataset
from datareader.loader import Loader

READERS = {"clips": ClipDataset, "features": FeatureDataset}  # by the reader family of the model


def loader_for(dataset, section, training=False, seed=0, part=(0, 1)):
    """The loader of a dataset with the batch size (in views), threads and bounds that a config section asks for; `part`: (rank,
    world) of the process, which reads its slice of each batch."""
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

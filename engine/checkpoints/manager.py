"""What a training keeps in --save_dir: `<MODEL>_epoch<N>` (N from 0), `<MODEL>_latest` and `<MODEL>_best`."""

import logging

from engine.checkpoints import files as checkpoint
from storage import addresses

log = logging.getLogger("zoo")


class Kept:
    """The checkpoints of one training. `keep`: how many epochs stay, 0 for all; `_best` is never removed.

    `contents` are what `checkpoint.save` takes. Raises CheckpointError."""

    def __init__(self, folder, model, keep=0):
        self.folder, self.model, self.keep, self.first = folder, model, keep, 0

    def prefix(self, suffix):
        """Path or address, without an ending, of the checkpoint `suffix`."""
        return addresses.join(self.folder, f"{self.model}_{suffix}")

    def save(self, suffix, contents):
        """Write one checkpoint."""
        checkpoint.save(self.prefix(suffix), *contents)

    def save_epoch(self, epoch, contents, best=None):
        """Write the checkpoint of an epoch, which is the latest, and the best too if `best` (its key and value) is given."""
        suffix = f"epoch{epoch}"
        self.save(suffix, contents)
        for name in ("latest", "best") if best else ("latest",):
            checkpoint.link(self.prefix(suffix), self.prefix(name))
        log.info(
            "saved '%s'%s", self.prefix(suffix), f", the best so far: {best['key']} {best['value']:.5g}" if best else ""
        )
        first = max(self.first, epoch - self.keep + 1 if self.keep > 0 else 0)
        for old in range(self.first, first):
            checkpoint.remove(self.prefix(f"epoch{old}"))
        self.first = first

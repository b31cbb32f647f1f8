"""Scalars and pictures for TensorBoard, by tensorboardX (extra `dashboard`), and for VisualDL where it is installed."""

import logging
from pathlib import Path

import numpy as np

from storage import addresses
from utils.errors import ConfigError

log = logging.getLogger("zoo")

PLACES = ("epoch", "batch", "step")  # say where a value belongs, and are none


class Dashboard:
    """Writes scalars and pictures into a local folder. Raises ConfigError without tensorboardX."""

    def __init__(self, folder: str | Path):
        if addresses.is_remote(folder):
            raise ConfigError(f"--log_dir '{folder}' is an address; give a local folder")
        try:
            import tensorboardX
        except ImportError as error:
            raise ConfigError(f"--log_dir '{folder}' needs tensorboardX: pip install tensorboardX") from error
        self.folder, self.module, self.writers = Path(folder), tensorboardX, []

    def start(self, step: int) -> None:
        """Open the files. TensorBoard hides what an earlier run wrote for steps after `step`; VisualDL shows both."""
        try:
            self.writers = [
                self.module.SummaryWriter(str(self.folder), purge_step=step or None, filename_suffix=f".{step}")
            ]
        except OSError as error:
            raise ConfigError(f"--log_dir '{self.folder}' cannot be written to ({error.strerror or error})") from error
        try:
            from visualdl import LogWriter
        except ImportError:
            return
        self.writers.append(LogWriter(logdir=str(self.folder / "visualdl")))

    def add(self, prefix: str, values: dict, step: int) -> None:
        """`<prefix>/<key>` of each number, at a step."""
        for key, value in values.items():
            if key not in PLACES and isinstance(value, int | float):
                for writer in self.writers:
                    writer.add_scalar(f"{prefix}/{key}", value, step)

    def add_images(self, prefix: str, images: dict, step: int) -> None:
        """`<prefix>/<name>` of each picture, RGB uint8 [H, W, 3], at a step."""
        for name, image in images.items():
            for writer in self.writers:
                writer.add_image(f"{prefix}/{name}", np.ascontiguousarray(image), step, dataformats="HWC")

    def close(self) -> None:
        """Write what is pending."""
        for writer in self.writers:
            writer.close()

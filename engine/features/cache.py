"""Extracted features on disk: a TFRecord file for each clip, found by the clip's content and what extracts it.

    <cache>/<extractor's identity>/<sha256 of the clip>.tfrecord

A file takes its name when it is whole, and its record has a checksum, so what is damaged is made anew. A clip that
changed has another name.
"""

import hashlib
import logging
import os
import threading
from pathlib import Path

import numpy as np

from datareader.features import tfrecord
from datareader.features.examples import parse_sequence_example, sequence_example
from datareader.features.quantising import quantised
from engine.features import settings
from engine.features.extractor import Extractor, shared
from engine.features.whitening import Whitening
from storage import addresses
from storage.files import replacing
from utils.config.features import ExtractorSection
from utils.errors import ConfigError, DataError, VideoError

__all__ = ["Features"]

log = logging.getLogger("zoo")


class Features:
    """Rows of features by the path of a clip: from the cache, else extracted and, where there is a cache, kept.

    The network is loaded when it is first needed. May be used by several threads.
    """

    def __init__(self, section: ExtractorSection, use_gpu: bool = False):
        settings.require(section)
        self.section, self.use_gpu = section, use_gpu
        # A checkpoint names the folder of its training, which another machine lacks.
        cached = section.cache and Path(section.cache).parent.is_dir()
        self.folder = Path(section.cache) / settings.identity(section)[:16] if cached else None
        self.whitening = Whitening.load(section.whitening) if section.whitening else None
        self._extractor, self._lock = None, threading.Lock()

    @property
    def extractor(self) -> Extractor:
        """The network. Raises ConfigError, WeightsError."""
        with self._lock:
            if self._extractor is None:
                self._extractor = shared(self.section, self.use_gpu)
            return self._extractor

    def rows(self, path: str | os.PathLike) -> np.ndarray:
        """Features [n, width] of a clip: float16, or uint8 where EXTRACTOR.whitening quantises them.

        Raises DataError; ConfigError where the cache cannot be written.
        """
        return self.finished(self.extractor.rows(path) if self.folder is None else self.read(self.kept(path)))

    def finished(self, rows: np.ndarray) -> np.ndarray:
        """Extracted rows as models read them."""
        return quantised(self.whitening(rows)) if self.whitening else rows

    def kept(self, path: str | os.PathLike) -> Path:
        """The file of the cache that holds a clip's features, made if it is not there or is damaged."""
        entry = self.folder / f"{digest(path)}.tfrecord"
        if entry.is_file():
            try:
                self.read(entry)
                return entry
            except DataError as error:
                log.warning("%s; its features are extracted anew", error)
        rows = self.extractor.rows(path)
        try:
            with replacing(entry) as beside:
                tfrecord.write(beside, [sequence_example(entry.stem, None, rows)])
        except OSError as error:
            raise ConfigError(f"'{entry}' cannot be written ({error.strerror}); make room there") from error
        return entry

    @staticmethod
    def read(entry: Path) -> np.ndarray:
        """The rows in a file of the cache. Raises DataError."""
        (record,) = tfrecord.records(entry) if entry.stat().st_size else (b"",)
        return parse_sequence_example(record)["rgb"]


def digest(path: str | os.PathLike) -> str:
    """SHA-256 of a clip's content. Raises DataError."""
    try:
        with addresses.reading(path) as copy, open(copy, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise VideoError(path, f"cannot be read ({error.strerror})") from error

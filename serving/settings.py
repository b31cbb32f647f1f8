"""What a service may use and whom it serves; serve.py fills this from its flags."""

from dataclasses import dataclass
from pathlib import Path

from utils.errors import ZooError
from utils.runtime import cores

MEGABYTE = 1 << 20


@dataclass(frozen=True)
class Settings:
    """Limits of a service. Times in seconds, sizes in bytes."""

    host: str = "127.0.0.1"
    port: int = 8866
    token: str | None = None  # what requests must bring, or None
    root: Path | None = None  # folder of server-side clips, or None
    allow_urls: bool = False
    temporary: Path | None = None  # folder of uploads; None: one in the system's folder
    batch: int = 8  # views that the network computes at once
    max_wait: float = 0.01  # that a batch waits for clips that are still decoded
    queue: int = 64  # clips in work or waiting; more are refused
    workers: int = 0  # decoding processes; 0: one a core
    time_limit: float = 60.0  # of a clip, from its place in the queue to its answer
    decode_limit: float = 20.0  # of one decoding
    timeline_limit: float = 600.0  # of a timeline
    window: float = 4.0  # of a timeline, where neither the request nor the weights tell it
    windows: int = 5000  # in a timeline
    upload_limit: float = 120.0  # of receiving a body
    upload_bytes: int = 256 * MEGABYTE  # of a body
    disk_bytes: int = 4096 * MEGABYTE  # of all bodies at a time
    worker_bytes: int = 4096 * MEGABYTE  # address space of a decoding process
    files: int = 8  # in one request
    max_pixels: int = 1 << 25  # of a frame: 8K
    max_seconds: float = 3600.0  # of a clip, by its header
    grace: float = 20.0  # after SIGTERM, for what is under way

    @property
    def processes(self) -> int:
        """Number of decoding processes."""
        return self.workers or cores()

    @property
    def on_loopback(self) -> bool:
        """Whether only this machine can reach the service."""
        return self.host in ("127.0.0.1", "::1", "localhost")


class Refused(ZooError):
    """A request that is answered with an error: HTTP status, sentence, and after how many seconds to try again."""

    def __init__(self, status: int, sentence: str, retry_after: int | None = None):
        super().__init__(sentence)
        self.status, self.sentence, self.retry_after = status, sentence, retry_after

"""What /metrics tells: requests, seconds of each stage, the queue, and the sizes of batches."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


class Measures:
    """The measures of one service; several may live in a process."""

    def __init__(self):
        self.registry = CollectorRegistry()
        named = {"registry": self.registry, "namespace": "zoo"}
        self.requests = Counter("requests", "answers by route and status", ["route", "status"], **named)
        self.stages = Histogram("stage_seconds", "seconds of a stage of a clip", ["stage"], buckets=SECONDS, **named)
        self.queue = Gauge("queue_length", "clips in work or waiting", **named)
        self.batches = Histogram("batch_size", "clips that the network computed at once", buckets=range(1, 65), **named)

    def text(self) -> bytes:
        """The measures in Prometheus' text format."""
        return generate_latest(self.registry)

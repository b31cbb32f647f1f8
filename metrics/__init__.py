"""Scores of predictions. numpy only. Adding a metric: a file here, a line in `METRICS`."""

from metrics.accuracy import Accuracy
from metrics.youtube8m import YouTube8M

METRICS = {"clips": Accuracy, "features": YouTube8M}  # by the reader family of the model

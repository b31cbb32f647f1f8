"""Scores of predictions. numpy only. Adding a metric: a file here, a line in `METRICS`."""
from metrics.accuracy import Accuracy
from metrics.report import Classification, MultiLabel
from metrics.youtube8m import YouTube8M

# By the reader family of the model: the scores, and what test.py writes about them.
METRICS = {"clips": Accuracy, "features": YouTube8M}
REPORTS = {"clips": Classification, "features": MultiLabel}

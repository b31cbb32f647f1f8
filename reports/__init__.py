"""What people look at after a run. `REPORTS`: what test.py keeps and writes, by the reader family of the model."""

from reports.evaluation import Classification, MultiLabel

REPORTS = {"clips": Classification, "features": MultiLabel}

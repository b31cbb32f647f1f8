"""What people look at after a run. `REPORTS`: what test.py writes, by the reader family of the model."""

from reports.tables import Classification, MultiLabel

REPORTS = {"clips": Classification, "features": MultiLabel}

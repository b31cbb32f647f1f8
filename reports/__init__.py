"""Pictures, tables and pages of a run. `REPORTS`: what test.py collects and writes, by the model's reader family."""

from reports.evaluation import Classification, MultiLabel

REPORTS = {"clips": Classification, "features": MultiLabel}

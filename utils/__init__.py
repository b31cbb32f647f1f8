"""What two or more rooms share: errors, configuration, logging, safe unpickling."""

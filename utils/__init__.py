"""Shared by several rooms: errors, configuration, logging, safe unpickling."""

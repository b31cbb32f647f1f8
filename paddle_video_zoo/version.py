"""The version of the project; setup.py reads it here."""

__version__ = "0.2.0"

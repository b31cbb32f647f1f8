"""Importing this module applies the process settings: for scripts that import Paddle at their top."""

from utils import runtime

runtime.apply()

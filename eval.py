"""The later-generation name of test.py."""

from test import main
from utils import cli

if __name__ == "__main__":
    cli.run(main)

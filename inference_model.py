"""The later-generation name of export.py."""

from export import main
from utils import cli

if __name__ == "__main__":
    cli.run(main)

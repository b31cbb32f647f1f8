"""The later-generation name of infer.py."""

from infer import main
from utils import cli

if __name__ == "__main__":
    cli.run(main)

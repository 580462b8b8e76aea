"""``python -m lightning_hp``: the command, where its script is not on the PATH."""

import sys

from lightning_hp.cli import main

if __name__ == "__main__":
    sys.exit(main())

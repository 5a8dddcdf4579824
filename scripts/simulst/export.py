#!/usr/bin/env python
"""Makes a trained translator one folder: leap-fairseq export, by its path."""

import sys

from leap_fairseq.cli import command, export

if __name__ == "__main__":
    sys.exit(command.main(export))

#!/usr/bin/env python
"""Averages checkpoints: leap-fairseq average, by its path."""

import sys

from leap_fairseq.cli import average, command

if __name__ == "__main__":
    sys.exit(command.main(average))

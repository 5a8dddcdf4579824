#!/usr/bin/env python
"""Streams a test set and scores it: leap-fairseq evaluate, by its path."""

import sys

from leap_fairseq.cli import command, evaluate

if __name__ == "__main__":
    sys.exit(command.main(evaluate))

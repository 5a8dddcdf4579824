#!/usr/bin/env python
"""Draws scores, a sentence over time, or its proportions: leap-fairseq plot, by its path."""

import sys

from leap_fairseq.cli import command, plot

if __name__ == "__main__":
    sys.exit(command.main(plot))

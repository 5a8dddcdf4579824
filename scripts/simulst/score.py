#!/usr/bin/env python
"""Scores SimulEval runs: leap-fairseq score, by its path."""

import sys

from leap_fairseq.cli import command, score

if __name__ == "__main__":
    sys.exit(command.main(score))

"""fairseq-eval-lm in tests: its options, and what it reports."""

import re

from preloading import PLUGIN


def evaluation(data, checkpoint, plugin=PLUGIN):
    options = "--gen-subset test --cpu --tokens-per-sample 64 --max-tokens 512"
    return [data, "--user-dir", plugin, "--path", checkpoint, *options.split()]


def score(output):
    """Perplexity and number of tokens that fairseq-eval-lm reports."""
    count = re.search(r"Evaluated ([\d,]+) tokens", output)[1].replace(",", "")
    return float(re.search(r"Perplexity: (\S+)", output)[1]), int(count)

"""Simultaneous translation without a framework: from samples to words, and from logs to scores.

It imports neither fairseq's command line nor SimulEval; the adapter to the latter is in :mod:`leap_fairseq.agents`.
"""

from leap_fairseq.streaming.detokenizer import UNITS, StreamingDetokenizer
from leap_fairseq.streaming.translator import Step, StreamingTranslator, Word
from leap_fairseq.streaming.batching import finish_together, push_together

__all__ = ["UNITS", "Step", "StreamingDetokenizer", "StreamingTranslator", "Word", "finish_together", "push_together"]

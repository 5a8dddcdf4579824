"""Simultaneous translation without a framework: from samples to words, by any policy, for one stream or many.

It needs torch and numpy; SimulEval's adapter is :mod:`leap_fairseq.agents`, and models are loaded by
:func:`leap_fairseq.models.load_translator`.
"""

import importlib
from typing import Any

_HOME = {
    "AgreementPolicy": "policies",
    "AttentionPolicy": "policies",
    "Candidate": "policy",
    "ConfidencePolicy": "policies",
    "FRAME_MS": "frames",
    "HoldPolicy": "policies",
    "Policy": "policy",
    "Step": "tokens",
    "StreamingDetokenizer": "detokenizer",
    "StreamingTranslator": "translator",
    "WaitkPolicy": "policies",
    "Word": "tokens",
    "finish_batch": "batching",
    "push_batch": "batching",
    "write_batch": "batching",
}
"""Where each public name is; it is imported when it is asked for: the options of a command line need no torch."""

__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)

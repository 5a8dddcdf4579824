"""Adapters to what runs simultaneous translators: SimulEval, which no other package imports, and simulstream."""

from typing import Any

__all__ = ["WaitkAgent"]


def __getattr__(name: str) -> Any:
    # Each adapter is imported for its own framework alone.
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from leap_fairseq.agents.waitk_agent import WaitkAgent

    return WaitkAgent

"""SimulEval agents; the only package that imports simuleval."""

from leap_fairseq.agents.waitk_agent import WaitkAgent

__all__ = ["WaitkAgent"]

"""Scores of simultaneous translation, recomputed from SimulEval's logs: quality, latency, short and long recordings."""

"""What scripts/benchmark.py measures, one sub-command a module."""

import sys
from pathlib import Path

# memory.py builds language models as fairseq-train does, and reads the memory of a process.
_LM = str(Path(__file__).resolve().parents[1] / "lm")
if _LM not in sys.path:
    sys.path.insert(0, _LM)

"""The data side of Long-Range Arena: classification of long sequences of small integers.

`leap-fairseq prepare lra` writes a folder, `LraSplit` reads it. It needs numpy alone: neither torch nor fairseq.
"""

from leap_fairseq.files import DataError
from leap_fairseq.lra.data import FACTS, PADDING, SPLITS, TASKS, LraFacts, LraSplit, read_facts

__all__ = ["FACTS", "PADDING", "SPLITS", "TASKS", "DataError", "LraFacts", "LraSplit", "read_facts"]

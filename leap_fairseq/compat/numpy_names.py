"""`np.compat`, which current numpy has taken away."""

import types

import numpy as np


def restore_numpy_compat() -> None:
    """Gives numpy back `np.compat.long`, the one name of it that fairseq uses.

    numpy 2.3 removed `np.compat`. ``--sample-break-mode eos`` and all of fairseq-interactive for language models
    end in "module 'numpy' has no attribute 'compat'".
    """
    if hasattr(np, "compat") and hasattr(np.compat, "long"):
        return
    compat = types.ModuleType("numpy.compat", "Stand-in for the module that numpy 2.3 removed.")
    compat.long = int  # type: ignore[attr-defined]
    np.compat = compat  # type: ignore[attr-defined]

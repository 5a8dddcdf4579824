"""Options of fairseq that need a package which is not there: refused by their names."""

import importlib
from typing import Any, Callable, Optional

from fairseq.distributed import utils as distributed_utils

from leap_fairseq.compat.replacing import replace

NEEDED = {
    "tpu": ("torch_xla", "--tpu"),
    "use_plasma_view": ("pyarrow.plasma", "--use-plasma-view"),
}
"""Of an option in the group "common" of fairseq's configuration: the module that it needs, and its flag."""


def refuse_missing_packages() -> None:
    """Says which option needs what.

    fairseq 0.12.2 ends in "'NoneType' object has no attribute 'xla_device'" and in an AssertionError without a word.
    (pyarrow 12 removed plasma.)
    """
    replace([distributed_utils], "call_main", _refusing)


def _is_missing(module: str) -> bool:
    try:
        importlib.import_module(module)
    except ImportError:
        return True
    return False


def missing_package(common: Any) -> Optional[str]:
    """What to tell of the first option that cannot work here; None where all can.

    Args:
        common: the group "common" of fairseq's configuration.
    """
    for name, (module, flag) in NEEDED.items():
        if getattr(common, name, False) and _is_missing(module):
            return f"{flag} needs the Python module {module}, which is not installed: leave the option out"
    return None


def _refusing(call: Callable) -> Callable:
    def call_main(cfg, main, **kwargs):
        reason = missing_package(cfg.common)
        if reason:
            raise ValueError(reason)
        return call(cfg, main, **kwargs)

    return call_main

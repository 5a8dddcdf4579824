"""Options of fairseq that need a package which is not there, to be refused by their names.

fairseq 0.12.2 ends in "'NoneType' object has no attribute 'xla_device'" and in an AssertionError without a word.
(pyarrow 12 removed plasma.) Without the packages that track a training it warns in the midst of its log, trains for
days and tracks nothing.
"""

import importlib
from typing import Any, Dict, Optional, Tuple

LEAVE_OUT, INSTALL = "leave the option out", "pip install 'leap-fairseq[tracking]'"

NEEDED: Dict[str, Tuple[Tuple[str, ...], str, str]] = {
    "tpu": (("torch_xla",), "--tpu", LEAVE_OUT),
    "use_plasma_view": (("pyarrow.plasma",), "--use-plasma-view", LEAVE_OUT),
    "tensorboard_logdir": (("torch.utils.tensorboard", "tensorboardX"), "--tensorboard-logdir", INSTALL),
    "wandb_project": (("wandb",), "--wandb-project", INSTALL),
}
"""Of an option in the group "common" of fairseq's configuration: modules of which it needs one, flag, remedy."""


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
    for name, (modules, flag, remedy) in NEEDED.items():
        if getattr(common, name, False) and all(map(_is_missing, modules)):
            return f"{flag} needs the Python module {modules[0]}, which is not installed: {remedy}"
    return None

"""What current torch and numpy took away: the unchecked reading of checkpoints, and `np.compat`.

Checkpoints keep being read with ``weights_only=True``. The types below are plain data: building one from a file
runs no code of the file, and a file that names any other type is refused by torch.
"""

import argparse
import collections
import types
from typing import Any, Callable, List, Tuple, Union

import numpy as np
import omegaconf
import torch
from fairseq.distributed import utils as distributed_utils

SafeGlobal = Union[Callable, Tuple[Callable, str]]


def allow_checkpoint_types() -> None:
    """Lets torch read the few types beside tensors that fairseq's checkpoints hold.

    Since torch 2.6, `torch.load` reads with ``weights_only=True``, and fairseq never says otherwise. Refused were:
    the checkpoint of every model with argparse options (resume, generate, validate, a pretrained encoder), and, with
    several processes, every resume: rank 0 sends the state it has read through `torch.save`.
    """
    if not hasattr(torch.serialization, "add_safe_globals"):  # torch < 2.4 has no list and needs none
        return
    torch.serialization.add_safe_globals(checkpoint_types())


def checkpoint_types() -> List[SafeGlobal]:
    """The types, as `torch.serialization.add_safe_globals` takes them.

    Source: `torch.serialization.get_unsafe_globals_in_checkpoint` over checkpoints of a transformer_lm (dataclass), a
    convtransformer (argparse), and over what two processes sent each other on resume.
    """
    saved_by_argparse_models: List[Any] = [argparse.Namespace]
    sent_between_processes: List[Any] = [
        distributed_utils._TensorPlaceholder,
        omegaconf.DictConfig,
        omegaconf.ListConfig,
        omegaconf.AnyNode,
        omegaconf.base.ContainerMetadata,
        omegaconf.base.Metadata,
        collections.defaultdict,
        # The metadata of a node name the types of its content.
        Any,
        dict,
        list,
        int,
    ]
    return saved_by_argparse_models + sent_between_processes + _numpy_number_types()


def _numpy_number_types() -> List[SafeGlobal]:
    """Numpy numbers and arrays of numbers: a logged metric that is a numpy value is saved as one.

    fairseq's own translation task does so with its BLEU counts. Files written under numpy 1 and 2 name the same
    functions differently (numpy.core, numpy._core); both names are allowed.
    """
    reconstruct, arguments = np.zeros(1).__reduce__()[:2]
    scalar = np.float64(0).__reduce__()[0]
    named: List[SafeGlobal] = []
    for package in ("numpy.core", "numpy._core"):
        named.append((reconstruct, f"{package}.multiarray._reconstruct"))
        named.append((scalar, f"{package}.multiarray.scalar"))
    numbers = [np.bool_, np.int8, np.int16, np.int32, np.int64, np.uint8, np.uint16, np.uint32, np.uint64]
    numbers += [np.float16, np.float32, np.float64]
    return named + [arguments[0], np.dtype] + sorted({type(np.dtype(n)) for n in numbers}, key=lambda t: t.__name__)


def restore_numpy_compat() -> None:
    """Gives numpy back `np.compat.long`, the one name of it that fairseq uses.

    numpy 2.3 removed `np.compat`. ``--sample-break-mode eos`` and all of fairseq-interactive for language models
    failed with "module 'numpy' has no attribute 'compat'".
    """
    if hasattr(np, "compat") and hasattr(np.compat, "long"):
        return
    compat = types.ModuleType("numpy.compat", "Stand-in for the module that numpy 2.3 removed.")
    compat.long = int  # type: ignore[attr-defined]
    np.compat = compat  # type: ignore[attr-defined]

"""The types beside tensors that fairseq's checkpoints hold, which torch refuses to read.

Checkpoints keep being read with ``weights_only=True``. The types below are plain data: building one from a file
runs no code of the file, and a file that names any other type is refused by torch.
"""

import argparse
import collections
import io
import pickle
from typing import Any, Callable, List, Tuple, Union

import numpy as np
import omegaconf
import torch
from fairseq.distributed import utils as distributed_utils

SafeGlobal = Union[Callable, Tuple[Callable, str]]

NUMBERS = (
    *(np.bool_, np.int8, np.int16, np.int32, np.int64, np.uint8, np.uint16, np.uint32, np.uint64),
    *(np.float16, np.float32, np.float64),
)


def allow_checkpoint_types() -> None:
    """Lets torch read the few types beside tensors that fairseq's checkpoints hold.

    Since torch 2.6, `torch.load` reads with ``weights_only=True``, and fairseq never says otherwise. Refused are the
    checkpoint of every model with argparse options (resume, generate, validate, a pretrained encoder), and, with
    several processes, every resume: rank 0 sends the state it has read through `torch.save`.
    """
    if _refused():
        torch.serialization.add_safe_globals(checkpoint_types())


def _refused() -> bool:
    file = io.BytesIO()
    torch.save(
        {
            "args": argparse.Namespace(arch="convtransformer"),
            "cfg": omegaconf.OmegaConf.create({"model": {"layers": [2]}}, flags={"allow_objects": True}),
            "weight": distributed_utils._TensorPlaceholder(0),
            "meters": collections.defaultdict(list),
            "metrics": [number(1) for number in NUMBERS] + [np.zeros(1)],
        },
        file,
    )
    file.seek(0)
    try:
        # Said, because an environment variable turns the default off.
        torch.load(file, weights_only=True)
    except pickle.UnpicklingError:
        return True
    return False


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
    return named + [arguments[0], np.dtype] + sorted({type(np.dtype(n)) for n in NUMBERS}, key=lambda t: t.__name__)

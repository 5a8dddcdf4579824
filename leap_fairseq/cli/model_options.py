"""Options that all commands over a model share: where the data of a checkpoint are, and how it is computed.

Each has one name and one set of values in every command. Names that earlier versions had are taken as well, and shown
nowhere.
"""

import argparse
from typing import TYPE_CHECKING, Optional

if TYPE_CHECKING:
    import torch

DTYPES = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}
"""By the names that fairseq and SimulEval give to types of numbers, those of torch, which are taken too."""


def add_data_options(parser: argparse.ArgumentParser, config_yaml: bool = True) -> None:
    """Adds --data-bin, and --config-yaml where the model is one of speech; the attributes are named alike.

    Args:
        parser: or a group of it.
        config_yaml: whether the data have a YAML.
    """
    text = "of a checkpoint: folder of its data (default: as in training, or beside the checkpoint)"
    parser.add_argument("--data-bin", metavar="DIR", help=text)
    parser.add_argument("--data", dest="data_bin", default=argparse.SUPPRESS, help=argparse.SUPPRESS)
    if config_yaml:
        text = "of a checkpoint: name of its data YAML (default: as in training)"
        parser.add_argument("--config-yaml", metavar="NAME", help=text)


def add_device_option(parser: argparse.ArgumentParser) -> None:
    """Adds --device."""
    parser.add_argument("--device", type=_device_name, default="cpu", help="cpu (default), cuda, ...")


def add_dtype_option(
    parser: argparse.ArgumentParser, text: str = "of the model", default: Optional[str] = None
) -> None:
    """Adds --dtype, whose value is one of DTYPES.

    Args:
        text: what is of this type.
        default: one of DTYPES.
    """
    parser.add_argument("--dtype", type=_dtype_name, choices=list(DTYPES), default=default, help=text)


def torch_dtype(name: Optional[str]) -> Optional["torch.dtype"]:
    """The type of torch that a value of --dtype stands for; None for none."""
    import torch

    return None if name is None else getattr(torch, DTYPES[name])


def _device_name(text: str) -> str:
    if text == "cpu":
        return text
    import torch

    try:
        device = torch.device(text)
    except RuntimeError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is no device of torch, such as cpu, cuda or cuda:1") from error
    # Counted, not tried: a process that only starts others must not hold a part of the GPU.
    count = torch.cuda.device_count()
    if device.type == "cuda" and (device.index or 0) >= count:
        raise argparse.ArgumentTypeError(f"no {text} is here: torch {torch.__version__} sees {count} GPUs: give cpu")
    return text


def _dtype_name(text: str) -> str:
    return {long: short for short, long in DTYPES.items()}.get(text, text)

"""Checkpoints: copied whole or not at all, and one line that names an unreadable one."""

import contextlib
import os
import pickle
import re
import struct
import tempfile
from typing import Callable, Iterator, Union

from fairseq import checkpoint_utils
from fairseq.file_io import PathManager

from leap_fairseq.compat.replacing import replace

FOREIGN_TYPE = re.compile(r"GLOBAL ([\w.]+)")
"""How torch's checked reading names a type that it does not build."""

OTHER_REASON = re.compile(r"WeightsUnpickler error: ([^\n]+)")
"""What it says of a file that is no pickle of tensors at all."""


def repair_checkpoint_reading() -> None:
    """Names the file and the reason where a checkpoint is refused or damaged; what is refused stays as it was.

    torch >= 2.6 answers a file with a foreign type in seven lines, of which the first proposes to load it unchecked,
    and a file that is cut short in a sentence about zip archives; neither says which file, and a command may read
    several (a checkpoint to resume, a pretrained encoder).
    """
    replace([checkpoint_utils], "load_checkpoint_to_cpu", _naming_the_file, symptom=_leaves_the_file_unnamed)


def _leaves_the_file_unnamed(load: Callable) -> bool:
    try:
        # The shortest of all damaged files, and no file has to be written for it.
        load(os.devnull)
    except Exception as error:
        return os.devnull not in str(error)
    return False


def _naming_the_file(anonymous: Callable) -> Callable:
    def load_checkpoint_to_cpu(path, *args, **kwargs):
        with errors_of(path):
            return anonymous(path, *args, **kwargs)

    return load_checkpoint_to_cpu


@contextlib.contextmanager
def errors_of(path: Union[str, os.PathLike]) -> Iterator[None]:
    """Within it, what torch says of a checkpoint that it refuses or cannot read names the file and the reason."""
    try:
        yield
    except pickle.UnpicklingError as error:
        foreign = FOREIGN_TYPE.search(str(error))
        reason = _refused(foreign[1]) if foreign else _damaged(error)
        # Without its cause: that is the advice to load the file unchecked.
        raise pickle.UnpicklingError(f"{path}: {reason}") from None
    except EOFError as error:
        raise EOFError(f"{path}: {_damaged(error)}") from None
    except RuntimeError as error:
        if "PytorchStreamReader" not in str(error):
            raise
        raise RuntimeError(f"{path}: {_damaged(error)}") from None
    except (AssertionError, LookupError, struct.error, TypeError, UnicodeDecodeError) as error:
        # Text or damage may look like the beginning of a pickle, which then goes wrong anywhere.
        raise pickle.UnpicklingError(f"{path}: {_damaged(error)}") from error


def _refused(name: str) -> str:
    return (
        f"Unsupported global {name}: a checkpoint may hold numbers, text and tensors only, for building anything else "
        "could run code of the file; use a checkpoint that fairseq-train saved"
    )


def _damaged(error: Exception) -> str:
    unreadable = OTHER_REASON.search(str(error))
    reason = unreadable[1] if unreadable else re.split(r"[.\n]", str(error).strip())[0]
    return f"not a whole checkpoint ({reason.strip()}): copy it again, or use another one of the run"


def repair_checkpoint_copies() -> None:
    """Puts a copy in its place when it is complete.

    fairseq 0.12.2 saves one checkpoint whole or not at all, and then copies it over checkpoint_last.pt and
    checkpoint_best.pt: a training that is killed at that moment leaves the file it would resume from cut short.
    """
    replace([PathManager], "copy", _whole_or_not_at_all, symptom=_writes_in_place)


def _writes_in_place(copy: Callable) -> bool:
    with tempfile.TemporaryDirectory() as folder:
        paths = [os.path.join(folder, name) for name in ("new", "old")]
        for path in paths:
            open(path, "w").close()
        with open(paths[1]) as older:
            copy(*paths, overwrite=True)
            # Held open, so that no new file can have its number.
            return os.path.samestat(os.fstat(older.fileno()), os.stat(paths[1]))


def _whole_or_not_at_all(copy: Callable) -> Callable:
    def copy_whole(src_path: str, dst_path: str, overwrite: bool = False):
        if "://" in dst_path:
            return copy(src_path, dst_path, overwrite=overwrite)
        partial = f"{dst_path}.tmp"
        copied = copy(src_path, partial, overwrite=True)
        os.replace(partial, dst_path)
        return copied

    return copy_whole

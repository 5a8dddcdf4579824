"""Where the data of a checkpoint are: as in its training, or near the checkpoint.

A checkpoint remembers the folder of its data as the command line of its training named it. A relative path is that of
another current directory as soon as the model is used from elsewhere, and folders are moved, mostly together.
"""

import logging
import os
from pathlib import Path
from typing import List, Union

logger = logging.getLogger(__name__)


def data_folder(checkpoint: Union[str, Path], remembered: str, name: str) -> Path:
    """The folder of a checkpoint's data: the first place of :func:`places` that has a file of this name.

    A warning says so where it is not the one of the training.

    Args:
        checkpoint: the .pt file.
        remembered: folder of the data, as the checkpoint has it.
        name: of a file in it: the data YAML, or the dictionary.

    Raises:
        FileNotFoundError: there is none; with all places.
    """
    tried = places(checkpoint, remembered)
    # Not Path.is_file, which raises where a folder of somebody else must not be looked into.
    found = next((place for place in tried if os.path.isfile(place / name)), None)
    path = "" if Path(remembered).is_absolute() else ", a path relative to where it was trained"
    if found is None:
        raise FileNotFoundError(
            f"no data YAML or dictionary {name} of {checkpoint}: it remembers its data in {remembered!r}{path}, and "
            f"there is none at {', '.join(map(str, tried))}: give the prepared folder (--data-bin), and the name of "
            "its YAML where it has another one (--config-yaml)"
        )
    if found != tried[0]:
        logger.warning(
            "%s remembers its data in %r%s, where there is no %s: those of %s are taken (--data-bin names others)",
            *(checkpoint, remembered, path, name, found),
        )
    return found


def places(checkpoint: Union[str, Path], remembered: str) -> List[Path]:
    """Where the data of a checkpoint may be, each once, the likeliest first.

    Args:
        checkpoint, remembered: as for :func:`data_folder`.

    Returns:
        Absolute paths: the folder of the training; where that is relative, the same within each folder from the
        checkpoint's upwards, one of which was the current directory if all was written below it; the checkpoint's
        folder, and the folder of the same name in it or beside it.
    """
    given, beside = Path(remembered), Path(checkpoint).resolve().parent
    near = [beside, beside / given.name, beside.parent / given.name]
    if not given.is_absolute():
        near = [*(folder / given for folder in (beside, *beside.parents)), *near]
    return list(dict.fromkeys([Path.cwd() / given, *near]))

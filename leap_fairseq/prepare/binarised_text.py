"""fairseq's data set of a text: made by fairseq-preprocess, and counted."""

from pathlib import Path
from typing import Dict, Optional, Union

from leap_fairseq.files import DataError

DICTIONARY = "dict.txt"
"""fairseq opens no data set without it."""


def check_dictionary(path: Union[str, Path]) -> None:
    """Refuses, with a DataError, what fairseq does not read as a dictionary."""
    from leap_fairseq.compat.root_logger import unchanged_root_logger

    with unchanged_root_logger():
        from fairseq.data import Dictionary
    try:
        Dictionary.load(str(path))
    except Exception as error:  # fairseq raises a bare one where the text is not UTF-8.
        rule = "is no dictionary of fairseq (lines of word and count)"
        raise DataError(f"--srcdict {path} {rule}: {error}") from error


def binarise(
    build: Path,
    texts: Dict[str, Path],
    srcdict: Optional[Union[str, Path]],
    nwords: int,
    threshold: int,
    processes: int,
) -> None:
    """Runs fairseq-preprocess in this process: one of its own would go on writing after a kill of this one.

    Args:
        build: folder for the data set.
        texts: of each split, tokens between single spaces.
        srcdict, nwords, threshold: as its --srcdict, --nwordssrc and --thresholdsrc.
        processes: that read the text.
    """
    from leap_fairseq.compat.root_logger import unchanged_root_logger

    with unchanged_root_logger():
        from fairseq import options
        from fairseq_cli import preprocess

    arguments = ["--only-source", "--destdir", str(build), "--workers", str(processes)]
    arguments += ["--nwordssrc", str(nwords), "--thresholdsrc", str(threshold)]
    arguments += ["--srcdict", str(srcdict)] if srcdict else []
    for split, path in texts.items():
        arguments += [f"--{split}pref", str(path)]
    handlers = list(preprocess.logger.handlers)
    try:
        preprocess.main(options.get_preprocessing_parser().parse_args(arguments))
    finally:
        # It logs into the folder as well, and leaves that file open.
        for handler in [handler for handler in preprocess.logger.handlers if handler not in handlers]:
            preprocess.logger.removeHandler(handler)
            handler.close()


def unknown_tokens(split: Path, tokens: int) -> int:
    """How many tokens of binarised data are <unk>.

    Args:
        split: path without ending, beside its dictionary.
        tokens: how many there must be.

    Raises:
        DataError: there are others.
    """
    import numpy
    from fairseq.data import Dictionary
    from fairseq.data.indexed_dataset import best_fitting_int_dtype

    dictionary = Dictionary.load(str(split.with_name(DICTIONARY)))
    data = numpy.memmap(f"{split}.bin", best_fitting_int_dtype(len(dictionary)), mode="r")
    if data.size != tokens:
        raise DataError(f"{split.name} has {tokens} tokens, but fairseq-preprocess wrote {data.size}: prepare it again")
    return int((data == dictionary.unk()).sum())

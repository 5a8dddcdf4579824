"""Scores a log as what it is: sentences, recordings of many sentences, or parts of these."""

from pathlib import Path
from typing import List, Optional, Union

from leap_fairseq.scoring.instances import read_any_log
from leap_fairseq.scoring.long_form import Recordings, score_cut_run, score_long_run
from leap_fairseq.scoring.long_references import read_references, read_segments
from leap_fairseq.scoring.quality import Row
from leap_fairseq.scoring.run import score_run
from leap_fairseq.scoring.segmenters import EDITS
from leap_fairseq.scoring.settings import Settings
from leap_fairseq.speech.mustc import read_lines

YAML_ENDINGS = (".yaml", ".yml")

References = Union[Recordings, List[str], None]
"""Sentences of recordings, or a text for each line of a log, or none but those in the log."""


def references_from(table: Optional[str], text: Optional[str], language: Optional[str]) -> References:
    """Reads what --references and --reference-text name.

    Args:
        table: our own (`long_references`), or a YAML of segments.
        text: parallel to the YAML (default: the file beside it that ends in the language, as in MuST-C); without a
            table, parallel to the lines of the log.
        language: of the translation.

    Raises:
        OSError, ValueError: a file cannot be read, or they do not belong together.
    """
    if table is None:
        return read_lines(Path(text)) if text else None
    if Path(table).suffix.lower() not in YAML_ENDINGS:
        if text:
            raise ValueError(f"--reference-text {text}: {table} has texts of its own: leave it out")
        return read_references(table)
    if not (text or language):
        raise ValueError(
            f"--references {table} needs its texts: give --reference-text, or --tgt-lang for one beside it"
        )
    return read_segments(table, text or Path(table).with_suffix(f".{language}"))


def score_log(path: Union[str, Path], settings: Settings, references: References = None, segmenter: str = EDITS) -> Row:
    """Scores a log of any format.

    Args:
        path: the log, or the folder that holds instances.log.
        settings: unit and tokenizer.
        references: of the lines of the log, or of the sentences of its recordings; a log with a line for each of those
            sentences is taken as one of sentences.
        segmenter: splits recordings, see `segmenters`.

    Raises:
        ImportError, OSError, ValueError: as for `score_run` and `score_long_run`; or references or a segmenter are
            given to what has no use for them.
    """
    log = read_any_log(path, settings.unit)
    texts = references
    if references and not isinstance(references[0], str):
        texts = [sentence.target for recording in references for sentence in recording]
        is_of_sentences = len(log.instances) == len(texts) != len(references)
        if not (log.format.is_cut or is_of_sentences):
            return score_long_run(path, references, settings, segmenter)
    if segmenter != EDITS:
        rule = "nothing is split without the sentences of recordings (--references)"
        raise ValueError(f"{path}: --segmenter {segmenter} is given, but {rule}: leave it out")
    if not log.format.is_cut:
        return score_run(path, settings, texts)
    if references is not None:
        raise ValueError(f"{path}: the lines are parts with references of their own: leave --references out")
    return score_cut_run(log, path, settings)

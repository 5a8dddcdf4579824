"""Scores a log as what it is: sentences, recordings of many sentences, or parts of these."""

import math
from dataclasses import replace
from pathlib import Path
from typing import List, Optional, Sequence, Union

from leap_fairseq.scoring.instances import Log
from leap_fairseq.scoring.long_form import Recordings, score_cut_run, score_talks
from leap_fairseq.scoring.long_references import ReferenceSentence, read_references, read_segments
from leap_fairseq.scoring.quality import Row
from leap_fairseq.scoring.run import score_sentences, with_references, with_transcripts
from leap_fairseq.scoring.segmenters import EDITS
from leap_fairseq.scoring.settings import Settings
from leap_fairseq.speech.corpus import read_lines

YAML_ENDINGS = (".yaml", ".yml")

References = Union[Recordings, List[str], None]
"""Sentences of recordings, or a text for each line of a log, or none but those in the log."""


def references_from(
    table: Optional[str],
    text: Optional[str],
    language: Optional[str],
    transcripts: Optional[str] = None,
    spoken: Optional[str] = None,
) -> References:
    """Reads what --references, --reference-text and --source-text name.

    Args:
        table: our own (`long_references`), or a YAML of segments.
        text: parallel to the YAML (default: the file beside it that ends in the language, as in MuST-C); without a
            table, parallel to the lines of the log.
        language: of the translation.
        transcripts: of the speech, parallel to the YAML (default: the file beside it that ends in `spoken`, if there
            is one); without a table they are not read here.
        spoken: language of the speech.

    Raises:
        OSError, ValueError: a file cannot be read, or they do not belong together.
    """
    if table is None:
        return read_lines(Path(text)) if text else None
    if Path(table).suffix.lower() not in YAML_ENDINGS:
        for option, given in (("--reference-text", text), ("--source-text", transcripts)):
            if given:
                raise ValueError(f"{option} {given}: {table} has texts of its own: leave it out")
        return read_references(table)
    if not (text or language):
        raise ValueError(
            f"--references {table} needs its texts: give --reference-text, or --tgt-lang for one beside it"
        )
    beside = Path(table).with_suffix(f".{spoken}")
    if not transcripts and spoken and beside.is_file():
        transcripts = str(beside)
    return read_segments(table, text or Path(table).with_suffix(f".{language}"), transcripts)


def score_log(
    path: Union[str, Path],
    settings: Settings,
    references: References = None,
    segmenter: str = EDITS,
    transcripts: Optional[Sequence[str]] = None,
) -> Row:
    """Scores a log of any format.

    Args:
        path: the log, or the folder that holds it.
        settings: unit, tokenizer and what is computed.
        references: of the lines of the log, or of the sentences of its recordings; a log with a line for each of those
            sentences is taken as one of sentences.
        segmenter: splits recordings, see `segmenters`.
        transcripts: of the lines of the log, for COMET; sentences of recordings have their own.

    Raises:
        ImportError, OSError, ValueError: as for `score_run` and `score_long_run`; or references or a segmenter are
            given to what has no use for them.
    """
    log = settings.read(path)
    of_recordings = bool(references) and not isinstance(references[0], str)
    if of_recordings and not log.format.is_cut:
        sentences = [sentence for recording in references for sentence in recording]
        if not len(log.instances) == len(sentences) != len(references):
            return score_talks(log, references, settings, segmenter)
        log = _of_sentences(log, sentences)
    if segmenter != EDITS:
        rule = "nothing is split without the sentences of recordings (--references)"
        raise ValueError(f"{path}: --segmenter {segmenter} is given, but {rule}: leave it out")
    if log.format.is_cut and references is not None:
        raise ValueError(f"{path}: the lines are parts with references of their own: leave --references out")
    log = log if transcripts is None else with_transcripts(log, transcripts)
    if log.format.is_cut:
        return score_cut_run(log, settings)
    return score_sentences(log if references is None or of_recordings else with_references(log, references), settings)


def _of_sentences(log: Log, sentences: Sequence[ReferenceSentence]) -> Log:
    """A log with a line for each sentence, with what is known of these: texts, and durations that it lacks."""
    log = with_references(log, [sentence.target for sentence in sentences])
    if any(sentence.source for sentence in sentences):
        log = with_transcripts(log, [sentence.source for sentence in sentences])
    known = [
        replace(instance, source_length=sentence.duration) if math.isnan(instance.source_length) else instance
        for instance, sentence in zip(log.instances, sentences)
    ]
    return log._replace(instances=known)

"""Writes the inputs of SimulEval for one split of a corpus: MuST-C, mTEDx, Europarl-ST or CoVoST 2.

    leap-fairseq prepare lists ROOT --split tst-COMMON --out eval
    leap-fairseq prepare lists ROOT --corpus covost --src-lang fr --tgt-lang en --out eval
    leap-fairseq prepare lists ROOT --split tst-COMMON --out eval --whole-talks
    python data_prep/make_eval_list.py ROOT ...                               (from a checkout)
    simuleval --source eval/tst-COMMON.wav_list --target eval/tst-COMMON.target ...

The sentences become 16 kHz mono 16-bit wavs of their own; the lists are parallel, line by line. With --whole-talks the
talks do, and a table says where their sentences are: eval/tst-COMMON.talks.*, for `leap-fairseq score`. With --task asr
the references are the transcripts. The languages of speech and references are noted beside the lists, where `evaluate`
finds them.
"""

import argparse
import logging
import re
from dataclasses import replace
from pathlib import Path
from typing import Callable, Dict, List, NamedTuple, Optional, Tuple, Union

import soundfile

from leap_fairseq.files import whole_file, whole_folder
from leap_fairseq.prepare.eval_wavs import Talk, write_sentences, write_talks
from leap_fairseq.scoring.languages import Languages, write_languages
from leap_fairseq.scoring.long_references import COLUMNS
from leap_fairseq.speech import SAMPLE_RATE, DataError, covost, europarl_st, mtedx, mustc
from leap_fairseq.speech.corpus import Segment

logger = logging.getLogger(__name__)


class Layout(NamedTuple):
    """A corpus: how a split of it is read, and what is taken where an option does not say it.

    Attributes:
        read: Of root, split, tgt_lang and src_lang.
        split: For tests.
        tgt_lang: Language of the translations.
        src_lang: Language of the speech; None: it must be given.
    """

    read: Callable[..., List[Segment]]
    split: str = "test"
    tgt_lang: str = "en"
    src_lang: Optional[str] = None


CORPORA = {
    "mustc": Layout(mustc.read_split, "tst-COMMON", "de", mustc.SRC_LANG),
    "mtedx": Layout(mtedx.read_split),
    "europarl-st": Layout(europarl_st.read_split),
    "covost": Layout(covost.read_split),
}
TASKS = ("st", "asr")
LINE_BREAKS = re.compile(r"\s*[\r\n]+\s*")
COLUMN_BREAKS = re.compile(r"\s*[\t\r\n]+\s*")

Lists = Dict[str, List[str]]
"""The lines of each file, by its ending."""


def make_eval_list(
    root: Union[str, Path],
    split: Optional[str],
    out: Union[str, Path],
    tgt_lang: Optional[str] = None,
    limit: Optional[int] = None,
    corpus: str = "mustc",
    src_lang: Optional[str] = None,
    whole_talks: bool = False,
    task: str = "st",
) -> Path:
    """Cuts one split into sentences and lists them, or lists its talks as they are; the arguments are the command's.

    Args:
        out: Folder that gets SPLIT.wav_list, SPLIT.target, SPLIT.source_text and SPLIT_wavs/; with whole talks
            SPLIT.talks.wav_list, SPLIT.talks.target, SPLIT.talks.tsv and SPLIT_talks/; and SPLIT.languages.json.
        task: st for translations as references, asr for transcripts.
        whole_talks: A line of the targets then holds all references of a talk; which sentence is where in which talk
            stands in SPLIT.talks.tsv, with the columns of `leap_fairseq.scoring.long_references`.

    Returns:
        The wav list. Its paths are absolute, for SimulEval resolves others against the folder it is started in.

    Raises:
        DataError: The layout or an option is wrong, the limit below 1, or no sentence has audio.
    """
    if limit is not None and limit < 1:
        raise DataError(f"limit is {limit}, but must be 1 or more (--limit)")
    if whole_talks and corpus == "covost":
        raise DataError("--whole-talks with --corpus covost, whose recordings are sentences: leave --whole-talks out")
    out, (layout, languages) = Path(out).resolve(), _layout(corpus, task, src_lang, tgt_lang)
    split = split or layout.split
    segments = layout.read(root, split, languages.tgt_lang, languages.src_lang)
    if task == "asr":
        segments = [replace(segment, tgt_text=segment.src_text) for segment in segments]
        languages = Languages(languages.src_lang, languages.src_lang)
    name, folder = (f"{split}.talks", out / f"{split}_talks") if whole_talks else (split, out / f"{split}_wavs")
    with whole_folder(folder) as partial:
        kept = write_talks(segments, partial, limit) if whole_talks else write_sentences(segments, partial, limit)
        if not kept:
            raise DataError(f"no sentence of {split} has audio: check the audio files of {root} (ROOT)")
    lists = _talk_lists(kept, folder) if whole_talks else _sentence_lists(kept, folder)
    lists = {ending: [LINE_BREAKS.sub(" ", line) for line in lines] for ending, lines in lists.items()}
    for ending, lines in lists.items():
        with whole_file(out / f"{name}.{ending}", text=True) as file:
            file.writelines(line + "\n" for line in lines)
    _check(out, name, lists)
    write_languages(out / name, languages)
    wav_list = out / f"{name}.wav_list"
    logger.info("%s: %d %s listed in %s", split, len(kept), "talks" if whole_talks else "sentences", wav_list)
    return wav_list


def _layout(corpus: str, task: str, src_lang: Optional[str], tgt_lang: Optional[str]) -> Tuple[Layout, Languages]:
    """How a corpus is read, and its languages, its usual ones where none is given."""
    if task not in TASKS:
        raise DataError(f"--task is {task!r}, but must be one of {', '.join(TASKS)}")
    if corpus not in CORPORA:
        raise DataError(f"--corpus is {corpus!r}, but must be one of {', '.join(CORPORA)}")
    layout = CORPORA[corpus]
    src_lang = src_lang or layout.src_lang
    if src_lang is None:
        raise DataError(f"--corpus {corpus} needs the language of the speech: give --src-lang, for example fr")
    return layout, Languages(src_lang, tgt_lang or layout.tgt_lang)


def _sentence_lists(sentences: List[Segment], folder: Path) -> Lists:
    return {
        "wav_list": [str(folder / f"{segment.id}.wav") for segment in sentences],
        "target": [segment.tgt_text for segment in sentences],
        "source_text": [segment.src_text for segment in sentences],
    }


def _talk_lists(talks: List[Talk], folder: Path) -> Lists:
    table = ["\t".join(COLUMNS)]
    for talk in talks:
        for segment, duration in talk.sentences:
            times = (str(round(1000 * seconds, 3)) for seconds in (segment.offset, duration))
            texts = (COLUMN_BREAKS.sub(" ", text) for text in (segment.src_text, segment.tgt_text))
            table.append("\t".join((talk.wav, *times, *texts)))
    return {
        "wav_list": [str(folder / talk.wav) for talk in talks],
        "target": [" ".join(segment.tgt_text.strip() for segment, _ in talk.sentences).strip() for talk in talks],
        "tsv": table,
    }


def _check(out: Path, name: str, lists: Lists) -> None:
    """Reads everything again as SimulEval does, line by line.

    Raises:
        DataError: A line that differs from the sentence it was made from, or a wav that is not 16 kHz, mono, with
            samples.
    """
    for ending, wanted in lists.items():
        path = out / f"{name}.{ending}"
        with open(path, encoding="utf-8") as file:  # universal newlines, as SimulEval's reader
            found = [line.strip() for line in file]
        if len(found) != len(wanted):
            raise DataError(f"{path} has {len(found)} lines instead of {len(wanted)}: run again")
        for number, (line, text) in enumerate(zip(found, wanted), start=1):
            if line != text.strip():
                raise DataError(f"{path}: line {number} is {line!r} instead of {text.strip()!r}: run again")
    for wav in lists["wav_list"]:
        info = soundfile.info(wav)
        if (info.samplerate, info.channels) != (SAMPLE_RATE, 1) or not info.frames:
            raise DataError(f"{wav} must be {SAMPLE_RATE} Hz, mono, with samples: run again")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of `make_eval_list`."""
    parser.add_argument("root", metavar="ROOT", help="of the corpus, as `prepare` of its name takes it")
    parser.add_argument("--corpus", default="mustc", choices=CORPORA, help="which layout")
    parser.add_argument("--split", help="which split (default: tst-COMMON; of others than mustc: test)")
    parser.add_argument("--out", required=True, metavar="DIR", help="folder for the lists")
    text = "references: translations, or transcripts"
    parser.add_argument("--task", default="st", choices=TASKS, help=text)
    parser.add_argument("--src-lang", help="language of the speech (default of mustc: en)")
    parser.add_argument("--tgt-lang", help="language of the translations (default: en; mustc: de)")
    parser.add_argument("--limit", type=int, metavar="N", help="only the first N sentences, or talks")
    parser.add_argument("--whole-talks", action="store_true", help="list the recordings, not their sentences")


def run(options: argparse.Namespace) -> None:
    """Runs the command."""
    make_eval_list(**vars(options))

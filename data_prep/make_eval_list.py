"""Writes the inputs of SimulEval for one split of a corpus in MuST-C's layout, or of CoVoST 2.

    python data_prep/make_eval_list.py ROOT --split tst-COMMON --out eval
    python data_prep/make_eval_list.py ROOT --corpus covost --src-lang fr --tgt-lang en --out eval
    simuleval --source eval/tst-COMMON.wav_list --target eval/tst-COMMON.target ...

The sentences become 16 kHz mono 16-bit wavs of their own; the lists are parallel, line by line.
"""

import argparse
import itertools
import logging
import re
import sys
from pathlib import Path
from typing import Dict, List, Optional, Union

import _checkout  # noqa: F401
import numpy as np
import soundfile
from _command import command_parser, run_command

from leap_fairseq.files import whole_file, whole_folder
from leap_fairseq.speech import SAMPLE_RATE, AudioError, DataError, covost, load_segments, mustc
from leap_fairseq.speech.corpus import Segment
from leap_fairseq.speech.features import FRAME_LENGTH_MS, INT16_SCALE

logger = logging.getLogger("make_eval_list")

CORPORA = ("mustc", "covost")
LINE_BREAKS = re.compile(r"\s*[\r\n]+\s*")
MIN_SAMPLES = int(FRAME_LENGTH_MS * SAMPLE_RATE / 1000)
"""Less than one feature window is no audio, for the data preparation neither: both keep the same sentences."""


def make_eval_list(
    root: Union[str, Path],
    split: Optional[str],
    out: Union[str, Path],
    tgt_lang: Optional[str] = None,
    limit: Optional[int] = None,
    corpus: str = "mustc",
    src_lang: Optional[str] = None,
) -> Path:
    """Cuts one split into sentences and lists them.

    Args:
        root: Of the corpus, as `prep_mustc` or `prep_covost` takes it.
        split: For example dev; None is tst-COMMON of MuST-C and test of CoVoST.
        out: Folder that gets SPLIT.wav_list, SPLIT.target, SPLIT.source_text and SPLIT_wavs/.
        tgt_lang: Language of the references; None is de for MuST-C and en for CoVoST.
        limit: Only the first so many sentences that have audio; None takes all.
        corpus: mustc or covost.
        src_lang: Language of the speech; for CoVoST alone, where it must be given.

    Returns:
        The wav list. Its paths are absolute, for SimulEval resolves others against the folder it is started in.

    Raises:
        DataError: The layout or an option is wrong, the limit below 1, or no sentence has audio.
    """
    if limit is not None and limit < 1:
        raise DataError(f"limit is {limit}, but must be 1 or more (--limit)")
    out = Path(out).resolve()
    split = split or ("test" if corpus == "covost" else "tst-COMMON")
    segments = _read_split(root, split, corpus, src_lang, tgt_lang)
    with whole_folder(out / f"{split}_wavs") as folder:
        kept = _write_wavs(segments, folder, limit)
        if not kept:
            raise DataError(f"no sentence of {split} has audio: check the audio files of {root} (ROOT)")
    lists = {
        "wav_list": [str(out / f"{split}_wavs" / f"{segment.id}.wav") for segment in kept],
        "target": [segment.tgt_text for segment in kept],
        "source_text": [segment.src_text for segment in kept],
    }
    lists = {name: [LINE_BREAKS.sub(" ", line) for line in lines] for name, lines in lists.items()}
    for name, lines in lists.items():
        with whole_file(out / f"{split}.{name}", text=True) as file:
            file.writelines(line + "\n" for line in lines)
    _check(out, split, lists)
    logger.info("%s: %d sentences listed in %s", split, len(kept), out / f"{split}.wav_list")
    return out / f"{split}.wav_list"


def _read_split(
    root: Union[str, Path], split: str, corpus: str, src_lang: Optional[str], tgt_lang: Optional[str]
) -> List[Segment]:
    if corpus not in CORPORA:
        raise DataError(f"--corpus is {corpus!r}, but must be one of {', '.join(CORPORA)}")
    if corpus == "mustc":
        if src_lang not in (None, mustc.SRC_LANG):
            raise DataError(
                f"--src-lang is {src_lang}, but MuST-C is spoken in English: give --corpus covost for CoVoST"
            )
        return mustc.read_split(root, split, tgt_lang or "de")
    if src_lang is None:
        raise DataError("--corpus covost needs the language of the speech: give --src-lang, for example fr")
    if split not in covost.SPLITS:
        raise DataError(f"--split is {split!r}, but CoVoST has {', '.join(covost.SPLITS)}")
    return covost.read_corpus(root, src_lang, tgt_lang or "en", splits=[split], required=[split])[split]


def _write_wavs(segments: List[Segment], folder: Path, limit: Optional[int]) -> List[Segment]:
    """Writes the wavs of the first `limit` sentences that have audio; returns these sentences."""
    kept: List[Segment] = []
    # The sentences of a talk follow each other in the text files: each talk is opened once.
    for audio, group in itertools.groupby(segments, lambda segment: segment.audio):
        talk = list(group)
        times = [(segment.offset, segment.duration) for segment in talk]
        for segment, samples in zip(talk, load_segments(audio, times, cut_at_end=True)):
            if isinstance(samples, AudioError) or len(samples) < MIN_SAMPLES:
                reason = samples if isinstance(samples, AudioError) else "shorter than one window of 25 ms"
                logger.warning("left out %s: %s", segment.id, reason)
                continue
            integers = np.clip(np.rint(samples * INT16_SCALE), -32768, 32767).astype(np.int16)
            soundfile.write(folder / f"{segment.id}.wav", integers, SAMPLE_RATE, subtype="PCM_16")
            kept.append(segment)
            if len(kept) == limit:
                return kept
    return kept


def _check(out: Path, split: str, lists: Dict[str, List[str]]) -> None:
    """Reads everything again as SimulEval does, line by line.

    Raises:
        DataError: A line that differs from the sentence it was made from, or a wav that is not 16 kHz, mono, with
            samples.
    """
    for name, wanted in lists.items():
        path = out / f"{split}.{name}"
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


def _parse_arguments() -> argparse.Namespace:
    parser = command_parser(__doc__)
    parser.add_argument("root", metavar="ROOT", help="of the corpus, as prep_mustc.py or prep_covost.py takes it")
    parser.add_argument("--corpus", default="mustc", choices=CORPORA, help="which layout")
    text = "which split (default: tst-COMMON; covost: test)"
    parser.add_argument("--split", default=argparse.SUPPRESS, help=text)
    parser.add_argument("--out", required=True, metavar="DIR", default=argparse.SUPPRESS, help="folder for the lists")
    parser.add_argument("--src-lang", default=argparse.SUPPRESS, help="language of the speech, for covost alone")
    text = "language of the references (default: de; covost: en)"
    parser.add_argument("--tgt-lang", default=argparse.SUPPRESS, help=text)
    parser.add_argument("--limit", type=int, metavar="N", help="only the first N sentences", default=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    """The command line; its options are the arguments of `make_eval_list`."""
    make_eval_list(**{"split": None, **vars(_parse_arguments())})


if __name__ == "__main__":
    sys.exit(run_command(main))

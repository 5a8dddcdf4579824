"""Writes the inputs of SimulEval for one split of a corpus in MuST-C's layout.

    python data_prep/make_eval_list.py ROOT --split tst-COMMON --out eval
    simuleval --source eval/tst-COMMON.wav_list --target eval/tst-COMMON.target ...

The sentences become 16 kHz mono 16-bit wavs of their own; the lists are parallel, line by line.
"""

import argparse
import itertools
import logging
import re
import sys
from pathlib import Path
from typing import List, Optional, Union

import _checkout  # noqa: F401
import numpy as np
import soundfile
from _command import command_parser, run_command

from leap_fairseq.files import whole_file, whole_folder
from leap_fairseq.speech import SAMPLE_RATE, AudioError, DataError, load_segments
from leap_fairseq.speech.features import FRAME_LENGTH_MS, INT16_SCALE
from leap_fairseq.speech.mustc import Segment, read_split

logger = logging.getLogger("make_eval_list")

LINE_BREAKS = re.compile(r"\s*[\r\n]+\s*")
MIN_SAMPLES = int(FRAME_LENGTH_MS * SAMPLE_RATE / 1000)
"""Less than one feature window is no audio, for `prep_mustc` neither: both keep the same sentences."""


def make_eval_list(
    root: Union[str, Path], split: str, out: Union[str, Path], tgt_lang: str = "de", limit: Optional[int] = None
) -> Path:
    """Cuts one split into sentences and lists them.

    Args:
        root: Folder that holds `en-de/data/SPLIT`.
        split: For example dev or tst-COMMON.
        out: Folder that gets SPLIT.wav_list, SPLIT.target, SPLIT.source_text and SPLIT_wavs/.
        tgt_lang: Language of the references.
        limit: Only the first so many sentences that have audio; None takes all.

    Returns:
        The wav list. Its paths are absolute, for SimulEval resolves others against the folder it is started in.

    Raises:
        DataError: The layout is wrong, the limit below 1, or no sentence has audio.
    """
    if limit is not None and limit < 1:
        raise DataError(f"limit is {limit}, but must be 1 or more (--limit)")
    out = Path(out).resolve()
    segments = read_split(root, split, tgt_lang)
    with whole_folder(out / f"{split}_wavs") as folder:
        kept = _write_wavs(segments, folder, limit)
        if not kept:
            raise DataError(f"no sentence of {split} has audio: check the wav folder of {root} (ROOT)")
    lists = {
        "wav_list": [str(out / f"{split}_wavs" / f"{segment.id}.wav") for segment in kept],
        "target": [segment.tgt_text for segment in kept],
        "source_text": [segment.src_text for segment in kept],
    }
    for name, lines in lists.items():
        with whole_file(out / f"{split}.{name}", text=True) as file:
            file.writelines(LINE_BREAKS.sub(" ", line.strip()) + "\n" for line in lines)
    _check(out, split, len(kept))
    logger.info("%s: %d sentences listed in %s", split, len(kept), out / f"{split}.wav_list")
    return out / f"{split}.wav_list"


def _write_wavs(segments: List[Segment], folder: Path, limit: Optional[int]) -> List[Segment]:
    """Writes the wavs of the first `limit` sentences that have audio; returns these sentences."""
    kept: List[Segment] = []
    # The sentences of a talk follow each other in the text files: each file is opened once.
    for wav, group in itertools.groupby(segments, lambda segment: segment.wav):
        talk = list(group)
        times = [(segment.offset, segment.duration) for segment in talk]
        for segment, samples in zip(talk, load_segments(wav, times, cut_at_end=True)):
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


def _check(out: Path, split: str, count: int) -> None:
    """Reads everything again as SimulEval does.

    Raises:
        DataError: Lists of different lengths, or a wav without samples.
    """
    lists = {}
    for name in ("wav_list", "target", "source_text"):
        with open(out / f"{split}.{name}", encoding="utf-8") as file:  # universal newlines, as SimulEval's reader
            lists[name] = [line.strip() for line in file]
        if len(lists[name]) != count:
            raise DataError(f"{out / f'{split}.{name}'} has {len(lists[name])} lines instead of {count}: run again")
    for wav in lists["wav_list"]:
        if not soundfile.info(wav).frames:
            raise DataError(f"{wav} has no samples: run again")


def _parse_arguments() -> argparse.Namespace:
    parser = command_parser(__doc__)
    parser.add_argument("root", metavar="ROOT", help="folder that holds en-de/data/SPLIT")
    parser.add_argument("--split", default="tst-COMMON", help="which split")
    parser.add_argument("--out", required=True, metavar="DIR", default=argparse.SUPPRESS, help="folder for the lists")
    parser.add_argument("--tgt-lang", default="de", help="language of the references")
    parser.add_argument("--limit", type=int, metavar="N", help="only the first N sentences", default=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    """The command line; its options are the arguments of `make_eval_list`."""
    make_eval_list(**vars(_parse_arguments()))


if __name__ == "__main__":
    sys.exit(run_command(main))

"""Turns a corpus in MuST-C's layout (v1 to v3) into the data of fairseq's speech_to_text task.

    leap-fairseq prepare mustc ROOT --tgt-lang de --task st --vocab-size 8000
    python data_prep/prep_mustc.py ROOT ...                                     (from a checkout)

writes fbank80.zip, gcmvn.npz, {train,dev,tst-COMMON,tst-HE}_st.tsv, spm_unigram8000_st.{model,txt} and config_st.yaml,
with fairseq's own names, into ROOT/en-de. Paths inside are relative: the folder can be moved. What is complete is
reused; a changed option redoes what depends on it. MuST-C is spoken in English; a corpus in its layout may be spoken in
another language (--src-lang).
"""

import argparse
from pathlib import Path
from typing import Optional, Union

from leap_fairseq.prepare.joined_segments import join_segments
from leap_fairseq.prepare.prepared_data import add_options, prepare
from leap_fairseq.speech.corpus import Corpus
from leap_fairseq.speech.mustc import SRC_LANG, pair_folder, read_corpus


def prep_mustc(
    root: Union[str, Path],
    tgt_lang: str = "de",
    out: Optional[Union[str, Path]] = None,
    join: Optional[int] = None,
    src_lang: str = SRC_LANG,
    **options: Union[int, str],
) -> Path:
    """Prepares one language pair and returns the folder of its data.

    The arguments are the command's, `options` those of `prepared_data.Options`; train and dev must be there.

    Args:
        join: As --join-segments; see `joined_segments`.

    Raises:
        DataError: The layout or an option is wrong; the message says what to do.
    """

    def read() -> Corpus:
        corpus = read_corpus(root, tgt_lang, src_lang)
        if join is not None:
            corpus["train"] = corpus["train"] + join_segments(corpus["train"], join)
        return corpus

    return prepare(pair_folder(root, tgt_lang, src_lang) if out is None else out, "prep_mustc", read, **options)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of `prep_mustc`."""
    text = "folder that holds en-de/data/{train,dev,tst-COMMON,tst-HE}, or en-de itself"
    parser.add_argument("root", metavar="ROOT", help=text)
    parser.add_argument("--src-lang", default=SRC_LANG, help="language of the speech")
    add_options(parser, tgt_lang="de", folder="ROOT/SRC-TGT")
    text = "train also on stretches of 1 to N consecutive sentences with their pauses, for speech without end (say 4)"
    parser.add_argument("--join-segments", type=int, dest="join", metavar="N", help=text)


def run(options: argparse.Namespace) -> None:
    """Runs the command."""
    prep_mustc(**vars(options))

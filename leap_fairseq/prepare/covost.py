"""Turns CoVoST 2 and the clips of Common Voice into the data of fairseq's speech_to_text task.

    leap-fairseq prepare covost ROOT --src-lang fr --tgt-lang en --task st --vocab-size 8000
    python data_prep/prep_covost.py ROOT ...                                                    (from a checkout)

writes fbank80.zip, gcmvn.npz, {train,dev,test}_st.tsv, spm_unigram8000_st.{model,txt} and config_st.yaml into
ROOT/fr-en. ROOT holds fr/clips (or clips) and covost_v2.fr_en.{train,dev,test}.tsv, or covost_v2.fr_en.tsv and
Common Voice's validated.tsv, which are then joined. Clips are mp3, or whatever else they were converted to.
"""

import argparse
import functools
from pathlib import Path
from typing import Optional, Union

from leap_fairseq.prepare.prepared_data import add_options, prepare
from leap_fairseq.speech.covost import REQUIRED_SPLITS, read_corpus


def prep_covost(
    root: Union[str, Path],
    src_lang: str,
    tgt_lang: str = "en",
    out: Optional[Union[str, Path]] = None,
    **options: Union[int, str],
) -> Path:
    """Prepares one language pair and returns the folder of its data.

    The arguments are the command's, `options` those of `prepared_data.Options`; train and dev must be there.

    Raises:
        DataError: The layout or an option is wrong; the message says what to do.
    """
    read = functools.partial(read_corpus, root, src_lang, tgt_lang, required=REQUIRED_SPLITS)
    return prepare(Path(root) / f"{src_lang}-{tgt_lang}" if out is None else out, "prep_covost", read, **options)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of `prep_covost`."""
    parser.add_argument("root", metavar="ROOT", help="folder that holds SRC/clips, or clips itself, and the TSVs")
    text = "language of the speech, as Common Voice calls it: fr, zh-CN"
    parser.add_argument("--src-lang", required=True, help=text)
    add_options(parser, tgt_lang="en", folder="ROOT/SRC-TGT")


def run(options: argparse.Namespace) -> None:
    """Runs the command."""
    prep_covost(**vars(options))

"""Turns Multilingual TEDx (OpenSLR 100) into the data of fairseq's speech_to_text task.

    leap-fairseq prepare mtedx ROOT --src-lang es --tgt-lang en --task st --vocab-size 8000
    python data_prep/prep_mtedx.py ROOT ...                                               (from a checkout)

writes fbank80.zip, gcmvn.npz, {train,dev,test}_st.tsv, spm_unigram8000_st.{model,txt} and config_st.yaml into
ROOT/es-en. The pairs of transcripts alone, such as es-es, are prepared with --tgt-lang es --task asr.
"""

import argparse
import functools
from pathlib import Path
from typing import Optional, Union

from leap_fairseq.prepare.prepared_data import add_options, prepare
from leap_fairseq.speech.mtedx import read_corpus
from leap_fairseq.speech.mustc import pair_folder


def prep_mtedx(
    root: Union[str, Path],
    src_lang: str,
    tgt_lang: str = "en",
    out: Optional[Union[str, Path]] = None,
    **options: Union[int, str],
) -> Path:
    """Prepares one language pair and returns the folder of its data.

    The arguments are the command's, `options` those of `prepared_data.Options`; train and valid must be there.

    Raises:
        DataError: The layout or an option is wrong; the message says what to do.
    """
    read = functools.partial(read_corpus, root, src_lang, tgt_lang)
    return prepare(pair_folder(root, tgt_lang, src_lang) if out is None else out, "prep_mtedx", read, **options)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of `prep_mtedx`."""
    parser.add_argument("root", metavar="ROOT", help="folder that holds es-en/data/{train,valid,test}, or es-en itself")
    parser.add_argument("--src-lang", required=True, help="language of the speech: es, fr, pt, it, ru, el, ar, de")
    add_options(parser, tgt_lang="en", folder="ROOT/SRC-TGT")


def run(options: argparse.Namespace) -> None:
    """Runs the command."""
    prep_mtedx(**vars(options))

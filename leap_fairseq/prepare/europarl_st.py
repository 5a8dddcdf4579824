"""Turns Europarl-ST into the data of fairseq's speech_to_text task.

    leap-fairseq prepare europarl-st ROOT --src-lang en --tgt-lang de --task st --vocab-size 8000
    python data_prep/prep_europarl_st.py ROOT ...                                               (from a checkout)

writes fbank80.zip, gcmvn.npz, {train,dev,test,train-noisy}_st.tsv, spm_unigram8000_st.{model,txt} and config_st.yaml
into ROOT/en-de. Statistics and vocabulary are those of train. The recordings are published as m4a, which must be
converted first: without that, an error has the command.
"""

import argparse
import functools
from pathlib import Path
from typing import Optional, Union

from leap_fairseq.prepare.prepared_data import add_options, prepare
from leap_fairseq.speech.europarl_st import read_corpus


def prep_europarl_st(
    root: Union[str, Path],
    src_lang: str,
    tgt_lang: str = "en",
    out: Optional[Union[str, Path]] = None,
    **options: Union[int, str],
) -> Path:
    """Prepares one language pair and returns the folder of its data.

    The arguments are the command's, `options` those of `prepared_data.Options`; train and dev must be there.

    Raises:
        DataError: The layout or an option is wrong, or the recordings are m4a; the message says what to do.
    """
    read = functools.partial(read_corpus, root, src_lang, tgt_lang)
    return prepare(Path(root) / f"{src_lang}-{tgt_lang}" if out is None else out, "prep_europarl_st", read, **options)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of `prep_europarl_st`."""
    text = "folder that holds SRC/audios and SRC/TGT/{train,dev,test}, or v1.1 with them"
    parser.add_argument("root", metavar="ROOT", help=text)
    parser.add_argument("--src-lang", required=True, help="language of the speech: de, en, es, fr, it, nl, pl, pt, ro")
    add_options(parser, tgt_lang="en", folder="ROOT/SRC-TGT")


def run(options: argparse.Namespace) -> None:
    """Runs the command."""
    prep_europarl_st(**vars(options))

"""Turns CoVoST 2 and the clips of Common Voice into the data of fairseq's speech_to_text task.

    python data_prep/prep_covost.py ROOT --src-lang fr --tgt-lang en --task st --vocab-size 8000

writes fbank80.zip, gcmvn.npz, {train,dev,test}_st.tsv, spm_unigram8000_st.{model,txt} and config_st.yaml into
ROOT/fr-en. ROOT holds fr/clips (or clips) and covost_v2.fr_en.{train,dev,test}.tsv, or covost_v2.fr_en.tsv and
Common Voice's validated.tsv, which are then joined. Clips are mp3, or whatever else they were converted to.
"""

import argparse
import sys
from pathlib import Path
from typing import Optional, Union

from leap_fairseq.prepare.processes import command_parser, run_command
from leap_fairseq.prepare.prepared_data import Options, add_options, prepare

from leap_fairseq.speech.covost import REQUIRED_SPLITS, read_corpus


def prep_covost(
    root: Union[str, Path],
    src_lang: str,
    tgt_lang: str = "en",
    out: Optional[Union[str, Path]] = None,
    **options: Union[int, str],
) -> Path:
    """Prepares one language pair.

    Args:
        root: Folder that holds `SRC/clips`, or `clips` itself, and the TSVs; train and dev must be there.
        src_lang: Language of the speech, for example fr.
        tgt_lang: Language of the translations, for example en.
        out: Folder for the data; None is `root/fr-en`.
        **options: Those of `prepared_data.Options`.

    Returns:
        The folder of the data.

    Raises:
        DataError: The layout or an option is wrong; the message says what to do.
    """
    chosen = Options(**options)
    chosen.check()
    corpus = read_corpus(root, src_lang, tgt_lang, required=REQUIRED_SPLITS)
    return prepare(Path(root) / f"{src_lang}-{tgt_lang}" if out is None else out, "prep_covost", corpus, chosen)


def _parse_arguments() -> argparse.Namespace:
    parser = command_parser(__doc__)
    parser.add_argument("root", metavar="ROOT", help="folder that holds SRC/clips, or clips itself, and the TSVs")
    text = "language of the speech, as Common Voice calls it: fr, zh-CN"
    parser.add_argument("--src-lang", required=True, default=argparse.SUPPRESS, help=text)
    parser.add_argument("--tgt-lang", default="en", help="language of the translations")
    parser.add_argument("--out", metavar="DIR", default=argparse.SUPPRESS, help="data folder (default: ROOT/SRC-TGT)")
    add_options(parser)
    return parser.parse_args()


def main() -> None:
    """The command line; its options are the arguments of `prep_covost`."""
    prep_covost(**vars(_parse_arguments()))


if __name__ == "__main__":
    sys.exit(run_command(main))

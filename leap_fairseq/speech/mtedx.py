"""Reads Multilingual TEDx (OpenSLR 100): talks in eight languages, with translations of some of them.

ROOT/es-en/data/{train,valid,test}/wav/TALK.flac
ROOT/es-en/data/SPLIT/txt/SPLIT.yaml       one {duration, offset, speaker_id, wav} a segment, times in seconds
ROOT/es-en/data/SPLIT/txt/SPLIT.es, .en    one sentence a line, parallel to the YAML; es-es has SPLIT.es alone

It is MuST-C's layout, with other splits, and a YAML that calls the FLAC files .wav. Source: `mTEDx` of fairseq's
examples/speech_to_text/prep_mtedx_data.py.
"""

from pathlib import Path
from typing import List, Union

from leap_fairseq.speech import mustc
from leap_fairseq.speech.corpus import Corpus, Segment

FOLDERS = {"train": "train", "dev": "valid", "test": "test"}
"""Folder of each split. The validation data are called dev, as in all other corpora here."""


def read_corpus(root: Union[str, Path], src_lang: str, tgt_lang: str) -> Corpus:
    """Reads all splits of a language pair: mTEDx's own, then others in the same form.

    Args:
        root: The folder that holds `es-en`, or `es-en` itself.
        src_lang: Language of the speech, for example es.
        tgt_lang: Language of the translations; the same for the pair that has transcripts alone, es-es.

    Raises:
        DataError: train or valid is missing, or a split cannot be read (see `mustc.read_split`).
    """
    required = FOLDERS["train"], FOLDERS["dev"]
    corpus = mustc.read_corpus(root, tgt_lang, src_lang, tuple(FOLDERS.values()), required)
    names = {folder: split for split, folder in FOLDERS.items()}
    return {names.get(folder, folder): segments for folder, segments in corpus.items()}


def read_split(root: Union[str, Path], split: str, tgt_lang: str, src_lang: str) -> List[Segment]:
    """Reads the segments of one split: train, dev (or valid), test, or another in the same form.

    Arguments and errors are those of `read_corpus`.
    """
    return mustc.read_split(root, FOLDERS.get(split, split), tgt_lang, src_lang)

"""Turns a corpus in MuST-C's layout (v1 to v3) into the data of fairseq's speech_to_text task.

    python data_prep/prep_mustc.py ROOT --tgt-lang de --task st --vocab-size 8000

writes fbank80.zip, gcmvn.npz, {train,dev,tst-COMMON,tst-HE}_st.tsv, spm_unigram8000_st.{model,txt} and config_st.yaml,
with fairseq's own names, into ROOT/en-de. Paths inside are relative: the folder can be moved. What is complete is
reused; a changed option redoes what depends on it.
"""

import argparse
import functools
import logging
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Dict, List, Optional, Union

import _checkout  # noqa: F401
from _command import add_processes, command_parser, run_command
from mustc_features import CMVN, SRC_LANG, ZIP, Corpus, extract_features

from leap_fairseq.files import Stages, digest
from leap_fairseq.speech import DataError, ManifestRow, train_vocabulary, write_data_config, write_manifest
from leap_fairseq.speech.data_config import SPECAUGMENT_POLICIES
from leap_fairseq.speech.mustc import REQUIRED_SPLITS, SPLITS, Segment, read_split, split_folder
from leap_fairseq.speech.vocabulary import VOCAB_TYPES, vocabulary_name

logger = logging.getLogger("prep_mustc")

TASKS = ("st", "asr", "both")


def prep_mustc(
    root: Union[str, Path],
    tgt_lang: str = "de",
    task: str = "st",
    vocab_size: int = 8000,
    vocab_type: str = "unigram",
    out: Optional[Union[str, Path]] = None,
    processes: int = 1,
    min_frames: int = 5,
    max_frames: int = 3000,
    specaugment: str = "lb",
) -> Path:
    """Prepares one language pair.

    Args:
        root: Folder that holds `en-de/data/SPLIT`; train and dev must be there.
        tgt_lang: Language of the translations, for example de.
        task: st (targets are translations), asr (targets are transcripts) or both.
        vocab_size: Number of SentencePieces, special symbols included.
        vocab_type: unigram or char.
        out: Folder for the data; None is `root/en-de`.
        processes: Worker processes; the bytes do not depend on it.
        min_frames: Shorter training clips are left out (10 ms frames); dev and test keep everything that has audio.
        max_frames: Longer training clips are left out.
        specaugment: none, lb or ld; see `write_data_config`.

    Returns:
        The folder of the data.

    Raises:
        DataError: The layout or an option is wrong; the message says what to do.
    """
    # Before the features: on a large corpus they take an hour.
    for flag, value, choices in (
        ("task", task, TASKS),
        ("vocab-type", vocab_type, VOCAB_TYPES),
        ("specaugment", specaugment, SPECAUGMENT_POLICIES),
    ):
        if value not in choices:
            raise DataError(f"--{flag} is {value!r}, but must be one of {', '.join(choices)}")
    if not 0 <= min_frames <= max_frames:
        raise DataError(f"--min-frames {min_frames} and --max-frames {max_frames} must be 0 <= min <= max")
    out = Path(out) if out is not None else Path(root) / f"{SRC_LANG}-{tgt_lang}"
    corpus = _read_corpus(root, tgt_lang)
    stages = Stages(out, "prep_mustc")
    clips = extract_features(stages, root, tgt_lang, corpus, processes)
    for name in ("st", "asr") if task == "both" else (task,):
        rows = {split: _rows(segments, clips[split], name, tgt_lang) for split, segments in corpus.items()}
        rows["train"] = _filter_train(rows["train"], name, min_frames, max_frames)
        _write_manifests(stages, rows, name)
        texts = [row.tgt_text for row in rows["train"]]
        vocabulary = _write_vocabulary(stages, texts, name, vocab_size, vocab_type)
        _write_config(stages, vocabulary, name, specaugment)
    return out


def _read_corpus(root: Union[str, Path], tgt_lang: str) -> Corpus:
    corpus = {}
    for split in SPLITS:
        folder = split_folder(root, split, tgt_lang, SRC_LANG)
        if folder.is_dir():
            corpus[split] = read_split(root, split, tgt_lang, SRC_LANG)
        elif split in REQUIRED_SPLITS:
            pair = f"{SRC_LANG}-{tgt_lang}"
            raise DataError(f"{folder} is missing: ROOT must be the folder that holds {pair} (--tgt-lang)")
        else:
            logger.info("%s: not there, skipped (%s)", split, folder)
    return corpus


def _write_manifests(stages: Stages, rows: Dict[str, List[ManifestRow]], task: str) -> None:
    names = {split: f"{split}_{task}.tsv" for split in rows}

    def make() -> None:
        for split, name in names.items():
            count = write_manifest(stages.folder / name, rows[split])
            logger.info("%s: %d clips", name, count)

    content = {split: digest([asdict(row) for row in rows[split]]) for split in rows}
    stages.run(f"manifests_{task}", {"rows": content}, list(names.values()), make)


def _write_vocabulary(stages: Stages, texts: List[str], task: str, size: int, kind: str) -> str:
    """Trains the vocabulary, if need be; returns its name without ending."""
    name = vocabulary_name(kind, size, task)
    options = {"size": size, "type": kind, "texts": digest(texts)}
    outputs = [f"{name}.model", f"{name}.txt"]
    make = functools.partial(train_vocabulary, texts, stages.folder / name, size, kind)
    stages.run(f"vocabulary_{task}", options, outputs, make)
    return name


def _write_config(stages: Stages, vocabulary: str, task: str, specaugment: str) -> None:
    path = stages.folder / f"config_{task}.yaml"
    options = {"vocabulary": vocabulary, "specaugment": specaugment}
    make = functools.partial(write_data_config, path, vocabulary, CMVN, specaugment=specaugment)
    stages.run(f"config_{task}", options, [path.name], make)
    logger.info("%s is ready: %s", task, path)


def _rows(segments: List[Segment], clips: Dict[str, List[int]], task: str, tgt_lang: str) -> List[ManifestRow]:
    rows = []
    for segment in segments:
        if segment.id not in clips:
            continue
        offset, length, frames = clips[segment.id]
        rows.append(
            ManifestRow(
                id=segment.id,
                audio=f"{ZIP}:{offset}:{length}",
                n_frames=frames,
                tgt_text=segment.src_text if task == "asr" else segment.tgt_text,
                src_text=segment.src_text,
                speaker=segment.speaker,
                src_lang=SRC_LANG,
                tgt_lang=SRC_LANG if task == "asr" else tgt_lang,
            )
        )
    return rows


def _filter_train(rows: List[ManifestRow], task: str, min_frames: int, max_frames: int) -> List[ManifestRow]:
    short = sum(row.n_frames < min_frames for row in rows)
    long = sum(row.n_frames > max_frames for row in rows)
    kept = [row for row in rows if min_frames <= row.n_frames <= max_frames and row.tgt_text]
    logger.info(
        "train_%s: %d of %d clips kept; left out: %d under %d frames, %d over %d, %d without text",
        *(task, len(kept), len(rows), short, min_frames, long, max_frames, len(rows) - len(kept) - short - long),
    )
    return kept


def _parse_arguments() -> argparse.Namespace:
    parser = command_parser(__doc__)
    parser.add_argument("root", metavar="ROOT", help="folder that holds en-de/data/{train,dev,tst-COMMON,tst-HE}")
    parser.add_argument("--tgt-lang", default="de", help="language of the translations")
    parser.add_argument("--task", default="st", choices=TASKS, help="targets: translations, transcripts, or both")
    parser.add_argument("--vocab-size", type=int, default=8000, metavar="N", help="number of SentencePieces")
    parser.add_argument("--vocab-type", default="unigram", choices=VOCAB_TYPES, help="kind of SentencePiece model")
    parser.add_argument("--out", metavar="DIR", default=argparse.SUPPRESS, help="data folder (default: ROOT/en-TGT)")
    add_processes(parser, default=1)
    parser.add_argument("--min-frames", type=int, default=5, metavar="N", help="leave shorter training clips out")
    parser.add_argument("--max-frames", type=int, default=3000, metavar="N", help="leave longer training clips out")
    policies = SPECAUGMENT_POLICIES
    parser.add_argument("--specaugment", default="lb", choices=policies, help="SpecAugment policy for training")
    return parser.parse_args()


def main() -> None:
    """The command line; its options are the arguments of `prep_mustc`."""
    prep_mustc(**vars(_parse_arguments()))


if __name__ == "__main__":
    sys.exit(run_command(main))

"""Turns the segments of any corpus into the data of fairseq's speech_to_text task.

The commands of the corpora only read their layouts. Stages: 1 features (fbank80.zip, gcmvn.npz, skipped_clips.tsv),
2 manifests (SPLIT_TASK.tsv), 3 vocabulary (spm_*.model, .txt), 4 config (config_TASK.yaml). Paths inside are relative:
the folder can be moved. What is complete is reused; a changed option redoes what depends on it.
"""

import argparse
import contextlib
import functools
import logging
from dataclasses import asdict
from pathlib import Path
from typing import Callable, List, NamedTuple, Optional, Tuple, Union

from leap_fairseq.files import digest, digest_of_list
from leap_fairseq.parts import Part, add_part
from leap_fairseq.prepare.clip_features import CMVN, Features
from leap_fairseq.prepare.manifests import Rows, common_folder, rows_of
from leap_fairseq.prepare.processes import add_processes
from leap_fairseq.prepare.recipe_stages import LAST, STAGES, RecipeStages
from leap_fairseq.speech import (
    NEXT_SENTENCE,
    DataError,
    ManifestRow,
    train_vocabulary,
    write_data_config,
    write_manifest,
)
from leap_fairseq.speech.corpus import Corpus
from leap_fairseq.speech.data_config import SPECAUGMENT_POLICIES
from leap_fairseq.speech.vocabulary import NUM_SPECIAL, VOCAB_TYPES, vocabulary_name

logger = logging.getLogger(__name__)

TASKS = ("st", "asr", "both")
FEATURES = ("zip", "audio")


class Options(NamedTuple):
    """What can be chosen for any corpus, as the options that `add_options` adds.

    Attributes:
        vocab_size: Special symbols included.
        min_frames: Of 10 ms; dev and test keep everything that has audio.
        specaugment: See `write_data_config`.
        features: Whether they are zipped, or computed from the audio whenever a clip is read.
        part: "I/N", the part of the features that this job makes, with others that make the rest.
    """

    task: str = "st"
    vocab_size: int = 8000
    vocab_type: str = "unigram"
    processes: int = 1
    min_frames: int = 5
    max_frames: int = 3000
    specaugment: str = "lb"
    stage: int = 1
    stop_stage: int = LAST
    features: str = "zip"
    part: Optional[str] = None

    def check(self) -> None:
        """Refuses impossible values before the features are made, which takes an hour on a large corpus.

        Raises:
            DataError: The message names the flag.
        """
        for flag, value, choices in (
            ("task", self.task, TASKS),
            ("vocab-type", self.vocab_type, VOCAB_TYPES),
            ("specaugment", self.specaugment, SPECAUGMENT_POLICIES),
            ("features", self.features, FEATURES),
        ):
            if value not in choices:
                raise DataError(f"--{flag} is {value!r}, but must be one of {', '.join(choices)}")
        if self.vocab_size <= NUM_SPECIAL:
            rule = f"but must be more than the {NUM_SPECIAL} special symbols"
            raise DataError(f"--vocab-size is {self.vocab_size}, {rule}")
        if not 0 <= self.min_frames <= self.max_frames:
            given = f"--min-frames {self.min_frames} and --max-frames {self.max_frames}"
            raise DataError(f"{given} must be 0 <= min <= max")
        if not 1 <= self.stage <= self.stop_stage <= LAST:
            given = f"--stage {self.stage} and --stop-stage {self.stop_stage}"
            raise DataError(f"{given} must be 1 <= stage <= stop-stage <= {LAST}")
        if self.part is not None and self.stage > 1:
            raise DataError(f"--part {self.part} divides stage 1, but --stage is {self.stage}: leave one of them out")

    @property
    def tasks(self) -> Tuple[str, ...]:
        """The tasks one by one."""
        return ("st", "asr") if self.task == "both" else (self.task,)


def prepare(out: Union[str, Path], name: str, read: Callable[[], Corpus], **chosen: Union[int, str, None]) -> Path:
    """Runs the stages.

    Args:
        out: Folder for the data.
        name: Of the hidden folder that remembers what is complete.
        read: Reads the segments of each split; `train` is what CMVN and vocabulary come from.
        **chosen: Those of `Options`.

    Returns:
        The folder of the data.

    Raises:
        DataError: An option cannot be met, no clip of a split has audio, a stage before the first one is not complete,
            or another process prepares this folder; the message says what to do. What `read` raises comes after
            wrong options.
    """
    options = Options(**chosen)
    options.check()
    part = None if options.part is None else Part.parse(options.part)
    corpus = read()
    _check_translated(corpus, options)
    stages = RecipeStages(out, name, options.stage, options.stop_stage)
    features = Features(stages, corpus, options.processes, options.features == "zip")
    if part is not None and not features.make_part(part):
        return stages.folder
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(stages.alone())
        except DataError:
            if part is None:
                raise
            # Whoever has it joins what is there, or will say what is missing.
            logger.info("%s: another job is joining the parts", stages.folder)
            return stages.folder
        _run(stages, features, corpus, options)
    return stages.folder


def _check_translated(corpus: Corpus, options: Options) -> None:
    """Refuses to take transcripts for translations, with a DataError."""
    languages = {(segment.src_lang, segment.tgt_lang) for segment in corpus["train"]}
    if "st" in options.tasks and any(src_lang == tgt_lang for src_lang, tgt_lang in languages):
        given = f"--src-lang and --tgt-lang are both {next(iter(languages))[0]}, so that the targets are transcripts"
        raise DataError(f"--task is {options.task}, but {given}: give --task asr, or another --tgt-lang")


def _run(stages: RecipeStages, features: Features, corpus: Corpus, options: Options) -> None:
    clips = features.make()
    if not stages.wants("manifests"):
        return
    audio_root = None if options.features == "zip" else common_folder(corpus)
    rows = {task: rows_of(corpus, clips, task, audio_root) for task in options.tasks}
    for task, of_task in rows.items():
        of_task["train"] = _filter_train(of_task["train"], task, options.min_frames, options.max_frames)
        _write_manifests(stages, of_task, task)
    for task, of_task in rows.items():
        if stages.wants("vocabulary"):
            _write_vocabulary(stages, [row.tgt_text for row in of_task["train"]], task, options)
    for task in rows:
        if stages.wants("config"):
            _write_config(stages, task, options, audio_root)


def add_options(parser: argparse.ArgumentParser, tgt_lang: str, folder: str) -> None:
    """Adds the options of any corpus; `folder` is the default of --out, for the help."""
    default = Options()
    parser.add_argument("--tgt-lang", default=tgt_lang, help="language of the translations")
    parser.add_argument("--out", metavar="DIR", help=f"data folder (default: {folder})")
    text = "targets: translations, transcripts, or both"
    parser.add_argument("--task", default=default.task, choices=TASKS, help=text)
    text = "number of SentencePieces"
    parser.add_argument("--vocab-size", type=int, default=default.vocab_size, metavar="N", help=text)
    text = "kind of SentencePiece model"
    parser.add_argument("--vocab-type", default=default.vocab_type, choices=VOCAB_TYPES, help=text)
    add_processes(parser, default=default.processes)
    for which, text in (("min", "shorter"), ("max", "longer")):
        frames, text = getattr(default, f"{which}_frames"), f"leave {text} training clips out"
        parser.add_argument(f"--{which}-frames", type=int, default=frames, metavar="N", help=text)
    text = "SpecAugment policy for training"
    parser.add_argument("--specaugment", default=default.specaugment, choices=SPECAUGMENT_POLICIES, help=text)
    names = ", ".join(f"{number} {stage}" for number, stage in enumerate(STAGES, start=1))
    text = f"start here; the stages before must be complete: {names}"
    parser.add_argument("--stage", type=int, default=default.stage, metavar="N", help=text)
    text = "stop after this stage"
    parser.add_argument("--stop-stage", type=int, default=default.stop_stage, metavar="N", help=text)
    text = "zip them, or compute them from the audio whenever a clip is read, which needs the audio and no zip"
    parser.add_argument("--features", default=default.features, choices=FEATURES, help=text)
    add_part(parser, "divide the features among N jobs")


def _filter_train(rows: List[ManifestRow], task: str, min_frames: int, max_frames: int) -> List[ManifestRow]:
    short = sum(row.n_frames < min_frames for row in rows)
    long = sum(row.n_frames > max_frames for row in rows)
    kept = [row for row in rows if min_frames <= row.n_frames <= max_frames and row.tgt_text.strip()]
    logger.info(
        "train_%s: %d of %d clips kept; left out: %d under %d frames, %d over %d, %d without text",
        *(task, len(kept), len(rows), short, min_frames, long, max_frames, len(rows) - len(kept) - short - long),
    )
    return kept


def _write_manifests(stages: RecipeStages, rows: Rows, task: str) -> None:
    names = {split: f"{split}_{task}.tsv" for split in rows}

    def make() -> None:
        for split, name in names.items():
            count = write_manifest(stages.folder / name, rows[split])
            logger.info("%s: %d clips", name, count)

    content = {split: digest_of_list(map(asdict, rows[split])) for split in rows}
    stages.run(f"manifests_{task}", {"rows": content}, list(names.values()), make)


def _write_vocabulary(stages: RecipeStages, texts: List[str], task: str, options: Options) -> None:
    size, kind = options.vocab_size, options.vocab_type
    name = vocabulary_name(kind, size, task)
    facts = {"size": size, "type": kind, "texts": digest(texts)}
    # The sentences of joined segments are there alone as well.
    single = [text for text in texts if NEXT_SENTENCE not in text]
    symbols = [NEXT_SENTENCE] if len(single) < len(texts) else []
    make = functools.partial(train_vocabulary, single, stages.folder / name, size, kind, symbols)
    stages.run(f"vocabulary_{task}", facts, [f"{name}.model", f"{name}.txt"], make)


def _write_config(stages: RecipeStages, task: str, options: Options, audio_root: Optional[Path]) -> None:
    path = stages.folder / f"config_{task}.yaml"
    vocabulary = vocabulary_name(options.vocab_type, options.vocab_size, task)
    facts = {"vocabulary": vocabulary, "specaugment": options.specaugment}
    root = {} if audio_root is None else {"audio_root": str(audio_root)}
    facts.update(root)
    make = functools.partial(write_data_config, path, vocabulary, CMVN, specaugment=options.specaugment, **root)
    stages.run(f"config_{task}", facts, [path.name], make)
    logger.info("%s is ready: %s", task, path)

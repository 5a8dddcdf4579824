"""``--task leap_speech_to_text``: fairseq's speech_to_text, for prepared folders that can be moved.

Relative paths in the data YAML are looked up beside the YAML. In fairseq 0.12.2 each key has its own rule: the
vocabulary is looked up beside the YAML, tokenizer files in the working directory first, ``audio_root`` and the
statistics of the transform ``global_cmvn`` only in the working directory.
"""

import logging
import os
from pathlib import Path
from typing import Any, Dict, Optional, Set

from fairseq.data.audio.data_cfg import S2TDataConfig
from fairseq.tasks import register_task
from fairseq.tasks.speech_to_text import SpeechToTextTask

from leap_fairseq.files import DataError
from leap_fairseq.speech.data_config import ON_THE_FLY, read_data_config
from leap_fairseq.tasks.recorded_training import RecordedTraining
from leap_fairseq.tasks.references import ManifestReferences
from leap_fairseq.tasks.sound_dataset import read_sounds

logger = logging.getLogger(__name__)

TOKENIZER_FILE_KEYS = (
    "sentencepiece_model",
    "sentencepiece_model_path",
    "bpe_codes",
    "bpe_vocab",
    "bpe_vocab_file",
    "gpt2_encoder_json",
    "gpt2_vocab_bpe",
)
"""Options of fairseq's tokenizers that name a file. Source: fairseq.data.encoders."""


SECTIONS = ("pre_tokenizer", "bpe_tokenizer", "global_cmvn", "transforms", "feature_transforms", "specaugment")
"""Keys of a data YAML beneath which there are others."""


class LeapS2TDataConfig(S2TDataConfig):
    """A data YAML whose relative paths are looked up in its own folder first, then in the working directory.

    Files that are not there may still lie beside the YAML: a folder was moved that has them with their old paths.
    URLs stay as they are; no ``audio_root`` means that the manifest's paths are used as written.

    Args:
        yaml_path: of the data YAML.

    Raises:
        DataError: it is not a YAML of keys and values, or a section of it is something else.
        FileNotFoundError: there is no such file. Reading a path from it raises this for a file that is not there, with
            the key that names it.
    """

    def __init__(self, yaml_path: Path):
        if not Path(yaml_path).is_file():
            raise FileNotFoundError(
                f"no data YAML at {yaml_path}: give the prepared folder (a translator: by --data-bin) and the name of "
                "its YAML (--config-yaml)"
            )
        # Not by fairseq's loader, which builds types of Python as well.
        self.config, self.root = read_data_config(yaml_path), Path(yaml_path).parent
        self.yaml_path = yaml_path
        for key in SECTIONS:
            section = self.config.get(key)
            if section is None:
                # Without anything beneath it, it is the same as left out.
                self.config.pop(key, None)
            elif not isinstance(section, dict):
                raise DataError(
                    f"{yaml_path}: {key} is {section!r}, but must have keys with values beneath it; correct it there, "
                    "or leave it out"
                )
        self._guessed: Set[Path] = set()

    @property
    def audio_root(self) -> str:
        """Where the relative paths of a manifest begin."""
        value = super().audio_root
        return self._resolve(value, "audio_root") if value else value

    @property
    def pre_tokenizer(self) -> Dict[str, Any]:
        """The tokenizer before subwords, and its options."""
        return self._tokenizer("pre_tokenizer", "tokenizer")

    @property
    def bpe_tokenizer(self) -> Dict[str, Any]:
        """The tokenizer of subwords, and its options."""
        return self._tokenizer("bpe_tokenizer", "bpe")

    @property
    def global_cmvn_stats_npz(self) -> Optional[str]:
        """The statistics of the transform ``global_cmvn``, if any."""
        value = (self.config.get("global_cmvn") or {}).get("stats_npz_path")
        return None if value is None else self._file(value, "global_cmvn.stats_npz_path")

    def get_feature_transforms(self, split: str, is_train: bool) -> Dict[str, Any]:
        """The YAML's content, with the transforms of a split.

        Raises:
            FileNotFoundError: the statistics are not there.
            ValueError: a transform ``global_cmvn`` without statistics.
        """
        config = super().get_feature_transforms(split, is_train)
        if "global_cmvn" in (config.get("feature_transforms") or ()):
            options = dict(config.get("global_cmvn") or {})
            if not options.get("stats_npz_path"):
                raise ValueError(
                    f"{self.yaml_path} lists the transform global_cmvn without global_cmvn.stats_npz_path; "
                    "add the path of its statistics (.npz with mean and std)"
                )
            config["global_cmvn"] = dict(options, stats_npz_path=self.global_cmvn_stats_npz)
        return config

    def _tokenizer(self, key: str, kind: str) -> Dict[str, Any]:
        written = self.config.get(key) or {kind: None}
        named = {name for name in TOKENIZER_FILE_KEYS if isinstance(written.get(name), str)}
        others = {name: value for name, value in written.items() if name not in named}
        files = {name: self._file(written[name], f"{key}.{name}") for name in named}
        return {**self._auto_convert_to_abs_path(others), **files}

    def _file(self, value: str, key: str) -> str:
        """Where a file is that a key of the YAML names."""
        path = self._resolve(value, key, self.root / Path(value).name)
        if "://" not in path and not os.path.isfile(path):
            raise FileNotFoundError(
                f"{path}: not a file, named by the key {key} of {self.yaml_path}; correct the path there"
            )
        return path

    def _resolve(self, value: str, key: str, *more: Path) -> str:
        """The first place that is there: beside the YAML, in the working directory, or one of more."""
        if "://" in value or (Path(value).is_absolute() and not more):
            return value
        named = [self.root / value, Path(value)]
        places = dict.fromkeys([*named, *more])
        for place in places:
            # Not Path.exists, which raises where a folder of somebody else must not be looked into.
            if os.path.exists(place):
                if place not in named and place not in self._guessed:
                    self._guessed.add(place)
                    logger.warning(
                        "%s, named by the key %s of %s, is not there: %s is taken", value, key, self.yaml_path, place
                    )
                return place.as_posix()
        looked = ", ".join(str(place.absolute()) for place in places)
        raise FileNotFoundError(
            f"{value}: not found, named by the key {key} of {self.yaml_path}; looked at {looked}. Put the file beside "
            "the YAML, or write its absolute path there"
        )


@register_task("leap_speech_to_text")
class LeapSpeechToTextTask(RecordedTraining, SpeechToTextTask):
    """Speech recognition and translation from a prepared folder, wherever it lies.

    Checkpoints that were trained with ``--task speech_to_text`` load as well.
    """

    def __init__(self, args, tgt_dict):
        super().__init__(args, tgt_dict)
        self.data_cfg = LeapS2TDataConfig(Path(args.data) / args.config_yaml)
        self._references: Optional[ManifestReferences] = None

    @classmethod
    def setup_task(cls, args, **kwargs):
        """fairseq's hook.

        Raises:
            FileNotFoundError: no data YAML, or no vocabulary.
            ValueError: a --train-subset that does not begin with "train".
        """
        LeapS2TDataConfig(Path(args.data) / args.config_yaml)
        return super().setup_task(args, **kwargs)

    def build_model(self, args, from_checkpoint=False):
        """fairseq's hook; a model that is loaded has all of its weights, and needs no file that it once began with.

        Raises:
            ValueError: attention options that do not fit the sizes.
        """
        for name in ("load_pretrained_encoder_from", "load_pretrained_decoder_from"):
            if from_checkpoint and getattr(args, name, None):
                setattr(args, name, None)
        return super().build_model(args, from_checkpoint)

    def load_dataset(self, split, epoch=1, combine=False, **kwargs):
        """fairseq's hook."""
        super().load_dataset(split, epoch, combine, **kwargs)
        if self.data_cfg.config.get(ON_THE_FLY):
            read_sounds(self.datasets[split])
        self._references = None

    def inference_step(self, generator, models, sample, prefix_tokens=None, constraints=None):
        """fairseq's hook; fairseq-generate spells its references from the batch afterwards.

        Raises:
            ValueError: of joined subsets it is not known which one a reference is of.
        """
        found = super().inference_step(generator, models, sample, prefix_tokens, constraints)
        if sample.get("target") is not None:
            if self._references is None:
                loaded = [getattr(dataset, "datasets", [dataset]) for dataset in self.datasets.values()]
                self._references = ManifestReferences(sum(loaded, []), self.tgt_dict)
            sample["target"] = self._references.spell(sample)
        return found

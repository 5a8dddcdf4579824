"""Relative paths in a speech data YAML: looked up beside the YAML, so that a data folder can be moved or copied."""

from pathlib import Path
from typing import Any, Callable, Dict, Optional

from fairseq.data.audio.data_cfg import S2TDataConfig

from leap_fairseq.compat.replacing import replace

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


def repair_data_config_paths() -> None:
    """Makes `S2TDataConfig` look for relative paths in the YAML's folder first, then in the working directory.

    In fairseq 0.12.2 each key has its own rule: the vocabulary is looked up beside the YAML, tokenizer files in the
    working directory first, `audio_root` and the statistics of the `global_cmvn` transform only in the working
    directory. A prepared folder therefore works from one directory only, or needs absolute paths and cannot be moved.
    Absolute paths and URLs stay as they are; no `audio_root` still means that the manifest's paths are used as written.
    """
    replace([S2TDataConfig], "__init__", _remembering_the_yaml)
    replace_property("audio_root", _audio_root)
    replace_property("pre_tokenizer", _tokenizer("pre_tokenizer"))
    replace_property("bpe_tokenizer", _tokenizer("bpe_tokenizer"))
    replace_property("global_cmvn_stats_npz", _global_cmvn_statistics)
    replace([S2TDataConfig], "get_feature_transforms", _feature_transforms)


def replace_property(name: str, build: Callable[[Callable], Callable]) -> None:
    """`replace` for a property of `S2TDataConfig`: its getter is the function that is replaced."""
    prop = vars(S2TDataConfig)[name]
    holder = type("Getter", (), {"fget": staticmethod(prop.fget)})
    replace([holder], "fget", build)
    if holder.fget is not prop.fget:
        setattr(S2TDataConfig, name, property(holder.fget))


def resolve(value: str, config: S2TDataConfig, key: str) -> str:
    """The path that `value` means.

    Args:
        value: a path or URL from the data YAML.
        config: holds `root`, the folder of the YAML.
        key: where in the YAML the value stands, for the message.

    Returns:
        The value itself where it is absolute, a URL, or found from the working directory only; else the path beside
        the YAML.

    Raises:
        FileNotFoundError: a relative path that exists in neither place.
    """
    if "://" in value or Path(value).is_absolute():
        return value
    beside = config.root / value
    if beside.exists():
        return beside.as_posix()
    if Path(value).exists():
        return value
    raise FileNotFoundError(
        f"{value}: not found, named by the key {key} of {_yaml_name(config)}; looked in {config.root.resolve()} and in "
        f"{Path.cwd()}. Put the file beside the YAML, or write its absolute path there"
    )


def require_file(value: str, config: S2TDataConfig, key: str) -> str:
    """`resolve`, and the file exists, unless it is a URL.

    Raises:
        FileNotFoundError: there is no such file.
    """
    path = resolve(value, config, key)
    if "://" not in path and not Path(path).is_file():
        raise FileNotFoundError(
            f"{path}: not a file, named by the key {key} of {_yaml_name(config)}; correct the path there"
        )
    return path


def _remembering_the_yaml(forgets_it: Callable) -> Callable:
    def __init__(self: S2TDataConfig, yaml_path: Path) -> None:
        if not Path(yaml_path).is_file():
            raise FileNotFoundError(
                f"no data YAML at {yaml_path}: give the prepared folder and the name of its YAML (--config-yaml)"
            )
        forgets_it(self, yaml_path)
        self.yaml_path = yaml_path

    return __init__


def _yaml_name(config: S2TDataConfig) -> str:
    return str(getattr(config, "yaml_path", f"the data YAML in {config.root}"))


def _audio_root(working_directory_only: Callable) -> Callable:
    def audio_root(self: S2TDataConfig) -> str:
        value = working_directory_only(self)
        return resolve(value, self, "audio_root") if value else value

    return audio_root


def _tokenizer(key: str) -> Callable[[Callable], Callable]:
    def build(working_directory_first: Callable) -> Callable:
        def tokenizer(self: S2TDataConfig) -> Optional[Dict[str, Any]]:
            options = working_directory_first(self)
            written = self.config.get(key) or {}
            for name in TOKENIZER_FILE_KEYS:
                if isinstance(written.get(name), str):
                    options[name] = require_file(written[name], self, f"{key}.{name}")
            return options

        return tokenizer

    return build


def _global_cmvn_statistics(working_directory_first: Callable) -> Callable:
    def global_cmvn_stats_npz(self: S2TDataConfig) -> Optional[str]:
        value = (self.config.get("global_cmvn") or {}).get("stats_npz_path")
        return None if value is None else require_file(value, self, "global_cmvn.stats_npz_path")

    return global_cmvn_stats_npz


def _feature_transforms(working_directory_only: Callable) -> Callable:
    def get_feature_transforms(self: S2TDataConfig, split: str, is_train: bool) -> Dict[str, Any]:
        config = working_directory_only(self, split, is_train)
        if "global_cmvn" in (config.get("feature_transforms") or ()):
            options = dict(config.get("global_cmvn") or {})
            if not options.get("stats_npz_path"):
                raise ValueError(
                    f"{_yaml_name(self)} lists the transform global_cmvn without global_cmvn.stats_npz_path; "
                    "add the path of its statistics (.npz with mean and std)"
                )
            config["global_cmvn"] = dict(options, stats_npz_path=self.global_cmvn_stats_npz)
        return config

    return get_feature_transforms

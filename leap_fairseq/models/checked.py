"""What a checkpoint may ask for: a model and a task of this plugin, by options of known names and plain values.

``weights_only`` keeps a file from building objects. But fairseq then builds whatever model and task the options in the
file name, and some options are evaluated as Python. So everything that the plugin loads passes through here before
any name in it is looked up, and of its options only those that the model and the task have are used.
"""

import os
from argparse import Namespace
from pathlib import Path
from typing import Any, Collection, Dict, List, Mapping, Optional, Sequence, Tuple, Union

import torch
from fairseq import checkpoint_utils
from fairseq.dataclass.configs import FairseqConfig
from fairseq.dataclass.utils import overwrite_args_by_name
from fairseq.hub_utils import GeneratorHubInterface
from fairseq.models import ARCH_MODEL_REGISTRY
from fairseq.tasks import TASK_REGISTRY, FairseqTask
from omegaconf import DictConfig, OmegaConf, open_dict
from torch import Tensor, nn

from leap_fairseq.compat.checkpoints import errors_of
from leap_fairseq.files import DataError
from leap_fairseq.models.option_rules import Rule, dataclass_of, model_rules, task_rules, training_options
from leap_fairseq.speech.data_config import require_closed
from leap_fairseq.speech.vocabulary import PIECES

REMEDY = "use a checkpoint that fairseq-train saved for a model of this plugin, from somebody you trust"
BATCH = ("max_tokens", "batch_size")
"""What generation takes over from the data of the training."""

CODES = {
    **{"code": "bpe_codes", "bpecodes": "bpe_codes", "sentencepiece.bpe.model": "sentencepiece_model"},
    **{"merges.txt": "bpe_merges", "vocab.json": "bpe_vocab"},
}
"""Files of a BPE that are looked for beside a checkpoint, and the options that name them. Source: fairseq.hub_utils."""

SCALARS = (type(None), bool, int, float, str)


def read_plain(path: Union[str, Path]) -> Dict[str, Any]:
    """Reads a checkpoint of plain types, whatever torch's default is.

    Args:
        path: of the .pt file.

    Returns:
        What fairseq-train saved; the sections of its configuration ("cfg") hold numbers and text alone.

    Raises:
        DataError: not a checkpoint of fairseq-train, or a configuration with anything else, or with ``${`` in a text.
        OSError, EOFError, RuntimeError, pickle.UnpicklingError: it cannot be read, or has types that are not allowed.
    """
    with errors_of(path):
        state = torch.load(path, map_location="cpu", weights_only=True)
    if type(state) is not dict or type(state.get("cfg")) is not dict or state.get("args") is not None:
        raise DataError(f"{path} has no configuration as fairseq-train saves it since version 0.10: {REMEDY}")
    weights = state.get("model")
    if not isinstance(weights, dict) or not all(type(n) is str and isinstance(x, Tensor) for n, x in weights.items()):
        raise DataError(f"{path} has no weights, which are tensors by their names: {REMEDY}")
    _require_plain(state["cfg"], path)
    return state


def read_checked(path: Union[str, Path], also: Mapping[str, Sequence[str]] = {}) -> Dict[str, Any]:
    """Reads a checkpoint that asks for a model and a task of this plugin.

    Args:
        path: of the .pt file.
        also: as for :func:`asked_for`.

    Returns:
        What fairseq-train saved, but of its configuration no more than :func:`asked_for`.

    Raises:
        DataError: as for :func:`asked_for`. The others are those of :func:`read_plain`.
    """
    state = read_plain(path)
    return {**state, "cfg": asked_for(state["cfg"], path, also)}


def asked_for(cfg: Mapping[str, Any], path: Union[str, Path], also: Mapping[str, Sequence[str]] = {}) -> Dict[str, Any]:
    """What a configuration of plain values asks for.

    Args:
        cfg: that of a checkpoint.
        path: of its file, for messages.
        also: architectures of fairseq's own that will do, because nothing is built from the options; with their tasks.

    Returns:
        The options of the "model" and of the "task", as fairseq builds from them; a Namespace or a dictionary.

    Raises:
        DataError: another architecture or task, or an option of another name or type, which is named.
    """
    model, task = (_options(cfg.get(part), path, part) for part in ("model", "task"))
    tasks = {name: cls.tasks for name, cls in ARCH_MODEL_REGISTRY.items() if issubclass(cls, CheckedModel)}
    arch, name = _name_of(model, "arch"), _name_of(task, "task")
    if arch not in [*tasks, *also]:
        ours = ", ".join(sorted(tasks))
        raise DataError(f"{path} was made for architecture {_shown(arch)}, which is not one of ours ({ours}): {REMEDY}")
    allowed = {**also, **tasks}[arch]
    if name not in allowed:
        raise DataError(f"{path} was made for task {_shown(name)}, but {arch} has {' or '.join(allowed)}: {REMEDY}")
    rules, other_rules = model_rules(arch), task_rules(name)
    known = training_options().union(rules, other_rules)
    return {
        "model": _form(_taken(model, rules, known, path), ARCH_MODEL_REGISTRY[arch], arch=arch),
        "task": _form(_taken(task, other_rules, known, path), TASK_REGISTRY[name], task=name),
    }


def load_models(
    paths: Sequence[Union[str, Path]], overrides: Mapping[str, Any], closed: Optional[Path] = None
) -> Tuple[List[nn.Module], DictConfig, FairseqTask]:
    """Builds the models of checkpoints, and the task of the first.

    Args:
        paths: of .pt files.
        overrides: options of the caller by their names, which take the place of those of the files.
        closed: folder of the data, if its data YAML must not name files elsewhere.

    Returns:
        The models on the CPU, the configuration of the last, and the task. Of the files, the configuration has the
        options of model and task alone, and the size of a batch.

    Raises:
        DataError: as for :func:`asked_for`, and for :func:`leap_fairseq.speech.data_config.require_closed`. Others are
            those of :func:`read_plain`, of the model and of the task.
    """
    models, cfg, task = [], None, None
    for path in paths:
        model, cfg, task = load_model(read_plain(path), path, overrides, closed, task)
        models.append(model)
    return models, cfg, task


def load_model(
    state: Mapping[str, Any],
    path: Union[str, Path],
    overrides: Mapping[str, Any],
    closed: Optional[Path] = None,
    task: Optional[FairseqTask] = None,
) -> Tuple[nn.Module, DictConfig, FairseqTask]:
    """Builds the model of what :func:`read_plain` has read from a path, and its task unless there is one.

    The other arguments, and what it returns and raises, are as for :func:`load_models`.
    """
    asked = asked_for(state["cfg"], path)
    cfg = OmegaConf.structured(FairseqConfig(), flags={"allow_objects": True})
    cfg.update(asked)
    batch = state["cfg"].get("dataset")
    if type(batch) is dict:
        cfg.dataset.update({name: batch[name] for name in BATCH if type(batch.get(name)) is int})
    overwrite_args_by_name(cfg, overrides)
    if closed and getattr(cfg.task, "config_yaml", None):
        require_closed(closed, cfg.task.config_yaml)
    # Given a state, fairseq reads no file.
    kept = {"model": dict(state["model"]), "cfg": cfg}
    (model,), cfg, task = checkpoint_utils.load_model_ensemble_and_task([str(path)], task=task, state=kept)
    return model, cfg, task


class CheckedModel:
    """A model of this plugin, which comes before the class of fairseq's that it extends.

    Attributes:
        tasks: those of fairseq that it can have been trained for.
    """

    tasks: Tuple[str, ...] = ()

    @classmethod
    def from_pretrained(
        cls,
        model_name_or_path: Union[str, Path],
        checkpoint_file: str = "model.pt",
        data_name_or_path: Union[str, Path] = ".",
        **overrides: Any,
    ) -> GeneratorHubInterface:
        """Loads a model for use from Python, as fairseq's models do; the file chooses nothing but model and task.

        Args:
            model_name_or_path: folder of the checkpoint; addresses and archives are not opened.
            checkpoint_file: its name; several, with the path separator between them, for an ensemble.
            data_name_or_path: folder of the dictionary; with "." in front, within the folder of the checkpoint. If it
                has a ``sentencepiece.bpe.model``, texts are cut into its pieces, unless ``bpe`` is given.
            overrides: options of fairseq's by their names, such as ``bpe`` and those of this BPE.

        Raises:
            FileNotFoundError: there is no such folder or file.
            DataError, OSError, EOFError, RuntimeError, pickle.UnpicklingError: as for :func:`load_models`.
        """
        folder, within = Path(model_name_or_path), str(data_name_or_path).startswith(".")
        data = folder / data_name_or_path if within else Path(data_name_or_path)
        for place in (folder, data):
            if not place.is_dir():
                raise FileNotFoundError(f"no folder {place}: give one; addresses and archives are not opened")
        codes = {option: str(folder / name) for name, option in CODES.items() if (folder / name).is_file()}
        overrides = {"data": str(data.resolve()), **codes, **overrides}
        paths = [folder / name for name in checkpoint_file.split(os.pathsep)]
        models, cfg, task = load_models(paths, overrides, data if within else None)
        if "bpe" not in overrides and (data / PIECES).is_file():
            with open_dict(cfg):
                cfg.bpe = {"_name": "sentencepiece", "sentencepiece_model": str((data / PIECES).resolve())}
        return GeneratorHubInterface(cfg, task, models)


def _require_plain(cfg: Dict[Any, Any], path: Union[str, Path]) -> None:
    """Refuses all but numbers and text in the sections of a configuration, each a dictionary or a Namespace."""
    waiting = [(section, vars(value) if type(value) is Namespace else value) for section, value in cfg.items()]
    # By identity: a file can hold a list that holds itself.
    seen = set()
    while waiting:
        name, value = waiting.pop()
        if type(name) is not str or not (type(value) in SCALARS or type(value) in (dict, list, tuple)):
            raise DataError(f"{path}: {_shown(name)} is a {type(value).__name__}, not numbers and text: {REMEDY}")
        if type(value) is str and "${" in value:
            raise DataError(
                f"{path}: {_shown(name)} is {_shown(value)}, which stands for something of this machine: {REMEDY}"
            )
        if type(value) not in SCALARS and id(value) not in seen:
            seen.add(id(value))
            waiting += value.items() if type(value) is dict else ((name, item) for item in value)


def _options(section: Any, path: Union[str, Path], part: str) -> Dict[str, Any]:
    """A section of the configuration by name; it is a Namespace where the options are argparse's."""
    options = vars(section) if type(section) is Namespace else section
    if type(options) is not dict:
        raise DataError(f"{path} has no options of a {part}: {REMEDY}")
    return options


def _name_of(options: Mapping[str, Any], key: str) -> Any:
    """The architecture or task that options name, in either form; both, where they differ."""
    names = [options[name] for name in (key, "_name") if options.get(name) is not None]
    return names[0] if names and names[0] == names[-1] else names


def _taken(
    options: Mapping[str, Any], rules: Mapping[str, Rule], known: Collection[str], path: Union[str, Path]
) -> Dict[str, Any]:
    """Those options that have a rule, which they keep."""
    for name, value in options.items():
        if name not in known:
            raise DataError(f"{path}: there is no option {_shown(name)} in this version of the plugin: {REMEDY}")
        if name in rules and not rules[name].fits(value):
            flag = name.replace("_", "-")
            raise DataError(f"{path}: --{flag} is {_shown(value)}, but must be {rules[name]}: {REMEDY}")
    return {name: value for name, value in options.items() if name in rules}


def _form(options: Dict[str, Any], registered: type, **name: str) -> Union[Namespace, Dict[str, Any]]:
    """Options of a model or task in the form that fairseq builds it from, under its name."""
    ((_, value),) = name.items()
    return {**options, "_name": value} if dataclass_of(registered) else Namespace(**options, **name, _name=value)


def _shown(value: Any) -> str:
    """Something of a file in a message: without control characters, and short."""
    text = ascii(value)
    return text if len(text) <= 80 else f"{text[:77]}..."

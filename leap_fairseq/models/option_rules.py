"""What the options of a checkpoint may be: their names, types and choices, from where fairseq-train's parser has them.

fairseq evaluates the text of some options as Python when it builds a model: ``--adaptive-softmax-cutoff``,
``--character-filters`` and others. The text of a model's option is therefore numbers, or one of its choices.
"""

import dataclasses
import enum
import functools
import re
from argparse import SUPPRESS, ArgumentParser, Namespace
from typing import Any, Callable, Dict, FrozenSet, NamedTuple, Optional, Pattern, Tuple, get_args

from fairseq.dataclass.configs import FairseqConfig
from fairseq.models import ARCH_CONFIG_REGISTRY, ARCH_MODEL_REGISTRY
from fairseq.registry import REGISTRIES
from fairseq.tasks import TASK_REGISTRY

NUMBERS = re.compile(r"[\d\s.,()\[\]-]{0,1000}")
"""The text of a model's option without choices: such as "3", "1-7", "20000,60000" or "[(1, 64), (2, 128)]"."""

ANY_TEXT = re.compile(r".*", re.DOTALL)

NOT_TAKEN = frozenset(
    (
        *("input_channels", "speaker_to_id"),
        *("load_pretrained_encoder_from", "load_pretrained_decoder_from"),
        *("multitask_config_yaml", "plasma_path", "use_plasma_view"),
    )
)
"""Options without a meaning for a model that is loaded: what its data says each time it is built, what it began with,
and what would read further files or start a process."""

WORDS = {bool: "True or False", int: "a whole number", float: "a number", str: "numbers, with commas or brackets"}


class Rule(NamedTuple):
    """What the value of an option may be. None always may: it is the option left out.

    Attributes:
        type: bool, int, float or str; any other leaves None alone.
        choices: of a text.
        text: what a text without choices may be.
    """

    type: type
    choices: Tuple[str, ...] = ()
    text: Pattern = NUMBERS

    def fits(self, value: Any) -> bool:
        """Whether it may be this."""
        given = type(value)
        if value is None:
            return True
        if self.choices:
            return given is str and value in self.choices
        if self.type is str:
            # A k of wait-k may have been saved as a number.
            return given in (str, int) and self.text.fullmatch(str(value)) is not None
        return given is self.type in WORDS or (given is int and self.type is float)

    def __str__(self) -> str:
        if self.choices:
            return f"one of {', '.join(self.choices)}"
        return "text" if self.type is str and self.text is ANY_TEXT else WORDS.get(self.type, "left out")


def dataclass_of(registered: type) -> Optional[type]:
    """The options of a model or task as a dataclass, where fairseq has them so; else they are a Namespace."""
    return getattr(registered, "__dataclass", None)


def model_rules(arch: str) -> Dict[str, Rule]:
    """The options of a registered architecture, by name."""
    model, preset = ARCH_MODEL_REGISTRY[arch], Namespace()
    if dataclass_of(model):
        return _of_dataclass(dataclass_of(model), NUMBERS)
    ARCH_CONFIG_REGISTRY[arch](preset)
    # An architecture sets some options that its command line does not have.
    rules = {name: Rule(type(value)) for name, value in vars(preset).items()}
    return {**rules, **_of_parser(model.add_args, NUMBERS)}


def task_rules(name: str) -> Dict[str, Rule]:
    """The options of a registered task, by name; their text is never evaluated."""
    task = TASK_REGISTRY[name]
    if dataclass_of(task):
        return _of_dataclass(dataclass_of(task), ANY_TEXT)
    return {**_of_parser(task.add_args, ANY_TEXT), "seed": Rule(int)}


@functools.lru_cache(maxsize=1)
def training_options() -> FrozenSet[str]:
    """The names of all options of fairseq-train that no model has, which the options of a speech model hold as well."""
    names = {"arch", "task", "_name", "no_seed_provided", *NOT_TAKEN}
    for section in dataclasses.fields(FairseqConfig):
        names.add(section.name)
        if dataclasses.is_dataclass(section.type):
            names.update(field.name for field in dataclasses.fields(section.type))
    for registry in REGISTRIES.values():
        for name, made in registry["registry"].items():
            config = registry["dataclass_registry"].get(name)
            if config is not None:
                names.update(field.name for field in dataclasses.fields(config))
            elif hasattr(made, "add_args"):
                names.update(_of_parser(made.add_args, ANY_TEXT))
    return frozenset(names)


def _of_dataclass(config: type, text: Pattern) -> Dict[str, Rule]:
    fields = {field.name: field.type for field in dataclasses.fields(config) if field.name not in ("_name", *NOT_TAKEN)}
    return {name: _of_type(annotation, text) for name, annotation in fields.items()}


def _of_type(annotation: Any, text: Pattern) -> Rule:
    # Optional[int] is int or None, and None may always be.
    (kind,) = [kind for kind in get_args(annotation) if kind is not type(None)] or [annotation]
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return Rule(str, tuple(str(choice.value) for choice in kind))
    return Rule(kind, text=text)


def _of_parser(add_args: Callable[[ArgumentParser], None], text: Pattern) -> Dict[str, Rule]:
    parser = ArgumentParser(argument_default=SUPPRESS, add_help=False, conflict_handler="resolve")
    add_args(parser)
    rules: Dict[str, Rule] = {}
    for action in parser._actions:
        kind = bool if action.nargs == 0 else action.type or str
        rules[action.dest] = Rule(kind, tuple(map(str, action.choices or ())), text)
    return {name: rule for name, rule in rules.items() if name not in NOT_TAKEN}

#!/usr/bin/env python
"""Writes the tables of docs/options.md, from the dataclasses that define the options and the table of kinds.

    python scripts/options_table.py            prints the tables
    python scripts/options_table.py --write    puts them into docs/options.md, between its two markers

fairseq-train --help never shows the options of a plugin, so the documents must.
"""

import argparse
import dataclasses
import re
from pathlib import Path

from leap_fairseq.attention import KINDS
from leap_fairseq.models.leap_lra import LeapLraConfig
from leap_fairseq.models.leap_transformer_lm import LeapTransformerLanguageModelConfig
from leap_fairseq.models.options import AttentionOptions, SpeechAttentionOptions, WaitkOptions
from leap_fairseq.modules import ATTENTION_KINDS
from leap_fairseq.modules.zoo import ZOO_KINDS
from leap_fairseq.tasks.leap_language_modeling import LeapLanguageModelingConfig
from leap_fairseq.tasks.long_range_arena import LongRangeArenaConfig

PAGE = Path(__file__).parents[1] / "docs/options.md"
BEGIN, END = "<!-- options: made by scripts/options_table.py -->", "<!-- end of options -->"
MODELS = {
    "leap_transformer_lm": LeapTransformerLanguageModelConfig,
    "leap_convtransformer": SpeechAttentionOptions,
    "leap_convtransformer_simul_trans": WaitkOptions,
    "leap_lra": LeapLraConfig,
}
FAMILIES = {
    **MODELS,
    "--task leap_language_modeling": LeapLanguageModelingConfig,
    "--task long_range_arena": LongRangeArenaConfig,
}
POSITIONAL = {"data"}


def own_fields(config):
    """The options that this project adds to fairseq's, in the order of the classes."""
    ours = [cls for cls in reversed(config.__mro__) if cls.__module__.startswith("leap_fairseq")]
    names = {name for cls in ours for name in cls.__dict__.get("__annotations__", {})}
    return [field for field in dataclasses.fields(config) if field.name in names - POSITIONAL]


def options_table():
    """The table in Markdown: option, default, choices, the models or tasks that have it, and what it does."""
    rows = {}
    for family, config in FAMILIES.items():
        for field in own_fields(config):
            rows.setdefault(field.name, []).append((f"`{family}`", field))
    shared = {field.name for field in dataclasses.fields(AttentionOptions)}
    lines = ["| option | default | of | meaning |", "|---|---|---|---|"]
    for name, found in sorted(rows.items(), key=lambda item: item[0] in shared):
        flag = f"`--{name.replace('_', '-')}`"
        meaning = found[0][1].metadata["help"]
        kinds = ZOO_KINDS if name == "attention" else ATTENTION_KINDS if name.endswith("_attention") else ()
        if kinds:
            meaning += ": " + ", ".join(f"`{kind}`" for kind in kinds)
        models = "all models" if len(found) == len(MODELS) else ", ".join(family for family, _ in found)
        lines.append(f"| {flag} | {defaults(found)} | {models} | {meaning} |")
    return "\n".join(lines)


def defaults(found):
    """The default of an option; where families differ, that of the first and those that differ from it."""
    first = found[0][1].default
    others = [f"{family}: `{field.default}`" for family, field in found if field.default != first]
    return "; ".join([f"`{first}`", *others])


def kinds_table():
    """The kinds of attention in Markdown; a head has K dimensions for keys and V for values."""
    lines = [
        "| kind | feature map | proportions | needs the longest length | numbers in the state of a head |",
        "|---|---|---|---|---|",
    ]
    for name, kind in KINDS.items():
        feature_map = f"`{kind.feature_map.__name__}`" if kind.linear else "none"
        factor = kind.state_features(1)
        state = f"{'' if factor == 1 else factor}K (V + 1)" if kind.linear else "(K + V) for each key"
        length = "yes" if kind.needs_length else "no"
        lines.append(f"| `{name}` | {feature_map} | {kind.proportions or 'none'} | {length} | {state} |")
    return "\n".join(lines)


def tables():
    """Both."""
    return f"{options_table()}\n\n{kinds_table()}"


def with_table(text):
    """A page with the present tables between its markers.

    Raises:
        ValueError: it lacks the markers.
    """
    pattern = re.compile(f"{re.escape(BEGIN)}.*?{re.escape(END)}", re.DOTALL)
    if not pattern.search(text):
        raise ValueError(f"no markers in the text: {BEGIN} ... {END}")
    return pattern.sub(lambda _: f"{BEGIN}\n{tables()}\n{END}", text)


def main():
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--write", action="store_true", help="write the tables into docs/options.md")
    if parser.parse_args().write:
        PAGE.write_text(with_table(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    else:
        print(tables())


if __name__ == "__main__":
    main()

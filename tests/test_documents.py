"""The documents say what the code does."""

import importlib.util
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def load(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_options_table_is_in_sync():
    table = load(ROOT / "scripts" / "options_table.py")
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert table.with_table(readme) == readme, "run scripts/options_table.py --write"
    for option in ("--decoder-self-attention", "--leap-factor", "--waitk-lagging", "--fixed-pre-decision-ratio"):
        assert f"| `{option}` |" in table.options_table()
    with pytest.raises(ValueError, match="no markers"):
        table.with_table("# another text")


@pytest.mark.parametrize("document", ["README.md", "CONTRIBUTING.md"])
def test_named_files_exist(document):
    text = (ROOT / document).read_text(encoding="utf-8")
    paths = set(re.findall(r"\b((?:leap_fairseq|data_prep|scripts|tests)/[\w/]+\.(?:py|sh))\b", text))
    assert paths
    assert not [path for path in paths if not (ROOT / path).exists()]


def test_architectures_of_the_readme_are_registered():
    from fairseq.models import ARCH_MODEL_REGISTRY

    import leap_fairseq  # noqa: F401

    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    (sentence,) = re.findall(r"Architectures: (.*?)\. Their", readme, re.DOTALL)
    names, family = [], ""
    for name in re.findall(r"`(\w+)`", sentence):
        family = family if name.startswith("_") else name
        names.append(family + name if name.startswith("_") else name)
    ours = sorted(name for name in ARCH_MODEL_REGISTRY if name.startswith("leap_"))
    assert sorted(names) == ours

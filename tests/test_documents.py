"""The documents say what the code does. That their blocks run is tests/e2e/test_documents.py's."""

import importlib.util
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
OPTIONS = ROOT / "docs/options.md"
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])

FILE = re.compile(r"\b((?:leap_fairseq|data_prep|scripts|tests)/[\w/]+\.(?:py|sh))\b")
LINK = re.compile(r"\]\((?!https?://)([^)#\s]*)(?:#([^)\s]*))?\)")


def load(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def anchors(document):
    """The anchors of the headings of a document, as GitHub makes them."""
    text = re.sub(r"^```.*?^```$", "", document.read_text(encoding="utf-8"), flags=re.M | re.S)
    headings = re.findall(r"^#+ (.*)$", text, re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def broken_links(document, text):
    """Links of a text, relative to a document, whose file or heading is not there."""
    broken = []
    for path, anchor in LINK.findall(text):
        target = document.parent / path if path else document
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(f"{path}#{anchor}")
    return broken


def test_options_table_is_in_sync():
    table = load(ROOT / "scripts" / "options_table.py")
    page = OPTIONS.read_text(encoding="utf-8")
    assert table.with_table(page) == page, "run scripts/options_table.py --write"
    for option in ("--decoder-self-attention", "--leap-factor", "--waitk-lagging", "--fixed-pre-decision-ratio"):
        assert f"| `{option}` |" in table.options_table()
    with pytest.raises(ValueError, match="no markers"):
        table.with_table("# another text")


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_named_files_and_links_exist(document):
    text = document.read_text(encoding="utf-8")
    assert not [path for path in sorted(set(FILE.findall(text))) if not (ROOT / path).exists()]
    assert not broken_links(document, text)


def test_the_control_that_links_are_broken():
    text = "[a](docs/none.md) [b](README.md#no-such) [c](#two-commands) [d](docs/options.md) [e](https://none.example)"
    assert broken_links(ROOT / "README.md", text) == ["docs/none.md#", "README.md#no-such"]


def test_the_readme_is_short_and_leads_to_every_page():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(readme.splitlines()) <= 150
    for page in ROOT.glob("docs/*.md"):
        assert re.search(rf"^\| \[.*\]\(docs/{page.name}\) \|", readme, re.M), page.name


def test_architectures_of_the_page_are_registered():
    from fairseq.models import ARCH_MODEL_REGISTRY

    import leap_fairseq.models  # noqa: F401

    page = OPTIONS.read_text(encoding="utf-8")
    (sentence,) = re.findall(r"Architectures: (.*?)\. Their", page, re.DOTALL)
    names, family = [], ""
    for name in re.findall(r"`(\w+)`", sentence):
        family = family if name.startswith("_") else name
        names.append(family + name if name.startswith("_") else name)
    ours = sorted(name for name in ARCH_MODEL_REGISTRY if name.startswith("leap_"))
    assert sorted(names) == ours

"""The documents say what the code does. That their blocks run is shown in tests/e2e/."""

import importlib.util
import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
OPTIONS = ROOT / "docs/options.md"
RESULTS = sorted(ROOT.glob("docs/results/*.md"))
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *RESULTS])

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


def test_the_version_is_the_same_everywhere():
    texts = {name: (ROOT / name).read_text(encoding="utf-8") for name in ("setup.py", "CITATION.cff", "CHANGELOG.md")}
    (version,) = re.findall(r'^    version="(.+)",$', texts["setup.py"], re.M)
    newest, date = re.search(r"^## (\S+) \((.+)\)$", texts["CHANGELOG.md"], re.M).groups()
    citation = yaml.safe_load(texts["CITATION.cff"])
    assert version == newest == str(citation["version"]) and date == str(citation["date-released"])
    assert {"cff-version", "message", "title", "authors", "license", "preferred-citation"} <= citation.keys()


def measured(text):
    """The figures of a text that somebody must have measured: those with a decimal point, but for versions and code."""
    text = re.sub(r"```bash.*?```|```python.*?```|`[^`\n]*`|\|version:\S+|\]\([^)]*\)", " ", text, flags=re.S)
    return set(re.findall(r"(?<![\w.\-])\d+\.\d+(?!\w|\.\d)", text))


def test_every_figure_of_the_readme_is_in_the_results():
    pages = {page: page.read_text(encoding="utf-8") for page in RESULTS}
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    # Of Python and fairseq.
    known = set().union(*map(measured, pages.values())) | {"3.11", "3.12"}
    assert len(measured(readme)) > 20 and not measured(readme) - known
    assert measured("0.1 to 99.87 BLEU, `1.5`") - known == {"99.87"}


def test_results_say_when_and_are_listed():
    index = (ROOT / "RESULTS.md").read_text(encoding="utf-8")
    for page in RESULTS:
        assert f"](docs/results/{page.name})" in index
        stamps = re.findall(r"^\*Written down (\d{4}-\d\d-\d\d) \([0-9a-f]{7}", page.read_text(encoding="utf-8"), re.M)
        assert stamps, page.name


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

"""Every block of README.md and docs/, run as a newcomer runs it: in order, in a clone, at tiny sizes.

What the blocks write must be nothing that git would show. The benchmark's page is run by `test_benchmark`, that of the
Long-Range Arena by `test_lra_scripts`.
"""

import itertools
import json

import pytest
import torch
from document_blocks import Block, Clone, blocks_of
from document_pages import ATTENTION, CLONES, LANGUAGE_MODELS, NOT_RUN, PAGES, TRANSLATION, text_of
from preloading import ROOT


def test_all_pages_are_run():
    assert sorted(PAGES) == sorted(["README.md", *(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md"))])
    for before, page in itertools.chain(*map(itertools.pairwise, CLONES)):
        assert before.removeprefix("docs/") in text_of(page), f"{page} does not say that it goes on from {before}"


@pytest.mark.parametrize("page", PAGES)
def test_what_is_not_run_is_little(page):
    skipped = [block for block in blocks_of(text_of(page)) if block.reason]
    calls = NOT_RUN.get(page, ())
    assert len(skipped) == bool(calls)
    for name in calls:
        assert f"bash {name}" in skipped[0].text and (ROOT / name).is_file()


def test_language_models(worked_in):
    runs = worked_in(LANGUAGE_MODELS).folder / "runs/lm"
    trained = ("tiny", "linear", "wiki103", "three", "sweep/decoder_self_attention=relu_seed=1")
    for name in (*(f"{name}/checkpoint_best.pt" for name in trained), "hydra/checkpoint_last.pt", "session.pt"):
        assert (runs / name).is_file(), name
    for name in ("compare/comparison.png", "trainings.png"):
        assert (runs / name).stat().st_size > 10_000
    weights, converted = (torch.load(runs / name)["model"] for name in ("tiny/checkpoint_best.pt", "official.pt"))
    assert weights.keys() >= converted.keys() and "decoder.layers.0.self_attn.q_LeaP.0.weight" in converted


def test_translation(worked_in):
    runs = worked_in(TRANSLATION).folder / "runs/st"
    rows = json.loads((runs / "results/table.json").read_text(encoding="utf-8"))
    assert [row["waitk"] for row in rows] == [1, 9] and all(row["sentences"] == 3 for row in rows)
    results = ("table.tsv", "quality_latency.png")
    pictures = ("staircase.png", "alignment.png", "proportions.png")
    for name in (*(f"results/{name}" for name in results), *pictures, "k5.tsv", "k5.json", "once-k5/table.tsv"):
        assert (runs / name).stat().st_size > 0, name
    (row,) = json.loads((runs / "talks/table.json").read_text(encoding="utf-8"))
    assert row["recordings"] == 1 and row["sentences"] == 3 and "StreamLAAL" in row
    (row,) = json.loads((runs / "live.json").read_text(encoding="utf-8"))
    assert row["sentences"] == 3
    rows = json.loads((runs / "recognised/table.json").read_text(encoding="utf-8"))
    assert [row["waitk"] for row in rows] == [1, 9] and all(row["WER"] > 0 for row in rows)
    for name in ("asr", "translator", "recogniser", "linear", "once", "hybrid", "short", "endless"):
        assert (runs / name / "checkpoint_best.pt").is_file() and (runs / name / "run.json").is_file()
    assert (runs / "my_translator/checkpoint.pt").is_file()
    corpora = ("mustc", "mtedx", "europarl", "covost")
    lists = ("mustc-eval/tst-COMMON.wav_list", "mtedx-eval/test.wav_list", "europarl-eval/test.wav_list")
    for name in (*(f"{name}/config_st.yaml" for name in corpora), *lists, "digits/en-de"):
        assert (runs / name).exists(), name


def test_our_scores_are_simulevals(worked_in):
    runs = worked_in(TRANSLATION).folder / "runs/st"
    (ours,) = json.loads((runs / "k5.json").read_text(encoding="utf-8"))
    names, values = (runs / "k5/scores.tsv").read_text(encoding="utf-8").splitlines()
    theirs = dict(zip(names.split("\t"), map(float, values.split("\t"))))
    assert {"BLEU", "LAAL", "AL", "AP", "DAL", "ATD"} <= theirs.keys()
    for name, value in theirs.items():
        assert ours[name] == pytest.approx(value, abs=2e-3), name


def test_attention(worked_in):
    worked_in(ATTENTION)


def test_the_controls_that_fail(environment, tmp_path):
    clone = Clone(tmp_path, environment)
    page = "```bash\necho fine > runs.txt\n```\nand\n\n```bash\nfalse | true\n```\n"
    fine, failing = blocks_of(page)
    clone.run(fine)
    assert clone.new_to_git() == ["runs.txt"]
    for block in (failing, Block("bash", "ls missing\n"), Block("python", "import missing\n")):
        with pytest.raises(AssertionError, match="ended with"):
            clone.run(block)
    with pytest.raises(AssertionError, match="without an address"):
        clone.run(Block("bash", "leap-fairseq serve --model missing\n"))
    clone.close()
    wrong = ("```\nls\n```\n", "```sh\nls\n```\n", "  ```bash\n  ls\n  ```\n", "```bash\nls\n", "~~~bash\nls\n~~~\n")
    for page in wrong:
        with pytest.raises(ValueError, match="fence|language"):
            blocks_of(page)

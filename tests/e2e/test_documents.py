"""Every block of README.md and docs/, run as a newcomer runs it: in order, in a clone, at tiny sizes.

Pages that build on each other share a clone; every other page has one of its own, which holds the data that it asks
for. What the blocks write must be nothing that git would show.
"""

import contextlib
import functools
import itertools
import json

import pytest
import torch
from brought_data import as_official, write_lra_sources, write_speech, write_texts
from document_blocks import Block, Clone, blocks_of, quickened
from preloading import ROOT

LANGUAGE_MODELS = (
    *("README.md", "docs/scaling.md", "docs/language_models.md", "docs/from_the_fork.md", "docs/plans.md"),
)
TRANSLATION = ("docs/simultaneous_translation.md", "docs/streaming.md")
ARENA, ATTENTION, BENCHMARK = ("docs/long_range_arena.md",), ("docs/attention.md",), ("docs/benchmark.md",)
CLONES = (LANGUAGE_MODELS, TRANSLATION, ARENA, ATTENTION, BENCHMARK, ("docs/options.md",), ("docs/limits.md",))
PAGES = [page for pages in CLONES for page in pages]

TINY_ATTENTION = "--heads 2 --dim 8 --rounds 2 --matmul 32 --no-memory --threads 1"
TINY_MODEL = "--layers 1 --embed-dim 16 --heads 2 --ffn-embed-dim 16 --dictionary 30 --threads 1"
TINY_TRANSLATOR = "--arch leap_convtransformer_simul_trans_tiny --vocab-size 30 --threads 1"
TINY_LISTS = "--sizes 20 10 10 --lengths 20 40"

SHORTER = {
    LANGUAGE_MODELS: (
        (r"--max-update 400", "--max-update 2"),
        (r"-update(s?) [48]0\b", r"-update\1 2"),
        (r"common.cpu=true", "common.cpu=true optimization.max_update=2 dataset.max_tokens=512"),
        (r"data/wikitext-103-v1.zip", "data/wikitext-103-v1.zip --any-text"),
        (r"--bf16", "--arch leap_transformer_lm_tiny --criterion cross_entropy --max-update 1 --update-freq 1"),
        (r"--models leap softmax leap_fading --updates 300", "--models leap_fading --updates 2"),
        (r"=leap,softmax \+options.seed=1,2", "=relu +options.seed=1"),
    ),
    TRANSLATION: (
        (r"travel runs/st/corpus", "travel runs/st/corpus --sentences-train 40 --sentences-dev 8 --sentences-test 3"),
        (r"runs/st/digits", "runs/st/digits --sentences-train 40 --sentences-dev 4 --sentences-test 4"),
        (r"--vocab-size 300", "--vocab-size 100"),
        (r"--max-update \d+", "--max-update 2 --save-interval-updates 1"),
        (r"--distill-updates 600", "--distill-updates 2"),
        (r"--waitk-lagging 1 3 5 7 9", "--waitk-lagging 1 9"),
        (r"-j 16|-j 2", "-j 1"),
        (r"--jobs 2", "--jobs 1"),
        (r"leap-fairseq evaluate", "leap-fairseq evaluate --max-len-b 20"),
        (r"--segment-ms 160", "--segment-ms 160 --max-len-b 20"),
        (r"serve --model", "serve --port 0 --model"),
        (r"client --lists", "client --fast --lists"),
    ),
    ARENA: (
        (r"runs/lra/listops -j 4", f"runs/lra/listops {TINY_LISTS} -j 2"),
        (r"--difficulty hard", "--difficulty hard --sizes 20 10 10"),
        (r"--small", TINY_LISTS),
        (r"--attention leap\n", "--attention leap --max-update 2 --batch-size 4\n"),
        (r"--lengths 1024 2048 4096", "--lengths 64 --attention leap softmax --rounds 1 --no-memory"),
        (r"--updates 1000 1600 --batch-size 32 8", "--updates 1 --batch-size 4 --seeds 1 --attention leap"),
    ),
    BENCHMARK: (
        (r"attention --threads 1", f"attention --lengths 128 512 --positions 512 {TINY_ATTENTION}"),
        (r"--schedule waitk", f"--schedule waitk --lengths 90 --positions 90 {TINY_ATTENTION}"),
        (r"lm --tsv", f"lm --lengths 64 256 --tokens 256 --rounds 2 --matmul 32 --no-memory {TINY_MODEL} --tsv"),
        (r"decode --tsv", f"decode --positions 5 60 --block 20 --rounds 3 {TINY_MODEL} --tsv"),
        (r"benchmark.py simulst", f"benchmark.py simulst --seconds 3 --minutes 0 --sessions 2 {TINY_TRANSLATOR}"),
    ),
}
"""What makes a block quick without changing what it does; each is needed, or the pages have changed."""

NOT_RUN = {
    "README.md": ("scripts/demo.sh", "scripts/test.sh"),
    "docs/plans.md": ("scripts/simulst/pretrain_asr.sh", "scripts/simulst/train.sh"),
}
"""The only blocks that are not run, by what they call."""


def bring_official(data):
    """A language model of the authors' fork: the one that the pages before have trained."""
    path = data / "official/checkpoint_best.pt"
    path.parent.mkdir()
    torch.save(as_official(torch.load(data.parent / "runs/lm/tiny/checkpoint_best.pt")), path)


BROUGHT = {
    "docs/language_models.md": write_texts,
    "docs/from_the_fork.md": bring_official,
    "docs/simultaneous_translation.md": write_speech,
    "docs/long_range_arena.md": write_lra_sources,
}


def text_of(page):
    return (ROOT / page).read_text(encoding="utf-8")


def run_pages(clone, pages, shorter=()):
    """Runs all blocks of some pages in a clone; returns the substitutions that were needed."""
    needed = set()
    with contextlib.closing(clone):
        for page in pages:
            BROUGHT.get(page, lambda data: None)(clone.folder / "data")
            for block in blocks_of(text_of(page)):
                if block.language != "text" and block.reason is None:
                    text, used = quickened(block.text, shorter)
                    needed |= used
                    clone.run(block._replace(text=text))
    return needed


@pytest.fixture(scope="module")
def worked_in(environment, commands, tmp_path_factory):
    """A function: the folder of the clone in which all blocks of some pages ran, one after the other."""

    @functools.cache
    def run(pages):
        clone = Clone(tmp_path_factory.mktemp("clone"), environment, commands)
        shorter = SHORTER.get(pages, ())
        assert run_pages(clone, pages, shorter) == {pattern for pattern, _ in shorter}
        assert clone.new_to_git() == []
        return clone.folder

    return run


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
    runs = worked_in(LANGUAGE_MODELS) / "runs/lm"
    trained = ("tiny", "linear", "wiki103", "three", "sweep/decoder_self_attention=relu_seed=1")
    for name in (*(f"{name}/checkpoint_best.pt" for name in trained), "hydra/checkpoint_last.pt", "session.pt"):
        assert (runs / name).is_file(), name
    for name in ("compare/comparison.png", "trainings.png"):
        assert (runs / name).stat().st_size > 10_000
    weights, converted = (torch.load(runs / name)["model"] for name in ("tiny/checkpoint_best.pt", "official.pt"))
    assert weights.keys() >= converted.keys() and "decoder.layers.0.self_attn.q_LeaP.0.weight" in converted


def test_translation(worked_in):
    runs = worked_in(TRANSLATION) / "runs/st"
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
    runs = worked_in(TRANSLATION) / "runs/st"
    (ours,) = json.loads((runs / "k5.json").read_text(encoding="utf-8"))
    names, values = (runs / "k5/scores.tsv").read_text(encoding="utf-8").splitlines()
    theirs = dict(zip(names.split("\t"), map(float, values.split("\t"))))
    assert {"BLEU", "LAAL", "AL", "AP", "DAL", "ATD"} <= theirs.keys()
    for name, value in theirs.items():
        assert ours[name] == pytest.approx(value, abs=2e-3), name


def test_long_range_arena(worked_in):
    runs = worked_in(ARENA) / "runs/lra"
    for task in ("listops", "pathfinder", "text", "retrieval", "image"):
        assert (runs / task / "lra.json").is_file(), task
    rows = json.loads((runs / "sweep/lra.json").read_text(encoding="utf-8"))
    assert {(row["data"], row["attention"]) for row in rows} == {("listops_small", "leap"), ("text", "leap")}
    for name in ("hard.png", "sweep/lra.png", "listops_leap/checkpoint_best.pt"):
        assert (runs / name).stat().st_size > 5_000, name
    assert (runs / "listops_leap/run.json").is_file()


def test_attention(worked_in):
    worked_in(ATTENTION)


def test_benchmark(worked_in):
    runs = worked_in(BENCHMARK) / "runs/benchmark"
    for name in ("attention", "lm", "decode"):
        assert (runs / f"{name}.tsv").stat().st_size > 0 and (runs / f"{name}.png").stat().st_size > 10_000


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

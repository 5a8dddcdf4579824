"""The pages of README.md and docs/: which share a clone, what their blocks find there, and what makes them quick.

Pages that build on each other share a clone; every other page has one of its own, which holds the data that it asks
for.
"""

import contextlib

import torch
from brought_data import as_official, write_lra_sources, write_speech, write_texts
from document_blocks import blocks_of, quickened
from preloading import ROOT

LANGUAGE_MODELS = (
    *("README.md", "docs/scaling.md", "docs/language_models.md", "docs/from_the_fork.md", "docs/plans.md"),
)
TRANSLATION = ("docs/simultaneous_translation.md", "docs/streaming.md")
ARENA, ATTENTION, BENCHMARK = ("docs/long_range_arena.md",), ("docs/attention.md",), ("docs/benchmark.md",)
CLONES = (LANGUAGE_MODELS, TRANSLATION, ARENA, ATTENTION, BENCHMARK, ("docs/options.md",), ("docs/limits.md",))
PAGES = [page for pages in CLONES for page in pages]

TINY_ATTENTION = "--heads 2 --dim 8 --rounds 2 --matmul 32 --threads 1"
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
        (
            r"--lengths 1024 2048 4096",
            "--lengths 32 96 --attention leap local --batch-size 2 --rounds 3 --out runs/lra/throughput.tsv",
        ),
        (r"--updates 1000 1600 --batch-size 32 8", "--updates 1 --batch-size 4 --seeds 1 --attention leap"),
    ),
    BENCHMARK: (
        (r"attention --threads 1", f"attention --lengths 128 512 --positions 512 {TINY_ATTENTION}"),
        (r"--schedule waitk", f"--schedule waitk --lengths 90 --positions 90 --no-memory {TINY_ATTENTION}"),
        (r"lm --tsv", f"lm --lengths 64 256 --tokens 256 --rounds 2 --matmul 32 {TINY_MODEL} --tsv"),
        (r"decode --tsv", f"decode --positions 5 60 --block 20 --rounds 3 {TINY_MODEL} --tsv"),
        (
            r"benchmark.py simulst",
            f"benchmark.py simulst --seconds 3 --minutes 1 --sessions 3 {TINY_TRANSLATOR} --tsv "
            "runs/benchmark/simulst.tsv --png runs/benchmark/simulst.png",
        ),
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

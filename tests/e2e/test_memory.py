"""Memory: of training it does not depend on the length of a block, of reading not on the length of the text.

Each measurement is a process of its own, a fork that has made its imports, which runs this file as a script: it writes
what it measured as its last line. Times are shown (pytest -rP) and not asserted: other work may run on the same cores.
"""

import argparse
import json
import sys
import time
from pathlib import Path

import pytest
import torch

THIS = Path(__file__).resolve()
MEASURE = THIS.parents[2] / "scripts/lm/memory.py"

TRAINING = "--attention leap --lengths 512 8192 --tokens 8192 --updates 1"
MODEL = "--layers 1 --embed-dim 64 --heads 2 --ffn-embed-dim 128 --dictionary 200"
TINY_LM = "--decoder-layers 1 --decoder-embed-dim 32 --decoder-ffn-embed-dim 64 --decoder-attention-heads 2"
SYMBOLS, SHORT, LONG, PIECE = 100, 10_000, 1_000_000, 2500


def training_growth(points):
    """The peak, and what activations take of it, of the last length over the first."""
    first, last = points[0], points[-1]
    return last["peak_mib"] / first["peak_mib"], last["activations_mib"] / first["activations_mib"]


def test_training_memory_does_not_grow_with_the_block(run_forked, tmp_path):
    from leap_fairseq.report.tables import read_tsv

    table = run_forked(MEASURE, *TRAINING.split(), *MODEL.split(), "--out", tmp_path / "memory.tsv").output
    rows = read_tsv(tmp_path / "memory.tsv")
    print(table)
    assert [(row["attention"], row["length"], row["time"]) for row in rows] == [("leap", 512, 1), ("leap", 8192, 1)]
    assert all(0 < row["before_mib"] < row["peak_mib"] for row in rows)
    assert rows[1]["growth"] == training_growth(rows)[0] < 1.3
    # Of a model this small most is imports, which could hide what grows.
    assert training_growth(rows)[1] < 1.3


def test_the_control_that_quadratic_training_grows(run_forked):
    points = [json.loads(run_forked(THIS, "naive_training", length).reason) for length in (512, 2048)]
    print(points)
    peak, activations = training_growth(points)
    assert peak > 1.3 and activations > 1.3


def test_wrong_sizes_are_named(run_forked):
    for flags, reason in (
        ("--lengths 300", "--lengths 300 does not divide --tokens 8192"),
        ("--heads 3", "--embed-dim 256 is not divisible by --heads 3"),
        ("--updates 0", "--updates 0 must be at least 1"),
    ):
        assert run_forked(MEASURE, *flags.split(), code=1).reason == f"error: {reason}"


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    """A folder as of fairseq-preprocess: random tokens, short in the splits valid and test, long in test1."""
    from fairseq.data import indexed_dataset

    folder = tmp_path_factory.mktemp("endless") / "data"
    folder.mkdir()
    (folder / "dict.txt").write_text("".join(f"w{i} 1\n" for i in range(SYMBOLS - 4)), encoding="utf-8")
    for split, length in (("train", SHORT), ("valid", SHORT), ("test", SHORT), ("test1", LONG)):
        builder = indexed_dataset.make_builder(str(folder / f"{split}.bin"), "mmap", SYMBOLS)
        for line in random_tokens(length).view(-1, 1000):
            line[-1] = 2
            builder.add_item(line)
        builder.finalize(str(folder / f"{split}.idx"))
    return folder


@pytest.fixture(scope="module")
def checkpoint(run_forked, lm_options, text, tmp_path_factory):
    folder = tmp_path_factory.mktemp("endless_lm")
    _, *options = lm_options(folder, 1, *TINY_LM.split())
    run_forked("fairseq-train", text, *options)
    return folder / "checkpoint_last.pt"


def read_apart(run_forked, text, checkpoint, length, keeps=""):
    return json.loads(run_forked(THIS, "session", checkpoint, text, length, keeps).reason)


def evaluate_apart(run_forked, text, checkpoint, split):
    carried = "--task leap_language_modeling --carry-state --tokens-per-sample 500 --cpu --no-progress-bar"
    options = ("--user-dir", THIS.parents[2] / "leap_fairseq", "--path", checkpoint, "--gen-subset", split)
    return json.loads(run_forked(THIS, "evaluation", text, *options, *carried.split()).reason)


def assert_constant(short, long):
    """A text a hundred times as long takes the same memory and leaves a state of the same size."""
    print(short, long, sep="\n")
    assert (short["tokens"], long["tokens"]) == (SHORT, LONG)
    assert long["peak_mib"] < 1.05 * short["peak_mib"]
    assert long["state"] == short["state"] > 0


def test_a_session_reads_a_million_tokens_in_constant_memory(run_forked, text, checkpoint):
    assert_constant(*(read_apart(run_forked, text, checkpoint, length) for length in (SHORT, LONG)))


def test_a_million_tokens_are_evaluated_in_constant_memory(run_forked, text, checkpoint):
    assert_constant(*(evaluate_apart(run_forked, text, checkpoint, split) for split in ("test", "test1")))


def test_the_control_that_a_session_which_keeps_its_scores_grows(run_forked, text, checkpoint):
    short, long = (read_apart(run_forked, text, checkpoint, length, "scores") for length in (SHORT, LONG // 4))
    print(short, long, sep="\n")
    assert long["peak_mib"] > 1.05 * short["peak_mib"]


def test_the_control_that_the_state_of_softmax_grows():
    from tiny_models import make_lm

    state, sizes = {}, []
    decoder = make_lm("--decoder-self-attention", "softmax").decoder
    with torch.no_grad():
        for _ in range(4):
            decoder.forward_block(4 + random_tokens(50).long()[None] % 16, state)
            sizes.append(elements(state))
    # The keys and values of 4 layers, d 128.
    assert [after - before for before, after in zip(sizes, sizes[1:])] == [50 * 4 * 2 * 128] * 3


def random_tokens(length, seed=0):
    """int32 [length], without special symbols."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(4, SYMBOLS, (length,), dtype=torch.int32, generator=generator)


def elements(state):
    """Numbers in all tensors of nested dictionaries and lists."""
    if isinstance(state, torch.Tensor):
        return state.numel()
    children = state.values() if isinstance(state, dict) else state if isinstance(state, (list, tuple)) else ()
    return sum(elements(child) for child in children)


def measured(tokens, state, marks):
    """What a measurement reports: peak, size of the state, and the time of a token at the end over the beginning."""
    from benchmarks.measuring import resident_mib

    quarter = (len(marks) - 1) // 4
    slowdown = (marks[-1] - marks[-1 - quarter]) / (marks[quarter] - marks[0])
    seconds = marks[-1] - marks[0]
    return {
        "tokens": tokens,
        "peak_mib": resident_mib("VmHWM"),
        "state": elements(state),
        "seconds": round(seconds, 2),
        "last_over_first_quarter": round(slowdown, 2),
    }


def naive_training(length):
    """A point of scripts/lm/memory.py by the algorithm that computes all weights."""
    from benchmarks import training

    from leap_fairseq.attention import backend

    backend.choose_algorithm = lambda given: "naive"
    parser = argparse.ArgumentParser()
    training.add_size_options(parser)
    sizes = parser.parse_args(MODEL.split(), argparse.Namespace(tokens=8192, device="cpu"))
    return training.memory_of_training("leap", int(length), 1, sizes)


def session(checkpoint, text, length, keeps):
    """Reads random tokens, piece by piece as they come."""
    from leap_fairseq.models import LeapTransformerLanguageModel
    from leap_fairseq.models.text_session import TextSession

    path = Path(checkpoint)
    hub = LeapTransformerLanguageModel.from_pretrained(str(path.parent), path.name, text)
    reader, kept = TextSession(hub.models[0]), []
    if keeps:
        advance = reader._advance
        reader._advance = lambda tokens: kept.append(advance(tokens)) or kept[-1]
    marks = [time.perf_counter()]
    for number in range(int(length) // PIECE):
        reader.read(random_tokens(PIECE, seed=number).long())
        marks.append(time.perf_counter())
    return measured(reader.length, reader.model.decoder.export_state(reader._state), marks)


def evaluation(*options):
    """fairseq-eval-lm, and the state in which it leaves the model."""
    from fairseq_cli import eval_lm

    marks, seen = [], {"tokens": 0}
    evaluate = eval_lm.eval_lm

    def timed(batches):
        for batch in batches:
            marks.append(time.perf_counter())
            seen["tokens"] += batch["ntokens"]
            yield batch
        marks.append(time.perf_counter())

    def watched(models, batch_iterator, **others):
        (seen["model"],) = models
        return evaluate(models=models, batch_iterator=timed(batch_iterator), **others)

    eval_lm.eval_lm = watched
    sys.argv = ["fairseq-eval-lm", *options]
    eval_lm.cli_main()
    model = seen["model"]
    return measured(seen["tokens"], model.decoder.export_state(model._carried[False]), marks)


if __name__ == "__main__":
    sys.path.insert(0, str(MEASURE.parents[1]))
    result = {f.__name__: f for f in (naive_training, session, evaluation)}[sys.argv[1]](*sys.argv[2:])
    print(json.dumps(result), flush=True)

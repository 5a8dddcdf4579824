"""Task, model and criterion of Long-Range Arena: trained and evaluated by fairseq's functions on stand-in data."""

import dataclasses
import importlib.util
from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest
import torch
from lra_data import CLASSES, SIZES, VOCABULARY, write_lra
from lra_runs import load, train
from tolerances import assert_same

from leap_fairseq.lra import TASKS, DataError, LraFacts
from leap_fairseq.models.leap_lra import LeapLraConfig, LeapLraModel, count_parameters
from leap_fairseq.modules.zoo import ZOO_KINDS
from leap_fairseq.report.run_record import RunRecord
from leap_fairseq.tasks.long_range_arena import LongRangeArenaConfig, LongRangeArenaTask

EVALUATE = Path(__file__).parents[2] / "scripts/lra/evaluate.py"
LENGTHS = {"listops": 2000, "text": 4000, "retrieval": 4000, "image": 1024, "pathfinder": 1024}
KINDS = pytest.mark.parametrize("kind", ZOO_KINDS)


def facts(task="text", max_length=30):
    return LraFacts(task, VOCABULARY[task], CLASSES[task], max_length, task == "retrieval", SIZES, {})


def build(task="text", max_length=30, seed=0, **changes):
    """A small model."""
    small = {"encoder_layers": 2, "encoder_embed_dim": 32, "attention_features": 8, "attention_block": 4}
    names = {field.name: field.default for field in dataclasses.fields(LeapLraConfig)}
    args = Namespace(**{**names, **small, **changes})
    torch.manual_seed(seed)
    return LeapLraModel.build_model(args, Namespace(facts=facts(task, max_length))).eval()


def tokens_of(lengths, seed=0, longest=None):
    """int64 [B, T] from 1, 0 beyond the lengths."""
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randint(1, 257, (len(lengths), longest or max(lengths)), generator=generator)
    return tokens.masked_fill(torch.arange(tokens.shape[1]) >= torch.tensor(lengths).unsqueeze(1), 0)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A function: the folder of a task."""
    folder = tmp_path_factory.mktemp("lra")
    return lambda task: folder / task if (folder / task).is_dir() else write_lra(folder / task, task)


@pytest.fixture(scope="module")
def evaluate():
    """The function of scripts/lra/evaluate.py."""
    spec = importlib.util.spec_from_file_location("lra_evaluate", EVALUATE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.evaluate


GRID = [(task, "leap") for task in TASKS] + [("text", kind) for kind in ZOO_KINDS if kind != "leap"]
REST = [(task, kind) for task in TASKS for kind in ZOO_KINDS if (task, kind) not in GRID]


@pytest.mark.parametrize("task, kind", GRID + [pytest.param(*pair, marks=pytest.mark.slow) for pair in REST])
def test_five_updates_and_an_evaluation(caplog, data, evaluate, tmp_path, task, kind):
    # The five are one epoch: one validation, one checkpoint.
    loss, accuracy, right, samples = train(caplog, data(task), tmp_path, attention=kind, dataset__batch_size=4)
    assert samples == SIZES["valid"] and accuracy == pytest.approx(100 * right / samples, abs=1e-4)
    found = evaluate(data(task), tmp_path / "checkpoint_last.pt", "valid", batch_size=3)
    assert (found["right"], found["samples"]) == (right, samples)
    assert found["loss"] / np.log(2) == pytest.approx(loss, abs=2e-4)
    best = RunRecord.read(tmp_path).summary()["best"]
    assert best == {"metric": "accuracy", "value": accuracy, "updates": 5}


def test_an_evaluation_does_not_depend_on_its_batches(caplog, data, evaluate, tmp_path):
    *_, samples = train(caplog, data("text"), tmp_path, attention="nystromformer", task__lra_eval_samples=6)
    last = tmp_path / "checkpoint_last.pt"
    found = [evaluate(data("text"), last, "test", batch_size, whole=True) for batch_size in (1, 13)]
    assert found[0]["samples"] == found[1]["samples"] == SIZES["test"] and found[0]["right"] == found[1]["right"]
    assert found[0]["loss"] == pytest.approx(found[1]["loss"], abs=1e-5)
    # Some of the samples, as the training was told.
    assert evaluate(data("text"), last, "test")["samples"] == samples == 6


def test_one_seed_gives_one_result(caplog, data, tmp_path):
    runs = {}
    for name, kind, seed in (("a", "skyformer", 1), ("b", "skyformer", 1), ("c", "skyformer", 2)):
        train(caplog, data("text"), tmp_path / name, attention=kind, common__seed=seed)
        runs[name] = load(tmp_path / name / "checkpoint_last.pt")[0].state_dict()
    same = {name: [torch.equal(runs["a"][key], runs[name][key]) for key in runs["a"]] for name in "bc"}
    assert all(same["b"]) and not all(same["c"])


@pytest.mark.parametrize("cut", [3, 4])
def test_a_training_that_is_interrupted_goes_on_as_if_it_were_not(caplog, data, tmp_path, cut):
    """At the end of an epoch, and within one: the same batches, dropout and directions."""
    for folder, updates in (("whole", 6), ("parts", cut), ("parts", 6)):
        train(caplog, data("text"), tmp_path / folder, attention="reformer", optimization__max_update=updates)
    whole, parts = (load(tmp_path / name / "checkpoint_last.pt")[0].state_dict() for name in ("whole", "parts"))
    assert all(torch.equal(whole[name], parts[name]) for name in whole)


@KINDS
@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_a_sequence_does_not_depend_on_its_batch(kind, pooling):
    model = build(attention=kind, pooling=pooling)
    lengths = [30, 17, 1, 9]
    tokens = tokens_of(lengths)
    together = model(tokens)
    for row, length in enumerate(lengths):
        assert_same(together[row], model(tokens[row : row + 1, :length])[0], what=f"length {length}")


@KINDS
def test_pairs_do_not_depend_on_their_batch(kind):
    """With padding that differs between the two sides, and one of them empty."""
    model = build("retrieval", attention=kind)
    left, right = [30, 3, 12, 0], [5, 29, 1, 8]
    first, second = tokens_of(left), tokens_of(right, seed=1)
    together = model(first, second)
    assert torch.isfinite(together).all()
    for row in range(3):
        alone = model(first[row : row + 1, : left[row]], second[row : row + 1, : right[row]])
        assert_same(together[row], alone[0], what=f"pair {row}")
    swapped = model(second, first)
    assert not torch.allclose(swapped[:3], together[:3])


@KINDS
def test_padding_that_is_not_known_as_such_is_found(kind):
    """The control: with another token in its place, a sequence depends on its batch."""
    model = build(attention=kind)
    tokens = tokens_of([30, 9])
    with pytest.raises(AssertionError):
        assert_same(model(tokens.clamp(min=1))[1], model(tokens[1:, :9])[0])


@KINDS
@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_padding_alone_is_finite_in_training(kind, pooling):
    model = build(attention=kind, pooling=pooling).train()
    logits = model(torch.zeros(2, 12, dtype=torch.int64))
    logits.square().sum().backward()
    assert torch.isfinite(logits).all()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)


@pytest.mark.parametrize("task", TASKS)
def test_parameters_are_alike(task):
    """All attentions of a task lie within 10 % of each other, in the sizes of ``leap_lra``."""
    sizes = {"encoder_embed_dim": 64, "attention_features": 128, "attention_block": 64}
    counts = {kind: count_parameters(build(task, LENGTHS[task], attention=kind, **sizes)) for kind in ZOO_KINDS}
    totals = [total for total, _ in counts.values()]
    assert max(totals) < 1.1 * min(totals), counts
    assert len({tables for _, tables in counts.values()}) == 1
    # Two layers of 64 x 64 projections and 64 x 128 networks, and a head.
    assert counts["softmax"][0] - counts["softmax"][1] < 110_000


def test_sequences_are_cut_on_demand(data, tmp_path, caplog):
    loss, *_ = train(caplog, data("text"), tmp_path, task__lra_max_length=7)
    model, task = load(tmp_path / "checkpoint_last.pt")
    task.load_dataset("valid")
    dataset = task.dataset("valid")
    assert max(dataset.sizes) == task.max_positions() == model.max_positions() == 7
    whole = dataset.split[0][0]
    assert dataset[0]["sides"][0].tolist() == whole[:7].tolist()
    with pytest.raises(ValueError, match="sequences of 8 tokens are longer than the 7 positions of the model: cut"):
        model(tokens_of([8]))


def test_batches_are_whole_and_padded_on_the_right(data):
    task = LongRangeArenaTask.setup_task(LongRangeArenaConfig(data=str(data("retrieval"))))
    task.load_dataset("train")
    dataset = task.dataset("train")
    iterator = task.get_batch_iterator(dataset, max_sentences=3, max_positions=task.max_positions(), seed=1)
    seen = []
    for batch in iterator.next_epoch_itr(shuffle=True):
        seen += batch["id"].tolist()
        for row, index in enumerate(batch["id"].tolist()):
            sides, label = dataset.split[index]
            assert label == batch["target"][row]
            for name, side in zip(("src_tokens", "src_tokens2"), sides):
                tokens = batch["net_input"][name][row]
                assert tokens[: len(side)].tolist() == side.tolist() and not tokens[len(side) :].any()
        assert batch["ntokens"] == sum(len(side) for index in batch["id"] for side in dataset.split[int(index)][0])
    assert sorted(seen) == list(range(SIZES["train"]))
    assert dataset.collater([]) == {}


def test_resuming_another_model_is_refused(data, tmp_path, caplog):
    train(caplog, data("text"), tmp_path, attention="relu")
    refused = (("attention", "elu", "--attention relu, not elu"), ("pooling", "cls", "--pooling mean, not cls"))
    for name, value, message in refused:
        changes = {"attention": "relu", name: value}
        with pytest.raises(ValueError, match=message):
            train(caplog, data("text"), tmp_path, optimization__max_update=6, **changes)
    sizes = r"holds encoder\.embed_positions\.weight of \[40, 32\], but data and options of this command make \[7, 32\]"
    with pytest.raises(ValueError, match=sizes):
        train(caplog, data("text"), tmp_path, attention="relu", optimization__max_update=6, task__lra_max_length=7)


def test_wrong_use_is_named(data, tmp_path):
    setup = LongRangeArenaTask.setup_task
    folder = str(data("text"))
    assert setup(LongRangeArenaConfig(data=folder, lra_task="text")).facts.task == "text"
    with pytest.raises(ValueError, match="holds text, but --lra-task says image: give the folder of that task"):
        setup(LongRangeArenaConfig(data=folder, lra_task="image"))
    with pytest.raises(ValueError, match="--lra-max-length 0 must be at least 1"):
        setup(LongRangeArenaConfig(data=folder, lra_max_length=0))
    with pytest.raises(DataError, match="lra.json is missing"):
        setup(LongRangeArenaConfig(data=str(tmp_path)))
    with pytest.raises(DataError, match="no split 'dev': choose one of train, valid, test"):
        setup(LongRangeArenaConfig(data=folder)).load_dataset("dev")
    with pytest.raises(ValueError, match="leap_lra needs --task long_range_arena, not a Namespace"):
        LeapLraModel.build_model(Namespace(), Namespace())
    with pytest.raises(ValueError, match="holds one sequences a sample, the model reads two"):
        build("retrieval")(tokens_of([5]))

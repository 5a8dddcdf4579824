"""The reader of Long-Range Arena's data: what was written comes back, and whatever is damaged is named."""

import json
import pickle

import numpy as np
import pytest
from lra_data import write_lra

from leap_fairseq.lra import SPLITS, DataError, LraSplit, read_facts


def change(folder, **values):
    path = folder / "lra.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


@pytest.fixture
def one(tmp_path):
    return write_lra(tmp_path / "one", "text", max_length=30)


@pytest.fixture
def two(tmp_path):
    return write_lra(tmp_path / "two", "retrieval", max_length=30)


def test_examples_come_back(one):
    for split in SPLITS:
        data = LraSplit(one, split)
        tokens, offsets, labels = (np.load(one / f"{split}.{part}.npy") for part in ("tokens", "offsets", "labels"))
        assert len(data) == len(labels) == data.facts.splits[split]
        assert data.lengths.tolist() == np.diff(offsets).tolist() and data.lengths.dtype == np.int64
        for i in range(len(data)):
            sequence, label = data[i]
            assert sequence.tolist() == tokens[offsets[i] : offsets[i + 1]].tolist()
            assert type(label) is int and label == labels[i]


def test_pairs_come_back(two):
    data = LraSplit(two, "valid")
    tokens, offsets = np.load(two / "valid.tokens2.npy"), np.load(two / "valid.offsets2.npy")
    for i in range(len(data)):
        (first, second), label = data[i]
        assert second.tolist() == tokens[offsets[i] : offsets[i + 1]].tolist()
        assert label == data.labels[i] and data.lengths[i] == max(len(first), len(second))
    assert any(len(data[i][0][0]) != len(data[i][0][1]) for i in range(len(data)))


def test_index_is_that_of_a_list(one):
    data = LraSplit(one, "test")
    assert data[-1][0].tolist() == data[len(data) - 1][0].tolist()
    assert data[np.int64(2)][1] == data[2][1]
    assert len(list(data)) == len(data)
    for index in (len(data), -len(data) - 1):
        with pytest.raises(IndexError):
            data[index]


def test_nothing_is_copied_into_memory(one):
    """The tokens are a view of the file that cannot be written to, also in a worker process."""
    data = LraSplit(one, "train")
    sequence, _ = data[0]
    assert isinstance(sequence, np.memmap) and not sequence.flags.owndata
    with pytest.raises(ValueError, match="read-only"):
        sequence[0] = 1
    pickled = pickle.dumps(data)
    assert len(pickled) < 400
    assert pickle.loads(pickled)[3][0].tolist() == data[3][0].tolist()


def test_facts(two):
    facts = read_facts(two)
    assert facts.task == "retrieval" and facts.pairs is True and facts.num_classes == 2 and facts.max_length == 30


@pytest.mark.parametrize(
    "values, message",
    [
        ({"task": "speech"}, "'speech'.*must name one of listops"),
        ({"vocab_size": 1}, "vocab_size is 1.*at least 2"),
        ({"num_classes": True}, "num_classes is True"),
        ({"max_length": 2.5}, "max_length is 2.5"),
        ({"pairs": 0}, "pairs is 0"),
        ({"splits": {"train": 3, "valid": 3}}, "splits is .*train, valid, test"),
        ({"splits": {"train": 3, "valid": 3, "test": 0}}, "splits is "),
        ({"splits": 5}, "splits is 5"),
    ],
)
def test_contradictory_facts_are_refused(one, values, message):
    change(one, **values)
    with pytest.raises(DataError, match=message) as error:
        read_facts(one)
    assert "lra.json" in str(error.value) and "prepare lra" in str(error.value)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"task": "text"}'])
def test_damaged_facts_are_refused(one, text):
    (one / "lra.json").write_text(text)
    with pytest.raises(DataError, match="lra.json"):
        LraSplit(one, "train")


def test_missing_facts_are_named(tmp_path):
    with pytest.raises(DataError, match="lra.json is missing.*prepare lra"):
        read_facts(tmp_path)


def test_unknown_split_is_refused(one):
    with pytest.raises(DataError, match="no split 'dev'.*train, valid, test"):
        LraSplit(one, "dev")


@pytest.mark.parametrize("part", ["tokens", "offsets", "labels", "tokens2", "offsets2"])
@pytest.mark.parametrize("left", [None, 0, 40, -1])
def test_missing_and_torn_files_are_named(two, part, left):
    path = two / f"train.{part}.npy"
    content = path.read_bytes()
    path.unlink()
    if left is not None:
        path.write_bytes(content[:left])
    with pytest.raises(DataError, match=f"train.{part}.npy is (missing|damaged)"):
        LraSplit(two, "train")


def other_type(array):
    return array.astype(np.float32)


def other_shape(array):
    return array[None]


def objects(array):
    return array.astype(object)


@pytest.mark.parametrize("part", ["tokens", "offsets", "labels"])
@pytest.mark.parametrize("wrong", [other_type, other_shape, objects])
def test_wrong_arrays_are_named(one, part, wrong):
    path = one / f"test.{part}.npy"
    np.save(path, wrong(np.load(path)), allow_pickle=True)
    with pytest.raises(DataError, match=f"test.{part}.npy"):
        LraSplit(one, "test")


@pytest.mark.parametrize(
    "part, wrong, message",
    [
        ("labels", lambda a: a[:-1], "labels.npy has 12 labels, but lra.json says 13"),
        ("labels", lambda a: a + 1, "must have 0 to 1"),
        ("labels", lambda a: a - 1, "must have 0 to 1"),
        ("offsets", lambda a: a[:-1], "13 offsets, but 13 examples need one more"),
        ("offsets", lambda a: a + 1, "must go from 0 to"),
        ("offsets", lambda a: np.where(np.arange(len(a)) == 3, a[2], a), "lengths from 0 to .*must make 1 to 30"),
        ("offsets", lambda a: np.where(np.arange(len(a)) == 3, a[-1] + 7, a), "must make 1 to 30"),
        ("offsets", lambda a: np.where((np.arange(len(a)) > 0) & (a < 60), 59, a), "must make 1 to 30"),
        ("tokens", lambda a: a[:-1], "must go from 0 to"),
        ("tokens", lambda a: np.where(np.arange(len(a)) == 5, 0, a).astype(a.dtype), "must have 1 to 256"),
        ("tokens", lambda a: np.where(np.arange(len(a)) == 5, 257, a).astype(a.dtype), "must have 1 to 256"),
    ],
)
def test_contradictions_are_named(one, part, wrong, message):
    path = one / f"test.{part}.npy"
    np.save(path, wrong(np.load(path)))
    with pytest.raises(DataError, match=message) as error:
        LraSplit(one, "test")
    assert str(one) in str(error.value) and "prepare lra" in str(error.value)


def test_tokens_are_checked_part_by_part(one, monkeypatch):
    """A wrong token is found wherever the parts of the check begin."""
    path = one / "test.tokens.npy"
    tokens = np.load(path)
    monkeypatch.setattr("leap_fairseq.lra.data.CHECKED_AT_ONCE", 7)
    LraSplit(one, "test")
    for position in (0, 6, 7, len(tokens) - 1):
        np.save(path, np.where(np.arange(len(tokens)) == position, 0, tokens).astype(np.uint16))
        with pytest.raises(DataError, match="tokens from 0 to"):
            LraSplit(one, "test")

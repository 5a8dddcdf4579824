"""Every sample is in exactly one batch, whatever the multiple that batches shall have."""

import numpy as np
import pytest
from fairseq.data import data_utils
from hypothesis import given, settings
from hypothesis import strategies as st

from leap_fairseq import compat
from leap_fairseq.compat.replacing import original

compat.apply()


def test_last_batch_is_lost_without_the_repair():
    lossy = original(data_utils.batch_by_size)
    arguments = dict(num_tokens_fn=lambda i: 1, max_sentences=100, required_batch_size_multiple=8)
    assert sum(map(len, lossy(range(13), **arguments))) == 8
    assert sum(map(len, data_utils.batch_by_size(range(13), **arguments))) == 13


def test_no_samples():
    with pytest.raises(IndexError):
        original(data_utils.batch_by_size)([], lambda i: 1, max_tokens=9, required_batch_size_multiple=8)
    assert data_utils.batch_by_size([], lambda i: 1, max_tokens=9, required_batch_size_multiple=8) == []


@settings(deadline=None, max_examples=200)
@given(
    sizes=st.lists(st.integers(1, 40), min_size=1, max_size=60),
    multiple=st.sampled_from([1, 2, 3, 8, 16]),
    max_tokens=st.one_of(st.none(), st.integers(40, 300)),
    max_sentences=st.one_of(st.none(), st.integers(1, 20)),
    vectorised=st.booleans(),
)
def test_every_index_is_in_exactly_one_batch(sizes, multiple, max_tokens, max_sentences, vectorised):
    sizes = np.array(sizes)
    order = np.argsort(sizes, kind="stable")
    batches = data_utils.batch_by_size(
        order,
        num_tokens_fn=lambda i: int(sizes[i]),
        num_tokens_vec=sizes[order] if vectorised else None,
        max_tokens=max_tokens,
        max_sentences=max_sentences,
        required_batch_size_multiple=multiple,
    )
    assert np.concatenate(batches).tolist() == order.tolist()
    for batch in batches:
        assert len(batch) <= (max_sentences or len(sizes))
        assert len(batch) * sizes[batch].max() <= (max_tokens or np.inf)


def test_what_was_right_stays_as_it_was():
    arguments = dict(num_tokens_fn=lambda i: 1, max_sentences=4, required_batch_size_multiple=4)
    assert [b.tolist() for b in data_utils.batch_by_size(range(8), **arguments)] == [[0, 1, 2, 3], [4, 5, 6, 7]]
    shapes = dict(num_tokens_fn=lambda i: 1, fixed_shapes=[(2, 5), (1, 9)], required_batch_size_multiple=8)
    batches = data_utils.batch_by_size(range(3), **shapes)
    assert sorted(int(i) for batch in batches for i in batch) == [0, 1, 2]

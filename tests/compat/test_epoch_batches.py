"""What a resumed epoch reads, and in which order, is what it would have read."""

from argparse import Namespace

import numpy as np
import pytest
from fairseq.data import FairseqDataset
from fairseq.data.iterators import EpochBatchIterator
from fairseq.tasks import FairseqTask

from leap_fairseq import compat
from leap_fairseq.compat.replacing import original

# Of a loader without a GPU.
pytestmark = pytest.mark.filterwarnings("ignore:'pin_memory'")

compat.apply()


class Shuffled(FairseqDataset):
    """Items in an order that is drawn, as of a language model's."""

    supports_prefetch = True

    def __init__(self, anew_each_epoch=False):
        self.anew_each_epoch, self.epochs = anew_each_epoch, []

    @property
    def can_reuse_epoch_itr_across_epochs(self):
        return not self.anew_each_epoch

    def __len__(self):
        return 40

    def __getitem__(self, index):
        return index

    def collater(self, samples):
        return samples

    def ordered_indices(self):
        return np.random.permutation(len(self))

    def num_tokens(self, index):
        return 1

    def prefetch(self, indices):
        pass

    def set_epoch(self, epoch):
        self.epochs.append(epoch)


def iterate(dataset, epoch=1, shard=0, **options):
    task = FairseqTask(Namespace(data=""))
    return task.get_batch_iterator(dataset, max_sentences=3, num_shards=2, shard_id=shard, epoch=epoch, **options)


def resumed_reads_the_same(shard=0, fixed=False, epochs_before=2):
    """Whether an iterator that takes over within an epoch reads the rest of it, and the next one, as the other does."""
    straight, dataset = iterate(Shuffled(), shard=shard), Shuffled()
    for _ in range(epochs_before):
        list(straight.next_epoch_itr(fix_batches_to_gpus=fixed))
    begun = straight.next_epoch_itr(fix_batches_to_gpus=fixed)
    for _ in range(3):
        next(begun)
    place = straight.state_dict()
    expected = list(begun), list(straight.next_epoch_itr(fix_batches_to_gpus=fixed))
    resumed = iterate(dataset, epoch=place["epoch"], shard=shard)
    resumed.load_state_dict(place)
    found = tuple(list(resumed.next_epoch_itr(fix_batches_to_gpus=fixed)) for _ in range(2))
    assert dataset.epochs[-2:] == [epochs_before + 1, epochs_before + 2]
    return found == expected


@pytest.mark.parametrize("fixed", [False, True])
@pytest.mark.parametrize("shard", [0, 1])
def test_a_resumed_epoch_reads_the_rest(shard, fixed):
    assert resumed_reads_the_same(shard, fixed)


def test_the_controls_that_fairseq_alone_reads_others(monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(FairseqTask, "get_batch_iterator", original(FairseqTask.get_batch_iterator))
        assert not resumed_reads_the_same() and resumed_reads_the_same(epochs_before=0)
    monkeypatch.setattr(EpochBatchIterator, "next_epoch_itr", original(EpochBatchIterator.next_epoch_itr))
    assert not resumed_reads_the_same(1, fixed=True) and resumed_reads_the_same(1)


def test_batches_that_are_made_anew_are_those_of_their_epoch():
    assert iterate(Shuffled(), epoch=3).frozen_batches[0].tolist() == iterate(Shuffled()).frozen_batches[0].tolist()
    for options in ({"anew_each_epoch": True}, {}):
        given = {} if options else {"disable_iterator_cache": True}
        batches = [iterate(Shuffled(**options), epoch=epoch, **given).frozen_batches[0].tolist() for epoch in (1, 3)]
        assert batches[0] != batches[1]

"""The batches of an epoch are the same, however often a training was stopped on the way there.

What an uninterrupted training reads is right by definition; a resumed one is made to read the same.
"""

import argparse
import inspect
from typing import Callable

import numpy as np
from fairseq.data import FairseqDataset
from fairseq.data.iterators import EpochBatchIterator
from fairseq.tasks import FairseqTask

from leap_fairseq.compat.replacing import quiet, replace


def repair_epoch_batches() -> None:
    """Gives a resumed training the batches of an uninterrupted one.

    fairseq 0.12.2 makes the batches of a shuffled data set with seed + epoch, and keeps them for all later epochs. A
    training that is resumed in its second epoch makes others: a language model reads a part of the text twice and
    another not at all. The order of the batches, which is drawn anew for each epoch, is not affected.
    """
    replace([FairseqTask], "get_batch_iterator", _as_in_the_first_epoch, symptom=_depends_on_the_epoch_of_resuming)


def repair_order_of_batches() -> None:
    """Lets ``--curriculum`` end, and ``--fix-batches-to-gpus`` hold in a resumed epoch.

    fairseq 0.12.2 goes on with the loader of the first epoch and forgets what a later one was asked for: with
    ``--curriculum``, no epoch is shuffled until the training is resumed. And the rest of an interrupted epoch is
    prepared before it is known how batches are dealt to processes.
    """
    replace([EpochBatchIterator], "_get_iterator_for_epoch", _as_asked_for, symptom=_stays_unshuffled)
    replace([EpochBatchIterator], "next_epoch_itr", _dealt_as_asked_for, symptom=_deals_otherwise)


def _depends_on_the_epoch_of_resuming(build: Callable) -> bool:
    task = argparse.Namespace(dataset_to_epoch_iter={}, can_reuse_epoch_itr=lambda dataset: True, cfg=None)
    with quiet("fairseq.tasks.fairseq_task"):
        first, second = (build(task, _Shuffled(), epoch=epoch).frozen_batches for epoch in (1, 2))
    return first != second


class _Shuffled(FairseqDataset):
    def ordered_indices(self) -> np.ndarray:
        return np.random.permutation(16)

    def batch_by_size(self, indices: np.ndarray, **limits: int) -> list:
        return indices.tolist()


def _as_in_the_first_epoch(build: Callable) -> Callable:
    signature = inspect.signature(build)

    def get_batch_iterator(*args, **kwargs):
        call = signature.bind(*args, **kwargs)
        call.apply_defaults()
        given = call.arguments
        task, dataset, epoch = given["self"], given["dataset"], given["epoch"]
        made_anew = given["disable_iterator_cache"] or given["update_epoch_batch_itr"]
        if made_anew or dataset in task.dataset_to_epoch_iter or not task.can_reuse_epoch_itr(dataset):
            return build(*args, **kwargs)
        given["epoch"] = 1
        iterator = build(*call.args, **call.kwargs)
        iterator.epoch = max(epoch, 1)
        dataset.set_epoch(epoch)
        return iterator

    return get_batch_iterator


def _stays_unshuffled(get: Callable) -> bool:
    sampler = argparse.Namespace(shuffle=False, make_batches_for_epoch=lambda epoch, offset: None)
    iterator = argparse.Namespace(epoch_batch_sampler=sampler, dataloader=[], reuse_dataloader=True)
    iterator.buffer_size, iterator.skip_remainder_batch = 0, False
    get(iterator, 2, shuffle=True)
    return not sampler.shuffle


def _as_asked_for(get: Callable) -> Callable:
    def _get_iterator_for_epoch(self, epoch, shuffle, fix_batches_to_gpus=False, offset=0):
        if self.dataloader is not None:
            self.epoch_batch_sampler.shuffle = shuffle
            self.epoch_batch_sampler.fix_batches_to_gpus = fix_batches_to_gpus
        return get(self, epoch, shuffle, fix_batches_to_gpus=fix_batches_to_gpus, offset=offset)

    return _get_iterator_for_epoch


def _deals_otherwise(advance: Callable) -> bool:
    prepared, sampler = argparse.Namespace(n=1), argparse.Namespace(shuffle=True)
    iterator = argparse.Namespace(epoch=2, next_epoch_idx=2, dataset=None, disable_shuffling=False)
    iterator._next_epoch_itr, iterator.epoch_batch_sampler = prepared, sampler
    iterator._get_iterator_for_epoch = lambda *asked: argparse.Namespace(n=1)
    return advance(iterator, fix_batches_to_gpus=True) is prepared


def _dealt_as_asked_for(advance: Callable) -> Callable:
    def next_epoch_itr(self, shuffle=True, fix_batches_to_gpus=False, set_dataset_epoch=True):
        if fix_batches_to_gpus and self._next_epoch_itr is not None:
            # That of load_state_dict, which does not know of it.
            shuffled, offset = self.epoch_batch_sampler.shuffle, self._next_epoch_itr.n
            self._next_epoch_itr = self._get_iterator_for_epoch(self.epoch, shuffled, True, offset)
        return advance(self, shuffle, fix_batches_to_gpus, set_dataset_epoch)

    return next_epoch_itr

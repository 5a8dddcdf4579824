"""A stretch of a text, for an evaluation in several processes: the tokens before it are the context of its first."""

import numpy as np
from fairseq.data import BaseWrapperDataset, LMContextWindowDataset
from fairseq.data.monolingual_dataset import MonolingualDataset


class ConsecutiveBlocks(BaseWrapperDataset):
    """Some blocks of a text, which keep their order.

    Args:
        dataset: all blocks.
        chosen: numbers of those that are read.
    """

    def __init__(self, dataset: MonolingualDataset, chosen: range):
        super().__init__(dataset)
        self.chosen = chosen

    def __len__(self) -> int:
        return len(self.chosen)

    def __getitem__(self, index: int) -> dict:
        return self.dataset[self.chosen[index]]

    @property
    def sizes(self) -> np.ndarray:
        """Tokens of each block."""
        return self.dataset.sizes[self.chosen.start : self.chosen.stop]

    def num_tokens(self, index: int) -> int:
        """Tokens of a block."""
        return self.dataset.num_tokens(self.chosen[index])

    def size(self, index: int) -> int:
        """Tokens of a block."""
        return self.dataset.size(self.chosen[index])

    def prefetch(self, indices) -> None:
        """fairseq's hook."""
        self.dataset.prefetch([self.chosen[index] for index in indices])


def blocks_in_context(
    dataset: MonolingualDataset, shard: int, shards: int, block: int, window: int, pad: int
) -> LMContextWindowDataset:
    """One of several stretches of equal length of a text, each block of which sees the tokens before it.

    Args:
        dataset: the blocks of the whole text.
        shard, shards: which stretch, of how many.
        block: the longest block that may be read, without its context.
        window: tokens of context.
        pad: index of the dictionary.

    Raises:
        ValueError: there are fewer blocks than stretches.
    """
    count = len(dataset)
    if shards > count:
        raise ValueError(f"the text has {count} blocks, which {shards} shards cannot share: choose fewer")
    chosen = range(count * shard // shards, count * (shard + 1) // shards)
    part = LMContextWindowDataset(ConsecutiveBlocks(dataset, chosen), block, window, pad)
    first = chosen.start
    while first > 0 and len(part.prev_tokens) < window:
        first -= 1
        before = dataset[first]["source"].numpy()
        part.prev_tokens = np.concatenate([before, part.prev_tokens]).astype(np.int64)[-window:]
    return part

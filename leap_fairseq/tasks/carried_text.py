"""A text as parallel streams of consecutive blocks: what a model reads that carries its state from block to block.

The text is cut into B streams of equal length, as in truncated back-propagation through time; batch i holds block i
of every stream. Nothing is shuffled, dropped or read twice: each token is a target exactly once.

Shape legend: N tokens of the text, B streams, T tokens of a block.
"""

from typing import Dict, List

import numpy as np
import torch
from fairseq.data import FairseqDataset
from torch import Tensor


class WholeText(FairseqDataset):
    """A split as one row of tokens, before it is known how many streams will read it.

    Args:
        tokens: int64 [N].
    """

    def __init__(self, tokens: Tensor):
        self.tokens = tokens

    def __len__(self) -> int:
        return self.tokens.numel()


class CarriedText(FairseqDataset):
    """Blocks of a text, in order; item i is a whole batch.

    Args:
        tokens: int64 [N], the text with its end-of-line tokens.
        num_streams: B of all processes together.
        rows: which of the streams are read here.
        block: T.
        pad, eos: indices of the dictionary; eos stands before the first token.
    """

    def __init__(self, tokens: Tensor, num_streams: int, rows: range, block: int, pad: int, eos: int):
        self.block, self.pad = block, pad
        length = -(-tokens.numel() // num_streams)
        fill = length * num_streams - tokens.numel()
        before = torch.cat((tokens.new_tensor([eos]), tokens[:-1]))
        # Only the last streams are filled up, at their ends, where no token follows.
        self.source, self.target = (
            torch.nn.functional.pad(x, (0, fill), value=pad).view(num_streams, length)[rows.start : rows.stop]
            for x in (before, tokens)
        )

    def __len__(self) -> int:
        return -(-self.source.shape[1] // self.block)

    def __getitem__(self, index: int) -> Dict:
        block = slice(index * self.block, (index + 1) * self.block)
        # fairseq's criterions ask for views, so a block must be in one piece.
        source, target = self.source[:, block].contiguous(), self.target[:, block].contiguous()
        real = target.ne(self.pad)
        return {
            "id": torch.arange(len(source)),
            "nsentences": len(source),
            "ntokens": int(real.sum()),
            "net_input": {"src_tokens": source, "src_lengths": real.sum(1), "continues": index > 0},
            "target": target,
        }

    def collater(self, samples: List[Dict]) -> Dict:
        """An item is a batch already."""
        return samples[0] if samples else {}

    def num_tokens(self, index: int) -> int:
        """Tokens of a batch."""
        return self.source.shape[0] * self.block

    def size(self, index: int) -> int:
        """Tokens of a block."""
        return self.block

    @property
    def sizes(self) -> np.ndarray:
        """Tokens of each block."""
        return np.full(len(self), self.block)

    def ordered_indices(self) -> np.ndarray:
        """The order of the text."""
        return np.arange(len(self))

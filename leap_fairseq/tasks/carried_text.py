"""A text as parallel streams of consecutive blocks: what a model reads that carries its state from block to block.

The text is cut into B streams of equal length, as in truncated back-propagation through time; batch i holds block i
of every stream. Nothing is shuffled, dropped or read twice: each token is a target exactly once.

Shape legend: N tokens of the text, B streams, T tokens of a block.
"""

from typing import Any, Dict, List, Optional

import torch
from fairseq import utils
from fairseq.data import FairseqDataset
from fairseq.distributed import utils as distributed_utils
from torch import Tensor


class WholeText(FairseqDataset):
    """A split as one row of tokens, before it is known how many streams will read it.

    Args:
        tokens: [N], of any integer type: the smaller, the less memory a corpus takes.
    """

    def __init__(self, tokens: Tensor):
        self.tokens = tokens

    def __len__(self) -> int:
        return self.tokens.numel()


class CarriedText(FairseqDataset):
    """Blocks of a text, in order; item i is a whole batch.

    Args:
        tokens: [N], of any integer type: the text with its end-of-line tokens; it is cut when it is read, not copied.
        num_streams: B of all processes together.
        rows: which of the streams are read here.
        block: T.
        pad, eos: indices of the dictionary; eos stands before the first token.
    """

    def __init__(self, tokens: Tensor, num_streams: int, rows: range, block: int, pad: int, eos: int):
        self.tokens, self.rows, self.block, self.pad, self.eos = tokens, rows, block, pad, eos
        self.stream_length = -(-tokens.numel() // num_streams)

    def __len__(self) -> int:
        return -(-self.stream_length // self.block)

    def __getitem__(self, index: int) -> Dict:
        source, target = (torch.stack([self._cut(row, index, shift) for row in self.rows]) for shift in (-1, 0))
        real = target.ne(self.pad)
        return {
            "id": torch.arange(len(source)),
            "nsentences": len(source),
            "ntokens": int(real.sum()),
            "net_input": {"src_tokens": source, "src_lengths": real.sum(1), "continues": index > 0},
            "target": target,
        }

    def _cut(self, row: int, index: int, shift: int) -> Tensor:
        """Block `index` of a stream, int64 [T]; with shift -1 the tokens before it."""
        first = row * self.stream_length + index * self.block
        last = min(first + self.block, (row + 1) * self.stream_length)
        real = self.tokens[max(first + shift, 0) : min(last, len(self.tokens)) + shift].long()
        if first + shift < 0:
            real = torch.cat((real.new_tensor([self.eos]), real))
        # Only the last streams are filled up, at their ends, where no token follows.
        return torch.nn.functional.pad(real, (0, last - first - len(real)), value=self.pad)

    def collater(self, samples: List[Dict]) -> Dict:
        """An item is a batch already."""
        return samples[0] if samples else {}


def gather_rows(state: Optional[Dict[str, Any]]) -> Optional[Dict[str, Any]]:
    """The state of the streams of all processes, for which each calls this; on the CPU.

    Args:
        state: plain data, whose tensors have a row for each stream of this process; None before the first block.
    """
    if state is None:
        return None
    group = distributed_utils.get_data_parallel_group()

    def gather(rows: Tensor) -> Tensor:
        if distributed_utils.get_world_size(group) == 1:
            return rows.detach().cpu()
        return torch.cat(distributed_utils.all_gather(rows.detach().contiguous(), group)).cpu()

    return utils.apply_to_sample(gather, state)


def own_rows(state: Dict[str, Any], device: torch.device) -> Dict[str, Any]:
    """The reverse of :func:`gather_rows`: what is of this process's streams, on its device."""
    processes = distributed_utils.get_data_parallel_world_size()
    rank = distributed_utils.get_data_parallel_rank() if processes > 1 else 0
    return utils.apply_to_sample(lambda rows: rows.chunk(processes)[rank].to(device), state)

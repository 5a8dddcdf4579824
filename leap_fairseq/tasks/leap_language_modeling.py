"""``--task leap_language_modeling``: fairseq's language modelling, and with ``--carry-state`` context without end.

With it, blocks of a text are read in order and the state of the attention is carried from each to the next: training
sees all the text before a block (its gradient stops at the block's border), and one pass of evaluation gives every
token all the text before it, in constant memory. With and without it, fairseq-eval-lm scores all of a text or says why
it cannot.
"""

import logging
import os
from dataclasses import dataclass, field

import torch
from fairseq import utils
from fairseq.data import data_utils, iterators
from fairseq.distributed import utils as distributed_utils
from fairseq.tasks import register_task
from fairseq.tasks.language_modeling import LanguageModelingConfig, LanguageModelingTask

from leap_fairseq.tasks.carried_text import CarriedText, WholeText, gather_rows, own_rows
from leap_fairseq.tasks.consecutive_blocks import blocks_in_context
from leap_fairseq.tasks.recorded_training import RecordedTraining
from leap_fairseq.tasks.word_perplexity import score_words

logger = logging.getLogger(__name__)


@dataclass
class LeapLanguageModelingConfig(LanguageModelingConfig):
    """Options of ``--task leap_language_modeling``: fairseq's for ``language_modeling``, and the carried state."""

    carry_state: bool = field(
        default=False,
        metadata={
            "help": "read the text in order, in --batch-size parallel streams, and carry the attention state from "
            "block to block; --tokens-per-sample is the length of a block"
        },
    )


@register_task("leap_language_modeling", dataclass=LeapLanguageModelingConfig)
class LeapLanguageModelingTask(RecordedTraining, LanguageModelingTask):
    """Language modelling whose context may reach back to the beginning of the text.

    Source:
        Dai et al., Transformer-XL, ACL 2019, section 3.2 (the order of blocks); here the carried state is exact and
        of constant size.
    """

    @classmethod
    def setup_task(cls, args, **kwargs):
        """fairseq's hook.

        Raises:
            ValueError: an option that does not go with --carry-state.
        """
        if args.carry_state:
            if args.sample_break_mode not in (None, "none"):
                raise ValueError(
                    f"--sample-break-mode {args.sample_break_mode} does not go with --carry-state, which reads the "
                    "text without a break: use none"
                )
            for name in ("add_bos_token", "self_target", "future_target", "past_target", "pad_to_fixed_length"):
                if getattr(args, name, False):
                    raise ValueError(f"--{name.replace('_', '-')} does not go with --carry-state: leave it out")
        return super().setup_task(args, **kwargs)

    def build_model(self, args, from_checkpoint=False):
        """fairseq's hook.

        Raises:
            ValueError: a model whose state cannot be carried.
        """
        model = super().build_model(args, from_checkpoint)
        if self.args.carry_state:
            if not hasattr(model, "carries_state"):
                raise ValueError(f"--carry-state needs --arch leap_transformer_lm, not a {type(model).__name__}")
            model.check_carry(args)
        return model

    def load_dataset(self, split, epoch=1, combine=False, **kwargs):
        """fairseq's hook; with --carry-state the text is not cut before :meth:`get_batch_iterator`.

        Raises:
            FileNotFoundError: there is no such split.
            ValueError: blocks that have no token beside their context.
        """
        # fairseq-eval-lm has subtracted the window already.
        if self.args.tokens_per_sample < 1:
            raise ValueError(
                f"--tokens-per-sample less --context-window is {self.args.tokens_per_sample}, but must be 1 or more: "
                "the window is a part of the block, so choose a smaller one (half of the block computes each token "
                "twice)"
            )
        if not self.args.carry_state:
            return super().load_dataset(split, epoch, combine, **kwargs)
        paths = utils.split_paths(self.args.data)
        path = os.path.join(paths[(epoch - 1) % len(paths)], split)
        lines = data_utils.load_indexed_dataset(path, self.dictionary, self.args.dataset_impl, combine=combine)
        if lines is None:
            raise FileNotFoundError(f"no split {split} in {path}: make it by fairseq-preprocess")
        self.datasets[split] = WholeText(_in_one_row(lines))

    def get_batch_iterator(self, dataset, *args, **kwargs):
        """fairseq's hook: with --carry-state the batches are consecutive blocks of parallel streams.

        Raises:
            ValueError: --carry-state without --batch-size.
        """
        if not isinstance(dataset, WholeText):
            return super().get_batch_iterator(dataset, *args, **kwargs)
        streams = kwargs.get("max_sentences")
        if not streams:
            raise ValueError("--carry-state needs --batch-size, the number of streams that are read in parallel")
        shards, shard = kwargs.get("num_shards", 1), kwargs.get("shard_id", 0)
        blocks = CarriedText(
            dataset.tokens,
            streams * shards,
            range(streams * shard, streams * (shard + 1)),
            self.args.tokens_per_sample,
            self.dictionary.pad(),
            self.dictionary.eos(),
        )
        return iterators.EpochBatchIterator(
            dataset=blocks,
            collate_fn=blocks.collater,
            batch_sampler=[[index] for index in range(len(blocks))],
            seed=kwargs.get("seed", 1),
            num_workers=0,
            epoch=kwargs.get("epoch", 1),
            disable_shuffling=True,
        )

    def training_state(self, model):
        """What a checkpoint within an epoch needs beside the weights: the carried state of all processes, or None.

        It cannot be computed again, because the weights that computed it have changed since.
        """
        return gather_rows(model.carried_state()) if self.args.carry_state else None

    def resume_training_state(self, model, state):
        """Carries on from the state that a checkpoint holds.

        Raises:
            ValueError: it was trained with another number of streams.
        """
        if not self.args.carry_state:
            return
        if state is None:
            logger.warning(
                "the checkpoint has no carried state: the text before is missing until the end of this epoch"
            )
            return
        rows = len(state["seen"])
        streams = self.args.batch_size * distributed_utils.get_data_parallel_world_size()
        if rows != streams:
            raise ValueError(
                f"the text was read in {rows} parallel streams, not {streams}: give a --batch-size that makes {rows} "
                "with the number of processes, or --reset-dataloader to begin the text anew"
            )
        model.carry_on(own_rows(state, model.decoder.dictionary_crc32.device))

    def eval_lm_dataloader(self, dataset, max_tokens=36000, max_positions=None, context_window=0, **kwargs):
        """fairseq-eval-lm's hook: every token is scored, within the context that was asked for.

        fairseq 0.12.2 leaves out blocks that are longer than the model's positions and calls the perplexity of nothing
        1.00; shards and several loading processes break the order of the blocks from which the context is taken; and
        the limit of tokens in a batch does not count the context. Here a shard that has a context is a stretch of the
        text. With --carry-state there is one stream unless --batch-size says otherwise, so that every token has all the
        text before it. With --post-process, the figures are per word.

        Raises:
            ValueError: blocks or a context that cannot be scored, no text, or a context window beside --carry-state.
        """
        score_words()
        if context_window < 0:
            raise ValueError(f"--context-window is {context_window}, but must be 0 or more")
        if len(dataset) == 0:
            raise ValueError("the text has no token to be scored: give another --gen-subset")
        if isinstance(dataset, WholeText):
            if context_window > 0:
                raise ValueError("--context-window does not go with --carry-state, which needs none: leave it out")
            shards = {name: kwargs[name] for name in ("num_shards", "shard_id") if name in kwargs}
            streams = kwargs.get("batch_size") or 1
            return self.get_batch_iterator(dataset, max_sentences=streams, **shards).next_epoch_itr(shuffle=False)
        block = int(max(dataset.sizes)) + context_window
        if max_positions is not None and block > max_positions:
            raise ValueError(
                f"a block of {block} tokens is longer than the {max_positions} positions of the model: give "
                f"--tokens-per-sample {max_positions} or less, or read the text in order by --task "
                "leap_language_modeling --carry-state"
            )
        if context_window > 0:
            stride = self.args.tokens_per_sample
            _log_cost(stride + context_window, context_window)
            max_tokens = max_tokens and max(max_tokens * stride // (stride + context_window), stride)
            kwargs["num_workers"] = min(kwargs.get("num_workers", 1), 1)
            shard, shards = kwargs.pop("shard_id", 0), kwargs.pop("num_shards", 1)
            blocks = blocks_in_context(dataset, shard, shards, stride, context_window, self.dictionary.pad())
            # What remains to be done is the same as without a context.
            dataset, context_window = blocks, 0
        return super().eval_lm_dataloader(
            dataset, max_tokens=max_tokens, max_positions=max_positions, context_window=context_window, **kwargs
        )


def _log_cost(block: int, window: int) -> None:
    """Says how many times a token is computed when `window` of a block are context, and with smaller windows."""
    costs = {size: block / (block - size) for size in (window, block // 2, block // 4) if 0 < size <= window}
    cost = costs.pop(window)
    cheaper = "; ".join(f"a window of {size} would compute it {less:.1f} times" for size, less in costs.items())
    logger.info("--context-window %d: each token is computed %.1f times%s", window, cost, cheaper and f" ({cheaper})")


def _in_one_row(lines) -> torch.Tensor:
    """The tokens of an indexed data set, int32 [N]: half of what fairseq's int64 would take of a large corpus."""
    tokens = torch.empty(int(sum(lines.sizes)), dtype=torch.int32)
    first = 0
    for index in range(len(lines)):
        line = lines[index]
        tokens[first : first + len(line)] = line
        first += len(line)
    return tokens

"""fairseq-eval-lm: what it would answer with a plausible wrong number is an error, and a window's cost is said."""

import logging
from typing import Callable

from fairseq.tasks.language_modeling import LanguageModelingTask

from leap_fairseq.compat.replacing import replace

logger = logging.getLogger(__name__)


def repair_language_model_evaluation() -> None:
    """Refuses blocks that cannot be scored, and keeps the context of ``--context-window`` whole.

    fairseq 0.12.2 leaves out blocks that are longer than the model's positions and calls the perplexity of nothing
    1.00; a window as long as the block ends in an arithmetic error or an endless loop; shards and several loading
    processes break the order of the blocks from which the context is taken; and the limit of tokens in a batch does
    not count the context.
    """
    replace([LanguageModelingTask], "load_dataset", _with_room_for_targets)
    replace([LanguageModelingTask], "eval_lm_dataloader", _checked)


def window_cost(block: int, window: int) -> float:
    """How many times each token is computed.

    Args:
        block: tokens that the model reads at once, of which ``window`` are context.
        window: as ``--context-window``, below ``block``.
    """
    return block / (block - window)


def _with_room_for_targets(load: Callable) -> Callable:
    def load_dataset(self, split, *args, **kwargs):
        # fairseq-eval-lm has subtracted the window already.
        if self.args.tokens_per_sample < 1:
            raise ValueError(
                f"--tokens-per-sample less --context-window is {self.args.tokens_per_sample}, but must be 1 or more: "
                "the window is a part of the block, so choose a smaller one (half of the block computes each token "
                "twice)"
            )
        return load(self, split, *args, **kwargs)

    return load_dataset


def _checked(original: Callable) -> Callable:
    def eval_lm_dataloader(self, dataset, max_tokens=36000, max_positions=None, context_window=0, **options):
        if context_window < 0:
            raise ValueError(f"--context-window is {context_window}, but must be 0 or more")
        if len(dataset) == 0:
            raise ValueError("the text has no token to be scored: give another --gen-subset")
        longest = int(max(dataset.sizes)) + context_window
        if max_positions is not None and longest > max_positions:
            raise ValueError(
                f"a block of {longest} tokens is longer than the {max_positions} positions of the model: give "
                f"--tokens-per-sample {max_positions} or less, or read the text in order by --task "
                "leap_language_modeling --carry-state"
            )
        if context_window > 0:
            shards = options.get("num_shards", 1)
            if shards > 1:
                raise ValueError(
                    f"--context-window needs the text in one piece, but it is read in {shards} shards: add "
                    "--distributed-world-size 1 --num-shards 1"
                )
            stride = self.args.tokens_per_sample
            _say_cost(stride + context_window, context_window)
            max_tokens = max_tokens and max(max_tokens * stride // (stride + context_window), stride)
            options["num_workers"] = min(options.get("num_workers", 1), 1)
        options.update(max_tokens=max_tokens, max_positions=max_positions, context_window=context_window)
        return original(self, dataset, **options)

    return eval_lm_dataloader


def _say_cost(block: int, window: int) -> None:
    cheaper = [other for other in (block // 2, block // 4) if 0 < other < window]
    advice = "; ".join(
        f"a window of {other} would compute it {window_cost(block, other):.1f} times" for other in cheaper
    )
    logger.info(
        "--context-window %d: each token is computed %.1f times%s",
        window,
        window_cost(block, window),
        advice and f" ({advice})",
    )

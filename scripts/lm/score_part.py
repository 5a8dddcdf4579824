#!/usr/bin/env python
"""fairseq-eval-lm for a part of a text: writes the numbers of its tokens and words and the sum of log-probabilities.

    python scripts/lm/score_part.py OUT.json SHARD SHARDS OPTION OF fairseq-eval-lm ...

A part of `eval_parts.py`. What each mode of reading makes a part is decided here, so that all parts together are scored
as the text is by one process.
"""

import json
import math
import sys
from typing import Any, List, Optional

from fairseq import options
from fairseq.dataclass.utils import convert_namespace_to_omegaconf
from fairseq.distributed import utils as distributed_utils
from fairseq.sequence_scorer import SequenceScorer
from fairseq_cli import eval_lm

from leap_fairseq.files import whole_file
from leap_fairseq.tasks.word_perplexity import Counter


class SummingScorer(SequenceScorer):
    """Keeps the sum of each block: fairseq adds them up in float32 and shows four digits.

    Attributes:
        post_process: of the command line, where perplexities per word are asked for.
    """

    sums: List[float] = []
    tokens = words = 0
    post_process: Optional[str] = None

    def __init__(self, dictionary, *args, **kwargs):
        super().__init__(dictionary, *args, **kwargs)
        self.counter = Counter(dictionary, self.post_process) if self.post_process else None

    def generate(self, models, sample, **kwargs):
        """fairseq's hook."""
        found = super().generate(models, sample, **kwargs)
        for scores in (best[0]["positional_scores"] for best in found):
            self.sums.append(float(scores.double().sum()))
            type(self).tokens += scores.numel()
        if self.counter:
            for best in found:
                self.counter.count(best[0]["tokens"])
            type(self).words = self.counter.words
        return found


def choose_part(cfg: Any, shard: int, shards: int) -> None:
    """Has fairseq read one of several parts.

    Raises:
        ValueError: options for which the parts do not make the whole.
    """
    of_one = {**cfg.common_eval, **cfg.eval_lm, "add_bos_token": getattr(cfg.task, "add_bos_token", False)}
    for name in ("output_word_probs", "output_word_stats", "add_bos_token"):
        if of_one[name]:
            raise ValueError(f"--{name.replace('_', '-')} is for one process: leave out PROCESSES and PARTS")
    if getattr(cfg.task, "carry_state", False):
        streams = cfg.dataset.batch_size or 1
        if streams % shards:
            raise ValueError(
                f"--carry-state reads the text in order, in as many streams as --batch-size says. {shards} processes "
                f"cannot share {streams} of them: leave PROCESSES out, or give a --batch-size that is a multiple"
            )
        cfg.dataset.batch_size = streams // shards
    cfg.dataset.num_shards, cfg.dataset.shard_id = shards, shard


def main() -> None:
    """Scores the part that the command line names."""
    out, shard, shards, *words = sys.argv[1:]
    given = options.parse_args_and_arch(options.get_eval_lm_parser(), words)
    cfg = convert_namespace_to_omegaconf(given)
    try:
        choose_part(cfg, int(shard), int(shards))
    except ValueError as error:
        sys.exit(str(error))
    # A part divides by no words of its own: those of all parts are counted first.
    SummingScorer.post_process, cfg.common_eval.post_process = cfg.common_eval.post_process, None
    eval_lm.SequenceScorer = SummingScorer
    distributed_utils.call_main(cfg, eval_lm.main)
    with whole_file(out, text=True) as file:
        sums = {"tokens": SummingScorer.tokens, "nats": -math.fsum(SummingScorer.sums)}
        json.dump({**sums, "words": SummingScorer.words} if SummingScorer.post_process else sums, file)


if __name__ == "__main__":
    main()

"""Generation: what is written after a prompt or a source does not depend on the batch, and n-grams do not repeat.

Shape legend: B sentences, R rows (the hypotheses of all sentences), V symbols.
"""

from types import SimpleNamespace
from typing import Callable, List

import torch
from fairseq.ngram_repeat_block import NGramRepeatBlock
from fairseq.sequence_generator import EnsembleModel, SequenceGenerator
from torch import Tensor

from leap_fairseq.compat.replacing import replace

PAD, EOS = 1, 2
"""Of the trials below."""


def repair_short_prefixes() -> None:
    """Holds a sentence to ``--min-len`` from the end of its own prefix on.

    fairseq 0.12.2 frees all sentences from the minimum, and from tokens to suppress, as long as the longest prefix of
    the batch lasts: an empty line among the prompts of fairseq-interactive may end at once, and alone it may not.
    """
    replace([SequenceGenerator], "_prefix_tokens", _holding_whoever_is_free, symptom=_frees_a_short_prefix)


def _frees_a_short_prefix(prefix_tokens: Callable) -> bool:
    generator = SimpleNamespace(pad=PAD, eos=EOS, min_len=1, token_indices_to_suppress=None)
    row = torch.zeros(1, 4)
    lprobs, _, _ = prefix_tokens(generator, 0, row.clone(), row, row.long(), torch.tensor([[PAD]]), 1)
    return bool(lprobs[0, EOS].isfinite())


def _holding_whoever_is_free(forces: Callable) -> Callable:
    def _prefix_tokens(self, step, lprobs, scores, tokens, prefix_tokens, beam_size):
        free = prefix_tokens[:, step].eq(self.pad).repeat_interleave(beam_size).unsqueeze(1)
        lprobs, tokens, scores = forces(self, step, lprobs, scores, tokens, prefix_tokens, beam_size)
        barred = torch.zeros_like(lprobs[:1], dtype=torch.bool)
        if step < self.min_len:
            barred[:, self.eos] = True
        if self.token_indices_to_suppress is not None:
            barred[:, self.token_indices_to_suppress] = True
        return lprobs.masked_fill_(free & barred, -torch.inf), tokens, scores

    return _prefix_tokens


def repair_repeated_ngrams() -> None:
    """Lets ``--no-repeat-ngram-size`` see what has been written, and leaves a way where everything would repeat.

    fairseq 0.12.2 compares with the end of a buffer that is padded up to the maximum length, so that the option has no
    effect before the last token, and none at all with 1; and it would forbid what a prefix that repeats itself forces.
    """
    replace([NGramRepeatBlock], "forward", lambda padded: _forbid_repetitions, symptom=_lets_a_word_repeat)


def _lets_a_word_repeat(forward: Callable) -> bool:
    block = NGramRepeatBlock(2, use_extension=False)
    written = torch.tensor([[EOS, 3, 4, 3, PAD, PAD, PAD]])
    return bool(forward(block, written, torch.zeros(1, 5), 1, 1, 3)[0, 4].isfinite())


def _forbid_repetitions(self, tokens: Tensor, lprobs: Tensor, bsz: int, beam_size: int, step: int) -> Tensor:
    """Forbids the tokens that would write an n-gram for the second time.

    Args:
        self: with ``no_repeat_ngram_size``.
        tokens: int64 [R, length], the symbol that they begin with, `step` written ones, and padding.
        lprobs: [R, V], changed in place. A row of which nothing would be left, as that of a forced token, stays.
        bsz, beam_size: R is their product.
        step: how many tokens were written.
    """
    size, written = self.no_repeat_ngram_size, tokens[:, 1 : step + 1]
    if step < size:
        return lprobs
    ngrams = written.unfold(1, size, 1)
    begun = ngrams[..., :-1].eq(written[:, None, step - size + 1 :]).all(-1)
    banned = torch.zeros_like(lprobs, dtype=torch.int64).scatter_add_(1, ngrams[..., -1], begun.long()) > 0
    left = (~banned & lprobs.isfinite()).any(1, keepdim=True)
    return lprobs.masked_fill_(banned & left, -torch.inf)


def repair_maximum_lengths() -> None:
    """Ends a sentence at the maximum length of its own source.

    fairseq 0.12.2 takes that of the longest source of a batch for all its sentences (``--max-len-a``,
    ``--match-source-len``), so that a sentence may be written longer beside others than alone.
    """
    needed = _exceeds_its_own(None)
    replace([SequenceGenerator], "__init__", _counting_sources, symptom=lambda _: needed)
    replace([SequenceGenerator], "is_finished", _at_its_own, symptom=lambda _: needed)
    replace([SequenceGenerator], "_generate", _with_prefixes_in_it, symptom=lambda _: needed)


class _Endless(EnsembleModel):
    """Writes one word for ever."""

    models_size = 1

    def __init__(self):
        torch.nn.Module.__init__(self)

    def set_decoder_beam_size(self, beam_size):
        pass

    def max_decoder_positions(self):
        return 9

    def forward_encoder(self, net_input):
        return []

    def forward_decoder(self, tokens, encoder_outs, incremental_states, temperature):
        return tokens.new_tensor([-9.0, -9.0, -8.0, 0.0], dtype=torch.float32).repeat(len(tokens), 1), None

    def reorder_encoder_out(self, encoder_outs, new_order):
        return []

    def reorder_incremental_state(self, incremental_states, new_order):
        pass


class _Symbols:
    pad, unk, eos = (lambda self: PAD), (lambda self: 0), (lambda self: EOS)

    def __len__(self):
        return 4


def _exceeds_its_own(_) -> bool:
    sources = {"src_tokens": torch.tensor([[3, 3, 3], [3, PAD, PAD]]), "src_lengths": torch.tensor([3, 1])}
    generator = SequenceGenerator(_Endless(), _Symbols(), max_len_a=1, max_len_b=0)
    written: List = generator._generate({"net_input": sources})
    return len(written[1][0]["tokens"]) != 2


def _counting_sources(build: Callable) -> Callable:
    def __init__(self, *args, **kwargs):
        build(self, *args, **kwargs)
        self.own_limits = None
        if self.max_len_a > 0 or self.match_source_len:
            # fairseq keeps the lengths of the sentences that are being written there, if it is asked to.
            self.should_set_src_lengths = True
            self.search.step = _ending_in_time(self, self.search.step)

    return __init__


def _ending_in_time(generator: SequenceGenerator, step_on: Callable) -> Callable:
    def step(step, lprobs, *args, **kwargs):
        generator.own_limits = _limits(generator, generator.search.src_lengths)
        others = torch.arange(lprobs.shape[-1], device=lprobs.device) != generator.eos
        lprobs = lprobs.masked_fill((step >= generator.own_limits).view(-1, 1, 1) & others, -torch.inf)
        return step_on(step, lprobs, *args, **kwargs)

    return step


def _limits(generator: SequenceGenerator, lengths: Tensor) -> Tensor:
    """The most tokens that are written for sources of these lengths, int64 [B] both."""
    if generator.match_source_len:
        return lengths
    return (generator.max_len_a * lengths.double() + generator.max_len_b).long().clamp(max=generator.max_len - 1)


def _at_its_own(finished: Callable) -> Callable:
    def is_finished(self, step, unfin_idx, max_len, *args):
        limit = max_len if self.own_limits is None else int(self.own_limits[unfin_idx])
        return finished(self, step, unfin_idx, limit, *args)

    return is_finished


def _with_prefixes_in_it(generate: Callable) -> Callable:
    def _generate(self, sample, prefix_tokens=None, *args, **kwargs):
        lengths = sample["net_input"].get("src_lengths")
        if self.should_set_src_lengths and lengths is not None:
            limits = _limits(self, lengths)
            if self.min_len > limits.min():
                raise ValueError(
                    f"--min-len {self.min_len} is more than the {int(limits.min())} tokens that --max-len-a "
                    f"{self.max_len_a} and --max-len-b {self.max_len_b} allow a source of {int(lengths.min())}: give "
                    "a smaller minimum or a larger maximum"
                )
            if prefix_tokens is not None:
                late = torch.arange(prefix_tokens.shape[1], device=limits.device) >= limits.unsqueeze(1)
                prefix_tokens = prefix_tokens.masked_fill(late, self.pad)
        return generate(self, sample, prefix_tokens, *args, **kwargs)

    return _generate

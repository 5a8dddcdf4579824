"""The proportions that a translator gave to one sentence: where each frame and each token stands, in its own view.

The speech is streamed as always, and hooks on the LeaP networks note what they return: of the encoder at its last
encoding, of the decoder at the step that wrote each token. Static proportions (cosformer) follow from the positions.

Shape legend: N samples, T written tokens, H heads.
"""

from collections import deque
from contextlib import ExitStack, contextmanager
from typing import Iterable, Iterator, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np
import torch
from torch import nn

from leap_fairseq.attention import static_proportion
from leap_fairseq.report.proportions import Proportions, SentenceProportions
from leap_fairseq.streaming.frames import FRAME_MS
from leap_fairseq.streaming.translator import StreamingTranslator
from leap_fairseq.streaming.watching import noted_tokens, translate_recording, written_calls


def collect_proportions(
    translator: StreamingTranslator, speech: Iterable[Tuple[np.ndarray, int]]
) -> SentenceProportions:
    """Translates a recording and collects the proportions that were used.

    Where a frame is encoded anew at each step, only its last encoding is kept. A query is answered once, with the
    encoding of its time: in the upper layers, its proportion is not that of the whole sentence given at once, unless
    all of it had been read before the first token. With ``--encoder-visibility segment`` there is one encoding.

    Args:
        translator: in evaluation mode, not in long form; it is reset, and its numbers stay as they are.
        speech: samples [N] or [N, channels] and their rate in Hz, as :func:`leap_fairseq.speech.stream_file` yields
            them. Words can only be written between two segments: those of 40 ms show the policy's own delays.

    Returns:
        The proportions.

    Raises:
        ValueError: no attention of the model has proportions, nothing was written, or the translator is one of speech
            without end.
        AudioError: the recording cannot be read.
    """
    encoder, decoder = translator.model.encoder, translator.model.decoder
    groups = (
        [layer.self_attn for layer in encoder.transformer_layers],
        [layer.self_attn for layer in decoder.layers],
        [layer.encoder_attn for layer in decoder.layers],
    )
    kinds = tuple(group[0].kind for group in groups)
    names = tuple(kind.name for kind in kinds)
    if not any(kind.proportions for kind in kinds):
        raise ValueError(
            f"the attentions of this model are {', '.join(sorted(set(names)))}, which have no proportions: take a "
            "model with --decoder-cross-attention leap (learned proportions) or cosformer (static ones)"
        )
    once = translator.model.frames_are_final
    with ExitStack() as stack:
        heard = stack.enter_context(_noted(groups[0], last=None if once else 1))
        written = stack.enter_context(_noted(groups[1] + groups[2]))
        numbers = stack.enter_context(noted_tokens(decoder))
        length = translate_recording(translator, speech)
    tokens, frames, layers = len(translator.steps), translator.steps[-1].frames, len(groups[1])
    calls = written_calls(numbers, tokens)
    own = [_Notes(_of_calls(notes.query, calls), _of_calls(notes.key, calls)) for notes in written[:layers]]
    # Where frames are encoded anew, those of a cross-attention are of the last encoding; its queries are of each step.
    cross = [
        _Notes(_of_calls(notes.query, calls), notes.key if once else deque(notes.key, 1)) for notes in written[layers:]
    ]
    return SentenceProportions(
        encoder=_all(groups[0], heard, frames, frames),
        decoder=_all(groups[1], own, tokens, tokens),
        cross=_all(groups[2], cross, tokens, frames),
        kinds=names,
        pieces=tuple(translator.dictionary[step.token] for step in translator.steps),
        delays=tuple(step.delay for step in translator.steps),
        source_length=length,
        policy=str(translator.policy),
        decision_frames=translator.policy.decision_frames,
        frame_ms=FRAME_MS,
    )


class _Notes(NamedTuple):
    """What the LeaP networks of one attention returned, one call a member, [1, T, H]; empty without networks."""

    query: deque
    key: deque


def _of_calls(notes: deque, calls: Sequence[int]) -> deque:
    """Those of some calls; empty without networks."""
    return deque(notes[call] for call in calls) if notes else notes


@contextmanager
def _outputs(module: nn.Module, last: Optional[int] = None) -> Iterator[deque]:
    """Notes what a module returns inside the block: all of it, or the last calls only."""
    outputs: deque = deque(maxlen=last)
    handle = module.register_forward_hook(lambda _module, _inputs, output: outputs.append(output))
    try:
        yield outputs
    finally:
        handle.remove()


@contextmanager
def _noted(attentions: Sequence[nn.Module], last: Optional[int] = None) -> Iterator[List[_Notes]]:
    """Notes what the LeaP networks of each attention return inside the block."""
    with ExitStack() as stack:
        notes = []
        for attention in attentions:
            networks = [getattr(attention, name, nn.Identity()) for name in ("q_LeaP", "k_LeaP")]
            notes.append(_Notes(*(stack.enter_context(_outputs(network, last)) for network in networks)))
        yield notes


def _all(attentions: Sequence[nn.Module], notes: Sequence[_Notes], queries: int, keys: int) -> Tuple[Proportions, ...]:
    """The proportions of a group of attentions, a member a layer; none where the attention has none."""
    if attentions[0].kind.proportions is None:
        return ()
    if attentions[0].kind.proportions == "learned":
        return tuple(Proportions(*(_numbers(torch.cat(list(side), dim=1)[0]) for side in pair)) for pair in notes)
    return tuple(
        Proportions(
            *(
                _numbers(static_proportion(torch.arange(length), longest).unsqueeze(-1).expand(-1, attention.num_heads))
                for length, longest in zip((queries, keys), attention.max_positions)
            )
        )
        for attention in attentions
    )


def _numbers(proportion: torch.Tensor) -> np.ndarray:
    return proportion.float().cpu().numpy()

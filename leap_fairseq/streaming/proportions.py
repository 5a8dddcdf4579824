"""The proportions that a translator gave to one sentence: where each frame and each token stands, in its own view.

The speech is streamed as always, and hooks on the LeaP networks note what they return: of the encoder at its last
encoding, of the decoder at the step that wrote each token. Static proportions (cosformer) follow from the positions.

Shape legend: T written tokens, S encoder frames, H heads.
"""

from collections import deque
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, Iterable, Iterator, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np
import torch
from torch import Tensor, nn

from leap_fairseq.attention import static_proportion
from leap_fairseq.streaming.translator import StreamingTranslator

KINDS = ("leap", "cosformer")
"""The attentions that have proportions: learned ones, and static ones."""


class Proportions(NamedTuple):
    """Of one attention.

    Attributes:
        query: P_q, float32 [T, H] in [0, 1]; [S, H] in the encoder.
        key: P_k, float32 [S, H] in [0, 1]; [T, H] in the self-attention of the decoder.
    """

    query: Tensor
    key: Tensor


@dataclass(frozen=True)
class SentenceProportions:
    """The proportions of one sentence, a member a layer, from the bottommost.

    Attributes:
        encoder: of the self-attention over the speech that had been read when the last token was written.
        decoder: of the self-attention over the text.
        cross: of the attention of the text to the speech.
        kinds: of the three attentions, in this order: "leap", "cosformer", "relu", "elu" or "softmax". Where there are
            no proportions, there are no layers.
        pieces: the written tokens as the dictionary names them, "</s>" included. Query i writes piece i.
        delays: audio that had been received when each was written, ms.
        source_length: length of the recording, ms.
        lagging, ratio: k and r of the policy: piece i reads the first (i + k) * r frames.
    """

    encoder: Tuple[Proportions, ...]
    decoder: Tuple[Proportions, ...]
    cross: Tuple[Proportions, ...]
    kinds: Tuple[str, str, str]
    pieces: Tuple[str, ...]
    delays: Tuple[float, ...]
    source_length: float
    lagging: int
    ratio: int


def collect_proportions(
    translator: StreamingTranslator, speech: Iterable[Tuple[np.ndarray, int]]
) -> SentenceProportions:
    """Translates a recording and collects the proportions that were used.

    Where a frame is encoded anew at each step, only its last encoding is kept. A query is answered once, with the
    encoding of its time: in the upper layers, its proportion is not that of the whole sentence given at once, unless
    all of it had been read before the first token. With ``--encoder-visibility segment`` there is one encoding.

    Args:
        translator: in evaluation mode; it is reset, and its numbers stay as they are.
        speech: samples [N] or [N, channels] and their rate in Hz, as :func:`leap_fairseq.speech.stream_file` yields
            them. Words can only be written between two segments: those of 40 ms show the policy's own delays.

    Returns:
        The proportions, on the CPU.

    Raises:
        ValueError: no attention of the model has proportions, or nothing was written.
        AudioError: the recording cannot be read.
    """
    encoder, decoder = translator.model.encoder, translator.model.decoder
    groups = (
        [layer.self_attn for layer in encoder.transformer_layers],
        [layer.self_attn for layer in decoder.layers],
        [layer.encoder_attn for layer in decoder.layers],
    )
    kinds = tuple(_kind(group[0]) for group in groups)
    if not set(KINDS) & set(kinds):
        raise ValueError(
            f"the attentions of this model are {', '.join(sorted(set(kinds)))}, which have no proportions: take a "
            "model with --decoder-cross-attention leap (learned proportions) or cosformer (static ones)"
        )
    once = encoder.segment is not None
    with ExitStack() as stack:
        heard = stack.enter_context(_noted(groups[0], last=None if once else 1))
        written = stack.enter_context(_noted(groups[1] + groups[2]))
        encoded = stack.enter_context(_outputs(encoder, 1))
        length = _translate(translator, speech)
    if not translator.steps:
        raise ValueError(f"the recording of {length:.0f} ms is too short: nothing was written; take a longer one")
    tokens, layers = len(translator.steps), len(groups[1])
    cross = written[layers:]
    if once:
        frames = translator.encoder_frames
    else:
        frames = encoded[-1]["encoder_out"][0].shape[0]
        with _noted(groups[2], last=1) as seen:
            _force(translator, encoded[-1])
        # The frames of a cross-attention are those of the last encoding; its queries are those of each step.
        cross = [_Notes(notes.query, last.key) for notes, last in zip(cross, seen)]
    return SentenceProportions(
        encoder=_all(groups[0], heard, frames, frames),
        decoder=_all(groups[1], written[:layers], tokens, tokens),
        cross=_all(groups[2], cross, tokens, frames),
        kinds=kinds,
        pieces=tuple(translator.dictionary[step.token] for step in translator.steps),
        delays=tuple(step.delay for step in translator.steps),
        source_length=length,
        lagging=translator.lagging,
        ratio=translator.ratio,
    )


class _Notes(NamedTuple):
    """What the LeaP networks of one attention returned, one call a member, [1, T, H]; empty without networks."""

    query: deque
    key: deque


def _kind(attention: nn.Module) -> str:
    return getattr(attention, "attention", "softmax")


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


def _translate(translator: StreamingTranslator, speech: Iterable[Tuple[np.ndarray, int]]) -> float:
    """Streams a recording; returns its length in ms."""
    translator.reset()
    length = 0.0
    for samples, rate in speech:
        translator.push(samples, rate)
        length += len(samples) * 1000 / rate
    translator.finish()
    return length


@torch.no_grad()
def _force(translator: StreamingTranslator, encoder_out: Any) -> None:
    """Computes the written tokens all at once, so that each attention sees all frames of an encoding in one call."""
    eos = translator.dictionary.eos()
    tokens = [eos, *(step.token for step in translator.steps[:-1])]
    device = encoder_out["encoder_out"][0].device
    translator.model.decoder(torch.tensor([tokens], device=device), encoder_out=encoder_out)


def _all(attentions: Sequence[nn.Module], notes: Sequence[_Notes], queries: int, keys: int) -> Tuple[Proportions, ...]:
    """The proportions of a group of attentions, a member a layer; none where the attention has none."""
    if _kind(attentions[0]) not in KINDS:
        return ()
    if _kind(attentions[0]) == "leap":
        return tuple(Proportions(*(torch.cat(list(side), dim=1)[0].float().cpu() for side in pair)) for pair in notes)
    return tuple(
        Proportions(
            *(
                static_proportion(torch.arange(length), longest).unsqueeze(-1).expand(-1, attention.num_heads)
                for length, longest in zip((queries, keys), attention.max_positions)
            )
        )
        for attention in attentions
    )

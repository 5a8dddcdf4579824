"""What each written token read of the speech: the weights of the cross-attention, of the frames of its time.

Linear attention has none while it streams. What its queries and frames were is noted, and the weights are computed
when all has been written, in the quadratic form.

Shape legend: N samples, T written tokens, S encoder frames, H heads, C model dimension.
"""

from contextlib import ExitStack, contextmanager
from typing import Any, Iterable, Iterator, List, NamedTuple, Sequence, Tuple

import numpy as np
import torch
from torch import Tensor

from leap_fairseq.report.alignment import SentenceAlignment
from leap_fairseq.streaming.frames import FRAME_MS
from leap_fairseq.streaming.translator import StreamingTranslator
from leap_fairseq.streaming.watching import noted_tokens, translate_recording, written_calls


def collect_alignment(translator: StreamingTranslator, speech: Iterable[Tuple[np.ndarray, int]]) -> SentenceAlignment:
    """Translates a recording and collects the weights with which its frames were read.

    Where a frame is encoded anew at each step, the weights of a token are those of the encoding of its time.

    Args:
        translator: in evaluation mode, not in long form, with any kind of attention; it is reset, and its numbers stay
            as they are.
        speech: samples [N] or [N, channels] and their rate in Hz, as :func:`leap_fairseq.speech.stream_file` yields
            them. Words can only be written between two segments: those of 40 ms show the policy's own delays.

    Returns:
        The weights.

    Raises:
        ValueError: nothing was written, or the translator is one of speech without end.
        AudioError: the recording cannot be read.
    """
    model = translator.model
    attentions = [layer.encoder_attn for layer in model.decoder.layers]
    with ExitStack() as stack:
        notes = [stack.enter_context(_noted(attention)) for attention in attentions]
        numbers = stack.enter_context(noted_tokens(model.decoder))
        length = translate_recording(translator, speech)
    read = [step.frames for step in translator.steps]
    calls = written_calls(numbers, len(read))
    return SentenceAlignment(
        weights=tuple(
            _weights(attention, noted, calls, read, model.frames_are_final)
            for attention, noted in zip(attentions, notes)
        ),
        read=tuple(read),
        kind=attentions[0].kind.name,
        pieces=tuple(translator.dictionary[step.token] for step in translator.steps),
        source_length=length,
        frame_ms=FRAME_MS,
    )


class _Notes(NamedTuple):
    """What one cross-attention was given.

    Attributes:
        frames: [S, 1, C], a member each time it absorbed some.
        queries: [1, 1, C], a member a call.
        absorbed: how often it had absorbed some by then, a member a call.
    """

    frames: List[Tensor]
    queries: List[Tensor]
    absorbed: List[int]


@contextmanager
def _noted(attention: Any) -> Iterator[_Notes]:
    """Notes what an attention is given inside the block."""
    notes = _Notes([], [], [])

    def note_query(_module: Any, _inputs: Any, options: Any) -> None:
        notes.queries.append(options["query"])
        notes.absorbed.append(len(notes.frames))

    def note_frames(_module: Any, inputs: Any) -> None:
        # Kinds differ in which of their dimensions is time; of one stream the other is 1.
        notes.frames.append(inputs[0].reshape(-1, 1, inputs[0].shape[-1]))

    handles = [
        attention.register_forward_pre_hook(note_query, with_kwargs=True),
        attention.k_proj.register_forward_pre_hook(note_frames),
    ]
    try:
        yield notes
    finally:
        for handle in handles:
            handle.remove()


@torch.no_grad()
def _weights(attention: Any, notes: _Notes, calls: Sequence[int], read: Sequence[int], once: bool) -> np.ndarray:
    """Weights [H, T, S] of the tokens that some calls have written, with 0 for frames that were not read.

    Args:
        attention: of one layer.
        notes: of it.
        calls: of the tokens.
        read: frames that each could read.
        once: each frame was encoded once; else all of them each time.
    """
    queries = torch.cat([notes.queries[call] for call in calls])
    absorbed = [notes.absorbed[call] for call in calls]
    weights = queries.new_zeros(attention.num_heads, len(read), max(read), dtype=torch.float32)
    for times in [absorbed[-1]] if once else sorted(set(absorbed)):
        frames = torch.cat(notes.frames[:times]) if once else notes.frames[times - 1]
        visible = torch.tensor(read).clamp(max=len(frames))
        hidden = (torch.arange(len(frames)) >= visible.unsqueeze(1)).to(frames.device)
        mask = torch.zeros(hidden.shape, device=frames.device, dtype=frames.dtype).masked_fill(hidden, -torch.inf)
        found = attention(queries, frames, frames, attn_mask=mask, need_weights=True, need_head_weights=True)[1][:, 0]
        rows = slice(None) if once else [row for row, count in enumerate(absorbed) if count == times]
        weights[:, rows, : len(frames)] = found[:, rows].float()
    return weights.cpu().numpy()

"""A recording is translated while hooks note what the model computes, for pictures of one sentence.

A policy may have a token computed several times before it is written: it was written as the last time.
"""

from contextlib import contextmanager
from typing import Any, Iterable, Iterator, List, Sequence, Tuple

import numpy as np

from leap_fairseq.streaming.translator import StreamingTranslator


def translate_recording(translator: StreamingTranslator, speech: Iterable[Tuple[np.ndarray, int]]) -> float:
    """Translates a recording of one sentence.

    Args:
        translator: in evaluation mode; it is reset.
        speech: samples [N] or [N, channels] and their rate in Hz, as :func:`leap_fairseq.speech.stream_file` yields
            them.

    Returns:
        Its length, ms.

    Raises:
        ValueError: nothing was written, or the translator is one of speech without end.
        AudioError: the recording cannot be read.
    """
    if translator.long_form:
        raise ValueError("a picture of one sentence cannot be made in long form: load the translator without it")
    translator.reset()
    length = 0.0
    for samples, rate in speech:
        translator.push(samples, rate)
        length += len(samples) * 1000 / rate
    translator.finish()
    if not translator.steps:
        raise ValueError(f"the recording of {length:.0f} ms is too short: nothing was written; take a longer one")
    return length


@contextmanager
def noted_tokens(decoder: Any) -> Iterator[List[int]]:
    """Notes which token each call of a decoder computes inside the block: its number in the sentence, from 0."""
    numbers: List[int] = []

    def note(_module: Any, _inputs: Any, options: Any) -> None:
        numbers.append(decoder.computed_tokens(options["incremental_state"]) - 1)

    handle = decoder.layers[0].encoder_attn.register_forward_pre_hook(note, with_kwargs=True)
    try:
        yield numbers
    finally:
        handle.remove()


def written_calls(numbers: Sequence[int], tokens: int) -> List[int]:
    """Which call wrote each token: the last one that computed it.

    Args:
        numbers: as noted.
        tokens: how many were written.
    """
    last = {number: call for call, number in enumerate(numbers)}
    return [last[number] for number in range(tokens)]

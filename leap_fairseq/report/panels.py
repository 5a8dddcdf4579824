"""Pictures of one sentence with a panel a decoder layer: which layers, and how the written pieces are spelt."""

from typing import List, Optional

from leap_fairseq.report.style import as_text
from leap_fairseq.speech.vocabulary import WORD_BOUNDARY


def layers_to_draw(count: int, layer: Optional[int]) -> List[int]:
    """The decoder layers to draw: the one that was asked for, or all.

    Args:
        count: how many there are.
        layer: 0 = the bottommost, as fairseq counts; None for all.

    Raises:
        ValueError: there is no such layer.
    """
    if layer is None:
        return list(range(count))
    if not 0 <= layer < count:
        raise ValueError(f"the decoder has no layer {layer}: choose --layer from 0 to {count - 1}")
    return [layer]


def piece_label(piece: str) -> str:
    """A piece of the vocabulary as matplotlib can write it."""
    # The boundary as a line on the base: its own sign would lie beside upright letters.
    return as_text(piece.replace(WORD_BOUNDARY, "_"))

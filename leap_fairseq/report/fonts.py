"""Fonts for Chinese, Japanese and Korean, which matplotlib's own font lacks, and a word where this system has none."""

import contextlib
import functools
import logging
from typing import Any, List, Set

logger = logging.getLogger(__name__)

FAMILIES = (
    *("Noto Sans CJK SC", "Noto Sans CJK JP", "Source Han Sans SC", "WenQuanYi Micro Hei", "WenQuanYi Zen Hei"),
    *("IPAexGothic", "IPAGothic", "Droid Sans Fallback", "Nanum Gothic", "PingFang SC", "Hiragino Sans"),
    *("Microsoft YaHei", "Yu Gothic", "Malgun Gothic", "SimHei", "Arial Unicode MS"),
)
"""Of common systems; matplotlib takes each character from the first font that has it."""

SHOWN = 8
"""Characters in a warning."""


@functools.cache
def families() -> List[str]:
    """Value of matplotlib's "font.family": its own font, then those of ``FAMILIES`` that this system has."""
    from matplotlib import font_manager

    manager = font_manager.fontManager
    # matplotlib remembers the fonts of its first start.
    known = {font.fname for font in manager.ttflist}
    for path in set(font_manager.findSystemFonts()) - known:
        with contextlib.suppress(OSError, RuntimeError):  # fonts that FreeType does not read, such as bitmaps
            manager.addfont(path)
    names = {font.name for font in manager.ttflist}
    return ["sans-serif", *(name for name in FAMILIES if name in names)]


def warn_of_missing(figure: Any) -> None:
    """Says in one line which characters of a figure are drawn as boxes, in place of matplotlib's line for each."""
    characters = missing(figure)
    if characters:
        logger.warning(
            "no font here has %d of the characters, such as %s: boxes stand for them. Install a font that does, such "
            "as Debian's fonts-noto-cjk or fonts-wqy-microhei, and draw again",
            *(len(characters), "".join(sorted(characters)[:SHOWN])),
        )


def missing(figure: Any) -> Set[str]:
    """The characters of a figure that none of its fonts has."""
    from matplotlib.text import Text

    found: Set[str] = set()
    for text in figure.findobj(Text):
        # Others are punctuation and letters that matplotlib's own font has.
        characters = {character for character in text.get_text() if ord(character) > 0x7F}
        if characters:
            found |= characters - _characters(tuple(text.get_fontfamily()))
    return found


@functools.cache
def _characters(names: Any) -> Set[str]:
    """What the fonts of some families have."""
    from matplotlib import font_manager, ft2font

    found: Set[str] = set()
    for name in names:
        path = font_manager.findfont(font_manager.FontProperties(family=[name]))
        found.update(map(chr, ft2font.FT2Font(path).get_charmap()))
    return found

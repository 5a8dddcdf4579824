"""Characters that matplotlib's own font lacks: drawn where the system has a font, and otherwise said."""

import logging
import warnings

import pytest

pytest.importorskip("matplotlib")

from matplotlib import font_manager, ft2font  # noqa: E402

from leap_fairseq.report import fonts, style  # noqa: E402

OTHER = "STIXGeneral"
"""A font that comes with matplotlib, and has what its default lacks."""


@pytest.fixture
def anew():
    """What was found out of the fonts is forgotten before and after."""
    fonts.families.cache_clear()
    yield
    fonts.families.cache_clear()


def characters(name):
    return set(ft2font.FT2Font(font_manager.findfont(name)).get_charmap())


@pytest.fixture
def lacking():
    """A character of the other font alone."""
    return chr(max(characters(OTHER) - characters("DejaVu Sans")))


def draw(text, path):
    pyplot = style.import_pyplot()
    with pyplot.rc_context(style.style_for(None, 4.0)):
        figure = pyplot.figure()
        figure.text(0.5, 0.5, text)
        style.save_figure(figure, path)
        pyplot.close(figure)
    return path.read_bytes()


def test_a_font_of_the_system_is_taken(anew, lacking, monkeypatch, tmp_path, caplog):
    monkeypatch.setattr(fonts, "FAMILIES", ("no such font", OTHER))
    assert fonts.families() == ["sans-serif", OTHER]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        drawn = draw(f"a{lacking}", tmp_path / "a.png")
        draw(f"a{lacking}", tmp_path / "a.pdf")
    assert "no font here" not in caplog.text
    fonts.families.cache_clear()
    monkeypatch.setattr(fonts, "FAMILIES", ())
    assert drawn != draw(f"a{lacking}", tmp_path / "a.png"), "the control draws a box"


def test_without_one_a_single_line_says_so(anew, lacking, monkeypatch, tmp_path, caplog, recwarn):
    monkeypatch.setattr(fonts, "FAMILIES", ())
    with caplog.at_level(logging.WARNING):
        draw("é" + lacking * 3, tmp_path / "a.png")
    (record,) = (record for record in caplog.records if record.levelno >= logging.WARNING)
    assert f"no font here has 1 of the characters, such as {lacking}: boxes" in record.getMessage()
    assert not [warning for warning in recwarn if "Glyph" in str(warning.message)]

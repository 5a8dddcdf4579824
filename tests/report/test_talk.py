"""The picture of a long recording: words at their times, boxes of sentences, references where there is room."""

import itertools

import pytest

pytest.importorskip("matplotlib")

from matplotlib.patches import Rectangle  # noqa: E402

from leap_fairseq.report import talk as module  # noqa: E402
from leap_fairseq.report.talk import plot_talk, sentences_of  # noqa: E402
from leap_fairseq.scoring.instances import Instance  # noqa: E402
from leap_fairseq.scoring.long_references import ReferenceSentence  # noqa: E402

SAID = ("Guten Morgen allerseits, liebe Freunde.", "Danke!", 'Das kostet $5 und nicht "$6."')


def talk(said=SAID, pause=1000.0):
    """What was written of some sentences, each 2 s long, a word every 300 ms, 700 ms late; and their references."""
    words, delays, references = [], [], []
    for number, text in enumerate(said):
        offset = number * (2000 + pause)
        references.append(ReferenceSentence("ted_1.wav", offset, 2000.0, "", text))
        words += text.split()
        delays += [offset + 700 + 300 * i for i in range(len(text.split()))]
    length = references[-1].offset + 4000
    text = " ".join(words)
    return Instance(0, text, None, delays, [], length, words, recording="a/ted_1.wav"), references


@pytest.fixture
def drawn(monkeypatch):
    figures, save = [], module.save_figure
    monkeypatch.setattr(module, "save_figure", lambda figure, path: (save(figure, path), figures.append(figure)))
    return figures


def dots(axes):
    return [line for line in axes.lines if line.get_linestyle() == "None"]


def boxes(axes):
    return [patch for patch in axes.patches if isinstance(patch, Rectangle)]


def test_words_and_sentences_of_the_references(tmp_path, drawn):
    instance, references = talk()
    plot_talk(instance, sentences_of(instance, references), tmp_path / "talk.pdf")
    axes = drawn[0].axes[0]
    assert [list(line.get_ydata()) for line in dots(axes)] == [[1, 2, 3, 4, 5], [6], [7, 8, 9, 10, 11, 12]]
    times = [time for line in dots(axes) for time in line.get_xdata()]
    assert times == pytest.approx([delay / 1000 for delay in instance.delays])
    found = [(box.get_x(), box.get_y(), box.get_width(), box.get_height()) for box in boxes(axes)]
    assert found == [(0, 0.5, 2, 5), (3, 5.5, 2, 1), (6, 6.5, 2, 6)]
    # One sentence after the other, without colour.
    first, second, third = dots(axes)
    assert first.get_marker() == third.get_marker() != second.get_marker()
    assert second.get_markerfacecolor() == "white" != first.get_markerfacecolor()
    assert [text.get_text().replace("\\", "") for text in axes.texts] == [SAID[0], SAID[1], SAID[2]]
    assert axes.get_title("left") == "ted_1: 12 words, 3 sentences"


def test_without_references_a_sentence_ends_with_its_mark(tmp_path, drawn):
    instance, _ = talk()
    plot_talk(instance, sentences_of(instance), tmp_path / "talk.svg")
    axes = drawn[0].axes[0]
    assert [list(line.get_ydata()) for line in dots(axes)] == [[1, 2, 3, 4, 5], [6], [7, 8, 9, 10, 11, 12]]
    assert not boxes(axes) and not axes.texts
    assert [list(s.numbers) for s in sentences_of(talk(("a b. c",))[0])] == [[0, 1], [2]]
    assert sentences_of(Instance(0, "", None, [], [], 5.0, [])) == []


@pytest.mark.parametrize("count, width, texts", [(12, None, range(6, 13)), (12, 7.7, range(6, 13)), (150, None, [0])])
def test_no_reference_lies_on_another_or_on_a_word(tmp_path, drawn, count, width, texts):
    """Of 150 sentences, none has room for its text."""
    instance, references = talk(SAID * (count // 3), pause=0.0)
    plot_talk(instance, sentences_of(instance, references), tmp_path / "talk.png", width=width)
    axes = drawn[0].axes[0]
    drawn[0].draw_without_rendering()
    extents = [text.get_window_extent() for text in axes.texts]
    assert not any(a.overlaps(b) for a, b in itertools.combinations(extents, 2))
    points = [axes.transData.transform(line.get_xydata()) for line in dots(axes)]
    assert not any(box.contains(*point) for box in extents for line in points for point in line)
    inside = axes.get_window_extent()
    assert all(inside.x0 <= box.x0 and box.x1 <= inside.x1 for box in extents)
    assert len(extents) in texts and len(boxes(axes)) == count


def test_a_part_of_the_recording(tmp_path, drawn):
    instance, references = talk()
    sentences = sentences_of(instance, references)
    plot_talk(instance, sentences, tmp_path / "talk.png", (2.5, 5.5))
    axes = drawn[0].axes[0]
    assert axes.get_xlim() == (2.5, 5.5) and [list(line.get_ydata()) for line in dots(axes)] == [[6]]
    with pytest.raises(ValueError, match="no word was written from 2.2 to 3 s: choose another span"):
        plot_talk(instance, sentences, tmp_path / "x.png", (2.2, 3.0))
    with pytest.raises(ValueError, match="recording 1 has no written word"):
        plot_talk(Instance(1, "", None, [], [], 5.0, []), [], tmp_path / "x.png")
    assert not (tmp_path / "x.png").exists()

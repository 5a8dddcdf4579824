"""The picture of what was read: its numbers where they belong, what had not been heard blank, and legible."""

import dataclasses

import numpy as np
import pytest

pytest.importorskip("matplotlib")

from leap_fairseq.report import alignment as module  # noqa: E402
from leap_fairseq.report.alignment import Scale, SentenceAlignment, plot_alignment  # noqa: E402

FRAMES, HEADS, LENGTH = 37, 4, 1500.0
PIECES = tuple("▁Ich ▁m ö ch te ▁am ▁M on tag ▁$ 5 . </s>".split())
READ = tuple(min(FRAMES, 4 * (index + 3)) for index in range(len(PIECES)))


def sentence(least=-0.02):
    """Random weights of two layers, from ``least`` to 0.1; a hundredth of them is 0.4."""
    generator = np.random.default_rng(0)
    weights = generator.uniform(least, 0.1, (2, HEADS, len(PIECES), FRAMES)).astype(np.float32)
    weights[generator.random(weights.shape) < 0.01] = 0.4
    weights[..., np.arange(FRAMES) >= np.array(READ)[:, None]] = 0
    return SentenceAlignment(tuple(weights), READ, "contrast", PIECES, LENGTH, 40)


@pytest.fixture
def drawn(monkeypatch, tmp_path):
    """A function: draws, and returns the figure as it is written."""
    figures = []
    monkeypatch.setattr(module, "save_figure", lambda figure, path: figures.append(figure))

    def draw(found, *words, **options):
        plot_alignment(found, tmp_path / "x.png", *words, **options)
        figures[-1].draw_without_rendering()
        return figures[-1]

    return draw


@pytest.mark.parametrize("form, begin", [("png", b"\x89PNG"), ("pdf", b"%PDF")])
def test_is_written(tmp_path, form, begin):
    out = tmp_path / "new" / f"alignment.{form}"
    plot_alignment(sentence(), out)
    assert out.read_bytes().startswith(begin) and out.stat().st_size > 5000


def test_what_is_drawn_is_the_mean_of_the_heads_and_blank_where_nothing_had_been_heard(drawn):
    found = sentence()
    panels = drawn(found).axes[:2]
    for panel, weights in zip(panels, found.weights):
        (image,) = panel.images
        assert image.get_extent() == [0, pytest.approx(FRAMES * 0.04), len(PIECES), 0]
        shown = image.get_array()
        for row, read in enumerate(READ):
            assert shown[row, :read].compressed() == pytest.approx(weights[:, row, :read].mean(0))
            assert shown.mask[row, read:].all()
        assert panel.patch.get_hatch() and image.get_clim()[0] == -image.get_clim()[1]
    (alone,) = drawn(found, 1).axes[:-1]
    assert np.ma.allequal(alone.images[0].get_array(), panels[1].images[0].get_array())


def test_the_stairs_go_down_to_the_right_along_what_had_been_heard(drawn):
    panel = drawn(sentence(), 0).axes[0]
    assert panel.yaxis_inverted()
    for row, read in enumerate(READ):
        x, y = (data[2 * row : 2 * row + 2] for data in panel.lines[0].get_data())
        assert list(x) == pytest.approx([read * 0.04] * 2) and list(y) == [row, row + 1]
    assert panel.get_xlim() == (0, 1.5)


def test_the_scale_ends_where_few_are_beyond_it_and_begins_at_zero_where_none_is_below(drawn):
    found = sentence()
    means = [found.mean(0), found.mean(1)]
    scale = Scale.of(means)
    read = np.concatenate([mean[~np.isnan(mean)] for mean in means])
    assert 0.005 < (np.abs(read) > scale.end).mean() < 0.015 and scale.least < 0 < scale.end < scale.largest
    assert Scale.of([np.zeros((1, 3))]) == (1.0, 0.0, 0.0)
    bar = drawn(found).axes[-1]
    assert bar.get_xlim() == pytest.approx((-scale.end, scale.end))
    bar = drawn(sentence(least=0.0)).axes[-1]
    assert bar.get_xlim()[0] == 0 < bar.get_xlim()[1]


@pytest.mark.parametrize("width", [None, 7.7])
def test_no_text_touches_another_or_is_cut(drawn, width):
    figure = drawn(sentence(), width=width)
    assert figure.get_figwidth() == pytest.approx(7.2 if width is None else width / 2.54)
    for panel in figure.axes[:2]:
        labels = panel.get_yticklabels()
        boxes = [label.get_window_extent() for label in labels]
        assert [label.get_text() for label in labels[:2]] == ["_Ich", "_m"] and len(boxes) == len(PIECES)
        assert all(above.y0 > below.y1 for above, below in zip(boxes, boxes[1:]))
        assert min(box.x0 for box in boxes) > panel.yaxis.label.get_window_extent().x1
    box = figure.axes[-1].xaxis.label.get_window_extent()
    assert box.x0 >= 0 and box.x1 <= figure.bbox.x1


def test_a_long_sentence_keeps_its_height_and_leaves_small_letters_out(drawn):
    found = sentence()
    long = {name: getattr(found, name) * 20 for name in ("pieces", "read")}
    figure = drawn(dataclasses.replace(found, weights=tuple(w.repeat(20, 1) for w in found.weights), **long))
    assert figure.get_figheight() < 17 and not figure.axes[0].get_yticklabels()


def test_errors(tmp_path):
    for layer in (-1, 2):
        with pytest.raises(ValueError, match=f"no layer {layer}: choose --layer from 0 to 1"):
            plot_alignment(sentence(), tmp_path / "x.png", layer)
    with pytest.raises(ValueError, match="a picture is one of"):
        plot_alignment(sentence(), tmp_path / "x.jpg")
    with pytest.raises(ValueError, match="--width must be at least"):
        plot_alignment(sentence(), tmp_path / "x.png", width=2.0)
    assert not list(tmp_path.iterdir())

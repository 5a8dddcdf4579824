"""The picture of proportions: written, legible, and its numbers where they belong."""

import math

import numpy as np
import pytest

pytest.importorskip("matplotlib")

from leap_fairseq.report import proportions as module  # noqa: E402
from leap_fairseq.report.proportions import Proportions, SentenceProportions, plot_proportions  # noqa: E402

FRAMES, DECISION, HEADS, LENGTH = 37, 4, 4, 1500.0
PIECES = tuple("▁Ich ▁m ö ch te ▁am ▁M on tag ▁$ 5 . </s>".split())


def layers(queries, keys):
    generator = np.random.default_rng(0)
    sides = [generator.random((length, HEADS), dtype=np.float32) for length in (queries, keys) * 2]
    return Proportions(*sides[:2]), Proportions(*sides[2:])


def sentence(lagging=3, kinds=("leap",) * 3):
    """What wait-k with a decision every four frames of 40 ms writes of 1.5 s, in two layers of random proportions."""
    tokens = len(PIECES)
    sides = [layers(FRAMES, FRAMES), layers(tokens, tokens), layers(tokens, FRAMES)]
    groups = [side if kind in ("leap", "cosformer") else () for side, kind in zip(sides, kinds)]
    delays = tuple(min(LENGTH, 40.0 * DECISION * (index + lagging)) for index in range(tokens))
    return SentenceProportions(*groups, kinds, PIECES, delays, LENGTH, f"wait-{lagging}", DECISION, 40)


@pytest.mark.parametrize("kinds, layer", [(("leap",) * 3, None), (("softmax", "relu", "cosformer"), 1)])
def test_is_written(tmp_path, kinds, layer):
    out = tmp_path / "new" / "proportions.png"
    plot_proportions(sentence(kinds=kinds), out, layer)
    assert out.read_bytes().startswith(b"\x89PNG") and out.stat().st_size > 5000


def test_no_text_touches_another_or_is_cut(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(module, "save_figure", lambda figure, path: drawn.append(figure))
    # The narrowest picture with the widest legend: the source has ended, and most pieces follow it.
    plot_proportions(sentence(lagging=7), tmp_path / "x.png", 0)
    drawn[0].draw_without_rendering()
    legend = drawn[0].legends[0].get_window_extent()
    assert legend.x0 >= 0 and legend.x1 <= drawn[0].bbox.x1 and drawn[0].get_figwidth() == 7.2
    top = drawn[0].axes[0].child_axes[0]
    boxes = [label.get_window_extent() for label in top.get_xticklabels()]
    assert len(boxes) == 13 and all(a.x1 < b.x0 for a, b in zip(boxes, boxes[1:]))
    assert boxes[-1].x1 <= drawn[0].bbox.x1 and max(box.y1 for box in boxes) <= drawn[0].bbox.y1


def test_in_print_it_has_the_width_that_was_asked_for_and_differs_in_grey(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(module, "save_figure", lambda figure, path: drawn.append(figure))
    plot_proportions(sentence(), tmp_path / "x.pdf", 0, width=7.7)
    drawn[0].draw_without_rendering()
    assert drawn[0].get_figwidth() == pytest.approx(7.7 / 2.54)
    boxes = [label.get_window_extent() for label in drawn[0].axes[0].child_axes[0].get_xticklabels()]
    assert len(boxes) == 13 and all(a.x1 < b.x0 for a, b in zip(boxes, boxes[1:]))
    # The two sides of the encoder's self-attention.
    lines = [line for line in drawn[0].axes[-1].lines if len(line.get_xdata()) == FRAMES]
    assert len({str(line._dash_pattern) for line in lines}) == 2
    with pytest.raises(ValueError, match="a picture is one of"):
        plot_proportions(sentence(), tmp_path / "x.jpg")


def test_what_is_drawn_is_the_mean_over_the_heads_at_the_middle_of_each_frame(tmp_path, monkeypatch):
    drawn, found = [], sentence()
    monkeypatch.setattr(module, "save_figure", lambda figure, path: drawn.append(figure))
    plot_proportions(found, tmp_path / "x.png", 1)
    line = next(line for line in drawn[0].axes[0].lines if len(line.get_xdata()) == FRAMES)
    assert line.get_xdata() == pytest.approx([0.04 * (index + 0.5) for index in range(FRAMES)])
    assert line.get_ydata() == pytest.approx(found.cross[1].key.mean(1))


def test_pieces_stand_at_their_delays_and_side_by_side_behind_the_end():
    times = module._writing_times(sentence(lagging=3))
    assert times == pytest.approx([0.04 * DECISION * (index + 3) for index in range(13)])
    times = module._writing_times(sentence(lagging=100))
    assert times == pytest.approx([1.5 + 0.04 * DECISION * index for index in range(13)])
    width, font = module._width(100.0, 0.04)
    assert width == 16.0 and 0 < font < 9 and math.isclose(module._width(1.0, 0.04)[1], 9.0)


def test_errors(tmp_path):
    for layer in (-1, 2):
        with pytest.raises(ValueError, match=f"no layer {layer}: choose --layer from 0 to 1"):
            plot_proportions(sentence(), tmp_path / "x.png", layer)
    without = sentence(kinds=("leap", "cosformer", "elu"))
    with pytest.raises(ValueError, match="is elu, .*encoder and decoder self-attention has some.*--decoder-cross"):
        plot_proportions(without, tmp_path / "x.png")
    assert not list(tmp_path.iterdir())

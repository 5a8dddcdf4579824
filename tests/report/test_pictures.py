"""Pictures of quality over latency and of one sentence: written, legible, refused where there is nothing to draw."""

import pytest

pytest.importorskip("matplotlib")

from leap_fairseq.report import quality_latency  # noqa: E402
from leap_fairseq.report.quality_latency import plot_quality_latency  # noqa: E402
from leap_fairseq.report.staircase import plot_staircase  # noqa: E402
from leap_fairseq.scoring.instances import Instance  # noqa: E402
from leap_fairseq.scoring.units import unit_named  # noqa: E402

WORDS = "ich möchte am Montag nach Köln fahren"
DELAYS = [840.0, 1120.0, 1400.0, 1680.0, 1960.0, 2240.0, 2500.0]


def rows():
    for attention in ("leap", "softmax", "relu"):
        for k in (1, 3, 5):
            yield {"attention": attention, "waitk": k, "BLEU": 70 + k, "LAAL": 300.0 * k, "LAAL_CA": 330.0 * k}


def is_png(path):
    return path.read_bytes().startswith(b"\x89PNG") and path.stat().st_size > 5000


def test_quality_latency(tmp_path):
    out = tmp_path / "new" / "folder.png"
    plot_quality_latency(list(rows()), out)
    assert is_png(out)
    plain = [{key: row[key] for key in ("attention", "BLEU", "LAAL")} for row in rows()]
    plot_quality_latency(plain, out)
    with pytest.raises(ValueError, match="no column AP"):
        plot_quality_latency(plain, out, latency="AP")
    for value in ("-", float("nan")):
        with pytest.raises(ValueError, match=f"row 2 .* {value!r} for LAAL, which is no number"):
            plot_quality_latency([plain[0], {**plain[1], "LAAL": value}], out)
    with pytest.raises(ValueError, match="no rows"):
        plot_quality_latency([], out)


def test_the_legend_is_beside_the_lines(tmp_path, monkeypatch):
    drawn, save = [], quality_latency.save_figure
    monkeypatch.setattr(quality_latency, "save_figure", lambda figure, path: (save(figure, path), drawn.append(figure)))
    plot_quality_latency(list(rows()), tmp_path / "plot.png")
    axes = drawn[0].axes[0]
    (legend,) = drawn[0].legends + [axes.get_legend()] * (axes.get_legend() is not None)
    assert not legend.get_window_extent().overlaps(axes.get_window_extent())
    assert drawn[0].bbox.containsx(legend.get_window_extent().x1)


def test_staircase(tmp_path):
    out = tmp_path / "staircase.png"
    for instance in (
        Instance(0, WORDS, WORDS, DELAYS, DELAYS, 2500.0, WORDS.split()),
        Instance(2, "sehr" * 9, WORDS, [100.0], [150.0], 2500.0, ["sehr" * 9]),
        Instance(3, "zum Zug", "Zug", DELAYS, DELAYS, 2500.0, list("zum\u00a0Zug"), unit_named("char")),
    ):
        plot_staircase(instance, out)
        assert is_png(out)
    with pytest.raises(ValueError, match="no written word"):
        plot_staircase(Instance(1, "", WORDS, [], [], 2500.0, []), out)

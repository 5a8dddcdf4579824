"""Pictures of quality over latency and of sentences: what is in them, forms, print, refused where there is nothing."""

import dataclasses
import itertools
import math
import re

import pytest

pytest.importorskip("matplotlib")

from leap_fairseq.report import quality_latency, staircase, style  # noqa: E402
from leap_fairseq.report.quality_latency import plot_quality_latency  # noqa: E402
from leap_fairseq.report.staircase import plot_staircase, plot_staircases  # noqa: E402
from leap_fairseq.report.style import DASHES, MARKERS, PALETTE, WIDTHS, line_look  # noqa: E402
from leap_fairseq.scoring.instances import Instance  # noqa: E402
from leap_fairseq.scoring.units import unit_named  # noqa: E402

WORDS = "ich möchte am Montag nach Köln fahren"
DELAYS = [840.0, 1120.0, 1400.0, 1680.0, 1960.0, 2240.0, 2500.0]


def rows(names=("leap", "softmax", "relu"), step=0.0):
    for number, attention in enumerate(names):
        for k in (1, 3, 5):
            scores = {"BLEU": 70 + k + step * number, "LAAL": 300.0 * k, "LAAL_CA": 330.0 * k}
            yield {"attention": attention, "waitk": k, **scores}


def sentence(words=WORDS, delays=DELAYS, index=0, **options):
    return Instance(index, words, WORDS, delays, delays, 2500.0, words.split(), **options)


@pytest.fixture
def drawn(monkeypatch):
    """The figures, as they are written."""
    figures = []

    def save(figure, path):
        style.save_figure(figure, path)
        figures.append(figure)

    for module in (quality_latency, staircase):
        monkeypatch.setattr(module, "save_figure", save)
    return figures


def is_png(path):
    return path.read_bytes().startswith(b"\x89PNG") and path.stat().st_size > 5000


def assert_apart(texts, figure):
    """No text lies on another, or outside of the figure."""
    figure.draw_without_rendering()
    boxes = [text.get_window_extent() for text in texts if text.get_text()]
    assert boxes and not any(a.overlaps(b) for a, b in itertools.combinations(boxes, 2))
    assert all(figure.bbox.containsx(x) for box in boxes for x in (box.x0, box.x1))


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


def test_lines_are_the_rows_and_differ_in_grey(tmp_path, drawn):
    plot_quality_latency(list(rows(step=1)), tmp_path / "plot.png")
    lines = drawn[0].axes[0].lines
    assert len(lines) == 6
    for number, name in enumerate(("leap", "softmax", "relu")):
        plain, aware = lines[2 * number : 2 * number + 2]
        assert plain.get_label() == name and list(plain.get_ydata()) == [71 + number, 73 + number, 75 + number]
        assert list(plain.get_xdata()) == [300, 900, 1500] and list(aware.get_xdata()) == [330, 990, 1650]
        assert plain.get_markerfacecolor() != "white" == aware.get_markerfacecolor()
        assert plain.get_linewidth() > aware.get_linewidth() and plain.get_marker() == aware.get_marker()
    assert len({line.get_marker() for line in lines}) == len({str(line._dash_pattern) for line in lines[::2]}) == 3


def test_a_log_without_times_of_computing_has_no_hollow_line(tmp_path, drawn):
    known = list(rows())
    known[1]["LAAL_CA"] = math.nan
    plot_quality_latency(known, tmp_path / "plot.png")
    hollow = [line.get_color() for line in drawn[0].axes[0].lines if line.get_markerfacecolor() == "white"]
    assert hollow == list(PALETTE[1:3]) and len(drawn[0].axes[0].lines) == 5


def test_many_lines_differ_from_each_other():
    count = len(PALETTE) * len(MARKERS) * len(DASHES)
    assert len({tuple(map(str, line_look(number).values())) for number in range(count)}) == count == 210
    # The next line shares nothing with the one before, the control that all three change.
    for number in range(20):
        assert not set(map(str, line_look(number).values())) & set(map(str, line_look(number + 1).values()))


@pytest.mark.parametrize("width", [None, WIDTHS["page"], WIDTHS["column"]])
def test_labels_and_legend_lie_on_nothing(tmp_path, drawn, width):
    # Lines that nearly coincide leave no room on their sides.
    plot_quality_latency(list(rows("abcdefg", step=0.2)), tmp_path / "plot.png", width=width)
    figure, axes = drawn[0], drawn[0].axes[0]
    figure.draw_without_rendering()
    (legend,) = figure.legends + [axes.get_legend()] * (axes.get_legend() is not None)
    assert not legend.get_window_extent().overlaps(axes.get_window_extent())
    assert figure.bbox.containsx(legend.get_window_extent().x1)
    assert {text.get_text() for text in axes.texts} <= {"k = 1", "k = 3", "k = 5"} and len(axes.texts) >= 3
    assert_apart(axes.texts, figure)
    for text, line in itertools.product(axes.texts, axes.lines):
        points = axes.transData.transform(list(zip(*line.get_data())))
        assert not any(text.get_window_extent().contains(*point) for point in points)
    if width:
        assert figure.get_figwidth() == pytest.approx(width / 2.54)


def test_forms_are_told_by_the_name(tmp_path):
    """Vectors, fonts embedded as TrueType; the same data give the same bytes."""
    files = [tmp_path / f"{name}.{form}" for form in ("pdf", "svg", "png", "PDF") for name in "ab"]
    for file in files:
        plot_staircase(sentence(), file, width=7.7)
    for first, second in zip(files[::2], files[1::2]):
        assert first.read_bytes() == second.read_bytes()
    pdf, svg = files[0].read_bytes(), files[2].read_text()
    assert pdf.startswith(b"%PDF") and b"/FontFile2" in pdf and b"/Type3" not in pdf
    box = [float(number) for number in re.search(rb"/MediaBox \[ ?([^\]]+)\]", pdf)[1].split()]
    assert box[2] == pytest.approx(7.7 / 2.54 * 72, abs=1)
    assert "<svg" in svg and "<path" in svg and "<image" not in svg
    for name in ("x.jpg", "x", "x.eps"):
        with pytest.raises(ValueError, match=f"--out .*{name}: a picture is one of .pdf, .svg, .png"):
            plot_quality_latency(list(rows()), tmp_path / name)
    with pytest.raises(ValueError, match="a picture of 2 cm has no room: --width must be at least 5 cm"):
        plot_staircase(sentence(), tmp_path / "x.pdf", width=2)
    assert not list(tmp_path.glob("x*"))


@pytest.mark.parametrize("width", [None, 7.7])
def test_staircase(tmp_path, drawn, width):
    early = sentence(delays=[10.0, 20.0, *DELAYS[2:]])  # too near to the axis for its words to stand left of it
    long = " ".join(f"{WORDS}." for _ in range(10))
    for instance in (
        sentence(),
        early,
        Instance(2, "sehr" * 9, WORDS, [100.0], [150.0], 2500.0, ["sehr" * 9]),
        Instance(3, "zum Zug", "Zug", DELAYS, DELAYS, 2500.0, list("zum\u00a0Zug"), unit_named("char")),
        sentence(long, sorted(DELAYS * 10)),
        sentence("das kostet $5 und $6 ja dann"),
    ):
        plot_staircase(instance, tmp_path / "staircase.png", width=width)
        assert is_png(tmp_path / "staircase.png")
        axes = drawn[-1].axes[0]
        dots = next(line for line in axes.lines if line.get_marker() == "o")
        assert list(dots.get_xdata()) == instance.delays
        assert list(dots.get_ydata()) == list(range(1, len(instance.delays) + 1))
        assert any(list(line.get_xdata()) == [2500, 2500] for line in axes.lines)
        assert [text.get_text().replace("\\", "") for text in axes.texts] == instance.written
        assert_apart([text for text in axes.texts if text.get_text().strip()], drawn[-1])
    plot_staircase(sentence(" ".join([long] * 5), sorted(DELAYS * 50)), tmp_path / "staircase.png", width=width)
    assert not drawn[-1].axes[0].texts  # too many to be read
    with pytest.raises(ValueError, match="no written word"):
        plot_staircase(Instance(1, "", WORDS, [], [], 2500.0, []), tmp_path / "staircase.png")


@pytest.mark.parametrize("known", [{"source_length": 2500.0}, {"reference": WORDS}])
def test_staircase_of_a_log_that_tells_less(tmp_path, drawn, known):
    """simulstream's has no references, OmniSTEval's may have neither these nor the length of the source."""
    less = dataclasses.replace(sentence(), **{"source_length": math.nan, "reference": None, **known})
    plot_staircase(less, tmp_path / "staircase.png")
    plot_staircases({"a": less, "b": sentence()}, tmp_path / "staircases.png")
    axes, ends = drawn[0].axes[0], "source_length" in known
    expected = "Sentence 0: 7 words" + ", 6 written before the source ended" * ends
    assert axes.get_title("left") == expected
    assert any(list(line.get_xdata()) == [2500, 2500] for line in axes.lines) == ends
    assert [text.get_text() for text in drawn[1].legends[0].get_texts()] == ["a", "b", "the source ends"]


def test_staircases_of_several_runs(tmp_path, drawn):
    late = [delay + 300 for delay in DELAYS]
    plot_staircases({"k = 3": sentence(), "k = 5": sentence(delays=late)}, tmp_path / "x.pdf", "Sentence 0", 7.7)
    axes, legend = drawn[0].axes[0], drawn[0].legends[0]
    assert [text.get_text() for text in legend.get_texts()] == ["k = 3", "k = 5", "the source ends"]
    dots = [line for line in axes.lines if line.get_linestyle() == "None"]
    assert [list(line.get_xdata()) for line in dots] == [DELAYS, late]
    steps = [line for line in axes.lines if line.get_drawstyle() == "steps-post"]
    assert len({str(line._dash_pattern) for line in steps}) == len({line.get_marker() for line in dots}) == 2
    assert not axes.texts
    with pytest.raises(ValueError, match="sentence 1 of k = 5 has no written word"):
        plot_staircases({"k = 3": sentence(), "k = 5": Instance(1, "", WORDS, [], [], 2500.0, [])}, tmp_path / "y.pdf")


def test_names_are_written_as_they_are(tmp_path, drawn):
    """A dollar begins a formula of matplotlib's, and what begins with an underscore is in none of its legends."""
    names = ("_old/model", "$x_{$", "a$b$c")
    plot_quality_latency(list(rows(names)), tmp_path / "x.png")
    plot_staircases({name: sentence() for name in names}, tmp_path / "y.png")
    for figure in drawn:
        texts = [text.get_text().strip().replace(r"\$", "$") for text in figure.legends[0].get_texts()]
        assert texts[:3] == list(names)

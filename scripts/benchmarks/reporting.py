"""Tables and pictures of the benchmark: columns rounded for the terminal, unrounded in the TSV; lines over a length."""

import argparse
import math
import textwrap
from pathlib import Path
from typing import Any, List, Mapping, NamedTuple, Optional, Sequence, Tuple, Union

from benchmarks.growth import growth
from benchmarks.measuring import MATMUL, machine
from leap_fairseq.report.style import GREY, MARKERS, PALETTE, STYLE, import_pyplot, save_figure
from leap_fairseq.report.tables import format_table, write_tsv

Row = Mapping[str, Any]


class Panel(NamedTuple):
    """One picture beside the others.

    Attributes:
        column: of the y axis; rows without a number there are left out.
        label: of the y axis.
        one: draw a line where the column is 1.
    """

    column: str
    label: str
    one: bool = False


def rounded(value: Any) -> str:
    """Three digits that count, and no exponent; "-" for what was not measured."""
    if value is None or value != value:
        return "-"
    if not isinstance(value, float):
        return str(value)
    digits = 0 if value == 0 else max(0, 2 - math.floor(math.log10(abs(value))))
    return f"{value:.{min(digits, 6)}f}"


def table(rows: Sequence[Row], leave_out: Sequence[str] = ()) -> str:
    """Rows as aligned text, rounded."""
    return format_table([{name: rounded(value) for name, value in row.items()} for row in rows], leave_out)


def report(
    rows: Sequence[Row],
    options: argparse.Namespace,
    x: Tuple[str, str],
    group: str,
    panels: Sequence[Panel],
    costs: Optional[Mapping[str, str]] = None,
    leave_out: Sequence[str] = (),
) -> None:
    """Prints the table, how costs grow with x, and the machine; writes the table and the picture where options say.

    Args:
        rows: with the same columns.
        options: of `add_measuring_options`.
        x: column and label of the x axis.
        group: the column that names what is compared.
        panels: of the picture.
        costs: names of costs, and their columns.
        leave_out: columns that are in the table file alone.
    """
    print(table(rows, leave_out))
    drawn = [row for row in rows if row[group] != MATMUL]
    growths = growth(drawn, group, x[0], costs or {})
    print(growth_text(growths), end="")
    times = {row[group]: row["time"] for row in growths if "time" in row and not math.isnan(row["time"])}
    what = machine(options)
    print(what)
    write_rows(rows, what, options.tsv)
    if options.png:
        plot(drawn, options.png, x, panels, group, what, {name: f"{name}: time T^{e:.2f}" for name, e in times.items()})


def growth_text(growths: Sequence[Row]) -> str:
    """The exponents as lines; nothing of what has but one length."""
    lines = []
    for row in growths:
        (_, name), *exponents = row.items()
        parts = [
            f"{what} T^{rounded(value)} (last two lengths {rounded(row[f'{what}_last_two'])})"
            for what, value in exponents
            if not what.endswith("_last_two") and not math.isnan(value)
        ]
        if parts:
            lines.append(f"{name} grows: {', '.join(parts)}\n")
    return "".join(lines)


def write_rows(rows: Sequence[Row], machine: str, path: Optional[str]) -> None:
    """Writes rows as TSV unless the path is None, numbers unrounded, the machine in a column of its own."""
    if path:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        plain = [{name: "-" if value is None else value for name, value in row.items()} for row in rows]
        write_tsv([{**row, "machine": machine} for row in plain], path)


def plot(
    rows: Sequence[Row],
    path: Union[str, Path],
    x: Tuple[str, str],
    panels: Sequence[Panel],
    group: str,
    machine: str,
    legend: Mapping[str, str],
    logarithmic: bool = True,
) -> None:
    """Draws a line for each value of the column `group`, in each panel; arguments as for `report`.

    Args:
        machine: written small below.
        legend: what is written for a name, where it is more than the name.
        logarithmic: both axes.

    Raises:
        ImportError: matplotlib is missing.
    """
    pyplot = import_pyplot()
    names = list(dict.fromkeys(str(row[group]) for row in rows))
    panels = [panel for panel in panels if any(_known(row, panel) for row in rows)]
    with pyplot.rc_context(STYLE):
        width = 4.4 * max(len(panels), 1) + 0.6
        figure, axes = pyplot.subplots(1, len(panels), figsize=(width, 4.2), layout="constrained", squeeze=False)
        for panel, place in zip(panels, axes[0]):
            for number, name in enumerate(names):
                line = [row for row in rows if str(row[group]) == name and _known(row, panel)]
                style = {"color": PALETTE[number % len(PALETTE)], "linewidth": 1.8, "label": legend.get(name, name)}
                if len(line) < 30:
                    style.update(marker=MARKERS[number % len(MARKERS)], markersize=5.5)
                place.plot([r[x[0]] for r in line], [r[panel.column] for r in line], **style)
            _dress(place, rows, x, panel, logarithmic)
        handles, labels = axes[0][0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper center", ncols=3 if len(panels) > 1 else 2, fontsize=8.5)
        figure.supxlabel(textwrap.fill(machine, 100 * len(panels)), fontsize=6.5, color=GREY)
        save_figure(figure, path)
        pyplot.close(figure)


def _known(row: Row, panel: Panel) -> bool:
    value = row.get(panel.column)
    return isinstance(value, (int, float)) and value == value


def _dress(place: Any, rows: Sequence[Row], x: Tuple[str, str], panel: Panel, logarithmic: bool) -> None:
    from matplotlib.ticker import LogLocator

    place.set_xlabel(x[1])
    place.set_ylabel(panel.label)
    if panel.one:
        place.axhline(1, color=GREY, linewidth=1, linestyle=":")
    if not logarithmic:
        place.set_ylim(bottom=0)
        return
    place.set_xscale("log", base=2)
    place.set_yscale("log")
    ticks: List[Any] = sorted({row[x[0]] for row in rows})
    place.set_xticks(ticks, [f"{tick:,}" for tick in ticks], fontsize=8.5)
    place.minorticks_off()
    place.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    place.yaxis.set_major_formatter(lambda value, _: f"{value:,.6g}")

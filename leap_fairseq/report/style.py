"""The look of all pictures, and matplotlib without a display (``pip install 'leap-fairseq[plots]'``).

They are made to be printed: lines differ in colour, marker and dashes, and each alone tells them apart, in grey too.
"""

import logging
import warnings
from pathlib import Path
from typing import Any, Dict, Optional, Union

from leap_fairseq.files import whole_file
from leap_fairseq.report.fonts import families, warn_of_missing

PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
"""Colours told apart with every kind of colour blindness, and by lightness. Source: Okabe & Ito 2008."""

MARKERS = ("o", "s", "^", "D", "v", "P", "X")

DASHES = ("-", (0, (6, 2)), (0, (2, 1.5)), (0, (7, 2, 1.5, 2)), (0, (4, 1.5, 1.2, 1.5, 1.2, 1.5)))

GREY = "#555555"

STYLE = {
    "figure.dpi": 100,
    "savefig.dpi": 200,
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e4e4e4",
    "grid.linewidth": 0.8,
    "legend.frameon": False,
    "pdf.fonttype": 42,  # TrueType: text that can be searched, as publishers ask
    "svg.hashsalt": "leap-fairseq",  # names of parts that do not change from run to run
}
"""For matplotlib's ``rc_context``."""

WIDTHS = {"column": 7.7, "page": 16.0}
"""cm, of the columns of the ACL's style."""

PRINTED = {"font.size": 8, "axes.titlesize": 8, "axes.labelsize": 8, "xtick.labelsize": 7, "ytick.labelsize": 7}

CM = 1 / 2.54

NARROWEST = 5.0
"""cm; what is narrower has no room for its labels."""

FORMS: Dict[str, Dict[str, Any]] = {
    ".pdf": {"CreationDate": None, "ModDate": None},
    ".svg": {"Date": None},
    ".png": {},
}
"""Forms of pictures by their endings, and what is not written into them: the same data give the same file."""


def style_for(width: Optional[float], inches: float) -> Dict[str, Any]:
    """The look of a picture: ``STYLE``, in print with smaller type; the first of "figure.figsize" is its width.

    Args:
        width: of the printed picture, cm; None: for a screen.
        inches: width for a screen.

    Raises:
        ValueError: a width without room.
    """
    if width is None:
        return {**STYLE, "font.family": families(), "figure.figsize": (inches, inches)}
    if not NARROWEST <= width < 1000:
        raise ValueError(f"a picture of {width:g} cm has no room: --width must be at least {NARROWEST:g} cm")
    return {**STYLE, **PRINTED, "font.family": families(), "figure.figsize": (width * CM, width * CM)}


def line_look(number: int) -> Dict[str, Any]:
    """Colour, marker and dashes of the line of this number; the first 210 differ."""
    sides = (("color", PALETTE), ("marker", MARKERS), ("linestyle", DASHES))
    return {name: choices[number % len(choices)] for name, choices in sides}


def as_text(text: str) -> str:
    """A text as matplotlib writes it: a dollar would begin a formula."""
    return text.replace("$", r"\$")


def as_label(name: str) -> str:
    """The name of a line in a legend, which leaves out what begins with an underscore."""
    return f" {as_text(name)}" if name.startswith("_") else as_text(name)


def import_pyplot() -> Any:
    """matplotlib's pyplot, which draws without a display.

    Raises:
        ImportError: matplotlib is missing.
    """
    try:
        import matplotlib
    except ImportError as error:
        raise ImportError("drawing needs matplotlib: pip install 'leap-fairseq[plots]'") from error
    matplotlib.use("Agg")
    # fairseq opens the root logger for everything, and matplotlib then reports on each font of the system.
    logging.getLogger("matplotlib").setLevel(logging.WARNING)
    # Said in one line when the picture is written.
    warnings.filterwarnings("ignore", message="Glyph .* missing from")
    from matplotlib import pyplot

    return pyplot


def check_form(path: Union[str, Path]) -> str:
    """The form that the ending of a picture's name tells, such as ".pdf".

    Raises:
        ValueError: another ending.
    """
    ending = Path(path).suffix.lower()
    if ending not in FORMS:
        raise ValueError(f"--out {path}: a picture is one of {', '.join(FORMS)}: give its name one of these endings")
    return ending


def save_figure(figure: Any, path: Union[str, Path]) -> None:
    """Writes a picture in the form that its ending names, whole or not at all, fonts embedded; its folder is made.

    Raises:
        ValueError: as for `check_form`, or another process is writing it.
    """
    ending = check_form(path)
    warn_of_missing(figure)
    with whole_file(path) as file:
        figure.savefig(file, format=ending[1:], metadata=FORMS[ending])

"""The look of all pictures, and matplotlib without a display (``pip install 'leap-fairseq[plots]'``)."""

import logging
from pathlib import Path
from typing import Any, Union

PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
"""Colours told apart with every kind of colour blindness, and by lightness. Source: Okabe & Ito 2008."""

MARKERS = ("o", "s", "^", "D", "v", "P")

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
}
"""For matplotlib's ``rc_context``."""


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
    from matplotlib import pyplot

    return pyplot


def save_figure(figure: Any, path: Union[str, Path]) -> None:
    """Writes a picture in the form that its ending names; its folder is made."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)

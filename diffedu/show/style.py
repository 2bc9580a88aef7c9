"""How every picture of the book looks: one colour per idea, legible sizes, safe for colour-blind readers and in grey.

Figures are made without pyplot. Nothing is kept in hidden state, nothing is shown twice, and a widget can redraw one as
often as it likes.
"""

from __future__ import annotations

import io
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

DATA = "#0072B2"
NOISE = "#8C8C8C"
SCORE = "#D55E00"
VELOCITY = "#009E73"
GUIDED = "#CC79A7"
EXTRA = "#E69F00"
INK = "#222222"
CYCLE = (DATA, SCORE, VELOCITY, GUIDED, EXTRA, "#56B4E9", INK)
"""The order of colours where several curves have no idea of their own: Okabe & Ito's palette."""

DPI = 100

RC: dict[str, Any] = {
    "font.size": 11,
    "axes.titlesize": 12,
    "axes.labelsize": 11,
    "axes.edgecolor": "#555555",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#E6E6E6",
    "grid.linewidth": 0.8,
    "lines.linewidth": 2.0,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
}


def new_figure(width: float = 7.0, height: float = 3.5) -> Figure:
    """An empty figure in the book's style, sizes in inches; add axes with `panels` or `figure.subplots`.

    Example:
        >>> new_figure(4, 3).get_size_inches().tolist()
        [4.0, 3.0]
    """
    with rc_context(RC):
        figure = Figure(figsize=(width, height), dpi=DPI, layout="constrained")
        FigureCanvasAgg(figure)
    return figure


def panels(
    rows: int = 1,
    columns: int = 1,
    *,
    width: float | None = None,
    height: float | None = None,
    share: bool = False,
) -> tuple[Figure, list[Axes]]:
    """A figure and its axes, row by row.

    Args:
        rows: rows of axes.
        columns: columns of axes.
        width: inches; about 3 a column by default.
        height: inches; about 3 a row by default.
        share: give all panels the same limits, so that they can be compared.

    Example:
        >>> figure, axes = panels(1, 2)
        >>> len(axes)
        2
    """
    if rows < 1 or columns < 1:
        raise ValueError(f"rows and columns must be at least 1, got {rows} and {columns}")
    with rc_context(RC):
        figure = new_figure(width or min(12.0, 3.0 * columns + 1.0), height or 3.0 * rows)
        grid = figure.subplots(rows, columns, squeeze=False, sharex=share, sharey=share)
    return figure, list(grid.flat)


def png(figure: Figure, dpi: int = DPI) -> bytes:
    """A figure as the bytes of a PNG file, without a date or version in it: equal pictures give equal bytes.

    At most 256 colours are kept, chosen for the picture: that makes the file two to three times smaller, and the eye
    finds no difference in curves, points and maps of one colour scale.
    """
    from PIL import Image

    drawn, packed = io.BytesIO(), io.BytesIO()
    figure.savefig(drawn, format="png", dpi=dpi, pil_kwargs={"compress_level": 1})  # unpacked again in the next line
    pixels = Image.open(drawn).convert("RGB")
    pixels.quantize(256, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE).save(packed, "PNG", optimize=True)
    return packed.getvalue()


def _show_figures_in_notebooks() -> None:
    """Let a notebook draw a Figure that is a cell's last value (pyplot's inline backend would, with its state)."""
    import sys

    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    if shell is not None:
        shell.display_formatter.formatters["image/png"].for_type(Figure, png)
        shell.display_formatter.formatters["text/plain"].for_type(Figure, lambda figure, p, cycle: p.text("<Figure>"))


_show_figures_in_notebooks()

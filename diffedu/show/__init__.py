"""Pictures and widgets. matplotlib and ipywidgets are imported here and nowhere else in the package."""

from diffedu.show.plots import (
    animation,
    curve_panel,
    curves,
    image_grid,
    image_rows,
    montage,
    path_panel,
    scatter_panels,
    square,
)
from diffedu.show.style import (
    CYCLE,
    DATA,
    EXTRA,
    GUIDED,
    INK,
    NOISE,
    SCORE,
    VELOCITY,
    new_figure,
    panels,
    png,
)

__all__ = [
    "CYCLE",
    "DATA",
    "EXTRA",
    "GUIDED",
    "INK",
    "NOISE",
    "SCORE",
    "VELOCITY",
    "animation",
    "curve_panel",
    "curves",
    "image_grid",
    "image_rows",
    "montage",
    "new_figure",
    "panels",
    "path_panel",
    "png",
    "scatter_panels",
    "square",
]

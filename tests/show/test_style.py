"""The book's look: no pyplot, one style, colours that differ in grey, figures that a notebook can show."""

from __future__ import annotations

import itertools
import subprocess
import sys

import pytest
from matplotlib.colors import to_rgb

from diffedu.show import CYCLE, DATA, GUIDED, NOISE, SCORE, VELOCITY, new_figure, panels, png


def test_pictures_and_widgets_never_load_pyplot_and_pictures_never_ipywidgets():
    program = (
        "import sys, diffedu.show; assert 'ipywidgets' not in sys.modules, 'ipywidgets';"
        "import diffedu.show.widgets; assert 'matplotlib.pyplot' not in sys.modules, 'pyplot'"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr


def test_a_figure_keeps_the_style_after_it_is_made():
    figure, (ax,) = panels(1, 1)
    assert not ax.spines["top"].get_visible()
    assert ax.title.get_fontsize() == 12
    assert figure.get_facecolor() == (1.0, 1.0, 1.0, 1.0)  # white: legible on a dark page, too


def test_panels_are_rows_first_and_share_limits_if_asked():
    _, axes = panels(2, 3, share=True)
    assert len(axes) == 6
    axes[0].set_xlim(-7, 7)
    assert axes[5].get_xlim() == (-7, 7)


@pytest.mark.parametrize(("rows", "columns"), [(0, 1), (1, 0), (-1, 2)])
def test_no_panels_are_refused(rows: int, columns: int):
    with pytest.raises(ValueError, match=f"at least 1, got {rows} and {columns}"):
        panels(rows, columns)


def test_the_ideas_have_colours_of_their_own():
    colours = [to_rgb(c) for c in {*CYCLE, DATA, NOISE, SCORE, VELOCITY, GUIDED}]
    for a, b in itertools.combinations(colours, 2):
        assert max(abs(x - y) for x, y in zip(a, b)) > 0.15


def test_every_colour_stands_out_from_white():
    for colour in CYCLE:
        red, green, blue = to_rgb(colour)
        assert 0.2126 * red + 0.7152 * green + 0.0722 * blue < 0.72, colour


def test_png_is_of_the_figure_s_size_and_changes_with_it():
    figure = new_figure(2.0, 1.5)
    empty = png(figure)
    assert (int.from_bytes(empty[16:20]), int.from_bytes(empty[20:24])) == (200, 150)
    figure.add_subplot().plot([0, 1], [1, 0])
    assert png(figure) != empty

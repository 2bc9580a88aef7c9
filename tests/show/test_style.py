"""The book's look: no pyplot, one style, colours that differ in grey, figures that a notebook can show."""

from __future__ import annotations

import itertools
import subprocess
import sys

import numpy as np
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


# How three kinds of colour-blind eyes see linear RGB: Machado, Oliveira & Fernandes 2009, table 1, severity 1.0.
EYES = {
    "no red cones": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "no green cones": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]],
    "no blue cones": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.3039]],
}
XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])


def cie_lab(linear: np.ndarray) -> np.ndarray:
    """CIE 1976 L*a*b* of linear sRGB, white D65."""
    ratio = XYZ @ linear.clip(0, 1) / XYZ.sum(1)
    f = np.where(ratio > 216 / 24389, np.cbrt(ratio), (24389 / 27 * ratio + 16) / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize("eyes", EYES)
def test_the_colours_differ_for_colour_blind_eyes(eyes: str):
    seen = {}
    for colour in {*CYCLE, DATA, NOISE, SCORE, VELOCITY, GUIDED}:
        rgb = np.array(to_rgb(colour))
        linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
        seen[colour] = cie_lab(np.array(EYES[eyes]) @ linear)
    for a, b in itertools.combinations(seen, 2):
        assert np.linalg.norm(seen[a] - seen[b]) > 8, (a, b)  # about 2.3 can just be told apart side by side


def test_the_test_of_colours_knows_red_from_green_only_with_all_cones():
    red, green = (np.array(c) for c in ([0.4, 0.0, 0.0], [0.0, 0.13, 0.0]))
    blind = np.array(EYES["no green cones"])
    assert np.linalg.norm(cie_lab(red) - cie_lab(green)) > 60
    assert np.linalg.norm(cie_lab(blind @ red) - cie_lab(blind @ green)) < 30

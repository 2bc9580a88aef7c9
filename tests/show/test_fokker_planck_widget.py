"""The widget of chapter 3: every control counts, the stored run is right, and it is quick enough to drag."""

from __future__ import annotations

import numpy as np
import pytest

from diffedu.evaluate import FokkerPlanck
from diffedu.show.widgets.fokker_planck import END, FRAMES, GRID, LANDSCAPES, DensityAndCloud


@pytest.fixture(scope="module")
def widget() -> DensityAndCloud:
    return DensityAndCloud()


@pytest.mark.parametrize(
    ("name", "value"), [("moment", 2.0), ("landscape", "a spring"), ("temperature", 0.5), ("count", 50)]
)
def test_every_control_changes_the_picture_and_reset_restores_it(widget, name, value):
    widget.picture.reset()
    before = widget.picture.png
    widget.picture.controls[name].value = value
    assert widget.picture.png != before
    assert widget.picture.message.value == ""
    widget.picture.reset()
    assert widget.picture.png == before


@pytest.mark.parametrize("landscape", LANDSCAPES)
@pytest.mark.parametrize("kT", [0.3, 1.0, 2.0])
def test_equation_and_particles_agree_in_every_landscape(widget, landscape, kT):
    run = widget._run(landscape, kT)
    assert run.densities.shape == (FRAMES + 1, GRID.cells)
    assert run.densities.min() >= 0
    assert np.allclose(run.densities.sum(1) * GRID.width, 1, atol=1e-6)
    assert np.all(np.diff(run.free_energies) <= 1e-12)
    for frame in (10, 40, FRAMES):
        x, p = run.particles[frame], run.densities[frame] * GRID.width
        n = len(x)
        assert abs(x.mean() - (GRID.centers * p).sum()) < 5 * x.std() / np.sqrt(n) + 0.02
        right = p[GRID.centers > 0].sum()
        assert abs((x > 0).mean() - right) < 5 * np.sqrt(right * (1 - right) / n) + 0.01


def test_the_frames_are_those_of_the_solver(widget):
    run = widget._run("two unequal wells", 0.5)
    equation = FokkerPlanck.from_potential(LANDSCAPES["two unequal wells"].potential, GRID, kT=0.5)
    for frame in (1, 30, FRAMES):
        assert np.allclose(run.densities[frame], equation.evolve(run.densities[0], frame * END / FRAMES), atol=1e-10)


def test_slopes_are_the_derivatives(widget):
    x, tiny = np.linspace(-2, 2, 9), 1e-6
    for potential, slope in LANDSCAPES.values():
        assert np.allclose((potential(x + tiny) - potential(x - tiny)) / (2 * tiny), slope(x), atol=1e-6)

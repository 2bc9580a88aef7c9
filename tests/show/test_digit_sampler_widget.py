"""The fast sampler: it counts calls honestly, draws what the samplers draw, and every control changes the picture."""

from __future__ import annotations

import pytest
import torch

from diffedu import DatasetDenoiser, DiscreteDDPM, cosine_betas, sample, seeded, start_noise
from diffedu.core import EDM, karras_times
from diffedu.guidance import ClassifierFree
from diffedu.show.widgets.digit_sampler import GRIDS, SOLVERS, DigitSampler, grid_of

PATH = DiscreteDDPM(cosine_betas(1000))
PICTURES = torch.rand(200, 1, 28, 28, generator=seeded(0)) * 2 - 1


def given(label, scale):
    every, own = DatasetDenoiser(PICTURES, PATH), DatasetDenoiser(PICTURES[label::10], PATH)
    return own if scale == 1 else ClassifierFree(own, every, scale)


def test_every_control_changes_the_picture_and_reset_restores_it():
    widget = DigitSampler(given, PATH)
    first = widget.picture.png
    for control, other in (
        (widget.label, 1),
        (widget.steps, 3),
        (widget.scale, 3.0),
        (widget.solver, "ancestral"),
        (widget.grid, "leading"),
        (widget.seed, 5),
    ):
        control.value = other
        assert widget.picture.message.value == ""
        assert widget.picture.png != first, control
        widget.picture.reset()
        assert widget.picture.png == first, control


def test_calls_are_counted_for_every_solver_with_and_without_guidance():
    widget = DigitSampler(given, PATH)
    widget.steps.value = 6
    for name in SOLVERS:
        widget.solver.value = name
        widget.scale.value = 1.0
        plain = {"Heun": 11, "DEIS(3)": 7}.get(name, 6)
        assert widget.calls() == plain, name
        widget.scale.value = 2.0
        assert widget.calls() == 2 * plain, name


def test_it_shows_what_the_samplers_draw():
    widget = DigitSampler(given, PATH)
    for grid in GRIDS:
        widget.grid.value = grid
        start = start_noise(PATH, (3, 1, 28, 28), seeded(0))
        wanted = sample(given(5, 1.0), SOLVERS["DDIM"], start, grid_of(grid, PATH, 10))
        torch.testing.assert_close(widget.digits(), wanted)


def test_the_grid_of_noise_levels_has_edm_s_levels():
    t = grid_of("noise levels", PATH, 8)
    c = PATH(t[:-1].double())
    torch.testing.assert_close(
        (c.sigma / c.alpha).float(), karras_times(EDM(), 7, start=40.0, end=0.02), rtol=2e-3, atol=0
    )
    assert t[-1] == 0
    for kind in GRIDS:
        assert (grid_of(kind, PATH, 5).diff() < 0).all()
        assert len(grid_of(kind, PATH, 5)) == 6


def test_an_unknown_grid_is_refused():
    with pytest.raises(ValueError, match="kind must be one of"):
        grid_of("uniform", PATH, 5)

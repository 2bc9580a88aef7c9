"""The parameterisation dial: its numbers, its field, its picture, and how fast it is drawn."""

from __future__ import annotations

import pytest
import torch

from diffedu.core import Cosine, GaussianMixture, RectifiedFlow, eps_hat, velocity
from diffedu.show.widgets.parameterisation import LARGEST, PATHS, ParameterisationDial

RING = GaussianMixture.ring(6)


def test_every_control_changes_the_picture_and_reset_restores_it():
    dial = ParameterisationDial(RING)
    first = dial.picture.png
    for control, other in ((dial.t, 0.6), (dial.path, "VP"), (dial.target, "velocity")):
        control.value = other
        assert dial.picture.png != first, control
        dial.picture.reset()
        assert dial.picture.png == first, control
    assert dial.picture.message.value == ""


def test_the_amplifications_are_the_chapter_s_table():
    dial = ParameterisationDial(RING)
    dial.t.value = 0.8
    c = Cosine()(torch.tensor(0.8 * Cosine().t_max))
    alpha, sigma = c.alpha.item(), c.sigma.item()
    found = dial.amplifications()
    for name, wanted in {
        "eps": (sigma / alpha, 1.0),
        "score": (sigma / alpha, 1.0),
        "x0": (1.0, alpha / sigma),
        "v": (sigma, alpha),
        "velocity": (sigma, alpha),  # on this path it is v, times pi / 2
    }.items():
        assert found[name] == pytest.approx(wanted, rel=1e-5), name


def test_the_field_is_the_best_guess_of_the_chosen_target():
    dial = ParameterisationDial(RING)
    dial.path.value, dial.t.value, dial.target.value = "rectified flow", 0.4, "velocity"
    exact, x = RING.denoiser(RectifiedFlow()), dial._lattice
    torch.testing.assert_close(dial.field(), velocity(exact, x, 0.4), rtol=1e-4, atol=1e-5)
    dial.target.value = "eps"
    torch.testing.assert_close(dial.field(), eps_hat(exact, x, 0.4), rtol=1e-4, atol=1e-5)


def test_it_draws_at_the_ends_of_every_path():
    dial = ParameterisationDial(RING)
    for name in PATHS:
        dial.path.value = name
        for t in (dial.t.min, dial.t.max):
            dial.t.value = t
            assert dial.picture.message.value == "", (name, t)
            assert all(rect.get_width() <= LARGEST for rect in dial._rects)
            assert dial.field().isfinite().all()


def test_points_outside_the_plane_are_refused():
    line = GaussianMixture.single(torch.zeros(1), torch.eye(1))
    with pytest.raises(ValueError, match="got a mixture in 1 dimensions"):
        ParameterisationDial(line)

"""The noise prediction widget: its numbers, its picture, and that nothing of it is left over."""

from __future__ import annotations

import pytest
import torch

from diffedu.core import DiscreteDDPM, GaussianMixture, eps_hat, linear_betas
from diffedu.show.widgets.noise_prediction import NoisePrediction

RING = GaussianMixture.ring(6)
PATH = DiscreteDDPM(linear_betas(20, 0.01, 0.6))


def silent(x_t, t):
    return torch.zeros_like(x_t)


def exact(x_t, t):
    return eps_hat(RING.denoiser(PATH), x_t, t)


def test_every_control_changes_the_picture_and_reset_restores_it():
    picture = NoisePrediction(RING, PATH, silent).picture
    first = picture.png
    for name, control in picture.controls.items():
        control.value += 1
        assert picture.png != first, name
        picture.reset()
        assert picture.png == first, name
    assert picture.message.value == ""


def test_the_errors_are_those_of_the_three_guesses():
    widget = NoisePrediction(RING, PATH, silent)
    true, best, learned = widget.errors()
    assert true == 0
    assert 0 < best < learned
    assert learned == pytest.approx(1.0, abs=0.15)  # who says 0 errs by the size of the noise
    _, best, learned = NoisePrediction(RING, PATH, exact).errors()
    assert best == pytest.approx(learned)


def test_the_curve_of_an_exact_network_is_flat_at_zero_and_the_loss_is_the_least():
    *_, ax = NoisePrediction(RING, PATH, exact).picture._draw.__self__._figure.figure.axes
    loss, least, apart, _ = (line.get_ydata() for line in ax.lines)
    assert max(abs(apart)) < 1e-9
    assert abs(loss - least).max() < 1e-9
    assert 0 < min(least) < 0.1 < 0.5 < max(least) < 1


def test_points_outside_the_plane_are_refused():
    line = GaussianMixture.single(torch.zeros(1), torch.eye(1))
    with pytest.raises(ValueError, match="got a mixture in 1 dimensions"):
        NoisePrediction(line, PATH, silent)

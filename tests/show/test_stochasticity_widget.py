"""The stochasticity dial: one crowd for every k, explosions that are named, and a redraw that keeps up."""

from __future__ import annotations

import math

import pytest
import torch

from diffedu.core import VP, GaussianMixture, power_times, with_zero
from diffedu.sampling import Euler, sample
from diffedu.show.widgets.stochasticity import CLOUD, STEPS, StochasticityDial

RING = GaussianMixture.ring(6)


@pytest.fixture(scope="module")
def dial() -> StochasticityDial:
    return StochasticityDial(RING)


def test_every_control_changes_the_picture_and_reset_restores_it(dial):
    first = dial.picture.png
    for control, other in ((dial.stochasticity, 0.4), (dial.steps, 10), (dial.moment, 0.5)):
        control.value = other
        assert dial.picture.png != first, control
        dial.picture.reset()
        assert dial.picture.png == first, control
    assert dial.picture.message.value == ""


def test_every_stochasticity_has_the_right_crowd_when_steps_are_fine(dial):
    dial.steps.value = STEPS[-1]
    for k in (0.0, 1.0, 2.0):
        for moment in (0.5, 1.0):
            dial.stochasticity.value, dial.moment.value = k, moment
            found = dial.judge()
            assert found.distance < found.floor, (k, moment)
    dial.picture.reset()


def test_without_kicks_it_is_the_ode(dial):
    dial.stochasticity.value, dial.steps.value = 0.0, 20
    times, states = dial.film()
    expected = with_zero(power_times(VP(), 19, 2.0, end=2e-3))
    torch.testing.assert_close(times, expected)
    torch.testing.assert_close(states[-1], sample(RING.denoiser(VP()), Euler(), states[0], times), rtol=1e-3, atol=1e-3)
    dial.picture.reset()


def test_storms_in_few_steps_are_called_out_of_sight_or_far(dial):
    dial.stochasticity.value, dial.steps.value = 2.0, 5
    found = dial.judge()
    assert found.distance > 10 * found.floor
    assert dial.picture.message.value == ""
    dial.picture.reset()


def test_the_floor_is_what_perfect_samples_score(dial):
    dial.moment.value = 1.0
    assert 0 < dial.judge().floor < 0.05
    assert math.isfinite(dial.judge().distance)
    assert dial.film()[1].shape == (dial.steps.value + 1, CLOUD, 2)
    dial.picture.reset()


def test_points_outside_the_plane_are_refused():
    line = GaussianMixture.single(torch.zeros(1), torch.eye(1))
    with pytest.raises(ValueError, match="got a mixture in 1 dimensions"):
        StochasticityDial(line)

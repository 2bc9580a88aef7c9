"""The race of samplers: its grids, its errors, its picture."""

from __future__ import annotations

import pytest
import torch

from diffedu.core import VP, GaussianMixture, power_times, time_at_half_log_snr
from diffedu.core.path import EDM
from diffedu.sampling import DDIM, Heun, sample
from diffedu.show.widgets.sampler_race import CALLS, SOLVERS, STARTS, SamplerRace

RING = GaussianMixture.ring(6)


@pytest.fixture(scope="module")
def race():
    return SamplerRace(RING)


def test_every_control_changes_the_picture_and_reset_restores_it(race):
    race.picture.reset()
    first = race.picture.png
    others = [(race.kappa, 2.0), (race.last, 0.3), (race.calls, CALLS[0])]
    others += [(box, not box.value) for box in race.boxes.values()]
    for control, other in others:
        control.value = other
        assert race.picture.png != first, control
        race.picture.reset()
        assert race.picture.png == first, control
    assert race.picture.message.value == ""


@pytest.mark.parametrize("kappa", [1.0, 7.0, 12.0])
@pytest.mark.parametrize("last", [0.3, 0.01])
def test_the_grid_is_the_chapter_s(race, kappa, last):
    path = VP()
    c = path(1.0)
    levels = power_times(EDM(t_max=200.0), 9, kappa, start=(c.sigma / c.alpha).item(), end=last, dtype=torch.float64)
    found = race.times(10, kappa, last)
    assert found.shape == (11,)
    assert found[0] == path.t_max
    assert found[-1] == 0
    torch.testing.assert_close(found[:-1].double(), time_at_half_log_snr(path, -levels.log()), rtol=2e-4, atol=1e-6)
    assert race.times(1, kappa, last).tolist() == [1.0, 0.0]


def test_the_errors_are_those_of_the_real_samplers(race):
    exact = RING.denoiser(VP())
    reference = sample(exact, Heun(), race._start, race.times(400, 5.0, 0.01))
    for k, calls in enumerate(CALLS):
        end = sample(exact, DDIM(), race._start, race.times(calls, 7.0, 0.03))
        expected = (end - reference)[STARTS:].norm(dim=1).median().item()
        assert race.errors("DDIM", kappa=7.0, last=0.03)[k] == pytest.approx(expected, rel=0.03), calls


def test_a_finer_budget_is_better_for_every_solver(race):
    for name in SOLVERS:
        errors = race.errors(name, kappa=5.0, last=0.03)
        assert errors[-1] < errors[0], name


def test_it_draws_at_every_end_of_its_sliders(race):
    for kappa in (race.kappa.min, race.kappa.max):
        for calls in (CALLS[0], CALLS[-1]):
            race.kappa.value, race.calls.value = kappa, calls
            assert race.picture.message.value == ""
    for box in race.boxes.values():
        box.value = False
    assert race.picture.message.value == ""
    assert race._best.get_text() == "choose a solver"
    race.picture.reset()


def test_points_outside_the_plane_are_refused():
    line = GaussianMixture.single(torch.zeros(1), torch.eye(1))
    with pytest.raises(ValueError, match="got a mixture in 1 dimensions"):
        SamplerRace(line)

"""Grids fitted to a solver: they keep their shape, and lower the error on starts and data that they did not see."""

from __future__ import annotations

import math

import pytest
import torch

from diffedu._tensor import seeded
from diffedu.core import EDM, VP, GaussianMixture, RectifiedFlow, karras_times, uniform_times, with_zero
from diffedu.sampling import DDIM, DPMSolverPP2M, Euler, Heun, optimised_times, sample, start_noise
from tests.core.test_oracle import plane

DOUBLE = torch.float64


def fine(exact, start, ends):
    return sample(exact, Heun(), start, with_zero(karras_times(exact.path, 200, start=ends, dtype=DOUBLE)))


@pytest.mark.parametrize("solver", [DDIM(), DPMSolverPP2M(), Euler()], ids=repr)
@pytest.mark.parametrize("path", [EDM(), VP(), RectifiedFlow()], ids=repr)
def test_it_stays_a_grid_and_helps_on_unseen_starts(path, solver):
    exact = plane().denoiser(path)
    first = 0.98 * path.t_max
    many = start_noise(path, (400, 2), seeded(0), time=first).to(DOUBLE)
    reference = fine(exact, many, first)
    times = with_zero(uniform_times(path, 5, start=first, dtype=DOUBLE))
    better = optimised_times(exact, solver, many[:200], reference[:200], times)
    assert better.shape == times.shape
    assert better.dtype == DOUBLE
    assert (better.diff() < 0).all()
    assert better[[0, -1]].tolist() == times[[0, -1]].tolist()
    before, after = (
        (sample(exact, solver, many[200:], grid) - reference[200:]).square().mean().sqrt() for grid in (times, better)
    )
    assert after < 0.9 * before


def test_it_helps_on_data_that_it_did_not_see():
    """Fitted on a ring of six, used on a grid of nine: what the levels of noise need is much the same."""
    ring, other = (
        m.denoiser(EDM()) for m in (GaussianMixture.ring(6, dtype=DOUBLE), GaussianMixture.grid(3, dtype=DOUBLE))
    )
    start = start_noise(EDM(), (300, 2), seeded(1)).to(DOUBLE)
    times = with_zero(karras_times(EDM(), 7, dtype=DOUBLE))
    better = optimised_times(ring, DDIM(), start, fine(ring, start, 80.0), times)
    truth = fine(other, start, 80.0)
    before, after = ((sample(other, DDIM(), start, g) - truth).square().mean().sqrt() for g in (times, better))
    assert after < 0.9 * before


def test_the_best_single_inner_time_is_found():
    """One Gaussian, two DDIM steps: the error is a function of one number, which a scan minimises as well."""
    exact = GaussianMixture.single(torch.zeros(1, dtype=DOUBLE), torch.eye(1, dtype=DOUBLE)).denoiser(EDM())
    start, end = 10.0, 0.1
    x = torch.tensor([[1.0], [-2.0]], dtype=DOUBLE)
    reference = x * math.sqrt((1 + end**2) / (1 + start**2))
    scan = torch.logspace(math.log10(end), math.log10(start), 4001, dtype=DOUBLE)[1:-1]
    factor = (1 + (scan - start) * start / (1 + start**2)) * (1 + (end - scan) * scan / (1 + scan**2))
    best = scan[(factor - math.sqrt((1 + end**2) / (1 + start**2))).abs().argmin()]
    times = torch.tensor([start, 5.0, end], dtype=DOUBLE)
    moves = [0.5, 0.3, 0.2, 0.1, 0.05] + [0.02] * 20 + [0.003] * 20
    found = optimised_times(exact, DDIM(), x, reference, times, moves=moves)
    assert found[1].item() == pytest.approx(best.item(), rel=0.01)


def test_nothing_is_changed_where_nothing_can_be_gained():
    """A single point as data: DDIM is exact on every grid."""
    exact = GaussianMixture.isotropic(torch.ones(1, 2, dtype=DOUBLE), 0.0).denoiser(EDM())
    x = torch.randn(5, 2, generator=seeded(0), dtype=DOUBLE)
    times = with_zero(uniform_times(EDM(), 3, dtype=DOUBLE))
    before = times.clone()
    better = optimised_times(exact, DDIM(), x, torch.ones(5, 2, dtype=DOUBLE), times)
    torch.testing.assert_close(sample(exact, DDIM(), x, better), torch.ones(5, 2, dtype=DOUBLE))
    assert torch.equal(times, before)


def test_refusals():
    exact, x = plane().denoiser(EDM()), torch.zeros(1, 2, dtype=DOUBLE)
    with pytest.raises(ValueError, match="times must decrease"):
        optimised_times(exact, DDIM(), x, x, torch.tensor([1.0, 2.0, 0.0]))
    with pytest.raises(ValueError, match="every move must lie between 0 and 1"):
        optimised_times(exact, DDIM(), x, x, torch.tensor([2.0, 1.0, 0.0]), moves=(1.0,))

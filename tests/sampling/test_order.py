"""Global errors fall with the number of steps as fast as the textbook says: fitted slopes, float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp

from diffedu._tensor import seeded
from diffedu.core import EDM, VP, GaussianMixture, RectifiedFlow, power_times, uniform_times
from diffedu.sampling import (
    DDIM,
    DEIS,
    AdamsBashforth,
    CorrectedDEIS,
    DPMSolverPP2M,
    Euler,
    EulerMaruyama,
    Heun,
    sample,
)
from tests.core.test_oracle import plane
from tests.sampling.affine import run

STEPS = (40, 80, 160, 320)
FINE = (120, 240, 480, 960)  # third order takes shorter steps to show
ENDS = {"VP": (VP(), 0.9, 0.1), "EDM": (EDM(), 10.0, 0.2), "RectifiedFlow": (RectifiedFlow(), 0.95, 0.1)}
SOLVERS = {
    "Euler": (Euler(), 1),
    "DDIM": (DDIM(), 1),
    "Heun": (Heun(), 2),
    "AB2": (AdamsBashforth(2), 2),
    "AB3": (AdamsBashforth(3), 3),
    "DEIS2": (DEIS(2), 2),
    "DEIS3": (DEIS(3), 3),
    "DEIS1 corrected": (CorrectedDEIS(1), 2),
    "DEIS2 corrected": (CorrectedDEIS(2), 3),
    "DPM++2M": (DPMSolverPP2M(), 2),
}


def grid(path, steps, start, end):
    if isinstance(path, EDM):
        return power_times(path, steps, 7.0, start=start, end=end, dtype=torch.float64)
    return uniform_times(path, steps, start=start, end=end, dtype=torch.float64)


def slope(errors, steps=STEPS):
    """Minus the slope of log(error) over log(steps)."""
    return -np.polyfit(np.log(steps), np.log(errors), 1)[0]


def steps_for(order):
    return FINE if order == 3 else STEPS


def start_points(path, start):
    return path(start).sigma.item() * torch.randn(32, 2, generator=seeded(0), dtype=torch.float64)


def errors_against(reference, solver, path, start, end, mixture, steps):
    x = start_points(path, start)
    exact = mixture.denoiser(path)
    return [(sample(exact, solver, x, grid(path, n, start, end)) - reference).norm(dim=1).mean().item() for n in steps]


def exact_gaussian_flow(mixture, path, x, start, end):
    """The probability-flow map of one Gaussian: offsets from the mean scale with the noisy std."""
    c, d = (path(torch.tensor(t, dtype=torch.float64)) for t in (start, end))
    values, axes = torch.linalg.eigh(mixture.covariances[0])
    scale = ((d.alpha**2 * values + d.sigma**2) / (c.alpha**2 * values + c.sigma**2)).sqrt()
    mean = mixture.means[0]
    return d.alpha * mean + (x - c.alpha * mean) @ axes @ torch.diag(scale) @ axes.T


def autograd_flow(mixture, path, x, start, end):
    """The same ODE by scipy's DOP853, its slope from Song's f x - g^2 grad log p / 2 by autograd."""

    def slope(t, flat):
        y = torch.from_numpy(flat).reshape(-1, 2).clone().requires_grad_()
        c = path(torch.tensor(t, dtype=torch.float64))
        (score,) = torch.autograd.grad(mixture.noised(path, t).log_prob(y).sum(), y)
        return (c.drift * y.detach() - 0.5 * c.diffusion_squared * score).flatten().numpy()

    solution = solve_ivp(slope, (start, end), x.flatten().numpy(), method="DOP853", rtol=1e-11, atol=1e-12)
    return torch.from_numpy(solution.y[:, -1]).reshape(-1, 2)


@pytest.mark.slow  # `make check` has the nonlinear one
@pytest.mark.parametrize("name", ENDS)
@pytest.mark.parametrize("solver", SOLVERS)
def test_order_on_an_exact_linear_flow(solver, name):
    path, start, end = ENDS[name]
    mixture = plane().only([0])  # one Gaussian, off centre, with a full covariance
    reference = exact_gaussian_flow(mixture, path, start_points(path, start), start, end)
    method, order = SOLVERS[solver]
    errors = errors_against(reference, method, path, start, end, mixture, steps_for(order))
    assert slope(errors, steps_for(order)) == pytest.approx(order, abs=0.1), errors
    assert errors[-1] < 0.02


@pytest.fixture(scope="module")
def curved():
    """End points of the nonlinear flow of a three-component mixture, for each path."""
    return {
        name: autograd_flow(plane(), path, start_points(path, start), start, end)
        for name, (path, start, end) in ENDS.items()
    }


@pytest.mark.parametrize("name", ENDS)
@pytest.mark.parametrize("solver", SOLVERS)
def test_order_on_a_nonlinear_mixture(solver, name, curved):
    path, start, end = ENDS[name]
    method, order = SOLVERS[solver]
    errors = errors_against(curved[name], method, path, start, end, plane(), steps_for(order))
    assert slope(errors, steps_for(order)) == pytest.approx(order, abs=0.15), errors


@pytest.mark.parametrize("name", ENDS)
def test_euler_maruyama_has_weak_order_one(name):
    """Mean and covariance propagate exactly through affine steps: no sampling, no error bar."""
    path, start, end = ENDS[name]
    mixture = plane().only([0])
    true = mixture.noised(path, end)
    of_mean, of_covariance = [], []
    for n in STEPS:
        mean, covariance = run(EulerMaruyama(), mixture, path, grid(path, n, start, end))
        of_mean.append((mean - true.mean).norm().item())
        of_covariance.append((covariance - true.covariance).norm().item())
    assert slope(of_covariance) == pytest.approx(1, abs=0.1), of_covariance
    if name == "VP":
        assert slope(of_mean) == pytest.approx(1, abs=0.1), of_mean
    else:  # the true mean is a straight line in t here, and Euler follows straight lines exactly
        assert max(of_mean) < 1e-13


def test_heun_spends_its_second_evaluation_well():
    """At equal numbers of evaluations Heun is nearer than Euler, not only at equal steps."""
    path, start, end = ENDS["VP"]
    mixture, x = plane().only([0]), start_points(VP(), 0.9)
    reference = exact_gaussian_flow(mixture, path, x, start, end)
    exact = mixture.denoiser(path)
    heun = sample(exact, Heun(), x, grid(path, 40, start, end))
    euler = sample(exact, Euler(), x, grid(path, 80, start, end))
    assert (heun - reference).norm() < 0.2 * (euler - reference).norm()


@pytest.mark.parametrize("solver", [Euler(), Heun()], ids=repr)
def test_encoding_and_decoding_along_the_flow_returns(solver):
    """Increasing times run the same solver towards noise."""
    path = RectifiedFlow()
    exact = GaussianMixture.grid(2, dtype=torch.float64).denoiser(path)
    times = grid(path, 1500, 0.95, 0.05)
    x = torch.randn(16, 2, generator=seeded(1), dtype=torch.float64)
    there = sample(exact, solver, x, times)
    assert (there - x).norm() > 1
    assert (sample(exact, solver, there, times.flip(0)) - x).abs().max() < (0.2 if solver == Euler() else 1e-3)

"""Weights of multistep methods, and what the solvers built on them reduce to. Their orders: test_order.py."""

from __future__ import annotations

import pytest
import torch

from diffedu._tensor import seeded
from diffedu.core import VP, RectifiedFlow, uniform_times, with_zero
from diffedu.sampling import DDIM, DEIS, AdamsBashforth, CorrectedDEIS, DPMSolverPP2M, Euler, sample
from diffedu.sampling.multistep import lagrange_integrals
from tests.core.test_oracle import plane


def f64(*values):
    return torch.tensor(values, dtype=torch.float64)


@pytest.mark.parametrize(
    ("back", "weights"),
    [
        (1, [1.0]),
        (2, [3 / 2, -1 / 2]),
        (3, [23 / 12, -16 / 12, 5 / 12]),
        (4, [55 / 24, -59 / 24, 37 / 24, -9 / 24]),
    ],
)
@pytest.mark.parametrize("h", [0.1, -0.1])
def test_equal_steps_give_the_table_of_adams_and_bashforth(back, weights, h):
    nodes = 0.7 - h * torch.arange(back, dtype=torch.float64)
    found = lagrange_integrals(nodes, f64(0.7)[0], f64(0.7 + h)[0])
    torch.testing.assert_close(found, h * torch.tensor(weights, dtype=torch.float64), rtol=1e-10, atol=1e-13)


def test_polynomials_are_integrated_exactly_on_any_grid():
    nodes, a, b = f64(0.9, 0.55, 0.5, 0.13), torch.tensor(0.9).double(), torch.tensor(0.2).double()
    weights = lagrange_integrals(nodes, a, b)
    for power in range(4):
        exact = (b ** (power + 1) - a ** (power + 1)) / (power + 1)
        torch.testing.assert_close((weights * nodes**power).sum(), exact, rtol=1e-9, atol=1e-12)


def test_a_step_of_no_length_is_refused():
    with pytest.raises(ValueError, match=r"start and end are both 0\.5"):
        lagrange_integrals(f64(1.0, 0.0), torch.tensor(0.5), torch.tensor(0.5))


def runs(solver, path=None, steps=7):
    path = path or VP()
    x = torch.randn(6, 2, generator=seeded(0), dtype=torch.float64)
    return sample(plane().denoiser(path), solver, x, uniform_times(path, steps, dtype=torch.float64))


def test_first_orders_are_euler_and_ddim():
    torch.testing.assert_close(runs(AdamsBashforth(1)), runs(Euler()), rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(runs(DEIS(1)), runs(DDIM()), rtol=1e-9, atol=1e-10)
    torch.testing.assert_close(runs(DPMSolverPP2M(), steps=1), runs(DDIM(), steps=1), rtol=1e-10, atol=1e-12)
    assert (runs(DPMSolverPP2M()) - runs(DDIM())).abs().max() > 1e-3


def test_evaluations_are_counted():
    calls = []

    class Counting:
        path = VP()

        def __call__(self, x_t, t):
            calls.append(t)
            return plane().denoiser(VP())(x_t, t)

    x = torch.randn(3, 2, generator=seeded(0), dtype=torch.float64)
    for solver, extra in ((AdamsBashforth(2), 0), (AdamsBashforth(3), 1), (DEIS(3), 1), (CorrectedDEIS(2), 0)):
        calls.clear()
        sample(Counting(), solver, x, uniform_times(VP(), 9))
        assert len(calls) == 9 + extra, solver


@pytest.mark.parametrize("solver", [DEIS(2), DEIS(3), CorrectedDEIS(2), DPMSolverPP2M(), AdamsBashforth(3)], ids=repr)
def test_the_last_step_may_land_on_clean_data(solver):
    path = VP()
    times = with_zero(uniform_times(path, 30, dtype=torch.float64))
    x = sample(plane().denoiser(path), solver, torch.randn(8, 2, generator=seeded(0), dtype=torch.float64), times)
    assert torch.isfinite(x).all()


def test_pure_noise_without_signal():
    """On a straight path alpha = 0 at t = 1: the data-predicting solver starts there, the others say why not."""
    assert torch.isfinite(runs(DPMSolverPP2M(), RectifiedFlow())).all()
    for solver in (DEIS(2), CorrectedDEIS(1)):
        with pytest.raises(ValueError, match="infinite where alpha = 0, here at t = 1"):
            runs(solver, RectifiedFlow())


@pytest.mark.parametrize("make", [AdamsBashforth, DEIS, CorrectedDEIS])
@pytest.mark.parametrize("order", [0, 4, 1.5, True])
def test_orders(make, order):
    with pytest.raises(ValueError, match="order must be a whole number from 1 to"):
        make(order)

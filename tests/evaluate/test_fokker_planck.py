"""The finite-volume solver: laws that hold exactly, closed forms, fitted orders, independent spectra."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import scipy.linalg
import scipy.special
import torch

from diffedu._tensor import seeded
from diffedu.core import VP, GaussianMixture
from diffedu.evaluate import FokkerPlanck, Grid, bernoulli, extrapolate, extrapolate_positive, restrict

# Relaxation rates of dx = -U' dt + sqrt2 dW in U = B (x^2 - 1)^2, from an independent computation.
DOUBLE_WELL = {2: 0.45454660202, 4: 0.11911837324, 8: 4.574951128e-3}


def spring(x):
    return x**2 / 2


def double_well(barrier):
    return lambda x: barrier * (x**2 - 1) ** 2


def normal_cells(grid, mean, std):
    """Exact cell averages of a Gaussian, from its distribution function."""
    return np.diff(scipy.special.ndtr((grid.edges - mean) / std)) / grid.width


def ou(mean, std, t):
    """Mean and standard deviation of dx = -x dt + sqrt2 dW a time t later."""
    return mean * math.exp(-t), math.sqrt(std**2 * math.exp(-2 * t) + 1 - math.exp(-2 * t))


def ou_on(cells, t=0.7):
    grid = Grid(-8.0, 8.0, cells)
    return FokkerPlanck.from_potential(spring, grid).evolve(normal_cells(grid, 2.0, 0.3), t)


def l1(a, b, grid):
    return float(np.abs(a - b).sum() * grid.volume)


def slopes(errors):
    return [math.log2(a / b) for a, b in itertools.pairwise(errors)]


def wobbly(x, y):
    return 0.5 * (x**2 + 2 * y**2) + np.sin(2 * x + y)


# --- the numbers that the book promises


def test_ou_meets_its_numbers():
    grid = Grid(-8.0, 8.0, 256)
    exact = normal_cells(grid, *ou(2.0, 0.3, 0.7))
    for p in (
        extrapolate(ou_on(256), restrict(ou_on(512))),
        extrapolate_positive(ou_on(256), restrict(ou_on(512))),
    ):
        assert l1(p, exact, grid) <= 5e-6
        assert abs(p.sum() * grid.width - 1) <= 1e-12
        assert p.min() >= -1e-15 * p.max()


@pytest.mark.parametrize("barrier", DOUBLE_WELL)
def test_double_well_rates_meet_their_numbers(barrier):
    rates = np.array(
        [
            FokkerPlanck.from_potential(double_well(barrier), Grid(-2.5, 2.5, n)).relaxation_rates(2)[1]
            for n in (200, 400, 800)
        ]
    )
    fourth = extrapolate(rates[:-1], rates[1:])
    sixth = extrapolate(fourth[:1], fourth[1:], order=4)
    assert sixth[0] == pytest.approx(DOUBLE_WELL[barrier], rel=1e-7)  # asked for: 1e-6 absolute
    assert np.all(np.abs(np.diff(rates)) > 100 * np.abs(np.diff(fourth)))


@pytest.mark.parametrize("barrier", DOUBLE_WELL)
def test_double_well_rates_by_a_spectral_method(barrier):
    """Another route to the same numbers: -psi'' + V psi with V = U'^2/4 - U''/2, in sinc functions."""
    n, h = 241, 5.6 / 240
    x = h * np.arange(-(n // 2), n // 2 + 1)
    k = np.arange(n)[:, None] - np.arange(n)[None, :]
    second = np.where(k == 0, math.pi**2 / 3, 2 * (-1.0) ** k / np.where(k == 0, 1, k) ** 2) / h**2
    force, curvature = 4 * barrier * x * (x**2 - 1), barrier * (12 * x**2 - 4)
    levels = scipy.linalg.eigvalsh(second + np.diag(force**2 / 4 - curvature / 2), subset_by_index=[0, 1])
    assert abs(levels[0]) < 1e-8
    assert levels[1] == pytest.approx(DOUBLE_WELL[barrier], rel=1e-7)


# --- orders


@pytest.mark.equation("3.22")
@pytest.mark.equation("3.23")
def test_orders_two_and_four_on_ou():
    sizes = (64, 128, 256, 512)
    grids = {n: Grid(-8.0, 8.0, n) for n in sizes}
    p = {n: ou_on(n) for n in (*sizes, 1024)}
    exact = {n: normal_cells(grids[n], *ou(2.0, 0.3, 0.7)) for n in sizes}
    base = [l1(p[n], exact[n], grids[n]) for n in sizes]
    linear = [l1(extrapolate(p[n], restrict(p[2 * n])), exact[n], grids[n]) for n in sizes]
    logarithmic = [l1(extrapolate_positive(p[n], restrict(p[2 * n])), exact[n], grids[n]) for n in sizes]
    assert slopes(base) == pytest.approx([2, 2, 2], abs=0.05)
    assert slopes(linear) == pytest.approx([4, 4, 4], abs=0.05)
    assert slopes(logarithmic) == pytest.approx([4, 4, 4], abs=0.05)


def test_orders_in_the_plane_with_a_circulating_drift():
    """dx = -A x dt + sqrt(2D) dW stays Gaussian; its covariance solves a Lyapunov equation."""
    A, D, t = np.array([[1.0, -1.5], [1.0, 0.6]]), 0.4, 0.5
    mean, cov = np.array([1.0, -0.5]), np.diag([0.3, 0.5])
    flow = scipy.linalg.expm(-A * t)
    settled = scipy.linalg.solve_continuous_lyapunov(A, 2 * D * np.eye(2))
    later_mean, later_cov = flow @ mean, settled + flow @ (cov - settled) @ flow.T

    def gauss(m, S):
        inverse, scale = np.linalg.inv(S), 2 * math.pi * math.sqrt(np.linalg.det(S))

        def density(x, y):
            d = np.stack([x - m[0], y - m[1]])
            return np.exp(-0.5 * np.einsum("i...,ij,j...", d, inverse, d)) / scale

        return density

    def drift(x, y):
        return -(A[0, 0] * x + A[0, 1] * y), -(A[1, 0] * x + A[1, 1] * y)

    p, exact, grids = {}, {}, {n: Grid(-5.0, 5.0, n, dim=2) for n in (64, 128, 256)}
    for n, grid in grids.items():
        start = grid.average(gauss(mean, cov))
        p[n] = FokkerPlanck.from_drift(drift, grid, diffusion=D).evolve(start, t)
        exact[n] = grid.average(gauss(later_mean, later_cov))
        assert abs(p[n].sum() - start.sum()) * grid.volume < 1e-12
    base = [l1(p[n], exact[n], grids[n]) for n in (64, 128, 256)]
    linear = [l1(extrapolate(p[n], restrict(p[2 * n])), exact[n], grids[n]) for n in (64, 128)]
    assert slopes(base) == pytest.approx([2, 2], abs=0.15)
    assert slopes(linear) == pytest.approx([4], abs=0.15)


def test_the_forward_process_of_a_mixture():
    """The OU solver in the plane against the mixture's own closed form along the VP path."""
    mixture = GaussianMixture.ring(5, radius=1.5, std=0.35).to(dtype=torch.float64)
    path, t = VP(), torch.tensor(0.2, dtype=torch.float64)
    clock = -math.log(path(t).alpha.item())  # of dx = -x dt + sqrt2 dW

    def density(which):
        def value(x, y):
            points = torch.from_numpy(np.stack([x.ravel(), y.ravel()], axis=1))
            return which.log_prob(points).exp().numpy().reshape(x.shape)

        return value

    p = {}
    for n in (64, 128):
        grid = Grid(-5.0, 5.0, n, dim=2)
        equation = FokkerPlanck.from_potential(lambda x, y: (x**2 + y**2) / 2, grid)
        p[n] = equation.evolve(grid.average(density(mixture)), clock)
    grid = Grid(-5.0, 5.0, 64, dim=2)
    exact = grid.average(density(mixture.noised(path, t)))
    assert l1(extrapolate(p[64], restrict(p[128])), exact, grid) < 2e-4
    assert l1(p[64], exact, grid) > 4e-3


# --- laws that hold on any grid


EQUATIONS = {
    "steep double well": FokkerPlanck.from_potential(double_well(30.0), Grid(-2.0, 2.0, 12)),
    "cold and slow": FokkerPlanck.from_potential(double_well(1.0), Grid(-2.0, 2.0, 40), mobility=0.3, kT=0.1),
    "plane": FokkerPlanck.from_potential(wobbly, Grid(-3.0, 3.0, 14, dim=2), mobility=2.0, kT=0.7),
    "turning": FokkerPlanck.from_drift(lambda x, y: (9 * y - x, -9 * x - y), Grid(-3.0, 3.0, 15, dim=2)),
    "drift on a line": FokkerPlanck.from_drift(np.sin, Grid(-3.0, 3.0, 25), diffusion=0.05),
}
any_equation = pytest.mark.parametrize("equation", EQUATIONS.values(), ids=EQUATIONS)
reversible = pytest.mark.parametrize(
    "equation", [e for e in EQUATIONS.values() if e.energy is not None], ids=[n for n in EQUATIONS if n != "turning"]
)


def spike(equation):
    p = np.zeros(equation.grid.shape)
    p.flat[p.size // 3] = 1 / equation.grid.volume
    return p


@any_equation
@pytest.mark.equation("3.21")
def test_mass_stays_and_no_density_is_negative(equation):
    p = spike(equation)
    for t in (0.0, 1e-4, 0.1, 3.0):
        later = equation.evolve(p, t)
        assert abs(later.sum() * equation.grid.volume - 1) <= 1e-12
        assert later.min() >= 0.0
    assert np.array_equal(p, spike(equation)), "the argument must stay as it was"


@any_equation
def test_evolve_is_the_matrix_exponential(equation):
    by_hops = equation.evolve(spike(equation), 0.3)
    exponential = scipy.linalg.expm(0.3 * equation.generator.toarray())
    assert np.allclose(by_hops.ravel(), exponential @ spike(equation).ravel(), rtol=1e-9, atol=1e-12)


@any_equation
@pytest.mark.equation("3.17")
def test_the_generator_is_minus_the_divergence_of_the_current(equation):
    p = np.random.default_rng(0).random(equation.grid.shape)
    change = np.zeros_like(p)
    for axis, J in enumerate(equation.current(p)):
        wall = [(1, 1) if a == axis else (0, 0) for a in range(p.ndim)]
        change -= np.diff(np.pad(J, wall), axis=axis) / equation.grid.width
    by_matrix = (equation.generator @ p.ravel()).reshape(p.shape)
    assert np.allclose(by_matrix, change, rtol=1e-12, atol=1e-9 * np.abs(change).max())


@reversible
@pytest.mark.equation("3.20")
def test_no_current_flows_at_equilibrium(equation):
    p = equation.equilibrium()
    assert p.sum() * equation.grid.volume == pytest.approx(1.0, abs=1e-12)
    for J, (up, _) in zip(equation.current(p), equation.rates):
        assert np.abs(J).max() <= 1e-12 * (up * p.max()).max() * equation.grid.width
    assert np.allclose(equation.evolve(p, 1.0), p, rtol=1e-11, atol=1e-14 * p.max())


@reversible
@pytest.mark.equation("3.31")
def test_free_energy_falls_and_is_the_relative_entropy(equation):
    p = spike(equation)
    values = []
    for _ in range(8):
        values.append(equation.free_energy(p))
        p = equation.evolve(p, 0.05)
    assert all(a > b > -1e-12 for a, b in itertools.pairwise(values))
    ratio = np.log(np.clip(p / equation.equilibrium(), 1e-300, None))
    assert equation.free_energy(p) == pytest.approx(float((p * ratio).sum()) * equation.grid.volume, abs=1e-10)


@reversible
def test_rates_are_the_spectrum_of_the_generator(equation):
    all_of_them = np.sort(-np.linalg.eigvals(equation.generator.toarray()).real)
    found = equation.relaxation_rates(5)
    assert np.allclose(found, all_of_them[:5], atol=1e-10 * all_of_them[-1])


def test_hermite_spectrum_of_the_spring():
    spectra = [
        FokkerPlanck.from_potential(spring, Grid(-12.0, 12.0, n), mobility=0.5, kT=2.0).relaxation_rates(5)
        for n in (300, 600)
    ]
    assert np.allclose(extrapolate(*spectra), 0.5 * np.arange(5), atol=1e-5)


def test_a_cloud_has_the_same_density():
    """40,000 particles of the same equation against the solver, cell by cell, in standard errors."""
    grid, generator, n = Grid(-2.4, 2.4, 24), seeded(3), 40_000
    x = torch.full((n,), -1.0, dtype=torch.float64)
    dt, T = 2e-3, 1.0
    for _ in range(int(T / dt)):
        force = -8 * x * (x**2 - 1)
        x = x + force * dt + math.sqrt(2 * dt) * torch.randn(n, generator=generator, dtype=torch.float64)
    fine = Grid(-2.4, 2.4, 384)
    start = np.zeros(384)
    start[[111, 112]] = 0.5 / fine.width  # the two cells that meet at -1
    p = FokkerPlanck.from_potential(double_well(2.0), fine).evolve(start, T)
    for _ in range(4):
        p = restrict(p)
    cloud = grid.histogram(x)
    expected = n * p * grid.width
    seen = expected > 20
    z = (n * cloud * grid.width - expected)[seen] / np.sqrt(expected[seen])
    assert np.abs(z).max() < 6  # Euler-Maruyama is biased by its step, a little
    assert np.mean(z**2) < 3


# --- parts


def test_bernoulli_near_zero_and_far_from_it():
    w = np.array([1e-9, 1e-6, 0.9e-5, 1.1e-5, 1e-3, 0.5, 30.0])
    series = 1 - w / 2 + w**2 / 12 - w**4 / 720
    assert np.allclose(bernoulli(w)[:5], series[:5], rtol=1e-11)
    assert np.allclose(bernoulli(-w), np.exp(w) * bernoulli(w), rtol=1e-12)
    assert bernoulli(0.0) == 1.0
    assert bernoulli(np.array([-1e6, 1e6])) == pytest.approx([1e6, 0.0], abs=1e-280)


def test_averages_and_histogram_of_the_plane():
    grid = Grid(0.0, 2.0, 2, dim=2)
    averages = grid.average(lambda x, y: x**2 * y)
    assert np.allclose(averages, np.outer([1 / 3, 7 / 3], [0.5, 1.5]))  # x along the first axis
    points = torch.tensor([[0.5, 1.5], [0.6, 1.6], [1.5, 0.5], [5.0, 5.0]])
    assert np.allclose(grid.histogram(points), [[0.0, 0.5], [0.25, 0.0]])


def test_restriction_keeps_the_mass_and_takes_pairs():
    p = np.random.default_rng(1).random((6, 8))
    coarse = restrict(p)
    assert coarse.shape == (3, 4)
    assert coarse.sum() * 4 == pytest.approx(p.sum())
    assert coarse[1, 2] == pytest.approx(p[2:4, 4:6].mean())


def test_positivity_and_order_four_conflict_where_the_density_is_not_resolved():
    coarse, fine = ou_on(64, t=0.05), restrict(ou_on(128, t=0.05))
    linear, logarithmic = extrapolate(coarse, fine), extrapolate_positive(coarse, fine)
    assert coarse.min() >= 0
    assert fine.min() >= 0
    assert linear.min() < -1e-9 * linear.max()  # this is what the name promises to avoid
    assert logarithmic.min() >= 0
    assert logarithmic.sum() == pytest.approx(fine.sum(), rel=1e-13)


def test_errors_are_sentences():
    grid, plane = Grid(-1.0, 1.0, 4), Grid(-1.0, 1.0, 4, dim=2)
    well = FokkerPlanck.from_potential(spring, grid)
    turning = FokkerPlanck.from_drift(lambda x, y: (y, -x), plane)
    with pytest.raises(ValueError, match="low < high"):
        Grid(1.0, 1.0, 4)
    with pytest.raises(ValueError, match="cells must be at least 2"):
        Grid(0.0, 1.0, 1)
    with pytest.raises(ValueError, match="dim must be 1 or 2"):
        Grid(0.0, 1.0, 4, dim=3)
    with pytest.raises(ValueError, match="points must have 1"):
        grid.histogram(np.zeros((3, 2)))
    with pytest.raises(ValueError, match="mobility and kT must be positive"):
        FokkerPlanck.from_potential(spring, grid, kT=0.0)
    with pytest.raises(ValueError, match="diffusion coefficient must be positive"):
        FokkerPlanck.from_drift(spring, grid, diffusion=-1.0)
    with pytest.raises(ValueError, match="diffusion coefficient must be positive"):
        FokkerPlanck.from_drift(spring, grid, diffusion=0.0)
    with pytest.raises(ValueError, match="not finite"), np.errstate(divide="ignore"):
        FokkerPlanck.from_potential(lambda x: 1 / (x - 0.25), grid)
    with pytest.raises(ValueError, match="cannot be run backwards"):
        well.evolve(np.ones(4), -1.0)
    with pytest.raises(ValueError, match="shape \\(4,\\)"):
        well.evolve(np.ones(5), 1.0)
    with pytest.raises(ValueError, match="negative somewhere"):
        well.free_energy(np.array([1.0, -1.0, 1.0, 1.0]))
    with pytest.raises(ValueError, match="count must be"):
        well.relaxation_rates(4)
    for call in (turning.equilibrium, turning.relaxation_rates, lambda: turning.free_energy(np.ones((4, 4)))):
        with pytest.raises(ValueError, match="no potential"):
            call()
    with pytest.raises(ValueError, match="even number"):
        restrict(np.ones(5))
    with pytest.raises(ValueError, match="see restrict"):
        extrapolate(np.ones(4), np.ones(8))
    with pytest.raises(ValueError, match="see restrict"):
        extrapolate_positive(np.ones(4), np.ones(8))
    with pytest.raises(ValueError, match="not negative"):
        extrapolate_positive(np.ones(4), -np.ones(4))

"""ULA and MALA: their laws in closed form, their conventions, and what they refuse."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from diffedu._tensor import seeded
from diffedu.core import EDM, VP, GaussianMixture, score
from diffedu.sampling import MALA, ULA, Langevin, sample
from tests.core.test_oracle import plane
from tests.device_guard import DeviceGuard
from tests.sampling.affine import read_off

F64 = torch.float64


def gaussian(mean, covariance):
    return GaussianMixture.single(torch.tensor(mean, dtype=F64), torch.tensor(covariance, dtype=F64))


def two_wells(separation=2.0, std=0.8, weights=(0.3, 0.7)):
    means = torch.tensor([[-separation / 2], [separation / 2]], dtype=F64)
    return GaussianMixture.isotropic(means, std, torch.tensor(weights, dtype=F64))


TILTED = gaussian([1.0, -2.0], [[1.0, 0.6], [0.6, 0.5]])


# --- the walk


@pytest.mark.parametrize("temperature", [0.3, 1.0, 2.0])
@pytest.mark.parametrize("mobility", [1.0, 0.4, torch.tensor([1.0, 0.2], dtype=F64)], ids=["1", "0.4", "two"])
def test_the_equilibrium_of_ula_on_a_gaussian_is_the_closed_form(temperature, mobility):
    """S_h = A S_h A^T + 2 h M T is iterated here; the closed form is T (P - h/2 P M P)^-1 with the precision P."""
    h = 0.1
    ula = ULA(TILTED.score, h, temperature, mobility)
    step = read_off(ula.step, 2)
    mean, covariance = torch.zeros(2, dtype=F64), torch.eye(2, dtype=F64)
    for _ in range(8000):
        mean, covariance = step.moments(mean, covariance)
    precision = torch.linalg.inv(TILTED.covariance)
    m = torch.diag(torch.as_tensor(mobility, dtype=F64).expand(2))
    wanted = temperature * torch.linalg.inv(precision - h / 2 * precision @ m @ precision)
    torch.testing.assert_close(mean, TILTED.mean, rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(covariance, wanted, rtol=1e-8, atol=1e-8)


def test_without_temperature_it_climbs():
    x = torch.tensor([[3.0, 3.0]], dtype=F64)
    climbed = ULA(TILTED.score, 0.1, temperature=0.0).sample(x, 2000, generator=seeded(0))
    torch.testing.assert_close(climbed, TILTED.mean[None])


def test_mobility_is_a_step_size():
    """h and M enter as a product only."""
    x, z = torch.randn(2, 5, 2, generator=seeded(0), dtype=F64)
    a, b = ULA(plane().score, 0.3, mobility=0.1), ULA(plane().score, 0.1, mobility=0.3)
    torch.testing.assert_close(a.step(x, z), b.step(x, z))


def test_temperature_samples_the_power_of_the_density():
    """ULA for p at temperature T is ULA for p^(1/T) at temperature 1 with mobility M T."""
    x, z = torch.randn(2, 5, 2, generator=seeded(1), dtype=F64)
    hot = ULA(plane().score, 0.05, temperature=4.0, mobility=0.5)
    power = ULA(lambda x: plane().score(x) / 4.0, 0.05, mobility=2.0)
    torch.testing.assert_close(hot.step(x, z), power.step(x, z))


@pytest.mark.parametrize("path", [EDM(), VP()], ids=repr)
def test_the_langevin_solver_is_ula_at_one_noise_level(path):
    """Its step is counted in sigma^2, its score comes from a denoiser; the rest is the same, to the noise drawn."""
    exact, t = plane().denoiser(path), torch.tensor(0.4, dtype=F64)
    ula = ULA(lambda x: score(exact, x, t), 0.2 * path(t).sigma.item() ** 2)
    start = torch.randn(6, 2, generator=seeded(2), dtype=F64)
    walked = sample(exact, Langevin(0.2), start, t.expand(11), generator=seeded(3))
    torch.testing.assert_close(ula.sample(start, 10, generator=seeded(3)), walked)
    torch.testing.assert_close(ula.score(start), plane().noised(path, t).score(start))


def test_published_conventions_are_ours_with_another_name_for_the_step():
    """Song and Ermon's alpha / 2 and sqrt(alpha); a mixture of two conventions is another temperature."""
    x, z = torch.randn(2, 7, 2, generator=seeded(4), dtype=F64)
    alpha, s = 0.08, plane().score
    torch.testing.assert_close(x + alpha / 2 * s(x) + math.sqrt(alpha) * z, ULA(s, alpha / 2).step(x, z))
    torch.testing.assert_close(x + alpha * s(x) + math.sqrt(alpha) * z, ULA(s, alpha, temperature=0.5).step(x, z))
    torch.testing.assert_close(
        x + alpha / 2 * s(x) + math.sqrt(2 * alpha) * z, ULA(s, alpha / 2, temperature=2.0).step(x, z)
    )


# --- one step as a matrix over a grid, so that equilibria need no sampling

GRID = torch.linspace(-6, 6, 241, dtype=F64)


def ula_matrix(mixture, h):
    """Probability to go from grid point i (row) to j (column)."""
    drifted = GRID + h * mixture.score(GRID[:, None])[:, 0]
    return torch.softmax(-((GRID[None, :] - drifted[:, None]) ** 2) / (4 * h), dim=1)


def equilibrium(matrix):
    p = torch.full((len(matrix),), 1 / len(matrix), dtype=F64)
    for _ in range(20):  # squaring: 2^20 steps
        matrix = matrix @ matrix
        matrix = matrix / matrix.sum(1, keepdim=True)
    return p @ matrix


def test_the_bias_of_ula_is_of_first_order_on_a_mixture():
    mixture = two_wells()
    truth = torch.softmax(mixture.log_prob(GRID[:, None]), dim=0)
    steps = [0.16, 0.08, 0.04, 0.02]
    errors = [(equilibrium(ula_matrix(mixture, h)) - truth).abs().sum().item() for h in steps]
    assert np.polyfit(np.log(steps), np.log(errors), 1)[0] == pytest.approx(1.0, abs=0.15), errors


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_mala_obeys_detailed_balance(temperature):
    """q(a) k(b|a) acc(a->b) is symmetric in a and b, for q = p^(1/T) and the proposal's density written out anew."""
    mixture, h, mobility = plane(), 0.3, torch.tensor([1.0, 0.3], dtype=F64)
    a, b = 1.5 * torch.randn(2, 200, 2, generator=seeded(5), dtype=F64)
    mala = MALA(mixture.log_prob, mixture.score, h, temperature, mobility)

    def flow(x, y):
        mean = x + h * mobility * mixture.score(x)
        proposal = torch.distributions.Normal(mean, (2 * h * mobility * temperature).sqrt())
        log_k = proposal.log_prob(y).sum(1)
        return mixture.log_prob(x) / temperature + log_k + mala.log_accept(x, y).clamp(max=0)

    torch.testing.assert_close(flow(a, b), flow(b, a))
    assert mala.log_accept(a, b).abs().max() > 1  # the test is about something


@pytest.mark.parametrize("h", [0.1, 1.0, 3.0])  # the last beyond where ULA explodes
def test_mala_keeps_a_gaussian_at_every_step_size(h):
    normal = gaussian([0.0], [[1.0]])
    mala = MALA(normal.log_prob, normal.score, h)
    x = normal.sample(40_000, seeded(6))
    x = mala.sample(x, 20, generator=seeded(7))
    error = math.sqrt(2 / len(x))
    assert x.var().item() == pytest.approx(1.0, abs=5 * error)
    wide = ULA(normal.score, h).sample(x, 20, generator=seeded(7)).var().item()
    assert wide > 1.0 + 8 * error or h == 0.1


def test_mala_accepts_as_often_as_the_ratio_says():
    mixture, h = plane(), 0.2
    mala = MALA(mixture.log_prob, mixture.score, h)
    x = mixture.sample(1, seeded(8)).expand(20_000, -1)
    z = torch.randn(x.shape, generator=seeded(9), dtype=x.dtype)
    u = torch.rand(len(x), generator=seeded(10), dtype=x.dtype)
    state, moved = mala.step(x, z, u)
    proposal = ULA(mixture.score, h).step(x, z)
    chance = mala.log_accept(x, proposal).exp().clamp(max=1)
    assert moved.double().mean().item() == pytest.approx(chance.mean().item(), abs=0.02)
    assert 0.05 < chance.mean() < 0.98
    assert torch.equal(state[moved], proposal[moved])
    assert torch.equal(state[~moved], x[~moved])


def test_mala_refuses_to_leave_the_support():
    """A box: log p is -inf outside, and no walker is ever seen there."""

    def box(x):
        inside = (x.abs() < 1).all(dim=1)
        return torch.where(inside, 0.0, -math.inf)

    x = MALA(box, torch.zeros_like, 0.2).sample(torch.zeros(500, 2), 100, generator=seeded(11))
    assert x.abs().max() < 1
    assert x.var().item() == pytest.approx(1 / 3, abs=0.05)


# --- shapes, devices, sentences


def test_pictures_walk_as_points_do():
    """(B, C, H, W) gives what (B, D) gives, with the mobility of one picture."""
    x, z = torch.randn(2, 3, 1, 2, 2, generator=seeded(12), dtype=F64)
    mobility = torch.rand(1, 2, 2, generator=seeded(13), dtype=F64) + 0.1
    u = torch.rand(3, generator=seeded(14), dtype=F64)

    def log_prob(x):
        return -x.flatten(1).square().sum(1) / 2

    picture, moved = MALA(log_prob, torch.neg, 0.9, 1.3, mobility).step(x, z, u)
    point, also = MALA(log_prob, torch.neg, 0.9, 1.3, mobility.flatten()).step(x.flatten(1), z.flatten(1), u)
    torch.testing.assert_close(picture.flatten(1), point)
    assert torch.equal(moved, also)


def test_the_run_yields_what_the_sample_returns():
    ula, mala = ULA(plane().score, 0.1), MALA(plane().log_prob, plane().score, 0.1)
    x = torch.zeros(3, 2, dtype=F64)
    states = list(ula.run(x, 4, generator=seeded(15)))
    assert len(states) == 5
    assert torch.equal(states[0], x)
    assert torch.equal(states[-1], ula.sample(x, 4, generator=seeded(15)))
    walked = list(mala.run(x, 4, generator=seeded(15)))
    assert len(walked) == 4
    assert torch.equal(walked[-1][0], mala.sample(x, 4, generator=seeded(15)))
    assert torch.equal(x, torch.zeros(3, 2, dtype=F64))  # the caller's tensor is left alone


def test_no_gradient_is_recorded():
    weight = torch.ones((), requires_grad=True)
    x = ULA(lambda x: -weight * x, 0.1).sample(torch.zeros(2, 1), 3, generator=seeded(16))
    assert not x.requires_grad
    assert torch.is_grad_enabled()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_dtypes_and_devices_are_kept(dtype):
    mixture = plane().to(dtype=dtype)
    x = torch.zeros(4, 2, dtype=dtype)
    with DeviceGuard():
        a = ULA(mixture.score, 0.1).sample(x, 2, generator=seeded(17))
        b = MALA(mixture.log_prob, mixture.score, 0.1).sample(x, 2, generator=seeded(17))
    assert a.dtype == b.dtype == dtype


def test_meta_tensors_go_through():
    x = torch.zeros(4, 2, device="meta")
    mobility = torch.ones(2, device="meta")
    assert ULA(torch.neg, 0.1, mobility=mobility).step(x, x).shape == (4, 2)
    state, moved = MALA(lambda x: x.sum(1), torch.neg, 0.1).step(x, x, x[:, 0])
    assert (state.shape, moved.shape) == ((4, 2), (4,))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: ULA(torch.neg, 0.0), "step_size must be positive, got 0.0"),
        (lambda: ULA(torch.neg, math.nan), "step_size must be positive, got nan"),
        (lambda: ULA(torch.neg, 0.1, temperature=-1.0), "temperature must not be negative, got -1.0"),
        (lambda: MALA(torch.sum, torch.neg, 0.1, temperature=0.0), "temperature must be positive, got 0.0"),
        (lambda: ULA(torch.neg, 0.1, mobility=0.0), "mobility must be positive in every coordinate, got 0.0"),
        (lambda: MALA(torch.sum, torch.neg, 0.1, mobility=torch.tensor([1.0, -2.0])), "got -2.0"),
        (
            lambda: ULA(lambda x: x.sum(1), 0.1).step(torch.zeros(3, 2), torch.zeros(3, 2)),
            r"x and score must have the same shape, got \(3, 2\) and \(3,\)",
        ),
        (
            lambda: ULA(torch.neg, 0.1, mobility=torch.ones(3)).step(torch.zeros(3, 2), torch.zeros(3, 2)),
            r"shape of one point, \(2,\), got \(3,\)",
        ),
        (
            lambda: MALA(lambda x: x, torch.neg, 0.1).log_accept(torch.zeros(3, 2), torch.ones(3, 2)),
            r"one value a point, shape \(3,\), got \(3, 2\)",
        ),
    ],
)
def test_errors_are_sentences(make, words):
    with pytest.raises(ValueError, match=words):
        make()

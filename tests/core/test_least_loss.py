"""What no network can learn: closed forms, quadrature, another route through the losses, and its limits."""

from __future__ import annotations

import pytest
import torch

from diffedu._tensor import seeded
from diffedu.core import (
    EDM,
    EPS,
    PREDICTIONS,
    VP,
    X0,
    DenoisingLoss,
    DiscreteDDPM,
    GaussianMixture,
    RectifiedFlow,
    V,
    convert,
    least_loss,
    linear_betas,
)
from tests.core.paths import PATHS, inside


def tensor(values):
    return torch.tensor(values, dtype=torch.float64)


def plane():
    return GaussianMixture(
        tensor([0.5, 0.3, 0.2]),
        tensor([[-1.0, 0.3], [0.8, -0.7], [0.2, 1.1]]),
        tensor([[[0.30, 0.18], [0.18, 0.20]], [[0.10, -0.06], [-0.06, 0.40]], [[0.05, 0.0], [0.0, 0.15]]]),
    )


@pytest.mark.parametrize("name", PATHS)
@pytest.mark.equation("7.17")
def test_one_gaussian_by_hand(name):
    """Per eigenvalue s^2 of the covariance: what is left of x0 is s^2 sigma^2 / (alpha^2 s^2 + sigma^2)."""
    path = PATHS[name]
    gaussian = GaussianMixture.single(tensor([0.3, -2.0]), tensor([[0.9, 0.4], [0.4, 0.3]]))
    s2 = torch.linalg.eigvalsh(gaussian.covariances[0])
    t = inside(path, 7)
    alpha, sigma, *_ = path(t)
    share = alpha[:, None] ** 2 * s2 / (alpha[:, None] ** 2 * s2 + sigma[:, None] ** 2)
    torch.testing.assert_close(least_loss(gaussian, path, EPS, t, seeded(0)), share.mean(1), rtol=1e-9, atol=0)
    left = sigma[:, None] ** 2 * s2 / (alpha[:, None] ** 2 * s2 + sigma[:, None] ** 2)
    torch.testing.assert_close(least_loss(gaussian, path, X0, t, seeded(0)), left.mean(1), rtol=1e-9, atol=0)


def test_two_points_on_a_line_by_quadrature():
    """x0 = +-1 with equal chance: E[x0 | x_t] = tanh(alpha x_t / sigma^2), and the least loss is 1 - E tanh^2."""
    path, points = RectifiedFlow(), GaussianMixture.isotropic(tensor([[-1.0], [1.0]]), 0.0)
    for time in (0.3, 0.5, 0.8):
        alpha, sigma = 1 - time, time
        grid = torch.linspace(-8, 8, 40_001, dtype=torch.float64)
        density = sum(torch.exp(-((grid - m * alpha) ** 2) / (2 * sigma**2)) for m in (-1, 1))
        wanted = 1 - ((density / density.sum()) * torch.tanh(alpha * grid / sigma**2) ** 2).sum()
        found = least_loss(points, path, X0, torch.full((40_000,), time, dtype=torch.float64), seeded(1))
        error = found.std() / 200
        assert (found.mean() - wanted).abs() < 4 * error
        assert 4 * error < 0.1 * wanted


@pytest.mark.parametrize("name", PATHS)
@pytest.mark.parametrize("prediction", PREDICTIONS.values(), ids=repr)
@pytest.mark.equation("7.16")
def test_the_exact_denoiser_s_loss_converges_to_it(name, prediction):
    """The other route: no posterior covariance, only the exact mean put through the training loss."""
    path, mixture = PATHS[name], plane()
    time = 0.31 * path.t_max if path.t_max != 80 else 0.7
    if isinstance(path, DiscreteDDPM):
        time = round(time)
    t = torch.full((20_000,), float(time), dtype=torch.float64)
    exact = mixture.denoiser(path)

    def best(x_t, t):
        return convert(exact(x_t, t), x_t, path(t).expand(x_t), X0, prediction)

    loss = DenoisingLoss(path, prediction, lambda path, n, g: t)(best, mixture.sample(len(t), seeded(2)), seeded(3))
    least = least_loss(mixture, path, prediction, t, seeded(4))
    error = ((loss.var() + least.var()) / len(t)).sqrt()
    assert (loss.mean() - least.mean()).abs() < 4 * error
    assert 4 * error < 0.06 * least.mean()


def test_it_has_less_spread_than_the_loss_of_the_best_network():
    """That is why it is taken in closed form given x_t: fewer points give the same error bar."""
    path, mixture = VP(), plane()
    t = torch.full((5000,), 0.3, dtype=torch.float64)
    exact = mixture.denoiser(path)
    loss = DenoisingLoss(path, X0, lambda path, n, g: t)(exact, mixture.sample(len(t), seeded(2)), seeded(3))
    assert least_loss(mixture, path, X0, t, seeded(4)).std() < 0.5 * loss.std()


def test_limits():
    """A single point leaves nothing; little noise cannot be told from the data's own spread; much noise is plain."""
    point = GaussianMixture.isotropic(tensor([[0.4, -1.0]]), 0.0)
    t = inside(VP(), 9)
    assert least_loss(point, VP(), EPS, t, seeded(0)).abs().max() == 0
    ends = least_loss(plane(), EDM(), EPS, tensor([1e-3, 80.0]), seeded(0))
    assert ends[0] > 0.999
    assert ends[1] < 1e-3
    # v on a variance-preserving path: (alpha^2 + sigma^2)^2 / sigma^2 of the variance of x0
    v, x0 = (least_loss(plane(), VP(), p, t, seeded(5)) for p in (V, X0))
    torch.testing.assert_close(v, x0 / VP()(t).sigma ** 2)


def test_what_it_refuses_and_keeps():
    mixture, path = plane(), DiscreteDDPM(linear_betas(1000))
    with pytest.raises(ValueError, match=r"t must have shape \(B,\), .* got \(\)"):
        least_loss(mixture, path, EPS, tensor(3.0), seeded(0))
    with pytest.raises(ValueError, match=r"sigma\(t\) must be positive at every t, but it is 0 at t = 0"):
        least_loss(mixture, path, EPS, tensor([3.0, 0.0]), seeded(0))
    found = least_loss(mixture.to(dtype=torch.float32), path, EPS, torch.tensor([3.0, 7.0]), seeded(0))
    assert found.dtype == torch.float32
    assert torch.equal(
        found, least_loss(mixture.to(dtype=torch.float32), path, EPS, torch.tensor([3.0, 7.0]), seeded(0))
    )

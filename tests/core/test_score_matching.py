"""Score matching: each loss against closed forms, finite differences and quadrature, and against the others."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from diffedu._tensor import seeded
from diffedu.core import (
    SCORE,
    VE,
    DenoisingLoss,
    GaussianMixture,
    fisher_divergence,
    implicit_score_matching,
    sliced_score_matching,
)
from diffedu.core.score_matching import divergence
from tests.device_guard import DeviceGuard


def tensor(values):
    return torch.tensor(values, dtype=torch.float64)


def data():
    return GaussianMixture(
        tensor([0.7, 0.3]),
        tensor([[-0.8, 0.4], [0.9, -0.5]]),
        tensor([[[0.30, 0.10], [0.10, 0.25]], [[0.20, -0.05], [-0.05, 0.35]]]),
    )


def model():
    return GaussianMixture(
        tensor([0.4, 0.6]), tensor([[-0.5, 0.2], [0.7, 0.1]]), 0.4 * torch.eye(2).double().expand(2, 2, 2)
    )


def plane(limit=6.0, n=241):
    """Points of a square grid and the area of a cell: a sum over them stands for an integral."""
    line = torch.linspace(-limit, limit, n, dtype=torch.float64)
    return torch.cartesian_prod(line, line), (line[1] - line[0]) ** 2


# --- the Fisher divergence


def test_fisher_divergence_of_gaussians_in_closed_form():
    """N(m, S) and N(n, S): 1/2 |S^-1 (m - n)|^2 at every point; images are summed over all their axes."""
    x, m, n = torch.randn(3, 7, 3, generator=seeded(0), dtype=torch.float64)
    root = torch.randn(3, 3, generator=seeded(1), dtype=torch.float64)
    S = root @ root.T + torch.eye(3).double()
    P = torch.linalg.inv(S)
    found = fisher_divergence(-(x - m) @ P, -(x - n) @ P)
    torch.testing.assert_close(found, 0.5 * ((m - n) @ P).square().sum(1))
    assert fisher_divergence(torch.ones(2, 3, 4), torch.zeros(2, 3, 4)).tolist() == [6.0, 6.0]


def test_fisher_divergence_wants_equal_shapes():
    with pytest.raises(
        ValueError, match=r"model_score and data_score must have the same shape, got \(3, 2\) and \(3, 1\)"
    ):
        fisher_divergence(torch.zeros(3, 2), torch.zeros(3, 1))


# --- the divergence


def test_divergence_against_central_differences():
    field = lambda x: torch.stack([x[:, 0] * x[:, 1], x[:, 1].sin() * x[:, 2], x.prod(1)], dim=1)  # noqa: E731
    x, h = torch.randn(3, 3, generator=seeded(2), dtype=torch.float64), 1e-6  # B equal to D
    value, div = divergence(field, x)
    wanted = torch.zeros(3, dtype=torch.float64)
    for i in range(3):
        step = torch.zeros(3, dtype=torch.float64)
        step[i] = h
        wanted += (field(x + step) - field(x - step))[:, i] / (2 * h)
    torch.testing.assert_close(div, wanted, rtol=1e-7, atol=1e-8)
    torch.testing.assert_close(value, field(x))


def test_divergence_of_fields_that_do_not_look_at_x():
    x = torch.randn(4, 2, generator=seeded(3))
    assert divergence(torch.ones_like, x)[1].tolist() == [0.0] * 4
    half = divergence(lambda x: torch.stack([x[:, 0], torch.ones_like(x[:, 1])], dim=1), x)[1]
    assert half.tolist() == [1.0] * 4
    assert sliced_score_matching(torch.ones_like, x, torch.ones_like(x)).tolist() == [1.0] * 4


def test_the_caller_s_tensor_is_left_alone():
    x = torch.randn(4, 2, generator=seeded(4))
    implicit_score_matching(lambda y: -y, x)
    assert not x.requires_grad


# --- Hyvärinen's identity


@pytest.mark.equation("4.11")
def test_implicit_loss_is_the_fisher_divergence_minus_a_constant():
    """On a grid: F - J = 1/2 E_p |grad log p|^2, for a model that is right, and for two that are not."""
    p, (x, cell) = data(), plane()
    weight = p.log_prob(x).exp() * cell
    assert weight.sum().item() == pytest.approx(1.0, abs=1e-9)
    constant = 0.5 * (weight * p.score(x).square().sum(1)).sum()
    for s in (model().score, p.score, lambda x: -x + 0.3 * x.sin()):
        F = (weight * fisher_divergence(s(x), p.score(x))).sum()
        with torch.no_grad():
            J = (weight * implicit_score_matching(s, x)).sum()
        assert (F - J).item() == pytest.approx(constant.item(), rel=1e-9)


def test_implicit_loss_has_no_lower_bound_on_a_finite_sample():
    """A kernel density of width h on the samples themselves scores -D / h^2."""
    samples = data().sample(50, seeded(5))
    for h in (1e-2, 1e-3):
        ridge = GaussianMixture.isotropic(samples, h)
        with torch.no_grad():
            J = implicit_score_matching(ridge.score, samples).mean()
        assert J.item() == pytest.approx(-2 / h**2, rel=0.05)


# --- the sliced loss


def test_sliced_loss_over_all_signs_is_the_implicit_loss():
    """The mean over the 2^D sign vectors has no sampling error."""
    x = torch.randn(5, 3, generator=seeded(6), dtype=torch.float64)
    field = lambda x: torch.stack([x[:, 0] * x[:, 1], x[:, 1] * x[:, 2] ** 2, x.sum(1).sin()], dim=1)  # noqa: E731
    signs = [tensor(s).expand(5, 3) for s in itertools.product((-1.0, 1.0), repeat=3)]
    mean = torch.stack([sliced_score_matching(field, x, v) for v in signs]).mean(0)
    torch.testing.assert_close(mean, implicit_score_matching(field, x))


def test_sliced_loss_with_normal_directions_within_its_error():
    x = torch.randn(1, 3, generator=seeded(7), dtype=torch.float64).expand(20_000, 3)
    v = torch.randn(20_000, 3, generator=seeded(8), dtype=torch.float64)
    field = lambda x: torch.stack([x[:, 1] ** 2, x[:, 0] * x[:, 1], x[:, 2].exp()], dim=1)  # noqa: E731
    with torch.no_grad():
        found = sliced_score_matching(field, x, v)
        wanted = implicit_score_matching(field, x[:1]).item()
    assert found.mean().item() == pytest.approx(wanted, abs=4 * found.std().item() / math.sqrt(20_000))


def test_sliced_loss_of_pictures():
    """s = -x on any shape: |x|^2 / 2 - |v|^2."""
    x, v = torch.randn(2, 4, 1, 3, 3, generator=seeded(9))
    found = sliced_score_matching(lambda x: -x, x, v)
    torch.testing.assert_close(found, 0.5 * x.square().sum((1, 2, 3)) - v.square().sum((1, 2, 3)))


# --- all three losses


@pytest.mark.parametrize("loss", ["implicit", "sliced"])
def test_parameters_get_the_gradient_of_the_fisher_divergence(loss):
    """s = -a x on N(0, 1) data: J = a^2 E x^2 / 2 - a (times D), so dJ/da = D (a E x^2 - 1)."""
    x = torch.randn(500, 2, generator=seeded(10), dtype=torch.float64)
    v = torch.randint(0, 2, (500, 2), generator=seeded(11)).double() * 2 - 1
    a = tensor(0.3).requires_grad_()
    score = lambda x: -a * x  # noqa: E731
    values = implicit_score_matching(score, x) if loss == "implicit" else sliced_score_matching(score, x, v)
    values.mean().backward()
    wanted = 0.3 * x.square().sum(1).mean() - 2
    assert a.grad.item() == pytest.approx(wanted.item(), rel=1e-10)


def test_nothing_is_recorded_without_gradients():
    net = torch.nn.Linear(2, 2)
    x = torch.zeros(3, 2)
    with torch.no_grad():
        values = implicit_score_matching(net, x), sliced_score_matching(net, x, torch.ones(3, 2)), *divergence(net, x)
    assert not any(value.requires_grad for value in values)


@pytest.mark.equation("4.20")
def test_denoising_loss_is_fisher_divergence_plus_the_posterior_s_scatter():
    """D/2 DenoisingLoss(SCORE) = F + E tr Cov[x0 | x_t] / (2 sigma^4), for a wrong score: samples against a grid."""
    path, p, (x, cell) = VE(0.4, 5.0), data(), plane()
    t = torch.tensor(0.0, dtype=torch.float64)
    sigma, noised = path(t).sigma, p.noised(path, t)
    wrong = model().score
    weight = noised.log_prob(x).exp() * cell
    weights, means, covariances = p.posterior(x, t, path)
    mean = torch.einsum("bk,bki->bi", weights, means)
    spread = (means - mean[:, None]).square().sum(2) + covariances.diagonal(dim1=2, dim2=3).sum(2)
    constant = 0.5 * (weight * (weights * spread).sum(1)).sum() / sigma**4
    F = (weight * fisher_divergence(wrong(x), noised.score(x))).sum()
    at = lambda path, n, g: torch.zeros(n, dtype=torch.float64)  # noqa: E731
    losses = 2 / 2 * DenoisingLoss(path, SCORE, at)(lambda x, t: wrong(x), p.sample(100_000, seeded(12)), seeded(13))
    error = losses.std().item() / math.sqrt(100_000)
    assert losses.mean().item() == pytest.approx((F + constant).item(), abs=4 * error)
    assert error < 0.02 * constant.item()


# --- what is refused, and devices


def test_wrong_shapes_get_a_sentence():
    with pytest.raises(ValueError, match=r"x must have shape \(B, D\), got \(2, 3, 4\)"):
        implicit_score_matching(lambda x: x, torch.zeros(2, 3, 4))
    with pytest.raises(ValueError, match=r"the score returned shape \(4, 1\) for points of shape \(4, 2\)"):
        implicit_score_matching(lambda x: x[:, :1], torch.zeros(4, 2))
    with pytest.raises(ValueError, match=r"x and v must have the same shape, got \(4, 2\) and \(4, 1\)"):
        sliced_score_matching(lambda x: x, torch.zeros(4, 2), torch.zeros(4, 1))


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_every_device(device):
    x = torch.ones(4, 2, device=device)
    with DeviceGuard():
        results = (
            fisher_divergence(x, 2 * x),
            implicit_score_matching(lambda x: -x, x),
            sliced_score_matching(lambda x: -x, x, x),
        )
    assert all(r.device.type == device and r.shape == (4,) for r in results)

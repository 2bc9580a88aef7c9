"""EDM's preconditioning against its table, its defining properties, and Gaussian data, where all is closed form."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from diffedu._tensor import seeded
from diffedu.core import (
    EDM,
    VP,
    X0,
    Cosine,
    DenoisingLoss,
    GaussianMixture,
    Preconditioned,
    RectifiedFlow,
    V,
    edm_prediction,
    edm_scalings,
    least_loss,
    score,
    weight_between,
)
from diffedu.nn import MLP
from tests.core.paths import PATHS, VARIANCE_PRESERVING, inside

DOUBLE = torch.float64
S = 0.6


@pytest.mark.equation("11.25")
def test_on_edm_it_is_table_1():
    sigma = torch.tensor([0.002, 0.5, 1.0, 80.0], dtype=DOUBLE)
    found = edm_scalings(EDM()(sigma), 0.5)
    torch.testing.assert_close(found.c_skip, 0.25 / (sigma**2 + 0.25), rtol=1e-12, atol=0)
    torch.testing.assert_close(found.c_out, sigma * 0.5 / (sigma**2 + 0.25).sqrt(), rtol=1e-12, atol=0)
    torch.testing.assert_close(found.c_in, 1 / (sigma**2 + 0.25).sqrt(), rtol=1e-12, atol=0)
    torch.testing.assert_close(found.c_noise, sigma.log() / 4, rtol=1e-12, atol=0)


@pytest.mark.parametrize("name", PATHS)
def test_input_and_target_have_unit_variance_and_the_factor_is_least(name):
    """By the variances of independent x0 (s^2) and eps (1): no sample, no error bar."""
    c = PATHS[name](inside(PATHS[name]))
    skip, out, into, _ = edm_scalings(c, S)
    torch.testing.assert_close(into**2 * ((c.alpha * S) ** 2 + c.sigma**2), torch.ones_like(into))

    def size(skip):  # the standard deviation of x0 - skip x_t: what F has to be multiplied by
        return (((1 - skip * c.alpha) * S) ** 2 + (skip * c.sigma) ** 2).sqrt()

    torch.testing.assert_close(size(skip), out)
    for other in (0.9, 1.1):
        assert (size(other * skip) > out).all()
    a, b = edm_prediction(S).weights(c)
    torch.testing.assert_close((a * S) ** 2 + b**2, torch.ones_like(a))


@pytest.mark.parametrize("name", PATHS)
def test_the_prediction_is_the_two_formulas_at_once(name):
    c = PATHS[name](inside(PATHS[name]))
    x0, eps = torch.randn(2, len(c.alpha), generator=seeded(0), dtype=DOUBLE)
    x_t, scale = c.alpha * x0 + c.sigma * eps, edm_scalings(c, S)
    ours = edm_prediction(S)
    torch.testing.assert_close(ours.target(x0, eps, c), (x0 - scale.c_skip * x_t) / scale.c_out)
    value = torch.randn(len(x0), generator=seeded(1), dtype=DOUBLE)
    torch.testing.assert_close(ours.to_x0(value, x_t, c), scale.c_skip * x_t + scale.c_out * value)
    torch.testing.assert_close(weight_between(X0, ours)(c), 1 / scale.c_out**2)


@pytest.mark.parametrize("name", VARIANCE_PRESERVING)
def test_with_unit_data_it_is_minus_v(name):
    c = PATHS[name](inside(PATHS[name]))
    for ours, theirs in zip(edm_prediction(1.0).weights(c), V.weights(c), strict=True):
        torch.testing.assert_close(ours, -theirs)


def test_for_gaussian_data_nothing_is_left_to_learn():
    """Data N(0, s^2): the best linear guess is the best guess, so F = 0 is the exact denoiser; its loss is 1."""
    for path in (EDM(), VP(), RectifiedFlow(), Cosine()):
        exact = GaussianMixture.isotropic(torch.zeros(1, 2, dtype=DOUBLE), S).denoiser(path)
        silent = Preconditioned(lambda x, c_noise: torch.zeros_like(x), path, S).denoiser()
        x = torch.randn(50, 2, generator=seeded(2), dtype=DOUBLE)
        for t in (0.1 * path.t_max, 0.7 * path.t_max):
            torch.testing.assert_close(silent(x, t), exact(x, t))
            torch.testing.assert_close(score(silent, x, t), score(exact, x, t))
    t = torch.full((40,), 3.0)
    single = GaussianMixture.isotropic(torch.zeros(1, 2), S)
    torch.testing.assert_close(least_loss(single, EDM(), edm_prediction(S), t, seeded(3)), torch.ones(40))


def test_the_network_sees_scaled_points_and_c_noise():
    seen = []

    def net(x, c_noise):
        seen.append((x, c_noise))
        return torch.ones_like(x)

    coat, x = Preconditioned(net, EDM(), 0.5), torch.full((3, 2), 2.0)
    value = coat.denoiser()(x, 1.5)
    torch.testing.assert_close(seen[0][0], torch.full((3, 2), 2.0 / 2.5**0.5))
    torch.testing.assert_close(seen[0][1], torch.full((3,), torch.tensor(1.5).log().item() / 4))
    torch.testing.assert_close(value, 0.25 / 2.5 * x + 0.75 / 2.5**0.5)
    t = torch.tensor([0.1, 1.0, 10.0])
    coat(x, t)
    torch.testing.assert_close(seen[1][1], t.log() / 4)
    assert seen[1][0][0, 0] > 3 > seen[1][0][2, 0]


def test_it_trains_and_takes_labels():
    torch.manual_seed(0)
    coat = Preconditioned(MLP(2, t_max=1.0, width=8, classes=3), VP(), S)
    assert len(list(coat.parameters())) > 4
    loss = DenoisingLoss(VP(), edm_prediction(S))(coat.given(1), torch.zeros(5, 2), seeded(0))
    loss.mean().backward()
    assert all(p.grad is not None for p in coat.net.leave.parameters())
    x = torch.ones(5, 2)
    assert coat.denoiser().given(2)(x, 0.5).shape == x.shape
    assert isinstance(coat, nn.Module)


def test_what_has_no_scaling_is_refused():
    for wrong in (0.0, -1.0, float("nan")):
        with pytest.raises(ValueError, match="data_std must be positive"):
            Preconditioned(lambda x, c: x, EDM(), wrong)
        with pytest.raises(ValueError, match="data_std must be positive"):
            edm_scalings(EDM()(1.0), wrong)
    coat = Preconditioned(lambda x, c: x, RectifiedFlow(), S)
    with pytest.raises(ValueError, match="infinite where alpha or sigma is 0"):
        coat(torch.ones(2, 2), torch.ones(2))

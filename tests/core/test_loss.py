"""The training loss, term by term: what the network is shown, what it is compared with, how it is weighed."""

from __future__ import annotations

import itertools

import pytest
import torch
from scipy import stats

from diffedu._tensor import seeded
from diffedu.core import (
    EDM,
    EPS,
    PREDICTIONS,
    SCORE,
    VELOCITY,
    VP,
    X0,
    DatasetDenoiser,
    DenoisingLoss,
    DiscreteDDPM,
    GaussianMixture,
    LogitNormal,
    LogNormalSigma,
    MinSNR,
    RectifiedFlow,
    V,
    convert,
    uniform_t,
    unit_weight,
    weight_between,
)
from tests.core.paths import PATHS, inside


def at(*times):
    """A time sampler that draws nothing."""
    return lambda path, n, generator: torch.tensor(times, dtype=torch.float64)


@pytest.mark.parametrize("name", PATHS)
@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_the_loss_of_each_prediction_recomputed_from_what_the_network_saw(name, prediction):
    """The noise is recovered from x_t, and the target written out again from the literature's definitions."""
    path, seen = PATHS[name], []
    x0 = torch.randn(3, 3, generator=seeded(1), dtype=torch.float64)  # B equal to D

    def net(x_t, t):
        seen.append((x_t, t))
        return 0.3 * x_t + 0.1

    times = [f * path.t_max for f in (0.211, 0.512, 0.873)]
    weight = lambda c: 1 + c.sigma  # noqa: E731
    found = DenoisingLoss(path, PREDICTIONS[prediction], at(*times), weight)(net, x0, seeded(2))
    ((x_t, t),) = seen
    assert t.tolist() == times
    for i in range(3):
        alpha, sigma, alpha_dot, sigma_dot = (value.item() for value in path(t[i]))
        eps = (x_t[i] - alpha * x0[i]) / sigma
        target = {
            "eps": eps,
            "x0": x0[i],
            "v": alpha * eps - sigma * x0[i],
            "score": -eps / sigma,
            "velocity": alpha_dot * x0[i] + sigma_dot * eps,
        }[prediction]
        wanted = (1 + sigma) * ((0.3 * x_t[i] + 0.1 - target) ** 2).mean()
        assert found[i].item() == pytest.approx(wanted.item(), rel=1e-6)


def test_the_noise_is_standard_normal_and_fresh():
    seen = []
    loss = DenoisingLoss(RectifiedFlow(), EPS, lambda path, n, g: torch.ones(n))
    for generator in [seeded(3)] * 2:
        loss(lambda x_t, t: seen.append(x_t) or x_t, torch.zeros(5000, 2), generator)  # at t = 1 x_t is the noise
    assert stats.kstest(seen[0].flatten().numpy(), "norm").pvalue > 0.01
    assert not torch.equal(*seen)


def test_the_exact_denoiser_has_the_smallest_loss_and_it_is_the_posterior_variance():
    """E |x0 - E[x0 | x_t]|^2 for N(0, 1) data on a flow: sigma^2 / (alpha^2 + sigma^2) per coordinate."""
    path, x0 = RectifiedFlow(), torch.randn(40_000, 2, generator=seeded(4), dtype=torch.float64)
    exact = GaussianMixture.single(torch.zeros(2).double(), torch.eye(2).double()).denoiser(path)
    loss = DenoisingLoss(path, X0, lambda path, n, g: torch.full((n,), 0.6, dtype=torch.float64))
    best = loss(exact, x0, seeded(5))
    error = (best.std() / len(best) ** 0.5).item()
    assert best.mean().item() == pytest.approx(0.36 / 0.52, abs=4 * error)
    for off in (0.95, 1.05):
        assert loss(lambda x, t, off=off: off * exact(x, t), x0, seeded(5)).mean() > best.mean()


# --- expected targets


@pytest.mark.parametrize("name", PATHS)
@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_the_expected_target_is_the_exact_networks_answer(name, prediction):
    """The exact denoiser of the data, put into the prediction's units by conversion, then has no loss at all."""
    path, x0 = PATHS[name], torch.randn(9, 2, generator=seeded(7), dtype=torch.float64)
    exact = DatasetDenoiser(x0, path)
    times = torch.linspace(0.2, 0.9, 9).double() * path.t_max
    loss = DenoisingLoss(path, PREDICTIONS[prediction], at(*times.tolist()))

    def net(x_t, t):
        return convert(exact(x_t, t), x_t, path(t).expand(x_t), X0, PREDICTIONS[prediction])

    found = loss(net, x0, seeded(8), exact)
    torch.testing.assert_close(found, torch.zeros(9, dtype=torch.float64), atol=1e-12, rtol=0)
    assert (loss(net, x0, seeded(8)) > 1e-12).any()
    own = loss(net, x0, seeded(8), lambda x_t, t: x0)
    torch.testing.assert_close(own, loss(net, x0, seeded(8)))


def test_expected_targets_leave_the_mean_gradient_and_take_from_its_variance():
    path, x0 = RectifiedFlow(), torch.tensor([[-1.0], [1.0]], dtype=torch.float64).repeat(20_000, 1)
    exact, slope = DatasetDenoiser(x0[:2], path), torch.tensor(0.5, dtype=torch.float64)
    loss = DenoisingLoss(path, X0, lambda path, n, g: torch.full((n,), 0.6, dtype=torch.float64))

    def gradients(expected):
        """d/ds (s x_t - target)^2 = 2 x_t (s x_t - target), example by example, by finite differences of a parabola."""
        up, down = (loss(lambda x_t, t, s=s: s * x_t, x0, seeded(9), expected) for s in (slope + 0.5, slope - 0.5))
        return up - down

    plain, stable = gradients(None), gradients(exact)
    error = (plain - stable).std() / len(x0) ** 0.5
    assert abs((plain - stable).mean()) < 4 * error
    assert stable.var() < 0.7 * plain.var()


# --- weights


@pytest.mark.parametrize("name", PATHS)
def test_weight_between_turns_one_squared_error_into_another(name):
    """The same error of x0 expressed in every unit, by conversion; no determinant is used here."""
    path = PATHS[name]
    t = inside(path, 5)
    c, g = path(t), seeded(6)
    x_t, guess, error = torch.randn(3, 5, 2, generator=g, dtype=torch.float64)
    wide = c.expand(x_t)
    for source, goal in itertools.permutations(PREDICTIONS.values(), 2):

        def squared(p):
            a, b = (convert(x0, x_t, wide, X0, p) for x0 in (guess, guess + error))
            return (a - b).square().sum(1)

        torch.testing.assert_close(weight_between(source, goal)(c) * squared(source), squared(goal), rtol=1e-6, atol=0)


def test_weights_of_the_literature():
    c = VP()(inside(VP()))
    torch.testing.assert_close(weight_between(X0, EPS)(c), c.snr)  # eps error = snr x0 error
    torch.testing.assert_close(weight_between(X0, V)(c), c.snr + 1)  # Salimans & Ho: "SNR + 1"
    torch.testing.assert_close(weight_between(EPS, SCORE)(c), 1 / c.sigma**2)
    t = inside(RectifiedFlow())
    torch.testing.assert_close(weight_between(X0, VELOCITY)(RectifiedFlow()(t)), 1 / t**2)
    assert torch.equal(unit_weight(c), torch.ones_like(c.alpha))


def test_min_snr():
    c = VP()(inside(VP()))
    snr = (c.alpha / c.sigma) ** 2
    assert snr.max() > 5 > snr.min()
    for gamma in (5.0, 1.0):
        torch.testing.assert_close(MinSNR(gamma)(c), torch.minimum(snr, torch.full_like(snr, gamma)) / snr)
    # the same in units of x0: min(snr, gamma), Hang et al.'s own form
    torch.testing.assert_close(MinSNR()(c) * weight_between(X0, EPS)(c), snr.clamp(max=5.0))


# --- times


def test_uniform_times_cover_the_path_evenly():
    for path in (VP(), EDM(), RectifiedFlow()):
        t = uniform_t(path, 5000, seeded(7)).double()
        assert t.min() >= path.t_min
        assert t.max() <= path.t_max
        assert stats.kstest(t.numpy(), "uniform", (path.t_min, path.t_max - path.t_min)).pvalue > 0.01


def test_uniform_times_of_a_discrete_path_are_one_to_t_each_as_often():
    path = DiscreteDDPM([0.5, 0.9, 0.95, 0.99])
    t = uniform_t(path, 4000, seeded(8))
    values, counts = t.unique(return_counts=True)
    assert values.tolist() == [1, 2, 3, 4]
    assert stats.chisquare(counts.numpy()).pvalue > 0.01
    assert t.dtype == torch.float32


def test_logit_normal_times():
    t = LogitNormal(0.3, 0.8)(RectifiedFlow(), 5000, seeded(9)).double()
    assert stats.kstest(torch.logit(t).numpy(), "norm", (0.3, 0.8)).pvalue > 0.01
    scaled = LogitNormal(0.0, 1.0)(PATHS["DDPM linear"], 5000, seeded(9))
    assert stats.kstest(torch.logit(scaled.double() / 1000).numpy(), "norm").pvalue > 0.01
    assert LogitNormal(-50.0)(VP(), 3, seeded(9)).tolist() == pytest.approx([1e-3] * 3)  # not below t_min


def test_log_normal_sigma_times():
    t = LogNormalSigma()(EDM(), 5000, seeded(10)).double()
    assert stats.kstest(t.log().numpy(), "norm", (-1.2, 1.2)).pvalue > 0.01  # Karras et al.: ln sigma ~ N(-1.2, 1.2^2)
    c = VP()(LogNormalSigma(0.0, 0.5)(VP(), 5000, seeded(11)).double())
    assert stats.kstest((c.sigma / c.alpha).log().numpy(), "norm", (0.0, 0.5)).pvalue > 0.01


@pytest.mark.parametrize(
    "times", [uniform_t, LogitNormal(), LogNormalSigma()], ids=["uniform", "logit-normal", "log-normal"]
)
@pytest.mark.parametrize("name", PATHS)
def test_every_sampler_stays_inside_every_path(name, times):
    t = times(PATHS[name], 2000, seeded(12))
    assert t.shape == (2000,)
    assert torch.isfinite(PATHS[name](t).sigma).all()
    assert (t >= PATHS[name].t_min).all()
    assert torch.equal(t, times(PATHS[name], 2000, seeded(12)))


def test_a_network_s_wrong_shape_gets_a_sentence():
    loss = DenoisingLoss(VP(), EPS)
    with pytest.raises(ValueError, match=r"returned shape \(4, 1\) for data of shape \(4, 2\)"):
        loss(lambda x, t: x[:, :1], torch.zeros(4, 2), seeded(0))

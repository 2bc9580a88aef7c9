"""Editing against closed forms: Gaussian data, where the exact conditional law is known."""

from __future__ import annotations

import pytest
import torch

from diffedu import (
    DDIM,
    EDM,
    VP,
    Ancestral,
    DPMSolverPP2M,
    GaussianMixture,
    Heun,
    RectifiedFlow,
    sample,
    seeded,
    trajectory,
    uniform_half_log_snr_times,
    uniform_times,
    with_zero,
)
from diffedu.editing import DPS, PosteriorGuided, Renoised, Replacement, conditioned, edited, resampled

FIRST = torch.tensor([True, False])
RHO = 0.9


def correlated():
    """Two coordinates of unit variance with correlation RHO: given the first, the second is N(RHO y, 1 - RHO^2)."""
    covariance = torch.tensor([[1.0, RHO], [RHO, 1.0]], dtype=torch.float64)
    return GaussianMixture.single(torch.zeros(2, dtype=torch.float64), covariance)


def start(n=4000, seed=0):
    return torch.randn(n, 2, generator=seeded(seed), dtype=torch.float64)


def test_known_values_stand_at_every_time_with_the_noise_of_that_time():
    path, known = VP(), torch.tensor([1.5, 99.0], dtype=torch.float64)
    solver = Replacement(DDIM(), known, FIRST)
    times = uniform_times(path, 5, end=0.0).double()
    states = list(trajectory(correlated().denoiser(path), solver, start(), times, generator=seeded(1)))
    for t, x in states[1:-1]:
        c = path(t)
        z = (x[:, 0] - c.alpha * 1.5) / c.sigma
        assert abs(z.mean()) < 4 / 4000**0.5
        assert abs(z.std() - 1) < 4 / 8000**0.5
    assert (states[-1][1][:, 0] == 1.5).all()
    assert (states[-1][1][:, 1] != 99).all()


def inpainted(times, path):
    """The unknown coordinate when the first is known to be 1.5, by replacement."""
    known = torch.tensor([1.5, 0.0], dtype=torch.float64)
    solver = Replacement(Renoised(Ancestral()), known, FIRST)
    return sample(correlated().denoiser(path), solver, start(), times, generator=seeded(2))[:, 1]


def test_replacement_is_biased_and_resampling_takes_the_bias_away():
    path = VP()
    times = uniform_half_log_snr_times(path, 30).double()
    plain, several = inpainted(times, path), inpainted(resampled(times, 1, 12), path)
    error = 4 * (1 - RHO**2) ** 0.5 / 4000**0.5
    wrong, right = (abs(x.mean() - RHO * 1.5) for x in (plain, several))
    assert wrong > 5 * error
    assert right < 0.35 * wrong


@pytest.mark.parametrize("path", [VP(), EDM(), RectifiedFlow()])
def test_a_step_up_adds_just_the_noise_that_is_missing(path):
    """Points of p_t become points of p_s: covariance propagated exactly."""
    t, s = (torch.tensor(u * path.t_max, dtype=torch.float64) for u in (0.2, 0.6))
    exact = correlated()
    noise = start(200_000, 5)
    x_t = exact.noised(path, t).sample(200_000, seeded(4))
    x_s, _ = Renoised(DDIM()).step(exact.denoiser(path), x_t, t, s, (), noise)
    wanted = exact.noised(path, s).covariance
    torch.testing.assert_close(x_s.T.cov(), wanted, rtol=0.02, atol=0.02 * wanted.max().item())
    c_t, c_s = path(t), path(s)
    only_noise, _ = Renoised(DDIM()).step(exact.denoiser(path), 0 * x_t, t, s, (), noise)
    torch.testing.assert_close(
        (only_noise / noise).square(),
        (c_s.sigma**2 - (c_s.alpha / c_t.alpha * c_t.sigma) ** 2).expand_as(noise),
    )


def test_going_down_is_the_solver_s_business_and_going_up_makes_it_forget():
    path, exact = VP(), correlated()
    solver, inner = Renoised(DPMSolverPP2M()), DPMSolverPP2M()
    x, (t, s, u) = start(5), torch.tensor([0.5, 0.4, 0.6], dtype=torch.float64)
    down, state = solver.step(exact.denoiser(path), x, t, s, solver.init(x), x)
    assert torch.equal(down, inner.step(exact.denoiser(path), x, t, s, inner.init(x), x)[0])
    _, forgotten = solver.step(exact.denoiser(path), down, s, u, state, x)
    assert forgotten == inner.init(x)


def test_the_resampled_grid():
    times = torch.arange(5.0).flip(0)
    assert torch.equal(resampled(times, 1, 1), times)
    assert resampled(times, 1, 2).tolist() == [4, 3, 4, 3, 2, 3, 2, 1, 2, 1, 0]
    assert resampled(times, 4, 2).tolist() == [4, 3, 2, 1, 4, 3, 2, 1, 0]
    assert resampled(times[:-1], 3, 2).tolist() == [4, 3, 2, 1, 4, 3, 2, 1]
    assert resampled(times, 3, 3).tolist() == [4, 3, 2, 1, 4, 3, 2, 1, 4, 3, 2, 1, 0]


def test_sdedit_keeps_the_picture_at_first_and_forgets_it_at_last():
    """Gaussian data, deterministic flow: the answer is affine in the picture; its slope falls from 1 to 0."""
    path, exact = VP(), GaussianMixture.single(torch.zeros(2, dtype=torch.float64), torch.eye(2, dtype=torch.float64))
    slopes = []
    for level in (0.01, 0.3, 1.0):
        times = with_zero(uniform_times(path, 60, start=level).double())
        low, high = (
            edited(
                exact.denoiser(path), DDIM(), torch.full((50, 2), v, dtype=torch.float64), times, generator=seeded(7)
            )
            for v in (-1.0, 1.0)
        )
        slopes.append(((high - low) / 2).mean().item())
        # unit variance is kept by the flow, so what is left of the picture is alpha(level)
        assert slopes[-1] == pytest.approx(path(torch.tensor(level)).alpha.item(), abs=0.02)
    assert slopes[0] > 0.99
    assert slopes[-1] < 0.02


@pytest.mark.parametrize("path", [VP(), EDM(), RectifiedFlow()])
def test_the_bent_denoiser_is_the_exact_posterior_mean_for_gaussian_data(path):
    variance, noise_std, y = 0.7, 0.4, torch.tensor([1.3], dtype=torch.float64)
    prior = GaussianMixture.single(
        torch.zeros(2, dtype=torch.float64), variance * torch.eye(2, dtype=torch.float64)
    ).denoiser(path)
    bent = PosteriorGuided(prior, lambda x0: x0[:, :1], y, noise_std, variance)
    x, t = start(6), torch.tensor(0.4 * path.t_max, dtype=torch.float64)
    # information adds up: the prior's, that of x_t, that of y
    c = path(t)
    weight = 1 / variance + c.snr + torch.tensor([1 / noise_std**2, 0.0], dtype=torch.float64)
    wanted = (c.alpha / c.sigma**2 * x + torch.stack([y[0] / noise_std**2, 0 * y[0]])) / weight
    torch.testing.assert_close(bent(x, t), wanted)
    one_each = PosteriorGuided(prior, lambda x0: x0[:, :1], y.expand(6, 1), noise_std, variance)
    torch.testing.assert_close(one_each(x, t.expand(6)), wanted)


def test_certainty_about_the_guess_pulls_too_hard():
    """DPS's assumption, v = 0, at the same scale: the correction is (noise^2 + r^2) / noise^2 times too large."""
    path, y = VP(), torch.tensor([1.3], dtype=torch.float64)
    prior = GaussianMixture.single(torch.zeros(2, dtype=torch.float64), torch.eye(2, dtype=torch.float64)).denoiser(
        path
    )
    x, t = start(6), torch.tensor(0.5, dtype=torch.float64)
    right, sure = (PosteriorGuided(prior, lambda x0: x0[:, :1], y, 0.4, v)(x, t) - prior(x, t) for v in (1.0, 0.0))
    torch.testing.assert_close(sure[:, 0], (0.16 + path(t).sigma ** 2) / 0.16 * right[:, 0])


def test_conditioning_a_mixture_is_bayes_rule_on_a_grid():
    """Weights, means and covariances against sums over a fine lattice of prior times likelihood."""
    double = torch.float64
    prior = GaussianMixture(
        torch.tensor([0.3, 0.7], dtype=double),
        torch.tensor([[-0.5, 0.4], [0.6, -0.2]], dtype=double),
        torch.tensor([[[0.3, 0.1], [0.1, 0.2]], [[0.2, -0.12], [-0.12, 0.4]]], dtype=double),
    )
    operator, y, noise_std = torch.tensor([[1.0, 0.5]], dtype=double), torch.tensor([0.7], dtype=double), 0.3
    line = torch.linspace(-5, 5, 801, dtype=double)
    x = torch.cartesian_prod(line, line)
    likelihood = torch.exp(-((y - x @ operator.mT)[:, 0] ** 2) / (2 * noise_std**2))
    wanted = prior.log_prob(x).exp() * likelihood
    wanted /= wanted.sum() * (line[1] - line[0]) ** 2
    exact = conditioned(prior, operator, y, noise_std)
    torch.testing.assert_close(exact.log_prob(x).exp(), wanted, rtol=1e-6, atol=1e-9)


def test_conditioning_without_noise_fixes_what_is_measured():
    given = conditioned(correlated(), torch.tensor([[1.0, 0.0]]).double(), torch.tensor([1.5]).double())
    torch.testing.assert_close(given.mean, torch.tensor([1.5, RHO * 1.5]).double())
    torch.testing.assert_close(given.covariance, torch.diag(torch.tensor([0.0, 1 - RHO**2])).double())


@pytest.mark.parametrize("path", [VP(), EDM()])
def test_with_a_gram_matrix_it_is_exact_for_an_operator_that_mixes_coordinates(path):
    variance, noise_std, double = 0.7, 0.4, torch.float64
    operator = torch.tensor([[1.0, 0.8, 0.0], [0.2, 1.0, 0.5]], dtype=double)
    y = torch.tensor([1.3, -0.4], dtype=double)
    prior = GaussianMixture.single(torch.zeros(3, dtype=double), variance * torch.eye(3, dtype=double))
    x, t = torch.randn(5, 3, generator=seeded(0), dtype=double), torch.tensor(0.4 * path.t_max, dtype=double)
    wanted = conditioned(prior, operator, y, noise_std).denoiser(path)(x, t)
    gram = operator @ operator.mT
    bent = PosteriorGuided(prior.denoiser(path), lambda x0: x0 @ operator.mT, y, noise_std, variance, gram=gram)
    torch.testing.assert_close(bent(x, t), wanted)
    torch.testing.assert_close(bent(x, t.expand(5)), wanted)
    without = PosteriorGuided(prior.denoiser(path), lambda x0: x0 @ operator.mT, y, noise_std, variance)
    assert (without(x, t) - wanted).abs().max() > 0.01


def test_a_step_of_dps_against_its_formula_with_a_derivative_by_hand():
    """A linear denoiser: x0_hat = w x; the gradient of |y - a x0_hat| is known."""
    path, variance = VP(), 0.7
    exact = GaussianMixture.single(torch.zeros(2).double(), variance * torch.eye(2).double()).denoiser(path)
    x, noise = start(6), start(6, 1)
    t, s, y = torch.tensor(0.5).double(), torch.tensor(0.4).double(), torch.tensor([1.3, -0.2]).double()
    c = path(t)
    slope = variance * c.alpha / (variance * c.alpha**2 + c.sigma**2)
    miss = y - slope * x
    plain, _ = Ancestral().step(exact, x, t, s, (), noise)
    wanted = plain + 2 * 0.3 * slope * miss / miss.norm(dim=1, keepdim=True)
    moved, _ = DPS(Ancestral(), lambda x0: x0, y, 0.3).step(exact, x, t, s, (), noise)
    torch.testing.assert_close(moved, wanted)
    assert not moved.requires_grad


def test_dps_refuses_a_solver_that_asks_twice():
    solver = DPS(Heun(), lambda x0: x0[:, :1], torch.zeros(1).double())
    with pytest.raises(ValueError, match="ask the denoiser once a step"):
        sample(correlated().denoiser(VP()), solver, start(3), uniform_times(VP(), 3).double())


def test_nothing_is_recorded_and_nothing_changed():
    prior = correlated().denoiser(VP())
    x = start(3)
    before = x.clone()
    out = PosteriorGuided(prior, lambda x0: x0[:, :1], torch.zeros(1, dtype=torch.float64), 0.1)(x, 0.5)
    assert not out.requires_grad
    assert not x.requires_grad
    assert torch.equal(x, before)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Replacement(DDIM(), torch.zeros(2), torch.ones(2)), "mask must be boolean"),
        (
            lambda: Replacement(DDIM(), torch.zeros(3), torch.tensor(True)).init(torch.zeros(3, 1)),
            r"must broadcast to the state's shape \(3, 1\)",
        ),
        (lambda: resampled(torch.tensor([1.0, 0.0]), 0, 1), "jump and visits must be at least 1, got 0 and 1"),
        (lambda: PosteriorGuided(None, None, torch.zeros(1), -1.0), "must not be negative"),
        (lambda: PosteriorGuided(None, None, torch.zeros(1), 0.0, 0.0), "not both 0"),
        (lambda: conditioned(correlated(), torch.ones(1, 3), torch.zeros(1)), r"shapes \(K, 2\) and \(K,\)"),
        (
            lambda: conditioned(correlated(), torch.ones(1, 2), torch.zeros(1), -1.0),
            "noise_std must not be negative",
        ),
    ],
)
def test_what_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()

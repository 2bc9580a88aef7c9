"""What each sampler must do exactly. A step with a Gaussian oracle is affine, so nothing here is sampled."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch

from diffedu._tensor import seeded
from diffedu.core import EDM, VE, VP, Cosine, DiscreteDDPM, GaussianMixture, RectifiedFlow, linear_betas
from diffedu.sampling import (
    DDIM,
    Ancestral,
    Churn,
    Euler,
    EulerMaruyama,
    Heun,
    Langevin,
    PredictorCorrector,
    beta_tilde_variance,
    beta_variance,
    repeated,
    sample,
    step_variance,
)
from tests.core.paths import PATHS, VARIANCE_PRESERVING
from tests.core.test_oracle import plane
from tests.sampling.affine import label, one_step, run

COARSE = (1.0, 0.8, 0.35, 0.1, 0.02)  # few, large, unequal steps: a law that is exact holds on any grid


def times_of(path, fractions=COARSE):
    times = torch.tensor(fractions, dtype=torch.float64) * path.t_max
    return times.round() if isinstance(path, DiscreteDDPM) else times


def gaussian(mean, variance):
    mean = torch.tensor(mean, dtype=torch.float64)
    return GaussianMixture.single(mean, variance * torch.eye(len(mean), dtype=torch.float64))


POINT = gaussian([1.5, -0.5], 0.0)


class Constant:
    """A denoiser that knows the answer: a point per row."""

    def __init__(self, x0, path):
        self.x0, self.path = x0, path

    def __call__(self, x_t, t):
        return self.x0


def marginal(mixture, path, t):
    noised = mixture.noised(path, t)
    return noised.mean, noised.covariance


def assert_moments(found, wanted, atol=1e-10):
    for a, b in zip(found, wanted, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=atol)


# --- DDPM's posterior


@pytest.mark.parametrize("name", PATHS)
def test_an_ancestral_step_is_the_conditional_of_the_joint_gaussian(name):
    """q(x_s | x_t, x0) by conditioning the joint normal of (x_s, x_t), blind to DDPM's formulas."""
    path, times = PATHS[name], times_of(PATHS[name])
    x0, x_t = torch.randn(2, 4, 1, generator=seeded(0), dtype=torch.float64)
    for t, s in pairwise(times):
        c, d = path(t), path(s)
        ratio = c.alpha / d.alpha  # x_t = ratio x_s + fresh noise, so Cov(x_s, x_t | x0) = ratio sigma_s^2
        cov = ratio * d.sigma**2
        mean = d.alpha * x0 + cov / c.sigma**2 * (x_t - c.alpha * x0)
        variance = d.sigma**2 - cov**2 / c.sigma**2
        zero, one = torch.zeros_like(x_t), torch.ones_like(x_t)
        known = Constant(x0, path)
        torch.testing.assert_close(Ancestral().step(known, x_t, t, s, (), zero)[0], mean, rtol=1e-9, atol=1e-11)
        spread = Ancestral().step(known, x_t, t, s, (), one)[0] - mean
        torch.testing.assert_close(spread**2, variance.expand(4, 1), rtol=1e-6, atol=1e-13)


def test_variances_in_ddpm_s_own_symbols():
    path = DiscreteDDPM(linear_betas(1000))
    ab, beta = path.alpha_bar, path.betas
    for k in (2, 3, 500, 1000):
        c_t, c_s = (path(torch.tensor(float(j), dtype=torch.float64)) for j in (k, k - 1))
        assert step_variance(c_t, c_s).item() == pytest.approx(beta[k - 1].item(), rel=1e-9)
        assert beta_variance(c_t, c_s).item() == pytest.approx(beta[k - 1].item(), rel=1e-9)
        wanted = (1 - ab[k - 1]) / (1 - ab[k]) * beta[k - 1]
        assert beta_tilde_variance(c_t, c_s).item() == pytest.approx(wanted.item(), rel=1e-9)
    c_t, c_s = (path(torch.tensor(k, dtype=torch.float64)) for k in (900.0, 600.0))  # a skipped grid
    assert step_variance(c_t, c_s).item() == pytest.approx((1 - ab[900] / ab[600]).item(), rel=1e-12)


def test_the_mean_in_ddpm_s_own_symbols():
    """Ho et al. 2020, eq. 7 with x0 replaced by its estimate from eps, against algorithm 2's line 4."""
    path = DiscreteDDPM(linear_betas(1000))
    x_t, eps = torch.randn(2, 5, 2, generator=seeded(1), dtype=torch.float64)
    for k in (2, 400, 1000):
        ab, beta = path.alpha_bar[k], path.betas[k - 1]
        algorithm_2 = (x_t - beta / (1 - ab).sqrt() * eps) / (1 - beta).sqrt()
        x0_hat = (x_t - (1 - ab).sqrt() * eps) / ab.sqrt()
        t, s = (torch.tensor(float(j), dtype=torch.float64) for j in (k, k - 1))
        found, _ = Ancestral().step(Constant(x0_hat, path), x_t, t, s, (), torch.zeros_like(x_t))
        torch.testing.assert_close(found, algorithm_2, rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("name", PATHS)
def test_beta_tilde_is_exact_for_a_point_mass(name):
    path, times = PATHS[name], times_of(PATHS[name])
    for end in range(2, len(times) + 1):
        assert_moments(
            run(Ancestral(beta_tilde_variance), POINT, path, times[:end]),
            marginal(POINT, path, times[end - 1]),
        )


@pytest.mark.parametrize("name", VARIANCE_PRESERVING)
def test_beta_is_exact_for_standard_normal_data(name):
    path, times = PATHS[name], times_of(PATHS[name])
    normal = gaussian([0.0, 0.0], 1.0)
    for end in range(2, len(times) + 1):
        assert_moments(run(Ancestral(beta_variance), normal, path, times[:end]), marginal(normal, path, times[end - 1]))


@pytest.mark.parametrize("name", ["VP", "Cosine", "DDPM linear"])
def test_each_variance_is_wrong_for_the_other_s_data(name):
    """The two tests above tell them apart: beta is too wide for a point, beta tilde too narrow for noise."""
    path, times = PATHS[name], times_of(PATHS[name])
    _, wide = run(Ancestral(beta_variance), POINT, path, times)
    _, narrow = run(Ancestral(beta_tilde_variance), gaussian([0.0, 0.0], 1.0), path, times)
    assert (wide.diagonal() > 1.05 * path(times[-1]).sigma ** 2).all()
    assert (narrow.diagonal() < 0.95).all()


# --- DDIM


@pytest.mark.parametrize("eta", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("name", PATHS)
def test_ddim_keeps_the_marginals_of_a_point_mass_for_every_eta(name, eta):
    path, times = PATHS[name], times_of(PATHS[name])
    for end in range(2, len(times) + 1):
        assert_moments(run(DDIM(eta), POINT, path, times[:end]), marginal(POINT, path, times[end - 1]))


@pytest.mark.parametrize("name", PATHS)
def test_ddim_with_eta_one_is_ancestral_sampling(name):
    path = PATHS[name]
    exact = plane().denoiser(path)
    times = times_of(path, (*COARSE, 0.0))
    start = path(times[0]).sigma * torch.randn(6, 2, generator=seeded(2), dtype=torch.float64)
    a, b = (sample(exact, solver, start, times, generator=seeded(3)) for solver in (Ancestral(), DDIM(1.0)))
    torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-10)
    assert (sample(exact, DDIM(0.0), start, times, generator=seeded(3)) - a).abs().max() > 0.01


def test_ddim_s_variance_grows_with_eta_squared():
    t, s = torch.tensor([0.8, 0.5], dtype=torch.float64)
    c_t, c_s = Cosine()(t), Cosine()(s)
    for eta in (0.25, 0.5, 1.0):
        added = one_step(DDIM(eta), plane().only([1]), Cosine(), t, s).C
        wanted = eta**2 * (c_s.sigma / c_t.sigma) ** 2 * (1 - (c_t.alpha / c_s.alpha) ** 2)  # DDIM eq. 16, squared
        torch.testing.assert_close(added @ added.T, wanted * torch.eye(2, dtype=torch.float64))


# --- the SDE and Langevin


def test_euler_maruyama_steps_in_closed_form():
    t, s = torch.tensor([0.5, 0.48], dtype=torch.float64)
    mixture = gaussian([1.0, 2.0], 0.3)
    for path, f, g2 in (
        (VP(), -(0.1 + 19.9 * 0.5) / 2, 0.1 + 19.9 * 0.5),
        (VE(), 0.0, VE()(t).sigma.item() ** 2 * 2 * torch.tensor(5000.0, dtype=torch.float64).log().item()),
        (EDM(), 0.0, 2 * 0.5),
        (RectifiedFlow(), -2.0, 2.0),
    ):
        c = path(t)
        variance = (c.alpha**2 * 0.3 + c.sigma**2).item()
        step = one_step(EulerMaruyama(), mixture, path, t, s)
        eye = torch.eye(2, dtype=torch.float64)
        torch.testing.assert_close(step.A, (1 - (f + g2 / variance) * 0.02) * eye)
        torch.testing.assert_close(step.b, g2 * 0.02 / variance * c.alpha * mixture.mean)
        torch.testing.assert_close(step.C, (g2 * 0.02) ** 0.5 * eye)


@pytest.mark.parametrize("h", [0.05, 0.5, 1.0])
def test_langevin_s_stationary_variance_has_the_known_bias(h):
    """x <- (1 - h/v) x + sqrt(2h) z settles at v / (1 - h / (2v)): too wide, less so with smaller h."""
    path, t = EDM(), torch.tensor(0.7, dtype=torch.float64)
    mixture = gaussian([1.0, -2.0], 0.4)
    v, step_size = 0.4 + 0.49, h * 0.49  # Langevin counts its step in units of sigma^2
    step = one_step(Langevin(h), mixture, path, t, t)
    mean, covariance = torch.tensor([30.0, 5.0], dtype=torch.float64), 9 * torch.eye(2, dtype=torch.float64)
    for _ in range(3000):
        mean, covariance = step.moments(mean, covariance)
    torch.testing.assert_close(mean, mixture.mean)
    torch.testing.assert_close(covariance, v / (1 - step_size / (2 * v)) * torch.eye(2, dtype=torch.float64))


def test_langevin_does_not_look_at_the_next_time():
    exact = plane().denoiser(EDM())
    x, z = torch.randn(2, 3, 2, generator=seeded(4), dtype=torch.float64)
    t = torch.tensor(1.0, dtype=torch.float64)
    a, b = (Langevin(0.2).step(exact, x, t, torch.tensor(s, dtype=torch.float64), (), z)[0] for s in (1.0, 0.0))
    assert torch.equal(a, b)


# --- landing on clean data


@pytest.mark.parametrize(
    "solver", [Ancestral(), Ancestral(beta_variance), DDIM(1.0), DDIM(0.5), EulerMaruyama()], ids=label
)
@pytest.mark.parametrize("path", [VP(), EDM(), Cosine(), RectifiedFlow(), PATHS["DDPM linear"]], ids=label)
def test_no_noise_is_added_on_the_step_that_lands_on_clean_data(path, solver):
    t, zero = torch.tensor(0.02 * path.t_max, dtype=torch.float64), torch.tensor(0.0, dtype=torch.float64)
    landing = one_step(solver, plane().only([0]), path, t, zero)
    before = one_step(solver, plane().only([0]), path, t, t / 2)
    assert (landing.C == 0).all()
    assert (before.C.diagonal() > 0).all()  # the step before it does add some


@pytest.mark.parametrize("solver", [Ancestral(), DDIM(), DDIM(1.0), Euler(), Heun()], ids=label)
@pytest.mark.parametrize("path", [EDM(), RectifiedFlow()], ids=label)
def test_the_landing_step_returns_the_denoised_point(path, solver):
    """On EDM and RectifiedFlow a straight step to 0 is x0_hat for every one of these solvers."""
    exact, x = plane().denoiser(path), torch.randn(5, 2, generator=seeded(5), dtype=torch.float64)
    t = torch.tensor(0.3, dtype=torch.float64)
    found, _ = solver.step(exact, x, t, torch.zeros_like(t), (), torch.ones_like(x))
    torch.testing.assert_close(found, exact(x, t), rtol=1e-10, atol=1e-12)


def test_ve_keeps_its_smallest_noise():
    """VE ends at sigma_min, so steps rightly add noise there: the marginal at t = 0 is not clean."""
    path = VE(0.1, 10.0)
    times = torch.tensor([1.0, 0.5, 0.0], dtype=torch.float64)
    assert_moments(run(Ancestral(), POINT, path, times), (POINT.mean, 0.01 * torch.eye(2, dtype=torch.float64)))


# --- the deterministic solvers draw on no noise


@pytest.mark.parametrize("solver", [Euler(), Heun(), DDIM(0.0)], ids=label)
def test_deterministic_solvers_ignore_the_noise(solver):
    t, s = torch.tensor([0.6, 0.5], dtype=torch.float64)
    assert (one_step(solver, plane().only([2]), VP(), t, s).C == 0).all()


@pytest.mark.parametrize("k", [0.0, 0.5, 1.0, 2.0])
def test_every_stochasticity_has_the_same_marginals(k):
    """The whole covariance propagates; the error falls in proportion to the step for each member of the family."""
    path, mixture = VP(), plane().only([0])
    errors = []
    for n in (100, 200, 400):
        times = torch.linspace(0.9, 0.1, n + 1, dtype=torch.float64)
        _, covariance = run(EulerMaruyama(k), mixture, path, times)
        errors.append((covariance - mixture.noised(path, 0.1).covariance).norm().item())
    assert errors[0] / errors[1] == pytest.approx(2, abs=0.15), errors
    assert errors[1] / errors[2] == pytest.approx(2, abs=0.1), errors


def test_no_stochasticity_is_euler():
    path, exact = VP(), plane().denoiser(VP())
    times = torch.linspace(1.0, 0.1, 12, dtype=torch.float64)
    start = torch.randn(6, 2, generator=seeded(2), dtype=torch.float64)
    a = sample(exact, EulerMaruyama(0.0), start, times, generator=seeded(0))
    torch.testing.assert_close(a, sample(exact, Euler(), start, times), rtol=1e-10, atol=1e-12)
    assert path(times[0]).alpha > 0


@pytest.mark.parametrize("name", ["VP", "EDM", "RectifiedFlow", "DDPM linear"])
def test_churn_adds_what_the_forward_process_adds(name):
    """Before the inner step the law is the marginal of a noisier time; an inner solver that stays shows it."""

    class Stay:
        def init(self, x):
            return ()

        def step(self, denoiser, x_t, t, s, state, noise):
            seen.append(t)
            return x_t, state

    path, mixture, seen = PATHS[name], plane().only([0]), []
    t = torch.tensor(0.4 * path.t_max, dtype=torch.float64)
    before = mixture.noised(path, t)
    map_ = one_step(Churn(Stay(), gamma=0.3), mixture, path, t, t / 2)
    after = mixture.noised(path, seen[0])
    assert_moments(map_.moments(before.mean, before.covariance), (after.mean, after.covariance), atol=1e-8)
    c, d = path(t), path(seen[0])
    assert ((d.sigma / d.alpha) / (c.sigma / c.alpha)).item() == pytest.approx(1.3, rel=1e-8)


def test_churn_stays_on_the_path_and_inside_its_interval():
    path, exact = EDM(), plane().denoiser(EDM())
    x = torch.randn(4, 2, generator=seeded(0), dtype=torch.float64)
    t, s = torch.tensor([80.0, 40.0], dtype=torch.float64)
    noise = torch.randn(4, 2, generator=seeded(1), dtype=torch.float64)
    plain, _ = Heun().step(exact, x, t, s, (), noise)
    assert torch.equal(Churn(Heun(), 0.4).step(exact, x, t, s, (), noise)[0], plain)  # nothing noisier than t_max
    t, s = torch.tensor([2.0, 1.0], dtype=torch.float64)
    plain, _ = Heun().step(exact, x, t, s, (), noise)
    assert torch.equal(Churn(Heun(), 0.4, high=1.5).step(exact, x, t, s, (), noise)[0], plain)
    assert not torch.equal(Churn(Heun(), 0.4).step(exact, x, t, s, (), noise)[0], plain)
    assert path.t_max == 80


def test_predictor_corrector_predicts_down_and_corrects_on_the_spot():
    path, mixture = VP(), plane().only([0])
    exact, x = mixture.denoiser(path), torch.randn(4, 2, generator=seeded(0), dtype=torch.float64)
    noise, both = torch.randn(4, 2, generator=seeded(1)).double(), PredictorCorrector(EulerMaruyama(), Langevin(0.3))
    t, s = torch.tensor([0.5, 0.4], dtype=torch.float64)
    state = both.init(x)
    assert torch.equal(both.step(exact, x, t, s, state, noise)[0], EulerMaruyama().step(exact, x, t, s, (), noise)[0])
    assert torch.equal(both.step(exact, x, t, t, state, noise)[0], Langevin(0.3).step(exact, x, t, t, (), noise)[0])
    # with coarse steps, corrections bring the covariance nearer to the true one
    times = torch.linspace(0.9, 0.1, 11, dtype=torch.float64)
    true = mixture.noised(path, 0.1).covariance
    _, coarse = run(EulerMaruyama(), mixture, path, times)
    _, corrected = run(both, mixture, path, repeated(times, 4))
    assert (corrected - true).norm() < 0.5 * (coarse - true).norm()


def test_repeated_grids():
    times = torch.tensor([1.0, 0.6, 0.3, 0.0])
    assert repeated(times, 3).tolist() == pytest.approx([1.0, 0.6, 0.6, 0.6, 0.3, 0.3, 0.3, 0.0])
    assert repeated(times[:3], 2).tolist() == pytest.approx([1.0, 0.6, 0.6, 0.3, 0.3])
    with pytest.raises(ValueError, match="visits must be at least 1, got 0"):
        repeated(times, 0)

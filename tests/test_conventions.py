"""docs/conventions.md, executed: what each paper and library writes, in its letters, is what our converter returns.

The formulas here are transcribed from the sources; the right-hand sides are the package. A row of the table that no
test names, and a test that names no row, fail.
"""

from __future__ import annotations

import math
import re
from pathlib import Path

import pytest
import torch

from diffedu import (
    DDIM,
    EDM,
    EPS,
    SCORE,
    VE,
    VELOCITY,
    VP,
    X0,
    Ancestral,
    DiscreteDDPM,
    GaussianMixture,
    NetworkDenoiser,
    RectifiedFlow,
    V,
    convert,
    cosine_betas,
    eps_hat,
    linear_betas,
    score,
    seeded,
    time_at_half_log_snr,
    velocity,
)
from diffedu.core import OnPath
from diffedu.guidance import ClassifierFree, ClassifierGuided, scale_from_weight
from diffedu.sampling import Langevin, beta_tilde_variance

TABLE = Path(__file__).parent.parent / "docs" / "conventions.md"
MIXTURE = GaussianMixture.ring(5).to(dtype=torch.float64)
CHAIN = DiscreteDDPM(linear_betas(1000))
ALPHA_BAR = (1 - linear_betas(1000).double()).cumprod(0)  # ALPHA_BAR[t - 1], in float64
NOTHING = torch.zeros(6, 2, dtype=torch.float64)
COVERED: dict[str, str] = {}


def source(name):
    """The test executes this row of the table."""

    def mark(test):
        COVERED[name] = test.__name__
        return test

    return mark


def close(left, right, digits=8):
    torch.testing.assert_close(left, right, rtol=10.0**-digits, atol=10.0**-digits)


def points(path, t, seed=0):
    return MIXTURE.noised(path, t).sample(6, seeded(seed))


def pair(seed=1):
    return torch.randn(2, 6, 2, generator=seeded(seed), dtype=torch.float64)


@source("Ho et al. 2020 (DDPM)")
def test_ddpm():
    """Equations 4, 7 and 11: the jump, the variance and the mean of a reverse step, from eps."""
    t, exact = 400, MIXTURE.denoiser(CHAIN)
    c, (x0, eps) = CHAIN(torch.tensor(float(t), dtype=torch.float64)), pair()
    alpha_bar, before, beta = ALPHA_BAR[t - 1], ALPHA_BAR[t - 2], linear_betas(1000).double()[t - 1]
    close(c.alpha * x0 + c.sigma * eps, alpha_bar.sqrt() * x0 + (1 - alpha_bar).sqrt() * eps)
    x = points(CHAIN, float(t))
    mean = (x - beta / (1 - alpha_bar).sqrt() * eps_hat(exact, x, float(t))) / (1 - beta).sqrt()
    ours, _ = Ancestral().step(exact, x, *torch.tensor([t, t - 1.0], dtype=torch.float64), (), NOTHING)
    close(ours, mean)
    s = CHAIN(torch.tensor(t - 1.0, dtype=torch.float64))
    close(beta_tilde_variance(c, s), (1 - before) / (1 - alpha_bar) * beta)


@source("Nichol & Dhariwal 2021 (Improved DDPM)")
def test_improved_ddpm():
    """Equation 17, and beta cut at 0.999."""
    f = torch.cos((torch.arange(101, dtype=torch.float64) / 100 + 0.008) / 1.008 * math.pi / 2) ** 2
    alpha_bar = f / f[0]
    close(cosine_betas(100).double(), (1 - alpha_bar[1:] / alpha_bar[:-1]).clamp(max=0.999))


@source("Song, Meng, Ermon 2021 (DDIM)")
def test_ddim():
    """Equation 12, in which alpha is our alpha squared."""
    exact, (t, s) = MIXTURE.denoiser(CHAIN), torch.tensor([400.0, 350.0], dtype=torch.float64)
    x = points(CHAIN, 400.0)
    a, a_before, eta = ALPHA_BAR[399], ALPHA_BAR[349], 0.7
    noise = pair(2)[0]
    e = eps_hat(exact, x, t)
    sigma = eta * ((1 - a_before) / (1 - a)).sqrt() * (1 - a / a_before).sqrt()  # eq. 16
    theirs = a_before.sqrt() * (x - (1 - a).sqrt() * e) / a.sqrt() + (1 - a_before - sigma**2).sqrt() * e
    close(DDIM(eta).step(exact, x, t, s, (), noise)[0], theirs + sigma * noise)


@source("Song & Ermon 2019 (NCSN)")
def test_ncsn():
    """Algorithm 1: x + alpha/2 s(x, sigma_i) + sqrt(alpha) z, with alpha = epsilon sigma_i^2 / sigma_L^2."""
    path, epsilon, last = EDM(), 2e-5, 0.01
    exact, t = MIXTURE.denoiser(path), torch.tensor(0.6, dtype=torch.float64)
    x, noise = points(path, 0.6), pair(2)[0]
    alpha = epsilon * t**2 / last**2
    theirs = x + alpha / 2 * score(exact, x, t) + alpha.sqrt() * noise
    close(Langevin(epsilon / (2 * last**2)).step(exact, x, t, t, (), noise)[0], theirs)


@source("Song et al. 2021 (score SDE)")
def test_score_sde():
    """Equations 30 to 33 for VP and VE, equation 13 for the flow."""
    t = torch.tensor(0.37, dtype=torch.float64)
    beta = 0.1 + t * (20 - 0.1)
    vp, ve = VP(), VE(0.01, 50.0)
    close(vp(t).drift, -beta / 2)
    close(vp(t).diffusion_squared, beta)
    close(ve(t).drift, 0 * t)
    # sigma_min^2 is taken off their variance: at t = 0 our points are the data
    g = 0.01 * (50 / 0.01) ** t * math.sqrt(2 * math.log(50 / 0.01))
    close(ve(t).diffusion_squared, g**2)
    exact, x = MIXTURE.denoiser(vp), points(vp, 0.37)
    close(velocity(exact, x, t), -beta / 2 * x - beta / 2 * score(exact, x, t))


@source("Dhariwal & Nichol 2021 (classifier guidance)")
def test_classifier_guidance():
    """Algorithm 2: eps - sqrt(1 - alpha_bar) grad log p(y | x_t), here with a scale of 3 before the gradient."""
    x, one = points(CHAIN, 400.0), MIXTURE.only([0])

    def log_prob(x, t):
        """Bayes: the first of five equal components."""
        return one.noised(CHAIN, t).log_prob(x) - MIXTURE.noised(CHAIN, t).log_prob(x) - math.log(5)

    exact = MIXTURE.denoiser(CHAIN)
    x_ = x.clone().requires_grad_()
    gradient = torch.autograd.grad(log_prob(x_, torch.tensor(400.0, dtype=torch.float64)).sum(), x_)[0]
    theirs = eps_hat(exact, x, 400.0) - (1 - ALPHA_BAR[399]).sqrt() * 3 * gradient
    close(eps_hat(ClassifierGuided(exact, log_prob, 3.0), x, 400.0), theirs)


@source("Ho & Salimans 2022 (classifier-free guidance)")
def test_classifier_free_guidance():
    """Equation 6: (1 + w) eps_c - w eps_u."""
    conditional, unconditional = MIXTURE.only([0]).denoiser(VP()), MIXTURE.denoiser(VP())
    x, w = points(VP(), 0.4), 1.7
    theirs = (1 + w) * eps_hat(conditional, x, 0.4) - w * eps_hat(unconditional, x, 0.4)
    close(eps_hat(ClassifierFree(conditional, unconditional, scale_from_weight(w)), x, 0.4), theirs)


@source("Salimans & Ho 2022 (v)")
def test_v():
    """Section 4: v = alpha eps - sigma x, and x = alpha z - sigma v."""
    c = VP()(torch.tensor(0.4, dtype=torch.float64)).expand(NOTHING)
    x0, eps = pair()
    z, v = c.alpha * x0 + c.sigma * eps, c.alpha * eps - c.sigma * x0
    close(V.target(x0, eps, c), v)
    close(convert(v, z, c, V, X0), c.alpha * z - c.sigma * v)


@source("Kingma et al. 2021 (VDM)")
def test_vdm():
    """sigma^2 = sigmoid(gamma), alpha^2 = sigmoid(-gamma), SNR = exp(-gamma): gamma = -2 half_log_snr."""
    c = VP()(torch.linspace(0.1, 0.9, 5, dtype=torch.float64))
    gamma = -2 * c.half_log_snr
    close(c.sigma**2, torch.sigmoid(gamma))
    close(c.alpha**2, torch.sigmoid(-gamma))
    close(c.snr, torch.exp(-gamma))


@source("Karras et al. 2022 (EDM)")
def test_edm():
    """Their s(t) is our alpha, their sigma(t) is sigma / alpha; equations 1 and 3 for the ODE of s = 1, sigma = t."""
    path, t = EDM(), torch.tensor(0.8, dtype=torch.float64)
    x, D = points(path, 0.8), MIXTURE.denoiser(path)
    close(score(D, x, t), (D(x, t) - x) / t**2)
    close(velocity(D, x, t), (x - D(x, t)) / t)
    # our VP denoiser, asked as theirs: D(x; sigma)
    close(OnPath(MIXTURE.denoiser(VP()), path)(x, t), D(x, t))


@source("Lu et al. 2022 (DPM-Solver)")
def test_dpm_solver():
    """lambda = log(alpha / sigma); equation 3.7, DPM-Solver-1, which is DDIM."""
    path = VP()
    exact, (t, s) = MIXTURE.denoiser(path), torch.tensor([0.6, 0.5], dtype=torch.float64)
    x, from_, to = points(path, 0.6), path(t), path(s)
    h = torch.log(to.alpha / to.sigma) - torch.log(from_.alpha / from_.sigma)
    close(h, to.half_log_snr - from_.half_log_snr)
    theirs = to.alpha / from_.alpha * x - to.sigma * torch.expm1(h) * eps_hat(exact, x, t)
    close(DDIM().step(exact, x, t, s, (), NOTHING)[0], theirs)
    close(time_at_half_log_snr(path, from_.half_log_snr), t)


@source("Lipman et al. 2023 (flow matching)")
def test_flow_matching_paper():
    """Noise at 0, data at 1; with sigma_min = 0, psi_t(x) = (1 - t) x + t x1, velocity x1 - x (eq. 22 and 23)."""
    (x1, x), t = pair(), torch.tensor(0.3, dtype=torch.float64)
    c = RectifiedFlow()(1 - t).expand(x1)
    close(c.alpha * x1 + c.sigma * x, (1 - t) * x + t * x1)
    close(-VELOCITY.target(x1, x, c), x1 - x)


@source("Liu et al. 2023 (rectified flow)")
def test_rectified_flow_paper():
    """X_t = t X_1 + (1 - t) X_0 with X_1 data (eq. 1 and below); their Euler step upwards is ours downwards."""
    exact, (t, s) = MIXTURE.denoiser(RectifiedFlow()), torch.tensor([0.7, 0.6], dtype=torch.float64)
    z = points(RectifiedFlow(), 0.7)
    v = -velocity(exact, z, t)  # theirs at the time 1 - t = 0.3
    from diffedu.sampling import Euler

    close(Euler().step(exact, z, t, s, (), NOTHING)[0], z + (t - s) * v)


@source("diffusers")
def test_diffusers():
    """Its timestep i is our t = i + 1. States are compared, step by step, in tests/sampling/test_golden.py."""
    diffusers = pytest.importorskip("diffusers")
    scheduler = diffusers.DDPMScheduler(1000, beta_schedule="linear")
    c = CHAIN(torch.tensor([1.0, 500.0, 1000.0]))
    torch.testing.assert_close(scheduler.alphas_cumprod[[0, 499, 999]], c.alpha**2, rtol=1e-4, atol=0)
    x0, eps = (x.float() for x in pair())
    steps = torch.full((6,), 499)
    c = CHAIN(torch.full((6,), 500.0)).expand(x0)
    torch.testing.assert_close(scheduler.add_noise(x0, eps, steps), c.alpha * x0 + c.sigma * eps, rtol=0, atol=1e-4)
    torch.testing.assert_close(scheduler.get_velocity(x0, eps, steps), V.target(x0, eps, c), rtol=0, atol=1e-4)


@source("k-diffusion")
def test_k_diffusion():
    """A model there is called as model(x0 + sigma eps, sigma) and returns x0_hat: a denoiser on EDM.

    Its v-models are asked at the time (2 / pi) atan(sigma), which is the time of our Cosine path.
    """
    from diffedu import Cosine

    sigma = torch.tensor(0.8, dtype=torch.float64)
    x = points(EDM(), 0.8)
    model = OnPath(MIXTURE.denoiser(Cosine()), EDM())  # model(x, sigma)
    close(model(x, sigma), MIXTURE.denoiser(EDM())(x, sigma))
    time = 2 / math.pi * torch.atan(sigma)
    close(time_at_half_log_snr(Cosine(), EDM()(sigma).half_log_snr), time)
    # its wrapper of a v-network: c_skip = 1 / (1 + sigma^2), c_out = -sigma / sqrt(1 + sigma^2), c_in = 1 / sqrt(...)
    root = (1 + sigma**2).sqrt()
    at = Cosine()(time).expand(x)
    v = V.from_x0(MIXTURE.denoiser(Cosine())(x / root, time), x / root, at)
    close(x / root**2 - sigma / root * v, model(x, sigma))
    close(NetworkDenoiser(lambda x, t: v, Cosine(), V)(x / root, time), model(x, sigma))


@source("flow_matching")
def test_flow_matching_library():
    """X_t = alpha_t X_1 + sigma_t X_0 with X_1 data, noise at 0; conversions there use d_alpha_t and d_sigma_t."""
    t, path = torch.tensor(0.3, dtype=torch.float64), RectifiedFlow()
    alpha, sigma, d_alpha, d_sigma = t, 1 - t, 1.0, -1.0  # its CondOTScheduler
    x1, x0 = pair()
    x_t, velocity_there = alpha * x1 + sigma * x0, d_alpha * x1 + d_sigma * x0
    c = path(1 - t).expand(x1)
    close(c.alpha_dot + 0 * x1[:, :1], -d_alpha + 0 * x1[:, :1])
    close(convert(-velocity_there, x_t, c, VELOCITY, X0), x1)
    close(convert(-velocity_there, x_t, c, VELOCITY, EPS), x0)
    close(convert(-velocity_there, x_t, c, VELOCITY, SCORE), -x0 / sigma)


@source("azula")
def test_azula():
    """Its schedules are pairs (alpha_t, sigma_t) with data at 0, as ours; its denoiser returns the mean E[X | X_t]."""
    t = torch.tensor(0.4, dtype=torch.float64)
    low, high = 1e-3, 1e2  # its VESchedule
    sigma = torch.exp((1 - t) * math.log(low) + t * math.log(high))
    x = points(EDM(), sigma)
    close(OnPath(MIXTURE.denoiser(VP()), EDM())(x, sigma), MIXTURE.posterior_mean(x, sigma, EDM()))


def test_every_row_of_the_table_is_executed_and_no_other():
    text = TABLE.read_text(encoding="utf-8").split("## How others map onto ours")[1]
    rows = re.findall(r"^\| ([^|]+?) \|", text, flags=re.M)
    rows = [r for r in rows if r not in ("source", "---")]
    assert sorted(rows) == sorted(COVERED)

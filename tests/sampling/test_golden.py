"""The same tensors as diffusers' schedulers: same noise, same grid, every state of the run compared.

diffusers keeps its tables in float32, which leaves a few digits of 1 - alpha_bar at small times. So its
tables are recomputed in float64 from its own betas, and its formulas are then compared with ours to ten
digits.
"""

from __future__ import annotations

import warnings

import pytest
import torch

from diffedu._tensor import seeded
from diffedu.core import (
    EDM,
    EPS,
    VELOCITY,
    X0,
    DiscreteDDPM,
    NetworkDenoiser,
    RectifiedFlow,
    V,
    cosine_betas,
    karras_times,
    leading_times,
    linear_betas,
    scaled_linear_betas,
    trailing_times,
    with_zero,
)
from diffedu.sampling import DDIM, Ancestral, DPMSolverPP2M, Euler, Heun, beta_tilde_variance, beta_variance, trajectory

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    diffusers = pytest.importorskip("diffusers")

# diffusers with numpy 2
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

BETAS = {
    "linear": linear_betas(),
    "scaled_linear": scaled_linear_betas(),
    "squaredcos_cap_v2": cosine_betas(),
}
ENDS = {"linear": (1e-4, 0.02), "scaled_linear": (0.00085, 0.012), "squaredcos_cap_v2": (1e-4, 0.02)}
SHAPE = (3, 1, 4, 4)


def scheduler(kind, schedule="linear", **config):
    start, end = ENDS[schedule]
    made = getattr(diffusers, kind)(
        num_train_timesteps=1000, beta_start=start, beta_end=end, beta_schedule=schedule, **config
    )
    made.betas = made.betas.double()
    made.alphas = 1 - made.betas
    made.alphas_cumprod = made.alphas.cumprod(0)
    if hasattr(made, "final_alpha_cumprod"):
        made.final_alpha_cumprod = (
            torch.ones((), dtype=torch.float64) if config["set_alpha_to_one"] else made.alphas_cumprod[0]
        )
    return made


def model(x, k):
    """Any fixed function of the state and of diffusers' step number k, of shape (B,) or a number."""
    k = torch.as_tensor(k, dtype=torch.float64)
    k = k.reshape(-1, *(1,) * (x.ndim - 1)) if k.ndim else k
    return torch.tanh(0.8 * x + torch.sin(k / 90)) + 0.1 * x


def ours(path, prediction, solver, times, start, seed=1):
    """Our run; diffusers' step k is our time k + 1."""
    denoise = NetworkDenoiser(lambda x, t: model(x, t - 1), path, prediction)
    return [x for _, x in trajectory(denoise, solver, start, times, generator=seeded(seed))][1:]


def start_state():
    return torch.randn(SHAPE, generator=seeded(0), dtype=torch.float64)


def assert_same(a, b, rtol=1e-9, atol=1e-10):
    assert len(a) == len(b)
    for x, y in zip(a, b, strict=True):
        torch.testing.assert_close(x, y, rtol=rtol, atol=atol)


# --- schedules and grids


@pytest.mark.parametrize("schedule", BETAS)
def test_betas(schedule):
    theirs = scheduler("DDPMScheduler", schedule).betas
    torch.testing.assert_close(
        BETAS[schedule], theirs, rtol=2e-4 if schedule == "squaredcos_cap_v2" else 1e-6, atol=1e-8
    )


@pytest.mark.parametrize("steps", [1, 10, 50, 300, 1000])
@pytest.mark.parametrize(("spacing", "grid"), [("trailing", trailing_times), ("leading", leading_times)])
def test_grids(spacing, grid, steps):
    theirs = scheduler("DDIMScheduler", timestep_spacing=spacing, set_alpha_to_one=True)
    theirs.set_timesteps(steps)
    assert (grid(DiscreteDDPM(BETAS["linear"]), steps)[:-1] - 1).long().tolist() == theirs.timesteps.tolist()


def test_karras_sigmas():
    theirs = diffusers.EulerDiscreteScheduler(use_karras_sigmas=True)
    theirs.set_timesteps(20)
    high, low = theirs.sigmas[0].item(), theirs.sigmas[-2].item()
    torch.testing.assert_close(
        with_zero(karras_times(EDM(t_max=200.0), 19, start=high, end=low)),
        theirs.sigmas,
        rtol=1e-5,
        atol=1e-6,
    )


def test_add_noise():
    theirs = scheduler("DDPMScheduler")
    x0, eps = start_state(), torch.randn(SHAPE, generator=seeded(2), dtype=torch.float64)
    k = torch.tensor([0, 421, 999])
    path = DiscreteDDPM(theirs.betas)
    torch.testing.assert_close(
        path.add_noise(x0, eps, k.double() + 1), theirs.add_noise(x0, eps, k), rtol=1e-12, atol=1e-13
    )


def test_velocity_of_diffusers_is_our_v():
    theirs = scheduler("DDPMScheduler")
    x0, eps = start_state(), torch.randn(SHAPE, generator=seeded(2), dtype=torch.float64)
    k = torch.tensor([3, 421, 980])
    c = DiscreteDDPM(theirs.betas)(k.double() + 1).expand(x0)
    torch.testing.assert_close(V.target(x0, eps, c), theirs.get_velocity(x0, eps, k), rtol=1e-12, atol=1e-13)


# --- ancestral sampling


@pytest.mark.parametrize("steps", [1000, 25])
@pytest.mark.parametrize("spacing", ["trailing", "leading"])
@pytest.mark.parametrize(("name", "variance"), [("fixed_small", beta_tilde_variance), ("fixed_large", beta_variance)])
def test_ddpm(name, variance, spacing, steps):
    theirs = scheduler("DDPMScheduler", variance_type=name, clip_sample=False, timestep_spacing=spacing)
    theirs.set_timesteps(steps)
    x, generator, wanted = start_state(), seeded(1), []
    for k in theirs.timesteps:
        x = theirs.step(model(x, k), k, x, generator=generator).prev_sample
        wanted.append(x)
    path = DiscreteDDPM(theirs.betas)
    if k > 0 and name == "fixed_large":
        # diffusers leaves out noise only where its k is 0, so a trailing grid's last step, onto clean data,
        # gets some. Ours never does: theirs is taken off before comparing.
        state = seeded(1)
        last = [torch.randn(SHAPE, generator=state, dtype=torch.float64) for _ in range(steps)][-1]
        wanted[-1] = wanted[-1] - (1 - path.alpha_bar[int(k) + 1]).sqrt() * last
    times = (trailing_times if spacing == "trailing" else leading_times)(path, steps)
    assert_same(ours(path, EPS, Ancestral(variance), times, start_state()), wanted, rtol=1e-7, atol=1e-8)


@pytest.mark.parametrize(("kind", "prediction"), [("epsilon", EPS), ("sample", X0), ("v_prediction", V)])
def test_ddpm_with_each_prediction(kind, prediction):
    theirs = scheduler(
        "DDPMScheduler",
        "squaredcos_cap_v2",
        prediction_type=kind,
        clip_sample=False,
        timestep_spacing="trailing",
    )
    theirs.set_timesteps(40)
    x, generator, wanted = start_state(), seeded(1), []
    for k in theirs.timesteps:
        x = theirs.step(model(x, k), k, x, generator=generator).prev_sample
        wanted.append(x)
    path = DiscreteDDPM(theirs.betas)
    found = ours(path, prediction, Ancestral(), trailing_times(path, 40), start_state())
    assert_same(found, wanted, rtol=1e-6, atol=1e-7)


# --- DDIM


@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("spacing", ["trailing", "leading"])
@pytest.mark.parametrize("to_one", [True, False], ids=["ends clean", "ends at alpha_bar_1"])
@pytest.mark.parametrize("schedule", ["linear", "scaled_linear"])
def test_ddim(schedule, to_one, spacing, eta):
    theirs = scheduler("DDIMScheduler", schedule, clip_sample=False, set_alpha_to_one=to_one, timestep_spacing=spacing)
    theirs.set_timesteps(20)
    x, generator, wanted = start_state(), seeded(1), []
    for k in theirs.timesteps:
        noise = torch.randn(SHAPE, generator=generator, dtype=torch.float64)
        x = theirs.step(model(x, k), k, x, eta=eta, variance_noise=noise).prev_sample
        wanted.append(x)
    path = DiscreteDDPM(theirs.betas)
    times = (trailing_times if spacing == "trailing" else leading_times)(path, 20)
    if not to_one:
        times[-1] = 1  # their final alpha_bar is that of their step 0, our t = 1
    assert_same(ours(path, EPS, DDIM(eta), times, start_state()), wanted)


# --- DPM-Solver++


@pytest.mark.parametrize("steps", [2, 7, 20])
@pytest.mark.parametrize(("kind", "prediction"), [("epsilon", EPS), ("v_prediction", V)])
def test_dpm_solver_pp_2m(kind, prediction, steps):
    theirs = scheduler(
        "DPMSolverMultistepScheduler",
        "scaled_linear",
        prediction_type=kind,
        timestep_spacing="trailing",
        solver_order=2,
        algorithm_type="dpmsolver++",
        final_sigmas_type="zero",
    )
    theirs.set_timesteps(steps)
    bar = theirs.alphas_cumprod[theirs.timesteps]
    theirs.sigmas = torch.cat([((1 - bar) / bar).sqrt(), torch.zeros(1, dtype=torch.float64)])
    x, wanted = start_state(), []
    for k in theirs.timesteps:
        x = theirs.step(model(x, k), k, x).prev_sample
        wanted.append(x)
    path = DiscreteDDPM(theirs.betas)
    found = ours(path, prediction, DPMSolverPP2M(), trailing_times(path, steps), start_state())
    assert_same(found, wanted, rtol=1e-5, atol=1e-6)  # they keep the run's coefficients in float32


# --- flows and Karras sigmas: both sides in float32, as diffusers computes there


def test_flow_matching_euler():
    theirs = diffusers.FlowMatchEulerDiscreteScheduler()
    theirs.set_timesteps(20)
    x, wanted = start_state().float(), []
    for i, k in enumerate(theirs.timesteps):
        x = theirs.step(model(x, 999 * theirs.sigmas[i].double()).float(), k, x).prev_sample
        wanted.append(x)
    denoise = NetworkDenoiser(lambda x, t: model(x, 999 * t.double()).to(x.dtype), RectifiedFlow(), VELOCITY)
    found = [x for _, x in trajectory(denoise, Euler(), start_state().float(), theirs.sigmas)][1:]
    assert theirs.sigmas[0] == 1
    assert_same(found, wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("kind", "solver"), [("EulerDiscreteScheduler", Euler()), ("HeunDiscreteScheduler", Heun())])
def test_euler_and_heun_on_karras_sigmas(kind, solver):
    theirs = getattr(diffusers, kind)(use_karras_sigmas=True)
    theirs.set_timesteps(12)
    visits = theirs.sigmas  # Heun lists every inner sigma twice
    x = visits[0] * start_state().float()
    start, wanted = x, []
    for i, k in enumerate(theirs.timesteps):
        eps = torch.tanh(theirs.scale_model_input(x, k) + visits[i].log())
        x = theirs.step(eps, k, x).prev_sample
        if kind.startswith("Euler") or i % 2 == 1 or i == len(theirs.timesteps) - 1:
            wanted.append(x)

    def net(x, t):  # the same model, told sigma; diffusers scales what it is shown
        sigma = t.reshape(-1, 1, 1, 1)
        return torch.tanh(x / (sigma**2 + 1).sqrt() + sigma.log())

    times = torch.unique_consecutive(visits)
    found = [x for _, x in trajectory(NetworkDenoiser(net, EDM(t_max=200.0), EPS), solver, start, times)][1:]
    assert len(found) == 12
    assert_same(found, wanted, rtol=1e-3, atol=1e-4)

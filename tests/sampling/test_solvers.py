"""The loop: what it yields, what it draws, what it refuses."""

from __future__ import annotations

import math

import pytest
import torch

from diffedu._tensor import seeded
from diffedu.core import (
    EDM,
    EPS,
    VP,
    GaussianMixture,
    NetworkDenoiser,
    RectifiedFlow,
    karras_times,
    trailing_times,
    uniform_times,
    with_zero,
)
from diffedu.evaluate import energy_distance
from diffedu.sampling import (
    DDIM,
    DEIS,
    AdamsBashforth,
    Ancestral,
    Churn,
    CorrectedDEIS,
    DPMSolverPP2M,
    Euler,
    EulerMaruyama,
    Heun,
    Langevin,
    PredictorCorrector,
    sample,
    start_noise,
    trajectory,
)
from tests.core.paths import PATHS
from tests.sampling.affine import label

RING = GaussianMixture.ring(8)
EXACT = RING.denoiser(VP())
ALL = [
    Ancestral(),
    DDIM(),
    DDIM(0.7),
    Euler(),
    Heun(),
    EulerMaruyama(),
    EulerMaruyama(0.5),
    Langevin(0.1),
    AdamsBashforth(2),
    AdamsBashforth(3),
    DEIS(2),
    DEIS(3),
    CorrectedDEIS(2),
    DPMSolverPP2M(),
    PredictorCorrector(EulerMaruyama(), Langevin(0.1)),
    Churn(Heun(), 0.3),
]


def grid(steps=6):
    return uniform_times(VP(), steps)


def start(n=5):
    return start_noise(VP(), (n, 2), seeded(0))


@pytest.mark.parametrize("solver", ALL, ids=label)
def test_a_trajectory_visits_every_time_and_ends_at_the_sample(solver):
    x, times = start(), grid()
    states = list(trajectory(EXACT, solver, x, times, generator=seeded(1)))
    assert torch.equal(torch.stack([t for t, _ in states]), times)
    assert torch.equal(states[0][1], x)
    assert torch.equal(states[-1][1], sample(EXACT, solver, x, times, generator=seeded(1)))
    assert all(torch.isfinite(state).all() for _, state in states)
    assert torch.equal(x, start())  # the caller's tensor is left alone


@pytest.mark.parametrize("solver", ALL, ids=label)
def test_the_seed_decides_and_nothing_else(solver):
    runs = []
    for seed, noise in ((1, 0), (1, 99), (2, 0)):
        torch.manual_seed(noise)
        runs.append(sample(EXACT, solver, start(), grid(), generator=seeded(seed)))
    assert torch.equal(runs[0], runs[1])  # torch's global state has no say
    deterministic = solver == DDIM() or isinstance(
        solver, Euler | Heun | AdamsBashforth | DEIS | CorrectedDEIS | DPMSolverPP2M
    )
    assert torch.equal(runs[0], runs[2]) == deterministic


@pytest.mark.parametrize("solver", ALL, ids=label)
def test_two_runs_in_turns_do_not_disturb_each_other(solver):
    x, times = start(), grid()
    alone = [sample(EXACT, solver, x, times, generator=seeded(seed)) for seed in (1, 2)]
    pairs = zip(*(trajectory(EXACT, solver, x, times, generator=seeded(s)) for s in (1, 2)), strict=True)
    *_, ((_, first), (_, second)) = pairs
    assert torch.equal(first, alone[0])
    assert torch.equal(second, alone[1])


@pytest.mark.parametrize("solver", [*ALL[:-1]], ids=label)
def test_a_batch_equals_its_singles(solver):
    """Given the same noise for each row; float64."""
    exact = GaussianMixture.ring(8, dtype=torch.float64).denoiser(VP())
    t, s = torch.tensor([0.5, 0.4], dtype=torch.float64)
    x, z = torch.randn(2, 2, 2, generator=seeded(2), dtype=torch.float64)
    whole, _ = solver.step(exact, x, t, s, solver.init(x), z)
    for i in range(2):
        one, _ = solver.step(exact, x[i : i + 1], t, s, solver.init(x), z[i : i + 1])
        torch.testing.assert_close(whole[i : i + 1], one, rtol=1e-12, atol=1e-12)


def test_equal_seeds_give_different_solvers_equal_noise():
    seen = {}

    class Spy:
        def __init__(self, solver):
            self.solver, self.noises = solver, []

        def init(self, x):
            return self.solver.init(x)

        def step(self, denoiser, x_t, t, s, state, noise):
            self.noises.append(noise)
            return self.solver.step(denoiser, x_t, t, s, state, noise)

    for solver in (Euler(), Ancestral()):
        spy = Spy(solver)
        sample(EXACT, spy, start(), grid(), generator=seeded(3))
        seen[type(solver)] = torch.stack(spy.noises)
    assert torch.equal(seen[Euler], seen[Ancestral])
    assert len(seen[Euler].unique()) == seen[Euler].numel()  # fresh at every step


def test_no_gradients_are_recorded_and_the_caller_s_mode_is_left_alone():
    weight = torch.ones((), requires_grad=True)
    denoise = NetworkDenoiser(lambda x, t: weight * x, VP(), EPS)
    for _, x in trajectory(denoise, Euler(), start(), grid(3)):
        assert torch.is_grad_enabled()
        assert not x.requires_grad


def test_the_run_is_lazy():
    calls = []
    denoise = NetworkDenoiser(lambda x, t: calls.append(1) or x, VP(), EPS)
    steps = trajectory(denoise, Euler(), start(), grid(10))
    next(steps)
    next(steps)
    assert len(calls) == 1


@pytest.mark.parametrize(
    ("solver", "evaluations"), [(Euler(), 10), (DDIM(), 10), (Ancestral(), 10), (Heun(), 19)], ids=label
)
def test_number_of_network_evaluations(solver, evaluations):
    """Heun asks twice a step, except where it lands on clean data."""
    calls = []
    denoise = NetworkDenoiser(lambda x, t: calls.append(t) or 0 * x, RectifiedFlow(), EPS)
    x = 0.9 * start()
    sample(denoise, solver, x, uniform_times(RectifiedFlow(), 10, start=0.9, end=0))
    assert len(calls) == evaluations
    assert all((t > 0).all() for t in calls)  # nobody asks at clean data


def test_state_takes_its_own_dtype_whatever_the_grid_s():
    exact = GaussianMixture.ring(8, dtype=torch.float64).denoiser(VP())
    assert sample(exact, Heun(), start().double(), grid()).dtype == torch.float64
    assert sample(EXACT, Heun(), start(), grid().double()).dtype == torch.float32


@pytest.mark.parametrize("name", PATHS)
def test_start_noise_has_the_path_s_sigma(name):
    path = PATHS[name]
    x = start_noise(path, (20_000, 2), seeded(4))
    assert x.std().item() == pytest.approx(path(path.t_max).sigma.item(), rel=4.5 / math.sqrt(2 * 40_000))
    half = start_noise(path, (3, 2), seeded(4), time=0.5 * path.t_max)
    again = torch.randn(3, 2, generator=seeded(4)) * path(0.5 * path.t_max).sigma
    assert torch.equal(half, again)


@pytest.mark.parametrize(
    ("path", "solver", "times"),
    [
        (PATHS["DDPM linear"], Ancestral(), trailing_times(PATHS["DDPM linear"], 250)),
        (PATHS["DDPM linear"], DDIM(), trailing_times(PATHS["DDPM linear"], 100)),
        (VP(), EulerMaruyama(), with_zero(uniform_times(VP(), 500))),
        (EDM(), Heun(), with_zero(karras_times(EDM(), 30))),
        (RectifiedFlow(), Heun(), uniform_times(RectifiedFlow(), 60, end=0)),
    ],
    ids=["DDPM", "DDIM", "Euler-Maruyama", "Heun on EDM", "Heun on a flow"],
)
def test_samples_are_the_mixture_s(path, solver, times):
    """Energy distance to fresh exact samples, in its own standard errors; the seeds are fixed."""
    x = sample(RING.denoiser(path), solver, start_noise(path, (1500, 2), seeded(5)), times, generator=seeded(6))
    distance = energy_distance(x, RING.sample(1500, seeded(7)))
    assert distance.value < 4 * distance.standard_error, distance
    off = energy_distance(1.1 * x, RING.sample(1500, seeded(7)))
    assert off.value > 4 * off.standard_error  # a tenth too wide is seen


# --- sentences


def run(times, solver=None, path=None):
    denoise = EXACT if path is None else RING.denoiser(path)
    return lambda: sample(denoise, solver or Euler(), start(), torch.as_tensor(times), generator=seeded(0))


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (run([0.5]), ["shape (steps + 1,)", "(1,)"]),
        (run([[0.5, 0.1]]), ["shape (steps + 1,)", "(1, 2)"]),
        (run([1.5, 0.1]), ["times must lie in [0, 1]", "VP", "0.1 to 1.5"]),
        (run([0.5, -0.1]), ["times must lie in [0, 1]", "-0.1"]),
        (run([0.5, math.nan]), ["times must lie in [0, 1]", "nan"]),
        (run([0.2, 0.5], EulerMaruyama()), ["towards the data", "t = 0.2, s = 0.5"]),
        (run([1.0, 0.5], EulerMaruyama(), RectifiedFlow()), ["t = 1", "alpha", "start"]),
        (run([0.0, 0.5]), ["only the last", "sigma = 0", "times[0] = 0", "t_min = 0.001"]),
        (run([0.5, 0.0, 0.0]), ["only the last", "times[1] = 0"]),
        (lambda: DDIM(eta=1.5), ["eta must lie in [0, 1]", "got 1.5"]),
        (lambda: DDIM(eta=-0.1), ["eta must lie in [0, 1]", "got -0.1"]),
        (lambda: Langevin(0.0), ["step_size must be positive", "got 0.0"]),
    ],
)
def test_bad_input_gets_a_sentence(call, words):
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the words are compared below
        call()
    for word in words:
        assert word in str(caught.value)


def test_bad_times_are_refused_before_the_first_step():
    with pytest.raises(ValueError, match="times must lie in"):
        trajectory(EXACT, Euler(), start(), torch.tensor([2.0, 1.0]))  # not even iterated

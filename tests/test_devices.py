"""Nothing assumes a CPU: the guard watches every factory and generator, meta tensors go through everything.

Real CUDA tests are marked `cuda` and skipped where there is none.
"""

from __future__ import annotations

import pytest
import torch

from diffedu import nn as book_nn
from diffedu._tensor import as_time, randn, randn_like, same_shape, seeded
from diffedu.core import (
    EDM,
    PREDICTIONS,
    VP,
    Clipped,
    DatasetDenoiser,
    DenoisingLoss,
    DiscreteDDPM,
    GaussianGuess,
    GaussianMixture,
    LogitNormal,
    LogNormalSigma,
    MinSNR,
    NeighbourGuess,
    NetworkDenoiser,
    OnPath,
    Preconditioned,
    RectifiedFlow,
    V,
    betas_from_alpha_bar,
    convert,
    cosine_betas,
    edm_prediction,
    edm_scalings,
    eps_hat,
    karras_times,
    leading_times,
    least_loss,
    linear_betas,
    quadratic_times,
    scaled_linear_betas,
    score,
    sigmoid_betas,
    time_at_half_log_snr,
    trailing_times,
    uniform_half_log_snr_times,
    uniform_t,
    uniform_times,
    velocity,
    with_zero,
)
from diffedu.sampling import DDIM, Ancestral, Euler, EulerMaruyama, Heun, Langevin, optimised_times, sample, start_noise
from diffedu.train import TrainConfig, TrainState, batch_indices, load_state, save_state, train
from tests.core.paths import PATHS
from tests.device_guard import DeviceGuard

SOLVERS = [Ancestral(), DDIM(), DDIM(0.5), Euler(), Heun(), EulerMaruyama(), Langevin(0.1)]


# --- one tour of all public functions, on any device


def build(device):
    """Networks are made on the CPU by torch's own initialisers, then moved."""
    unet = book_nn.UNetConfig(size=8, width=16, low_width=32, classes=2, t_max=1.0)
    nets = book_nn.UNet(unet), book_nn.MLP(2, t_max=1.0, width=8, classes=3), book_nn.ImageClassifier(width=8)
    return [net.to(device).eval() for net in nets]


def tour_paths(device, generator):
    for path in PATHS.values():
        for t in (
            torch.tensor(0.4 * path.t_max, device=device),
            torch.full((2,), 0.4 * path.t_max, device=device),
        ):
            x0, eps = torch.zeros(2, 2, 3, 3, device=device), torch.ones(2, 2, 3, 3, device=device)
            c = path(t)
            yield from (*c, c.snr, c.half_log_snr, c.drift, c.diffusion_squared, path.add_noise(x0, eps, t))
            yield path.add_noise(x0, eps, 0.4 * path.t_max)
            for a in PREDICTIONS.values():
                for b in PREDICTIONS.values():
                    yield convert(eps, x0, c.expand(x0), a, b)


def tour_times(device, generator):
    ddpm = PATHS["DDPM linear"]
    for path in (VP(), EDM(), ddpm):
        for grid in (uniform_times, karras_times, quadratic_times, uniform_half_log_snr_times):
            yield grid(path, 5, device=device)
    yield trailing_times(ddpm, 5, device=device)
    yield leading_times(ddpm, 5, device=device)
    yield with_zero(uniform_times(VP(), 5, device=device))
    yield time_at_half_log_snr(VP(), torch.zeros(2, 3, device=device))


def tour_oracles(device, generator):
    mixture, x = GaussianMixture.ring(4, device=device), torch.ones(3, 2, device=device)
    yield from (mixture.log_prob(x), mixture.score(x), mixture.mean, mixture.covariance)
    yield from (GaussianMixture.grid(2, device=device).means, mixture.only([1]).means)
    labels = torch.zeros(4, device=device)
    for path in PATHS.values():
        for t in (0.5 * path.t_max, torch.full((3,), 0.5 * path.t_max, device=device)):
            yield from (*mixture.posterior(x, t, path), mixture.responsibilities(x, t, path))
            exact = mixture.denoiser(path)
            yield from (exact(x, t), exact.given(2)(x, t), Clipped(exact)(x, t))
            yield from (score(exact, x, t), eps_hat(exact, x, t), velocity(exact, x, t))
            yield DatasetDenoiser(torch.zeros(4, 2, device=device), path, labels)(x, t)
            yield OnPath(exact, VP())(x, 0.5)
            yield least_loss(mixture, path, V, torch.full((3,), 0.5 * path.t_max, device=device), generator)
        yield mixture.noised(path, 0.5 * path.t_max).means


def tour_samplers(device, generator):
    mixture = GaussianMixture.ring(4, device=device)
    for path in PATHS.values():
        start = randn((3, 2), generator, device=device)
        times = uniform_times(path, 3, start=0.9 * path.t_max, end=path.t_min, device=device)
        for solver in SOLVERS:
            yield sample(mixture.denoiser(path), solver, start, times, generator=generator)
        yield optimised_times(mixture.denoiser(path), Euler(), start, start, times, moves=(0.5,))


def tour_networks(device, generator):
    unet, mlp, classifier = build(device)
    images, points = torch.zeros(2, 1, 8, 8, device=device), torch.zeros(2, 2, device=device)
    t, label = torch.full((2,), 0.5, device=device), torch.ones(2, dtype=torch.long, device=device)
    for net, x in ((unet, images), (mlp, points)):
        yield from (
            net(x, t),
            net(x, t, label),
            net.given(1)(x, t),
            net.given(label)(x, t),
            net.given(None)(x, t),
        )
        for prediction in PREDICTIONS.values():
            denoise = NetworkDenoiser(net, VP(), prediction).given(1)
            yield denoise(x, 0.5)
            yield sample(denoise, Heun(), x, uniform_times(VP(), 2, device=device), generator=generator)
    yield from tour_guess(GaussianGuess(VP(), *FEW, classes=2, axes=3), device)
    yield classifier(torch.zeros(2, 1, 28, 28, device=device))
    yield from edm_scalings(VP()(t), 0.5)
    coat = Preconditioned(mlp, VP(), 0.5)
    yield from (coat(points, t), coat.given(1).denoiser()(points, 0.5))


FEW = torch.zeros(4, 1, 8, 8), torch.tensor([0, 0, 1, 1])


def tour_guess(guess, device):
    images, t = torch.zeros(2, 1, 8, 8, device=device), torch.full((2,), 0.5, device=device)
    label = torch.ones(2, dtype=torch.long, device=device)
    roomy = book_nn.UNet(book_nn.UNetConfig(size=8, width=16, low_width=32, classes=2, t_max=1.0, extra_channels=1))
    informed = book_nn.WithGuess(roomy, guess).to(device)
    yield from (informed(images, t), informed(images, t, label), informed.given(1)(images, t))
    yield NetworkDenoiser(informed, VP(), V).given(label)(images, 0.5)


def tour_neighbours(device, generator):
    guess = NeighbourGuess(VP(), *FEW, classes=2)
    yield from tour_guess(guess, device)
    x_t, t, label = (x.to(device) for x in (FEW[0][:2], torch.full((2,), 0.5), FEW[1][:2]))
    yield guess.without(label)(x_t, t, label)


def tour_losses(device, generator):
    mlp, x0 = build(device)[1], torch.zeros(4, 2, device=device)
    for prediction in PREDICTIONS.values():
        for times in (lambda path, n, g: torch.full((n,), 0.3, device=device),):
            yield DenoisingLoss(VP(), prediction, times, MinSNR())(mlp, x0, generator)
    coat = Preconditioned(mlp, VP(), 0.5)
    yield DenoisingLoss(VP(), edm_prediction(0.5), times)(coat, x0, generator)


TOURS = [tour_paths, tour_times, tour_oracles, tour_samplers, tour_networks, tour_neighbours, tour_losses]
every_tour = pytest.mark.parametrize("tour", TOURS, ids=lambda tour: tour.__name__)


@every_tour
def test_every_factory_names_its_device(tour):
    with DeviceGuard() as guard:
        results = list(tour("cpu", seeded(0)))
    assert len(results) > 4
    assert all(torch.isfinite(x).all() for x in results)
    assert guard.watched or tour is tour_paths  # paths make no tensors


def test_what_makes_random_numbers_takes_them_from_its_generator():
    cpu = seeded(0)
    torch.manual_seed(0)
    before = torch.get_rng_state()
    with DeviceGuard() as guard:
        GaussianMixture.ring(4).sample_with_labels(3, cpu)
        GaussianMixture.ring(4).sample(3, cpu)
        start_noise(VP(), (2, 2), cpu)
        randn_like(torch.zeros(2, device="cpu"), cpu)
        for times in (uniform_t, LogitNormal(), LogNormalSigma()):
            for path in (VP(), EDM(), PATHS["DDPM linear"]):
                times(path, 3, cpu)
        batch_indices(10, 3, 0, 0)
        DenoisingLoss(RectifiedFlow(), PREDICTIONS["v"])(lambda x, t: x, torch.zeros(3, 2, device="cpu"), cpu)
        for betas in (linear_betas(), scaled_linear_betas(), cosine_betas(), sigmoid_betas()):
            betas_from_alpha_bar(DiscreteDDPM(betas).alpha_bar)
        as_time(0.5)
    assert guard.watched > 20
    assert torch.equal(torch.get_rng_state(), before)


def test_training_names_its_devices():
    net = book_nn.MLP(2, t_max=1.0, width=8)
    x = torch.zeros(8, 2, device="cpu")
    with DeviceGuard() as guard:
        state = TrainState(net, TrainConfig(steps=2, batch=4))
        loss = DenoisingLoss(RectifiedFlow(), PREDICTIONS["velocity"])
        list(train(state, lambda net, batch, g: loss(net, *batch, g), (x,)))
    assert guard.watched > 4


# Left out are grids, whose numbers are checked and read, and neighbours, whose labels are.
@pytest.mark.parametrize(
    "tour", [tour for tour in TOURS if tour not in (tour_times, tour_neighbours)], ids=lambda tour: tour.__name__
)
def test_meta_tensors_go_through(tour):
    results = list(tour("meta", seeded(0)))
    assert len(results) > 4
    assert all(x.device.type == "meta" for x in results)
    on_cpu = list(tour("cpu", seeded(0)))
    assert [x.shape for x in results] == [x.shape for x in on_cpu]
    assert [x.dtype for x in results] == [x.dtype for x in on_cpu]


# --- the guard itself must see what it is for


def offend(line):
    """Run a line of code as if it stood in the package."""
    scope = {"torch": torch, "seeded": seeded}
    with DeviceGuard():
        exec(compile(line, DeviceGuard().folder + "/offender.py", "exec"), scope)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("torch.zeros(3)", r"offender.py:1: torch.zeros without device="),
        ("torch.tensor(1.0)", r"torch.tensor without device="),
        ("torch.arange(3, device=None)", r"torch.arange without device="),
        ("torch.randn(3, generator=seeded(0))", r"torch.randn without device="),
        ("torch.randn(3, device='cpu')", r"torch.randn without generator="),
        ("torch.randn_like(torch.ones(2, device='cpu'))", r"torch.randn_like without generator="),
        ("torch.empty(2, device='cpu').normal_()", r"normal_ without generator="),
        ("torch.multinomial(torch.ones(2, device='cpu'), 1)", r"multinomial without generator="),
        ("torch.rand(2, device='cuda', generator=seeded(0))", r"torch.rand on cuda with a generator on cpu"),
    ],
)
def test_the_guard_refuses(line, words):
    with pytest.raises(AssertionError, match=words):
        offend(line)


def test_the_guard_lets_pass_what_is_right_and_what_is_not_ours():
    offend("torch.randn(2, device='cpu', generator=seeded(0)); torch.zeros(2, device='cpu')")
    with DeviceGuard():
        torch.zeros(3)
        torch.nn.Linear(2, 2)


# --- generators of another device, said in a sentence


class ElsewhereGenerator:
    """Stands for a generator on another device: a CPU wheel can't make a real one."""

    device = torch.device("cuda:0")


def test_a_generator_of_another_device_gets_a_sentence():
    with pytest.raises(
        ValueError,
        match=r"generator lives on cuda:0, but the noise is needed on cpu; .*seeded\(seed, device='cpu'\)",
    ):
        randn_like(torch.zeros(2), ElsewhereGenerator())
    exact = GaussianMixture.ring(4).denoiser(VP())
    with pytest.raises(ValueError, match="generator lives on cuda:0"):
        sample(exact, Ancestral(), torch.zeros(2, 2), uniform_times(VP(), 2), generator=ElsewhereGenerator())


def test_small_helpers():
    assert randn((2,), seeded(3), dtype=torch.float64).dtype == torch.float64
    assert torch.equal(randn((4,), seeded(3)), torch.randn(4, generator=seeded(3)))
    assert as_time(0.5, torch.zeros(1, dtype=torch.float64)).dtype == torch.float64
    with pytest.raises(ValueError, match=r"a and c must have the same shape, got \(2,\) and \(3,\)"):
        same_shape(a=torch.zeros(2), b=torch.zeros(2), c=torch.zeros(3))


# --- real CUDA


@pytest.mark.cuda
@every_tour
def test_cuda_gives_what_the_cpu_gives_up_to_rounding(tour):
    """Shapes and dtypes always; values where nothing random is drawn."""
    there, here = list(tour("cuda", seeded(0, "cuda"))), list(tour("cpu", seeded(0)))
    assert all(x.device.type == "cuda" for x in there)
    assert [x.shape for x in there] == [x.shape for x in here]
    if tour in (tour_paths, tour_times, tour_oracles):
        other = list(tour("cpu", seeded(1)))  # what differs here was drawn at random; CUDA draws other numbers
        fixed = [torch.equal(b, c) for b, c in zip(here, other, strict=True)]
        assert sum(fixed) > 0.8 * len(fixed)
        for a, b, same in zip(there, here, fixed, strict=True):
            if same:
                torch.testing.assert_close(a.cpu(), b, rtol=1e-4, atol=1e-4)


@pytest.mark.cuda
def test_cuda_state_is_saved_and_loaded_bitwise(tmp_path):
    def start(seed):
        torch.manual_seed(seed)
        net = book_nn.UNet(book_nn.UNetConfig(size=8, width=16, low_width=32, classes=0, t_max=1.0, dropout=0.2))
        return TrainState(net.to("cuda"), TrainConfig(steps=6, batch=4))

    x = torch.randn(8, 1, 8, 8, generator=seeded(0)).to("cuda")
    loss = DenoisingLoss(RectifiedFlow(), PREDICTIONS["eps"])
    one, other = start(0), start(1)
    list(train(one, lambda net, batch, generator: loss(net, *batch, generator), (x,), until=3))
    save_state(tmp_path / "state", one)
    noise = torch.cuda.get_rng_state()
    torch.cuda.manual_seed(5)
    load_state(tmp_path / "state", other)
    assert torch.equal(torch.cuda.get_rng_state(), noise)
    assert torch.equal(other.generator.get_state(), one.generator.get_state())
    for a, b in zip(one.net.parameters(), other.net.parameters(), strict=True):
        assert torch.equal(a, b)
        assert torch.equal(one.optimiser.state[a]["exp_avg_sq"], other.optimiser.state[b]["exp_avg_sq"])
    list(train(other, lambda net, batch, generator: loss(net, *batch, generator), (x,)))
    assert other.step == 6

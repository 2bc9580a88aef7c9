"""Score, noise and velocity of a denoiser; networks as denoisers; clipping."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from diffedu._tensor import seeded
from diffedu.core import (
    EPS,
    PREDICTIONS,
    VP,
    X0,
    Clipped,
    GaussianMixture,
    NetworkDenoiser,
    OnPath,
    RectifiedFlow,
    eps_hat,
    score,
    time_at_half_log_snr,
    velocity,
)
from tests.core.paths import PATHS
from tests.core.test_oracle import plane


def autograd_score(noised, x):
    x = x.clone().requires_grad_()
    return torch.autograd.grad(noised.log_prob(x).sum(), x)[0]


@pytest.mark.parametrize("name", PATHS)
def test_score_noise_and_velocity_of_an_exact_denoiser(name):
    """The score by autograd; the velocity by Song's f x - g^2 score / 2: not through x0_hat."""
    path, mixture = PATHS[name], plane()
    t = torch.tensor(0.613 * path.t_max, dtype=torch.float64)
    c, noised = path(t), mixture.noised(path, t)
    x, exact = noised.sample(8, seeded(0)), mixture.denoiser(path)
    s = autograd_score(noised, x)
    torch.testing.assert_close(score(exact, x, t), s, rtol=1e-8, atol=1e-10)
    torch.testing.assert_close(eps_hat(exact, x, t), -c.sigma * s, rtol=1e-8, atol=1e-9)
    wanted = c.drift * x - 0.5 * c.diffusion_squared * s
    torch.testing.assert_close(velocity(exact, x, t), wanted, rtol=1e-8, atol=1e-9 * wanted.abs().max().item())


@pytest.mark.parametrize("name", PATHS)
@pytest.mark.parametrize("function", [score, eps_hat, velocity])
def test_a_batch_of_times_equals_its_singles(name, function):
    path, mixture = PATHS[name], plane()
    exact = mixture.denoiser(path)
    for batch in (2, 3):  # the dimension is 2
        t = path.t_max * torch.linspace(0.2, 0.8, batch, dtype=torch.float64)
        x = torch.randn(batch, 2, generator=seeded(1), dtype=torch.float64)
        whole = function(exact, x, t)
        for i in range(batch):
            torch.testing.assert_close(whole[i], function(exact, x[i : i + 1], t[i].item())[0], rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("prediction", PREDICTIONS.values(), ids=PREDICTIONS)
@pytest.mark.parametrize("name", PATHS)
def test_a_network_that_predicts_perfectly_is_the_exact_denoiser(name, prediction):
    """The network is handed the truth in its own units, E[a x0 + b eps | x_t], written out for each."""
    path, mixture = PATHS[name], plane()

    def truth(x, t):
        c = path(t).expand(x)
        x0 = mixture.posterior_mean(x, t, path)
        eps = (x - c.alpha * x0) / c.sigma
        return {
            "eps": eps,
            "x0": x0,
            "v": c.alpha * eps - c.sigma * x0,
            "score": -eps / c.sigma,
            "velocity": c.alpha_dot * x0 + c.sigma_dot * eps,
        }[prediction.name]

    x = torch.randn(2, 2, generator=seeded(2), dtype=torch.float64)
    for t in (torch.tensor(0.4, dtype=torch.float64), torch.tensor([0.3, 0.8], dtype=torch.float64)):
        t = t * path.t_max
        found = NetworkDenoiser(truth, path, prediction)(x, t)
        torch.testing.assert_close(found, mixture.posterior_mean(x, t, path), rtol=1e-6, atol=1e-8)


def test_the_network_gets_one_time_per_example():
    seen = []

    def net(x, t):
        seen.append(t)
        return torch.zeros_like(x)

    denoise = NetworkDenoiser(net, VP(), X0)
    denoise(torch.zeros(3, 2), 0.5)
    denoise(torch.zeros(3, 2), torch.tensor(0.5))
    denoise(torch.zeros(3, 2), torch.tensor([0.1, 0.2, 0.3]))
    assert [t.tolist() for t in seen[:2]] == [[0.5] * 3] * 2
    assert seen[2].tolist() == pytest.approx([0.1, 0.2, 0.3])


def test_given_binds_the_condition_and_leaves_the_other_alone():
    net = SimpleNamespace(given=lambda label: lambda x, t: torch.full_like(x, float(label)))
    denoise = NetworkDenoiser(net, VP(), X0)
    three, seven = denoise.given(3), denoise.given(7)
    x = torch.zeros(2, 2)
    assert three(x, 0.5).unique().item() == pytest.approx(3)
    assert seven(x, 0.5).unique().item() == pytest.approx(7)
    assert (three.path, three.prediction) == (denoise.path, denoise.prediction)


def test_clipped_cuts_and_keeps_the_path():
    exact = GaussianMixture.single(torch.zeros(2), 100 * torch.eye(2)).denoiser(RectifiedFlow())
    cut = Clipped(exact, low=-0.5, high=2.0)
    assert cut(torch.tensor([[-9.0, 9.0], [0.0, 0.1]]), torch.tensor(0.1))[0].tolist() == [-0.5, 2.0]
    assert cut(torch.tensor([[0.09, 0.0]]), torch.tensor(0.1))[0, 0].item() == pytest.approx(0.1, rel=0.01)
    assert cut.path is exact.path


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (
            lambda: NetworkDenoiser(lambda x, t: x[:, :1], VP(), EPS)(torch.zeros(4, 2), 0.5),
            ["the network returned shape (4, 1)", "x_t of shape (4, 2)"],
        ),
        (
            lambda: NetworkDenoiser(torch.nn.Linear(2, 2), VP(), EPS).given(3),
            ["Linear takes no condition", "`given`"],
        ),
        (
            lambda: score(GaussianMixture.ring(8).denoiser(VP()), torch.zeros(4, 2), torch.full((3,), 0.5)),
            ["shape () or (B,)", "(3,)", "(4, 2)"],
        ),
        (
            lambda: velocity(GaussianMixture.ring(8).denoiser(VP()), torch.zeros(4, 2), torch.tensor(1)),
            ["t must be a floating tensor", "int64"],
        ),
    ],
)
def test_bad_input_gets_a_sentence(call, words):
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the words are compared below
        call()
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize("goal", PATHS)
@pytest.mark.parametrize("home", PATHS)
def test_a_denoiser_moved_to_another_path_is_the_one_made_there(home, goal):
    """At noise-to-signal ratios that every path has; at a time for each example, and at one for all."""
    mixture, there = plane(), PATHS[goal]
    t = time_at_half_log_snr(there, torch.tensor([1.0, 0.4, -0.3], dtype=torch.float64))
    x = mixture.noised(there, t[0]).sample(3, seeded(3))
    moved, made_there = OnPath(mixture.denoiser(PATHS[home]), there), mixture.denoiser(there)
    torch.testing.assert_close(moved(x, t), made_there(x, t), rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(moved(x, t[0]), made_there(x, t[0]), rtol=1e-8, atol=1e-8)
    assert moved.path is there

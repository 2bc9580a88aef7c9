"""Couplings, the flow-matching loss and straightness, against closed forms."""

from __future__ import annotations

import itertools

import pytest
import torch

from diffedu._tensor import seeded
from diffedu.core import VELOCITY, VP, DenoisingLoss, GaussianMixture, RectifiedFlow, uniform_t, uniform_times, velocity
from diffedu.flow import FlowMatchingLoss, optimal_pairs, reflow_pairs, straightness, transport_cost
from diffedu.sampling import Heun, trajectory


@pytest.mark.parametrize("path", [RectifiedFlow(), VP()], ids=repr)
def test_with_fresh_noise_it_is_the_denoising_loss(path):
    x0 = torch.randn(50, 3, generator=seeded(0))
    draws = seeded(1)
    uniform_t(path, 50, draws)
    eps = torch.randn(50, 3, generator=draws)
    net = lambda x, t: torch.sin(x) + t[:, None]  # noqa: E731
    a = FlowMatchingLoss(path)(net, x0, eps, seeded(1))
    torch.testing.assert_close(a, DenoisingLoss(path, VELOCITY)(net, x0, seeded(1)))


def test_the_best_answer_is_the_velocity_of_the_oracle():
    """Moving away from the exact velocity by d costs |d|^2, and nothing else: its error is orthogonal to it."""
    path, mixture = RectifiedFlow(), GaussianMixture.ring(4)
    exact = mixture.denoiser(path)
    x0, x1 = mixture.sample(20_000, seeded(0)), torch.randn(20_000, 2, generator=seeded(1))
    loss = FlowMatchingLoss(path, lambda path, n, g: 0.05 + 0.9 * torch.rand(n, generator=g))
    off = torch.tensor([0.3, -0.4])
    best = loss(lambda x, t: velocity(exact, x, t), x0, x1, seeded(2))
    worse = loss(lambda x, t: velocity(exact, x, t) + off, x0, x1, seeded(2))
    gain = (worse - best).double()
    assert abs(gain.mean() - 0.125) < 4 * gain.std() / 20_000**0.5  # |off|^2 over two axes
    assert gain.std() / 20_000**0.5 < 0.01


def test_optimal_pairs_are_the_best_of_all():
    x0, x1 = torch.randn(2, 6, 2, generator=seeded(0))
    best = min(transport_cost(x0, x1[list(order)]).item() for order in itertools.permutations(range(6)))
    found = optimal_pairs(x0, x1)
    assert sorted(found.tolist()) == list(range(6))
    assert transport_cost(x0, x1[found]).item() == pytest.approx(best, rel=1e-6)


def test_on_a_line_the_best_pairs_keep_the_order():
    x0, x1 = torch.randn(2, 40, 1, generator=seeded(1))
    found = x1[optimal_pairs(x0, x1)]
    assert torch.equal(found[x0.flatten().argsort()].flatten(), x1.flatten().sort().values)


def test_reflow_pairs_of_one_gaussian_in_closed_form():
    """From N(0, 1) to N(m, s^2) the flow on a line is x0 = m + s x1, whatever path joins them."""
    exact = GaussianMixture.single(torch.tensor([2.0]).double(), torch.tensor([[0.25]]).double())
    x1 = torch.randn(20, 1, generator=seeded(0), dtype=torch.float64)
    times = uniform_times(RectifiedFlow(), 400, end=0, dtype=torch.float64)
    x0 = reflow_pairs(exact.denoiser(RectifiedFlow()), x1, times, Heun())
    torch.testing.assert_close(x0, 2 + 0.5 * x1, rtol=0, atol=2e-3)


def test_straightness_in_closed_form():
    t = torch.linspace(1, 0, 1001, dtype=torch.float64)
    line = t[:, None, None] * torch.tensor([[1.0, 2.0], [3.0, -1.0]], dtype=torch.float64)
    assert straightness(line, t) < 1e-12
    parabola = (t**2)[:, None, None]  # slope 2t, mean 1: integral of (2t - 1)^2 = 1/3
    assert straightness(parabola, t).item() == pytest.approx(1 / 3, abs=1e-5)
    assert straightness(5 * parabola, t).item() == pytest.approx(1 / 3, abs=1e-5)  # no units
    uneven = torch.tensor([1.0, 0.9, 0.2, 0.0], dtype=torch.float64)
    assert straightness(uneven[:, None, None] * 3, uneven) < 1e-12


def test_the_oracle_of_a_ring_bends():
    path = RectifiedFlow()
    exact = GaussianMixture.ring(4).denoiser(path)
    times = uniform_times(path, 50, end=0)
    x1 = torch.randn(200, 2, generator=seeded(0))
    states = torch.stack([x for _, x in trajectory(exact, Heun(), x1, times)])
    assert straightness(states, times) > 0.2


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: transport_cost(torch.zeros(3, 2), torch.zeros(4, 2)), ["one shape", "(3, 2) and (4, 2)"]),
        (lambda: optimal_pairs(torch.zeros(3), torch.zeros(3)), ["one shape (B, *)"]),
        (lambda: straightness(torch.zeros(3, 2, 2), torch.zeros(4)), ["(steps + 1, B, *)", ", 4 times"]),
        (
            lambda: FlowMatchingLoss(RectifiedFlow())(
                lambda x, t: x[:, :1], torch.zeros(3, 2), torch.zeros(3, 2), seeded(0)
            ),
            ["returned shape (3, 1)", "(3, 2)"],
        ),
    ],
)
def test_bad_input_gets_a_sentence(call, words):
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the words are compared below
        call()
    for word in words:
        assert word in str(caught.value)

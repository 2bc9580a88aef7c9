"""Couplings, the flow-matching loss and straightness, against closed forms."""

from __future__ import annotations

import itertools

import pytest
import torch

from diffedu._tensor import seeded
from diffedu.core import (
    VELOCITY,
    VP,
    Cosine,
    DenoisingLoss,
    GaussianMixture,
    RectifiedFlow,
    uniform_t,
    uniform_times,
    velocity,
)
from diffedu.flow import (
    BetweenMixtures,
    FlowMatchingLoss,
    PairsDenoiser,
    optimal_pairs,
    reflow_pairs,
    straightness,
    transport_cost,
)
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


@pytest.mark.parametrize("path", [RectifiedFlow(), Cosine()], ids=repr)
def test_the_flow_of_pairs_is_the_mean_over_the_joint_gaussian_mixture(path):
    """Another route: x_t is a mixture over the pairs; the densities by torch.distributions, the rest pair by pair."""
    h, t = 0.4, torch.tensor(0.3, dtype=torch.float64)
    x0, x1, x = torch.randn(3, 7, 2, generator=seeded(5), dtype=torch.float64)
    c = path(t)
    joint = torch.distributions.MultivariateNormal
    lines = c.alpha * x0 + c.sigma * x1
    spread = ((c.alpha + c.sigma) * h) ** 2
    eye = torch.eye(2, dtype=torch.float64, device="cpu")
    log_w = torch.stack([joint(line, spread * eye).log_prob(x) for line in lines], 1)
    # regression of alpha_dot x0 + sigma_dot x1 on x_t, within one pair: both move with j
    drift = c.alpha_dot * x0 + c.sigma_dot * x1
    gain = (c.alpha_dot + c.sigma_dot) / (c.alpha + c.sigma)
    each = drift[None] + gain * (x[:, None] - lines[None])
    wanted = torch.einsum("bi,bid->bd", torch.softmax(log_w, 1), each)
    pairs = PairsDenoiser(x0, x1, path, h)
    torch.testing.assert_close(velocity(pairs, x, t), wanted, rtol=1e-9, atol=1e-9)
    many = PairsDenoiser(x0, x1, path, h, chunk=3)
    torch.testing.assert_close(many(x, t.expand(7)), pairs(x, t), rtol=1e-12, atol=1e-12)


def test_the_flow_of_pairs_carries_the_starts_to_the_ends():
    """Marginals are kept: from x1 + jitter the flow arrives at x0 + jitter, though it re-pairs what crosses."""
    h = 0.3
    x0 = torch.tensor([[-2.0], [2.0]], dtype=torch.float64)
    x1 = -x0  # the two lines cross at the middle
    start = x1.repeat(2000, 1) + h * torch.randn(4000, 1, generator=seeded(3), dtype=torch.float64)
    times = uniform_times(RectifiedFlow(), 200, end=0, dtype=torch.float64)
    end = reflow_pairs(PairsDenoiser(x0, x1, RectifiedFlow(), h), start, times, Heun())
    assert torch.equal(end.sign(), start.sign())  # not one crosses the middle, though every pair does
    assert end.abs().mean().item() == pytest.approx(2.0, abs=0.02)
    assert end.abs().std().item() == pytest.approx(h, abs=0.02)
    assert transport_cost(end, start) < 0.2 * transport_cost(x0, x1)


def tilted(seed):
    """Three components with covariances that do not commute."""
    roots = torch.randn(3, 2, 2, generator=seeded(seed), dtype=torch.float64)
    eye = 0.1 * torch.eye(2, dtype=torch.float64, device="cpu")
    means = torch.randn(3, 2, generator=seeded(seed + 1), dtype=torch.float64)
    return GaussianMixture(torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64), means, roots @ roots.mT + eye)


def test_between_mixtures_from_noise_is_the_oracle():
    data, path = tilted(1), Cosine()
    eye = torch.eye(2, dtype=torch.float64, device="cpu")
    noise = GaussianMixture.single(torch.zeros(2, dtype=torch.float64, device="cpu"), eye)
    x = torch.randn(6, 2, generator=seeded(2), dtype=torch.float64)
    t = torch.linspace(0.05, 0.95, 6, dtype=torch.float64)
    between = BetweenMixtures(data, noise, path)
    torch.testing.assert_close(between(x, t), data.denoiser(path)(x, t), rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(between(x, 0.4), data.denoiser(path)(x, 0.4), rtol=1e-10, atol=1e-10)


def test_between_mixtures_turns_round():
    """Exchanging the two ends and the direction of time changes the velocity's sign, and nothing else."""
    data, start = tilted(1), tilted(5)
    x = torch.randn(6, 2, generator=seeded(2), dtype=torch.float64)
    there = velocity(BetweenMixtures(data, start, RectifiedFlow()), x, 0.3)
    back = velocity(BetweenMixtures(start, data, RectifiedFlow()), x, 0.7)
    torch.testing.assert_close(there, -back, rtol=1e-9, atol=1e-9)


def test_between_mixtures_is_the_best_answer():
    """The residual x1 - x0 - velocity is uncorrelated with any function of x_t."""
    data, start, path, t = tilted(1), tilted(5), RectifiedFlow(), 0.6
    x0, x1 = data.sample(200_000, seeded(0)), start.sample(200_000, seeded(1))
    x = (1 - t) * x0 + t * x1
    left = x1 - x0 - velocity(BetweenMixtures(data, start, path), x, t)
    for probe in (torch.ones_like(x), x, torch.sin(2 * x), x.flip(1)):
        product = left * probe
        assert (product.mean(0).abs() < 4.5 * product.std(0) / 200_000**0.5).all()
        assert (product.std(0) / 200_000**0.5 < 0.02).all()


def test_the_flow_of_pairs_follows_a_lonely_pair():
    x0, x1 = torch.zeros(1, 2, dtype=torch.float64), torch.tensor([[3.0, -1.0]], dtype=torch.float64)
    x = torch.randn(5, 2, generator=seeded(6), dtype=torch.float64)
    torch.testing.assert_close(
        velocity(PairsDenoiser(x0, x1, RectifiedFlow(), 0.1), x, 0.7), x1.expand(5, 2), rtol=1e-9, atol=1e-9
    )


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: transport_cost(torch.zeros(3, 2), torch.zeros(4, 2)), ["one shape", "(3, 2) and (4, 2)"]),
        (lambda: optimal_pairs(torch.zeros(3), torch.zeros(3)), ["one shape (B, *)"]),
        (
            lambda: PairsDenoiser(torch.zeros(3, 2), torch.zeros(3, 2), RectifiedFlow(), 0.0),
            ["jitter must be positive, got 0.0"],
        ),
        (
            lambda: PairsDenoiser(torch.zeros(3, 2), torch.zeros(3, 2), RectifiedFlow(), 0.1)(torch.zeros(3, 3), 0.5),
            ["shape (B, 2)", "got (3, 3)"],
        ),
        (
            lambda: BetweenMixtures(
                GaussianMixture.ring(3), GaussianMixture.single(torch.zeros(1), torch.eye(1)), VP()
            ),
            ["one space", "2 and 1 dimensions"],
        ),
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

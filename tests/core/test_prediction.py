"""Conversions among predictions: definitions, all ordered pairs, and the shapes where broadcasting hides."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from diffedu.core import EPS, PREDICTIONS, SCORE, VELOCITY, X0, V, convert
from tests.core.paths import PATHS

PAIRS = list(itertools.permutations(PREDICTIONS.values(), 2))

cases = given(
    name=st.sampled_from(sorted(PATHS)),
    fractions=st.lists(st.floats(0.02, 0.98), min_size=1, max_size=4),
    scalar=st.booleans(),
    dim=st.integers(1, 4),
    seed=st.integers(0, 10_000),
)


def make(name, fractions, scalar, dim, seed):
    """A path, times of shape () or (B,), clean points and noise, float64."""
    path = PATHS[name]
    t = torch.tensor(fractions, dtype=torch.float64) * path.t_max
    batch = len(t)
    x0, eps = torch.randn(2, batch, dim, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return path, (t[0] if scalar else t), x0, eps


def close(a, b, size):
    torch.testing.assert_close(a, b, rtol=1e-7, atol=1e-8 * max(1.0, float(size)))


@cases
def test_every_ordered_pair_gives_the_goal_s_own_target(name, fractions, scalar, dim, seed):
    path, t, x0, eps = make(name, fractions, scalar, dim, seed)
    c, x_t = path(t).expand(x0), path.add_noise(x0, eps, t)
    for source, goal in PAIRS:
        found = convert(source.target(x0, eps, c), x_t, c, source, goal)
        wanted = goal.target(x0, eps, c)
        close(found, wanted, wanted.abs().max())


@cases
def test_every_pair_and_back_is_the_identity_for_any_value(name, fractions, scalar, dim, seed):
    path, t, x_t, value = make(name, fractions, scalar, dim, seed)  # any x_t, any value: no truth is needed
    c = path(t).expand(x_t)
    for source, goal in PAIRS:
        there = convert(value, x_t, c, source, goal)
        back = convert(there, x_t, c, goal, source)
        # the largest intermediate number bounds the rounding of the way back
        x0, eps = source.to_x0(value, x_t, c), source.to_eps(value, x_t, c)
        size = (x0.abs().max() / c.sigma.min() + eps.abs().max() / c.alpha.min()) / c.sigma.min()
        close(back, value, size * 1e-3)


@cases
def test_two_conversions_make_one(name, fractions, scalar, dim, seed):
    path, t, x0, eps = make(name, fractions, scalar, dim, seed)
    c, x_t = path(t).expand(x0), path.add_noise(x0, eps, t)
    for a, b, goal in itertools.permutations(PREDICTIONS.values(), 3):
        value = a.target(x0, eps, c)
        wanted = convert(value, x_t, c, a, goal)
        close(convert(convert(value, x_t, c, a, b), x_t, c, b, goal), wanted, wanted.abs().max())


@cases
def test_a_batch_is_converted_as_its_singles_are(name, fractions, scalar, dim, seed):
    path, t, x_t, value = make(name, fractions, scalar, dim, seed)
    c = path(t).expand(x_t)
    for source, goal in PAIRS:
        whole = convert(value, x_t, c, source, goal)
        for i in range(len(x_t)):
            one = path(t if t.ndim == 0 else t[i])
            torch.testing.assert_close(whole[i], convert(value[i], x_t[i], one, source, goal), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", PATHS)
def test_targets_by_their_definitions(name):
    path = PATHS[name]
    x0, eps = torch.randn(2, 3, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    t = path.t_max * torch.tensor([0.2134, 0.5173, 0.8716], dtype=torch.float64)  # between whole numbers
    flat, c = path(t), path(t).expand(x0)
    assert torch.equal(EPS.target(x0, eps, c), eps)
    assert torch.equal(X0.target(x0, eps, c), x0)
    column = [value.reshape(3, 1) for value in flat]
    torch.testing.assert_close(V.target(x0, eps, c), column[0] * eps - column[1] * x0)
    torch.testing.assert_close(SCORE.target(x0, eps, c), -eps / column[1])
    # the velocity is dx_t/dt at fixed x0 and eps
    h = 1e-6 * path.t_max
    slope = (path.add_noise(x0, eps, t + h) - path.add_noise(x0, eps, t - h)) / (2 * h)
    torch.testing.assert_close(VELOCITY.target(x0, eps, c), slope, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("prediction", PREDICTIONS.values(), ids=PREDICTIONS)
@pytest.mark.parametrize("name", PATHS)
def test_from_x0_agrees_with_conversion_from_x0(name, prediction):
    path = PATHS[name]
    x_t, x0_hat = torch.randn(2, 4, 4, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    c = path(path.t_max * torch.tensor([0.11, 0.42, 0.63, 0.95], dtype=torch.float64)).expand(x_t)
    found = prediction.from_x0(x0_hat, x_t, c)
    torch.testing.assert_close(found, convert(x0_hat, x_t, c, X0, prediction), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(prediction.to_x0(found, x_t, c), x0_hat, rtol=1e-6, atol=1e-8)
    torch.testing.assert_close(
        prediction.to_eps(found, x_t, c), (x_t - c.alpha * x0_hat) / c.sigma, rtol=1e-7, atol=1e-8
    )


def test_v_stays_regular_where_eps_and_x0_do_not():
    c = PATHS["RectifiedFlow"](torch.tensor([0.0, 1.0], dtype=torch.float64)).expand(torch.zeros(2, 1))
    x0, eps = torch.tensor([[2.0], [3.0]]), torch.tensor([[-1.0], [5.0]])
    x_t = c.alpha * x0 + c.sigma * eps
    for p in (V, VELOCITY):
        torch.testing.assert_close(p.to_x0(p.target(x0, eps, c), x_t, c), x0.double())
        torch.testing.assert_close(p.to_eps(p.target(x0, eps, c), x_t, c), eps.double())
    assert (V.determinant(PATHS["VP"](torch.linspace(0.1, 1, 9))) - 1).abs().max() < 1e-6


def test_names():
    assert list(PREDICTIONS) == ["eps", "x0", "v", "score", "velocity"]
    assert all(repr(p) == name for name, p in PREDICTIONS.items())

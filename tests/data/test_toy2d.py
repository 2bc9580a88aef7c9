"""Toy distributions: their scale, their shapes, their seeds."""

from __future__ import annotations

import functools
import math

import pytest
import torch

from diffedu._tensor import seeded
from diffedu.data import (
    TOYS,
    checkerboard,
    grid_of_gaussians,
    moons,
    moons_with_labels,
    pinwheel,
    rings,
    spiral,
    swiss_roll,
    toy,
)
from diffedu.evaluate import energy_distance

VARIANTS = {
    **TOYS,
    "moons, noisy": functools.partial(moons, noise=0.4),
    "moons, bare": functools.partial(moons, noise=0.0),
    "spiral, short": functools.partial(spiral, turns=0.6, noise=0.2),
    "checkerboard, 2": functools.partial(checkerboard, squares=2),
    "checkerboard, 8": functools.partial(checkerboard, squares=8),
    "one ring": functools.partial(rings, count=1, noise=0.3),
    "five rings": functools.partial(rings, count=5, noise=0.0),
    "two arms": functools.partial(pinwheel, arms=2, radial=0.5, tangential=0.3, twist=1.0),
    "swiss roll, noisy": functools.partial(swiss_roll, noise=0.2),
    "four Gaussians": functools.partial(grid_of_gaussians, side=2, std=0.4),
}


@pytest.mark.parametrize("draw", VARIANTS.values(), ids=VARIANTS)
def test_unit_scale_within_sampling_error(draw):
    n = 100_000
    points = draw(n, generator=seeded(0)).double()
    mean, spread = points.mean(dim=0), points.std(dim=0)
    assert (mean.abs() < 4.5 * spread / math.sqrt(n)).all()
    squares = points.square().sum(dim=1) / 2
    # The mean square of a ring can be free of scatter: rounding then sets the tolerance.
    assert abs(squares.mean() - 1) < 4.5 * squares.std() / math.sqrt(n) + 1e-6


@pytest.mark.parametrize("name", sorted(TOYS))
def test_shape_type_and_seed(name):
    first = toy(name, 7, seeded(3))
    assert first.shape == (7, 2)
    assert first.dtype == torch.float32
    assert torch.equal(first, toy(name, 7, seeded(3)))
    assert not torch.equal(first, toy(name, 7, seeded(4)))
    generator = seeded(3)
    toy(name, 7, generator)
    assert not torch.equal(first, toy(name, 7, generator)), "the generator must move on"


@pytest.mark.parametrize("name", sorted(TOYS))
def test_points_live_on_the_generators_device_and_leave_global_randomness_alone(name):
    before = torch.get_rng_state()
    with torch.device("meta"):  # a factory call without device= would land there
        assert toy(name, 5, seeded(0, "cpu")).device.type == "cpu"
    assert torch.equal(torch.get_rng_state(), before)


def test_moons_lie_on_their_arcs():
    points, labels = moons_with_labels(2000, generator=seeded(0), noise=0.0)
    assert torch.equal(points, moons(2000, generator=seeded(0), noise=0.0))
    assert labels.dtype == torch.int64
    assert 0.45 < labels.double().mean() < 0.55
    # The upper arc is a half circle: the smallest circle's radius gives the scale, its centre the shift.
    scale = 1 / (points[labels == 0, 0].max() - points[labels == 0, 0].min()) * 2
    raw = points * scale + torch.tensor([0.5, 0.25])
    upper, lower = raw[labels == 0], raw[labels == 1]
    torch.testing.assert_close(upper.norm(dim=1), torch.ones(len(upper)), atol=2e-3, rtol=0)
    torch.testing.assert_close(
        (lower - torch.tensor([1.0, 0.5])).norm(dim=1), torch.ones(len(lower)), atol=2e-3, rtol=0
    )
    assert (upper[:, 1] > -1e-3).all()
    assert (lower[:, 1] < 0.5 + 1e-3).all()


def test_spiral_turns_in_step_with_its_radius():
    x, y = spiral(2000, generator=seeded(0), turns=1.5, noise=0.0).T
    radius = torch.hypot(x, y) / 2  # the outer radius is 2: before scaling the pooled variance was 1/4
    assert radius.max() <= 1 + 1e-5
    # Along either arm the angle is 3 pi times the radius. The arms differ by half a turn, so double it.
    turned = torch.polar(torch.ones_like(radius), 2 * (torch.atan2(y, x) - 3 * math.pi * radius))
    # Angles of points at the centre are all rounding.
    assert (turned - 1).abs()[radius > 0.05].max() < 2e-3


def test_checkerboard_leaves_light_squares_empty():
    points = checkerboard(5000, generator=seeded(0), squares=4)
    raw = points * math.sqrt(4 / 3) + 2  # a side of 4 has variance 16/12 in each coordinate
    column, row = raw.floor().long().clamp(0, 3).T
    assert ((column + row) % 2 == 0).all()
    assert len(torch.unique(4 * column + row)) == 8


def test_rings_have_equally_spaced_radii():
    radius = rings(3000, generator=seeded(0), count=3, noise=0.0).norm(dim=1)
    steps = radius / radius.min()
    torch.testing.assert_close(steps, steps.round(), atol=1e-4, rtol=0)
    shares = torch.bincount(steps.round().long(), minlength=4)[1:] / 3000
    assert (shares - 1 / 3).abs().max() < 0.04


def test_pinwheel_repeats_after_a_fifth_of_a_turn_and_not_after_a_tenth():
    x, y = (pinwheel(1500, generator=seeded(seed)) for seed in (0, 1))

    def turned(points, angle):
        c, s = math.cos(angle), math.sin(angle)
        return points @ torch.tensor([[c, s], [-s, c]])

    same, other = (energy_distance(x, turned(y, 2 * math.pi / k)) for k in (5, 10))
    assert abs(same.value) < 4 * same.standard_error
    assert other.value > 8 * other.standard_error


def test_swiss_roll_is_one_curve():
    points = swiss_roll(2000, generator=seeded(0), noise=0.0)
    centre = torch.tensor([2.0, 2 / (3 * math.pi)])
    scale = math.sqrt((9.75 * math.pi**2 - float(centre.square().sum())) / 2)
    x, y = (points * scale + centre).T
    t = torch.hypot(x, y)
    assert t.min() > 1.5 * math.pi - 1e-3
    assert t.max() < 4.5 * math.pi + 1e-3
    torch.testing.assert_close(x, t * t.cos(), atol=1e-3, rtol=0)
    torch.testing.assert_close(y, t * t.sin(), atol=1e-3, rtol=0)


def test_grid_has_a_gaussian_on_each_point():
    points = grid_of_gaussians(20_000, generator=seeded(0), side=3, std=0.1)
    spacing = 1 / math.sqrt(2 / 3 + 0.01)  # -1, 0, 1 have variance 2/3
    cell = (points / spacing).round().clamp(-1, 1)
    assert len(torch.unique(cell, dim=0)) == 9
    rest = points / spacing - cell
    assert abs(rest.std() - 0.1) < 5 * 0.1 / math.sqrt(2 * 40_000)


def test_bad_arguments_get_sentences():
    generator = seeded(0)
    with pytest.raises(ValueError, match=r"unknown toy distribution 'mons'; did you mean 'moons'"):
        toy("mons", 3, generator)
    with pytest.raises(ValueError, match="n must be at least 1, got 0"):
        moons(0, generator=generator)
    with pytest.raises(ValueError, match=r"noise must not be negative, got -0\.1"):
        rings(3, generator=generator, noise=-0.1)
    with pytest.raises(ValueError, match="noise must not be negative, got nan"):
        swiss_roll(3, generator=generator, noise=float("nan"))
    with pytest.raises(ValueError, match="squares must be a positive even number, got 3"):
        checkerboard(3, generator=generator, squares=3)
    with pytest.raises(ValueError, match="count must be at least 1, got 0"):
        rings(3, generator=generator, count=0)
    with pytest.raises(ValueError, match="turns must be positive, got 0"):
        spiral(3, generator=generator, turns=0)
    with pytest.raises(ValueError, match="arms must be at least 2"):
        pinwheel(3, generator=generator, arms=1)
    with pytest.raises(ValueError, match="side must be at least 2, got 1"):
        grid_of_gaussians(3, generator=generator, side=1)

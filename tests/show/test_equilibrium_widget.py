"""The widget of chapter 1: its numbers against simulation and quadrature, its controls, its limits."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy import integrate

from diffedu._tensor import seeded
from diffedu.core import VP, GaussianMixture
from diffedu.show.widgets import NoiseAndPull
from diffedu.show.widgets.equilibrium import STARTS, at_time, moment, shrink_and_variance


@pytest.mark.parametrize(("stiffness", "temperature"), [(0.0, 1.3), (0.4, 2.0), (2.0, 0.5)])
def test_the_jump_solves_the_equations_of_mean_and_variance(stiffness: float, temperature: float):
    def slope(t: float, y: np.ndarray) -> list[float]:
        return [-stiffness * y[0], -2 * stiffness * y[1] + 2 * temperature]

    solved = integrate.solve_ivp(slope, (0.0, 1.7), [1.0, 0.0], rtol=1e-10, atol=1e-12)
    assert shrink_and_variance(1.7, stiffness, temperature) == pytest.approx(tuple(solved.y[:, -1]), rel=1e-7)


def test_two_jumps_are_one():
    a1, v1 = shrink_and_variance(0.3, 1.5, 0.7)
    a2, v2 = shrink_and_variance(0.8, 1.5, 0.7)
    assert shrink_and_variance(1.1, 1.5, 0.7) == pytest.approx((a1 * a2, a2**2 * v1 + v2))


def test_a_weak_pull_is_nearly_free_diffusion():
    assert shrink_and_variance(2.0, 1e-9, 1.0) == pytest.approx(shrink_and_variance(2.0, 0.0, 1.0), rel=1e-8)


def test_unit_pull_and_temperature_are_vp_at_rate_2():
    c = VP(2.0, 2.0)(torch.tensor(0.6, dtype=torch.float64))
    assert shrink_and_variance(0.6, 1.0, 1.0) == pytest.approx((c.alpha.item(), c.sigma.item() ** 2))


@pytest.mark.parametrize("argument", ["t", "stiffness", "temperature"])
def test_a_negative_argument_is_named(argument: str):
    values = {"t": 1.0, "stiffness": 1.0, "temperature": 1.0, argument: -1.0}
    with pytest.raises(ValueError, match=f"{argument} must not be negative, got -1.0"):
        shrink_and_variance(**values)


@pytest.mark.parametrize("name", STARTS)
def test_entropy_and_excess_are_those_of_an_adaptive_quadrature(name: str):
    cloud = at_time(STARTS[name], 0.2, 0.8, 0.5)
    width = 0.5 / 0.8

    def log_p(x: float) -> float:
        return cloud.log_prob(torch.tensor([[x]], dtype=torch.float64)).item()

    def log_q(x: float) -> float:
        return -(x**2) / (2 * width) - 0.5 * math.log(2 * math.pi * width)

    def integral(f) -> float:
        return integrate.quad(f, -12, 12, points=[-2, 0, 1.2, 2], limit=200)[0]

    got = moment(cloud, 0.8, 0.5)
    assert got.entropy == pytest.approx(integral(lambda x: -math.exp(log_p(x)) * log_p(x)), abs=1e-7)
    assert got.excess == pytest.approx(integral(lambda x: math.exp(log_p(x)) * (log_p(x) - log_q(x))), abs=1e-7)


def test_without_a_pull_the_excess_is_infinite():
    assert moment(STARTS["two lumps"], 0.0, 1.0).excess == math.inf


def test_the_excess_falls_and_the_entropy_may_not_rise():
    moments = [moment(at_time(STARTS["one wide lump"], t, 1.0, 1.0), 1.0, 1.0) for t in (0.0, 0.3, 1.0, 3.0)]
    assert all(b.excess < a.excess and b.entropy < a.entropy for a, b in pairwise(moments))


@pytest.mark.parametrize("stiffness", [0.0, 1.5])
def test_walkers_have_the_exact_mean_and_variance(stiffness: float):
    widget = NoiseAndPull()
    walk, _ = widget._run("two lumps", stiffness, 0.8)
    exact = moment(at_time(STARTS["two lumps"], 2.0, stiffness, 0.8), stiffness, 0.8)
    x = walk[50]  # of 100 steps up to t = 4
    assert abs(x.mean().item() - exact.mean) < 5 * math.sqrt(exact.variance / len(x))
    assert x.var().item() == pytest.approx(exact.variance, rel=5 * math.sqrt(2 / len(x)))


def test_every_control_changes_the_picture_and_reset_restores_it():
    widget = NoiseAndPull()
    first = widget.picture.png
    for name, value in (("time", 2.0), ("stiffness", 0.0), ("temperature", 2.5), ("start", "one wide lump")):
        widget.picture.controls[name].value = value
        assert widget.picture.png != first, name
        assert widget.picture.message.value == "", name
        widget.picture.reset()
        assert widget.picture.png == first, name


@pytest.mark.parametrize("time", [0.0, 4.0])
@pytest.mark.parametrize("stiffness", [0.0, 3.0])
@pytest.mark.parametrize("temperature", [0.1, 3.0])
def test_the_ends_of_the_sliders_draw(time: float, stiffness: float, temperature: float):
    widget = NoiseAndPull()
    with widget.picture.hold():
        widget.time.value, widget.stiffness.value, widget.temperature.value = time, stiffness, temperature
    assert widget.picture.message.value == ""
    assert math.isfinite(widget.now().entropy)


def test_a_mixture_is_moved_as_its_points_are():
    start = GaussianMixture.isotropic(torch.tensor([[-1.0], [2.0]], dtype=torch.float64), 0.3)
    x0 = start.sample(40_000, seeded(3))
    eps = torch.randn(x0.shape, generator=seeded(4), dtype=torch.float64)
    shrink, variance = shrink_and_variance(0.4, 1.2, 0.9)
    moved, law = shrink * x0 + math.sqrt(variance) * eps, at_time(start, 0.4, 1.2, 0.9)
    assert abs((moved.mean() - law.mean).item()) < 5 * math.sqrt(law.covariance.item() / 40_000)
    assert moved.var().item() == pytest.approx(law.covariance.item(), rel=0.04)

"""Time grids: ends, spacing, and integers that are counted by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from diffedu.core import (
    EDM,
    VE,
    VP,
    DiscreteDDPM,
    RectifiedFlow,
    karras_times,
    leading_times,
    linear_betas,
    power_times,
    quadratic_times,
    time_at_half_log_snr,
    trailing_times,
    uniform_half_log_snr_times,
    uniform_times,
    with_zero,
)
from tests.core.paths import PATHS, inside

GRIDS = {
    "uniform": uniform_times,
    "power 3": lambda path, steps, **more: power_times(path, steps, 3.0, **more),
    "karras": karras_times,
    "quadratic": quadratic_times,
    "half log snr": uniform_half_log_snr_times,
}
DDPM = PATHS["DDPM linear"]


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("name", PATHS)
def test_grids_fall_from_start_to_end(name, grid):
    path = PATHS[name]
    start = 0.99 if name == "RectifiedFlow" else path.t_max
    for steps in (1, 2, 17):
        times = GRIDS[grid](path, steps, start=start)
        assert times.shape == (steps + 1,)
        assert times.dtype == torch.float32
        assert times[0] == np.float32(start)
        assert times[-1] == np.float32(path.t_min)
        assert (times.diff() < 0).all()
    ends = GRIDS[grid](path, 3, start=0.8 * path.t_max, end=0.1 * path.t_max, dtype=torch.float64)
    assert ends[[0, -1]].tolist() == [0.8 * path.t_max, 0.1 * path.t_max]
    assert ends.dtype == torch.float64


@pytest.mark.parametrize("grid", ["uniform", "power 3", "karras", "quadratic"])
def test_grids_may_land_on_zero(grid):
    assert GRIDS[grid](VP(), 5, end=0)[-1] == 0


def test_spacing_of_each_grid():
    assert uniform_times(VP(), 4, end=0.2, dtype=torch.float64).tolist() == pytest.approx([1, 0.8, 0.6, 0.4, 0.2])
    for times, rho in (
        (karras_times(EDM(), 10, dtype=torch.float64), 7),
        (karras_times(EDM(), 10, rho=3.0, dtype=torch.float64), 3),
        (quadratic_times(DDPM, 10, dtype=torch.float64), 2),
    ):
        step = (times ** (1 / rho)).diff()
        torch.testing.assert_close(step, step.mean().expand_as(step))


def test_the_grid_of_karras_et_al_written_out():
    n, low, high, rho = 18, 0.002, 80.0, 7.0
    theirs = [(high ** (1 / rho) + i / (n - 1) * (low ** (1 / rho) - high ** (1 / rho))) ** rho for i in range(n)] + [
        0.0
    ]
    ours = with_zero(karras_times(EDM(), n - 1, dtype=torch.float64))
    assert ours.tolist() == pytest.approx(theirs, rel=1e-12)


@pytest.mark.parametrize("name", PATHS)
def test_half_log_snr_grid_has_equal_steps_of_it(name):
    path = PATHS[name]
    times = uniform_half_log_snr_times(path, 12, start=0.97 * path.t_max, end=0.05 * path.t_max, dtype=torch.float64)
    step = path(times).half_log_snr.diff()
    torch.testing.assert_close(step, step.mean().expand_as(step), rtol=1e-9, atol=0)


@pytest.mark.parametrize("name", PATHS)
def test_time_at_half_log_snr_inverts_the_path(name):
    path, t = PATHS[name], inside(PATHS[name], 12)
    torch.testing.assert_close(time_at_half_log_snr(path, path(t).half_log_snr), t, rtol=1e-9, atol=1e-12)
    folded = path(t).half_log_snr.reshape(3, 4).float()
    assert time_at_half_log_snr(path, folded).shape == (3, 4)
    assert time_at_half_log_snr(path, folded).dtype == torch.float32


def test_ratios_beyond_the_path_give_its_ends():
    ends = time_at_half_log_snr(VE(), torch.tensor([100.0, -100.0], dtype=torch.float64))
    assert ends.tolist() == pytest.approx([0, 1], abs=1e-12)


def test_trailing_and_leading_grids_counted_by_hand():
    path = DiscreteDDPM(linear_betas(10, 0.1, 0.9))
    assert trailing_times(path, 5).tolist() == [10, 8, 6, 4, 2, 0]
    assert leading_times(path, 5).tolist() == [9, 7, 5, 3, 1, 0]
    assert trailing_times(path, 3).tolist() == [10, 7, 3, 0]  # 6.67 and 3.33 rounded
    assert leading_times(path, 3).tolist() == [7, 4, 1, 0]  # stride 10 // 3
    for grid in (trailing_times, leading_times):
        assert grid(path, 10).tolist() == list(range(10, -1, -1))


@pytest.mark.parametrize("steps", [1, 7, 50, 333, 999, 1000])
def test_discrete_grids_visit_whole_numbers_once_and_end_at_zero(steps):
    for grid in (trailing_times, leading_times):
        times = grid(DDPM, steps)
        assert len(times) == steps + 1
        assert (times.diff() < 0).all()
        assert torch.equal(times, times.round())
        assert times[-1] == 0
    assert trailing_times(DDPM, steps)[0] == 1000
    assert leading_times(DDPM, steps)[-2] == 1


def test_with_zero_keeps_dtype_and_values():
    times = with_zero(torch.tensor([3.0, 1.0], dtype=torch.float64))
    assert times.tolist() == [3, 1, 0]
    assert times.dtype == torch.float64


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: uniform_times(VP(), 0), ["steps must be a whole number of at least 1", "got 0"]),
        (lambda: uniform_times(VP(), 2.5), ["steps must be a whole number", "got 2.5"]),
        (lambda: karras_times(EDM(), True), ["steps must be a whole number", "got True"]),
        (lambda: uniform_times(VP(), 3, start=2.0), ["start <= 1", "start 2"]),
        (lambda: uniform_times(VP(), 3, start=0.2, end=0.4), ["end < start", "start 0.2 and end 0.4"]),
        (lambda: uniform_times(VP(), 3, end=-0.1), ["0 <= end", "end -0.1"]),
        (lambda: uniform_times(VP(), 3, end=math.nan), ["need 0 <= end", "nan"]),
        (lambda: power_times(EDM(), 3, 0.0), ["rho must be positive", "got 0.0"]),
        (
            lambda: uniform_half_log_snr_times(VP(), 3, end=0),
            ["finite at both ends", "inf", "end 0", "move that end"],
        ),
        (lambda: uniform_half_log_snr_times(RectifiedFlow(), 3), ["finite at both ends", "-inf at start 1"]),
        (lambda: with_zero(torch.tensor([1.0, 0.0])), ["times already ends at 0"]),
        (lambda: trailing_times(VP(), 3), ["for DiscreteDDPM", "got VP"]),
        (lambda: leading_times(DDPM, 1001), ["at most T = 1000", "got 1001"]),
        (lambda: trailing_times(DDPM, 0), ["steps must be a whole number", "got 0"]),
    ],
)
def test_bad_input_gets_a_sentence(call, words):
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the words are compared below
        call()
    for word in words:
        assert word in str(caught.value)

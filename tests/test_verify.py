"""verify: what holds is said in a line that is the same on every machine; what doesn't stops the cell."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from diffedu.verify import verify, verify_mean


def gen():
    return torch.Generator().manual_seed(0)


def test_message(capsys):
    x = torch.linspace(0, 1, 1000)
    verify("9.5", torch.sin(2 * x), 2 * x.sin() * x.cos(), over="points")
    verify("9.6", x.double().exp().log(), x.double())
    verify("9.7", 0.1 + 0.2, 0.3)
    verify("9.8", x.exp(), (2 * x).exp().sqrt(), rtol=1e-4, atol=1e-6)
    assert capsys.readouterr().out.splitlines() == [
        "(9.5) holds to 1e-05: 1000 points, float32",
        "(9.6) holds to 1e-09: 1000 values, float64",
        "(9.7) holds to 1e-09: 1 value, float64",
        "(9.8) holds to 1e-04 relative + 1e-06 absolute: 1000 values, float32",
    ]


def test_coarser_dtype_decides(capsys):
    x = torch.linspace(0.1, 1, 10)
    verify("9.5", x.double().sqrt(), x.sqrt())
    assert "1e-05" in capsys.readouterr().out


def test_worst_place_is_shown():
    x = torch.zeros(4, 3)
    y = x.clone()
    y[1, 0], y[2, 1] = 0.1, 0.5
    message = r"\(9\.5\) does not hold at index \(2, 1\): left 0, right 0\.5, in 2 of 12"
    with pytest.raises(AssertionError, match=message):
        verify("9.5", x, y)


def test_just_outside_tolerance():
    verify("1.1", torch.tensor([100.0]), torch.tensor([100.0009]))
    with pytest.raises(AssertionError):
        verify("1.1", torch.tensor([100.0]), torch.tensor([100.002]))


def test_nan_and_infinity():
    nan = torch.full((3,), math.nan)
    with pytest.raises(AssertionError, match="the left side is NaN at index 0"):
        verify("1.1", nan, nan.clone())
    with pytest.raises(AssertionError, match="right inf"):
        verify("1.1", torch.zeros(1), torch.full((1,), math.inf))
    with pytest.raises(AssertionError, match="left -inf"):
        verify("1.1", torch.full((1,), -math.inf), torch.full((1,), math.inf))


@pytest.mark.parametrize("same", [torch.ones(3), np.ones(3), [1.0, 2.0]])
def test_same_data_is_refused(same):
    with pytest.raises(ValueError, match="different routes"):
        verify("1.1", same, same)


def test_view_is_refused():
    x = torch.ones(3)
    with pytest.raises(ValueError, match="different routes"):
        verify("1.1", x, x.view(3))


def test_empty_and_shapes():
    with pytest.raises(ValueError, match="nothing would be verified"):
        verify("1.1", torch.zeros(0), torch.zeros(0))
    with pytest.raises(ValueError, match=r"left side has shape \(3,\), the right \(3, 1\)"):
        verify("1.1", torch.zeros(3), torch.zeros(3, 1))


def test_mean_holds(capsys):
    z = torch.randn(20000, 2, generator=gen())
    verify_mean("5.4", z**2, torch.ones(2))
    said = capsys.readouterr().out
    assert said == "(5.4) holds within 5 standard errors (n = 20000, standard error 0.01)\n"


def test_mean_that_is_off():
    z = torch.randn(20000, 2, generator=gen())
    with pytest.raises(AssertionError, match=r"\(5\.4\) does not hold at index 1: .* standard errors"):
        verify_mean("5.4", z**2, torch.tensor([1.0, 1.1]))


def test_mean_refusals():
    z = torch.randn(200, generator=gen())
    with pytest.raises(ValueError, match="take more samples"):
        verify_mean("5.4", z, 0.1)
    with pytest.raises(ValueError, match="100 or more"):
        verify_mean("5.4", z[:50], 0.0)
    with pytest.raises(ValueError, match="do not vary"):
        verify_mean("5.4", torch.ones(200), 1.0)
    with pytest.raises(ValueError, match="but the expected value has shape"):
        verify_mean("5.4", z, torch.zeros(200))
    with pytest.raises(AssertionError, match="not finite"):
        verify_mean("5.4", torch.full((200,), math.nan), 1.0)

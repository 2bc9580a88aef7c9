"""Equations that are executed: a chapter's numbered formula holds, or its cell stops with both values.

The two sides of a check must come by different routes: a closed form against automatic differentiation, a
sum against quadrature, an expectation against samples. A formula compared with itself always holds and tells
nothing. :func:`verify` refuses the plainest case, the same data on both sides; the rest is the author's care.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

__all__ = ["verify", "verify_mean"]

# Two routes to one number differ by some hundred roundings; these leave room for that and for little else.
_TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-5, torch.float16: 1e-2, torch.bfloat16: 1e-1}


def verify(
    tag: str,
    left: Tensor | float | Sequence[float],
    right: Tensor | float | Sequence[float],
    *,
    rtol: float | None = None,
    atol: float | None = None,
    over: str = "values",
) -> None:
    """Print that equation ``tag`` holds, or raise with both sides at the place where they differ most.

        |left - right| <= atol + rtol * max(|left|, |right|)   everywhere.

    The printed line names the tolerance rather than the difference found, since the latter changes with the
    processor and with the number of threads. The two sides must come by **different routes**.

    Args:
        tag: the equation's number, "9.5".
        left: one side, any shape; a tensor, an array, a number or a list of numbers.
        right: the other side, the same shape. Nothing is broadcast.
        rtol: relative tolerance; by the coarser dtype unless given: 1e-9 in float64, 1e-5 in float32.
        atol: absolute tolerance; ``rtol`` unless given.
        over: what is counted in the message, in the plural: "points".

    Raises:
        AssertionError: the sides differ, or one holds NaN.
        ValueError: the sides share their data, are empty, or have different shapes.

    Example:
        >>> x = torch.linspace(0, 1, 1000)
        >>> verify("1.1", torch.sin(2 * x), 2 * torch.sin(x) * torch.cos(x), over="points")
        (1.1) holds to 1e-05: 1000 points, float32
    """
    if _shares_data(left, right):
        raise ValueError(f"({tag}): both sides are the same data; compute them by different routes")
    a, b = _tensor(left), _tensor(right)
    if a.shape != b.shape:
        raise ValueError(f"({tag}): the left side has shape {tuple(a.shape)}, the right {tuple(b.shape)}")
    if a.numel() == 0:
        raise ValueError(f"({tag}): both sides are empty, so nothing would be verified")
    dtype = max((a.dtype, b.dtype), key=lambda kind: _TOLERANCE[kind])
    rtol = _TOLERANCE[dtype] if rtol is None else rtol
    atol = rtol if atol is None else atol
    a, b = a.double(), b.double()
    for name, side in (("left", a), ("right", b)):
        if bool(torch.isnan(side).any()):
            place = int(torch.isnan(side).flatten().int().argmax())
            raise AssertionError(f"({tag}) does not hold: the {name} side is NaN{_at(place, side)}")
    # Equal infinities agree; their difference would be NaN.
    difference = torch.where(a == b, torch.zeros_like(a), (a - b).abs())
    excess = (difference - atol - rtol * torch.maximum(a.abs(), b.abs())).nan_to_num(nan=math.inf)
    worst = int(excess.argmax())
    if float(excess.flatten()[worst]) > 0:
        raise AssertionError(
            f"({tag}) does not hold{_at(worst, a)}: left {float(a.flatten()[worst]):.8g}, "
            f"right {float(b.flatten()[worst]):.8g}, in {int((excess > 0).sum())} of {a.numel()} {over} "
            f"(tolerance {_tolerance(rtol, atol)})"
        )
    name = str(dtype).removeprefix("torch.")
    counted = over.removesuffix("s") if a.numel() == 1 else over
    print(f"({tag}) holds to {_tolerance(rtol, atol)}: {a.numel()} {counted}, {name}")


def verify_mean(
    tag: str,
    samples: Tensor,
    expected: Tensor | float | Sequence[float],
    *,
    errors: float = 5.0,
) -> None:
    """Print that a sample mean agrees with ``expected`` within its Monte Carlo error bar, or raise.

        |mean(samples) - expected| <= errors * std(samples) / sqrt(n)   in every entry.

    Five standard errors are exceeded by chance about once in two million entries. For a variance give the
    squared deviations as samples. An error bar wider than the expected value itself is refused: it
    would accept zero as well. The samples and the expected value must come by **different routes**.

    Args:
        tag: the equation's number, "5.4".
        samples: independent draws, shape (n, *), n >= 100.
        expected: the closed form, shape (*) or a number for samples of shape (n,).
        errors: the half width of the error bar, in standard errors.

    Raises:
        AssertionError: the mean lies outside the error bar, or a sample is not finite.
        ValueError: too few samples, constant samples, shapes that do not fit, or too wide an error bar.

    Example:
        >>> z = torch.randn(20000, generator=torch.Generator().manual_seed(0))
        >>> verify_mean("1.2", z**2, 1.0)
        (1.2) holds within 5 standard errors (n = 20000, standard error 0.01)
    """
    draws = _tensor(samples).double()
    goal = _tensor(expected).double().to(draws.device)
    if draws.ndim == 0 or draws.shape[0] < 100:
        raise ValueError(f"({tag}): samples of shape {tuple(draws.shape)}; expected 100 or more along axis 0")
    if draws.shape[1:] != goal.shape:
        raise ValueError(
            f"({tag}): samples of shape {tuple(draws.shape)} have a mean of shape {tuple(draws.shape[1:])}, "
            f"but the expected value has shape {tuple(goal.shape)}"
        )
    if not bool(torch.isfinite(draws).all()):
        raise AssertionError(f"({tag}) does not hold: some samples are not finite")
    n = draws.shape[0]
    error = draws.std(dim=0) / math.sqrt(n)
    if bool((error == 0).any()):
        raise ValueError(f"({tag}): some samples do not vary; compare exact values with verify")
    if bool((goal != 0).any()) and errors * float(error.max()) >= float(goal.abs().max()):
        bar, size = errors * float(error.max()), float(goal.abs().max())
        raise ValueError(
            f"({tag}): {errors:g} standard errors are {bar:.2g}, as wide as the expected value {size:.2g}: "
            "take more samples"
        )
    mean = draws.mean(dim=0)
    scores = (mean - goal).abs() / error
    worst = int(scores.argmax())
    if float(scores.flatten()[worst]) > errors:
        found, wanted, score = (float(side.flatten()[worst]) for side in (mean, goal, scores))
        raise AssertionError(
            f"({tag}) does not hold{_at(worst, scores)}: sample mean {found:.6g}, expected {wanted:.6g}, "
            f"{score:.1f} standard errors apart"
        )
    # One digit: the second may change with the order of a sum.
    largest = f"{float(error.max()):.1g}"
    print(f"({tag}) holds within {errors:g} standard errors (n = {n}, standard error {largest})")


def _shares_data(left: Any, right: Any) -> bool:
    if left is right and not isinstance(left, int | float):
        return True
    if isinstance(left, Tensor) and isinstance(right, Tensor):
        same_place = left.device == right.device and left.data_ptr() == right.data_ptr() != 0
        return same_place and left.shape == right.shape and left.stride() == right.stride()
    if isinstance(left, np.ndarray) and isinstance(right, np.ndarray):
        return np.shares_memory(left, right)
    return False


def _tensor(value: Any) -> Tensor:
    if isinstance(value, Tensor):
        tensor = value.detach()
    else:
        tensor = torch.as_tensor(np.asarray(value), device="cpu")
    tensor = tensor if tensor.is_floating_point() else tensor.double()
    return tensor.cpu()


def _at(flat: int, tensor: Tensor) -> str:
    if tensor.ndim == 0:
        return ""
    place = [int(i) for i in np.unravel_index(flat, tuple(tensor.shape))]
    return f" at index {place[0] if len(place) == 1 else tuple(place)}"


def _tolerance(rtol: float, atol: float) -> str:
    return f"{rtol:.0e}" if rtol == atol else f"{rtol:.0e} relative + {atol:.0e} absolute"

r"""Time grids: which times a sampler visits.

A grid is one decreasing tensor of steps + 1 times, built once. Solvers receive neighbouring pairs (t, s) from it and
never compute a time themselves; most sampler errors on record elsewhere are errors of grids.
"""

from __future__ import annotations

import torch
from torch import Tensor

from diffedu.core.path import DiscreteDDPM, GaussianPath


def _check_steps(steps: int) -> None:
    if isinstance(steps, bool) or not isinstance(steps, int) or steps < 1:
        raise ValueError(f"steps must be a whole number of at least 1, got {steps!r}")


def _ends(path: GaussianPath, start: float | None, end: float | None) -> tuple[float, float]:
    start = path.t_max if start is None else float(start)
    end = path.t_min if end is None else float(end)
    if not 0 <= end < start <= path.t_max:
        raise ValueError(f"need 0 <= end < start <= {path.t_max:g} for {path!r}, got start {start:g} and end {end:g}")
    return start, end


def _unit(steps: int, device: torch.device | str) -> Tensor:
    _check_steps(steps)
    return torch.linspace(0, 1, steps + 1, dtype=torch.float64, device=device)


def _finish(times: Tensor, start: float, end: float, dtype: torch.dtype) -> Tensor:
    times = times.clone()
    times[0], times[-1] = start, end  # exact ends, whatever the arithmetic between
    return times.to(dtype)


def uniform_times(
    path: GaussianPath,
    steps: int,
    *,
    start: float | None = None,
    end: float | None = None,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
) -> Tensor:
    """Equal steps in the path's time, from start down to end.

    Args:
        path: gives the default ends t_max and t_min.
        steps: number of solver steps, at least 1.
        start: first time; t_max by default.
        end: last time; t_min by default. 0 lets the last step land on clean data.
        dtype: dtype of the result.
        device: device of the result.

    Returns:
        Shape (steps + 1,), decreasing.

    Raises:
        ValueError: steps below 1, or ends outside the path or in the wrong order.

    Taught in: chapter 11.

    Example:
        >>> from diffedu.core.path import RectifiedFlow
        >>> uniform_times(RectifiedFlow(), 4, end=0)
        tensor([1.0000, 0.7500, 0.5000, 0.2500, 0.0000])
    """
    a, b = _ends(path, start, end)
    return _finish(a + _unit(steps, device) * (b - a), a, b, dtype)


def power_times(
    path: GaussianPath,
    steps: int,
    rho: float,
    *,
    start: float | None = None,
    end: float | None = None,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
) -> Tensor:
    r"""Equal steps in t^(1/rho): t_i = (start^(1/rho) + i/steps (end^(1/rho) - start^(1/rho)))^rho.

    Larger rho puts more of the steps near the data. rho = 1 is uniform. On `EDM`, where t is sigma, this is the
    grid of Karras et al. with rho = 7.

    Reference: Karras et al. 2022, eq. 5 (their last extra time, 0, is ours to add: see `with_zero`).
    Taught in: chapter 11.

    Example:
        >>> from diffedu.core.path import EDM
        >>> power_times(EDM(), 3, rho=7.0, start=10.0, end=0.1)
        tensor([10.0000,  2.9341,  0.6629,  0.1000])
    """
    if not rho > 0:
        raise ValueError(f"rho must be positive, got {rho}")
    a, b = _ends(path, start, end)
    u = _unit(steps, device)
    return _finish((a ** (1 / rho) + u * (b ** (1 / rho) - a ** (1 / rho))) ** rho, a, b, dtype)


def karras_times(
    path: GaussianPath,
    steps: int,
    rho: float = 7.0,
    *,
    start: float | None = None,
    end: float | None = None,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
) -> Tensor:
    """`power_times` with the customary rho = 7."""
    return power_times(path, steps, rho, start=start, end=end, dtype=dtype, device=device)


def quadratic_times(
    path: GaussianPath,
    steps: int,
    *,
    start: float | None = None,
    end: float | None = None,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
) -> Tensor:
    """Equal steps in sqrt(t). Reference: Song et al. 2021 (DDIM), appendix D.2, "quadratic". Taught in: chapter 8."""
    return power_times(path, steps, 2.0, start=start, end=end, dtype=dtype, device=device)


def time_at_half_log_snr(path: GaussianPath, half_log_snr: Tensor) -> Tensor:
    """The time at which log(alpha / sigma) takes given values: each round splits the interval into 64 parts.

    half_log_snr falls with t on every path, so one search serves all of them. It runs in float64.

    Args:
        path: any path.
        half_log_snr: any shape; values beyond the path's range give its ends.

    Returns:
        Times of the same shape, dtype and device.

    Taught in: chapter 9.

    Example:
        >>> from diffedu.core.path import RectifiedFlow
        >>> time_at_half_log_snr(RectifiedFlow(), torch.tensor([0.0]))
        tensor([0.5000])
    """
    goal = half_log_snr.to(torch.float64).reshape(-1, 1)
    low, width = torch.zeros_like(goal), path.t_max
    parts = torch.arange(1, 64, dtype=torch.float64, device=goal.device) / 64
    for _ in range(10):  # 64^-10 = 2^-60 of the interval: float64 has no more
        inside = low + width * parts
        too_clean = path(inside.reshape(-1)).half_log_snr.reshape(inside.shape) > goal
        width = width / 64
        low = low + width * too_clean.sum(1, keepdim=True)
    return (low + width / 2).to(half_log_snr.dtype).reshape(half_log_snr.shape)


def uniform_half_log_snr_times(
    path: GaussianPath,
    steps: int,
    *,
    start: float | None = None,
    end: float | None = None,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
) -> Tensor:
    """Equal steps in log(alpha / sigma): each step changes the signal-to-noise ratio by the same factor.

    Both ends must have a finite ratio, so end must be above 0 (and start below 1 for `RectifiedFlow`).

    Reference: Lu et al. 2022 (DPM-Solver), section 3.3. Taught in: chapter 11.

    Example:
        >>> from diffedu.core.path import EDM
        >>> uniform_half_log_snr_times(EDM(), 2, start=4.0, end=1.0)
        tensor([4., 2., 1.])
    """
    a, b = _ends(path, start, end)
    ends = path(torch.tensor([a, b], dtype=torch.float64, device=device)).half_log_snr
    if not torch.isfinite(ends).all():
        raise ValueError(
            f"log(alpha / sigma) must be finite at both ends, got {ends[0].item():g} at start {a:g} "
            f"and {ends[1].item():g} at end {b:g}; move that end inwards"
        )
    between = time_at_half_log_snr(path, ends[0] + _unit(steps, device) * (ends[1] - ends[0]))
    return _finish(between, a, b, dtype)


def with_zero(times: Tensor) -> Tensor:
    """A grid with t = 0 appended: one more step, which lands on clean data.

    Example:
        >>> with_zero(torch.tensor([2.0, 1.0]))
        tensor([2., 1., 0.])
    """
    if times[-1] == 0:
        raise ValueError("times already ends at 0")
    return torch.cat([times, times.new_zeros(1)])


def _spaced(path: DiscreteDDPM, steps: int) -> None:
    _check_steps(steps)
    if not isinstance(path, DiscreteDDPM):
        raise ValueError(f"trailing and leading grids are for DiscreteDDPM, got {type(path).__name__}")
    if steps > path.T:
        raise ValueError(f"steps must be at most T = {path.T}, got {steps}")


def trailing_times(
    path: DiscreteDDPM, steps: int, *, dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu"
) -> Tensor:
    """Whole-number times counted back from T: round(T - i T/steps), then 0.

    The grid starts at T, where the state really is the noise that sampling starts from.

    Reference: Lin et al. 2024, table 2, "trailing" (they count steps from 0: theirs plus one is ours).
    Taught in: chapter 11.

    Example:
        >>> from diffedu.core.path import linear_betas
        >>> trailing_times(DiscreteDDPM(linear_betas(1000)), 4)
        tensor([1000.,  750.,  500.,  250.,    0.])
    """
    _spaced(path, steps)
    return torch.round(path.T * (1 - _unit(steps, device))).to(dtype)


def leading_times(
    path: DiscreteDDPM, steps: int, *, dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu"
) -> Tensor:
    """Whole-number times counted up from 1 in strides of T // steps, then 0: (steps - 1 - i) stride + 1.

    The grid never visits T: sampling starts from noise but tells the network that there is signal. It is here because
    many published samplers use it; compare it with `trailing_times`.

    Reference: Lin et al. 2024, table 2, "leading"; Song et al. 2021 (DDIM), appendix D.2, "linear".
    Taught in: chapter 11.

    Example:
        >>> from diffedu.core.path import linear_betas
        >>> leading_times(DiscreteDDPM(linear_betas(1000)), 4)
        tensor([751., 501., 251.,   1.,   0.])
    """
    _spaced(path, steps)
    k = torch.arange(steps - 1, -1, -1, dtype=torch.float64, device=device) * (path.T // steps) + 1
    return torch.cat([k, k.new_zeros(1)]).to(dtype)

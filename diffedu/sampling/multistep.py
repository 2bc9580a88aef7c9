r"""Solvers that remember: multistep methods get a higher order from evaluations that were already paid for.

One idea serves all of them. Over a step the right side of an equation dy/du = F is replaced by the polynomial through
its last values, and that polynomial is integrated exactly:

    y_s = y_t + sum_i w_i F_i,    w_i = integral from u_t to u_s of the Lagrange polynomial that is 1 at u_i.

What differs is what y, u and F are. In the path's own time, F is the velocity: Adams-Bashforth. With y = x / alpha and
u = sigma / alpha, F is the noise, the linear part of the equation is gone, and the same rule becomes an exponential
integrator: DEIS, whose first order is DDIM.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from diffedu.core.denoiser import Denoiser, eps_hat, velocity


def lagrange_integrals(nodes: Tensor, start: Tensor, end: Tensor) -> Tensor:
    r"""w_i = integral from start to end of prod_{j != i} (u - u_j) / (u_i - u_j) du.

    Args:
        nodes: u_i, shape (K,), all different.
        start: shape ().
        end: shape ().

    Returns:
        Shape (K,); the weights add up to end - start. Computed in float64: differences of close nodes cancel.

    Raises:
        ValueError: start equals end.

    Reference: Hairer, Norsett & Wanner 1993, section III.1 (Adams methods on any grid). Taught in: chapter 11.

    Example:
        >>> lagrange_integrals(torch.tensor([1.0, 0.0]), torch.tensor(1.0), torch.tensor(2.0))  # Adams-Bashforth 2
        tensor([ 1.5000, -0.5000])
    """
    if start.device.type != "meta" and start == end:
        raise ValueError(f"start and end are both {start.item():g}: a multistep solver needs a grid of different times")
    u, a, b = nodes.double(), start.double(), end.double()
    powers = torch.arange(len(u), device=u.device)
    scale = (b - a).abs()
    z = (u - a) / scale  # in units of the step, so that powers stay tame
    vandermonde = z[None, :] ** powers[:, None]
    moments = ((b - a) / scale) ** (powers + 1) / (powers + 1)  # integral of z^k over the step
    return (torch.linalg.solve(vandermonde, moments.to(u.dtype)) * scale).to(nodes.dtype)


class History(NamedTuple):
    """The last places and values, newest first."""

    nodes: tuple[Tensor, ...] = ()
    values: tuple[Tensor, ...] = ()

    def add(self, node: Tensor, value: Tensor, keep: int) -> History:
        """The history with one more entry in front, cut to the `keep` newest."""
        return History((node, *self.nodes)[:keep], (value, *self.values)[:keep])

    def integral(self, start: Tensor, end: Tensor) -> Tensor:
        """The integral of the polynomial through all entries."""
        weights = lagrange_integrals(torch.stack(self.nodes), start, end)
        return sum((w * value for w, value in zip(weights, self.values)), torch.zeros_like(self.values[0]))


def _check_order(order: int, highest: int) -> None:
    if isinstance(order, bool) or not isinstance(order, int) or not 1 <= order <= highest:
        raise ValueError(f"order must be a whole number from 1 to {highest}, got {order!r}")


def _is_noisy(denoiser: Denoiser, s: Tensor) -> bool:
    return s.device.type == "meta" or bool(denoiser.path(s).sigma > 0)


def _scaled_noise(denoiser: Denoiser, t: Tensor) -> Tensor:
    """rho = sigma / alpha, the noise level of x / alpha."""
    c = denoiser.path(t)
    if t.device.type != "meta" and not c.alpha > 0:
        raise ValueError(
            f"sigma / alpha is infinite where alpha = 0, here at t = {t.item():g}; start the grid a little below it"
        )
    return c.sigma / c.alpha


@dataclass(frozen=True)
class AdamsBashforth:
    r"""The velocity extrapolated by a polynomial in t through its last `order` values; one evaluation a step.

        x_s = x_t + sum_i w_i velocity_i.

    Any grid: the weights are computed for each step. The first steps use as many values as there are; for order 3 the
    very first takes a second evaluation, as `Heun` does, since one step of order 1 would spoil the whole run.

    Args:
        order: 1 (which is `Euler`) to 3.

    Reference: Hairer, Norsett & Wanner 1993, section III.1; Liu et al. 2022 (PNDM) extrapolate the noise so, on equal
    steps. Taught in: chapter 11.

    Example:
        >>> AdamsBashforth(2)
        AdamsBashforth(order=2)
    """

    order: int = 2

    def __post_init__(self) -> None:
        _check_order(self.order, 3)

    def init(self, x: Tensor) -> History:
        return History()

    def step(
        self, denoiser: Denoiser, x_t: Tensor, t: Tensor, s: Tensor, state: History, noise: Tensor
    ) -> tuple[Tensor, History]:
        state = state.add(t, velocity(denoiser, x_t, t), self.order)
        x_s = x_t + state.integral(t, s)
        if self.order > 2 and len(state.nodes) == 1 and _is_noisy(denoiser, s):
            x_s = x_t + (s - t) * (state.values[0] + velocity(denoiser, x_s, s)) / 2
        return x_s, state


@dataclass(frozen=True)
class DEIS:
    r"""The noise extrapolated by a polynomial in rho = sigma / alpha through its last `order` values.

    In y = x / alpha the probability-flow ODE reads dy/drho = eps_hat: no linear term is left, so

        x_s = (alpha_s / alpha_t) x_t + alpha_s sum_i w_i eps_hat_i,

    and order 1 is `DDIM` without noise. One evaluation a step, and one more in the first step of order 3.

    Args:
        order: 1 to 3.

    Raises:
        ValueError: alpha = 0 at t, where rho is infinite (`RectifiedFlow` at t = 1).

    Reference: Zhang & Chen 2023 (DEIS), section 3.3, "rhoAB-DEIS". Taught in: chapter 11.

    Example:
        >>> DEIS(3)
        DEIS(order=3)
    """

    order: int = 2

    def __post_init__(self) -> None:
        _check_order(self.order, 3)

    def init(self, x: Tensor) -> History:
        return History()

    def step(
        self, denoiser: Denoiser, x_t: Tensor, t: Tensor, s: Tensor, state: History, noise: Tensor
    ) -> tuple[Tensor, History]:
        rho_t, rho_s = _scaled_noise(denoiser, t), _scaled_noise(denoiser, s)
        state = state.add(rho_t, eps_hat(denoiser, x_t, t), self.order)
        y_t, alpha_s = x_t / denoiser.path(t).alpha, denoiser.path(s).alpha
        y_s = y_t + state.integral(rho_t, rho_s)
        if self.order > 2 and len(state.nodes) == 1 and _is_noisy(denoiser, s):
            y_s = y_t + (rho_s - rho_t) * (state.values[0] + eps_hat(denoiser, alpha_s * y_s, s)) / 2
        return alpha_s * y_s, state


class Memory(NamedTuple):
    """What `CorrectedDEIS` remembers: where the last step began, and the history up to there."""

    history: History = History()
    y: Tensor | None = None


@dataclass(frozen=True)
class CorrectedDEIS:
    r"""DEIS whose every step is done again, once the evaluation at its end is there; one evaluation a step.

    Arriving at t by prediction, the noise there is evaluated, as the next step needs it anyway. The polynomial through
    it *and* the old values integrates the last step once more (Adams-Moulton), one order better. Then the next step is
    predicted. The last step stays as predicted.

    Args:
        order: of the predictor, 1 or 2; the corrector's, and the run's, is one higher.

    Reference: the idea of Zhao et al. 2023 (UniPC), section 3.1, with Adams weights in rho in place of theirs.
    Taught in: chapter 11.

    Example:
        >>> CorrectedDEIS(2)
        CorrectedDEIS(order=2)
    """

    order: int = 2

    def __post_init__(self) -> None:
        _check_order(self.order, 2)

    def init(self, x: Tensor) -> Memory:
        return Memory()

    def step(
        self, denoiser: Denoiser, x_t: Tensor, t: Tensor, s: Tensor, state: Memory, noise: Tensor
    ) -> tuple[Tensor, Memory]:
        rho_t, rho_s = _scaled_noise(denoiser, t), _scaled_noise(denoiser, s)
        history = state.history.add(rho_t, eps_hat(denoiser, x_t, t), self.order + 1)
        if state.y is None:
            y = x_t / denoiser.path(t).alpha
        else:  # the last step once more, from where it began, with the slope at its end
            y = state.y + history.integral(history.nodes[1], rho_t)
        newest = History(history.nodes[: self.order], history.values[: self.order])
        return denoiser.path(s).alpha * (y + newest.integral(rho_t, rho_s)), Memory(history, y)


class Previous(NamedTuple):
    """The last half_log_snr and x0_hat."""

    half_log_snr: Tensor
    x0_hat: Tensor


@dataclass(frozen=True)
class DPMSolverPP2M:
    r"""DPM-Solver++(2M): the clean point extrapolated linearly in lambda = log(alpha / sigma); one evaluation a step.

        x_s = (sigma_s / sigma_t) x_t + (alpha_s - alpha_t sigma_s / sigma_t) D,
        D = x0_hat + (h / 2 h_before) (x0_hat - x0_hat_before),      h = lambda_s - lambda_t.

    The factor before D is alpha_s (1 - exp(-h)). With D = x0_hat it is `DDIM` without noise: so are the first step, and
    the one that lands on sigma = 0, where h is infinite.

    Reference: Lu et al. 2022 (DPM-Solver++), algorithm 2. Taught in: chapter 11.

    Example:
        >>> DPMSolverPP2M()
        DPMSolverPP2M()
    """

    def init(self, x: Tensor) -> Previous | None:
        return None

    def step(
        self, denoiser: Denoiser, x_t: Tensor, t: Tensor, s: Tensor, state: Previous | None, noise: Tensor
    ) -> tuple[Tensor, Previous | None]:
        c_t, c_s = denoiser.path(t), denoiser.path(s)
        x0_hat = denoiser(x_t, t)
        extrapolated = x0_hat
        if state is not None and _is_noisy(denoiser, s):
            h, h_before = c_s.half_log_snr - c_t.half_log_snr, c_t.half_log_snr - state.half_log_snr
            extrapolated = x0_hat + h / (2 * h_before) * (x0_hat - state.x0_hat)
        ratio = c_s.sigma / c_t.sigma
        x_s = ratio * x_t + (c_s.alpha - c_t.alpha * ratio) * extrapolated
        return x_s, Previous(c_t.half_log_snr, x0_hat)

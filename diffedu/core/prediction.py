r"""What a network may predict, and how each prediction turns into every other.

All five targets are linear in the clean point and the noise, target = a x0 + b eps. Together with
x_t = alpha x0 + sigma eps that is a 2x2 system. Its solution is the only conversion formula in this package:

    x0  = (b x_t - sigma target) / D,      eps = (alpha target - a x_t) / D,      D = alpha b - sigma a.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from diffedu.core.path import PathCoefficients

Weights = Callable[[PathCoefficients], tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Prediction:
    r"""A target a x0 + b eps; the weights (a, b) depend on the path's coefficients.

    Coefficients passed to the methods must already broadcast against the data: use `path(t).expand(x_t)`.
    Taught in: chapter 9.

    Example:
        >>> from diffedu.core.path import Cosine
        >>> x0, eps = torch.ones(1, 2), torch.zeros(1, 2)
        >>> c = Cosine()(torch.tensor(0.5)).expand(x0)
        >>> V.to_x0(V.target(x0, eps, c), c.alpha * x0 + c.sigma * eps, c)
        tensor([[1., 1.]])
    """

    name: str
    weights: Weights

    def __repr__(self) -> str:
        return self.name

    def target(self, x0: Tensor, eps: Tensor, c: PathCoefficients) -> Tensor:
        """a x0 + b eps: what a network with this prediction is trained towards."""
        a, b = self.weights(c)
        return a * x0 + b * eps

    def determinant(self, c: PathCoefficients) -> Tensor:
        """D = alpha b - sigma a. Where it vanishes, x_t and the target do not determine x0."""
        a, b = self.weights(c)
        return c.alpha * b - c.sigma * a

    def to_x0(self, value: Tensor, x_t: Tensor, c: PathCoefficients) -> Tensor:
        """The clean point that belongs to a predicted value."""
        _, b = self.weights(c)
        return (b * x_t - c.sigma * value) / self.determinant(c)

    def to_eps(self, value: Tensor, x_t: Tensor, c: PathCoefficients) -> Tensor:
        """The noise that belongs to a predicted value."""
        a, _ = self.weights(c)
        return (c.alpha * value - a * x_t) / self.determinant(c)

    def from_x0(self, x0_hat: Tensor, x_t: Tensor, c: PathCoefficients) -> Tensor:
        """The value that belongs to a predicted clean point; needs sigma > 0."""
        a, b = self.weights(c)
        return (b * x_t + (c.sigma * a - c.alpha * b) * x0_hat) / c.sigma


EPS = Prediction("eps", lambda c: (torch.zeros_like(c.alpha), torch.ones_like(c.alpha)))
"""The noise itself. Singular where alpha = 0: pure noise says nothing of the data. Ho et al. 2020, eq. 14."""

X0 = Prediction("x0", lambda c: (torch.ones_like(c.alpha), torch.zeros_like(c.alpha)))
"""The clean point. Converting it to noise is singular where sigma = 0."""

V = Prediction("v", lambda c: (-c.sigma, c.alpha))
"""alpha eps - sigma x0. Its determinant is alpha^2 + sigma^2: never singular. Salimans & Ho 2022, section 4."""

SCORE = Prediction("score", lambda c: (torch.zeros_like(c.sigma), -1 / c.sigma))
"""-eps / sigma, whose mean given x_t is grad log p_t(x_t). Vincent 2011; Song et al. 2021, eq. 7."""

VELOCITY = Prediction("velocity", lambda c: (c.alpha_dot, c.sigma_dot))
"""alpha_dot x0 + sigma_dot eps: dx/dt along the path. Lipman et al. 2023, eq. 14; on RectifiedFlow, eps - x0."""

PREDICTIONS = {p.name: p for p in (EPS, X0, V, SCORE, VELOCITY)}
"""All five, by name: recipes and checkpoints store the name."""


def convert(value: Tensor, x_t: Tensor, c: PathCoefficients, source: Prediction, goal: Prediction) -> Tensor:
    """Turn a prediction of one kind into another, at the same noisy point.

    Args:
        value: a prediction of kind `source`, shape (B, *).
        x_t: the noisy point it was made for, shape (B, *).
        c: coefficients expanded to x_t.
        source: the kind of `value`.
        goal: the kind wanted.

    Returns:
        Shape (B, *). Exact except where the source's determinant vanishes.

    Taught in: chapter 9.

    Example:
        >>> from diffedu.core.path import RectifiedFlow
        >>> c = RectifiedFlow()(torch.tensor(0.5)).expand(torch.zeros(1, 2))
        >>> convert(torch.ones(1, 2), torch.zeros(1, 2), c, EPS, X0)
        tensor([[-1., -1.]])
    """
    if source is goal:
        return value
    return goal.target(source.to_x0(value, x_t, c), source.to_eps(value, x_t, c), c)

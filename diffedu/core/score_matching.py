r"""Learning a score from samples: the Fisher divergence, and two losses that reach it without the data's score.

The third way, denoising, is `DenoisingLoss` with the prediction `SCORE`. Its values are means over coordinates without
the factor 1/2: D/2 times it is the loss in this module's convention.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from diffedu._tensor import same_shape

Field = Callable[[Tensor], Tensor]
"""A vector field: points (B, *) to vectors (B, *), each row from its own point alone."""


def fisher_divergence(model_score: Tensor, data_score: Tensor) -> Tensor:
    r"""Half the squared distance between two scores, one value a point.

        F = E_{x ~ p} 1/2 |s(x) - grad log p(x)|^2 : the mean of the returned values over points x drawn from p.

    Args:
        model_score: s at the points, shape (B, *), in 1 / data units.
        data_score: grad log p at the same points, shape (B, *).

    Returns:
        Shape (B,), in 1 / squared data units.

    Raises:
        ValueError: the shapes differ.

    Reference: Hyvärinen 2005, section 2. Some authors leave out the 1/2. Taught in: chapter 4.

    Example:
        >>> x = torch.tensor([[0.0, 0.0], [3.0, 1.0]])
        >>> fisher_divergence(-(x - 1.0), -x)  # two Gaussians of variance 1, their means (1, 1) apart
        tensor([1., 1.])
    """
    same_shape(model_score=model_score, data_score=data_score)
    return 0.5 * (model_score - data_score).square().flatten(1).sum(1)


def implicit_score_matching(score: Field, x: Tensor) -> Tensor:
    r"""Hyvärinen's loss: the Fisher divergence up to a constant, from samples of the data alone.

        J = E_{x ~ p} [ 1/2 |s(x)|^2 + div s(x) ] = F - 1/2 E_p |grad log p|^2.

    The divergence is exact: one backward pass for each of the D coordinates. J is negative where s is good, and over
    a finite sample it has no lower bound: a ridge at every sample makes it as small as one likes.

    Args:
        score: the model's score, points (B, D) to (B, D).
        x: samples of the data, shape (B, D).

    Returns:
        Shape (B,), in 1 / squared data units; a model's parameters can be trained through it.

    Raises:
        ValueError: x is not of shape (B, D), or the score's output has another shape.

    Reference: Hyvärinen 2005, theorem 1. Taught in: chapter 4.

    Example:
        >>> implicit_score_matching(lambda x: -x, torch.tensor([[0.0, 0.0], [1.0, 1.0]])).tolist()  # |x|^2 / 2 - D
        [-2.0, -1.0]
    """
    value, div = divergence(score, x)
    return 0.5 * value.square().sum(1) + div


def sliced_score_matching(score: Field, x: Tensor, v: Tensor) -> Tensor:
    r"""Implicit score matching with the divergence seen along one random direction: one backward pass in any dimension.

        J = E_x E_v [ 1/2 |s(x)|^2 + v . grad (v . s(x)) ],     E v v^T = I.

    Args:
        score: the model's score, points (B, *) to (B, *).
        x: samples of the data, shape (B, *).
        v: one direction a point, shape (B, *); independent entries -1 or 1, or standard normal ones.

    Returns:
        Shape (B,), in 1 / squared data units. Its mean over v is `implicit_score_matching`.

    Raises:
        ValueError: the shapes of x, v and the score's output differ.

    Reference: Song, Garg, Shi, Ermon 2019 (sliced score matching), the variance-reduced form, in which (v . s)^2 is
    replaced by its mean |s|^2. Taught in: chapter 4.

    Example:
        >>> x = torch.tensor([[0.0, 0.0], [1.0, 1.0]])
        >>> sliced_score_matching(lambda x: -x, x, torch.tensor([[1.0, -1.0], [1.0, 1.0]])).tolist()
        [-2.0, -1.0]
    """
    same_shape(x=x, v=v)
    building = torch.is_grad_enabled()
    with torch.enable_grad():
        x, value = _evaluate(score, x)
        gradient = _gradient((v * value).sum(), x, building)
        loss = 0.5 * value.square().flatten(1).sum(1) + (v * gradient).flatten(1).sum(1)
    return loss if building else loss.detach()


def divergence(field: Field, x: Tensor) -> tuple[Tensor, Tensor]:
    r"""A vector field and its divergence, sum_i d s_i / d x_i, by D backward passes.

    Args:
        field: points (B, D) to vectors (B, D); a row of the output may depend on its own row of the input only.
        x: shape (B, D).

    Returns:
        The field's values (B, D), and the divergence (B,).

    Raises:
        ValueError: x is not of shape (B, D), or the output's shape differs from it.

    Taught in: chapter 4.

    Example:
        >>> _, div = divergence(lambda x: x**2, torch.tensor([[1.0, 2.0]]))
        >>> div.item()
        6.0
    """
    if x.ndim != 2:
        raise ValueError(f"x must have shape (B, D), got {tuple(x.shape)}; the sliced loss takes any shape")
    building = torch.is_grad_enabled()
    with torch.enable_grad():
        x, value = _evaluate(field, x)
        # The sum over the batch is harmless: rows don't see each other, so each keeps its own derivative.
        parts = [_gradient(value[:, i].sum(), x, building)[:, i] for i in range(x.shape[1])]
        div = torch.stack(parts).sum(0)
    return (value, div) if building else (value.detach(), div)


def _evaluate(field: Field, x: Tensor) -> tuple[Tensor, Tensor]:
    x = x.detach().requires_grad_()
    value = field(x)
    if value.shape != x.shape:
        raise ValueError(
            f"the score returned shape {tuple(value.shape)} for points of shape {tuple(x.shape)}; they must be equal"
        )
    return x, value


def _gradient(number: Tensor, x: Tensor, create_graph: bool) -> Tensor:
    if not number.requires_grad:  # a field that does not look at x
        return torch.zeros_like(x)
    (gradient,) = torch.autograd.grad(
        number, x, create_graph=create_graph, retain_graph=True, allow_unused=True, materialize_grads=True
    )
    return gradient

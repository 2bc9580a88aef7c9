"""How a network is told a number: sines and cosines of it at many frequencies."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


def with_label(condition: Tensor, embedding: nn.Embedding | None, label: Tensor | None) -> Tensor:
    """A network's condition, shape (B, width), plus the vector of each example's label.

    The embedding's last entry stands for "no label". Several labels an example, shape (B, K), are averaged.

    Raises:
        ValueError: labels for a network that has none.
    """
    if embedding is None:
        if label is not None:
            raise ValueError("this network was built without labels (classes = 0)")
        return condition
    if label is None:
        label = torch.full((len(condition),), embedding.num_embeddings - 1, device=condition.device)
    return condition + embedding(label.reshape(len(label), -1)).mean(1)


class FourierTime(nn.Module):
    r"""A time as a vector: [sin(w_i u), cos(w_i u)], with u = t / t_max and frequencies w_i growing geometrically.

    A single number fed to a network is hard to use: a small change of t must be able to change the output much. Slow
    waves tell early from late, fast ones tell neighbours apart.

    Args:
        width: length of the vector, even.
        t_max: the largest time; the fastest wave turns about max_turns times on the way to it.
        max_turns: see there.

    Reference: Vaswani et al. 2017, section 3.5; Ho et al. 2020, appendix B. Taught in: chapter 14.

    Example:
        >>> FourierTime(8, t_max=1000.0)(torch.tensor([0.0, 500.0])).shape
        torch.Size([2, 8])
    """

    frequencies: Tensor

    def __init__(self, width: int, t_max: float, max_turns: float = 160.0) -> None:
        super().__init__()
        if width < 4 or width % 2:
            raise ValueError(f"width must be even and at least 4, got {width}")
        self.t_max = t_max
        half = width // 2
        turns = torch.exp(torch.linspace(math.log(0.25), math.log(max_turns), half, device="cpu"))
        self.register_buffer("frequencies", 2 * math.pi * turns, persistent=False)

    def forward(self, t: Tensor) -> Tensor:
        """t of shape (B,) to (B, width)."""
        if t.ndim != 1:
            raise ValueError(f"t must have shape (B,), one time for each example, got {tuple(t.shape)}")
        angle = (t / self.t_max)[:, None] * self.frequencies
        return torch.cat([angle.sin(), angle.cos()], dim=1)

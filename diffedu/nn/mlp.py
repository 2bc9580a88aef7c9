"""A small network for points in the plane."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn

from diffedu._tensor import batch_of
from diffedu.nn.embed import FourierTime, with_label


class MLP(nn.Module):
    """Points and times in, one value per coordinate (or `out` values) out; residual layers that start as the identity.

    Args:
        dim: dimension of the points.
        t_max: the largest time of the path it will be used on.
        width: size of the hidden layers.
        depth: number of residual layers.
        classes: number of labels, 0 for none; label `classes` then means "no label" (for guidance).
        out: number of values a point; `dim` unless given. A classifier of noisy points has one for each class.

    Taught in: chapter 7.

    Example:
        >>> net = MLP(dim=2, t_max=1.0)
        >>> net(torch.zeros(5, 2), torch.full((5,), 0.5)).shape
        torch.Size([5, 2])
    """

    def __init__(
        self,
        dim: int = 2,
        *,
        t_max: float,
        width: int = 128,
        depth: int = 3,
        classes: int = 0,
        out: int | None = None,
    ) -> None:
        super().__init__()
        self.dim, self.classes = dim, classes
        self.time = nn.Sequential(FourierTime(64, t_max, max_turns=8.0), nn.Linear(64, width), nn.SiLU())
        self.label = nn.Embedding(classes + 1, width) if classes else None
        self.enter = nn.Linear(dim, width)
        self.layers = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))
            for _ in range(depth)
        )
        self.leave = nn.Linear(width, dim if out is None else out)
        for layer in self.layers:  # each residual layer starts as the identity
            assert isinstance(layer, nn.Sequential)
            for parameter in layer[-1].parameters():
                nn.init.zeros_(parameter)
        for parameter in self.leave.parameters():
            nn.init.zeros_(parameter)

    def forward(self, x_t: Tensor, t: Tensor, label: Tensor | None = None) -> Tensor:
        """x_t (B, dim), t (B,), label (B,) whole numbers or None for no label. Returns (B, out)."""
        batch_of((self.dim,), x_t=x_t)
        condition = with_label(self.time(t), self.label, label)
        h = self.enter(x_t)
        for layer in self.layers:
            h = h + layer(h + condition)
        return self.leave(h)

    def given(self, label: Tensor | int | None) -> partial[Tensor]:
        """The network with its label bound: a function of (x_t, t) alone."""
        return bind_label(self, self.classes, label)


def bind_label(net: nn.Module, classes: int, label: Tensor | int | None) -> partial[Tensor]:
    """net(x_t, t, label) with the label bound; one whole number stands for the whole batch.

    Args:
        net: takes a label as its third argument.
        classes: number of labels; the number `classes` itself means "no label".
        label: shape (B,), a whole number, or None.

    Raises:
        ValueError: a label lies outside 0 ... classes (looked at on the CPU only: elsewhere that would stop the queue).
    """
    if label is not None and classes:
        seen = torch.as_tensor(label, device=label.device if isinstance(label, Tensor) else "cpu")
        if seen.device.type == "cpu" and seen.numel() and (seen.min() < 0 or seen.max() > classes):
            raise ValueError(
                f"labels must lie between 0 and {classes} ({classes} means no label), "
                f"got {seen.min().item()} to {seen.max().item()}"
            )

    def call(x_t: Tensor, t: Tensor, label: Tensor | int | None) -> Tensor:
        if isinstance(label, int):
            label = torch.full((len(x_t),), label, device=x_t.device)
        return net(x_t, t, label)

    return partial(call, label=label)

"""What the guesses in closed form share: labels that fit the examples, and a batch ready to be guessed."""

from __future__ import annotations

import torch
from torch import Tensor

from diffedu._tensor import as_time
from diffedu.core.path import GaussianPath


def check_labels(x0: Tensor, labels: Tensor, classes: int) -> None:
    """One label for each example, each from 0 to classes - 1.

    Raises:
        ValueError: the shapes don't fit, or a label is out of range.
    """
    if labels.shape != x0.shape[:1]:
        raise ValueError(f"labels must have shape ({len(x0)},), one for each example, got {tuple(labels.shape)}")
    if labels.numel() and not 0 <= labels.min() <= labels.max() < classes:
        raise ValueError(
            f"labels must lie between 0 and {classes - 1}, got {labels.min().item()} to {labels.max().item()}"
        )


def flat_batch(
    path: GaussianPath, x_t: Tensor, t: Tensor | float, label: Tensor | None, *, coordinates: int, classes: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """x_t (B, D), alpha (B, 1), sigma^2 (B, 1) and the label (B,), where None becomes `classes`, "no label".

    Raises:
        ValueError: x_t has another number of coordinates.
    """
    flat = x_t.flatten(1)
    if flat.shape[1] != coordinates:
        raise ValueError(f"x_t must have {coordinates} coordinates an example, got {flat.shape[1]}")
    if label is None:
        label = torch.full((len(flat),), classes, device=flat.device)
    c = path(as_time(t, flat).expand(len(flat)))
    return flat, c.alpha[:, None], c.sigma[:, None] ** 2, label

r"""A first guess in closed form: each class of the data as one Gaussian.

The best linear denoiser needs the mean and the covariance of the data, and no training. It knows nothing of strokes,
but under strong noise a trained network is hardly better.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from diffedu.core._guess import check_labels, flat_batch
from diffedu.core.path import GaussianPath


class GaussianGuess(nn.Module):
    r"""E[x0 | x_t] as if the data of a class were Gaussian: N(m, C).

        x0_hat = m + alpha C (alpha^2 C + sigma^2 I)^-1 (x_t - alpha m),     C = V diag(l) V^T + r (I - V V^T).

    V holds the first principal axes, l the variances along them, r the mean variance along all others: probabilistic
    principal component analysis. So the deviation x_t - alpha m is multiplied by g(l_i) along axis i and by g(r)
    elsewhere, with

        g(l) = alpha l / (alpha^2 l + sigma^2),     g(0) = 0.

    Args:
        path: how noise is added.
        x0: clean data, shape (N, *).
        labels: shape (N,), whole numbers from 0 to classes - 1, each at least twice.
        classes: number of labels; the number `classes` itself means "no label" and stands for all of the data.
        axes: how many principal axes are kept, from 1 to D - 1, for D coordinates.

    Raises:
        ValueError: shapes don't fit, axes or a label is out of range, or a class has fewer than two examples.

    Reference: Wiener 1949 (the best linear filter); Tipping & Bishop 1999, eqs. 7 and 8 (the covariance); Wang &
    Vastola 2023 (a trained denoiser under strong noise is close to it). Taught in: chapter 15.

    Example:
        >>> from diffedu.core.path import RectifiedFlow
        >>> x0 = torch.cartesian_prod(torch.tensor([-2.0, 2.0]), torch.tensor([-1.0, 1.0]))  # variances 4 and 1
        >>> guess = GaussianGuess(RectifiedFlow(), x0, torch.zeros(4, dtype=torch.long), classes=1, axes=1)
        >>> guess(torch.ones(1, 2), torch.tensor([0.5]), torch.tensor([0]))
        tensor([[1.6000, 1.0000]])
    """

    mean: Tensor  # (classes + 1, D)
    principal: Tensor  # (classes + 1, axes, D), rows are unit vectors
    variance: Tensor  # (classes + 1, axes)
    rest: Tensor  # (classes + 1,)

    def __init__(self, path: GaussianPath, x0: Tensor, labels: Tensor, *, classes: int, axes: int = 128) -> None:
        super().__init__()
        check_labels(x0, labels, classes)
        flat = x0.flatten(1)
        if not 1 <= axes < flat.shape[1]:
            raise ValueError(f"axes must lie between 1 and {flat.shape[1] - 1}, got {axes}")
        self.path, self.classes = path, classes
        fitted = []
        for label in range(classes + 1):
            chosen = flat if label == classes else flat[labels == label]
            if len(chosen) < 2:
                raise ValueError(f"a covariance needs two examples or more, but class {label} has {len(chosen)}")
            variances, vectors = torch.linalg.eigh(torch.cov(chosen.double().T, correction=0))  # ascending
            fitted.append(
                (
                    chosen.mean(dim=0),
                    vectors[:, -axes:].T.to(flat.dtype),
                    variances[-axes:].clamp(min=0).to(flat.dtype),  # rounding leaves less than 0
                    variances[:-axes].mean().clamp(min=0).to(flat.dtype),
                )
            )
        # Not saved with a network's weights: the data say them, and they would be the larger part of the file.
        for name, parts in zip(("mean", "principal", "variance", "rest"), zip(*fitted, strict=True), strict=True):
            self.register_buffer(name, torch.stack(parts).contiguous(), persistent=False)

    def forward(self, x_t: Tensor, t: Tensor | float, label: Tensor | None = None) -> Tensor:
        """The guess, shape (B, *) in data units, for x_t (B, *), t () or (B,), label (B,) or None for "no label".

        Raises:
            ValueError: x_t has not the data's number of coordinates.
        """
        flat, alpha, noise, label = flat_batch(
            self.path, x_t, t, label, coordinates=self.mean.shape[1], classes=self.classes
        )
        variance, rest, principal = self.variance[label], self.rest[label][:, None], self.principal[label]

        def gain(v: Tensor) -> Tensor:
            return torch.where(v > 0, alpha * v / (alpha**2 * v + noise), 0.0)  # 0 / 0 without noise

        mean = self.mean[label]
        deviation = flat - alpha * mean
        along = torch.einsum("bkd,bd->bk", principal, deviation) * (gain(variance) - gain(rest))
        guess = mean + gain(rest) * deviation + torch.einsum("bk,bkd->bd", along, principal)
        return guess.reshape(x_t.shape)

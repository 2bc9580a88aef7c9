r"""A first guess from the training set itself: what would be best if there were no other data.

If the data are the training examples and nothing else, the best denoiser is known: a mean of them, weighted by how well
each explains what is seen. As a sampler it would only copy. As a guess that is shown to a network it is useful, if in
training no example may help to guess itself.
"""

from __future__ import annotations

from functools import partial
from itertools import pairwise

import torch
from torch import Tensor, nn

from diffedu._tensor import full_precision
from diffedu.core._guess import check_labels, flat_batch
from diffedu.core.path import GaussianPath


class NeighbourGuess(nn.Module):
    r"""A mean of the training examples x_1 ... x_N of a class, weighted by how well they explain x_t.

        x0_hat = sum_i w_i x_i,     w_i  proportional to  N(x_t; alpha x_i, sigma^2 I).

    It is E[x0 | x_t] exactly, if x0 is one of the examples, each as likely as the others: a `DatasetDenoiser` whose
    batches may mix labels, and from which a batch's own examples can be left out.

    Args:
        path: how noise is added.
        x0: the training examples, shape (N, *).
        labels: shape (N,), whole numbers from 0 to classes - 1, each at least twice.
        classes: number of labels; the number `classes` itself means "no label" and stands for all examples.

    Raises:
        ValueError: shapes don't fit, a label is out of range, or a class has fewer than two examples.

    Reference: Karras et al. 2022, appendix B.3, eq. 57; Nadaraya 1964 and Watson 1964 (regression by such weights).
    Taught in: chapter 15.

    Example:
        >>> from diffedu.core.path import RectifiedFlow
        >>> x0, labels = torch.tensor([[-1.0], [1.0], [1.0]]), torch.zeros(3, dtype=torch.long)
        >>> guess = NeighbourGuess(RectifiedFlow(), x0, labels, classes=1)
        >>> guess(torch.tensor([[0.0], [0.5]]), torch.tensor([1.0, 0.1])).round(decimals=2)  # noise only; hardly any
        tensor([[0.3300],
                [1.0000]])
    """

    examples: Tensor  # (N, D), sorted by label
    half_square: Tensor  # (N,), half of |x_i|^2
    numbers: Tensor  # (N,), of the examples as they came

    def __init__(self, path: GaussianPath, x0: Tensor, labels: Tensor, *, classes: int) -> None:
        super().__init__()
        check_labels(x0, labels, classes)
        counts = torch.bincount(labels, minlength=classes)
        if counts.min() < 2:
            raise ValueError(
                f"leaving one out takes two examples or more, but class {counts.argmin().item()} has "
                f"{counts.min().item()}"
            )
        self.path, self.classes = path, classes
        self._tables = [slice(*ends) for ends in pairwise([0, *counts.cumsum(0).tolist()])] + [slice(None)]
        numbers = labels.argsort(stable=True)
        examples = x0.flatten(1)[numbers]
        # Not saved with a network's weights: they are the data.
        self.register_buffer("examples", examples, persistent=False)
        self.register_buffer("half_square", examples.square().sum(1) / 2, persistent=False)
        self.register_buffer("numbers", numbers, persistent=False)

    def forward(self, x_t: Tensor, t: Tensor | float, label: Tensor | None = None, own: Tensor | None = None) -> Tensor:
        """The guess, shape (B, *) in data units.

        Args:
            x_t: noisy data, shape (B, *).
            t: shape () or (B,).
            label: shape (B,), or None for "no label".
            own: shape (B,), the number of the training example that each x_t was made from; it is left out.

        Raises:
            ValueError: x_t has not the data's number of coordinates, or a label is out of range.
        """
        flat, alpha, variance, label = flat_batch(
            self.path, x_t, t, label, coordinates=self.examples.shape[1], classes=self.classes
        )
        variance = variance.clamp(min=1e-12)  # without noise: the nearest
        guess, answered = torch.empty_like(flat), 0
        with full_precision(flat):  # differences of large numbers
            for k, table in enumerate(self._tables):  # a class at a time: most examples belong to others
                rows = (label == k).nonzero()[:, 0]
                answered += len(rows)
                if len(rows):
                    examples = self.examples[table]
                    # -|x_t - alpha x_i|^2 / 2 without |x_t|^2, which is the same for every i
                    likeness = alpha[rows] * (examples @ flat[rows].T).T - alpha[rows] ** 2 * self.half_square[table]
                    if own is not None:
                        likeness = likeness.masked_fill(own[rows, None] == self.numbers[table], -torch.inf)
                    guess[rows] = (likeness / variance[rows]).softmax(dim=1) @ examples
        if answered != len(flat):
            raise ValueError(
                f"labels must lie between 0 and {self.classes} ({self.classes} means no label), "
                f"got {label.min().item()} to {label.max().item()}"
            )
        return guess.reshape(x_t.shape)

    def without(self, own: Tensor) -> partial[Tensor]:
        """The guess with a batch's own examples left out, a function of (x_t, t, label).

        Args:
            own: shape (B,), numbers of training examples.
        """
        return partial(self, own=own)

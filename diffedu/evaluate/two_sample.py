"""A small network judges images: can it tell generated from real, can it learn from the generated alone?"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from diffedu._tensor import seeded, weights_from
from diffedu.evaluate.metrics import Estimate
from diffedu.nn import ImageClassifier


class Neighbours(NamedTuple):
    """Distances ``(Q, k)``, nearest first, and the positions ``(Q, k)`` in the bank that they belong to."""

    distances: Tensor
    indices: Tensor


def to_bytes(images: Tensor) -> Tensor:
    """Images as they would be saved: [-1, 1] to the whole numbers 0 ... 255, what lies outside cut off.

    Args:
        images: Any shape, floating, nominally in ``[-1, 1]``.

    Returns:
        The same shape, uint8.

    Raises:
        ValueError: Values that are not finite.

    Taught in: chapter 14.

    Example:
        >>> to_bytes(torch.tensor([-1.3, -1.0, 0.0, 1.0])).tolist()
        [0, 0, 128, 255]
    """
    if not images.isfinite().all():
        raise ValueError("images hold values that are not finite (NaN or infinity)")
    return images.add(1).mul(127.5).round().clamp(0, 255).to(torch.uint8)


def quantise(images: Tensor) -> Tensor:
    """Images put on the grid of 8-bit values that real ones lie on, still in [-1, 1].

    Without this a network tells generated images from real ones by their paper alone: real paper is exactly
    -1.

    Args:
        images: Any shape, floating, nominally in ``[-1, 1]``.

    Returns:
        The same shape, float32, each value one of 256 in ``[-1, 1]``.

    Raises:
        ValueError: Values that are not finite.

    Taught in: chapter 14.

    Example:
        >>> quantise(torch.tensor([-1.3, -0.9999, 1.0])).tolist()
        [-1.0, -1.0, 1.0]
    """
    # The same operations as when data are loaded: real images come back bit for bit.
    return to_bytes(images).float().div_(255).mul_(2).add_(-1)


def train_small_classifier(
    images: Tensor, labels: Tensor, *, classes: int = 10, epochs: int = 8, seed: int = 0
) -> ImageClassifier:
    """Train the book's small convolutional network on labelled images, always in the same way.

    Cross-entropy, AdamW, batches of 128, the learning rate falling from 0.002 to 0 along half a cosine.
    Everything random follows from the seed: first weights and the order of the images; the global random
    state is neither read nor changed.

    Args:
        images: ``(N, 1, 28, 28)`` float in ``[-1, 1]``.
        labels: ``(N,)`` int64 from 0 to ``classes - 1``, on the same device.
        classes: How many classes there are.
        epochs: How often each image is seen.
        seed: The seed of weights and order.

    Returns:
        The trained network, in evaluation mode, on the images' device.

    Raises:
        ValueError: Shapes that don't fit, too few images, labels that are no classes, or no epochs.

    Taught in: chapter 14.

    Example:
        >>> images = torch.full((64, 1, 28, 28), -1.0)
        >>> images[32:, :, 10:18, 10:18] = 1.0
        >>> labels = (torch.arange(64) >= 32).long()
        >>> net = train_small_classifier(images, labels, classes=2, epochs=10)
        >>> accuracy(net, images, labels).value
        1.0
    """
    _check_labelled(images, labels)
    if len(images) < 2:
        raise ValueError(f"images must hold at least 2 images to train on, got {len(images)}")
    if epochs < 1:
        raise ValueError(f"epochs must be at least 1, got {epochs}")
    if not bool(((labels >= 0) & (labels < classes)).all()):
        raise ValueError(f"labels must lie in 0 ... {classes - 1}, got {labels.min()} ... {labels.max()}")

    with weights_from(seed):
        net = ImageClassifier(classes=classes).to(images.device)  # made on the CPU: the same weights on every device
    generator = seeded(seed)
    batches = math.ceil(len(images) / 128)
    optimiser = torch.optim.AdamW(net.parameters(), lr=2e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, epochs * batches)
    net.train()
    for _ in range(epochs):
        # Equal parts, so that no batch is too small for the batch norms' statistics.
        for chosen in torch.randperm(len(images), generator=generator).to(images.device).tensor_split(batches):
            loss = F.cross_entropy(net(images[chosen]), labels[chosen])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
    return net.eval()


@torch.no_grad()
def accuracy(net: ImageClassifier, images: Tensor, labels: Tensor) -> Estimate:
    r"""The share of images that a classifier reads right, with its binomial standard error.

    .. math:: \hat p \pm \sqrt{\hat p (1 - \hat p) / N}

    Args:
        net: A trained classifier, in evaluation mode.
        images: ``(N, 1, 28, 28)`` float in ``[-1, 1]``.
        labels: ``(N,)`` int64, on the same device.

    Returns:
        The accuracy, between 0 and 1, and its standard error over the choice of these N images.

    Raises:
        ValueError: Shapes that don't fit, no images, or a network still in training mode.

    Taught in: chapter 14.

    Example:
        >>> untrained = ImageClassifier().eval()
        >>> accuracy(untrained, torch.zeros(4, 1, 28, 28), torch.zeros(4).long()).value in (0.0, 1.0)
        True
    """
    _check_labelled(images, labels)
    if net.training:
        raise ValueError("the classifier is in training mode; call net.eval() first")
    right = sum(int((net(x).argmax(dim=1) == label).sum()) for x, label in zip(images.split(500), labels.split(500)))
    share = right / len(images)
    return Estimate(share, math.sqrt(share * (1 - share) / len(images)))


def classifier_two_sample(
    real: Tensor, fake: Tensor, *, train_n: int = 3000, epochs: int = 8, seed: int = 0
) -> Estimate:
    """How well a small network tells generated images from real ones: 0.5 is perfect, 1 is hopeless.

    The network is trained on ``train_n`` images of each kind and scored on equally many others of each, which
    it has never seen. All are put on the 8-bit grid first. Real images must not repeat those that the
    generator was trained on if its memory is not to count in its favour.

    Args:
        real: ``(N, 1, 28, 28)`` float in ``[-1, 1]``, N above ``train_n``.
        fake: ``(M, 1, 28, 28)``, M above ``train_n``, on the same device.
        train_n: Images of each kind to train on; the rest, up to the smaller number, is for the test.
        epochs: How often each training image is seen.
        seed: The seed of the split, the weights and the order.

    Returns:
        The held-out accuracy and its binomial standard error, which leaves out how the network's own training
        varies.

    Raises:
        ValueError: Shapes that don't fit, or too few images.

    Reference:
        Lopez-Paz and Oquab (2017), "Revisiting classifier two-sample tests", section 3 (their statistic t).

    Taught in: chapter 14.

    Example:
        >>> paper = torch.full((60, 1, 28, 28), -1.0)
        >>> grey = torch.full((60, 1, 28, 28), -0.5)
        >>> classifier_two_sample(paper, grey, train_n=40, epochs=20).value
        1.0
    """
    if real.shape[1:] != fake.shape[1:]:
        raise ValueError(
            f"real and fake must hold images of one shape, got {tuple(real.shape[1:])} and {tuple(fake.shape[1:])}"
        )
    count = min(len(real), len(fake))
    if not 1 <= train_n < count:
        raise ValueError(
            f"train_n must leave images for the test: got train_n = {train_n} with {len(real)} real "
            f"and {len(fake)} fake"
        )
    generator = seeded(seed)
    real, fake = (
        quantise(images[torch.randperm(len(images), generator=generator)[:count].to(images.device)])
        for images in (real, fake)
    )

    def labelled(part: slice) -> tuple[Tensor, Tensor]:
        images = torch.cat([real[part], fake[part]])
        return images, (torch.arange(len(images), device=images.device) >= len(images) // 2).long()

    net = train_small_classifier(*labelled(slice(None, train_n)), classes=2, epochs=epochs, seed=seed)
    return accuracy(net, *labelled(slice(train_n, None)))


@torch.no_grad()
def nearest_neighbours(queries: Tensor, bank: Tensor, k: int = 1, *, chunk: int = 500) -> Neighbours:
    r"""The nearest members of a bank to each query: what a generated image may have been copied from.

    .. math:: d(q, b) = \lVert q - b \rVert

    Args:
        queries: ``(Q, *)`` float.
        bank: ``(N, *)`` float, the same shape after the first axis, on the same device.
        k: How many neighbours.
        chunk: Queries compared at a time; bounds the memory at ``chunk * N`` numbers.

    Returns:
        Euclidean distances ``(Q, k)`` in data units, nearest first, and positions in the bank ``(Q, k)``
        int64.

    Raises:
        ValueError: Shapes that don't fit, or k outside 1 ... N.

    Taught in: chapter 14.

    Example:
        >>> bank = torch.tensor([[0.0, 0.0], [3.0, 4.0]])
        >>> distances, indices = nearest_neighbours(torch.tensor([[3.0, 3.0]]), bank, k=2)
        >>> indices.tolist(), round(distances[0, 0].item(), 4)
        ([[1, 0]], 1.0)
    """
    if queries.ndim < 2 or queries.shape[1:] != bank.shape[1:]:
        raise ValueError(
            f"queries (Q, *) and bank (N, *) must agree after the first axis, got {tuple(queries.shape)} "
            f"and {tuple(bank.shape)}"
        )
    if not 1 <= k <= len(bank):
        raise ValueError(f"k must lie in 1 ... {len(bank)}, the size of the bank, got {k}")
    flat = bank.flatten(1)
    distances, indices = [], []
    for part in queries.flatten(1).split(chunk):
        # Candidates by the fast product form; it loses digits where points nearly coincide, so their
        # distances are taken again from differences.
        found = torch.cdist(part, flat).topk(k, largest=False).indices
        exact = (part[:, None] - flat[found]).norm(dim=-1)
        exact, order = exact.sort(dim=1)
        distances.append(exact)
        indices.append(found.gather(1, order))
    return Neighbours(torch.cat(distances), torch.cat(indices))


def _check_labelled(images: Tensor, labels: Tensor) -> None:
    if labels.ndim != 1 or labels.dtype != torch.int64 or len(images) != len(labels) or len(images) == 0:
        raise ValueError(
            f"images (N, *) need labels (N,) of dtype int64 and N above 0, got images "
            f"{tuple(images.shape)} and labels {tuple(labels.shape)} of {labels.dtype}"
        )

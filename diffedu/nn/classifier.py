"""A small convolutional classifier: the measuring instrument for generated images."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from diffedu._tensor import batch_of


class ImageClassifier(nn.Module):
    """Images in [-1, 1] to class logits; its 64 penultimate values are the features of Frechet distances.

    Args:
        width: channels of the first convolution; the others have twice as many.
        classes: number of classes.
        size: height and width of the images, at least 8.
        channels: channels of the images.

    Taught in: chapter 14.

    Example:
        >>> net = ImageClassifier()
        >>> net.features(torch.zeros(2, 1, 28, 28)).shape
        torch.Size([2, 64])
    """

    def __init__(self, width: int = 24, classes: int = 10, size: int = 28, channels: int = 1) -> None:
        super().__init__()
        self.width, self.classes, self.expected = width, classes, (channels, size, size)
        self.conv1 = nn.Conv2d(channels, width, 5, padding=2, stride=2)
        self.conv2 = nn.Conv2d(width, 2 * width, 3, padding=1)
        self.conv3 = nn.Conv2d(2 * width, 2 * width, 3, padding=1)
        self.norm1, self.norm2, self.norm3 = (
            nn.BatchNorm2d(width),
            nn.BatchNorm2d(2 * width),
            nn.BatchNorm2d(2 * width),
        )
        self.hidden = nn.Linear(2 * width * (size // 8) ** 2, 64)
        self.out = nn.Linear(64, classes)

    def features(self, images: Tensor) -> Tensor:
        """Penultimate values, shape (B, 64), after the rectifier."""
        batch_of(self.expected, images=images)
        h = F.relu(self.norm1(self.conv1(images.contiguous(memory_format=torch.channels_last))))
        h = F.max_pool2d(F.relu(self.norm2(self.conv2(h))), 2)
        h = F.max_pool2d(F.relu(self.norm3(self.conv3(h))), 2)
        return F.relu(self.hidden(h.flatten(1)))

    def forward(self, images: Tensor) -> Tensor:
        """Logits, shape (B, classes)."""
        return self.out(self.features(images))

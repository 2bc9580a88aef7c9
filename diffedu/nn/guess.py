"""A network that is shown a first guess beside the noisy picture."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from diffedu.nn.mlp import bind_label
from diffedu.nn.unet import UNet


class WithGuess(nn.Module):
    """net([x_t, guess(x_t, t, label)], t, label): what is easily computed need not be learned.

    Args:
        net: a U-Net with as many extra channels as the picture has.
        guess: takes x_t, t and labels (or None), returns the shape of x_t.

    Raises:
        ValueError: the network has no room for the guess.

    Taught in: chapter 15.

    Example:
        >>> from diffedu.nn import UNetConfig
        >>> net = UNet(UNetConfig(width=16, low_width=32, extra_channels=1))
        >>> twice = WithGuess(net, lambda x_t, t, label: 2 * x_t)
        >>> twice(torch.zeros(2, 1, 28, 28), torch.tensor([1.0, 1000.0]), torch.tensor([3, 7])).shape
        torch.Size([2, 1, 28, 28])
    """

    def __init__(self, net: UNet, guess: Callable[[Tensor, Tensor, Tensor | None], Tensor]) -> None:
        super().__init__()
        if net.config.extra_channels != net.config.channels:
            raise ValueError(
                f"a guess has {net.config.channels} channels, but the network has extra_channels = "
                f"{net.config.extra_channels}"
            )
        self.net, self.guess, self.config = net, guess, net.config

    def forward(self, x_t: Tensor, t: Tensor, label: Tensor | None = None) -> Tensor:
        """What the network predicts, shape (B, channels, size, size), for x_t of that shape."""
        return self.net(torch.cat([x_t, self.guess(x_t, t, label)], dim=1), t, label)

    def given(self, label: Tensor | int | None) -> partial[Tensor]:
        """The network with its label bound: a function of (x_t, t) alone."""
        return bind_label(self, self.config.classes, label)

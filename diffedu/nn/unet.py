r"""A lean U-Net for small images.

An image is first folded: each 2x2 block of pixels becomes one position with four times the channels, so the first
convolutions already run at half resolution. Two levels follow (14x14 and 7x7 for digits; the second by folding again),
with self-attention between the blocks of the lower one, and a skip connection that carries detail across.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from diffedu._tensor import batch_of
from diffedu.nn.embed import FourierTime, with_label
from diffedu.nn.mlp import bind_label


@dataclass(frozen=True)
class UNetConfig:
    """Everything that is needed to build a `UNet`; plain numbers, so that it can stand in a JSON file.

    Args:
        size: height and width of the images, a multiple of 4.
        channels: channels of the images.
        width: channels at the upper level, a multiple of 16.
        low_width: channels at the lower level, a multiple of 32.
        blocks: residual blocks at each level on the way down; as many at the lower level on the way up, one more at the
            upper one.
        classes: number of labels, 0 for none. Label number `classes` then means "no label".
        t_max: the largest time of the path.
        dropout: chance that a hidden value is dropped in training.
        extra_channels: further channels that come in and are not predicted, such as a first guess (`WithGuess`).
    """

    size: int = 28
    channels: int = 1
    width: int = 48
    low_width: int = 128
    blocks: int = 1
    classes: int = 10
    t_max: float = 1000.0
    dropout: float = 0.0
    extra_channels: int = 0

    def __post_init__(self) -> None:
        if self.size % 4 or self.size <= 0:
            raise ValueError(f"size must be a positive multiple of 4, got {self.size}")
        if self.width % 16 or self.width <= 0:
            raise ValueError(f"width must be a positive multiple of 16, got {self.width}")
        if self.low_width % 32 or self.low_width <= 0:
            raise ValueError(f"low_width must be a positive multiple of 32, got {self.low_width}")
        if self.blocks < 1:
            raise ValueError(f"blocks must be at least 1, got {self.blocks}")
        if self.extra_channels < 0:
            raise ValueError(f"extra_channels must not be negative, got {self.extra_channels}")

    def to_json(self) -> dict[str, int | float]:
        """Plain numbers by field name."""
        return asdict(self)


class ResBlock(nn.Module):
    """h + conv(act(norm'(conv(act(norm(h)))))), where norm' is scaled and shifted by the condition.

    The last convolution starts at zero, so a new block is the identity (or its 1x1 projection).

    Args:
        c_in: channels coming in.
        c_out: channels going out.
        c_condition: length of the condition vector.
        dropout: chance of dropping before the last convolution.
    """

    def __init__(self, c_in: int, c_out: int, c_condition: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(8, c_in)
        self.conv1 = nn.Conv2d(c_in, c_out, 3, padding=1)
        self.modulate = nn.Linear(c_condition, 2 * c_out)
        self.norm2 = nn.GroupNorm(8, c_out)
        self.drop = nn.Dropout(dropout)
        self.conv2 = nn.Conv2d(c_out, c_out, 3, padding=1)
        self.skip = nn.Identity() if c_in == c_out else nn.Conv2d(c_in, c_out, 1)
        nn.init.zeros_(self.conv2.weight)
        assert self.conv2.bias is not None
        nn.init.zeros_(self.conv2.bias)

    def forward(self, h: Tensor, condition: Tensor) -> Tensor:
        scale, shift = self.modulate(condition)[:, :, None, None].chunk(2, dim=1)
        y = self.conv1(F.silu(self.norm1(h)))
        y = self.norm2(y) * (1 + scale) + shift
        return self.skip(h) + self.conv2(self.drop(F.silu(y)))


class SelfAttention(nn.Module):
    """Every position looks at every other. The output projection starts at zero: a new layer is the identity."""

    def __init__(self, channels: int, head_width: int = 32) -> None:
        super().__init__()
        self.heads = channels // head_width
        self.norm = nn.GroupNorm(8, channels)
        self.qkv = nn.Conv2d(channels, 3 * channels, 1)
        self.out = nn.Conv2d(channels, channels, 1)
        nn.init.zeros_(self.out.weight)
        assert self.out.bias is not None
        nn.init.zeros_(self.out.bias)

    def forward(self, h: Tensor) -> Tensor:
        b, c, height, width = h.shape
        qkv = self.qkv(self.norm(h)).reshape(b, 3, self.heads, c // self.heads, height * width).transpose(-1, -2)
        y = F.scaled_dot_product_attention(qkv[:, 0], qkv[:, 1], qkv[:, 2])
        return h + self.out(y.transpose(-1, -2).reshape(b, c, height, width))


class UNet(nn.Module):
    """Noisy images, times and labels in; one prediction per pixel out.

    Args:
        config: see `UNetConfig`.

    Reference: Ronneberger et al. 2015; Ho et al. 2020, appendix B; scale and shift by the condition as in Dhariwal &
    Nichol 2021, section 3 ("adaptive group normalization"). Taught in: chapter 14.

    Example:
        >>> net = UNet(UNetConfig(width=32, low_width=64))
        >>> net(torch.zeros(2, 1, 28, 28), torch.tensor([1.0, 1000.0]), torch.tensor([3, 7])).shape
        torch.Size([2, 1, 28, 28])
    """

    def __init__(self, config: UNetConfig) -> None:
        super().__init__()
        self.config = config
        w, low, folded, cond = config.width, config.low_width, 4 * config.channels, 4 * config.width
        self.time = nn.Sequential(
            FourierTime(128, config.t_max), nn.Linear(128, cond), nn.SiLU(), nn.Linear(cond, cond)
        )
        self.label = nn.Embedding(config.classes + 1, cond) if config.classes else None

        def block(c_in: int, c_out: int) -> ResBlock:
            return ResBlock(c_in, c_out, cond, config.dropout)

        self.enter = nn.Conv2d(folded + 4 * config.extra_channels, w, 3, padding=1)
        self.down_high = nn.ModuleList(block(w, w) for _ in range(config.blocks))
        self.shrink = nn.Conv2d(4 * w, low, 1)  # after folding: 2x2 positions become one
        self.down_low = nn.ModuleList(block(low, low) for _ in range(config.blocks))
        self.attention = SelfAttention(low)
        self.up_low = nn.ModuleList(block(low, low) for _ in range(config.blocks))
        self.grow = nn.Conv2d(low, 4 * w, 1)  # before unfolding
        self.up_high = nn.ModuleList(block(2 * w if i == 0 else w, w) for i in range(config.blocks + 1))
        self.norm = nn.GroupNorm(8, w)
        self.leave = nn.Conv2d(w, folded, 3, padding=1)
        nn.init.zeros_(self.leave.weight)
        assert self.leave.bias is not None
        nn.init.zeros_(self.leave.bias)

    def forward(self, x_t: Tensor, t: Tensor, label: Tensor | None = None) -> Tensor:
        """Predict for a batch.

        Args:
            x_t: shape (B, channels + extra_channels, size, size).
            t: shape (B,).
            label: shape (B,), whole numbers; None stands for "no label".

        Raises:
            ValueError: x_t has another shape than the config says, or labels are given to a network without them.
        """
        seen = self.config.channels + self.config.extra_channels
        batch_of((seen, self.config.size, self.config.size), x_t=x_t)
        condition = F.silu(with_label(self.time(t), self.label, label))

        h = self.enter(F.pixel_unshuffle(x_t, 2).contiguous(memory_format=torch.channels_last))
        for layer in self.down_high:
            h = layer(h, condition)
        detail = h
        h = self.shrink(F.pixel_unshuffle(h, 2))
        for layer in self.down_low:
            h = layer(h, condition)
        h = self.attention(h)
        for layer in self.up_low:
            h = layer(h, condition)
        h = torch.cat([F.pixel_shuffle(self.grow(h), 2), detail], dim=1)
        for layer in self.up_high:
            h = layer(h, condition)
        return F.pixel_shuffle(self.leave(F.silu(self.norm(h))), 2)

    def given(self, label: Tensor | int | None) -> partial[Tensor]:
        """The network with its label bound: a function of (x_t, t) alone.

        Args:
            label: shape (B,), one whole number for the whole batch, or None for "no label".
        """
        return bind_label(self, self.config.classes, label)

r"""A diffusion transformer: an image cut into patches, each a token, and nothing but attention and small networks.

Time and label enter in one place only, "adaLN-zero": they scale and shift what each sub-layer reads, and open a gate on
what it writes. The gates start at zero, so a new network of any depth is the identity, and then the zero function.
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
class DiTConfig:
    """Everything that is needed to build a `DiT`; plain numbers, so that it can stand in a JSON file.

    Args:
        size: height and width of the images.
        channels: channels of the images.
        patch: side of a patch; divides size. The number of tokens is (size / patch) squared.
        width: length of a token's vector, a multiple of 4 times heads.
        depth: number of blocks.
        heads: of the attention.
        classes: number of labels, 0 for none. Label number `classes` then means "no label".
        t_max: the largest time of the path.
    """

    size: int = 28
    channels: int = 1
    patch: int = 4
    width: int = 128
    depth: int = 4
    heads: int = 4
    classes: int = 10
    t_max: float = 1.0

    def __post_init__(self) -> None:
        for name in ("size", "channels", "patch", "width", "depth", "heads"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.size % self.patch:
            raise ValueError(f"patch must divide size, got patch {self.patch} and size {self.size}")
        if self.width % (4 * self.heads):
            raise ValueError(f"width must be a multiple of 4 heads = {4 * self.heads}, got {self.width}")

    def to_json(self) -> dict[str, int | float]:
        """Plain numbers by field name."""
        return asdict(self)


def patchify(images: Tensor, patch: int) -> Tensor:
    """Images (B, C, H, W) as tokens (B, N, C patch^2): row by row of patches; inside one, channel, row, column.

    Example:
        >>> patchify(torch.arange(16.0).reshape(1, 1, 4, 4), 2)[0, 1]
        tensor([2., 3., 6., 7.])
    """
    return F.pixel_unshuffle(images, patch).flatten(2).transpose(1, 2)


def unpatchify(tokens: Tensor, patch: int, size: int) -> Tensor:
    """The inverse of `patchify` for square images of height `size`.

    Example:
        >>> images = torch.arange(16.0).reshape(1, 1, 4, 4)
        >>> bool((unpatchify(patchify(images, 2), 2, 4) == images).all())
        True
    """
    side = size // patch
    return F.pixel_shuffle(tokens.transpose(1, 2).unflatten(2, (side, side)), patch)


def positions(side: int, width: int, device: torch.device | str = "cpu") -> Tensor:
    """Where each token stands: sines and cosines of its row (first half) and its column (second half).

    Args:
        side: tokens along an edge.
        width: length of the vector, a multiple of 4.
        device: of the result.

    Returns:
        Shape (side^2, width), row by row.

    Reference: Vaswani et al. 2017, section 3.5, in two dimensions. Taught in: chapter 18.
    """
    frequency = 10_000 ** -(torch.arange(width // 4, device=device) / (width // 4))
    angle = torch.arange(side, device=device)[:, None] * frequency
    wave = torch.cat([angle.sin(), angle.cos()], dim=1)
    return torch.cat([wave.repeat_interleave(side, 0), wave.repeat(side, 1)], dim=1)


def _modulated(h: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """Layer norm without parameters of its own, then the condition's scale and shift, the same for every token."""
    return F.layer_norm(h, h.shape[-1:]) * (1 + scale[:, None]) + shift[:, None]


class DiTBlock(nn.Module):
    """h + gate attention(norm h), then h + gate mlp(norm h), each norm scaled and shifted by the condition.

    Args:
        width: of the tokens and of the condition vector.
        heads: of the attention.

    Reference: Peebles & Xie 2023, section 3.2, "adaLN-Zero block".
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(approximate="tanh"), nn.Linear(4 * width, width))
        self.modulate = nn.Linear(width, 6 * width)
        nn.init.zeros_(self.modulate.weight)  # gates, shifts and scales: a new block is the identity
        nn.init.zeros_(self.modulate.bias)

    def attention(self, h: Tensor) -> Tensor:
        """Every token looks at every other; (B, N, width) to the same."""
        q, k, v = self.qkv(h).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)  # each (B, heads, N, d)
        return self.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))

    def forward(self, h: Tensor, condition: Tensor) -> Tensor:
        shift1, scale1, gate1, shift2, scale2, gate2 = self.modulate(condition).chunk(6, dim=1)
        h = h + gate1[:, None] * self.attention(_modulated(h, shift1, scale1))
        return h + gate2[:, None] * self.mlp(_modulated(h, shift2, scale2))


class DiT(nn.Module):
    """Noisy images, times and labels in; one prediction per pixel out.

    Args:
        config: see `DiTConfig`.

    Reference: Peebles & Xie 2023, section 3. Taught in: chapter 18.

    Example:
        >>> net = DiT(DiTConfig(width=32, depth=2))
        >>> net(torch.zeros(2, 1, 28, 28), torch.tensor([0.1, 1.0]), torch.tensor([3, 7])).shape
        torch.Size([2, 1, 28, 28])
    """

    positions: Tensor

    def __init__(self, config: DiTConfig) -> None:
        super().__init__()
        self.config = config
        w, values = config.width, config.channels * config.patch**2
        self.enter = nn.Linear(values, w)
        self.register_buffer("positions", positions(config.size // config.patch, w), persistent=False)
        self.time = nn.Sequential(FourierTime(128, config.t_max), nn.Linear(128, w), nn.SiLU(), nn.Linear(w, w))
        self.label = nn.Embedding(config.classes + 1, w) if config.classes else None
        self.blocks = nn.ModuleList(DiTBlock(w, config.heads) for _ in range(config.depth))
        self.modulate = nn.Linear(w, 2 * w)
        self.leave = nn.Linear(w, values)
        for layer in (self.modulate, self.leave):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, x_t: Tensor, t: Tensor, label: Tensor | None = None) -> Tensor:
        """Predict for a batch.

        Args:
            x_t: shape (B, channels, size, size).
            t: shape (B,).
            label: shape (B,), whole numbers; or (B, K), several labels each, such as words: their vectors are averaged.
                None stands for "no label".

        Raises:
            ValueError: x_t has another shape than the config says, or labels are given to a network without them.
        """
        config = self.config
        batch_of((config.channels, config.size, config.size), x_t=x_t)
        condition = F.silu(with_label(self.time(t), self.label, label))

        h = self.enter(patchify(x_t, config.patch)) + self.positions
        for block in self.blocks:
            h = block(h, condition)
        h = self.leave(_modulated(h, *self.modulate(condition).chunk(2, dim=1)))
        return unpatchify(h, config.patch, config.size)

    def given(self, label: Tensor | int | None) -> partial[Tensor]:
        """The network with its label bound: a function of (x_t, t) alone.

        Args:
            label: shape (B,) or (B, K), one whole number for the whole batch, or None for "no label".
        """
        return bind_label(self, self.config.classes, label)

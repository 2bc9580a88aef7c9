r"""A small variational autoencoder: images to a few numbers with an error bar each, and back.

The encoder folds the image (2x2 pixels become one position) as often as the latent picture is to be smaller, with
residual blocks between; the decoder unfolds. It returns a mean and a log-variance for every latent number.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from diffedu._tensor import batch_of


@dataclass(frozen=True)
class VAEConfig:
    """Everything that is needed to build a `VAE`; plain numbers, so that it can stand in a JSON file.

    Args:
        size: height and width of the images.
        channels: channels of the images.
        shrink: how many times smaller the latent picture is along an edge, a power of 2 that divides size.
        latent_channels: channels of the latent picture.
        width: channels inside, a multiple of 8; twice as many at the lowest level.
        blocks: residual blocks at each level.
    """

    size: int = 32
    channels: int = 3
    shrink: int = 4
    latent_channels: int = 4
    width: int = 48
    blocks: int = 1

    def __post_init__(self) -> None:
        if self.shrink < 2 or self.shrink & (self.shrink - 1) or self.size % self.shrink:
            raise ValueError(
                f"shrink must be a power of 2, at least 2, that divides size {self.size}, got {self.shrink}"
            )
        if self.width % 8 or self.width <= 0:
            raise ValueError(f"width must be a positive multiple of 8, got {self.width}")
        for name in ("channels", "latent_channels", "blocks"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        """Channels, height and width of the latent picture."""
        return self.latent_channels, self.size // self.shrink, self.size // self.shrink

    def to_json(self) -> dict[str, int]:
        """Plain numbers by field name."""
        return asdict(self)


class Residual(nn.Module):
    """h + conv(act(norm(conv(act(norm h))))); the last convolution starts at zero, so a new block is the identity."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.GroupNorm(8, channels), nn.GroupNorm(8, channels)
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        nn.init.zeros_(self.conv2.weight)
        assert self.conv2.bias is not None
        nn.init.zeros_(self.conv2.bias)

    def forward(self, h: Tensor) -> Tensor:
        return h + self.conv2(F.silu(self.norm2(self.conv1(F.silu(self.norm1(h))))))


class VAE(nn.Module):
    """Encoder q(z | x) = N(mean, exp(log_variance)) and decoder z -> x.

    Args:
        config: see `VAEConfig`.

    Reference: Kingma & Welling 2014, section 3; as a first stage of diffusion: Rombach et al. 2022, section 3.1.
    Taught in: chapter 17.

    Example:
        >>> net = VAE(VAEConfig(width=16))
        >>> mean, log_variance = net.encode(torch.zeros(2, 3, 32, 32))
        >>> mean.shape, net.decode(mean).shape
        (torch.Size([2, 4, 8, 8]), torch.Size([2, 3, 32, 32]))
    """

    shift: Tensor
    scale: Tensor

    def __init__(self, config: VAEConfig) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("shift", torch.zeros(config.latent_channels, 1, 1, device="cpu"))
        self.register_buffer("scale", torch.ones(config.latent_channels, 1, 1, device="cpu"))
        levels = int(math.log2(config.shrink))
        widths = [config.width * (2 if level == levels - 1 and levels > 1 else 1) for level in range(levels)]

        down: list[nn.Module] = []
        c = config.channels
        for width in widths:
            down += [nn.PixelUnshuffle(2), nn.Conv2d(4 * c, width, 3, padding=1)]
            down += [Residual(width) for _ in range(config.blocks)]
            c = width
        down += [nn.GroupNorm(8, c), nn.SiLU(), nn.Conv2d(c, 2 * config.latent_channels, 1)]
        self.encoder = nn.Sequential(*down)

        up: list[nn.Module] = [nn.Conv2d(config.latent_channels, c, 3, padding=1)]
        for width, goal in zip(widths[::-1], [*widths[-2::-1], config.channels], strict=True):
            up += [Residual(width) for _ in range(config.blocks)]
            up += [nn.GroupNorm(8, width), nn.SiLU(), nn.Conv2d(width, 4 * goal, 3, padding=1), nn.PixelShuffle(2)]
        self.decoder = nn.Sequential(*up)

    def encode(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-variance of the latents.

        Args:
            images: shape (B, channels, size, size).

        Returns:
            Two tensors of shape (B, latent_channels, size / shrink, size / shrink); the log-variance is cut to
            [-20, 10], where its exponential is harmless.

        Raises:
            ValueError: images have another shape than the config says.
        """
        batch_of((self.config.channels, self.config.size, self.config.size), images=images)
        mean, log_variance = self.encoder(images).chunk(2, dim=1)
        return mean, log_variance.clamp(-20, 10)

    def decode(self, latents: Tensor) -> Tensor:
        """Images for latents, shape (B, channels, size, size); not cut to any range.

        Raises:
            ValueError: latents have another shape than the config says.
        """
        batch_of(self.config.latent_shape, latents=latents)
        return self.decoder(latents)

    def forward(self, images: Tensor, noise: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Encode, draw z = mean + exp(log_variance / 2) noise, decode.

        Args:
            images: shape (B, channels, size, size).
            noise: standard normal, of the latents' shape.

        Returns:
            The decoded images, the mean and the log-variance.
        """
        mean, log_variance = self.encode(images)
        return self.decode(mean + (log_variance / 2).exp() * noise), mean, log_variance

    @torch.no_grad()
    def standardise(self, images: Tensor) -> None:
        """Set shift and scale so that the latents of these images have mean 0 and variance 1 in every channel.

        The variance is that of z, so it includes the error bars: Var[mean] + E[exp(log_variance)].
        """
        mean, log_variance = self.encode(images)
        self.shift = mean.mean((0, 2, 3))[:, None, None]
        self.scale = (mean.var((0, 2, 3)) + log_variance.exp().mean((0, 2, 3))).sqrt()[:, None, None]

    def to_latents(self, images: Tensor, noise: Tensor | float = 0.0) -> Tensor:
        """Standardised latents (z - shift) / scale; without noise those of the mean.

        A diffusion model that knows nothing of them then meets data of the size that its path was made for.

        Args:
            images: shape (B, channels, size, size).
            noise: standard normal, of the latents' shape, or 0.

        Reference: Rombach et al. 2022, appendix G (there one factor for all channels). Taught in: chapter 17.
        """
        mean, log_variance = self.encode(images)
        return (mean + (log_variance / 2).exp() * noise - self.shift) / self.scale

    def from_latents(self, latents: Tensor) -> Tensor:
        """Images of standardised latents."""
        return self.decode(latents * self.scale + self.shift)

r"""emoji-vae: 32x32 colour pictures as 8x8x4 latents and back. Trains in about ten minutes on two cores.

    loss = mean over pixels of (x - x_hat)^2  +  KL_WEIGHT KL( q(z | x) || N(0, I) ) / number of pixel values.

That is the negative ELBO, times a constant, of a decoder with Gaussian pixels of variance KL_WEIGHT / 2. Taught in:
chapter 17.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from diffedu._tensor import randn, weights_from
from diffedu.core import gaussian_kl
from diffedu.data.emoji import emoji
from diffedu.evaluate.metrics import psnr
from diffedu.nn import VAE, VAEConfig
from diffedu.recipes._files import export, read, write_log
from diffedu.train import TrainConfig, TrainState, load_weights, train

NAME = "emoji-vae"
SUMMARY = "an autoencoder of emoji: 32 x 32 pixels to 8 x 8 x 4 latents and back"
NET = VAEConfig()
CONFIG = TrainConfig(steps=4000, batch=32, lr=2e-3, warmup=100, ema=0.998, seed=0)
KL_WEIGHT = 0.01


def mirrored(images: Tensor, generator: torch.Generator) -> Tensor:
    """Half of the images, chosen at random, left and right exchanged."""
    chosen = torch.rand(len(images), 1, 1, 1, generator=generator, device=images.device) < 0.5
    return torch.where(chosen, images.flip(3), images)


def _kl(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL of the latents' law to N(0, I), nats a picture."""
    return gaussian_kl(mean, log_variance.exp(), torch.zeros_like(mean), torch.ones_like(mean))


def varied(images: Tensor, generator: torch.Generator) -> Tensor:
    """Half of the images mirrored, and half of them with their colour channels exchanged.

    1,711 pictures are few. What an autoencoder has to know, edges and areas of one colour, is the same in these.
    """
    images, n, device = mirrored(images, generator), len(images), images.device
    order = torch.rand(n, 3, generator=generator, device=device).argsort(1)
    keep = torch.rand(n, 1, generator=generator, device=device) < 0.5
    order = torch.where(keep, torch.arange(3, device=device), order)
    return images.gather(1, order[:, :, None, None].expand_as(images))


def loss(net: nn.Module, batch: tuple[Tensor, ...], generator: torch.Generator, kl_weight: float = KL_WEIGHT) -> Tensor:
    """Squared error a pixel value plus the weighted KL term, for a batch (images,); shape (B,)."""
    assert isinstance(net, VAE)
    images = varied(batch[0], generator).contiguous(memory_format=torch.channels_last)
    decoded, mean, log_variance = net(images, randn((len(images), *net.config.latent_shape), generator))
    error = (decoded - images).square().flatten(1).mean(1)
    return error + kl_weight * _kl(mean, log_variance) / images[0].numel()


def build(device: torch.device | str = "cpu", seed: int = 0, config: VAEConfig = NET) -> VAE:
    """The untrained network; equal weights on every device."""
    with weights_from(seed):
        net = VAE(config).to(device)
    return net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def load(folder: Path | None = None, device: torch.device | str = "cpu") -> VAE:
    """The trained autoencoder, in evaluation mode: the shipped one, or one trained into a folder."""
    tensors, description = read(NAME, folder, device)
    net = build(device, config=VAEConfig(**description["net"]))
    load_weights(net, tensors)
    return net.eval()


@torch.no_grad()
def evaluate(net: VAE) -> dict[str, float]:
    """Mean PSNR of held-out and of training pictures through the means, and nats of KL a picture."""
    device = net.shift.device
    held_out, seen = (emoji(split, device=device).images for split in ("test", "train"))
    mean, log_variance = net.encode(held_out)
    return {
        "PSNR of 200 held-out pictures, dB": round(psnr(net.decode(mean).clamp(-1, 1), held_out).mean().item(), 2),
        "PSNR of 200 training pictures, dB": round(
            psnr(net.decode(net.encode(seen[:200])[0]).clamp(-1, 1), seen[:200]).mean().item(), 2
        ),
        "KL, nats a held-out picture": round(_kl(mean, log_variance).mean().item(), 1),
    }


def run(
    folder: Path, *, device: torch.device | str = "cpu", config: TrainConfig = CONFIG, net: VAEConfig = NET
) -> dict[str, Any]:
    """Train, measure, export to `folder`/emoji-vae.safetensors, return the log."""
    state = TrainState(build(device, config=net), config)
    images = emoji("train", device=device).images
    for _ in tqdm(train(state, loss, (images,)), total=config.steps, desc=NAME):
        pass
    trained = state.ema.net
    assert isinstance(trained, VAE)
    trained.eval().standardise(images)
    log = {
        "recipe": NAME,
        "command": f"diffedu train {NAME}",
        "parameters": sum(p.numel() for p in trained.parameters()),
        "steps": config.steps,
        "batch": config.batch,
        "KL weight": KL_WEIGHT,
        **evaluate(trained),
    }
    export(folder / f"{NAME}.safetensors", trained.state_dict(), {"recipe": NAME, "net": net.to_json()}, half=True)
    write_log(folder / f"{NAME}.json", log)
    return log

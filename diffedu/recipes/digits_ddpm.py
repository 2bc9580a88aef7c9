r"""digits-ddpm: a class-conditional DDPM of handwritten digits; cosine betas, T = 1000.

The network returns v = alpha eps - sigma x0, and is paid for the squared error of it, which is the error of the noise
plus that of the picture:

    |v_hat - v|^2 = |eps_hat - eps|^2 + |x0_hat - x0|^2,
    eps_hat = sigma x_t + alpha v_hat,    x0_hat = alpha x_t - sigma v_hat.

L_simple is the first term alone. It hardly sees the picture where noise is strong, and there it is decided which digit
it will be. Taught in: chapter 14.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from diffedu._tensor import weights_from
from diffedu.core import (
    Clipped,
    Denoiser,
    DenoisingLoss,
    DiscreteDDPM,
    NetworkDenoiser,
    V,
    cosine_betas,
    trailing_times,
)
from diffedu.data.digits import digits
from diffedu.guidance import drop_labels, guided
from diffedu.nn import UNet, UNetConfig
from diffedu.recipes import digits_report
from diffedu.recipes._files import read
from diffedu.recipes._run import draw_in_chunks, measured_run
from diffedu.sampling import Ancestral
from diffedu.train import TrainConfig, TrainState, load_weights

NAME = "digits-ddpm"
SUMMARY = "a class-conditional DDPM of handwritten digits (U-Net, v prediction)"
PATH = DiscreteDDPM(cosine_betas(1000))
NET = UNetConfig(t_max=PATH.t_max)
CONFIG = TrainConfig(steps=10_500, batch=64, lr=1e-3, warmup=300, ema=0.9995, seed=0)
NO_LABEL = 0.1  # share of training examples whose label is hidden: the same network then also models all digits at once
PAPER = -1.1  # where the network sees white paper: see `encode`
STEPS = 25  # of the sampler, in reports
GUIDANCE = 1.1  # for the second of the last two reports

_loss = DenoisingLoss(PATH, V)


def encode(images: Tensor) -> Tensor:
    """Pixels in [-1, 1] as the network sees them: white paper, exactly -1, becomes `PAPER`.

    Four pixels in five are paper. A network that misses it by half a grey level leaves a trace: invisible, but in
    every picture. With this margin `decode` cuts such an error off. Nothing is lost: decode(encode(images)) == images.

    Example:
        >>> encode(torch.tensor([-1.0, -0.99, 1.0]))
        tensor([-1.1000, -0.9900,  1.0000])
    """
    return torch.where(images <= -1, PAPER, images)


def decode(images: Tensor) -> Tensor:
    """What the network makes as pixels in [-1, 1]."""
    return images.clamp(-1, 1)


def loss(net: nn.Module, batch: tuple[Tensor, ...], generator: torch.Generator) -> Tensor:
    """Squared error of v for a batch (images, labels), a mean over pixels, with some labels hidden; shape (B,)."""
    images, labels = batch
    assert isinstance(net, UNet)
    return _loss(net.given(drop_labels(labels, net.config.classes, NO_LABEL, generator)), encode(images), generator)


def build(device: torch.device | str = "cpu", seed: int = 0, config: UNetConfig = NET) -> UNet:
    """The untrained network; equal weights on every device."""
    with weights_from(seed):
        net = UNet(config).to(device)
    return net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def denoiser(net: UNet, label: Tensor | int | None = None, *, guidance_scale: float = 1.0) -> Denoiser:
    """The network as a denoiser of encoded digits of a class (or of any), its answers cut to their range.

    Args:
        net: a trained network.
        label: shape (B,), a whole number, or None for any digit.
        guidance_scale: 1 asks the network once; any other value asks it twice, with the label and without.
    """
    return Clipped(guided(NetworkDenoiser(net, PATH, V), label, guidance_scale), low=PAPER)


def load(folder: Path | None = None, device: torch.device | str = "cpu") -> UNet:
    """The trained network, in evaluation mode: the shipped one, or one trained into a folder."""
    tensors, description = read(NAME, folder, device)
    net = build(device, config=UNetConfig(**description["net"]))
    load_weights(net, tensors)
    return net.eval()


def draw(
    net: UNet, labels: Tensor, *, seed: int = 0, steps: int = STEPS, guidance_scale: float = 1.0, chunk: int = 250
) -> Tensor:
    """One digit for each label, by ancestral sampling.

    Args:
        net: a trained network.
        labels: shape (N,), whole numbers; `net.config.classes` for any digit.
        seed: of all noise.
        steps: of the sampler; one network evaluation each, two with guidance.
        guidance_scale: see `denoiser`.
        chunk: digits made at a time.

    Returns:
        Shape (N, 1, 28, 28), in [-1, 1].
    """
    return decode(
        draw_in_chunks(
            partial(denoiser, net, guidance_scale=guidance_scale),
            Ancestral(),
            trailing_times(PATH, steps, device=labels.device),
            labels,
            (1, net.config.size, net.config.size),
            seed=seed,
            chunk=chunk,
        )
    )


def evaluate(
    net: UNet,
    *,
    count: int = digits_report.COUNT,
    seed: int = 1,
    guidance_scale: float = 1.0,
    folder: Path | None = None,
) -> dict[str, Any]:
    """Figures of `count` generated digits, the classes in equal number, each figure beside its floor."""
    draws = partial(draw, net, seed=seed, guidance_scale=guidance_scale)
    return digits_report.figures(
        draws, next(net.parameters()).device, count=count, classes=net.config.classes, folder=folder
    )


def run(
    folder: Path,
    *,
    device: torch.device | str = "cpu",
    config: TrainConfig = CONFIG,
    net: UNetConfig = NET,
    count: int = digits_report.COUNT,
    save_every: int = 500,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, Any]:
    """Train, measure at the marks, export; goes on from where a killed run stopped.

    Args:
        folder: gets digits-ddpm.safetensors, its log digits-ddpm.json and, until the end, the state to resume from.
        device: where to train.
        config: how.
        net: what.
        count: digits generated for each report.
        save_every: steps between saves of the state.
        clock: seconds; time spent measuring is not counted.

    Returns:
        The log.
    """
    torch.manual_seed(config.seed)  # dropout, where there is any, draws from torch's global generator

    def measure(trained: nn.Module, end: bool) -> Iterator[dict[str, Any]]:
        assert isinstance(trained, UNet)
        for scale in (1.0, GUIDANCE) if end else (1.0,):
            yield {"guidance_scale": scale, **evaluate(trained, count=count, guidance_scale=scale)}

    return measured_run(
        NAME,
        folder,
        TrainState(build(device, config=net), config),
        loss,
        tuple(digits("train", device=device)),
        measure=measure,
        description={"net": net.to_json()},
        facts={"sampler": "Ancestral", "steps per sample": STEPS, "samples": count},
        save_every=save_every,
        clock=clock,
    )

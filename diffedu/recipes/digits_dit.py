r"""digits-dit: a class-conditional rectified flow of handwritten digits with a transformer.

    x_t = (1 - t) x0 + t eps,     the network returns the velocity eps - x0,     t logit-normal.

Stable Diffusion 3 in miniature: its path, its loss, its times, and the ancestor of its network. Taught in: chapter 18.
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
    VELOCITY,
    Denoiser,
    DenoisingLoss,
    LogitNormal,
    NetworkDenoiser,
    RectifiedFlow,
    uniform_times,
)
from diffedu.data.digits import digits
from diffedu.guidance import drop_labels, guided
from diffedu.nn import DiT, DiTConfig
from diffedu.recipes import digits_report
from diffedu.recipes._files import read
from diffedu.recipes._run import draw_in_chunks, measured_run
from diffedu.recipes.digits_ddpm import decode, encode
from diffedu.sampling import Heun
from diffedu.train import TrainConfig, TrainState, load_weights

NAME = "digits-dit"
SUMMARY = "a rectified flow of handwritten digits (diffusion transformer, velocity prediction)"
PATH = RectifiedFlow()
NET = DiTConfig(t_max=PATH.t_max)
CONFIG = TrainConfig(steps=14_000, batch=64, lr=1e-3, warmup=300, ema=0.9995, seed=0)
NO_LABEL = 0.1  # share of training examples whose label is hidden
STEPS = 10  # of Heun's method in reports: 20 evaluations

_loss = DenoisingLoss(PATH, VELOCITY, LogitNormal())


def loss(net: nn.Module, batch: tuple[Tensor, ...], generator: torch.Generator) -> Tensor:
    """Squared error of the velocity for a batch (images, labels), a mean over pixels, with some labels hidden."""
    images, labels = batch
    assert isinstance(net, DiT)
    return _loss(net.given(drop_labels(labels, net.config.classes, NO_LABEL, generator)), encode(images), generator)


def build(device: torch.device | str = "cpu", seed: int = 0, config: DiTConfig = NET) -> DiT:
    """The untrained network; equal weights on every device."""
    with weights_from(seed):
        return DiT(config).to(device)


def denoiser(net: DiT, label: Tensor | int | None = None, *, guidance_scale: float = 1.0) -> Denoiser:
    """The network as a denoiser of encoded digits of a class (or of any).

    Args:
        net: a trained network.
        label: shape (B,), a whole number, or None for any digit.
        guidance_scale: 1 asks the network once; any other value asks it twice, with the label and without.
    """
    return guided(NetworkDenoiser(net, PATH, VELOCITY), label, guidance_scale)


def load(folder: Path | None = None, device: torch.device | str = "cpu") -> DiT:
    """The trained network, in evaluation mode: the shipped one, or one trained into a folder."""
    tensors, description = read(NAME, folder, device)
    net = build(device, config=DiTConfig(**description["net"]))
    load_weights(net, tensors)
    return net.eval()


def draw(
    net: DiT, labels: Tensor, *, seed: int = 0, steps: int = STEPS, guidance_scale: float = 1.0, chunk: int = 250
) -> Tensor:
    """One digit for each label, by Heun's method.

    Args:
        net: a trained network.
        labels: shape (N,), whole numbers; `net.config.classes` for any digit.
        seed: of all noise.
        steps: of the sampler; two network evaluations each, but for the last: four with guidance.
        guidance_scale: see `denoiser`.
        chunk: digits made at a time.

    Returns:
        Shape (N, 1, 28, 28), in [-1, 1].
    """
    return decode(
        draw_in_chunks(
            partial(denoiser, net, guidance_scale=guidance_scale),
            Heun(),
            uniform_times(PATH, steps, end=0.0, device=labels.device),
            labels,
            (1, net.config.size, net.config.size),
            seed=seed,
            chunk=chunk,
        )
    )


def evaluate(
    net: DiT,
    *,
    count: int = digits_report.COUNT,
    seed: int = 1,
    guidance_scale: float = 1.0,
    folder: Path | None = None,
) -> dict[str, Any]:
    """Figures of `count` generated digits, the classes in equal number, each figure beside its floor."""
    draws = partial(draw, net, seed=seed, guidance_scale=guidance_scale)
    return digits_report.figures(draws, net.positions.device, count=count, classes=net.config.classes, folder=folder)


def run(
    folder: Path,
    *,
    device: torch.device | str = "cpu",
    config: TrainConfig = CONFIG,
    net: DiTConfig = NET,
    count: int = digits_report.COUNT,
    save_every: int = 500,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, Any]:
    """Train, measure at the marks, export; goes on from where a killed run stopped.

    Args:
        folder: gets digits-dit.safetensors, its log digits-dit.json and, until the end, the state to resume from.
        device: where to train.
        config: how.
        net: what.
        count: digits generated for each report.
        save_every: steps between saves of the state.
        clock: seconds; time spent measuring is not counted.

    Returns:
        The log.
    """

    def measure(trained: nn.Module, end: bool) -> Iterator[dict[str, Any]]:
        assert isinstance(trained, DiT)
        yield {"guidance_scale": 1.0, **evaluate(trained, count=count)}

    return measured_run(
        NAME,
        folder,
        TrainState(build(device, config=net), config),
        loss,
        tuple(digits("train", device=device)),
        measure=measure,
        description={"net": net.to_json()},
        facts={"sampler": "Heun", "steps per sample": STEPS, "samples": count},
        save_every=save_every,
        clock=clock,
    )

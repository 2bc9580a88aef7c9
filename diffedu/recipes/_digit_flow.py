"""What the rectified flows of digits share, whatever their network: the loss, drawing, and the figures."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

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
from diffedu.nn import DiT, UNet
from diffedu.recipes import digits_report
from diffedu.recipes._run import draw_in_chunks, measured_run
from diffedu.recipes.digits_ddpm import decode, encode
from diffedu.sampling import Heun, Solver
from diffedu.train import TrainConfig, TrainState

PATH = RectifiedFlow()
NO_LABEL = 0.1  # share of training examples whose label is hidden
STEPS = 10  # of Heun's method in reports: 20 evaluations

_loss = DenoisingLoss(PATH, VELOCITY, LogitNormal())


def loss(net: nn.Module, batch: tuple[Tensor, ...], generator: torch.Generator) -> Tensor:
    """Squared error of the velocity for a batch (images, labels), a mean over pixels, with some labels hidden."""
    images, labels = batch
    assert isinstance(net, DiT | UNet)
    return _loss(net.given(drop_labels(labels, net.config.classes, NO_LABEL, generator)), encode(images), generator)


def denoiser(net: DiT | UNet, label: Tensor | int | None = None, *, guidance_scale: float = 1.0) -> Denoiser:
    """The network as a denoiser of encoded digits of a class (or of any).

    Args:
        net: a trained network.
        label: shape (B,), a whole number, or None for any digit.
        guidance_scale: 1 asks the network once; any other value asks it twice, with the label and without.
    """
    return guided(NetworkDenoiser(net, PATH, VELOCITY), label, guidance_scale)


def draw(
    net: DiT | UNet,
    labels: Tensor,
    *,
    seed: int = 0,
    steps: int = STEPS,
    guidance_scale: float = 1.0,
    solver: Solver[Any] | None = None,
    chunk: int = 250,
) -> Tensor:
    """One digit for each label, by Heun's method unless another solver is given.

    Args:
        net: a trained network.
        labels: shape (N,), whole numbers; `net.config.classes` for any digit.
        seed: of all noise.
        steps: of the sampler, equal in time; Heun's method asks the network twice in each, guidance doubles that.
        guidance_scale: see `denoiser`.
        solver: how to step.
        chunk: digits made at a time.

    Returns:
        Shape (N, 1, 28, 28), in [-1, 1].
    """
    return decode(
        draw_in_chunks(
            partial(denoiser, net, guidance_scale=guidance_scale),
            solver or Heun(),
            uniform_times(PATH, steps, end=0.0, device=labels.device),
            labels,
            (1, net.config.size, net.config.size),
            seed=seed,
            chunk=chunk,
        )
    )


def evaluate(
    net: DiT | UNet,
    *,
    count: int = digits_report.COUNT,
    seed: int = 1,
    guidance_scale: float = 1.0,
    folder: Path | None = None,
) -> dict[str, Any]:
    """Figures of `count` generated digits, the classes in equal number, each figure beside its floor."""
    draws = partial(draw, net, seed=seed, guidance_scale=guidance_scale)
    device = next(net.parameters()).device
    return digits_report.figures(draws, device, count=count, classes=net.config.classes, folder=folder)


def run(
    name: str,
    folder: Path,
    net: DiT | UNet,
    config: TrainConfig,
    *,
    count: int = digits_report.COUNT,
    save_every: int = 500,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, Any]:
    """Train, measure at the marks, export; goes on from where a killed run stopped.

    Args:
        name: of the recipe.
        folder: gets NAME.safetensors, its log NAME.json and, until the end, the state to resume from.
        net: untrained, on the device to train on.
        config: how.
        count: digits generated for each report.
        save_every: steps between saves of the state.
        clock: seconds; time spent measuring is not counted.

    Returns:
        The log.
    """
    torch.manual_seed(config.seed)  # dropout, where there is any, draws from torch's global generator

    def measure(trained: nn.Module, end: bool) -> Iterator[dict[str, Any]]:
        assert isinstance(trained, DiT | UNet)
        yield {"guidance_scale": 1.0, **evaluate(trained, count=count)}

    return measured_run(
        name,
        folder,
        TrainState(net, config),
        loss,
        tuple(digits("train", device=next(net.parameters()).device)),
        measure=measure,
        description={"net": net.config.to_json()},
        facts={"sampler": "Heun", "steps per sample": STEPS, "samples": count},
        save_every=save_every,
        clock=clock,
    )

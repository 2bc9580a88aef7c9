r"""digits-onestep: digits-reflow, then trained at t = 1 alone: one evaluation a digit.

    x0_hat = x1 - v(x1, 1),     loss |x1 - x0 - v(x1, 1)|^2 = |x0_hat - x0|^2     over the teacher's pairs (x0, x1).

A flow cannot be learnt from one time: with independent pairs the answer would be the mean digit. With the teacher's
pairs each x1 has one x0, and the whole network is spent on that map. It is no flow any more. Taught in: chapter 18.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from diffedu.core import GaussianPath
from diffedu.flow import FlowMatchingLoss
from diffedu.nn import UNet, UNetConfig
from diffedu.recipes import digits_flow, digits_reflow, digits_report
from diffedu.recipes._digit_flow import PATH
from diffedu.recipes._files import read
from diffedu.recipes._run import measured_run
from diffedu.recipes.digits_reflow import draw, pairs
from diffedu.train import TrainConfig, TrainState, load_weights

NAME = "digits-onestep"
SUMMARY = "digits-reflow distilled: one evaluation a digit"
CONFIG = TrainConfig(steps=3_000, batch=64, lr=5e-4, warmup=100, ema=0.999, seed=0)
PAIRS = 24_000


def the_end(path: GaussianPath, n: int, generator: torch.Generator) -> Tensor:
    """Times for training: t_max, n times."""
    return torch.full((n,), path.t_max, device=generator.device)


_loss = FlowMatchingLoss(PATH, the_end)


def loss(net: nn.Module, batch: tuple[Tensor, ...], generator: torch.Generator) -> Tensor:
    """Squared error of the one-step answer; a batch is (x0, x1, labels)."""
    x0, x1, labels = batch
    assert isinstance(net, UNet)
    return _loss(net.given(labels), x0, x1, generator)


def load(folder: Path | None = None, device: torch.device | str = "cpu") -> UNet:
    """The trained network, in evaluation mode: the shipped one, or one trained into a folder."""
    tensors, description = read(NAME, folder, device)
    net = digits_flow.build(device, config=UNetConfig(**description["net"]))
    load_weights(net, tensors)
    return net.eval()


def run(
    folder: Path,
    *,
    device: torch.device | str = "cpu",
    config: TrainConfig = CONFIG,
    teacher: UNet | None = None,
    student: UNet | None = None,
    count: int = digits_report.COUNT,
    pair_count: int = PAIRS,
    save_every: int = 500,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, Any]:
    """Make the pairs, train, measure, export; goes on from where a killed run stopped, after making the pairs again.

    Args:
        folder: gets digits-onestep.safetensors, its log and, until the end, the state to resume from.
        device: where to train.
        config: how.
        teacher: a network of digits-flow, on the device; the shipped one by default.
        student: where to start, on the device; the shipped network of digits-reflow by default. Its weights are copied.
        count: digits generated for the report.
        pair_count: trajectories of the teacher, none of them seen by digits-reflow.
        save_every: steps between saves of the state.
        clock: seconds; time spent on pairs and on measuring is not counted.

    Returns:
        The log.
    """
    teacher = teacher or digits_flow.load(device=device)
    student = student or digits_reflow.load(device=device)
    net = digits_flow.build(device, config=student.config)
    net.load_state_dict(student.state_dict())

    def measure(trained: nn.Module, end: bool) -> Iterator[dict[str, Any]]:
        assert isinstance(trained, UNet)
        on = next(trained.parameters()).device
        yield {
            "sampling steps": 1,
            **digits_report.figures(partial(draw, trained, seed=1), on, count=count, classes=10),
        }

    return measured_run(
        NAME,
        folder,
        TrainState(net, config),
        loss,
        pairs(teacher, pair_count, seed=config.seed + 2),
        measure=measure,
        description={"net": student.config.to_json()},
        facts={"sampler": "Euler", "samples": count, "pairs": pair_count, "teacher": digits_flow.NAME},
        save_every=save_every,
        clock=clock,
    )


__all__ = ["CONFIG", "NAME", "PAIRS", "SUMMARY", "draw", "load", "loss", "run"]

r"""digits-flow: a class-conditional rectified flow of handwritten digits with the U-Net of digits-ddpm.

    x_t = (1 - t) x0 + t eps,     the network returns the velocity eps - x0,     t logit-normal.

The same pictures, network and budget as digits-ddpm; only the path, the target and the times differ. Taught in:
chapter 18.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from diffedu._tensor import weights_from
from diffedu.nn import UNet, UNetConfig
from diffedu.recipes import _digit_flow, digits_report
from diffedu.recipes._digit_flow import PATH, STEPS, denoiser, draw, evaluate, loss
from diffedu.recipes._files import read
from diffedu.train import TrainConfig, load_weights

NAME = "digits-flow"
SUMMARY = "a rectified flow of handwritten digits (U-Net, velocity prediction)"
NET = UNetConfig(t_max=PATH.t_max)
CONFIG = TrainConfig(steps=10_500, batch=64, lr=1e-3, warmup=300, ema=0.9995, seed=0)


def build(device: torch.device | str = "cpu", seed: int = 0, config: UNetConfig = NET) -> UNet:
    """The untrained network; equal weights on every device."""
    with weights_from(seed):
        net = UNet(config).to(device)
    return net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def load(folder: Path | None = None, device: torch.device | str = "cpu") -> UNet:
    """The trained network, in evaluation mode: the shipped one, or one trained into a folder."""
    tensors, description = read(NAME, folder, device)
    net = build(device, config=UNetConfig(**description["net"]))
    load_weights(net, tensors)
    return net.eval()


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
    """Train, measure, export; see `_digit_flow.run`."""
    return _digit_flow.run(
        NAME, folder, build(device, config=net), config, count=count, save_every=save_every, clock=clock
    )


__all__ = [
    "CONFIG",
    "NAME",
    "NET",
    "PATH",
    "STEPS",
    "SUMMARY",
    "build",
    "denoiser",
    "draw",
    "evaluate",
    "load",
    "loss",
    "run",
]

r"""digits-scaling: four sizes of the transformer, four lengths of training; a table of losses against computation.

Each run is complete: its learning rate falls to zero at its own end. The loss is that of training, the squared error of
the velocity at logit-normal times, on held-out digits and with noise that is the same for every run. Taught in:
chapter 18.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode
from tqdm.auto import tqdm

from diffedu._tensor import randn, seeded
from diffedu.core import VELOCITY
from diffedu.data.digits import digits
from diffedu.nn import DiT, DiTConfig
from diffedu.recipes import digits_dit
from diffedu.recipes._digit_flow import PATH, loss
from diffedu.recipes._files import shipped_log, write_log
from diffedu.recipes.digits_ddpm import encode
from diffedu.train import TrainConfig, TrainState, train

NAME = "digits-scaling"
SUMMARY = "a table: the loss of four sizes of the digit transformer against the computation spent"
SIZES = tuple(
    DiTConfig(width=width, depth=depth, t_max=PATH.t_max) for width, depth in ((32, 2), (64, 3), (96, 4), (144, 6))
)
LENGTHS = (500, 1000, 2000, 4000)
CONFIG = TrainConfig(steps=LENGTHS[-1], batch=64, lr=1e-3, warmup=100, ema=0.995, seed=0)
LEVELS = 10  # times at which the loss is measured: the middles of ten equal shares of the logit-normal law


def evaluation_flop(config: DiTConfig) -> int:
    """Operations of one evaluation of one picture, two for each multiplication and addition, counted by torch."""
    net, image = DiT(config), torch.zeros(1, config.channels, config.size, config.size)
    # torch does not count inside its fused attention on the CPU: the plain one has the same products
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        net(image, torch.zeros(1))
    return int(counter.get_total_flops())


def levels(device: torch.device | str) -> Tensor:
    """The times of the measurement, shape (LEVELS,)."""
    middle = (torch.arange(LEVELS, device=device) + 0.5) / LEVELS
    return torch.sigmoid(torch.special.ndtri(middle))


@torch.no_grad()
def held_out_loss(net: DiT) -> float:
    """Squared error of the velocity on 1,000 held-out digits at each of the `levels`, labels told."""
    device = next(net.parameters()).device
    images, labels = digits("test", device=device)
    x0, total = encode(images), 0.0
    for k, t in enumerate(levels(device)):
        eps, c = randn(x0.shape, seeded(1000 + k, device)), PATH(t)
        answer = net(c.alpha * x0 + c.sigma * eps, t.expand(len(x0)), labels)
        total += (answer - VELOCITY.target(x0, eps, c)).square().mean().item()
    return total / LEVELS


def load() -> dict[str, Any]:
    """The shipped table: a dict with "rows", one for each size and length."""
    return shipped_log(NAME)


def run(
    folder: Path,
    *,
    device: torch.device | str = "cpu",
    config: TrainConfig = CONFIG,
    sizes: Sequence[DiTConfig] = SIZES,
    lengths: Sequence[int] = LENGTHS,
) -> dict[str, Any]:
    """Train every size for every length, write `folder`/digits-scaling.json, return the table.

    Args:
        folder: gets the table.
        device: where to train.
        config: how; its steps are replaced by each length.
        sizes: networks.
        lengths: steps of training.
    """
    data, rows = tuple(digits("train", device=device)), []
    for size in sizes:
        for steps in lengths:
            state = TrainState(digits_dit.build(device, config=size), replace(config, steps=steps))
            for _ in tqdm(train(state, loss, data), total=steps, desc=f"width {size.width}, {steps} steps"):
                pass
            assert isinstance(state.ema.net, DiT)
            rows.append(
                {
                    "width": size.width,
                    "depth": size.depth,
                    "parameters": sum(p.numel() for p in state.net.parameters()),
                    "steps": steps,
                    "TFLOP": round(3 * evaluation_flop(size) * config.batch * steps / 1e12, 2),  # backward costs two
                    "held-out loss": round(held_out_loss(state.ema.net.eval()), 5),
                }
            )
    log = {"recipe": NAME, "command": f"diffedu train {NAME}", "batch": config.batch, "rows": rows}
    write_log(folder / f"{NAME}.json", log)
    return log

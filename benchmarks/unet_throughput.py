"""The book's digit network beside diffusers' UNet2DModel of as many parameters: the promise is three times its speed.

python benchmarks/unet_throughput.py [--write]

Both are run in turn, in one process, on the same batch: a training step (forward, backward, AdamW) of 64 digits, and
one evaluation of 250 digits as a sampler asks for. Reported are images a second and the median of the paired ratios,
with the machine's matrix-product rate beside, since machines differ.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import torch
from machine import gemm_rate
from torch import Tensor, nn

from diffedu.recipes import digits_ddpm

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from diffusers import UNet2DModel

ROUNDS = 12


def peer() -> nn.Module:
    """Two levels, attention at the lower one, one block each, as the book's network; widths chosen for its size."""
    return UNet2DModel(
        sample_size=28,
        in_channels=1,
        out_channels=1,
        layers_per_block=1,
        block_out_channels=(40, 80),
        down_block_types=("DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D"),
        norm_num_groups=8,
        num_class_embeds=11,
    ).to(memory_format=torch.channels_last)


def step(net: nn.Module, call: Callable[[Tensor, Tensor, Tensor], Tensor], batch: int) -> Callable[[], None]:
    """A training step on fixed noise."""
    optimiser = torch.optim.AdamW(net.parameters(), lr=1e-4)
    x, t, label = inputs(batch)

    def run() -> None:
        loss = (call(x, t, label) - x).square().mean()
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()

    return run


def evaluation(call: Callable[[Tensor, Tensor, Tensor], Tensor], batch: int) -> Callable[[], None]:
    x, t, label = inputs(batch)

    @torch.no_grad()
    def run() -> None:
        call(x, t, label)

    return run


def inputs(batch: int) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator(device="cpu").manual_seed(0)
    x = torch.randn(batch, 1, 28, 28, generator=generator, device="cpu")
    return x, torch.full((batch,), 500.0, device="cpu"), torch.zeros(batch, dtype=torch.long, device="cpu")


def seconds(run: Callable[[], None]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def main() -> None:
    torch.manual_seed(0)
    ours, theirs = digits_ddpm.build(), peer()
    calls = {"diffedu": ours, "diffusers": lambda x, t, label: theirs(x, t, label).sample}
    nets = {"diffedu": ours, "diffusers": theirs}
    result: dict[str, object] = {
        "threads": torch.get_num_threads(),
        "GEMM GFLOP/s": round(gemm_rate(), 1),
        "parameters": {name: sum(p.numel() for p in net.parameters()) for name, net in nets.items()},
    }
    for what, batch, make in (
        ("training step of 64", 64, lambda name: step(nets[name], calls[name], 64)),
        ("evaluation of 250", 250, lambda name: evaluation(calls[name], 250)),
    ):
        runs = {name: make(name) for name in nets}
        times: dict[str, list[float]] = {name: [] for name in nets}
        for k in range(ROUNDS + 2):
            for name, run in runs.items():
                taken = seconds(run)
                if k >= 2:  # the first two warm up
                    times[name].append(taken)
        ratios = [b / a for a, b in zip(times["diffedu"], times["diffusers"], strict=True)]
        result[what] = {
            **{f"{name}, images/s": round(batch / statistics.median(t), 1) for name, t in times.items()},
            "median ratio": round(statistics.median(ratios), 2),
            "least ratio": round(min(ratios), 2),
        }
    text = json.dumps(result, indent=1)
    print(text)
    if "--write" in sys.argv[1:]:
        Path(__file__).with_suffix(".json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

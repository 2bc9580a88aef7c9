"""What a measured time is to be read beside: how fast this machine multiplies matrices."""

from __future__ import annotations

import time

import torch


def gemm_rate() -> float:
    """Best of five 1024^3 matrix products, in GFLOP/s."""
    a = torch.randn(1024, 1024, generator=torch.Generator(device="cpu").manual_seed(0), device="cpu")
    best = float("inf")
    for _ in range(5):
        start = time.perf_counter()
        a @ a
        best = min(best, time.perf_counter() - start)
    return 2 * 1024**3 / best / 1e9

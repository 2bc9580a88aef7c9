"""Finds code that only works where everything lives on the CPU, on a machine that has nothing but a CPU.

While the guard is active, every tensor made by a line of diffedu must name its device, and every random
number must come from a generator that is passed in and lives where the numbers are wanted. Tensors made
inside torch (a layer's weights, say) are torch's own business.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

PACKAGE = str(Path(__file__).resolve().parents[1] / "diffedu")
FACTORIES = {
    getattr(torch, name)
    for name in [
        "arange",
        "as_tensor",
        "empty",
        "empty_permuted",
        "empty_strided",
        "eye",
        "full",
        "hann_window",
        "linspace",
        "logspace",
        "ones",
        "rand",
        "randint",
        "randn",
        "randperm",
        "scalar_tensor",
        "sparse_coo_tensor",
        "tensor",
        "tril_indices",
        "triu_indices",
        "zeros",
    ]
}
RANDOM = {
    torch.rand,
    torch.randint,
    torch.randn,
    torch.randperm,
    torch.normal,
    torch.multinomial,
    torch.bernoulli,
    torch.poisson,
}
RANDOM |= {torch.rand_like, torch.randn_like, torch.randint_like}
RANDOM |= {
    getattr(torch.Tensor, name)
    for name in ("normal_", "uniform_", "random_", "bernoulli_", "exponential_", "multinomial")
}


class DeviceGuard(TorchFunctionMode):
    """Raises AssertionError at the first offending line.

    Args:
        folder: code under this folder is watched.
    """

    def __init__(self, folder: str = PACKAGE) -> None:
        super().__init__()
        self.folder = folder
        self.watched = 0  # factory and random calls that were seen and passed

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in FACTORIES or func in RANDOM:
            caller = sys._getframe(1)
            if caller.f_code.co_filename.startswith(self.folder):
                self.check(func, args, kwargs, f"{caller.f_code.co_filename}:{caller.f_lineno}")
                self.watched += 1
        return func(*args, **kwargs)

    def check(self, func: Any, args: Any, kwargs: Any, where: str) -> None:
        name, device = func.__name__, kwargs.get("device")
        if func in FACTORIES:
            assert device is not None, f"{where}: torch.{name} without device="
        if func not in RANDOM:
            return
        generator = kwargs.get("generator")
        wanted = torch.device(device) if device is not None else args[0].device
        if wanted.type == "meta":  # draws nothing
            return
        assert generator is not None, f"{where}: torch.{name} without generator="
        assert generator.device.type == wanted.type, (
            f"{where}: torch.{name} on {wanted} with a generator on {generator.device}"
        )

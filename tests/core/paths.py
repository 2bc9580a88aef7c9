"""The paths that tests run over, and times inside each of them."""

from __future__ import annotations

import torch
from torch import Tensor

from diffedu.core import (
    EDM,
    VE,
    VP,
    Cosine,
    DiscreteDDPM,
    GaussianPath,
    RectifiedFlow,
    SubVP,
    cosine_betas,
    linear_betas,
)

PATHS: dict[str, GaussianPath] = {
    "VP": VP(),
    "VP steep": VP(0.5, 12.0),
    "SubVP": SubVP(),
    "VE": VE(),
    "EDM": EDM(),
    "Cosine": Cosine(),
    "RectifiedFlow": RectifiedFlow(),
    "DDPM linear": DiscreteDDPM(linear_betas(1000)),
    "DDPM cosine": DiscreteDDPM(cosine_betas(50)),
}
VARIANCE_PRESERVING = ("VP", "VP steep", "Cosine", "DDPM linear", "DDPM cosine")


def inside(path: GaussianPath, n: int = 37, low: float = 0.013, high: float = 0.987) -> Tensor:
    """n times strictly inside the path and, on discrete paths, strictly between whole numbers; float64."""
    return path.t_max * torch.linspace(low, high, n, dtype=torch.float64, device="cpu")

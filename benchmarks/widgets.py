"""How long the widgets of the book take to redraw: medians of processor time, one thread. Writes widgets.json.

OMP_NUM_THREADS=1 python benchmarks/widgets.py
"""

from __future__ import annotations

import json
import statistics
import time
from pathlib import Path
from typing import Any

import torch

from diffedu import DiscreteDDPM, GaussianMixture, linear_betas
from diffedu.show.widgets.ddim import DDIMPaths
from diffedu.show.widgets.fokker_planck import DensityAndCloud
from diffedu.show.widgets.noise_prediction import NoisePrediction
from diffedu.show.widgets.parameterisation import ParameterisationDial

RING = GaussianMixture.ring(6)
PATH = DiscreteDDPM(linear_betas(20, 0.01, 0.6))


def milliseconds(control: Any, values: list[float]) -> float:
    """The median over setting a control to each of the values."""
    seconds = []
    for value in values:
        start = time.process_time()
        control.value = value
        seconds.append(time.process_time() - start)
    return round(1000 * statistics.median(seconds))


def main() -> None:
    torch.set_num_threads(1)
    paths, cloud = DDIMPaths(RING, DiscreteDDPM(linear_betas(1000))), DensityAndCloud()
    paths.steps.value = 50
    found = {
        "chapter 3, time": milliseconds(cloud.moment, [0.2 * k for k in range(1, 11)]),
        "chapter 3, temperature": milliseconds(cloud.temperature, [0.4, 0.6, 0.9, 1.3, 1.9]),
        "chapter 7, time": milliseconds(NoisePrediction(RING, PATH, lambda x, t: 0 * x).t, list(range(1, 16))),
        "chapter 8, eta at 50 steps": milliseconds(paths.eta, [0.05 * k for k in range(1, 12)]),
        "chapter 9, time": milliseconds(ParameterisationDial(RING).t, [0.05 + 0.06 * k for k in range(15)]),
    }
    for name, value in found.items():
        print(f"{name:28}{value:5.0f} ms")
    Path(__file__).with_suffix(".json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

"""Draw docs/readme.png: noise becomes data, along the exact denoiser of eight Gaussians.

python tools/readme_picture.py
"""

from __future__ import annotations

import os
from pathlib import Path

import torch
from matplotlib.figure import Figure

from diffedu import VP, Euler, GaussianMixture, start_noise, trajectory, uniform_half_log_snr_times
from diffedu._tensor import seeded

OUT = Path(__file__).resolve().parent.parent / "docs" / "readme.png"
POINTS, STEPS, PANELS = 2000, 60, 6
NOISE, DATA = "#9aa5b1", "#d1495b"


def main() -> None:
    path = VP()
    mixture = GaussianMixture.ring(8)
    times = uniform_half_log_snr_times(path, STEPS)
    start = start_noise(path, (POINTS, 2), seeded(0))
    states = list(trajectory(mixture.denoiser(path), Euler(), start, times))
    shown = [states[round(k * (len(states) - 1) / (PANELS - 1))] for k in range(PANELS)]

    figure = Figure(figsize=(12, 2.5), layout="constrained")
    limit = 1.05 * max(float(x.abs().quantile(0.995)) for _, x in shown)
    for k, (axes, (t, x)) in enumerate(zip(figure.subplots(1, PANELS), shown)):
        colour = torch.lerp(torch.tensor(_rgb(NOISE)), torch.tensor(_rgb(DATA)), k / (PANELS - 1)).tolist()
        axes.scatter(*x.T.tolist(), s=2, color=colour, linewidths=0)
        axes.set(xlim=(-limit, limit), ylim=(-limit, limit), aspect="equal", xticks=[], yticks=[])
        axes.set_title(f"t = {float(t):.2g}", fontsize=13)
    temporary = OUT.with_suffix(".tmp")
    figure.savefig(temporary, format="png", dpi=110, metadata={"Software": None})
    os.replace(temporary, OUT)
    print(f"wrote {OUT.name}: {OUT.stat().st_size / 1000:.0f} kB")


def _rgb(colour: str) -> list[float]:
    return [int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5)]


if __name__ == "__main__":
    main()

"""How long the widgets of the book take to redraw: the promise is a median of 100 ms, and 250 ms for 95 of 100.

OMP_NUM_THREADS=1 python benchmarks/widgets.py [--write]

Each control is moved through its range, 20 values, as a drag does; a redraw computes, draws and encodes the PNG. In a
notebook only the newest value of a drag is drawn (`Picture`), so a slower redraw skips values and never lags behind.
Wall and processor time of one thread; beside them the machine's load and its matrix-product rate. "new digits" runs a
network: it is not a redraw of a picture in the plane, and promises nothing.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ipywidgets
import torch
from machine import gemm_rate

from diffedu import Cosine, DiscreteDDPM, GaussianMixture, cosine_betas, linear_betas, seeded
from diffedu.core import VE
from diffedu.data import emoji, moons, rings
from diffedu.recipes import digits_ddpm, digits_flow, digits_reflow, emoji_vae
from diffedu.show.widgets.ddim import DDIMPaths
from diffedu.show.widgets.digit_film import DigitFilm
from diffedu.show.widgets.digit_sampler import DigitSampler
from diffedu.show.widgets.draw_your_own import DrawYourOwn
from diffedu.show.widgets.elbo_bars import ElboBars
from diffedu.show.widgets.equilibrium import NoiseAndPull
from diffedu.show.widgets.few_steps import FewSteps
from diffedu.show.widgets.first_diffusion import FirstDiffusion
from diffedu.show.widgets.fokker_planck import DensityAndCloud
from diffedu.show.widgets.guidance import GuidanceField
from diffedu.show.widgets.langevin import LangevinPlayground
from diffedu.show.widgets.latent_walk import LatentWalk
from diffedu.show.widgets.mask_drawing import MaskDrawing
from diffedu.show.widgets.noise_prediction import NoisePrediction
from diffedu.show.widgets.parameterisation import ParameterisationDial
from diffedu.show.widgets.reflow import ReflowExplorer
from diffedu.show.widgets.sampler_race import SamplerRace
from diffedu.show.widgets.schedule import ScheduleExplorer
from diffedu.show.widgets.score_field import ScoreField
from diffedu.show.widgets.stochasticity import StochasticityDial

MEDIAN, NEARLY_ALL = 100, 250
"""Milliseconds: what is promised of the median, and of the 95th percentile."""
COUNT = 20


def values(control: Any) -> list[Any]:
    """COUNT values of a control over its range, in order; fewer where it has fewer."""
    if isinstance(control, ipywidgets.Checkbox):
        return [True, False] * (COUNT // 2)
    if hasattr(control, "options"):
        known = list(control._options_values)
        return (known * COUNT)[:COUNT]
    if isinstance(control, ipywidgets.FloatRangeSlider):
        return [(0.0, high / COUNT) for high in range(1, COUNT + 1)]
    low, high = control.min, control.max
    grid = [low + (high - low) * k / COUNT for k in range(1, COUNT + 1)]
    if isinstance(control, ipywidgets.FloatLogSlider):
        return [control.base**value for value in grid]
    if isinstance(control, ipywidgets.IntSlider):
        return [round(value) for value in grid]
    return [low + control.step * round((value - low) / control.step) for value in grid]


def measure(picture: Any, control: Any) -> dict[str, float]:
    """Move one control, the others as they stand at first."""
    picture.reset()
    wall, processor = [], []
    for value in values(control):
        if value == control.value:
            continue
        start, used = time.perf_counter(), time.process_time()
        control.value = value
        wall.append(1000 * (time.perf_counter() - start))
        processor.append(1000 * (time.process_time() - used))
    picture.reset()
    return {
        "median wall ms": round(statistics.median(wall), 1),
        "95th percentile wall ms": round(statistics.quantiles(wall, n=20, method="inclusive")[-1], 1),
        "median processor ms": round(statistics.median(processor), 1),
    }


def planar() -> Iterator[tuple[str, Any]]:
    """The widgets of points in the plane or on the line, one at a time."""
    ring, line = GaussianMixture.ring(6), GaussianMixture.single(torch.zeros(1).double(), torch.eye(1).double())
    yield "00 first diffusion", FirstDiffusion(GaussianMixture.ring(8), Cosine())
    yield "00 draw your own", DrawYourOwn()
    yield "01 noise and pull", NoiseAndPull()
    yield "02 Langevin", LangevinPlayground()
    yield "03 density and cloud", DensityAndCloud()
    yield "04 score field", ScoreField(ring, VE(0.05, 5.0), lambda x, t: -x)
    yield "05 schedule explorer", ScheduleExplorer()
    yield "06 ELBO bars", ElboBars(line)
    yield "07 noise prediction", NoisePrediction(ring, DiscreteDDPM(linear_betas(20, 0.01, 0.6)), lambda x, t: 0 * x)
    yield "08 DDIM paths", DDIMPaths(ring, DiscreteDDPM(linear_betas(1000)))
    yield "09 parameterisation", ParameterisationDial(ring)
    yield "10 stochasticity", StochasticityDial(ring)
    yield "11 sampler race", SamplerRace(ring)
    yield "12 guidance", GuidanceField(GaussianMixture.ring(4), [[0, 1], [2, 3]])
    yield "13 reflow", ReflowExplorer(rings(300, generator=seeded(0)), moons(300, generator=seeded(1)))


def pictures() -> Iterator[tuple[str, Any, list[str]]]:
    """The widgets with a network, and those of their controls that only look up or decode."""
    path = DiscreteDDPM(cosine_betas(1000))
    net, flow, straight = digits_ddpm.load(), digits_flow.load(), digits_reflow.load()
    yield "14 digit film", DigitFilm(lambda label: digits_ddpm.denoiser(net, label), path), ["moment"]
    yield (
        "15 digit sampler",
        DigitSampler(lambda label, scale: digits_ddpm.denoiser(net, label, guidance_scale=scale), path),
        [],
    )
    digits = torch.linspace(-1, 1, 10).reshape(10, 1, 1, 1).expand(10, 1, 28, 28).contiguous()
    drawing = MaskDrawing(digits_ddpm.denoiser(net, None), path, digits)
    yield "16 mask drawing", drawing, ["row", "column", "width", "image", "preset"]
    real = emoji()
    walk = LatentWalk(emoji_vae.load(), {str(k): real.images[k] for k in range(4)})
    yield "17 latent walk", walk, ["share", "first", "second", "way"]
    models = {"flow": flow, "reflowed": straight}
    few = FewSteps({name: lambda label, net=net: digits_flow.denoiser(net, label) for name, net in models.items()})
    yield "18 few steps", few, []


def main() -> None:
    torch.set_num_threads(1)
    machine = {
        "load average of the last minute, before": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "GEMM GFLOP/s, one thread": round(gemm_rate(), 1),
    }
    rows: dict[str, dict[str, float]] = {}
    late = []

    def add(name: str, picture: Any, control: Any, promised: bool) -> None:
        row = rows[name] = measure(picture, control)
        print(f"{name:45}", *(f"{value:7.1f}" for value in row.values()), flush=True)
        if promised and (row["median wall ms"] > MEDIAN or row["95th percentile wall ms"] > NEARLY_ALL):
            late.append(name)

    print(f"{'':45}  median    95 %   processor, ms")
    for name, widget in planar():
        for control_name, control in widget.picture.controls.items():
            if control_name not in ("points", "shape") and not control_name.startswith(
                ("scaled", "sigmoid", "your own")
            ):
                add(f"{name}: {control_name}", widget.picture, control, True)
    for name, widget, quick in pictures():
        for control_name in quick:
            add(f"{name}: {control_name}", widget.picture, widget.picture.controls[control_name], True)
        if "seed" in widget.picture.controls:
            add(f"{name}: new digits", widget.picture, widget.picture.controls["seed"], False)
    print("above the promise:", ", ".join(late) or "none")
    if "--write" in sys.argv[1:]:
        text = json.dumps({**machine, "redraws": rows, "above the promise": late}, indent=1, ensure_ascii=False)
        Path(__file__).with_suffix(".json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

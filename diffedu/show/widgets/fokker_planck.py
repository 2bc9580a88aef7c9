"""The widget of chapter 3: drag time, and watch one equation and a cloud of particles tell the same story."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import ipywidgets
import numpy as np
import torch
from matplotlib import rc_context

from diffedu._tensor import seeded
from diffedu.evaluate.fokker_planck import FokkerPlanck, Grid
from diffedu.show.style import DATA, INK, NOISE, RC, SCORE, VELOCITY, new_figure
from diffedu.show.widgets.picture import MovingFigure, Picture

GRID = Grid(-2.2, 2.2, 80)
END = 4.0  # time units
FRAMES = 80
KICKS = 6  # Euler-Maruyama steps a frame
PARTICLES = 2000
START = (-1.0, 0.15)  # mean and standard deviation


class Landscape(NamedTuple):
    """A potential in units in which kT is about 1, and its derivative."""

    potential: Callable[[Any], Any]
    slope: Callable[[Any], Any]


LANDSCAPES = {
    "two wells": Landscape(lambda x: 2 * (x**2 - 1) ** 2, lambda x: 8 * x * (x**2 - 1)),
    "two unequal wells": Landscape(lambda x: 2 * (x**2 - 1) ** 2 - 0.6 * x, lambda x: 8 * x * (x**2 - 1) - 0.6),
    "a spring": Landscape(lambda x: 3 * x**2, lambda x: 6 * x),
}


class Run(NamedTuple):
    """All frames of one run: densities (F, cells), particles (F, N), free energies (F,), equilibrium (cells,)."""

    densities: np.ndarray
    particles: np.ndarray
    free_energies: np.ndarray
    equilibrium: np.ndarray


class DensityAndCloud:
    """The Fokker-Planck equation of dx = -U' dt + sqrt(2 kT) dW beside particles of the same SDE, as time passes.

    Moving the time or the number of particles looks up the stored run; the other controls start a new one. The
    kicks are always the same, so that whatever changes comes from the controls.

    Taught in: chapter 3.

    Example:
        >>> widget = DensityAndCloud()
        >>> before = widget.picture.png
        >>> widget.moment.value = 3.0
        >>> widget.picture.png == before
        False
    """

    def __init__(self) -> None:
        style, wide = {"description_width": "110px"}, {"width": "420px"}
        self.moment = ipywidgets.FloatSlider(
            value=0.3, min=0.0, max=END, step=END / FRAMES, description="time t", style=style, layout=wide
        )
        self.landscape = ipywidgets.Dropdown(
            options=list(LANDSCAPES), description="potential U", style=style, layout=wide
        )
        self.temperature = ipywidgets.FloatSlider(
            value=1.0, min=0.3, max=2.0, step=0.1, description="kT", style=style, layout=wide
        )
        self.count = ipywidgets.SelectionSlider(
            options=[50, 200, 2000], value=2000, description="particles", style=style, layout=wide
        )
        self._kicks = torch.randn(
            FRAMES * KICKS, PARTICLES, generator=seeded(0), device="cpu", dtype=torch.float32
        ).numpy()
        self._first = torch.randn(PARTICLES, generator=seeded(1), device="cpu", dtype=torch.float32).numpy()
        self._run = functools.lru_cache(maxsize=16)(self._simulate)

        figure = new_figure(9.6, 3.9)
        with rc_context(RC):
            left, right = figure.subplots(1, 2, width_ratios=(1.7, 1))
            (self._well,) = left.plot([], [], color=NOISE, linewidth=1.2, linestyle=":")
            self._cloud = left.stairs(
                np.zeros(GRID.cells // 2), GRID.edges[::2], fill=True, color="#CFCFCF", linewidth=0, zorder=1
            )
            (self._rest,) = left.plot([], [], color=SCORE, linewidth=1.6, linestyle="--")
            (self._line,) = left.plot([], [], color=DATA, linewidth=2.4)
            (self._rug,) = left.plot([], [], "|", color=INK, markersize=7, alpha=0.35)
            left.set(xlim=(GRID.low, GRID.high), ylim=(-0.24, 3.0), xlabel="position x", ylabel="density p(x, t)")
            self._title = left.text(0.02, 0.93, "t = 0.00", transform=left.transAxes, color=INK)
            for place, name, color in (  # in a row above the axes, where no curve reaches
                (0.0, "the equation", DATA),
                (0.21, "particles, counted", "#6E6E6E"),
                (0.5, "Boltzmann (dashed)", SCORE),
                (1.0, "U / 5 (dotted)", "#6E6E6E"),
            ):
                side = "right" if place > 0.9 else "left"
                left.text(place, 1.03, name, transform=left.transAxes, color=color, ha=side, fontsize=10)
            (self._fall,) = right.plot([], [], color=VELOCITY)
            (self._now,) = right.plot([], [], "o", color=INK, markersize=7)
            right.set_yscale("log")
            right.set(
                xlim=(0, END), ylim=(1e-4, 20), xlabel="time t", ylabel="excess free energy, kT", title="it only falls"
            )
        moving = [self._cloud, self._well, self._rest, self._line, self._rug, self._title, self._fall, self._now]
        self._figure = MovingFigure(figure, moving)
        controls = {
            "moment": self.moment,
            "landscape": self.landscape,
            "temperature": self.temperature,
            "count": self.count,
        }
        self.picture = Picture(
            self._draw,
            controls,
            width=900,
            name="density and cloud",
            takeaway="The equation and the particles tell one story, and its excess free energy only falls.",
        )

    def _simulate(self, landscape: str, kT: float) -> Run:
        potential, slope = LANDSCAPES[landscape]
        import scipy.linalg

        mean, std = START
        equation = FokkerPlanck.from_potential(potential, GRID, kT=kT)
        p = GRID.average(lambda x: np.exp(-0.5 * ((x - mean) / std) ** 2) / (std * math.sqrt(2 * math.pi)))
        x = mean + std * self._first
        dt = END / (FRAMES * KICKS)
        kicks = math.sqrt(2 * kT * dt) * self._kicks
        # One matrix, exp(Q dt), carries the density from frame to frame; rounding must not make an entry negative.
        advance = scipy.linalg.expm(equation.generator.toarray() * (END / FRAMES)).clip(min=0)
        densities, particles = [p], [x]
        for frame in range(FRAMES):
            densities.append(advance @ densities[-1])
            for kick in kicks[frame * KICKS : (frame + 1) * KICKS]:
                x = x - slope(x) * dt + kick
            particles.append(x)
        fall = np.array([equation.free_energy(p) for p in densities])
        return Run(np.stack(densities), np.stack(particles), fall, equation.equilibrium())

    def _draw(self, values: dict[str, Any]) -> bytes:
        run = self._run(values["landscape"], round(values["temperature"], 6))
        frame = round(values["moment"] / END * FRAMES)
        cloud = run.particles[frame][: values["count"]]
        well = LANDSCAPES[values["landscape"]].potential(GRID.centers) / 5
        counts, _ = np.histogram(cloud, GRID.edges[::2])
        self._cloud.set_data(counts / (len(cloud) * 2 * GRID.width), GRID.edges[::2])
        self._line.set_data(GRID.centers, run.densities[frame])
        self._rest.set_data(GRID.centers, run.equilibrium)
        self._well.set_data(GRID.centers, np.where(well < 2.9, well, np.nan))
        self._rug.set_data(cloud[:200], np.full(min(len(cloud), 200), -0.12))
        self._title.set_text(f"t = {frame * END / FRAMES:.2f}")
        times = np.linspace(0, END, FRAMES + 1)
        self._fall.set_data(times, np.maximum(run.free_energies, 1e-12))
        self._now.set_data(times[frame : frame + 1], np.maximum(run.free_energies[frame : frame + 1], 1e-12))
        return self._figure.png()

    def _repr_mimebundle_(self, **formats: Any) -> dict[str, Any]:
        return self.picture._repr_mimebundle_(**formats)

    def __repr__(self) -> str:
        return repr(self.picture)

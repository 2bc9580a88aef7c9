"""The widget of chapter 10: from the probability-flow ODE to the reverse SDE and beyond; one crowd, many films."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import ipywidgets
import numpy as np
import torch
from matplotlib import rc_context
from matplotlib.collections import LineCollection
from torch import Tensor

from diffedu._tensor import seeded
from diffedu.core.oracle import GaussianMixture
from diffedu.core.path import VP
from diffedu.core.times import power_times, with_zero
from diffedu.evaluate.metrics import energy_distance, floor
from diffedu.sampling.sde import EulerMaruyama
from diffedu.sampling.solver import start_noise, trajectory
from diffedu.show.plots import square
from diffedu.show.style import DATA, INK, NOISE, RC, SCORE, VELOCITY, panels
from diffedu.show.widgets.picture import MovingFigure, Picture

STEPS = (5, 10, 20, 50, 100)
CLOUD = 300
TAILS = 3
LINES = 10
CELLS = 50
FLOORS = (0.0, 0.2, 1.0)
"""Times at which the floor is measured; between them it is interpolated."""


class Judgement(NamedTuple):
    """How far the shown crowd is from exact samples of its time."""

    distance: float
    """Energy distance, data units; infinite for a crowd that has exploded."""
    floor: float
    """What perfect samples stay below: mean + 3 standard deviations of their score."""


class StochasticityDial:
    """Particles between the probability-flow ODE (k = 0), the reverse SDE (k = 1) and beyond, over the exact density.

    Left: the crowd at the chosen moment, a few tails, the exact density behind. Right: the first coordinate of a few
    particles over time. All films start from the same noise and use the exact denoiser of the mixture on `VP`.

    Args:
        mixture: the data, in the plane.
        limit: the left panel shows [-limit, limit]^2.

    Raises:
        ValueError: the mixture is not in the plane.

    Taught in: chapter 10.

    Example:
        >>> dial = StochasticityDial(GaussianMixture.ring(6))
        >>> dial.stochasticity.value, dial.moment.value = 0.0, 1.0
        >>> dial.judge().distance < dial.judge().floor
        True
    """

    def __init__(self, mixture: GaussianMixture, *, limit: float = 3.2) -> None:
        if mixture.D != 2:
            raise ValueError(f"the widget draws points of the plane, got a mixture in {mixture.D} dimensions")
        self._mixture, self._path = mixture, VP()
        self._denoiser = mixture.denoiser(self._path)
        self._device, self._dtype = mixture.means.device, mixture.means.dtype
        self._start = start_noise(self._path, (CLOUD, 2), seeded(9, self._device)).to(self._dtype)
        line = (torch.arange(CELLS, dtype=self._dtype, device=self._device) + 0.5) * (2 * limit / CELLS) - limit
        self._cells = torch.cartesian_prod(line, line)
        self._film: tuple[tuple[float, int], Tensor, Tensor] | None = None
        self._floors = []
        for t in FLOORS:
            low = floor(energy_distance, self._law(t).sample, CLOUD, generator=seeded(1, self._device), repeats=60)
            self._floors.append(max(low.mean, 0.0) + 3 * low.standard_deviation)

        style, wide = {"description_width": "115px"}, {"width": "520px"}
        self.stochasticity = ipywidgets.FloatSlider(
            value=1.0, min=0.0, max=2.0, step=0.1, description="stochasticity k", style=style, layout=wide
        )
        self.steps = ipywidgets.SelectionSlider(options=STEPS, value=20, description="steps", style=style, layout=wide)
        self.moment = ipywidgets.FloatSlider(
            value=1.0, min=0.0, max=1.0, step=0.01, description="share of steps", style=style, layout=wide
        )
        with rc_context(RC):
            figure, (plane, time) = panels(1, 2, width=10.4, height=4.7)
            extent = (-limit, limit, -limit, limit)
            self._shade = plane.imshow(
                torch.zeros(CELLS, CELLS).numpy(),
                extent=extent,
                origin="lower",
                cmap="Greys",
                vmin=0.0,
                vmax=1.3,
                zorder=0,
            )
            self._tails = LineCollection([], linewidths=0.9, alpha=0.8, zorder=2)
            plane.add_collection(self._tails)
            self._crowd = plane.scatter([], [], s=6, color=DATA, linewidths=0, zorder=3)
            square(plane, limit)
            plane.grid(visible=False)
            plane.set_title("the crowd, over its exact density")
            self._caption = plane.text(0.02, 0.02, "", transform=plane.transAxes, color=INK, fontsize=10, zorder=5)
            self._caption.set_bbox({"facecolor": "white", "edgecolor": "none", "alpha": 0.85, "pad": 2})
            self._lines = LineCollection([], linewidths=1.0)
            time.add_collection(self._lines)
            self._now = time.axvline(0.0, color=NOISE, linewidth=1)
            time.set(xlim=(1, 0), ylim=(-limit, limit), xlabel="time t (sampling runs to the right)", ylabel="$x_1$")
            time.set_title(f"first coordinate of {LINES} particles")
        moving = [self._shade, self._tails, self._crowd, self._caption, self._lines, self._now]
        self._figure = MovingFigure(figure, moving)
        controls = {"stochasticity": self.stochasticity, "steps": self.steps, "moment": self.moment}
        self.picture = Picture(
            self._draw,
            controls,
            arrangement=ipywidgets.VBox(list(controls.values())),
            width=960,
            name="from the ODE to the SDE and beyond",
            takeaway="Every k has the same crowd, if the steps are fine enough for its kicks.",
        )

    def _law(self, t: float) -> GaussianMixture:
        return self._mixture.noised(self._path, t) if t > 0 else self._mixture

    def film(self) -> tuple[Tensor, Tensor]:
        """The times, shape (steps + 1,), and the crowd at each, shape (steps + 1, CLOUD, 2)."""
        key = (self.stochasticity.value, self.steps.value)
        if self._film is None or self._film[0] != key:
            times = with_zero(
                power_times(self._path, key[1] - 1, 2.0, end=2e-3, dtype=self._dtype, device=self._device)
            )
            walk = trajectory(
                self._denoiser, EulerMaruyama(key[0]), self._start, times, generator=seeded(2, self._device)
            )
            self._film = (key, times, torch.stack([x for _, x in walk]))
        return self._film[1:]

    def _index(self) -> int:
        return round(self.moment.value * self.steps.value)

    def judge(self) -> Judgement:
        """The energy distance of the shown crowd to exact samples of its time, and the floor."""
        times, states = self.film()
        index = self._index()
        t, x = float(times[index]), states[index]
        between = float(np.interp(t, FLOORS, self._floors))
        if not x.isfinite().all() or x.abs().max() > 1e4:
            return Judgement(math.inf, between)
        fresh = self._law(t).sample(CLOUD, seeded(11, self._device))
        return Judgement(energy_distance(x, fresh).value, between)

    def _draw(self, values: dict[str, Any]) -> bytes:
        times, states = self.film()
        index = self._index()
        shade = self._law(float(times[index])).log_prob(self._cells).exp().sqrt().reshape(CELLS, CELLS).T
        self._shade.set_data(shade.cpu().numpy())
        shown = states.nan_to_num(1e4).clamp(-1e4, 1e4).cpu().numpy()
        self._crowd.set_offsets(shown[index])
        color = VELOCITY if values["stochasticity"] == 0 else SCORE
        self._tails.set_segments(list(shown[: index + 1, :TAILS].transpose(1, 0, 2)))
        clock = times.cpu().numpy()
        self._lines.set_segments(
            [list(zip(clock[: index + 1], shown[: index + 1, k, 0], strict=True)) for k in range(LINES)]
        )
        for lines in (self._tails, self._lines):
            lines.set_color(color)
        self._now.set_xdata([clock[index]] * 2)
        found = self.judge()
        distance = "out of sight" if math.isinf(found.distance) else f"{max(found.distance, 0.0):.3f}"
        self._caption.set_text(f"t = {clock[index]:.2f}\nenergy distance {distance} (perfect: below {found.floor:.3f})")
        return self._figure.png()

    def _repr_mimebundle_(self, **formats: Any) -> dict[str, Any]:
        return self.picture._repr_mimebundle_(**formats)

    def __repr__(self) -> str:
        return repr(self.picture)

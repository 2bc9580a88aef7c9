"""The widget of chapter 11: solvers from the same starts, on a grid that two sliders bend; paths and errors."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import ipywidgets
import numpy as np
import torch
from matplotlib import rc_context
from matplotlib.collections import LineCollection
from torch import Tensor

from diffedu._tensor import seeded
from diffedu.core.oracle import GaussianMixture
from diffedu.core.path import VP
from diffedu.core.times import karras_times, with_zero
from diffedu.sampling.ancestral import DDIM
from diffedu.sampling.multistep import AdamsBashforth, CorrectedDEIS, DPMSolverPP2M
from diffedu.sampling.ode import Euler, Heun
from diffedu.sampling.solver import Solver, sample, start_noise, trajectory
from diffedu.show.plots import square
from diffedu.show.style import DATA, EXTRA, GUIDED, INK, NOISE, RC, SCORE, VELOCITY, panels
from diffedu.show.widgets.picture import MovingFigure, Picture, side_by_side

SOLVERS: dict[str, tuple[Solver[Any], str]] = {
    "Euler": (Euler(), SCORE),
    "DDIM": (DDIM(), DATA),
    "Heun": (Heun(), VELOCITY),
    "AB2": (AdamsBashforth(2), EXTRA),
    "DPM++2M": (DPMSolverPP2M(), GUIDED),
    "corrected": (CorrectedDEIS(1), INK),
}
CALLS = (4, 7, 12)
STARTS = 4
CLOUD = 150


class SamplerRace:
    """Several solvers, one flow: their paths from the same starts, and their errors for each number of calls.

    The grid has equal steps in rho^(1/kappa), rho = sigma / alpha, from pure noise down to a last level, and then 0.

    Args:
        mixture: the data, in the plane; its exact denoiser on the VP path is used.
        limit: the left panel shows [-limit, limit]^2.

    Raises:
        ValueError: the mixture is not in the plane.

    Taught in: chapter 11.

    Example:
        >>> race = SamplerRace(GaussianMixture.ring(6))
        >>> few, many = (race.errors("DPM++2M", kappa=7.0, last=0.03)[k] for k in (1, -1))
        >>> many < few
        True
    """

    def __init__(self, mixture: GaussianMixture, *, limit: float = 2.6) -> None:
        if mixture.D != 2:
            raise ValueError(f"the widget draws points of the plane, got a mixture in {mixture.D} dimensions")
        self._path = VP()
        device = mixture.means.device
        self._mixture = mixture.to(device, torch.float32)
        self._exact = self._mixture.denoiser(self._path)
        self._start = start_noise(self._path, (STARTS + CLOUD, 2), seeded(3, device))
        fine = with_zero(karras_times(self._path, 300, 2.0, device=device))
        self._truth = sample(self._exact, Heun(), self._start, fine)
        c = self._path(self._path.t_max)
        self._highest = (c.sigma / c.alpha).item()
        # Grids are made while a slider moves, so the inverse of lambda(t) is read from a table.
        self._table_times = torch.logspace(-5, 0, 4000, dtype=torch.float64, device="cpu")
        self._table_rho = torch.exp(-self._path(self._table_times).half_log_snr)
        self._run = lru_cache(maxsize=2048)(self._new_run)

        style, wide = {"description_width": "90px"}, {"width": "360px"}
        self.kappa = ipywidgets.FloatSlider(
            value=7.0, min=1.0, max=12.0, step=0.5, description="kappa (grid)", style=style, layout=wide
        )
        self.last = ipywidgets.SelectionSlider(
            options=[("0.3", 0.3), ("0.1", 0.1), ("0.03", 0.03), ("0.01", 0.01)],
            value=0.03,
            description="last level ρ",
            style=style,
            layout=wide,
        )
        self.calls = ipywidgets.SelectionSlider(
            options=CALLS, value=7, description="calls (NFE)", style=style, layout=wide
        )
        self.boxes = {
            name: ipywidgets.Checkbox(
                value=name in ("DDIM", "Heun", "DPM++2M"), description=name, indent=False, layout={"width": "auto"}
            )
            for name in SOLVERS
        }
        real = self._mixture.sample(400, seeded(4, device))
        with rc_context(RC):
            figure, (left, right) = panels(1, 2, width=10.5, height=4.5)
            left.scatter(real[:, 0].cpu(), real[:, 1].cpu(), s=3, color="#CFCFCF", linewidths=0, zorder=1)
            ends = self._truth[:STARTS].cpu()
            left.scatter(ends[:, 0], ends[:, 1], s=60, facecolors="none", edgecolors=NOISE, linewidths=1.8, zorder=2)
            begins = self._start[:STARTS].cpu()
            left.scatter(begins[:, 0], begins[:, 1], s=22, facecolors="white", edgecolors=NOISE, zorder=3)
            self._lines = LineCollection([], linewidths=1.3, zorder=4)
            left.add_collection(self._lines)
            self._dots = left.scatter([], [], s=9, linewidths=0, zorder=5)
            square(left, limit)
            left.set_title("paths from four starts (rings: true ends)")
            self._curves = {
                name: right.plot([], [], color=color, marker="o", markersize=4, label=name)[0]
                for name, (_, color) in SOLVERS.items()
            }
            self._mark = right.axvline(7, color="#BBBBBB", linewidth=6, alpha=0.4)
            right.set(
                xscale="log", yscale="log", xlim=(3.6, 13.5), ylim=(3e-3, 6), title=f"median error of {CLOUD} starts"
            )
            right.set(xlabel="calls to the denoiser (NFE)", ylabel="error at the end, data units")
            right.set_xticks(CALLS, [str(n) for n in CALLS])
            right.minorticks_off()
            right.legend(frameon=False, fontsize=9, ncols=2, loc="lower left")
            self._best = right.text(0.97, 0.95, "", transform=right.transAxes, color=INK, fontsize=10, ha="right")
        self._figure = MovingFigure(figure, [self._lines, self._dots, self._mark, *self._curves.values(), self._best])
        controls: dict[str, Any] = {"kappa": self.kappa, "last": self.last, "calls": self.calls, **self.boxes}
        self.picture = Picture(
            self._draw,
            controls,
            arrangement=ipywidgets.VBox(
                [side_by_side(self.kappa, self.last, self.calls), side_by_side(*self.boxes.values())]
            ),
            width=1080,
            name="a race of samplers",
            takeaway="Solver and grid belong together: bend the grid, and the ranking changes.",
        )

    def times(self, steps: int, kappa: float, last: float) -> Tensor:
        """The grid, shape (steps + 1,): from t_max to the time of the last level, then 0."""
        device = self._start.device
        if steps == 1:
            return torch.tensor([self._path.t_max, 0.0], device=device)
        high, low = self._highest ** (1 / kappa), last ** (1 / kappa)
        rho = np.linspace(high, low, steps) ** kappa
        times = np.interp(rho, self._table_rho.numpy(), self._table_times.numpy())
        times[0] = self._path.t_max
        return with_zero(torch.tensor(times, dtype=torch.float32, device=device))

    def _steps(self, name: str, calls: int) -> int:
        return (calls + 1) // 2 if name == "Heun" else calls

    def _new_run(self, name: str, calls: int, kappa: float, last: float) -> tuple[Tensor, float]:
        """The paths of the first starts, shape (steps + 1, STARTS, 2), and the median error of the others."""
        grid = self.times(self._steps(name, calls), kappa, last)
        states = [x for _, x in trajectory(self._exact, SOLVERS[name][0], self._start, grid)]
        error = (states[-1] - self._truth)[STARTS:].norm(dim=1).median().item()
        return torch.stack([x[:STARTS] for x in states]).cpu(), error

    def errors(self, name: str, *, kappa: float, last: float) -> tuple[float, ...]:
        """The median error at the end of the starts, for each number of calls in `CALLS`."""
        return tuple(self._run(name, calls, kappa, last)[1] for calls in CALLS)

    def _draw(self, values: dict[str, Any]) -> bytes:
        kappa, last, calls = values["kappa"], values["last"], values["calls"]
        segments, colors, dots = [], [], []
        standing = {}
        for name, (_, color) in SOLVERS.items():
            shown = values[name]
            self._curves[name].set_visible(shown)
            if not shown:
                continue
            walk, _ = self._run(name, calls, kappa, last)
            segments += list(walk.transpose(0, 1).numpy())
            colors += [color] * STARTS
            dots.append((walk[-1], color))
            errors = self.errors(name, kappa=kappa, last=last)
            self._curves[name].set_data(CALLS, errors)
            standing[name] = errors[CALLS.index(calls)]
        self._lines.set_segments(segments)
        self._lines.set_color(colors)
        self._dots.set_offsets(torch.cat([end for end, _ in dots]).numpy() if dots else torch.zeros(0, 2).numpy())
        self._dots.set_facecolor([color for _, color in dots for _ in range(STARTS)] or ["none"])
        self._mark.set_xdata([calls, calls])
        best = min(standing, key=lambda name: standing[name]) if standing else ""
        self._best.set_text(f"best at {calls} calls: {best}, {standing[best]:.2g}" if standing else "choose a solver")
        return self._figure.png()

    def _repr_mimebundle_(self, **formats: Any) -> dict[str, Any]:
        return self.picture._repr_mimebundle_(**formats)

    def __repr__(self) -> str:
        return repr(self.picture)

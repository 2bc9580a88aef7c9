"""The widget of chapter 13: which pairs a flow is made of, how bent its paths are, and what few steps make of them."""

from __future__ import annotations

from typing import Any

import ipywidgets
import torch
from matplotlib import rc_context
from matplotlib.collections import LineCollection
from torch import Tensor

from diffedu._tensor import randn, seeded
from diffedu.core.path import RectifiedFlow
from diffedu.core.times import uniform_times
from diffedu.flow import PairsDenoiser, optimal_pairs, straightness, transport_cost
from diffedu.sampling import Euler, Heun, trajectory
from diffedu.show.plots import square
from diffedu.show.style import DATA, GUIDED, INK, NOISE, RC, SCORE, VELOCITY, panels
from diffedu.show.widgets.picture import MovingFigure, Picture, side_by_side

PATH = RectifiedFlow()
COLORS = {"independent": INK, "minibatch OT": GUIDED, "reflowed once": SCORE, "reflowed twice": VELOCITY}
FINE = 40
"""Heun steps that stand for the exact path."""
MOST = 16
"""The largest number of Euler steps."""


class ReflowExplorer:
    """Flows of four couplings of two sets of points: exact paths, Euler's paths, and the error by number of steps.

    Left: where the points are at time t. Thin lines are exact paths, coloured ones those of Euler's method, both of the
    exact velocity of the chosen pairs (`PairsDenoiser`). Right: root mean square distance between Euler's ends and
    the exact ends, for every coupling, with the present choice marked.

    Args:
        x0: where the flow ends, shape (N, 2).
        x1: where it starts, shape (N, 2); as given the rows are the independent pairs.
        jitter: width of the tubes about the lines, data units.
        shown: how many paths are drawn.
        batch: size of the batches of the minibatch coupling.
        limit: the left panel shows [-limit, limit]^2.

    Raises:
        ValueError: the points are not in the plane.

    Taught in: chapter 13.

    Example:
        >>> from diffedu._tensor import seeded
        >>> from diffedu.data import moons, rings
        >>> tour = ReflowExplorer(rings(60, generator=seeded(0)), moons(60, generator=seeded(1)))
        >>> tour.numbers("reflowed once")["bending"] < tour.numbers("independent")["bending"]
        True
    """

    def __init__(
        self, x0: Tensor, x1: Tensor, *, jitter: float = 0.15, shown: int = 80, batch: int = 50, limit: float = 2.4
    ) -> None:
        if x0.ndim != 2 or x0.shape[1] != 2:
            raise ValueError(f"the widget draws points of the plane, got shape {tuple(x0.shape)}")
        self._shown = min(shown, len(x0))
        self._times = uniform_times(PATH, FINE, end=0, dtype=x0.dtype, device=x0.device)
        self._flows: dict[str, PairsDenoiser] = {}
        self._paths: dict[str, Tensor] = {}
        self._numbers: dict[str, dict[str, float]] = {}
        self._errors: dict[str, list[float]] = {}
        noise = randn((3, *x1.shape), seeded(0, x1.device), dtype=x1.dtype, device=x1.device)
        blocks = zip(x0.split(batch), x1.split(batch), strict=True)
        pairs = {"independent": (x0, x1), "minibatch OT": (x0, torch.cat([b[optimal_pairs(a, b)] for a, b in blocks]))}
        for k, name in enumerate(COLORS):
            ends, starts = pairs[name]
            flow = self._flows[name] = PairsDenoiser(ends, starts, PATH, jitter)
            begin = starts + jitter * noise[max(0, k - 1)]  # a point of a tube's end
            states = torch.stack([x for _, x in trajectory(flow, Heun(), begin, self._times)])
            if name == "independent":
                pairs["reflowed once"] = (states[-1], begin)
            if name == "reflowed once":
                pairs["reflowed twice"] = (states[-1], begin)
            self._paths[name] = states[:, : self._shown]
            self._numbers[name] = {
                "cost": transport_cost(states[-1], begin).item(),
                "optimal": transport_cost(states[-1], begin[optimal_pairs(states[-1], begin)]).item(),
                "bending": straightness(states, self._times).item(),
            }
            exact = self._paths[name][-1]
            self._errors[name] = [
                (self._euler(name, steps)[-1] - exact).square().sum(1).mean().sqrt().item()
                for steps in range(1, MOST + 1)
            ]

        style, wide = {"description_width": "90px"}, {"width": "360px"}
        self.coupling = ipywidgets.Dropdown(options=list(COLORS), description="pairs", style=style)
        self.steps = ipywidgets.IntSlider(
            value=1, min=1, max=MOST, description="Euler steps", style=style, layout=wide, continuous_update=True
        )
        self.t = ipywidgets.FloatSlider(
            value=0.0, min=0.0, max=1.0, step=0.025, description="time t", style=style, layout=wide
        )
        with rc_context(RC):
            figure, (plane, errors) = panels(1, 2, width=11.4, height=4.6)
            self._plane(plane, limit)
            self._curves(errors)
        moving = [self._exact, self._ways, self._start, self._goal, self._dots, self._caption, self._marker]
        self._figure = MovingFigure(figure, moving)
        self.picture = Picture(
            self._draw,
            {"coupling": self.coupling, "steps": self.steps, "t": self.t},
            arrangement=ipywidgets.VBox(
                [
                    side_by_side(self.coupling, self.steps, self.t),
                ]
            ),
            width=1060,
            name="reflow and straightness",
            takeaway="One step goes along the first arrow. Only where paths are straight does it arrive.",
        )

    def _plane(self, ax: Any, limit: float) -> None:
        self._exact = ax.add_collection(LineCollection([], colors="#BDBDBD", linewidths=0.8))
        self._ways = ax.add_collection(LineCollection([], linewidths=1.0, alpha=0.8))
        self._start = ax.scatter([], [], s=10, color=NOISE, linewidths=0, zorder=3)
        self._goal = ax.scatter([], [], s=14, facecolors="none", edgecolors=DATA, linewidths=0.9, zorder=3)
        self._dots = ax.scatter([], [], s=15, linewidths=0, zorder=4)
        square(ax, limit)
        ax.set_title("grey: start and exact paths; rings: exact ends")
        self._caption = ax.text(0.02, 0.02, "", transform=ax.transAxes, color=INK, fontsize=10, zorder=5)
        self._caption.set_bbox({"facecolor": "white", "edgecolor": "none", "alpha": 0.85, "pad": 2})

    def _curves(self, ax: Any) -> None:
        count = range(1, MOST + 1)
        for name, errors in self._errors.items():
            ax.plot(count, errors, color=COLORS[name], label=name)
        (self._marker,) = ax.plot([], [], "o", markersize=11, markerfacecolor="none", markeredgewidth=2, color=INK)
        ax.set(yscale="log", xlabel="Euler steps", ylabel="distance of the ends to the exact ends, data units")
        ax.set_xticks([1, 2, 4, 8, 12, 16])
        ax.set_title("error by number of steps")
        ax.legend(frameon=False, loc="upper right")

    def _euler(self, name: str, steps: int) -> Tensor:
        start = self._paths[name][0]
        times = uniform_times(PATH, steps, end=0, dtype=start.dtype, device=start.device)
        return torch.stack([x for _, x in trajectory(self._flows[name], Euler(), start, times)])

    def numbers(self, coupling: str) -> dict[str, float]:
        """Transport cost of the flow's pairs, optimal cost of the same points, and bending over cost."""
        return dict(self._numbers[coupling])

    def errors(self, coupling: str) -> list[float]:
        """Root mean square distance of Euler's ends to the exact ends, for 1 to 16 steps."""
        return list(self._errors[coupling])

    @staticmethod
    def _until(states: Tensor, t: float) -> Tensor:
        """The polygon of states at equal time steps from 1 to 0, cut at time t: shape (corners, B, 2)."""
        steps = len(states) - 1
        gone = (1 - t) * steps
        whole = min(int(gone + 1e-9), steps - 1)
        here = states[whole] + (gone - whole) * (states[whole + 1] - states[whole])
        return torch.cat([states[: whole + 1], here[None]])

    def _draw(self, values: dict[str, Any]) -> bytes:
        name, t = values["coupling"], values["t"]
        ways = self._until(self._euler(name, values["steps"]), t)
        exact = self._paths[name]
        self._exact.set_segments(list(exact.transpose(0, 1).cpu().numpy()))
        self._ways.set_segments(list(ways.transpose(0, 1).cpu().numpy()))
        self._ways.set_color(COLORS[name])
        self._dots.set_color(COLORS[name])
        self._dots.set_offsets(ways[-1].cpu().numpy())
        self._start.set_offsets(exact[0].cpu().numpy())
        self._goal.set_offsets(exact[-1].cpu().numpy())
        found = self._numbers[name]
        self._caption.set_text(
            f"cost {found['cost']:.2f}; optimal {found['optimal']:.2f}; bending over cost {found['bending']:.2g}"
        )
        self._marker.set_data([values["steps"]], [self._errors[name][values["steps"] - 1]])
        self._marker.set_color(COLORS[name])
        return self._figure.png()

    def _repr_mimebundle_(self, **formats: Any) -> dict[str, Any]:
        return self.picture._repr_mimebundle_(**formats)

    def __repr__(self) -> str:
        return repr(self.picture)

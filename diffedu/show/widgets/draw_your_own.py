"""The widget of chapter 0: paint points, and let the exact denoiser of just these points diffuse them."""

from __future__ import annotations

import functools
import math
import re
from typing import Any

import ipywidgets
import torch
from matplotlib import rc_context
from matplotlib.collections import LineCollection
from torch import Tensor

from diffedu._tensor import seeded
from diffedu.core.oracle import DatasetDenoiser, GaussianMixture
from diffedu.core.path import Cosine, GaussianPath
from diffedu.core.times import uniform_times
from diffedu.sampling import DDIM, start_noise, trajectory
from diffedu.show.plots import square
from diffedu.show.style import DATA, EXTRA, INK, NOISE, RC, SCORE, panels
from diffedu.show.widgets.picture import MovingFigure, Picture, side_by_side

LIMIT = 3.0
"""Both panels show [-LIMIT, LIMIT]^2, data units."""
MOST = 300
"""The largest number of points."""
CLOUD = 300
TAILS = 12
CELLS = 44
NEAR = 0.05
"""A sample this close to a painted point, data units, counts as that point."""
_NUMBER = r"[+-]?(?:\d+\.?\d*|\.\d+)"
_POINT = re.compile(rf"({_NUMBER})\s+({_NUMBER})")


def _circle(count: int, radius: float, x: float = 0.0, y: float = 0.0, *, turns: float = 1.0) -> list[list[float]]:
    angles = [2 * math.pi * turns * k / count for k in range(count)]
    return [[x + radius * math.cos(a), y + radius * math.sin(a)] for a in angles]


def _shapes() -> dict[str, list[list[float]]]:
    """Name to points: what stands on the sheet before the reader paints."""
    mouth = [[1.2 * math.cos(a), 1.2 * math.sin(a)] for a in (math.pi * (1.15 + 0.7 * k / 8) for k in range(9))]
    return {
        "a face": [*_circle(24, 2.2), [-0.8, 0.7], [0.8, 0.7], *mouth],
        "a spiral": [[0.11 * k * math.cos(0.55 * k), 0.11 * k * math.sin(0.55 * k)] for k in range(5, 27)],
        "a lattice": [[float(x), float(y)] for x in (-2, -1, 0, 1, 2) for y in (-2, -1, 0, 1, 2)],
        "two points": [[-1.0, 0.0], [1.0, 0.0]],
        "nothing": [],
    }


def _text(points: list[list[float]]) -> str:
    return "; ".join(f"{x:.2f} {y:.2f}" for x, y in points)


SHAPES = {name: _text(points) for name, points in _shapes().items()}

# The sheet that lies over the picture. It writes what is painted into the text field "points", as a hand would type it;
# the field is the widget's only memory. Plain HTML: it works wherever ipywidgets do, without an extension.
_PAD = """<div style="width:100%; aspect-ratio:{width}/{height}; cursor:crosshair; touch-action:none; user-select:none"
title="press and drag in the left panel to paint points" aria-hidden="true"
onpointerdown="this.last = null; this.setPointerCapture(event.pointerId); this.onpointermove(event)"
onpointermove="if (!event.buttons) return; event.preventDefault();
const all = this.closest('.diffedu-own'), box = all.querySelector('.diffedu-picture').getBoundingClientRect();
const u = ((event.clientX - box.left) / box.width - {left}) / {across};
const v = ((box.bottom - event.clientY) / box.height - {bottom}) / {up};
if (u &lt; 0 || u &gt; 1 || v &lt; 0 || v &gt; 1) return;
const x = (2 * u - 1) * {limit}, y = (2 * v - 1) * {limit};
if (this.last &amp;&amp; Math.hypot(x - this.last[0], y - this.last[1]) &lt; 0.15) return;
this.last = [x, y];
const field = all.querySelector('.diffedu-points input'), so_far = field.value.trim().replace(/;$/, '');
field.value = (so_far ? so_far + '; ' : '') + x.toFixed(2) + ' ' + y.toFixed(2);
field.dispatchEvent(new Event('change', {{bubbles: true}}));"></div>"""


def read_points(text: str) -> Tensor:
    """Points written as "x y; x y", shape (N, 2).

    Raises:
        ValueError: a part is no pair of numbers, a point lies off the sheet, or there are too many.

    Example:
        >>> read_points("0 1; -0.5 2.25")
        tensor([[ 0.0000,  1.0000],
                [-0.5000,  2.2500]])
    """
    found = []
    for part in filter(None, (piece.strip() for piece in text.split(";"))):
        match = _POINT.fullmatch(part)
        if match is None:
            raise ValueError(f'cannot read "{part}"; a point is two numbers, as "0.5 -1"')
        x, y = float(match[1]), float(match[2])
        if max(abs(x), abs(y)) > LIMIT:
            raise ValueError(f"the sheet goes from -{LIMIT:g} to {LIMIT:g}, got the point {part}")
        found.append([x, y])
    if len(found) > MOST:
        raise ValueError(f"the sheet holds {MOST} points, got {len(found)}")
    return torch.tensor(found, device="cpu").reshape(-1, 2)


class DrawYourOwn:
    """Paint a few points; noise hides them, and the exact denoiser of these points finds them again.

    Left: the painted points, over the density of their noisy copies at time t. Right: samples at the same t, from noise
    to data by DDIM, each step with the posterior mean under the painted points. With a width of 0 this is a table that
    looks up the points (`DatasetDenoiser`): all samples end on them. With a width each point is a small Gaussian, and
    the samples are new.

    Paint by mouse or finger in the left panel; or place the cross by two sliders and press "add point"; or edit the
    line of text, "x y; x y", which holds all points.

    Args:
        path: how noise is added, with t from 0 to t_max.

    Taught in: chapter 0.

    Example:
        >>> own = DrawYourOwn()
        >>> own.shape.value = "two points"
        >>> own.moment.value = 1.0  # at the data's end
        >>> own.shares()  # of the samples that lie on a point, of the points that were found
        (1.0, 1.0)
    """

    def __init__(self, path: GaussianPath | None = None) -> None:
        self._path = Cosine() if path is None else path
        self._run = functools.lru_cache(maxsize=32)(self._sampled)
        style, slim = {"description_width": "initial"}, {"width": "300px"}
        self.shape = ipywidgets.Dropdown(
            options=list(SHAPES), description="start from", tooltip="put this shape on the sheet", style=style
        )
        self.points = ipywidgets.Text(
            value=SHAPES["a face"],
            description="points (x y; x y; ...)",
            continuous_update=False,
            style=style,
            layout={"width": "620px", "max_width": "98%"},
        )
        self.points.add_class("diffedu-points")
        self.x = ipywidgets.FloatSlider(
            value=0.0, min=-LIMIT, max=LIMIT, step=0.1, description="cross: x (data units)", style=style, layout=slim
        )
        self.y = ipywidgets.FloatSlider(
            value=0.0, min=-LIMIT, max=LIMIT, step=0.1, description="y (data units)", style=style, layout=slim
        )
        narrow = ipywidgets.Layout(width="auto")
        self.add, self.undo, self.clear = (
            ipywidgets.Button(description=name, tooltip=tip, layout=narrow)
            for name, tip in (
                ("add point", "put a point where the cross stands"),
                ("undo", "take the last point away"),
                ("clear", "take all points away"),
            )
        )
        self.moment = ipywidgets.FloatSlider(
            value=0.8,
            min=0.0,
            max=1.0,
            step=0.01,
            description="noise → data",
            readout=False,
            style=style,
            layout=slim,
        )
        self.steps = ipywidgets.SelectionSlider(
            options=[1, 2, 5, 10, 20, 40], value=40, description="steps", style=style, layout=slim
        )
        self.width = ipywidgets.FloatSlider(
            value=0.0,
            min=0.0,
            max=0.5,
            step=0.05,
            description="width of a point (data units)",
            style=style,
            layout={"width": "340px"},
        )

        with rc_context(RC):
            figure, (sheet, cloud) = panels(1, 2, width=9.6, height=4.7)
            self._shade = sheet.imshow(
                torch.zeros(CELLS, CELLS).numpy(),
                extent=(-LIMIT, LIMIT, -LIMIT, LIMIT),
                origin="lower",
                cmap="Greys",
                vmin=0.0,
                vmax=1.4,
                interpolation="bilinear",
                zorder=0,
            )
            self._painted = sheet.scatter([], [], s=14, color=DATA, linewidths=0, zorder=3)
            (self._cross,) = sheet.plot([], [], "+", color=EXTRA, markersize=14, markeredgewidth=2.5, zorder=4)
            self._behind = cloud.scatter([], [], s=26, facecolors="none", edgecolors=NOISE, linewidths=0.9, zorder=1)
            self._tails = LineCollection([], colors=SCORE, linewidths=0.8, alpha=0.6, zorder=2)
            cloud.add_collection(self._tails)
            self._dots = cloud.scatter([], [], s=8, color=SCORE, linewidths=0, zorder=3)
            for ax in (sheet, cloud):
                square(ax, LIMIT, ylabel="$x_2$" if ax is sheet else "")
                ax.grid(visible=False)
            sheet.set_title("paint here; grey: noisy copies")
            cloud.set_title("samples (orange), your points (rings)")
            box = {"facecolor": "white", "edgecolor": "none", "alpha": 0.85, "pad": 2}
            self._note, self._score = (
                ax.text(0.02, 0.02, "", transform=ax.transAxes, color=INK, fontsize=10, bbox=box, zorder=5)
                for ax in (sheet, cloud)
            )
        moving = [self._shade, self._painted, self._cross, self._note]
        self._figure = MovingFigure(figure, [*moving, self._behind, self._tails, self._dots, self._score])
        line = torch.linspace(-LIMIT, LIMIT, CELLS, device="cpu")
        self._cells = torch.cartesian_prod(line, line)

        place = sheet.get_position()
        pad = ipywidgets.HTML(
            _PAD.format(
                width=9.6,
                height=4.7,
                left=round(place.x0, 5),
                across=round(place.width, 5),
                bottom=round(place.y0, 5),
                up=round(place.height, 5),
                limit=LIMIT,
            )
        )
        controls = {
            "shape": self.shape,
            "points": self.points,
            "x": self.x,
            "y": self.y,
            "moment": self.moment,
            "steps": self.steps,
            "width": self.width,
        }
        self.picture = Picture(
            self._draw,
            controls,
            arrangement=ipywidgets.VBox(
                [
                    side_by_side(self.shape, self.points),
                    side_by_side(self.x, self.y, self.add, self.undo, self.clear),
                    side_by_side(self.moment, self.steps, self.width),
                ]
            ),
            over=pad,
            width=960,
            name="draw your own distribution",
            takeaway="A perfect denoiser of finitely many points gives back these points, and nothing new.",
        )
        self.picture.view.add_class("diffedu-own")
        self.shape.observe(lambda change: self._put(SHAPES[change["new"]]), names="value")
        self.add.on_click(lambda button: self._put(self._with_cross()))
        self.undo.on_click(lambda button: self._put("; ".join(self._parts()[:-1])))
        self.clear.on_click(lambda button: self._put(""))

    def _put(self, text: str) -> None:
        self.points.value = text

    def _parts(self) -> list[str]:
        return [part.strip() for part in self.points.value.split(";") if part.strip()]

    def _with_cross(self) -> str:
        return "; ".join([*self._parts(), f"{self.x.value:.2f} {self.y.value:.2f}"])

    def shares(self) -> tuple[float, float]:
        """Of the samples at the end, the share that lies on a painted point; and the share of points that were met."""
        values = self.picture.values()
        return self._shares(read_points(values["points"]), self._walk(values)[1][-1])

    @staticmethod
    def _shares(points: Tensor, x: Tensor) -> tuple[float, float]:
        close = torch.cdist(x, points) < NEAR
        return close.any(1).float().mean().item(), close.any(0).float().mean().item()

    def _walk(self, values: dict[str, Any]) -> tuple[Tensor, Tensor]:
        return self._run(values["points"], values["steps"], round(values["width"], 6))

    def _sampled(self, text: str, steps: int, width: float) -> tuple[Tensor, Tensor]:
        """The times, shape (steps + 1,), and the samples at each, shape (steps + 1, CLOUD, 2)."""
        points = read_points(text)
        if width == 0:
            denoiser: Any = DatasetDenoiser(points, self._path)
        else:
            denoiser = GaussianMixture.isotropic(points, width).denoiser(self._path)
        start = start_noise(self._path, (CLOUD, 2), seeded(0))
        times = uniform_times(self._path, steps, end=0)
        return times, torch.stack([x for _, x in trajectory(denoiser, DDIM(), start, times)])

    def _draw(self, values: dict[str, Any]) -> bytes:
        points = read_points(values["points"])
        self._painted.set_offsets(points.numpy())
        self._behind.set_offsets(points.numpy())
        self._cross.set_data([values["x"]], [values["y"]])
        if len(points) == 0:
            self._shade.set_data(torch.zeros(CELLS, CELLS).numpy())
            self._tails.set_segments([])
            self._dots.set_offsets(points.numpy())
            self._note.set_text("an empty sheet: paint a point")
            self._score.set_text("")
            return self._figure.png()

        times, states = self._walk(values)
        at = round(values["moment"] * (len(times) - 1))
        c = self._path(times[at])
        std = (c.alpha**2 * values["width"] ** 2 + c.sigma**2).sqrt().clamp(min=0.08)  # at t = 0: blots, not nothing
        squares = torch.cdist(self._cells, c.alpha * points).square()
        shade = torch.exp(-squares / (2 * std**2)).sum(1)
        self._shade.set_data((shade / shade.max()).sqrt().reshape(CELLS, CELLS).T.numpy())
        self._tails.set_segments(list(states[: at + 1, :TAILS].transpose(0, 1).numpy()))
        self._dots.set_offsets(states[at].numpy())
        count = f"{len(points)} point{'s' if len(points) > 1 else ''}"
        self._note.set_text(f"{count}; t = {times[at]:.2f}")
        on, found = self._shares(points, states[-1])
        self._score.set_text(
            f"at the end {on:.0%} of {CLOUD} samples lie on a point,\nand {found:.0%} of the points are met"
        )
        return self._figure.png()

    def _repr_mimebundle_(self, **formats: Any) -> dict[str, Any]:
        return self.picture._repr_mimebundle_(**formats)

    def __repr__(self) -> str:
        return repr(self.picture)

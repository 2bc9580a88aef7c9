"""The widget of chapter 9: turn the noisy point in the plane of coefficients; see one best guess, and who is stable."""

from __future__ import annotations

import math
from typing import Any

import ipywidgets
import torch
from matplotlib import rc_context
from torch import Tensor

from diffedu._tensor import randn, seeded
from diffedu.core.oracle import GaussianMixture
from diffedu.core.path import VP, Cosine, GaussianPath, PathCoefficients, RectifiedFlow
from diffedu.core.prediction import PREDICTIONS
from diffedu.show.plots import square
from diffedu.show.style import DATA, EXTRA, GUIDED, INK, NOISE, RC, SCORE, VELOCITY, panels
from diffedu.show.widgets.picture import MovingFigure, Picture, side_by_side

PATHS: dict[str, GaussianPath] = {"cosine": Cosine(), "VP": VP(), "rectified flow": RectifiedFlow()}
COLORS = {"eps": EXTRA, "x0": DATA, "v": GUIDED, "score": SCORE, "velocity": VELOCITY}
REACH = 2.0
"""Arrows longer than this are drawn with this length."""
LARGEST = 100.0
"""Amplifications beyond it fill the panel."""


class ParameterisationDial:
    """Five predictions at one noise level: their weights as arrows, one best guess as a field, their amplifications.

    Left: the noisy point (alpha, sigma) and the five targets (a, b) as arrows of one plane. Middle: the mean of the
    chosen target given x_t, over the plane of the data. Right: by how much a relative error of each target is larger
    in x0_hat (upper bar) and in eps_hat (lower bar).

    Args:
        mixture: the data, in the plane.
        limit: the field is shown on [-limit, limit]^2.

    Raises:
        ValueError: the mixture is not in the plane.

    Taught in: chapter 9.

    Example:
        >>> dial = ParameterisationDial(GaussianMixture.ring(8))
        >>> dial.t.value = 0.5  # the middle of the cosine path: x0 and eps at 45 degrees, v at 90
        >>> {name: (round(a, 2), round(b, 2)) for name, (a, b) in dial.amplifications().items() if name in ("eps", "v")}
        {'eps': (1.0, 1.0), 'v': (0.71, 0.71)}
    """

    def __init__(self, mixture: GaussianMixture, *, limit: float = 2.5) -> None:
        if mixture.D != 2:
            raise ValueError(f"the widget draws points of the plane, got a mixture in {mixture.D} dimensions")
        self._mixture = mixture
        device, dtype = mixture.means.device, mixture.means.dtype
        self._clean = mixture.sample(300, seeded(0, device))
        self._noise = randn(self._clean.shape, seeded(1, device), dtype=dtype, device=device)
        line = torch.linspace(-0.88 * limit, 0.88 * limit, 11, dtype=dtype, device=device)
        self._lattice = torch.cartesian_prod(line, line)
        self._longest = 0.19 * limit

        style, wide = {"description_width": "60px"}, {"width": "420px"}
        self.path = ipywidgets.Dropdown(options=list(PATHS), description="path", style=style)
        self.target = ipywidgets.Dropdown(options=list(PREDICTIONS), description="target", style=style)
        self.t = ipywidgets.FloatSlider(
            value=0.3, min=0.01, max=0.99, step=0.01, description="time t", style=style, layout=wide
        )
        with rc_context(RC):
            figure, (plane, field, bars) = panels(1, 3, width=12.4, height=4.0)
            self._plane(plane)
            self._field(field, limit)
            self._bars(bars)
        moving = [self._curve, *self._arrows, *self._names, self._dots, self._quiver, self._caption, *self._rects]
        self._figure = MovingFigure(figure, [*moving, *self._numbers])
        self.picture = Picture(
            self._draw,
            {"t": self.t, "path": self.path, "target": self.target},
            arrangement=side_by_side(self.t, self.path, self.target),
            width=1120,
            name="five predictions, one plane",
            takeaway="All five targets hold one best guess; they differ in where they blow up an error.",
        )

    def _plane(self, ax: Any) -> None:
        (self._curve,) = ax.plot([], [], color=NOISE, linewidth=1)
        self._arrows, self._names = [], []
        for name in ("x_t", *PREDICTIONS):
            color = COLORS.get(name, INK)
            (arrow,) = ax.plot(
                [0, 1], [0, 1], color=color, linewidth=3 if name == "x_t" else 2, marker="o", markevery=[1]
            )
            self._arrows.append(arrow)
            self._names.append(ax.text(0, 0, "$x_t$" if name == "x_t" else name, color=color, ha="center", va="center"))
        ax.set(xlim=(-2.4, 2.4), ylim=(-2.4, 2.4), aspect="equal", title="targets and noisy point")
        ax.set(xlabel="share of $x_0$", ylabel=r"share of $\varepsilon$")

    def _field(self, ax: Any, limit: float) -> None:
        self._dots = ax.scatter([], [], s=4, color="#C9C9C9", linewidths=0)
        x, y = self._lattice.cpu().T
        self._quiver = ax.quiver(x, y, 0 * x, 0 * y, angles="xy", scale_units="xy", scale=1, width=0.007)
        square(ax, limit)
        ax.set_title("the best guess of one target")
        self._caption = ax.text(0.03, 0.03, "", transform=ax.transAxes, color=INK, fontsize=10)
        self._caption.set_bbox({"facecolor": "white", "edgecolor": "none", "alpha": 0.85, "pad": 2})

    def _bars(self, ax: Any) -> None:
        ax.set(xscale="log", xlim=(0.01, LARGEST), ylim=(-0.7, 4.7), yticks=range(5), yticklabels=[])
        ax.set(
            xlabel="amplification of a relative error",
            ylabel="target",
            title=r"into $\hat x_0$ (full), into $\hat\varepsilon$ (pale)",
        )
        ax.axvline(1, color=INK, linewidth=1)
        self._rects, self._numbers = [], []
        for row, name in enumerate(PREDICTIONS):
            for half in range(2):
                at = 4 - row + 0.2 - 0.4 * half
                (rect,) = ax.barh([at], [1], height=0.36, color=COLORS[name], alpha=0.95 if half == 0 else 0.4)
                self._rects.append(rect)
                number = ax.text(0, at, "", va="center", color=INK, fontsize=9, zorder=4)
                number.set_bbox({"facecolor": "white", "edgecolor": "none", "pad": 0.5})  # over the line at 1
                self._numbers.append(number)
        ax.set_yticklabels(list(PREDICTIONS)[::-1])

    def _now(self, values: dict[str, Any]) -> tuple[GaussianPath, Tensor, PathCoefficients]:
        path = PATHS[values["path"]]
        t = torch.tensor(values["t"] * path.t_max, dtype=self._clean.dtype, device=self._clean.device)
        return path, t, path(t)

    @staticmethod
    def _amplifications(c: PathCoefficients) -> dict[str, tuple[float, float]]:
        found = {}
        for name, prediction in PREDICTIONS.items():
            a, b = (float(w) for w in prediction.weights(c))
            size = math.hypot(a, b) / max(abs(float(prediction.determinant(c))), 1e-12)
            found[name] = (float(c.sigma) * size, float(c.alpha) * size)
        return found

    def amplifications(self) -> dict[str, tuple[float, float]]:
        """For each prediction: a relative error of it, times this, is the error of x0_hat; and that of eps_hat."""
        return self._amplifications(self._now(self.picture.values())[2])

    def field(self) -> Tensor:
        """The shown best guess at the points of the lattice, shape (121, 2), unscaled."""
        return self._guess(self.picture.values())

    def _guess(self, values: dict[str, Any]) -> Tensor:
        path, t, c = self._now(values)
        x0_hat = self._mixture.posterior_mean(self._lattice, t, path)
        return PREDICTIONS[values["target"]].from_x0(x0_hat, self._lattice, c)

    def _draw(self, values: dict[str, Any]) -> bytes:
        path, t, c = self._now(values)
        along = path(torch.linspace(0, path.t_max, 60, dtype=torch.float64))
        self._curve.set_data(along.alpha.numpy(), along.sigma.numpy())
        vectors = [(float(c.alpha), float(c.sigma))]
        vectors += [(float(a), float(b)) for a, b in (p.weights(c) for p in PREDICTIONS.values())]
        for (a, b), arrow, name in zip(vectors, self._arrows, self._names, strict=True):
            # The velocity may lie on top of v, and x_t nearly on top of eps: their names stand at a side.
            beside = {COLORS["v"]: 0.25, INK: -0.22}.get(arrow.get_color(), 0.0)
            length = math.hypot(a, b)
            shown = min(length, REACH)
            a, b = a / length * shown, b / length * shown
            arrow.set_data([0, a], [0, b])
            ahead = 0.25 - abs(beside)
            name.set_position((a + (ahead * a - beside * b) / shown, b + (ahead * b + beside * a) / shown))

        guess = self._guess(values)
        typical = guess.norm(dim=1).quantile(0.9)
        self._quiver.set_UVC(*(self._longest / typical * guess).cpu().T.numpy())
        self._quiver.set_color(COLORS[values["target"]])
        self._dots.set_offsets(path.add_noise(self._clean, self._noise, t).cpu().numpy())
        half_log_snr = float(c.half_log_snr)
        self._caption.set_text(f"longest arrow {typical:.2g};  $\\lambda$ = {half_log_snr:.1f}")

        values_of_bars = [value for pair in self._amplifications(c).values() for value in pair]
        for value, rect, number in zip(values_of_bars, self._rects, self._numbers, strict=True):
            shown = min(value, LARGEST)
            rect.set_width(shown)
            inside = shown > 8
            number.set_text(f"{value:.2g} ")
            number.set_position((shown * (0.97 if inside else 1.15), number.get_position()[1]))
            number.set_ha("right" if inside else "left")
            number.get_bbox_patch().set_visible(not inside)
        return self._figure.png()

    def _repr_mimebundle_(self, **formats: Any) -> dict[str, Any]:
        return self.picture._repr_mimebundle_(**formats)

    def __repr__(self) -> str:
        return repr(self.picture)

"""The widget of chapter 0: drag time, and see where each noisy point is told to go."""

from __future__ import annotations

import functools
from typing import Any

import ipywidgets
import torch
from matplotlib import rc_context
from matplotlib.collections import LineCollection
from torch import Tensor

from diffedu._tensor import seeded
from diffedu.core.oracle import GaussianMixture
from diffedu.core.path import GaussianPath
from diffedu.core.times import uniform_times
from diffedu.sampling import DDIM, start_noise, trajectory
from diffedu.show.plots import square
from diffedu.show.style import DATA, INK, NOISE, RC, SCORE, panels
from diffedu.show.widgets.picture import MovingFigure, Picture

POINTS = 300
ARROWS = 40


class FirstDiffusion:
    """A cloud on its way from noise to data, with lines from some of its points to their best guesses.

    Moving the time looks up the stored run; the other controls start a new one.

    Args:
        mixture: the data, in the plane.
        path: how noise is added.
        limit: the panel shows [-limit, limit]^2.

    Taught in: chapter 0.

    Example:
        >>> from diffedu.core import Cosine
        >>> widget = FirstDiffusion(GaussianMixture.ring(8), Cosine())
        >>> before = widget.picture.png
        >>> widget.moment.value = 1.0
        >>> widget.picture.png == before
        False
    """

    def __init__(self, mixture: GaussianMixture, path: GaussianPath, *, limit: float = 3.0) -> None:
        self._path, self._denoiser = path, mixture.denoiser(path)
        style, wide = {"description_width": "130px"}, {"width": "420px"}
        self.moment = ipywidgets.FloatSlider(
            value=0.4, min=0.0, max=1.0, step=0.01, description="noise → data", readout=False, style=style, layout=wide
        )
        self.steps = ipywidgets.SelectionSlider(
            options=[1, 2, 3, 5, 10, 20, 40], value=40, description="steps", style=style, layout=wide
        )
        self.seed = ipywidgets.IntSlider(
            value=0, min=0, max=20, description="seed of the noise", style=style, layout=wide
        )
        self._run = functools.lru_cache(maxsize=32)(self._sample)

        figure, (ax,) = panels(1, 1, width=6.6, height=4.8)
        with rc_context(RC):
            data = mixture.sample(600, seeded(99)).numpy()
            ax.scatter(data[:, 0], data[:, 1], s=4, color="#CCCCCC", linewidths=0)
            self._dots = ax.scatter([], [], s=9, color=DATA, linewidths=0, zorder=3)
            self._lines = LineCollection([], colors=SCORE, linewidths=1.0, alpha=0.8, zorder=2)
            ax.add_collection(self._lines)
            square(ax, limit)
            self._title = ax.text(0.5, 1.02, "t = 0.00", ha="center", transform=ax.transAxes, color=INK)
            ax.text(1.03, 0.95, "grey: the data", transform=ax.transAxes, color=NOISE, va="top")
            ax.text(1.03, 0.88, "blue: the state", transform=ax.transAxes, color=DATA, va="top")
            ax.text(
                1.03, 0.81, "orange: from a state\nto its best guess", transform=ax.transAxes, color=SCORE, va="top"
            )
        self._figure = MovingFigure(figure, [self._lines, self._dots, self._title])
        controls = {"moment": self.moment, "steps": self.steps, "seed": self.seed}
        self.picture = Picture(
            self._draw,
            controls,
            width=640,
            name="the first diffusion",
            takeaway="All guesses start in the middle; a group is chosen in a short span, the rest only sharpens.",
        )

    def _sample(self, steps: int, seed: int) -> list[tuple[Tensor, Tensor]]:
        start = start_noise(self._path, (POINTS, 2), seeded(seed))
        return list(trajectory(self._denoiser, DDIM(), start, uniform_times(self._path, steps, end=0)))

    def _draw(self, values: dict[str, Any]) -> bytes:
        states = self._run(values["steps"], values["seed"])
        t, x = states[round(values["moment"] * (len(states) - 1))]
        guesses = self._denoiser(x[:ARROWS], t)
        self._dots.set_offsets(x.numpy())
        self._lines.set_segments([segment.numpy() for segment in torch.stack([x[:ARROWS], guesses], dim=1)])
        self._title.set_text(f"t = {t.item():.2f}")
        return self._figure.png()

    def _repr_mimebundle_(self, **formats: Any) -> dict[str, Any]:
        return self.picture._repr_mimebundle_(**formats)

    def __repr__(self) -> str:
        return repr(self.picture)

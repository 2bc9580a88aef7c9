"""The widget of chapter 4: drag the noise level, and see the density of noisy points and its score."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ipywidgets
import torch
from matplotlib import colormaps, rc_context
from torch import Tensor

from diffedu._tensor import seeded
from diffedu.core.oracle import GaussianMixture
from diffedu.core.path import GaussianPath
from diffedu.show.plots import square
from diffedu.show.style import INK, RC, SCORE, panels
from diffedu.show.widgets.picture import MovingFigure, Picture

ARROWS = 15
PIXELS = 51
POINTS = 300
SHADES = 16


class ScoreField:
    r"""Arrows sigma(t) times the score, over the density of x_t: exact, and learned where a learned one is given.

    A score grows as 1 / sigma; multiplied by sigma it is minus the expected noise, of one size at all levels. The
    learned panel colours its ground by the relative error, |learned - exact| / |exact|: white where it is right.

    Args:
        mixture: the data, in the plane.
        path: how noise is added; the slider runs over its times from t_min to t_max.
        learned: called as learned(x_t, t) with x_t (B, 2) and t (B,); returns the score (B, 2).
        limit: the panels show [-limit, limit]^2.
        start: where the slider stands at first, as a share of the way from t_min to t_max.

    Taught in: chapter 4.

    Example:
        >>> from diffedu.core import VE
        >>> widget = ScoreField(GaussianMixture.ring(3), VE(0.05, 5.0))
        >>> before = widget.picture.png
        >>> widget.level.value = 1.0
        >>> widget.picture.png == before
        False
    """

    def __init__(
        self,
        mixture: GaussianMixture,
        path: GaussianPath,
        learned: Callable[[Tensor, Tensor], Tensor] | None = None,
        *,
        limit: float = 4.5,
        start: float = 0.0,
    ) -> None:
        self._mixture, self._path, self._learned = mixture, path, learned
        dtype, device = mixture.means.dtype, mixture.means.device
        line = torch.linspace(-limit, limit, PIXELS, dtype=dtype, device=device)
        self._ground = torch.cartesian_prod(line, line).flip(1)  # rows of the picture are y
        every = torch.linspace(-0.92 * limit, 0.92 * limit, ARROWS, dtype=dtype, device=device)
        self._tails = torch.cartesian_prod(every, every)
        self.level = ipywidgets.FloatSlider(
            value=start,
            min=0.0,
            max=1.0,
            step=0.01,
            description="less noise → more",
            readout=False,
            style={"description_width": "130px"},
            layout={"width": "480px"},
        )

        figure, axes = panels(1, 2 if learned else 1, width=9.4 if learned else 4.9, height=4.4)
        extent = (-limit, limit, -limit, limit)
        blank = torch.zeros(PIXELS, PIXELS).numpy()
        tails, flat = self._tails.cpu().numpy(), self._tails.new_zeros(len(self._tails)).cpu().numpy()
        moving: list[Any] = []
        self._images, self._quivers, self._titles = [], [], []
        with rc_context(RC):
            data = mixture.sample(POINTS, seeded(99, device)).cpu().numpy()
            for ax, cmap in zip(axes, ("Blues", "Oranges"), strict=False):
                image = ax.imshow(
                    blank,
                    extent=extent,
                    origin="lower",
                    cmap=colormaps[cmap].resampled(SHADES),  # flat bands make small PNG files
                    vmin=0,
                    vmax=1.6,
                    interpolation="bilinear",
                )
                dots = ax.scatter(data[:, 0], data[:, 1], s=3, color=INK, alpha=0.35, linewidths=0)
                quiver = ax.quiver(
                    tails[:, 0],
                    tails[:, 1],
                    flat,
                    flat,
                    color=SCORE if cmap == "Blues" else INK,
                    angles="xy",
                    scale_units="xy",
                    scale=3.2 * (ARROWS - 1) / (2 * limit),  # an arrow of 3.2 reaches the next tail
                    width=0.0045,
                )
                square(ax, limit)
                ax.grid(False)
                title = ax.text(0.5, 1.03, " ", ha="center", transform=ax.transAxes, color=INK, fontsize=12)
                self._images.append(image)
                self._quivers.append(quiver)
                self._titles.append(title)
                moving += [image, dots, quiver, title]
        self._figure = MovingFigure(figure, moving)
        width = 940 if learned else 490
        self.picture = Picture(
            self._draw,
            {"level": self.level},
            width=width,
            name="a score field",
            takeaway="Noise melts the islands into one: then arrows lead home from everywhere, to the middle.",
        )

    def time(self) -> float:
        """The path's time at which the slider stands."""
        return self._path.t_min + self.level.value * (self._path.t_max - self._path.t_min)

    def _draw(self, values: dict[str, Any]) -> bytes:
        t = self._tails.new_tensor(self.time())
        sigma, noised = self._path(t).sigma, self._mixture.noised(self._path, t)
        log_density = noised.log_prob(self._ground)
        fields = [noised.score(self._tails)]
        grounds = [(log_density - log_density.max()).exp().sqrt()]  # the root keeps faint islands visible
        titles = [f"exact, σ = {sigma.item():.2f}"]
        if self._learned is not None:
            with torch.no_grad():
                fields.append(self._learned(self._tails, t.expand(len(self._tails))))
                guess = self._learned(self._ground, t.expand(len(self._ground)))
            exact = noised.score(self._ground)
            grounds.append(
                ((guess - exact).norm(dim=1) / exact.norm(dim=1).clamp(min=0.1 / sigma.item())).clamp(max=1.0)
            )
            titles.append("learned; orange: where it is wrong")
        for field, ground, title, image, quiver, text in zip(
            fields, grounds, titles, self._images, self._quivers, self._titles, strict=True
        ):
            arrows = sigma * field
            arrows = arrows / (arrows.norm(dim=1, keepdim=True) / 3.0).clamp(
                min=1.0
            )  # none longer than the cells' width
            image.set_data(ground.reshape(PIXELS, PIXELS).cpu().numpy())
            quiver.set_UVC(*arrows.T.cpu().numpy())
            text.set_text(title)
        return self._figure.png()

    def _repr_mimebundle_(self, **formats: Any) -> dict[str, Any]:
        return self.picture._repr_mimebundle_(**formats)

    def __repr__(self) -> str:
        return repr(self.picture)

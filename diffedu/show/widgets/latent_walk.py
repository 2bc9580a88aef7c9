"""The latent walk of chapter 17: from one picture to another, through the latents and through the pixels."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import ipywidgets
import torch
from torch import Tensor

from diffedu.nn import VAE
from diffedu.show.plots import montage
from diffedu.show.style import INK, new_figure
from diffedu.show.widgets.picture import MovingFigure, Picture, side_by_side

WAYS = ("straight", "spherical")


def between(a: Tensor, b: Tensor, share: float, way: str = "straight") -> Tensor:
    """The point at this share of the way from a to b, of their shape; "spherical" goes along an arc around zero.

    Example:
        >>> a, b = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])
        >>> print(f"{between(a, b, 0.5).norm():.2f} {between(a, b, 0.5, 'spherical').norm():.2f}")  # the chord, the arc
        0.71 1.00
    """
    if way == "straight":
        return (1 - share) * a + share * b
    cosine = (a * b).sum() / (a.norm() * b.norm())
    angle = torch.acos(cosine.clamp(-1, 1))
    if math.sin(float(angle)) < 1e-4:  # one direction: the arc is the line
        return (1 - share) * a + share * b
    return (torch.sin((1 - share) * angle) * a + torch.sin(share * angle) * b) / torch.sin(angle)


class LatentWalk:
    """Two pictures, and what lies between them: decoded from the latents, and as a cross-fade of pixels.

    The latents are encoded once; a redraw decodes one picture.

    Args:
        vae: a trained autoencoder.
        pictures: name to picture (C, H, W) in [-1, 1], at least two.
        device: where the autoencoder lives.

    Raises:
        ValueError: fewer than two pictures.

    Taught in: chapter 17.

    Example:
        >>> from diffedu.nn import VAEConfig
        >>> white = torch.ones(3, 32, 32)
        >>> walk = LatentWalk(VAE(VAEConfig(width=16)), {"white": white, "black": -white})
        >>> before = walk.picture.png
        >>> walk.share.value = 1.0
        >>> walk.picture.png == before
        False
    """

    def __init__(self, vae: VAE, pictures: Mapping[str, Tensor], *, device: torch.device | str = "cpu") -> None:
        if len(pictures) < 2:
            raise ValueError(f"a walk needs two pictures, got {len(pictures)}")
        self._vae, self._names = vae, list(pictures)
        self._pictures = torch.stack(list(pictures.values())).to(device)
        with torch.no_grad():
            self._latents = vae.to_latents(self._pictures)

        style, wide = {"description_width": "60px"}, {"width": "420px"}
        self.first = ipywidgets.Dropdown(options=self._names, description="from", style=style)
        self.second = ipywidgets.Dropdown(options=self._names, value=self._names[1], description="to", style=style)
        self.way = ipywidgets.Dropdown(options=list(WAYS), description="way", style=style)
        self.share = ipywidgets.FloatSlider(
            value=0.5, min=0.0, max=1.0, step=0.01, description="share", style=style, layout=wide
        )
        figure = new_figure(9.6, 2.9)
        figure.set_layout_engine("none")
        blank = montage(torch.zeros(1, *self._pictures.shape[1:]), columns=1, gap=0)
        self._sheets, self._titles = [], []
        for k in range(4):
            ax = figure.add_axes((0.01 + 0.248 * k, 0.12, 0.235, 0.74))
            ax.set_axis_off()
            self._sheets.append(ax.imshow(blank, interpolation="nearest"))
            self._titles.append(
                ax.text(0.5, 1.03, "", transform=ax.transAxes, ha="center", va="bottom", fontsize=12, color=INK)
            )
        self._takeaway = figure.text(0.5, 0.03, "", ha="center", va="bottom", fontsize=12, color=INK)
        self._figure = MovingFigure(figure, [*self._sheets, *self._titles, self._takeaway])
        controls = {"first": self.first, "second": self.second, "way": self.way, "share": self.share}
        self.picture = Picture(
            self._draw,
            controls,
            arrangement=ipywidgets.VBox([side_by_side(self.first, self.second, self.way), self.share]),
            width=960,
            name="a walk through the latents",
            takeaway="Halfway the straight walk has shorter latents than any picture; the arc keeps their length.",
        )

    def ends(self) -> tuple[Tensor, Tensor]:
        """The standardised latents of the two chosen pictures, each (4, 8, 8)."""
        i, j = (self._names.index(choice.value) for choice in (self.first, self.second))
        return self._latents[i], self._latents[j]

    def latents(self) -> Tensor:
        """Where the walk stands now: standardised latents of the shape of one picture's."""
        return between(*self.ends(), self.share.value, self.way.value)

    def decoded(self) -> Tensor:
        """The picture decoded there, (C, H, W) in [-1, 1]."""
        with torch.no_grad():
            return self._vae.from_latents(self.latents()[None])[0].clamp(-1, 1)

    def _draw(self, values: dict[str, Any]) -> bytes:
        i, j = self._names.index(values["first"]), self._names.index(values["second"])
        fade = between(self._pictures[i], self._pictures[j], values["share"])
        shown = [
            (values["first"], self._pictures[i]),
            ("latents, decoded", self.decoded()),
            ("pixels, cross-faded", fade),
            (values["second"], self._pictures[j]),
        ]
        for (name, picture), sheet, title in zip(shown, self._sheets, self._titles, strict=True):
            sheet.set_data(montage(picture[None], columns=1, gap=0))
            title.set_text(name)
        a, b = self.ends()
        shorter = float(self.latents().norm() / (0.5 * (a.norm() + b.norm())))
        self._takeaway.set_text(f"length of the latents here: {100 * shorter:.0f} % of that at the ends")
        return self._figure.png()

    def _repr_mimebundle_(self, **formats: Any) -> dict[str, Any]:
        return self.picture._repr_mimebundle_(**formats)

    def __repr__(self) -> str:
        return repr(self.picture)

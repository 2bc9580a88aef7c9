"""The widget of chapter 2: Langevin walkers on a ring of modes, and the shares that they find."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import ipywidgets
import torch
from matplotlib import rc_context
from torch import Tensor

from diffedu._tensor import seeded
from diffedu.sampling import MALA, ULA
from diffedu.show.plots import square
from diffedu.show.style import INK, NOISE, RC, SCORE, panels
from diffedu.show.widgets.picture import MovingFigure, Picture, log_slider, side_by_side

POINTS = 300
STD = 0.5
LIMIT = 5.5
MOST_MODES = 5
CELLS = 60


class Ring:
    """Round modes on a circle, neighbours `separation` apart; mode k of K has a share proportional to k.

    `GaussianMixture` would do. This one knows that all modes are round and of one width, and is three times faster.

    Args:
        modes: K, at least 1.
        separation: distance of neighbours, data units.
        device: where the means live.

    Example:
        >>> ring = Ring(2, 3.0)
        >>> ring.means[:, 0]
        tensor([-1.5000,  1.5000])
    """

    def __init__(self, modes: int, separation: float, device: torch.device | str = "cpu") -> None:
        radius = separation / (2 * math.sin(math.pi / modes)) if modes > 1 else 0.0
        angle = math.pi + torch.arange(modes, device=device) * (2 * math.pi / modes)  # the first mode is the left one
        self.means = radius * torch.stack([angle.cos(), angle.sin()], dim=1)
        self.weights = torch.arange(1.0, modes + 1, device=device) / (modes * (modes + 1) / 2)
        self._constant = self.weights.log() - self.means.square().sum(1) / (2 * STD**2)

    def _logits(self, x: Tensor) -> Tensor:
        """log(w_k N(x; m_k)) but for what is equal for all k, shape (B, K)."""
        return x @ self.means.T / STD**2 + self._constant

    def log_prob(self, x: Tensor) -> Tensor:
        """log p up to a constant, shape (B,)."""
        return torch.logsumexp(self._logits(x), dim=1) - x.square().sum(1) / (2 * STD**2)

    def score(self, x: Tensor) -> Tensor:
        """grad log p, shape (B, 2)."""
        return (torch.softmax(self._logits(x), dim=1) @ self.means - x) / STD**2

    def nearest(self, x: Tensor) -> Tensor:
        """The number of the nearest mode, shape (B,)."""
        return torch.cdist(x, self.means).argmin(1)


class Outcome(NamedTuple):
    """What a run of the playground shows: where the walkers are, and how they share the modes."""

    points: Tensor
    image: Tensor  # p^(1/T) on a grid, its largest value 1
    found: Tensor  # share of the walkers nearest to each mode
    wanted: Tensor  # the same of p^(1/T), by a sum over the grid
    accepted: float


def play(modes: int, separation: float, step_size: float, temperature: float, steps: int, referee: bool) -> Outcome:
    """Start all walkers in the left mode, the one with the smallest share, walk, and count.

    Example:
        >>> play(1, 3.0, 0.05, 1.0, 50, False).found
        tensor([1.])
    """
    ring, generator = Ring(modes, separation), seeded(0)
    x = ring.means[:1] + STD * torch.randn(POINTS, 2, generator=generator, device="cpu")
    accepted = 1.0
    if referee:
        rates = []
        for state, moved in MALA(ring.log_prob, ring.score, step_size, temperature).run(x, steps, generator=generator):
            x = state
            rates.append(moved.float().mean().item())
        accepted = sum(rates) / len(rates)
    else:
        x = ULA(ring.score, step_size, temperature).sample(x, steps, generator=generator)
    line = torch.linspace(-LIMIT, LIMIT, CELLS, device="cpu")
    grid = torch.cartesian_prod(line, line)
    tempered = torch.softmax(ring.log_prob(grid) / temperature, dim=0)
    wanted = torch.zeros(modes, device="cpu").index_add(0, ring.nearest(grid), tempered)
    found = torch.bincount(ring.nearest(x.nan_to_num(nan=0.0, posinf=1e6, neginf=-1e6)), minlength=modes) / POINTS
    return Outcome(x, (tempered / tempered.max()).reshape(CELLS, CELLS).T, found, wanted, accepted)


class LangevinPlayground:
    """Step size, temperature, modes and their separation; walkers are sent out anew at every change.

    Taught in: chapter 2.

    Example:
        >>> playground = LangevinPlayground()
        >>> before = playground.picture.png
        >>> playground.controls["temperature"].value = 4.0
        >>> playground.picture.png == before
        False
    """

    def __init__(self) -> None:
        style, wide = {"description_width": "155px"}, ipywidgets.Layout(width="400px")
        options: dict[str, Any] = {"style": style, "layout": wide}
        self.controls: dict[str, Any] = {
            "step_size": log_slider(0.02, -3, 0, description="step size h", readout_format=".3f", **options),
            "temperature": log_slider(1.0, -1, 1, description="temperature T", readout_format=".2f", **options),
            "modes": ipywidgets.IntSlider(value=2, min=1, max=MOST_MODES, description="modes", **options),
            "separation": ipywidgets.FloatSlider(
                value=3.0, min=0.5, max=4.0, step=0.1, description="separation (data units)", **options
            ),
            "steps": ipywidgets.SelectionSlider(
                options=[5, 10, 20, 50, 100], value=100, description="steps", **options
            ),
            "referee": ipywidgets.Checkbox(value=False, description="accept or refuse (MALA)", **options),
        }
        figure, (plane, bars) = panels(1, 2, width=9.0, height=4.2)
        with rc_context(RC):
            self._image = plane.imshow(
                torch.zeros(CELLS, CELLS).numpy(),
                extent=(-LIMIT, LIMIT, -LIMIT, LIMIT),
                origin="lower",
                cmap="Greys",
                vmin=0.0,
                vmax=2.0,
                interpolation="bilinear",
            )
            self._dots = plane.scatter([], [], s=7, color=SCORE, alpha=0.7, linewidths=0)
            self._numbers = [plane.text(0, 0, "", color=INK, ha="center", va="center") for _ in range(MOST_MODES)]
            square(plane, LIMIT)
            plane.set_title("walkers, all from the left mode")
            at = torch.arange(1.0, MOST_MODES + 1).numpy()
            self._wanted = bars.bar(at - 0.2, 0.0 * at, width=0.38, color=NOISE)
            self._found = bars.bar(at + 0.2, 0.0 * at, width=0.38, color=SCORE)
            bars.set(xlabel="mode (1 is the left one)", ylabel="share", ylim=(0, 1.02), xticks=at)
            bars.set_title("share of each mode")
            bars.text(0.98, 0.95, r"grey: wanted, of $p^{1/T}$", color="#666666", ha="right", transform=bars.transAxes)
            bars.text(0.98, 0.88, "orange: found", color=SCORE, ha="right", transform=bars.transAxes)
            self._text = bars.text(0.98, 0.81, "", color=INK, ha="right", va="top", transform=bars.transAxes)
        moving = [self._image, self._dots, *self._numbers, *self._wanted, *self._found, self._text]
        self._figure = MovingFigure(figure, moving)
        columns = [list(self.controls.values())[i::2] for i in (0, 1)]
        arrangement = side_by_side(*(ipywidgets.VBox(column) for column in columns))
        self.picture = Picture(
            self._draw,
            self.controls,
            arrangement=arrangement,
            width=800,
            name="the Langevin playground",
            takeaway="Walkers find a mode only where they can cross to it: a finer step does not move a wall.",
        )

    def _draw(self, values: dict[str, Any]) -> bytes:
        outcome = play(**values)
        self._image.set_data(outcome.image.numpy())
        self._dots.set_offsets(outcome.points.numpy())
        for bars, shares in ((self._wanted, outcome.wanted), (self._found, outcome.found)):
            heights = shares.tolist() + [0.0] * (MOST_MODES - len(shares))
            for bar, height in zip(bars, heights, strict=True):
                bar.set_height(height)
        means = Ring(values["modes"], values["separation"]).means.tolist()
        for k, number in enumerate(self._numbers):
            number.set_text(str(k + 1) if k < len(means) else "")
            number.set_position((means[k][0], means[k][1] + 3.2 * STD) if k < len(means) else (0.0, 0.0))
        away = (~(outcome.points.abs() < LIMIT).all(1)).float().mean().item()  # NaN counts as away
        lines = [f"outside the picture: {100 * away:.0f} %"]
        if values["referee"]:
            lines.append(f"accepted: {100 * outcome.accepted:.0f} %")
        self._text.set_text("\n".join(lines))
        return self._figure.png()

    def _repr_mimebundle_(self, **formats: Any) -> dict[str, Any]:
        return self.picture._repr_mimebundle_(**formats)

    def __repr__(self) -> str:
        return repr(self.picture)

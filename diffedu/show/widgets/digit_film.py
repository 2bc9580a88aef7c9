"""The digit sampler of chapter 14: a class, a seed, a number of steps; then drag the time."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import ipywidgets
import torch
from torch import Tensor

from diffedu._tensor import seeded
from diffedu.core.denoiser import Denoiser
from diffedu.core.path import DiscreteDDPM
from diffedu.core.times import trailing_times
from diffedu.sampling import DDIM, Ancestral, Solver, start_noise, trajectory
from diffedu.show.plots import montage
from diffedu.show.style import INK, new_figure
from diffedu.show.widgets.picture import MovingFigure, Picture

SAMPLERS: dict[str, Solver[Any]] = {"ancestral": Ancestral(), "DDIM": DDIM()}


class DigitFilm:
    """Draw one digit, keep its whole trajectory, and look at any moment of it.

    Two pictures show the state and what the denoiser believes, a filmstrip above them the whole way.
    Moving the time only looks up what is stored; any other control draws a new digit, unless it was drawn
    before.

    Args:
        given: label to denoiser of images (1, 1, H, W), as `lambda label: denoiser(net, label)`.
        path: the denoisers' path.
        size: height and width of the images.
        classes: number of labels; one more choice, "any", passes None.
        device: where to sample.

    Taught in: chapter 14.

    Example:
        >>> from diffedu.core import DatasetDenoiser, cosine_betas
        >>> path = DiscreteDDPM(cosine_betas(1000))
        >>> film = DigitFilm(lambda label: DatasetDenoiser(torch.zeros(1, 1, 28, 28), path), path)
        >>> before = film.picture.png
        >>> film.moment.value = 1.0
        >>> film.picture.png == before
        False
    """

    def __init__(
        self,
        given: Callable[[int | None], Denoiser],
        path: DiscreteDDPM,
        *,
        size: int = 28,
        classes: int = 10,
        device: torch.device | str = "cpu",
    ) -> None:
        self._given, self._path, self._size, self._device = given, path, size, device
        style = {"description_width": "initial"}
        self.label = ipywidgets.Dropdown(
            options=[*((str(k), k) for k in range(classes)), ("any", None)],
            value=7 % classes,
            description="digit",
            style=style,
        )
        self.steps = ipywidgets.SelectionSlider(
            options=[1, 2, 4, 6, 8, 10, 15, 20, 30, 50], value=20, description="steps", style=style
        )
        self.sampler = ipywidgets.Dropdown(options=list(SAMPLERS), description="sampler", style=style)
        self.seed = ipywidgets.IntSlider(value=0, min=0, max=99, description="seed", style=style)
        self.moment = ipywidgets.FloatSlider(
            value=0.5,
            min=0.0,
            max=1.0,
            step=0.01,
            description="noise → digit",
            readout=False,
            style=style,
            layout={"width": "600px"},
        )
        self._film = functools.lru_cache(maxsize=64)(self._run)

        figure = new_figure(8.0, 4.2)
        figure.set_layout_engine("none")
        strip, state, belief = (
            figure.add_axes(box) for box in ((0.02, 0.74, 0.96, 0.19), (0.17, 0.02, 0.3, 0.6), (0.53, 0.02, 0.3, 0.6))
        )
        blank = torch.zeros(1, 1, size, size)
        for ax in (strip, state, belief):
            ax.set_axis_off()
        strip.set_title("what the denoiser believes, from noise to the end", fontsize=10)
        self._strip = strip.imshow(
            montage(blank.expand(10, 1, size, size), columns=10), aspect="equal", interpolation="nearest"
        )
        self._mark = strip.plot([0, 0], [-1, size + 4], color="#D55E00", linewidth=2.5, clip_on=False)[0]
        self._state, self._belief = (
            ax.imshow(montage(blank, columns=1, gap=0), interpolation="nearest") for ax in (state, belief)
        )
        self._state_title, self._belief_title = (
            ax.text(0.5, 1.03, "", ha="center", va="bottom", fontsize=12, color=INK, transform=ax.transAxes)
            for ax in (state, belief)
        )
        self._figure = MovingFigure(
            figure,
            [self._strip, self._mark, self._state, self._belief, self._state_title, self._belief_title],
        )
        row = {"flex_flow": "row wrap"}
        controls = {
            "label": self.label,
            "steps": self.steps,
            "sampler": self.sampler,
            "seed": self.seed,
            "moment": self.moment,
        }
        self.picture = Picture(
            self._draw,
            controls,
            arrangement=ipywidgets.VBox(
                [ipywidgets.Box([self.label, self.steps, self.sampler, self.seed], layout=row), self.moment]
            ),
            width=800,
            name="the digit sampler",
            takeaway="Early beliefs are averages of many digits; the late steps only sharpen one.",
        )

    def _run(self, label: int | None, steps: int, sampler: str, seed: int) -> tuple[Tensor, Tensor, Tensor]:
        """Times (n,), states and beliefs (n, 1, H, W) of a trajectory; the last belief is the digit."""
        denoiser, solver = self._given(label), SAMPLERS[sampler]
        start = start_noise(self._path, (1, 1, self._size, self._size), seeded(seed, self._device))
        times = trailing_times(self._path, steps, device=self._device)
        kept = list(trajectory(denoiser, solver, start, times, generator=seeded(1000 + seed, self._device)))
        with torch.no_grad():
            beliefs = [denoiser(x, t) for t, x in kept[:-1]]
        states = torch.cat([x for _, x in kept])
        return times.cpu(), states.cpu(), torch.cat([*beliefs, kept[-1][1]]).cpu()

    def _draw(self, values: dict[str, Any]) -> bytes:
        times, states, beliefs = self._film(values["label"], values["steps"], values["sampler"], values["seed"])
        last = len(times) - 1
        at = round(values["moment"] * last)
        chosen = torch.linspace(0, last, 10).round().long()
        self._strip.set_data(montage(beliefs[chosen], columns=10))
        middle = 2 + self._size / 2 + (self._size + 2) * 9 * at / last
        self._mark.set_xdata([middle, middle])
        state = states[at : at + 1]
        self._state.set_data(montage(state / state.abs().amax().clamp(min=1.0), columns=1, gap=0))
        self._belief.set_data(montage(beliefs[at : at + 1], columns=1, gap=0))
        self._state_title.set_text(f"state, t = {times[at]:.0f}")
        self._belief_title.set_text("the digit" if at == last else "belief: E[x0 | x_t]")
        return self._figure.png()

    def __repr__(self) -> str:
        return repr(self.picture)

    def _repr_mimebundle_(self, **formats: Any) -> dict[str, Any]:
        return self.picture._repr_mimebundle_(**formats)

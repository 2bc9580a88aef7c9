"""The widget of chapter 18: one digit in one to eight steps, by a flow and by the same flow made straight."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

import ipywidgets
import torch
from torch import Tensor

from diffedu._tensor import seeded
from diffedu.core.denoiser import Denoiser
from diffedu.core.path import RectifiedFlow
from diffedu.core.times import uniform_times
from diffedu.sampling import Euler, start_noise, trajectory
from diffedu.show.plots import montage
from diffedu.show.style import DATA, INK, new_figure
from diffedu.show.widgets.picture import MovingFigure, Picture

MOST = 8
"""The largest number of steps."""


class FewSteps:
    """Draw one digit in few Euler steps and look at every state and every guess on the way.

    Upper row: the state, from noise to the end. Lower row: where the network, asked at this state, would arrive if it
    went straight on, which is its guess of the clean digit. On straight paths all guesses are one picture. The large
    picture is what the steps end on.

    Args:
        models: name to a function from a label to a denoiser of images (1, 1, size, size) on `RectifiedFlow`, as
            {"flow": lambda label: denoiser(net, label)}.
        size: height and width of the images.
        classes: number of labels.
        device: where to sample.

    Raises:
        ValueError: there is no model.

    Taught in: chapter 18.

    Example:
        >>> from diffedu.core import DatasetDenoiser
        >>> exact = DatasetDenoiser(torch.zeros(1, 1, 28, 28), RectifiedFlow())
        >>> few = FewSteps({"exact": lambda label: exact})
        >>> few.steps.value = 3
        >>> states, guesses = few.path()
        >>> states.shape, guesses.shape, float(states[-1].abs().max())
        (torch.Size([4, 1, 28, 28]), torch.Size([3, 1, 28, 28]), 0.0)
    """

    def __init__(
        self,
        models: Mapping[str, Callable[[int], Denoiser]],
        *,
        size: int = 28,
        classes: int = 10,
        device: torch.device | str = "cpu",
    ) -> None:
        if not models:
            raise ValueError("models must hold at least one denoiser, got none")
        self._models, self._size, self._device = dict(models), size, device
        style = {"description_width": "initial"}
        self.model = ipywidgets.Dropdown(options=list(models), description="model", style=style)
        self.label = ipywidgets.Dropdown(
            options=[(str(k), k) for k in range(classes)], value=7 % classes, description="digit", style=style
        )
        self.steps = ipywidgets.IntSlider(value=2, min=1, max=MOST, description="steps", style=style)
        self.seed = ipywidgets.IntSlider(value=0, min=0, max=99, description="seed", style=style)
        self._run = functools.lru_cache(maxsize=256)(self._sampled)

        figure = new_figure(11.0, 3.0)
        figure.set_layout_engine("none")
        strip = figure.add_axes((0.09, 0.02, 0.66, 0.84))
        end = figure.add_axes((0.775, 0.04, 0.215, 0.80))
        for ax in (strip, end):
            ax.set_axis_off()
        self._strip = strip.imshow(self._sheet(torch.zeros(1, 1, size, size), []), interpolation="nearest")
        self._end = end.imshow(montage(torch.zeros(1, 1, size, size), columns=1, gap=0), interpolation="nearest")
        cell = size + 2
        for row, name in enumerate(("state", "guess")):
            strip.text(-3, cell * (row + 0.5), name, ha="right", va="center", color=INK)
        self._times = [
            strip.text(cell * (k + 0.5), -2, "", ha="center", va="bottom", color=INK, fontsize=9)
            for k in range(MOST + 1)
        ]
        self._title = end.text(0.5, 1.03, "", ha="center", va="bottom", color=DATA, transform=end.transAxes)
        self._figure = MovingFigure(figure, [self._strip, self._end, *self._times, self._title])
        self.picture = Picture(
            self._draw,
            {"model": self.model, "label": self.label, "steps": self.steps, "seed": self.seed},
            arrangement=ipywidgets.Box(
                [self.model, self.label, self.steps, self.seed], layout={"flex_flow": "row wrap"}
            ),
            width=1000,
            name="one digit in few steps",
            takeaway="On a straight path the first guess is the end; on a bent one each guess corrects the last.",
        )

    def path(self) -> tuple[Tensor, Tensor]:
        """The shown states, shape (steps + 1, 1, size, size), and guesses, shape (steps, 1, size, size)."""
        return self._run(*self.picture.values().values())

    def _sampled(self, model: str, label: int, steps: int, seed: int) -> tuple[Tensor, Tensor]:
        denoiser, path = self._models[model](label), RectifiedFlow()
        start = start_noise(path, (1, 1, self._size, self._size), seeded(seed, self._device))
        times = uniform_times(path, steps, end=0.0, device=self._device)
        states = torch.cat([x for _, x in trajectory(denoiser, Euler(), start, times)])
        # An Euler step goes from t to s along the line to the guess: x_s = x_t + (s - t) u and guess = x_t - t u.
        t, s = (v[:, None, None, None] for v in (times[:-1], times[1:]))
        guesses = states[:-1] - t * (states[:-1] - states[1:]) / (t - s)
        return states.cpu(), guesses.cpu()

    def _sheet(self, states: Tensor, guesses: Tensor | list[Any]) -> Any:
        """Two rows of nine places, white where nothing is."""
        place = torch.ones(2 * (MOST + 1), 1, self._size, self._size)
        place[: len(states)] = states / states.abs().amax((1, 2, 3), keepdim=True).clamp(min=1.0)
        if len(guesses):
            place[MOST + 1 : MOST + 1 + len(guesses)] = torch.as_tensor(guesses)
        return montage(place, columns=MOST + 1)

    def _draw(self, values: dict[str, Any]) -> bytes:
        states, guesses = self._run(values["model"], values["label"], values["steps"], values["seed"])
        steps = values["steps"]
        self._strip.set_data(self._sheet(states, guesses))
        for k, text in enumerate(self._times):
            text.set_text(f"t = {1 - k / steps:.2f}" if k <= steps else "")
        self._end.set_data(montage(states[-1:], columns=1, gap=0))
        self._title.set_text(f"{values['model']}, {steps} step{'s' if steps > 1 else ''}")
        return self._figure.png()

    def __repr__(self) -> str:
        return repr(self.picture)

    def _repr_mimebundle_(self, **formats: Any) -> dict[str, Any]:
        return self.picture._repr_mimebundle_(**formats)

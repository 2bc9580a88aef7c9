"""The sampler of chapter 15: a digit, a number of steps, a guidance scale, a solver, a grid; drawn while you turn."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import ipywidgets
import torch
from torch import Tensor

from diffedu._tensor import seeded
from diffedu.core.denoiser import Denoiser
from diffedu.core.path import EDM, DiscreteDDPM
from diffedu.core.times import (
    karras_times,
    leading_times,
    time_at_half_log_snr,
    trailing_times,
    uniform_times,
    with_zero,
)
from diffedu.sampling import DDIM, DEIS, Ancestral, DPMSolverPP2M, Heun, Solver, sample, start_noise
from diffedu.show.plots import montage
from diffedu.show.style import INK, new_figure
from diffedu.show.widgets.picture import MovingFigure, Picture

SOLVERS: dict[str, Solver[Any]] = {
    "DDIM": DDIM(),
    "ancestral": Ancestral(),
    "Heun": Heun(),
    "DPM-Solver++(2M)": DPMSolverPP2M(),
    "DEIS(2)": DEIS(2),
    "DEIS(3)": DEIS(3),
}
GRIDS = ("noise levels", "equal in t", "trailing", "leading")
DIGITS = 3
"""How many digits of a class are drawn at once."""
FRAMES = 10
"""Guesses shown of one run."""


def grid_of(kind: str, path: DiscreteDDPM, steps: int, *, high: float = 40.0, low: float = 0.02) -> Tensor:
    """A grid by its name, shape (steps + 1,), to 0.

    Args:
        kind: one of `GRIDS`.
        path: a chain.
        steps: at least 2.
        high, low: the noise levels sigma / alpha of the first and the last but one time of "noise levels"; "equal in t"
            begins at `high`, too.

    Example:
        >>> from diffedu.core import cosine_betas
        >>> grid_of("leading", DiscreteDDPM(cosine_betas(1000)), 4)
        tensor([751., 501., 251.,   1.,   0.])
    """
    if kind == "trailing":
        return trailing_times(path, steps)
    if kind == "leading":
        return leading_times(path, steps)
    if kind == "noise levels":
        return with_zero(
            time_at_half_log_snr(path, -karras_times(EDM(), steps - 1, start=high, end=low).log()),
        )
    if kind == "equal in t":
        start = time_at_half_log_snr(path, -torch.tensor(high, device="cpu").log()).item()
        return uniform_times(path, steps, start=start, end=0)
    raise ValueError(f"kind must be one of {GRIDS}, got {kind!r}")


class _Recording:
    """A denoiser that keeps what it says of the first picture, and counts its calls."""

    def __init__(self, denoiser: Denoiser) -> None:
        self._denoiser, self.said = denoiser, list[Tensor]()

    @property
    def path(self) -> Any:
        return self._denoiser.path

    def __call__(self, x_t: Tensor, t: Tensor) -> Tensor:
        answer = self._denoiser(x_t, t)
        self.said.append(answer[:1])
        return answer


class DigitSampler:
    """Digits of a class, drawn anew at every turn of a knob, and how the first one came about.

    Above, what the denoiser said of the first digit, call by call; below, the three results. The line between counts
    the calls: Heun asks twice a step, guidance doubles everything.

    Args:
        given: label and scale to denoiser, as `lambda label, scale: denoiser(net, label, guidance_scale=scale)`.
        path: the denoisers' path.
        size: height and width of the images.
        classes: number of labels.
        device: where to sample.

    Taught in: chapter 15.

    Example:
        >>> from diffedu.core import DatasetDenoiser, cosine_betas
        >>> path = DiscreteDDPM(cosine_betas(1000))
        >>> sampler = DigitSampler(lambda label, scale: DatasetDenoiser(torch.zeros(1, 1, 28, 28), path), path)
        >>> sampler.calls()
        10
        >>> sampler.solver.value = "Heun"  # ten steps, two calls each but for the last, which lands on t = 0
        >>> sampler.calls()
        19
    """

    def __init__(
        self,
        given: Callable[[int, float], Denoiser],
        path: DiscreteDDPM,
        *,
        size: int = 28,
        classes: int = 10,
        device: torch.device | str = "cpu",
    ) -> None:
        self._given, self._path, self._size, self._device = given, path, size, device
        style = {"description_width": "initial"}
        self.label = ipywidgets.Dropdown(
            options=[(str(k), k) for k in range(classes)], value=5 % classes, description="digit", style=style
        )
        self.steps = ipywidgets.SelectionSlider(
            options=[2, 3, 4, 5, 6, 8, 10, 15, 20, 30], value=10, description="steps", style=style
        )
        self.scale = ipywidgets.SelectionSlider(
            options=[0.0, 1.0, 1.5, 2.0, 3.0, 5.0, 8.0], value=1.0, description="guidance scale", style=style
        )
        self.solver = ipywidgets.Dropdown(options=list(SOLVERS), description="sampler", style=style)
        self.grid = ipywidgets.Dropdown(options=list(GRIDS), description="grid", style=style)
        self.seed = ipywidgets.IntSlider(value=0, min=0, max=99, description="seed", style=style)
        self._drawn = functools.lru_cache(maxsize=64)(self._run)

        figure = new_figure(8.0, 3.5)
        figure.set_layout_engine("none")
        strip, results = (figure.add_axes(box) for box in ((0.02, 0.7, 0.96, 0.2), (0.15, 0.02, 0.7, 0.55)))
        for ax in (strip, results):
            ax.set_axis_off()
        strip.set_title("what the denoiser says of the first digit, from the first call to the last", fontsize=10)
        blank = torch.zeros(FRAMES, 1, size, size)
        self._strip = strip.imshow(montage(blank, columns=FRAMES), aspect="equal", interpolation="nearest")
        self._results = results.imshow(montage(blank[:DIGITS], columns=DIGITS), interpolation="nearest")
        self._line = results.text(
            0.5, 1.04, "", ha="center", va="bottom", fontsize=11, color=INK, transform=results.transAxes
        )
        self._figure = MovingFigure(figure, [self._strip, self._results, self._line])
        row = {"flex_flow": "row wrap"}
        controls = {
            "label": self.label,
            "steps": self.steps,
            "scale": self.scale,
            "solver": self.solver,
            "grid": self.grid,
            "seed": self.seed,
        }
        self.picture = Picture(
            self._draw,
            controls,
            arrangement=ipywidgets.Box(list(controls.values()), layout=row),
            width=800,
            name="the fast sampler",
            takeaway="What costs is the number of evaluations; solver and grid decide how few are enough.",
        )

    def _run(self, label: int, steps: int, scale: float, solver: str, grid: str, seed: int) -> tuple[Tensor, Tensor]:
        """The guesses about the first digit (calls, 1, H, W), and the digits (DIGITS, 1, H, W)."""
        recording = _Recording(self._given(label, scale))
        shape = (DIGITS, 1, self._size, self._size)
        start = start_noise(self._path, shape, seeded(seed, self._device))
        made = sample(
            recording,
            SOLVERS[solver],
            start,
            grid_of(grid, self._path, steps),
            generator=seeded(1000 + seed, self._device),
        )
        return torch.cat(recording.said).cpu(), made.cpu()

    def _now(self, values: dict[str, Any]) -> tuple[Tensor, Tensor]:
        return self._drawn(*(values[name] for name in ("label", "steps", "scale", "solver", "grid", "seed")))

    def digits(self) -> Tensor:
        """The digits shown, shape (3, 1, H, W)."""
        return self._now(self.picture.values())[1]

    def calls(self) -> int:
        """Network evaluations for each of them: twice as many with guidance."""
        values = self.picture.values()
        return len(self._now(values)[0]) * (1 if values["scale"] == 1 else 2)

    def _draw(self, values: dict[str, Any]) -> bytes:
        said, made = self._now(values)
        chosen = torch.linspace(0, len(said) - 1, FRAMES).round().long()
        self._strip.set_data(montage(said[chosen], columns=FRAMES))
        self._results.set_data(montage(made, columns=DIGITS))
        calls = len(said) * (1 if values["scale"] == 1 else 2)
        self._line.set_text(f"{values['steps']} steps: {calls} evaluations of the network for each digit")
        return self._figure.png()

    def __repr__(self) -> str:
        return repr(self.picture)

    def _repr_mimebundle_(self, **formats: Any) -> dict[str, Any]:
        return self.picture._repr_mimebundle_(**formats)

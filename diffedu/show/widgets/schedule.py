"""The noise-schedule explorer of chapter 5."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from itertools import pairwise
from typing import Any, NamedTuple

import ipywidgets
import numpy as np
import torch
from matplotlib import rc_context
from torch import Tensor

from diffedu._tensor import randn, seeded
from diffedu.core.oracle import GaussianMixture
from diffedu.core.path import DiscreteDDPM, cosine_betas, linear_betas, scaled_linear_betas, sigmoid_betas
from diffedu.core.times import trailing_times
from diffedu.data import digits
from diffedu.evaluate import floor, sliced_wasserstein2
from diffedu.sampling import DDIM, Ancestral, Solver, sample, start_noise
from diffedu.show.plots import montage, square
from diffedu.show.style import DATA, EXTRA, INK, NOISE, RC, SCORE, VELOCITY, new_figure
from diffedu.show.widgets.picture import MovingFigure, Picture, log_slider

POINTS = 400
SHARES = ("t = 0", "T/8", "T/4", "3T/8", "T/2", "5T/8", "3T/4", "7T/8", "t = T")
COLUMNS = len(SHARES)
NOISE_REACHED = 0.01  # above this alpha_bar_T, DiscreteDDPM warns


class Exploration(NamedTuple):
    """What the explorer shows of a schedule; numbers only."""

    path: DiscreteDDPM
    log_snr: Tensor
    """log(alpha_bar / (1 - alpha_bar)) at t = 1 ... T, shape (T,)."""
    noisy: Tensor
    """The digit at `noisy_times`, shape (9, 1, 28, 28)."""
    noisy_times: Tensor
    """Nine times, equally spaced from 0 to T and rounded, shape (9,)."""
    times: Tensor
    """The sampler's grid, shape (steps + 1,); its first `steps` entries are where the denoiser is asked."""
    samples: Tensor
    """Drawn with the exact denoiser, shape (n, 2)."""
    exact: Tensor
    """As many independent draws from the mixture itself."""
    distance: float
    """Sliced 2-Wasserstein distance between the two, data units."""

    @property
    def alpha_bar_T(self) -> float:
        """How much of the data's variance is left at the end."""
        return self.path.alpha_bar[-1].item()

    @property
    def reaches_noise(self) -> bool:
        """Whether sampling starts where the process ends."""
        return self.alpha_bar_T <= NOISE_REACHED


def distance(x: Tensor, y: Tensor) -> float:
    """Sliced 2-Wasserstein distance along 64 fixed directions."""
    return sliced_wasserstein2(x, y, 64, generator=seeded(3, x.device))


def explore(
    betas: Tensor,
    *,
    mixture: GaussianMixture,
    digit: Tensor,
    steps: int = 50,
    solver: Solver[Any] | None = None,
    points: int = POINTS,
) -> Exploration:
    """All that the explorer shows, as numbers: the schedule's curves, a noised digit, samples and their distance.

    The noise is the same in every call, so whatever changes comes from the schedule.

    Args:
        betas: the schedule, shape (T,).
        mixture: data in the plane; its exact denoiser drives the sampler.
        digit: shape (1, 28, 28), in [-1, 1].
        steps: sampling steps on the trailing grid; at most T are taken.
        solver: `DDIM()` by default.
        points: how many samples.

    Raises:
        ValueError: a beta outside (0, 1), or steps below 1.

    Taught in: chapter 5.

    Example:
        >>> result = explore(linear_betas(50), mixture=GaussianMixture.ring(8), digit=torch.zeros(1, 28, 28), steps=10)
        >>> f"{result.alpha_bar_T:.2f}", result.reaches_noise
        ('0.60', False)
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # the picture itself says what the warning says
        path = DiscreteDDPM(betas)
    log_snr = 2 * path(torch.arange(1, path.T + 1, dtype=torch.float64, device="cpu")).half_log_snr

    noisy_times = torch.linspace(0, path.T, COLUMNS, dtype=torch.float32, device=digit.device).round()
    clean = digit.expand(COLUMNS, *digit.shape)
    eps = randn(digit.shape, seeded(0, digit.device)).expand_as(clean)  # one noise: only its share changes
    noisy = path.add_noise(clean, eps, noisy_times)

    device = mixture.means.device
    times = trailing_times(path, min(steps, path.T), device=device)
    start = (
        start_noise(path, (points, mixture.D), seeded(1, device)) / path(times[0]).sigma
    )  # N(0, I), as samplers assume
    samples = sample(mixture.denoiser(path), solver or DDIM(), start, times, generator=seeded(2, device))
    exact = mixture.sample(points, seeded(4, device))
    return Exploration(path, log_snr, noisy, noisy_times, times, samples, exact, distance(samples, exact))


def log_snr_betas(T: int, *log_snr: float) -> Tensor:
    r"""Variances from a hand-drawn log-SNR: a monotone curve through points at equal distances of t/T, from 0 to 1.

        alpha_bar = 1 / (1 + exp(-log_snr)),   beta_k = 1 - alpha_bar_k / alpha_bar_{k-1},   alpha_bar_0 = 1.

    The curve is a monotone cubic (Fritsch & Carlson 1980). At t = 0 the data is clean, whatever the first point says:
    that point is the limit that the curve starts from, and beta_1 makes the jump.

    Args:
        T: number of noising steps.
        log_snr: at least two values, strictly decreasing.

    Returns:
        Shape (T,), float64.

    Raises:
        ValueError: fewer than two values, or values that do not decrease.

    Taught in: chapter 5.

    Example:
        >>> betas = log_snr_betas(100, 8.0, 0.0, -8.0)
        >>> print(f"{(1 - betas[:50]).prod():.2f}")
        0.50
    """
    if len(log_snr) < 2 or not all(a > b for a, b in pairwise(log_snr)):
        raise ValueError(f"log_snr must be at least two decreasing values, got {log_snr}")
    if T < 1:
        raise ValueError(f"T must be at least 1, got {T}")
    from scipy.interpolate import PchipInterpolator  # here: the only use of scipy in a widget

    curve = PchipInterpolator(np.linspace(0, 1, len(log_snr)), log_snr)
    at_steps = torch.as_tensor(curve(np.arange(1, T + 1) / T), dtype=torch.float64, device="cpu")
    # log(alpha_bar) = -softplus(-log_snr): differences of it keep their digits where alpha_bar is close to 1
    log_alpha_bar = torch.nn.functional.logsigmoid(at_steps)
    return -torch.expm1(torch.diff(log_alpha_bar, prepend=log_alpha_bar.new_zeros(1)))


# --- the picture ------------------------------------------------------------------------------------------------


class _Drawing:
    """The explorer's figure, made once; `png` moves its artists to an exploration's numbers."""

    def __init__(self, reference: Exploration, floor_text: str) -> None:
        wide, high = 9.6, 7.2  # inches

        def add(left: float, bottom: float, width: float, height: float) -> Any:
            return figure.add_axes((left / wide, bottom / high, width / wide, height / high))

        with rc_context({**RC, "font.size": 10, "axes.titlesize": 10.5, "axes.labelsize": 10}):
            figure = new_figure(wide, high)
            figure.set_layout_engine("none")  # places are given: nothing moves when numbers get longer
            beta, alpha_bar, log_snr = (add(left, 5.25, 2.25, 1.6) for left in (0.85, 3.95, 7.05))
            strip = add(0.25, 3.45, 9.1, 0.995)
            samples, exact = add(0.7, 0.5, 2.3, 2.3), add(3.85, 0.5, 2.3, 2.3)
            text = add(6.45, 0.5, 3.0, 2.3)

            # The titles are the legend: a free corner for one schedule is where another's curve runs.
            beta.set(yscale="log", ylim=(1e-6, 1.5), ylabel=r"$\beta_t$", title="noise added in a step")
            alpha_bar.set(ylim=(-0.03, 1.03), ylabel=r"$\bar\alpha_t$", title="share of data; dots: sampler's stops")
            log_snr.set(
                ylim=(-13, 13),
                ylabel=r"$\log\,\bar\alpha_t / (1-\bar\alpha_t)$",
                title="log-SNR; dashed: linear, T = 1000",
            )
            for ax in (beta, alpha_bar, log_snr):
                ax.set(
                    xlim=(0, 1),
                    xticks=[0, 0.25, 0.5, 0.75, 1],
                    xticklabels=["0", ".25", ".5", ".75", "1"],
                    xlabel="$t\\,/\\,T$",
                )
            u = np.arange(1, reference.path.T + 1) / reference.path.T
            for ax, y in (
                (beta, reference.path.betas),
                (alpha_bar, reference.path.alpha_bar[1:]),
                (log_snr, reference.log_snr),
            ):
                ax.plot(u, y.numpy(), color=NOISE, linewidth=1.2, linestyle="--")

            strip.set(xticks=[], yticks=[], title="a real digit on its way to noise")
            for spine in strip.spines.values():
                spine.set_visible(False)
            square(samples, 2.4)
            square(exact, 2.4, ylabel="")
            exact.set_title("exact samples")
            text.set_axis_off()
            text.text(0, 0.06, floor_text, fontsize=9, color="#555555", va="bottom")

            blank: list[float] = []
            self.lines = [ax.plot(blank, blank, color=INK)[0] for ax in (beta, alpha_bar, log_snr)]
            self.stops = alpha_bar.plot(blank, blank, "o", color=SCORE, markersize=3.5)[0]
            self.knots = log_snr.plot(blank, blank, "s", color=EXTRA, markersize=6, markeredgecolor=INK)[0]
            sheet = montage(reference.noisy, columns=COLUMNS)
            self.strip = strip.imshow(sheet, interpolation="nearest", aspect="auto")
            for k, share in enumerate(SHARES):  # of T, not steps: texts that stay cost no redraw
                strip.text(2 + 14 + 30 * k, sheet.shape[0] + 1, share, ha="center", va="top", clip_on=False)
            self.cloud = samples.plot(blank, blank, "o", color=DATA, alpha=0.6, markersize=2.5, markeredgewidth=0)[0]
            exact_cloud = exact.plot(
                *reference.exact.T.numpy(), "o", color=DATA, alpha=0.6, markersize=2.5, markeredgewidth=0
            )[0]
            del exact_cloud  # it stays in the background
            self.title = samples.text(0.5, 1.03, "", ha="center", va="bottom", fontsize=11, transform=samples.transAxes)
            # One artist a line: matplotlib lays out several lines in one text at four times the cost.
            self.numbers = [text.text(0, y, "", va="top", fontsize=11) for y in (1.0, 0.89)]
            self.verdict = [text.text(0, y, "", va="top", fontsize=11) for y in (0.66, 0.56, 0.46)]
        moving = [
            *self.lines,
            self.stops,
            self.knots,
            self.strip,
            self.cloud,
            self.title,
            *self.numbers,
            *self.verdict,
        ]
        self.figure = MovingFigure(figure, moving)

    def png(self, shown: Exploration, solver: str, knots: tuple[float, ...]) -> bytes:
        path = shown.path
        u = np.arange(1, path.T + 1) / path.T
        for line, y in zip(self.lines, (path.betas, path.alpha_bar[1:], shown.log_snr)):
            line.set_data(u, y.numpy())
        visited = shown.times[:-1].long()
        self.stops.set_data(visited.numpy() / path.T, path.alpha_bar[visited].numpy())
        self.knots.set_data(np.linspace(0, 1, len(knots)) if knots else [], knots)
        self.strip.set_data(montage(shown.noisy, columns=COLUMNS))
        self.cloud.set_data(*shown.samples.T.numpy())
        steps = len(shown.times) - 1
        self.title.set_text(f"{steps} step{'s' * (steps > 1)} of {solver}")
        self.numbers[0].set_text(f"ᾱ at T = {path.T}: {shown.alpha_bar_T:.2g}")
        self.numbers[1].set_text(f"distance to exact: {shown.distance:.3f}")
        if shown.reaches_noise:
            verdict = ("The process ends in noise, where", "sampling starts.", "")
        else:
            end = f"ᾱ = {shown.alpha_bar_T:.2f} at the end: sampling"
            verdict = (end, "starts from noise that this", "process never reaches.")
        for line, words in zip(self.verdict, verdict):
            line.set_text(words)
            line.set_color(VELOCITY if shown.reaches_noise else SCORE)
        return self.figure.png()


# --- the widget -------------------------------------------------------------------------------------------------

_STYLE = {"description_width": "115px"}
_WIDE = {"width": "315px", "flex": "0 0 auto"}  # in a wrapping row a slider would shrink and cut its name off


def _log_slider(label: str, value: float, low: float, high: float) -> Any:
    return log_slider(value, low, high, description=label, readout_format=".1e", style=_STYLE, layout=_WIDE)


def _slider(label: str, value: float, low: float, high: float, step: float, digits: int = 2) -> Any:
    return ipywidgets.FloatSlider(
        value=value,
        min=low,
        max=high,
        step=step,
        description=label,
        readout_format=f".{digits}f",
        style=_STYLE,
        layout=_WIDE,
    )


class Family(NamedTuple):
    """A way to make betas, and the controls that give its arguments after T."""

    betas: Callable[..., Tensor]
    controls: dict[str, Any]


GAP = 0.1  # the least by which log-SNR falls from one knob to the next
KNOBS = (9.0, 4.0, 0.0, -4.0, -9.0)
LIMIT = 12.0


class ScheduleExplorer:
    """Turn the knobs of a noise schedule and see what it does to a digit and to a sampler.

    The samples are drawn with the exact denoiser: whatever is wrong with them is the fault of the schedule, of the
    number of steps or of the solver, not of a network.

    Args:
        mixture: data in the plane; a ring of eight Gaussians by default.

    Taught in: chapter 5.

    Example:
        >>> explorer = ScheduleExplorer()
        >>> explorer.T.value = 50
        >>> explorer.shown().reaches_noise
        False
    """

    def __init__(self, mixture: GaussianMixture | None = None) -> None:
        self.mixture = mixture if mixture is not None else GaussianMixture.ring(8)
        images, labels = digits("test")
        self.digit = images[labels == 3][0]

        self.family = ipywidgets.Dropdown(
            options=["linear", "scaled linear", "cosine", "sigmoid", "your own"],
            description="schedule",
            style=_STYLE,
            layout=_WIDE,
        )
        self.T = ipywidgets.SelectionSlider(
            options=[10, 15, 20, 30, 50, 70, 100, 150, 200, 300, 500, 700, 1000],
            value=1000, description="T, steps of noise", style=_STYLE, layout=_WIDE,
        )  # fmt: skip
        self.steps = ipywidgets.IntSlider(
            value=50, min=1, max=100, description="sampling steps", style=_STYLE, layout=_WIDE
        )
        self.solver = ipywidgets.Dropdown(
            options=["DDIM", "ancestral"], description="sampler", style=_STYLE, layout=_WIDE
        )
        self.knobs = [
            ipywidgets.FloatSlider(
                value=value, min=GAP * (4 - i) - LIMIT, max=LIMIT - GAP * i, step=GAP, orientation="vertical",
                description=f"{i / 4:g}", readout_format=".1f", layout={"height": "150px", "width": "64px"},
            )
            for i, value in enumerate(KNOBS)
        ]  # fmt: skip
        self.families = {
            "linear": Family(
                linear_betas,
                {
                    "start": _log_slider("β at the start", 1e-4, -5, -1),
                    "end": _log_slider("β at the end", 0.02, -3, -0.05),
                },
            ),
            "scaled linear": Family(
                scaled_linear_betas,
                {
                    "start": _log_slider("β at the start", 0.00085, -5, -1),
                    "end": _log_slider("β at the end", 0.012, -3, -0.05),
                },
            ),
            "cosine": Family(
                cosine_betas,
                {
                    "s": _slider("offset s", 0.008, 0.0, 0.5, 0.004, 3),
                    "max_beta": _slider("β cut at", 0.999, 0.2, 0.999, 0.001, 3),
                },
            ),
            "sigmoid": Family(
                sigmoid_betas,
                {
                    "start": _slider("start", -3.0, -8.0, 0.0, 0.1, 1),
                    "end": _slider("end", 3.0, 0.1, 8.0, 0.1, 1),
                    "tau": _slider("τ", 1.0, 0.2, 3.0, 0.05),
                },
            ),
            "your own": Family(log_snr_betas, {f"knob {i}": knob for i, knob in enumerate(self.knobs)}),
        }
        self._parameters = ipywidgets.Box(layout={"flex_flow": "row wrap"})
        self._show_family()
        self.family.observe(lambda change: self._show_family(), names="value")
        for knob in self.knobs:
            knob.observe(self._push, names="value")

        scale = floor(distance, lambda n, *, generator: self.mixture.sample(n, generator), POINTS, generator=seeded(5))
        floor_text = (
            f"Distance: sliced $W_2$, data units, {POINTS} points.\n"
            f"Its floor, exact against exact: {scale.mean:.3f} ± {scale.standard_deviation:.3f}"
        )
        self._drawing = _Drawing(explore(linear_betas(1000), mixture=self.mixture, digit=self.digit), floor_text)
        controls = {"family": self.family, "T": self.T, "steps": self.steps, "solver": self.solver}
        for name, family in self.families.items():
            controls |= {f"{name}, {argument}": control for argument, control in family.controls.items()}
        row = {"flex_flow": "row wrap"}
        self.picture = Picture(
            self._draw,
            controls,
            arrangement=ipywidgets.VBox(
                [
                    ipywidgets.Box([self.family, self._parameters], layout=row),
                    ipywidgets.Box([self.T, self.steps, self.solver], layout=row),
                ]
            ),
            name="the noise-schedule explorer",
            takeaway="If some of the data is left at T, sampling starts from noise that the process never reaches.",
        )

    def shown(self) -> Exploration:
        """The numbers behind the present picture."""
        return self._explore(self.picture.values())

    def _explore(self, values: dict[str, Any]) -> Exploration:
        family = self.families[values["family"]]
        betas = family.betas(values["T"], *(values[f"{values['family']}, {argument}"] for argument in family.controls))
        solver: Solver[Any] = DDIM() if values["solver"] == "DDIM" else Ancestral()
        return explore(betas, mixture=self.mixture, digit=self.digit, steps=values["steps"], solver=solver)

    def _draw(self, values: dict[str, Any]) -> bytes:
        knots = (
            tuple(values[f"your own, knob {i}"] for i in range(len(KNOBS))) if values["family"] == "your own" else ()
        )
        return self._drawing.png(self._explore(values), values["solver"], knots)

    def _show_family(self) -> None:
        controls = list(self.families[self.family.value].controls.values())
        if self.family.value == "your own":
            word = ipywidgets.HTML("log-SNR at <i>t/T</i> =<br>It must fall:<br>knobs push<br>each other.")
            controls = [word, *controls]
        self._parameters.children = controls

    def _push(self, change: Any) -> None:
        """Keep log-SNR falling: a knob pushes its neighbours ahead of it."""
        moved = next(i for i, knob in enumerate(self.knobs) if knob is change["owner"])
        with self.picture.hold():
            for i, knob in enumerate(self.knobs):
                bound = change["new"] - GAP * (i - moved)
                if (i < moved and knob.value < bound - 1e-9) or (i > moved and knob.value > bound + 1e-9):
                    knob.value = bound

    def __repr__(self) -> str:
        return repr(self.picture)

    def _repr_mimebundle_(self, **formats: Any) -> dict[str, Any]:
        return self.picture._repr_mimebundle_(**formats)

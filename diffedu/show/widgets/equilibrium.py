"""The widget of chapter 1: noise alone, or noise and a pull, as time passes."""

from __future__ import annotations

import functools
import math
from typing import Any, NamedTuple

import ipywidgets
import numpy as np
import torch
from matplotlib import rc_context
from matplotlib.collections import LineCollection
from torch import Tensor

from diffedu._tensor import randn, seeded
from diffedu.core.oracle import GaussianMixture
from diffedu.show.style import DATA, INK, NOISE, RC, SCORE, VELOCITY, new_figure
from diffedu.show.widgets.picture import MovingFigure, Picture

WALKERS = 1500
LINES = 30  # of the walkers' paths are drawn
STEPS = 100
END = 4.0  # time units
LIMIT = 4.5  # the picture shows positions from -LIMIT to LIMIT


def shrink_and_variance(t: float, stiffness: float, temperature: float) -> tuple[float, float]:
    r"""What the Ornstein-Uhlenbeck process makes of a start x0 in a time t: x_t = shrink x0 + sqrt(variance) eps.

    The process is dx = -stiffness x dt + sqrt(2 temperature) dW (mobility 1). Then

        shrink = exp(-stiffness t),   variance = (temperature / stiffness) (1 - shrink^2),

    and free diffusion is the limit stiffness = 0: shrink = 1, variance = 2 temperature t.

    Args:
        t: time passed, not negative.
        stiffness: of the potential U = stiffness x^2 / 2; 0 means no pull.
        temperature: kT, in units of U.

    Returns:
        Two numbers; the variance in data units squared.

    Raises:
        ValueError: an argument is negative.

    Taught in: chapter 1.

    Example:
        >>> shrink_and_variance(0.5, 0.0, 1.0)
        (1.0, 1.0)
        >>> shrink, variance = shrink_and_variance(100.0, 2.0, 1.0)
        >>> f"{shrink:.1f} {variance:.1f}"
        '0.0 0.5'
    """
    for name, value in (("t", t), ("stiffness", stiffness), ("temperature", temperature)):
        if value < 0:
            raise ValueError(f"{name} must not be negative, got {value}")
    if stiffness == 0:
        return 1.0, 2 * temperature * t
    return math.exp(-stiffness * t), -temperature / stiffness * math.expm1(-2 * stiffness * t)


def at_time(start: GaussianMixture, t: float, stiffness: float, temperature: float) -> GaussianMixture:
    """The distribution at time t of a cloud that starts as a mixture on the line: a mixture again.

    Args:
        start: D = 1.
        t: as for `shrink_and_variance`, like the two others.
        stiffness: 0 means free diffusion.
        temperature: kT.

    Taught in: chapter 1.

    Example:
        >>> point = GaussianMixture.single(torch.tensor([2.0]), torch.zeros(1, 1))
        >>> print(at_time(point, 0.5, 1.0, 1.0))
        GaussianMixture(K=1, D=1)
    """
    shrink, variance = shrink_and_variance(t, stiffness, temperature)
    return GaussianMixture(start.weights, shrink * start.means, shrink**2 * start.covariances + variance)


class Moment(NamedTuple):
    """What is known in closed form (or by a sum over a fine grid) of the cloud at one time."""

    mean: float
    variance: float
    entropy: float
    """-∫ p log p dx, nats."""
    excess: float
    """KL(p || equilibrium), nats: free energy above the equilibrium's, in units of kT; infinite without a pull."""


def moment(cloud: GaussianMixture, stiffness: float, temperature: float) -> Moment:
    """Mean, variance, entropy and excess free energy of a mixture on the line.

    Args:
        cloud: D = 1, without point masses.
        stiffness: of the pull; 0 means that there is no equilibrium, and the excess is infinite.
        temperature: kT, positive.

    Taught in: chapter 1.

    Example:
        >>> normal = GaussianMixture.single(torch.zeros(1).double(), torch.eye(1).double())
        >>> f"{moment(normal, 1.0, 1.0).entropy:.4f}"  # log(2 pi e) / 2
        '1.4189'
        >>> abs(moment(normal, 1.0, 1.0).excess) < 1e-9
        True
    """
    mean, variance = cloud.mean.item(), cloud.covariance.item()
    half = 9 * math.sqrt(variance)
    x = torch.linspace(mean - half, mean + half, 801, dtype=torch.float64, device=cloud.means.device)
    log_p = cloud.log_prob(x[:, None])
    weight = log_p.exp() * (x[1] - x[0])  # the trapezoidal rule: the ends are zero
    entropy = -(weight * log_p).sum().item()
    if stiffness == 0:
        return Moment(mean, variance, entropy, math.inf)
    width = temperature / stiffness
    cross = 0.5 * (math.log(2 * math.pi * width) + (variance + mean**2) / width)  # -E log q
    return Moment(mean, variance, entropy, cross - entropy)


def _line(weights: list[float], means: list[float], std: float) -> GaussianMixture:
    shares, centres = torch.tensor([weights, means], dtype=torch.float64, device="cpu")
    return GaussianMixture.isotropic(centres[:, None], std, shares)


STARTS = {
    "two lumps": _line([0.4, 0.6], [-2.0, 1.2], 0.2),
    "one narrow lump": _line([1.0], [2.0], 0.15),
    "one wide lump": _line([1.0], [0.0], 2.0),
}


class NoiseAndPull:
    """Free diffusion or an Ornstein-Uhlenbeck process: paths, density, entropy and free energy as time passes.

    The density and the curves are exact. The walkers are simulated by exact steps, always with the same kicks, so
    that whatever changes comes from the controls.

    Taught in: chapter 1.

    Example:
        >>> widget = NoiseAndPull()
        >>> before = widget.picture.png
        >>> widget.stiffness.value = 0.0
        >>> widget.picture.png == before
        False
        >>> print(f"{widget.now().variance:.1f}")  # two lumps and free diffusion
        3.5
    """

    def __init__(self) -> None:
        style, wide = {"description_width": "130px"}, {"width": "420px"}
        self.time = ipywidgets.FloatSlider(
            value=0.48, min=0.0, max=END, step=END / STEPS, description="time t", style=style, layout=wide
        )
        self.stiffness = ipywidgets.FloatSlider(
            value=1.0, min=0.0, max=3.0, step=0.1, description="pull (0: none)", style=style, layout=wide
        )
        self.temperature = ipywidgets.FloatSlider(
            value=1.0, min=0.1, max=3.0, step=0.1, description="temperature kT", style=style, layout=wide
        )
        self.start = ipywidgets.Dropdown(options=list(STARTS), description="start", style=style, layout=wide)
        kicks = randn((STEPS, WALKERS), seeded(1), dtype=torch.float64)
        places = {name: mixture.sample(WALKERS, seeded(0))[:, 0] for name, mixture in STARTS.items()}

        @functools.lru_cache(maxsize=16)
        def run(start: str, stiffness: float, temperature: float) -> tuple[Tensor, list[Moment]]:
            """All walkers at all times, (STEPS + 1, WALKERS), and the exact moments at `self._times`."""
            shrink, variance = shrink_and_variance(END / STEPS, stiffness, temperature)
            walk = [places[start]]
            for eps in kicks:
                walk.append(shrink * walk[-1] + math.sqrt(variance) * eps)
            clouds = (at_time(STARTS[start], t, stiffness, temperature) for t in self._times)
            return torch.stack(walk), [moment(cloud, stiffness, temperature) for cloud in clouds]

        self._run = run
        self._times = [END * (k / 28) ** 2 for k in range(29)]  # of the curves: dense where they bend
        self._make_figure()
        controls = {
            "time": self.time,
            "stiffness": self.stiffness,
            "temperature": self.temperature,
            "start": self.start,
        }
        row = {"flex_flow": "row wrap"}
        arrangement = ipywidgets.Box(list(controls.values()), layout=row)
        self.picture = Picture(
            self._draw,
            controls,
            arrangement=arrangement,
            name="noise and a pull",
            takeaway="With a pull every start is forgotten; without one the cloud widens for ever.",
        )

    def now(self) -> Moment:
        """The exact numbers of the present picture."""
        values = self.picture.values()
        start = STARTS[values["start"]]
        cloud = at_time(start, values["time"], values["stiffness"], values["temperature"])
        return moment(cloud, values["stiffness"], values["temperature"])

    def _make_figure(self) -> None:
        with rc_context({**RC, "font.size": 10, "axes.titlesize": 10.5, "axes.labelsize": 10}):
            figure = new_figure(9.6, 3.9)
            paths, density, curves = figure.subplots(1, 3, width_ratios=[1.35, 0.8, 1.1])
            paths.set(xlim=(0, END), ylim=(-LIMIT, LIMIT), xlabel="time t", ylabel="position x")
            paths.set_title(f"{LINES} of {WALKERS} walkers")
            density.set(xlim=(0, 1.25), ylim=(-LIMIT, LIMIT), xlabel="density", yticklabels=[])
            density.set_title("all walkers; line: exact")
            curves.set(xlim=(0, END), ylim=(-0.6, 3.6), xlabel="time t", ylabel="nats")
            curves.set_title("entropy, excess free energy")
            self._grid = torch.linspace(-LIMIT, LIMIT, 301, dtype=torch.float64, device="cpu")
            self._edges = np.linspace(-LIMIT, LIMIT, 46)
            self._lines = LineCollection([], colors=DATA, linewidths=0.7, alpha=0.55)
            paths.add_collection(self._lines)
            self._cursor = paths.axvline(0.0, color=INK, linewidth=1.2)
            self._bars = density.stairs(np.zeros(45), self._edges, orientation="horizontal", fill=True, color="#BFD9EA")
            (self._exact,) = density.plot([], [], color=DATA)
            (self._settled,) = density.plot([], [], color=INK, linestyle="--", linewidth=1.3)
            (self._entropy,) = curves.plot([], [], color=VELOCITY)
            (self._excess,) = curves.plot([], [], color=SCORE, linestyle="--")
            (self._dots,) = curves.plot([], [], "o", color=INK, markersize=5)
            curves.text(0.97, 0.96, "entropy", color=VELOCITY, ha="right", va="top", transform=curves.transAxes)
            curves.text(
                0.97, 0.89, "free energy above equilibrium\n(dashed, in kT)", color=SCORE, ha="right", va="top",
                transform=curves.transAxes,
            )  # fmt: skip
            self._text = density.text(
                0.97, 0.98, "", ha="right", va="top", fontsize=9, transform=density.transAxes, color=INK
            )
            self._note = density.text(
                0.97, 0.02, "", ha="right", va="bottom", fontsize=9, transform=density.transAxes, color=NOISE
            )
        moving = [
            self._lines, self._cursor, self._bars, self._exact, self._settled, self._entropy, self._excess, self._dots,
            self._text, self._note,
        ]  # fmt: skip
        self._figure = MovingFigure(figure, moving)

    def _draw(self, values: dict[str, Any]) -> bytes:
        stiffness, temperature = values["stiffness"], values["temperature"]
        walk, moments = self._run(values["start"], stiffness, temperature)
        k = round(values["time"] * STEPS / END)
        times = np.arange(STEPS + 1) * END / STEPS
        cloud = at_time(STARTS[values["start"]], times[k], stiffness, temperature)
        here, x = moment(cloud, stiffness, temperature), walk[k].numpy()

        lines = walk[: k + 1, :LINES].numpy()
        self._lines.set_segments([np.column_stack([times[: k + 1], path]) for path in lines.T])
        self._cursor.set_xdata([times[k], times[k]])
        counts, _ = np.histogram(x, bins=self._edges)
        self._bars.set_data(counts / (WALKERS * (self._edges[1] - self._edges[0])), self._edges)
        self._exact.set_data(cloud.log_prob(self._grid[:, None]).exp().numpy(), self._grid.numpy())
        if stiffness > 0:
            width = temperature / stiffness
            settled = torch.exp(-(self._grid**2) / (2 * width)) / math.sqrt(2 * math.pi * width)
            self._settled.set_data(settled.numpy(), self._grid.numpy())
        else:
            self._settled.set_data([], [])
        self._note.set_text("dashed: the equilibrium" if stiffness > 0 else "no pull, no equilibrium")
        self._entropy.set_data(self._times, [m.entropy for m in moments])
        self._excess.set_data(self._times, [m.excess for m in moments])  # infinite: not drawn
        self._dots.set_data([times[k]] * 2, [here.entropy, here.excess])
        self._text.set_text(
            f"t = {times[k]:.2f}\nmean {here.mean:.2f}\nvariance {here.variance:.2f}\nentropy {here.entropy:.2f}"
        )
        return self._figure.png()

    def _repr_mimebundle_(self, **formats: Any) -> dict[str, Any]:
        return self.picture._repr_mimebundle_(**formats)

    def __repr__(self) -> str:
        return repr(self.picture)

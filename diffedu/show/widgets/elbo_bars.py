"""The widget of chapter 6: where the nats of the bound go, step by step, and what a wrong variance adds."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import ipywidgets
import numpy as np
import torch
from matplotlib import rc_context
from matplotlib.collections import PolyCollection
from torch import Tensor

from diffedu.core.elbo import interpolated_variance, optimal_variances, posterior, prior_kl, scalar_mmse
from diffedu.core.oracle import GaussianMixture
from diffedu.core.path import VP, DiscreteDDPM, betas_from_alpha_bar, cosine_betas, sigmoid_betas
from diffedu.show.style import DATA, EXTRA, INK, NOISE, RC, SCORE, panels
from diffedu.show.widgets.picture import MovingFigure, Picture

LENGTHS = (5, 10, 20, 50)
SCALES = (0.1, 0.3, 1.0, 3.0)
SCHEDULES = ("cosine", "linear", "sigmoid")


class Bill(NamedTuple):
    """What the bars show of one setting, in nats; numbers only."""

    reconstruction: Tensor
    """L_0 with the best variance, shape ()."""
    unavoidable: Tensor
    """L_1 ... L_{T-1} with the best variances, shape (T - 1,)."""
    excess: Tensor
    """What the chosen variances add to L_0 ... L_{T-1}, shape (T,)."""
    prior: Tensor
    """L_T, shape ()."""
    entropy: Tensor
    """Of the data, shape (): the least that any model can reach on average."""

    @property
    def bound(self) -> float:
        """E[L]."""
        return float(self.reconstruction + self.unavoidable.sum() + self.excess.sum() + self.prior)


def _betas(schedule: str, T: int) -> Tensor:
    if schedule == "linear":  # the rate of DDPM's linear betas, for any T
        t = torch.arange(T + 1, dtype=torch.float64, device="cpu") / T
        return betas_from_alpha_bar(VP()(t).alpha ** 2)
    return cosine_betas(T) if schedule == "cosine" else sigmoid_betas(T)


class ElboBars:
    """One bar for each term of the bound, for data on a line and its exact denoiser; everything exact.

    Args:
        mixture: of dimension 1; the knob "scale" multiplies it.

    Raises:
        ValueError: the mixture is not on a line.

    Taught in: chapter 6.

    Example:
        >>> data = GaussianMixture.single(torch.zeros(1).double(), torch.eye(1).double())
        >>> bars = ElboBars(data)
        >>> bill = bars.numbers(T=20, schedule="cosine", v=1.0, scale=1.0)
        >>> abs(bill.bound - float(bill.entropy)) < 1e-3   # N(0, 1) and beta: the bound is tight
        True
    """

    def __init__(self, mixture: GaussianMixture) -> None:
        from scipy.interpolate import CubicSpline

        if mixture.D != 1:
            raise ValueError(f"ElboBars needs a mixture on a line, got dimension {mixture.D}")
        mixture = mixture.to("cpu", torch.float64)
        half_log_snr = torch.linspace(-9.0, 5.0, 113, dtype=torch.float64, device="cpu")
        self._data = {
            w: GaussianMixture(mixture.weights, w * mixture.means, w**2 * mixture.covariances) for w in SCALES
        }  # the smallest errors depend on the signal-to-noise ratio only, so one table serves all schedules
        self._log_mmse = {
            w: CubicSpline(half_log_snr.numpy(), scalar_mmse(data, half_log_snr).log().numpy())
            for w, data in self._data.items()
        }
        self._entropy = {w: self._entropy_of(data) for w, data in self._data.items()}

        style, wide = {"description_width": "150px"}, {"width": "440px"}
        self.v = ipywidgets.FloatSlider(
            value=0.0, min=-0.5, max=1.5, step=0.05, description="v: β̃ (0) to β (1)", style=style, layout=wide
        )
        self.T = ipywidgets.SelectionSlider(options=LENGTHS, value=10, description="steps T", style=style, layout=wide)
        self.scale = ipywidgets.SelectionSlider(
            options=SCALES, value=1.0, description="scale of the data", style=style, layout=wide
        )
        self.schedule = ipywidgets.Dropdown(
            options=SCHEDULES, value="cosine", description="schedule", style=style, layout=wide
        )

        figure, (ax,) = panels(1, 1, width=8.2, height=4.0)
        with rc_context(RC):
            self._best = PolyCollection([], facecolors=DATA)
            self._first = PolyCollection([], facecolors=EXTRA)
            self._added = PolyCollection([], facecolors=SCORE)
            for collection in (self._best, self._first, self._added):
                ax.add_collection(collection)
            ax.axhline(0, color=INK, linewidth=0.8)
            ax.set(xlim=(-0.01, 1.01), ylim=(-2.9, 1.9), xlabel="k / T: data on the left, noise on the right")
            ax.set_ylabel("E[$L_k$] in nats")
            self._title = ax.text(0.0, 1.03, "bound", transform=ax.transAxes, color=INK)
            for y, words, color in (
                (0.30, "$L_0$ with the best variance (a density: may be negative)", EXTRA),
                (0.23, "$L_k$ with the best variance: unavoidable", DATA),
                (0.16, "what the chosen variance adds", SCORE),
            ):
                ax.text(0.98, y, words, transform=ax.transAxes, color=color, ha="right")
            self._end = ax.text(0.98, 0.09, "", transform=ax.transAxes, color=NOISE, ha="right")
        self._figure = MovingFigure(figure, [self._best, self._first, self._added, self._title, self._end])
        controls = {"v": self.v, "T": self.T, "scale": self.scale, "schedule": self.schedule}
        self.picture = Picture(
            self._draw,
            controls,
            width=760,
            name="the bill of the bound",
            takeaway="Orange is the price of a wrong variance; the rest no choice of variance avoids.",
        )

    @staticmethod
    def _entropy_of(data: GaussianMixture) -> Tensor:
        reach = 10 * float(data.covariances.max().sqrt())
        low, high = float(data.means.min()) - reach, float(data.means.max()) + reach
        grid = torch.linspace(low, high, 20_001, dtype=torch.float64, device="cpu")
        log_p = data.log_prob(grid[:, None])
        return -(log_p.exp() * log_p).sum() * (grid[1] - grid[0])

    def numbers(self, *, T: int, schedule: str, v: float, scale: float) -> Bill:
        """The bill of one setting.

        Args:
            T: number of steps.
            schedule: "cosine", "linear" or "sigmoid".
            v: the variance is exp(v log beta + (1 - v) log beta_tilde).
            scale: one of 0.1, 0.3, 1 and 3: multiplies the data.

        Raises:
            ValueError: another scale or schedule.
        """
        if scale not in SCALES or schedule not in SCHEDULES:
            raise ValueError(
                f"scale must be one of {SCALES} and schedule one of {SCHEDULES}; got {scale}, {schedule!r}"
            )
        path, data = DiscreteDDPM(_betas(schedule, T)), self._data[scale]
        t = torch.arange(1, T + 1, dtype=torch.float64, device="cpu")
        mmse = np.exp(self._log_mmse[scale](path(t).half_log_snr.numpy()))
        best = optimal_variances(path, torch.as_tensor(mmse, device="cpu"))
        ratio = best / interpolated_variance(torch.full_like(t, v), path, t)
        root = (data.covariance + data.mean**2).reshape(1, 1).sqrt()  # a point whose square is E[x0^2]
        return Bill(
            0.5 * (1 + math.log(2 * math.pi) + best[0].log()),
            0.5 * torch.log(best[1:] / posterior(path, t[1:]).variance),
            0.5 * (ratio - 1 - ratio.log()),
            prior_kl(path, root, path.t_max)[0],
            self._entropy[scale],
        )

    def _draw(self, values: dict[str, Any]) -> bytes:
        bill = self.numbers(**values)
        T = len(bill.excess)

        def boxes(first: int, low: Tensor, high: Tensor) -> list[np.ndarray]:
            found = []
            for k, (a, b) in enumerate(zip(low.tolist(), high.tolist(), strict=True), first):
                left, right = (k + 0.1) / T, (k + 0.9) / T
                found.append(np.array([(left, a), (left, b), (right, b), (right, a)]))
            return found

        base = torch.cat([bill.reconstruction[None].clamp(min=0.0), bill.unavoidable])
        self._first.set_verts(boxes(0, torch.zeros_like(base[:1]), bill.reconstruction[None]))
        self._best.set_verts(boxes(1, torch.zeros_like(bill.unavoidable), bill.unavoidable))
        self._added.set_verts(boxes(0, base, base + bill.excess))
        gap = bill.bound - float(bill.entropy)
        self._title.set_text(
            f"bound {bill.bound:.2f} nats = entropy {bill.entropy:.2f} + gap {gap:.2f}; "
            f"of the gap, wrong variance: {bill.excess.sum():.2f}"
        )
        self._end.set_text(f"$L_T$ = {bill.prior:.0e}")
        return self._figure.png()

    def _repr_mimebundle_(self, **formats: Any) -> dict[str, Any]:
        return self.picture._repr_mimebundle_(**formats)

    def __repr__(self) -> str:
        return repr(self.picture)

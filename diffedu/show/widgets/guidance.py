"""The widget of chapter 12: the guided field at one time, and the samples that the real sampler makes of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import ipywidgets
import torch
from matplotlib import rc_context
from torch import Tensor

from diffedu._tensor import seeded
from diffedu.core.oracle import GaussianMixture
from diffedu.core.path import VP, GaussianPath
from diffedu.core.times import uniform_half_log_snr_times
from diffedu.guidance import Between, ClassifierFree, MixtureClassifier
from diffedu.sampling import DDIM, sample, start_noise
from diffedu.show.plots import square
from diffedu.show.style import DATA, GUIDED, INK, NOISE, RC, panels
from diffedu.show.widgets.picture import MovingFigure, Picture, side_by_side


class GuidanceField:
    """Classifier-free guidance with exact denoisers: three fields at one time, and samples with their measures.

    Left: the noise taken away per unit (minus eps_hat) by the unconditional (grey), the conditional (blue) and the
    guided model (pink) at time t. Right: samples by DDIM's steps, guided inside the interval only. Below them three
    measures, each beside its value for as many exact samples of the class.

    Args:
        mixture: the data, in the plane.
        classes: for each class its components.
        path: how noise is added; `VP` by default.
        limit: both panels show [-limit, limit]^2.
        count: number of samples.
        steps: of the sampler.

    Raises:
        ValueError: the mixture is not in the plane.

    Taught in: chapter 12.

    Example:
        >>> field = GuidanceField(GaussianMixture.ring(4), [[0, 1], [2, 3]], count=50, steps=6)
        >>> sorted(field.measures())
        ['accuracy', 'clumps', 'outside']
    """

    def __init__(
        self,
        mixture: GaussianMixture,
        classes: Sequence[Sequence[int]],
        *,
        path: GaussianPath | None = None,
        limit: float = 3.0,
        count: int = 300,
        steps: int = 16,
    ) -> None:
        if mixture.D != 2:
            raise ValueError(f"the widget draws points of the plane, got a mixture in {mixture.D} dimensions")
        self._mixture, self._classes = mixture, [list(k) for k in classes]
        self._path = VP() if path is None else path
        device, dtype = mixture.means.device, mixture.means.dtype
        self._times = uniform_half_log_snr_times(
            self._path, steps, end=1e-3 * self._path.t_max, dtype=dtype, device=device
        )
        self._start = start_noise(self._path, (count, 2), seeded(0, device)).to(dtype)
        line = torch.linspace(-0.87 * limit, 0.87 * limit, 8, dtype=dtype, device=device)
        self._lattice = torch.cartesian_prod(line, line)
        self._arrow = 0.27 * limit
        self._clean = mixture.sample(400, seeded(1, device))
        self._noise = torch.randn(400, 2, generator=seeded(2, device), dtype=dtype, device=device)
        # As many exact samples of each class, and the density below which 1 % of them lie: made once.
        self._laws = [mixture.only(k) for k in self._classes]
        self._far = [law.log_prob(law.sample(20_000, seeded(3, device))).quantile(0.01) for law in self._laws]
        self._floors = [self._measures(k, law.sample(count, seeded(4, device))) for k, law in enumerate(self._laws)]
        self._kept: tuple[Any, Tensor] | None = None

        style, wide = {"description_width": "86px"}, ipywidgets.Layout(width="340px")
        self.scale = ipywidgets.FloatSlider(
            value=4.0, min=-1.0, max=8.0, step=0.25, description="scale s", style=style, layout=wide
        )
        self.interval = ipywidgets.FloatRangeSlider(
            value=(0.0, 1.0), min=0.0, max=1.0, step=0.05, description="guided in t", style=style, layout=wide
        )
        self.t = ipywidgets.FloatSlider(
            value=0.35, min=0.02, max=0.98, step=0.01, description="field at t", style=style, layout=wide
        )
        self.label = ipywidgets.Dropdown(
            options=list(range(len(self._classes))), description="class", style=style, layout={"width": "170px"}
        )
        with rc_context(RC):
            figure, (left, right) = panels(1, 2, width=10.6, height=5.0)
            self._haze = left.scatter([], [], s=5, color="#D0D0D0", linewidths=0)
            x, y = self._lattice.cpu().T
            self._fields = [
                left.quiver(x, y, 0 * x, 0 * y, color=c, angles="xy", scale_units="xy", scale=1, width=w)
                for c, w in ((NOISE, 0.0035), (DATA, 0.006), (GUIDED, 0.009))
            ]
            x, y = self._clean.cpu().T
            right.scatter(x, y, s=5, color="#D0D0D0", linewidths=0)
            self._dots = right.scatter([], [], s=8, color=GUIDED, alpha=0.7, linewidths=0)
            for ax, title in (
                (left, "without label (grey), with (blue), guided (pink)"),
                (right, "samples; behind them all data"),
            ):
                square(ax, limit)
                ax.set_title(title)
            box = {"facecolor": "white", "edgecolor": "none", "alpha": 0.9, "pad": 2}
            self._note = left.text(0.02, 0.02, "", transform=left.transAxes, color=INK, fontsize=10, bbox=box)
            self._table = right.text(
                0.02, 0.02, "", transform=right.transAxes, color=INK, fontsize=10, bbox=box, family="monospace"
            )
        moving = [
            self._haze,
            *self._fields[::-1],  # drawn in this order: grey on top, it is the thinnest
            self._note,
            self._dots,
            self._table,
        ]
        self._figure = MovingFigure(figure, moving)
        self.picture = Picture(
            self._draw,
            {"scale": self.scale, "interval": self.interval, "t": self.t, "label": self.label},
            arrangement=ipywidgets.VBox([side_by_side(self.scale, self.interval), side_by_side(self.t, self.label)]),
            width=960,
            name="guidance: field and samples",
            takeaway="A larger scale: more samples in the class, fewer clumps, and samples where no data is.",
        )

    def _denoisers(self, values: dict[str, Any]) -> tuple[Any, Any, Any]:
        """Unconditional, conditional and guided, the last inside the interval only."""
        without = self._mixture.denoiser(self._path)
        given = self._laws[values["label"]].denoiser(self._path)
        low, high = (part * self._path.t_max for part in values["interval"])
        return without, given, Between(ClassifierFree(given, without, values["scale"]), given, low, high)

    def samples(self) -> Tensor:
        """The shown samples, shape (count, 2)."""
        return self._samples(self.picture.values())

    def _samples(self, values: dict[str, Any]) -> Tensor:
        asked = (values["scale"], tuple(values["interval"]), values["label"])
        if self._kept is None or self._kept[0] != asked:  # the time of the field doesn't change them
            guided = self._denoisers(values)[2]
            self._kept = asked, sample(guided, DDIM(), self._start, self._times)
        return self._kept[1]

    def _measures(self, label: int, x: Tensor) -> dict[str, float]:
        clean = torch.zeros((), dtype=x.dtype, device=x.device)
        likely = MixtureClassifier(self._mixture, self._path, self._classes[label])(x, clean).exp()
        share = self._laws[label].responsibilities(x, clean, self._path).mean(0).clamp(min=1e-12)
        return {
            "accuracy": (likely > 0.5).double().mean().item(),
            "clumps": (-(share * share.log()).sum()).exp().item(),
            "outside": (self._laws[label].log_prob(x) < self._far[label]).double().mean().item(),
        }

    def measures(self) -> dict[str, float]:
        """Of the shown samples: share in the class, effective number of its clumps, share outside the class."""
        return self._measures(self.label.value, self.samples())

    def floors(self) -> dict[str, float]:
        """The same for as many exact samples of the class."""
        return self._floors[self.label.value]

    def _draw(self, values: dict[str, Any]) -> bytes:
        t = torch.tensor(values["t"] * self._path.t_max, dtype=self._start.dtype, device=self._start.device)
        c = self._path(t)
        self._haze.set_offsets(self._path.add_noise(self._clean, self._noise, t).cpu().numpy())
        pulls = [(c.alpha * d(self._lattice, t) - self._lattice) / c.sigma for d in self._denoisers(values)]
        typical = torch.stack(pulls[1:]).norm(dim=2).quantile(0.95)
        for pull, arrows in zip(pulls, self._fields, strict=True):
            arrows.set_UVC(*(self._arrow / typical * pull).cpu().T.numpy())
        low, high = values["interval"]
        on = low <= values["t"] <= high
        self._note.set_text(f"s = {values['scale']:g} at t = {values['t']:.2f}" if on else "not guided at this t")

        x = self._samples(values)
        self._dots.set_offsets(x.cpu().numpy())
        got, floor = self._measures(values["label"], x), self._floors[values["label"]]
        rows = [
            f"in the class  {got['accuracy']:6.0%}   exact {floor['accuracy']:4.0%}",
            f"clumps        {got['clumps']:6.1f}   exact {floor['clumps']:4.1f}",
            f"outside       {got['outside']:6.0%}   exact {floor['outside']:4.0%}",
        ]
        self._table.set_text("\n".join(rows))
        return self._figure.png()

    def _repr_mimebundle_(self, **formats: Any) -> dict[str, Any]:
        return self.picture._repr_mimebundle_(**formats)

    def __repr__(self) -> str:
        return repr(self.picture)

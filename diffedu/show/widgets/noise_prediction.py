"""The widget of chapter 7: drag the time; see the noise that is there, its best guess, and what a network says."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ipywidgets
import torch
from matplotlib import rc_context
from matplotlib.collections import LineCollection
from torch import Tensor

from diffedu._tensor import randn, seeded
from diffedu.core.denoiser import eps_hat
from diffedu.core.loss import least_loss
from diffedu.core.oracle import GaussianMixture
from diffedu.core.path import DiscreteDDPM
from diffedu.core.prediction import EPS
from diffedu.show.plots import square
from diffedu.show.style import DATA, INK, NOISE, RC, SCORE, panels
from diffedu.show.widgets.picture import MovingFigure, Picture

POINTS = 70
AVERAGED = 1000
"""Points behind each value of the curves."""


class NoisePrediction:
    """Noisy points at a time t, and what is to be taken off them: the truth, the exact guess, the network's guess.

    Each line runs from a noisy point x_t to x_t - sigma eps, for the true noise, its posterior mean and the network's
    answer. The curves show the losses by t, and how far the network is from the exact guess.

    Args:
        mixture: the data, in the plane.
        path: how noise is added.
        net: called as net(x_t, t) with t of shape (B,); returns a guess of the noise, shape (B, 2).
        limit: the panels show [-limit, limit]^2.

    Raises:
        ValueError: the mixture is not in the plane.

    Taught in: chapter 7.

    Example:
        >>> from diffedu.core import linear_betas
        >>> path = DiscreteDDPM(linear_betas(20, 0.01, 0.6))
        >>> widget = NoisePrediction(GaussianMixture.ring(8), path, lambda x_t, t: 0 * x_t)
        >>> widget.t.value = 3
        >>> true, exact, learned = widget.errors()
        >>> true == 0.0, learned > exact
        (True, True)
    """

    def __init__(
        self,
        mixture: GaussianMixture,
        path: DiscreteDDPM,
        net: Callable[[Tensor, Tensor], Tensor],
        *,
        limit: float = 3.0,
    ) -> None:
        if mixture.D != 2:
            raise ValueError(f"the widget draws points of the plane, got a mixture in {mixture.D} dimensions")
        self._mixture, self._path, self._net = mixture, path, net
        style, wide = {"description_width": "60px"}, {"width": "520px"}
        self.t = ipywidgets.IntSlider(
            value=max(1, round(0.25 * path.T)), min=1, max=path.T, description="step t", style=style, layout=wide
        )
        self.seed = ipywidgets.IntSlider(
            value=0, min=0, max=20, description="points", tooltip="other points", style=style, layout=wide
        )
        with rc_context(RC):
            figure, axes = panels(1, 4, width=12.6, height=3.7)
            self._dots: list[Any] = []
            self._lines: list[Any] = []
            self._texts: list[Any] = []
            titles = ("the noise that was added", "the exact guess", "the network's guess")
            for ax, title, color in zip(axes, titles, (NOISE, SCORE, DATA), strict=False):
                lines = LineCollection([], colors=color, linewidths=1.1, alpha=0.75, zorder=2)
                ax.add_collection(lines)
                self._lines.append(lines)
                self._dots.append(ax.scatter([], [], s=9, color=INK, linewidths=0, zorder=3))
                square(ax, limit, ylabel="$x_2$" if not self._texts else "")
                ax.set_title(title)
                self._texts.append(ax.text(0.03, 0.03, "", transform=ax.transAxes, color=INK, fontsize=10))
            axes[0].text(0.03, 0.97, "dots: $x_t$", transform=axes[0].transAxes, color=INK, va="top", fontsize=10)
            self._curves(axes[3])
            (self._mark,) = axes[3].plot([1, 1], [0, 1], color=INK, linewidth=1.2)
        self._figure = MovingFigure(figure, [*self._lines, *self._dots, *self._texts, self._mark])
        self.picture = Picture(
            self._draw,
            {"t": self.t, "seed": self.seed},
            width=1180,
            name="noise, its best guess, and a network's",
            takeaway="The best answer is the average noise, not the noise: no network gets below the least loss.",
        )

    def _curves(self, ax: Any) -> None:
        """Least loss by t, and the network's mean squared distance to the exact guess."""
        steps = torch.arange(1, self._path.T + 1, device=self._mixture.means.device).float()
        least = torch.stack(
            [least_loss(self._mixture, self._path, EPS, t.expand(AVERAGED), self._generator(1)).mean() for t in steps]
        )
        apart = torch.stack([(a - b).square().mean() for _, _, a, b, _ in map(self._guesses, steps.tolist())])
        at = steps.cpu()
        ax.plot(at, (least + apart).cpu(), color=DATA, linewidth=3.5, alpha=0.35)
        ax.plot(at, least.cpu(), color=SCORE)
        ax.plot(at, apart.cpu(), color=DATA, linestyle=":")
        ax.set(
            xlabel="step t", ylabel="loss, per coordinate", title="loss by step", ylim=(0, 1.02), xlim=(0, self._path.T)
        )
        for height, text, color in (
            (0.96, "the network's loss", DATA),
            (0.88, "least possible loss", SCORE),
            (0.80, "dotted: the difference", DATA),
        ):
            ax.text(0.97, height, text, transform=ax.transAxes, color=color, ha="right", va="top", fontsize=10)

    def _generator(self, seed: int) -> torch.Generator:
        return seeded(seed, self._mixture.means.device)

    def _guesses(self, step: float, n: int = AVERAGED, seed: int = 1) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """x_t, the true noise, the exact guess, the network's, all (n, 2), and sigma."""
        generator = self._generator(seed)
        x0 = self._mixture.sample(n, generator)
        eps = randn(x0.shape, generator, dtype=x0.dtype, device=x0.device)
        t = torch.full((n,), step, dtype=x0.dtype, device=x0.device)
        x_t = self._path.add_noise(x0, eps, t)
        exact = eps_hat(self._mixture.denoiser(self._path), x_t, t)
        with torch.no_grad():
            learned = self._net(x_t, t)
        return x_t, eps, exact, learned, self._path(t[0]).sigma

    def _shown(self, values: dict[str, Any]) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        return self._guesses(float(values["t"]), POINTS, 100 + values["seed"])

    @staticmethod
    def _errors(eps: Tensor, guesses: tuple[Tensor, ...]) -> tuple[float, ...]:
        return tuple((guess - eps).square().mean().sqrt().item() for guess in guesses)

    def errors(self) -> tuple[float, float, float]:
        """Root mean square error of the shown noise, 0, of its exact guess and of the network's, per coordinate."""
        _, eps, exact, learned, _ = self._shown(self.picture.values())
        a, b, c = self._errors(eps, (eps, exact, learned))
        return a, b, c

    def _draw(self, values: dict[str, Any]) -> bytes:
        x_t, eps, exact, learned, sigma = self._shown(values)
        found = self._errors(eps, (exact, learned))
        apart = (exact - learned).square().mean().sqrt().item()
        texts = (
            "to $x_t - \\sigma\\,\\varepsilon$",
            f"error {found[0]:.2f}",
            f"error {found[1]:.2f}; to exact {apart:.2f}",
        )
        for k, guess in enumerate((eps, exact, learned)):
            self._dots[k].set_offsets(x_t.cpu().numpy())
            self._lines[k].set_segments(list(torch.stack([x_t, x_t - sigma * guess], dim=1).cpu().numpy()))
            self._texts[k].set_text(texts[k])
        self._mark.set_xdata([values["t"], values["t"]])
        return self._figure.png()

    def _repr_mimebundle_(self, **formats: Any) -> dict[str, Any]:
        return self.picture._repr_mimebundle_(**formats)

    def __repr__(self) -> str:
        return repr(self.picture)

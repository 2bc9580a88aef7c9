"""The widget of chapter 8: how much fresh noise, and in how many steps; the paths of particles, and where they end."""

from __future__ import annotations

from typing import Any, NamedTuple

import ipywidgets
import torch
from matplotlib import rc_context
from matplotlib.collections import LineCollection
from torch import Tensor

from diffedu._tensor import seeded
from diffedu.core.oracle import GaussianMixture
from diffedu.core.path import DiscreteDDPM
from diffedu.core.times import trailing_times
from diffedu.evaluate.metrics import energy_distance
from diffedu.sampling.ancestral import DDIM
from diffedu.sampling.solver import start_noise, trajectory
from diffedu.show.plots import square
from diffedu.show.style import CYCLE, DATA, INK, NOISE, RC, panels
from diffedu.show.widgets.picture import MovingFigure, Picture

STEPS = (2, 3, 5, 10, 20, 50)
STARTS = 4
COPIES = 5
CLOUD = 300


class Run(NamedTuple):
    """What one setting gives."""

    paths: Tensor
    """Shape (steps + 1, STARTS, COPIES, 2): each start walked COPIES times."""
    cloud: Tensor
    """Final points of CLOUD other starts, shape (CLOUD, 2)."""

    @property
    def spread(self) -> float:
        """Root mean square distance of the final copies from the mean of their start, in data units."""
        end = self.paths[-1]
        return (end - end.mean(1, keepdim=True)).square().sum(-1).mean().sqrt().item()


class DDIMPaths:
    """Particles on their way from noise to data: a few starts, each walked several times, and a cloud of others.

    Without fresh noise (eta = 0) all copies of a start follow one path; with it they part.

    Args:
        mixture: the data, in the plane; its exact denoiser is used.
        path: how noise is added.
        limit: the panels show [-limit, limit]^2.

    Raises:
        ValueError: the mixture is not in the plane, or the path has fewer steps than the slider offers.

    Taught in: chapter 8.

    Example:
        >>> from diffedu.core import linear_betas
        >>> widget = DDIMPaths(GaussianMixture.ring(6), DiscreteDDPM(linear_betas(100, 1e-3, 0.2)))
        >>> widget.run(eta=0.0, steps=5, seed=0).spread < 1e-5, widget.run(eta=1.0, steps=5, seed=0).spread > 0.1
        (True, True)
    """

    def __init__(self, mixture: GaussianMixture, path: DiscreteDDPM, *, limit: float = 3.2) -> None:
        if mixture.D != 2:
            raise ValueError(f"the widget draws points of the plane, got a mixture in {mixture.D} dimensions")
        if max(STEPS) > path.T:
            raise ValueError(f"the path has T = {path.T} steps, the slider goes up to {max(STEPS)}")
        self._denoiser, self._path = mixture.denoiser(path), path
        self._device = mixture.means.device
        real = mixture.sample(CLOUD, seeded(90, self._device))

        style, wide = {"description_width": "60px"}, {"width": "520px"}
        self.eta = ipywidgets.FloatSlider(
            value=0.0, min=0.0, max=1.0, step=0.05, description="eta", style=style, layout=wide
        )
        self.steps = ipywidgets.SelectionSlider(options=STEPS, value=10, description="steps", style=style, layout=wide)
        self.seed = ipywidgets.IntSlider(
            value=0, min=0, max=20, description="noise", tooltip="other random numbers", style=style, layout=wide
        )
        self._real = real
        with rc_context(RC):
            figure, (left, right) = panels(1, 2, width=10, height=4.7)
            self._lines = LineCollection([], linewidths=1.1, alpha=0.75, zorder=2)
            left.add_collection(self._lines)
            for ax in (left, right):
                ax.scatter(real[:, 0].cpu(), real[:, 1].cpu(), s=3, color="#C8C8C8", linewidths=0, zorder=1)
            self._starts = left.scatter([], [], s=26, facecolors="white", edgecolors=NOISE, zorder=3)
            self._ends = left.scatter([], [], s=18, zorder=4, linewidths=0)
            self._cloud = right.scatter([], [], s=5, color=DATA, linewidths=0, zorder=3)
            square(left, limit)
            square(right, limit, ylabel="")
            left.set_title(f"{STARTS} starts (hollow), {COPIES} walks from each")
            right.set_title(f"where {CLOUD} other starts end (grey: data)")
            self._apart = left.text(0.03, 0.03, "", transform=left.transAxes, color=INK, fontsize=10)
            self._error = right.text(0.03, 0.03, "", transform=right.transAxes, color=INK, fontsize=10)
        moving = [self._lines, self._starts, self._ends, self._cloud, self._apart, self._error]
        self._figure = MovingFigure(figure, moving)
        controls = {"eta": self.eta, "steps": self.steps, "seed": self.seed}
        self.picture = Picture(
            self._draw,
            controls,
            width=940,
            name="paths of particles by eta and number of steps",
            takeaway="Without fresh noise a start has one path; with it the paths part, and want more steps.",
        )

    def run(self, *, eta: float, steps: int, seed: int) -> Run:
        """The paths and the final cloud of one setting.

        Args:
            eta: from 0 to 1; see `DDIM`.
            steps: number of steps on the trailing grid.
            seed: of all random numbers; starts depend on nothing else.
        """
        few = start_noise(self._path, (STARTS, 2), seeded(1000 + seed, self._device))
        many = start_noise(self._path, (CLOUD, 2), seeded(2000 + seed, self._device))
        x = torch.cat([few.repeat_interleave(COPIES, 0), many])
        walk = trajectory(
            self._denoiser,
            DDIM(eta),
            x.to(self._real.dtype),
            trailing_times(self._path, steps),
            generator=seeded(3000 + seed, self._device),
        )
        states = torch.stack([state for _, state in walk])
        own = STARTS * COPIES
        return Run(states[:, :own].reshape(-1, STARTS, COPIES, 2), states[-1, own:])

    def _draw(self, values: dict[str, Any]) -> bytes:
        found = self.run(**values)
        paths = found.paths.flatten(1, 2).transpose(0, 1).cpu().numpy()
        colors = [CYCLE[k % len(CYCLE)] for k in range(STARTS) for _ in range(COPIES)]
        self._lines.set_segments(list(paths))
        self._lines.set_color(colors)
        self._starts.set_offsets(paths[::COPIES, 0])
        self._ends.set_offsets(paths[:, -1])
        self._ends.set_facecolor(colors)
        self._cloud.set_offsets(found.cloud.cpu().numpy())
        self._apart.set_text(f"walks from one start end {found.spread:.2f} apart (rms)")
        distance = energy_distance(found.cloud, self._real)
        self._error.set_text(f"energy distance to data {distance.value:.3f} ± {distance.standard_error:.3f}")
        return self._figure.png()

    def _repr_mimebundle_(self, **formats: Any) -> dict[str, Any]:
        return self.picture._repr_mimebundle_(**formats)

    def __repr__(self) -> str:
        return repr(self.picture)

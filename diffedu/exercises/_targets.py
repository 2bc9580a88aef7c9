"""What the solutions draw: the picture that an answer is to reach, shown by ``check`` in a notebook.

The solution's numbers ship with the book (data/targets.json, written by tools/targets.py); its code doesn't. A
function under :func:`target_curves`, :func:`target_points` or :func:`target_images` computes the same numbers from a
student's answer, on inputs that are the same for everyone, and both are drawn: the solution's pale and wide, the
student's thin above it. Checks draw other inputs: whoever types these numbers in gains nothing.
"""

from __future__ import annotations

import contextlib
import functools
import io
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from diffedu.data.files import asset

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Values = Callable[[Any], Tensor | Sequence[Tensor]]
"""From an answer to the numbers that are drawn; any exception means that there is nothing to draw."""

NAMES = ("the solution", "yours")
BROWN = "#7A5200"  # of the lines' names: the solution's colour, dark enough to read


@dataclass(frozen=True)
class Curves:
    """Lines over one axis, in one panel or several; values have shape (panels, lines, len(x))."""

    x: Tensor
    xlabel: str
    panels: tuple[str, ...]
    lines: tuple[str, ...]
    log_x: bool
    log_y: bool

    def shaped(self, values: Tensor) -> Tensor:
        return values.reshape(len(self.panels), len(self.lines), len(self.x))

    def draw(self, target: Tensor, yours: Tensor | None) -> Figure:
        """A panel for each quantity; the solution's lines pale and wide, the student's thin and dark."""
        from diffedu.show import EXTRA, INK, label_ends, panels

        count = len(self.panels)
        named = any(self.lines)
        figure, axes = panels(1, count, width=(4.4 if named else 3.9) + 3.2 * (count - 1), height=2.7)
        for panel, ax in enumerate(axes):
            ax.set(
                xscale="log" if self.log_x else "linear",
                yscale="log" if self.log_y else "linear",
                xlabel=self.xlabel,
                ylabel=self.panels[panel],
            )
            wide = ax.plot(self.x.numpy(), target[panel].T.numpy(), color=EXTRA, alpha=0.55, linewidth=5)
            handles = [wide[0]]
            if yours is not None:
                ax.set(
                    xlim=ax.get_xlim(), ylim=ax.get_ylim()
                )  # the solution sets the scale; a wrong answer may leave it
                styles = ("-", "--", ":", "-.")
                for line, y in enumerate(yours[panel]):
                    handles[1:] = ax.plot(self.x.numpy(), y.numpy(), styles[line % 4], color=INK, linewidth=1.4)
            if named and panel == count - 1:
                label_ends(ax, [(float(y[-1]), name, BROWN) for y, name in zip(target[panel], self.lines, strict=True)])
        figure.legend(handles, NAMES[: len(handles)], loc="outside upper center", ncols=2, frameon=False)
        return figure


@dataclass(frozen=True)
class Points:
    """Points of the plane; values have shape (N, 2)."""

    title: str
    limit: float
    labels: tuple[str, str]

    def shaped(self, values: Tensor) -> Tensor:
        return values.reshape(-1, 2)

    def draw(self, target: Tensor, yours: Tensor | None) -> Figure:
        """The solution's points and the student's, side by side at one scale."""
        from diffedu.show import EXTRA, INK, new_figure, square

        clouds = [target] if yours is None else [target, yours]
        figure = new_figure(3.0 * len(clouds), 3.3)
        for k, (cloud, color) in enumerate(zip(clouds, (EXTRA, INK), strict=False)):
            ax = figure.add_subplot(1, len(clouds), k + 1)
            ax.plot(*cloud.T.numpy(), "o", color=color, markersize=3, alpha=0.7, markeredgewidth=0)
            square(ax, self.limit, xlabel=self.labels[0], ylabel=self.labels[1])
            ax.set_title(NAMES[k])
        figure.suptitle(self.title, fontsize=11)
        return figure


@dataclass(frozen=True)
class Images:
    """Grey pictures in [-1, 1]; values have shape (N, 1, H, W)."""

    title: str
    size: int

    def shaped(self, values: Tensor) -> Tensor:
        return values.reshape(-1, 1, self.size, self.size)

    def draw(self, target: Tensor, yours: Tensor | None) -> Figure:
        """A row for the solution, one for the student."""
        from diffedu.show import image_rows

        rows = {NAMES[0]: target} if yours is None else dict(zip(NAMES, (target, yours), strict=True))
        figure = image_rows(rows, scale=0.9)
        figure.suptitle(self.title, fontsize=11)
        return figure


@dataclass(frozen=True)
class Target:
    """One exercise's picture: how its numbers are computed, and how they are drawn."""

    id: str
    picture: Curves | Points | Images
    function: Values

    def values(self, answer: Any) -> Tensor:
        """The numbers of an answer, float32 on the CPU, in the picture's shape.

        Raises:
            Exception: whatever the answer raises, or a ValueError where a number is missing or not finite.
        """
        with torch.random.fork_rng(devices=[]), contextlib.redirect_stdout(io.StringIO()):
            torch.default_generator.manual_seed(0)
            found = self.function(answer)
        if not isinstance(found, Tensor):
            found = torch.stack([torch.as_tensor(part, device="cpu").detach().float() for part in found])
        shaped = self.picture.shaped(found.detach().float().cpu())
        if not bool(torch.isfinite(shaped).all()):
            raise ValueError(f"the picture of exercise {self.id} would hold values that are not finite")
        return shaped


_targets: dict[str, Target] = {}


def _register(id: str, picture: Curves | Points | Images) -> Callable[[Values], Values]:
    def register(function: Values) -> Values:
        _targets[id] = Target(id, picture, function)
        return function

    return register


def target_curves(
    id: str,
    *,
    x: Tensor | Sequence[float],
    xlabel: str,
    panels: Sequence[str],
    lines: Sequence[str] = ("",),
    log_x: bool = False,
    log_y: bool = False,
) -> Callable[[Values], Values]:
    """Register the decorated function as what draws an exercise's curves.

    Args:
        id: the exercise, as "5.5".
        x: shape (n,), the same for all lines.
        xlabel: of every panel.
        panels: the quantity in each panel, as its axis is labelled.
        lines: names of the lines in a panel; one without a name unless given.
        log_x: logarithmic axis.
        log_y: logarithmic axes.

    Returns:
        A decorator for a function answer -> values of shape (panels, lines, n), or what can be reshaped to it.
    """
    grid = torch.as_tensor(x, dtype=torch.float32, device="cpu")
    return _register(id, Curves(grid, xlabel, tuple(panels), tuple(lines), log_x, log_y))


def target_points(
    id: str, *, title: str, limit: float, labels: tuple[str, str] = ("$x_1$", "$x_2$")
) -> Callable[[Values], Values]:
    """Register the decorated function, answer -> (N, 2), as what draws an exercise's points in [-limit, limit]^2."""
    return _register(id, Points(title, limit, labels))


def target_images(id: str, *, title: str, size: int = 28) -> Callable[[Values], Values]:
    """Register the decorated function, answer -> (N, 1, size, size) in [-1, 1], as what draws its pictures."""
    return _register(id, Images(title, size))


def targets() -> dict[str, Target]:
    """All pictures of the exercises that have been loaded, by id."""
    return dict(_targets)


@functools.cache
def _stored() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(asset("targets.json").read_text(encoding="utf-8"))
    return found


def target_figure(id: str, answer: Any) -> Figure | None:
    """The solution's picture, and an answer's over it or beside it where the answer gives one; None without a picture.

    Args:
        id: the exercise, as "5.5"; its chapter's exercises have been loaded.
        answer: as for :func:`check`.
    """
    target = _targets.get(id)
    if target is None or id not in _stored():
        return None
    aim = target.picture.shaped(torch.tensor(_stored()[id], dtype=torch.float32, device="cpu"))
    yours = None
    with contextlib.suppress(Exception):  # a stub, or an answer that stops: the message above says why
        yours = target.values(answer)
    if yours is not None and yours.shape != aim.shape:
        yours = None
    return target.picture.draw(aim, yours)


def show_target(id: str, answer: Any) -> None:
    """Display the picture below the message, in a notebook; elsewhere do nothing."""
    ipython = sys.modules.get("IPython")
    if ipython is None or ipython.get_ipython() is None:
        return
    figure = target_figure(id, answer)
    if figure is not None:
        ipython.display.display(figure)

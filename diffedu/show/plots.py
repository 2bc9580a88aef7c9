"""The book's pictures: data in, a Figure out."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from diffedu.show.style import CYCLE, DATA, INK, NOISE, RC, SCORE, new_figure, panels


def _array(x: Tensor | np.ndarray | Sequence[float]) -> np.ndarray:
    return x.detach().cpu().numpy() if isinstance(x, Tensor) else np.asarray(x)


def _points(x: Tensor) -> np.ndarray:
    if x.ndim != 2 or x.shape[1] != 2:
        raise ValueError(f"points must have shape (N, 2), got {tuple(x.shape)}")
    return _array(x)


def square(axes: Axes, limit: float, *, xlabel: str = "$x_1$", ylabel: str = "$x_2$") -> None:
    """Equal aspect and limits from -limit to limit: no distance in the plane is distorted."""
    axes.set(xlim=(-limit, limit), ylim=(-limit, limit), aspect="equal", xlabel=xlabel, ylabel=ylabel)


def scatter_panels(
    clouds: Mapping[str, Tensor],
    *,
    limit: float = 3.0,
    colors: Sequence[str] | None = None,
    reference: Tensor | None = None,
    size: float = 4.0,
) -> Figure:
    """Point clouds of the plane side by side, at one scale.

    Args:
        clouds: title to points (N, 2); each gets a panel.
        limit: the panels show [-limit, limit]^2.
        colors: one a panel; the data's colour by default.
        reference: points (M, 2) drawn in grey behind each cloud.
        size: of a dot, in points^2.

    Example:
        >>> len(scatter_panels({"a": torch.zeros(3, 2), "b": torch.ones(3, 2)}).axes)
        2
    """
    figure, axes = panels(1, len(clouds), height=3.3)
    for i, (ax, (title, cloud)) in enumerate(zip(axes, clouds.items(), strict=True)):
        if reference is not None:
            ax.scatter(
                _points(reference)[:, 0], _points(reference)[:, 1], s=size, color="#BBBBBB", alpha=0.5, linewidths=0
            )
        ax.scatter(
            _points(cloud)[:, 0],
            _points(cloud)[:, 1],
            s=size,
            color=colors[i] if colors else DATA,
            alpha=0.6,
            linewidths=0,
        )
        square(ax, limit, ylabel="$x_2$" if i == 0 else "")
        ax.set_title(title)
    return figure


def path_panel(axes: Axes, states: Tensor, *, limit: float = 3.0, color: str = SCORE) -> None:
    """Draw how points moved: states of shape (times, N, 2); the start hollow, the end filled."""
    xy = _array(states)
    for i in range(xy.shape[1]):
        axes.plot(xy[:, i, 0], xy[:, i, 1], color=color, alpha=0.5, linewidth=1.0)
    axes.scatter(xy[0, :, 0], xy[0, :, 1], s=14, facecolors="white", edgecolors=NOISE, zorder=3)
    axes.scatter(xy[-1, :, 0], xy[-1, :, 1], s=14, color=DATA, zorder=3)
    square(axes, limit)


def curve_panel(
    axes: Axes,
    x: Tensor | Sequence[float],
    curves: Mapping[str, Tensor | Sequence[float]],
    *,
    xlabel: str,
    ylabel: str,
    title: str = "",
    colors: Sequence[str] = CYCLE,
    label_curves: bool = True,
) -> None:
    """Named curves over one axis, each with its name at its right end; names that would overlap are moved apart.

    Line styles differ as well as colours, so the curves can be told apart in grey.
    """
    styles = ("-", "--", "-.", ":")
    xs = _array(x)
    ends: list[tuple[float, str, str]] = []
    with rc_context(RC):
        for i, (name, y) in enumerate(curves.items()):
            ys, color = _array(y), colors[i % len(colors)]
            axes.plot(xs, ys, color=color, linestyle=styles[i % len(styles)])
            ends.append((float(ys[np.isfinite(ys)][-1]) if np.isfinite(ys).any() else 0.0, name, color))
        axes.set(xlabel=xlabel, ylabel=ylabel)
        axes.set_title(title)
        if label_curves:
            label_ends(axes, ends)


def label_ends(axes: Axes, ends: Sequence[tuple[float, str, str]]) -> None:
    """Names beside the right ends of curves, at least one line of text apart; ends are (y, name, colour)."""
    to_fraction = axes.transAxes.inverted().transform
    places = sorted(
        (float(to_fraction(axes.transData.transform((axes.get_xlim()[0], y)))[1]), n, c) for y, n, c in ends
    )
    gap, previous = 0.085, -1.0
    spread = []
    for place, name, color in places:
        previous = max(min(max(place, 0.0), 1.0), previous + gap)
        spread.append((previous, name, color))
    overflow = max(0.0, spread[-1][0] - 1.0) if spread else 0.0
    for place, name, color in spread:
        axes.text(
            1.02,
            place - overflow,
            name,
            transform=axes.transAxes,
            color=color,
            va="center",
            ha="left",
            clip_on=False,
        )


def curves(
    x: Tensor | Sequence[float],
    named: Mapping[str, Tensor | Sequence[float]],
    *,
    xlabel: str,
    ylabel: str,
    title: str = "",
    log_y: bool = False,
    width: float = 7.0,
    height: float = 3.5,
) -> Figure:
    """One panel of named curves.

    Example:
        >>> len(curves([0, 1], {"rise": [0, 1]}, xlabel="t", ylabel="y").axes)
        1
    """
    with rc_context(RC):
        figure = new_figure(width, height)
        axes = figure.add_subplot()
        if log_y:
            axes.set_yscale("log")
        curve_panel(axes, x, named, xlabel=xlabel, ylabel=ylabel, title=title)
    return figure


def montage(images: Tensor, *, columns: int = 8, gap: int = 2) -> np.ndarray:
    """Images (N, C, H, W) in [-1, 1] as one array (height, width, C) of bytes, in rows of `columns`, on white.

    Example:
        >>> montage(torch.zeros(3, 1, 4, 4), columns=2, gap=1).shape
        (11, 11, 3)
    """
    if images.ndim != 4 or images.shape[1] not in (1, 3):
        raise ValueError(f"images must have shape (N, 1 or 3, H, W), got {tuple(images.shape)}")
    pixels = ((images.detach().cpu().clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
    pixels = np.repeat(pixels, 3, axis=3) if pixels.shape[3] == 1 else pixels
    n, h, w, _ = pixels.shape
    rows = -(-n // columns)
    sheet = np.full((rows * (h + gap) + gap, columns * (w + gap) + gap, 3), 255, dtype=np.uint8)
    for i, picture in enumerate(pixels):
        top, left = gap + (i // columns) * (h + gap), gap + (i % columns) * (w + gap)
        sheet[top : top + h, left : left + w] = picture
    return sheet


def image_rows(rows: Mapping[str, Tensor], *, titles: Sequence[str] = (), scale: float = 0.75) -> Figure:
    """Named rows of images, each (N, C, H, W) in [-1, 1]: a filmstrip, or samples of several models.

    Args:
        rows: label to images; all rows have equal N.
        titles: one above each column.
        scale: inches an image.

    Example:
        >>> len(image_rows({"a": torch.zeros(3, 1, 4, 4), "b": torch.zeros(3, 1, 4, 4)}).axes)
        6
    """
    count = {len(images) for images in rows.values()}
    if len(count) != 1:
        raise ValueError(f"all rows must hold equally many images, got {sorted(count)}")
    n = count.pop()
    if titles and len(titles) != n:
        raise ValueError(f"need one title for each of the {n} columns, got {len(titles)}")
    room = 0.2 + 0.085 * max(len(label) for label in rows)
    figure = new_figure(room + scale * n, scale * len(rows) * 1.08 + (0.35 if titles else 0.1))
    grid = figure.subplots(len(rows), n, squeeze=False)
    for i, (row, (label, images)) in enumerate(zip(grid, rows.items(), strict=True)):
        for j, (ax, image) in enumerate(zip(row, images, strict=True)):
            ax.imshow(montage(image[None], columns=1, gap=0), interpolation="nearest")
            ax.set(xticks=[], yticks=[])
            for spine in ax.spines.values():
                spine.set_visible(False)
            if titles and i == 0:
                ax.set_title(titles[j], fontsize=10)
        if label:
            row[0].set_ylabel(label, rotation=0, ha="right", va="center", fontsize=11, color=INK)
    return figure


def image_grid(images: Tensor, *, columns: int = 10, title: str = "", scale: float = 0.6) -> Figure:
    """Images (N, C, H, W) in [-1, 1] as one sheet.

    Example:
        >>> len(image_grid(torch.zeros(4, 1, 8, 8), columns=2).axes)
        1
    """
    rows = -(-len(images) // columns)
    figure = new_figure(scale * columns, scale * rows + (0.35 if title else 0.0))
    axes = figure.add_subplot()
    axes.imshow(montage(images, columns=columns), interpolation="nearest")
    axes.set_axis_off()
    if title:
        axes.set_title(title)
    return figure


def animation(
    figure: Figure, draw: Callable[[Any], None], frames: Iterable[Any], *, fps: int = 12, hold: float = 1.5
) -> bytes:
    """An animated PNG: it plays in JupyterLab, Colab and on GitHub, without a kernel or JavaScript.

    Args:
        figure: drawn anew for every frame.
        draw: changes the figure for one frame (move the dots, set the title).
        frames: what draw is called with.
        fps: frames per second.
        hold: seconds that the last frame stays before the film starts again.

    Returns:
        The bytes of an image/png; show them with `IPython.display.Image(data)`.

    Example:
        >>> figure, (ax,) = panels(1, 1)
        >>> film = animation(figure, lambda k: ax.set_title(str(k)) and None, range(3))
        >>> film[:4]
        b'\\x89PNG'
    """
    from PIL import Image

    pictures = []
    for frame in frames:
        draw(frame)
        figure.canvas.draw()
        rgba = np.asarray(figure.canvas.buffer_rgba())  # type: ignore[attr-defined]
        pictures.append(Image.fromarray(rgba[..., :3].copy()).quantize(128, dither=Image.Dither.NONE))
    if not pictures:
        raise ValueError("frames is empty: there is nothing to animate")
    buffer = io.BytesIO()
    durations = [1000 // fps] * (len(pictures) - 1) + [int(1000 * hold)]
    pictures[0].save(buffer, format="PNG", save_all=True, append_images=pictures[1:], duration=durations, loop=0)
    return buffer.getvalue()

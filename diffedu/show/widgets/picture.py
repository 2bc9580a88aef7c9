"""What all widgets of the book share: a picture that follows its controls.

A widget is made of a `Picture` (controls, a drawing function, an image), and, where a redraw must be fast, of a
`MovingFigure` (a figure whose background is drawn once). Later widgets are composed of these two.
"""

from __future__ import annotations

import asyncio
import base64
import html
import io
import math
import statistics
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, cast

import ipywidgets
import numpy as np
from matplotlib.artist import Artist
from matplotlib.figure import Figure


def side_by_side(*widgets: Any) -> Any:
    """Widgets beside each other; where the page is narrow, in several lines."""
    return ipywidgets.Box(list(widgets), layout={"flex_flow": "row wrap"})


def log_slider(value: float, low: float, high: float, **options: Any) -> Any:
    """A logarithmic slider from about 10^low to 10^high, twenty steps to a factor of ten, of which `value` is one.

    A browser rounds a slider's value to its steps and sends it back: a value between two steps would change as soon as
    the slider is shown, and a reset would not bring it back. So the lower end is moved, by half a step at most.
    """
    step, at = 0.05, math.log10(value)
    low = at - step * round((at - low) / step)
    return ipywidgets.FloatLogSlider(value=value, min=low, max=high, step=step, **options)


VIEW = "application/vnd.jupyter.widget-view+json"


class MovingFigure:
    """A figure in which only some artists move: everything else is drawn once and kept as pixels.

    matplotlib spends most of a redraw on axes, ticks and labels. Here they are drawn at construction. Limits, ticks and
    layout must not change afterwards.

    Args:
        figure: with its axes, limits and labels in place; a layout engine runs once and is then switched off.
        moving: the artists that change, in the order in which they are drawn.

    Example:
        >>> from diffedu.show import panels
        >>> figure, (ax,) = panels(1, 1)
        >>> (line,) = ax.plot([0, 1], [0, 1])
        >>> moving = MovingFigure(figure, [line])
        >>> before = moving.png()
        >>> line.set_ydata([1, 0])
        >>> moving.png() == before
        False
    """

    def __init__(self, figure: Figure, moving: Sequence[Artist]) -> None:
        self.figure = figure
        self.moving = list(moving)
        figure.canvas.draw()  # the layout sees the moving artists, too
        figure.set_layout_engine("none")
        for artist in self.moving:
            artist.set_animated(True)  # draw() leaves them out
        self._canvas = cast(Any, figure.canvas)
        self._canvas.draw()
        self._background = self._canvas.copy_from_bbox(figure.bbox)

    def png(self) -> bytes:
        """The picture as the artists now stand, as the bytes of a PNG file; equal pictures give equal bytes."""
        from PIL import Image

        self._canvas.restore_region(self._background)
        for artist in self.moving:
            self.figure.draw_artist(artist)
        pixels = np.ascontiguousarray(np.asarray(self._canvas.buffer_rgba())[..., :3])
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "PNG", compress_level=1)  # higher levels cost more time than they save
        return buffer.getvalue()


class Picture:
    """An image that is drawn anew whenever a control moves.

    Only the newest state is drawn. A notebook's kernel receives the slider's values one by one while it draws; so a
    change merely asks for a redraw, which the kernel's event loop runs once it has read what has come in. Without
    an event loop (in a script or a test) the redraw happens at once. An error in `draw` becomes a sentence below
    the picture, and the last good picture stays.

    CSS classes mark the image (`diffedu-picture`), the reset button (`diffedu-reset`), the sentence to take along
    (`diffedu-takeaway`) and the median time of a redraw (`diffedu-redraw`). The time stays empty until a control has
    moved, so that freshly executed notebooks are equal to the byte.

    Displayed, it gives the live widget and the present picture as a PNG: viewers without a kernel show the latter.

    Args:
        draw: called with {name: value of the control}; returns the bytes of a PNG file.
        controls: name to widget with a `value`.
        arrangement: the widget that holds the controls, laid out; below each other by default.
        over: a widget that is laid over the picture, as a sheet to paint on; none by default.
        width: CSS pixels of the picture; it shrinks with the page, to 55 % at most.
        name: what text-only viewers show.
        takeaway: one sentence below the picture: what to see in it.

    Example:
        >>> from diffedu.show import curves, png
        >>> slope = ipywidgets.FloatSlider(value=1.0, description="slope")
        >>> line = lambda v: png(curves([0, 1], {"y": [0, v["slope"]]}, xlabel="x", ylabel="y"))
        >>> picture = Picture(line, {"slope": slope}, name="a line")
        >>> before = picture.png
        >>> slope.value = 0.5
        >>> picture.png == before
        False
    """

    PAUSE = 0.01
    """Seconds from a change to its redraw: values that wait in the kernel's queue are read before."""

    SMALLEST = 0.55
    """The share of its width to which a picture shrinks on a narrow page."""

    def __init__(
        self,
        draw: Callable[[dict[str, Any]], bytes],
        controls: Mapping[str, Any],
        *,
        arrangement: Any = None,
        over: Any = None,
        width: int = 960,
        name: str = "picture",
        takeaway: str = "",
    ) -> None:
        self.controls = dict(controls)
        self.name = name
        self.width = width
        self._draw = draw
        self._first = self.values()
        self._drawn: dict[str, Any] | None = None
        self._drawing = False
        self._held = 0
        self._waiting: asyncio.TimerHandle | None = None
        self._times: deque[float] = deque(maxlen=50)

        self.image = ipywidgets.Image(format="png", layout={"width": "100%"})
        self.image.add_class("diffedu-picture")
        layers = [self.image] if over is None else [self.image, over]
        for layer in layers:
            layer.layout.grid_area, layer.layout.margin = "1 / 1 / 2 / 2", "0"  # all in the one cell
        if over is not None:
            over.layout.width = "100%"
        # On a narrow page the picture shrinks while its letters can be read; from then on it scrolls.
        size = {"width": f"{width}px", "max_width": "100%", "min_width": f"{round(self.SMALLEST * width)}px"}
        sheet = ipywidgets.GridBox(layers, layout={**size, "grid_template_columns": "100%"})
        shown = ipywidgets.Box([sheet], layout={"overflow": "auto", "margin": "2px"})
        shown.add_class("diffedu-sheet")
        self.takeaway = ipywidgets.HTML(f"<b>To see:</b> {html.escape(takeaway)}" if takeaway else "")
        self.takeaway.add_class("diffedu-takeaway")
        self.message = ipywidgets.HTML()
        self.message.add_class("diffedu-message")
        self.redraw_time = ipywidgets.Label()
        self.redraw_time.add_class("diffedu-redraw")
        self.reset_button = ipywidgets.Button(
            description="reset", tooltip="back to the first picture", layout=ipywidgets.Layout(width="auto")
        )
        self.reset_button.add_class("diffedu-reset")
        self.reset_button.on_click(lambda button: self.reset())
        for control in self.controls.values():
            # In a wrapping row a control would shrink and cut its name off; on a narrow page it must not stick out.
            control.layout.flex, control.layout.max_width = "0 0 auto", "98%"
        footer = ipywidgets.HBox([self.reset_button, self.redraw_time])
        arrangement = arrangement or ipywidgets.VBox(list(self.controls.values()))
        self.view = ipywidgets.VBox([arrangement, shown, self.takeaway, self.message, footer])

        self.redraw()
        self._times.clear()  # the first picture is not a redraw
        self.redraw_time.value = ""
        for control in self.controls.values():
            control.observe(self._changed, names="value")

    def values(self) -> dict[str, Any]:
        """What the controls say now."""
        return {name: control.value for name, control in self.controls.items()}

    @property
    def png(self) -> bytes:
        """The present picture, as the bytes of a PNG file."""
        self.flush()
        return bytes(self.image.value)

    def reset(self) -> None:
        """Put every control back to where it stood at first, and draw once."""
        with self.hold():
            for name, control in self.controls.items():
                control.value = self._first[name]

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Change several controls inside; one redraw follows."""
        self._held += 1
        try:
            yield
        finally:
            self._held -= 1
            self._changed(None)

    def _changed(self, change: Any) -> None:
        if self._held or self._waiting is not None:
            return
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            self.redraw()
        else:
            self._waiting = loop.call_later(self.PAUSE, self.flush)

    def flush(self) -> None:
        """Draw now what is asked for, if anything is."""
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None
        self.redraw()

    def redraw(self) -> None:
        """Draw the present state, unless it is what the picture shows."""
        if self._drawing:  # a control moved while we draw: the loop below sees it
            return
        self._drawing = True
        try:
            while (values := self.values()) != self._drawn:
                start = time.perf_counter()
                self._drawn = values
                try:
                    self.image.value = self._draw(values)
                except Exception as error:
                    self.message.value = (
                        f"No picture for these values: {html.escape(str(error) or type(error).__name__)}"
                    )
                    continue
                self.message.value = ""
                self._times.append(1000 * (time.perf_counter() - start))
                median = statistics.median(self._times)
                self.redraw_time.value = f"redraw {median:.0f} ms (median of {len(self._times)})"
        finally:
            self._drawing = False

    def __repr__(self) -> str:
        return f"<{self.name}>"

    def _repr_mimebundle_(self, **formats: Any) -> dict[str, Any]:
        # One bundle of view and picture. ipywidgets' own (version 7 displays itself, 8 returns one) lacks the picture.
        return {
            "text/plain": repr(self),
            "image/png": base64.b64encode(self.png).decode("ascii"),
            VIEW: {"version_major": 2, "version_minor": 0, "model_id": self.view.model_id},
        }

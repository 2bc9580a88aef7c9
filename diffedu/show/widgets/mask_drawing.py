"""The widget of chapter 16: erase parts of a digit with a brush, then let the model fill them in."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from typing import Any

import ipywidgets
import torch
from torch import Tensor

from diffedu._tensor import seeded
from diffedu.core.denoiser import Denoiser
from diffedu.core.path import DiscreteDDPM
from diffedu.core.times import trailing_times
from diffedu.editing import Renoised, Replacement, resampled
from diffedu.sampling import Ancestral, sample, start_noise
from diffedu.show.plots import montage
from diffedu.show.style import INK, SCORE, new_figure
from diffedu.show.widgets.picture import MovingFigure, Picture, side_by_side

ANSWERS = 4
GREY = -0.3
_STROKE = re.compile(r"(erase|keep)\s+(\d+)\s+(\d+)\s+(\d+)")


def _presets(size: int) -> dict[str, Tensor]:
    """Name to what is known, (size, size), boolean."""
    rows, columns = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    middle, quarter = size // 2, size // 4
    inside = (rows >= quarter) & (rows < size - quarter) & (columns >= quarter) & (columns < size - quarter)
    return {
        "lower half": rows < middle,
        "upper half": rows >= middle,
        "right half": columns < middle,
        "centre": ~inside,
        "frame": inside,
        "every second row": rows % 2 == 0,
        "nothing": torch.ones(size, size, dtype=torch.bool, device="cpu"),
        "everything": torch.zeros(size, size, dtype=torch.bool, device="cpu"),
    }


class MaskDrawing:
    """Erase, then fill in: four answers to a question that the reader draws.

    The brush is a square, placed by two sliders; the buttons "erase" and "keep" apply it. What was done stands in a
    line of text, "erase row column size; keep row column size", which can be typed or corrected just as well. So
    everything works from the keyboard. Drawing only redraws; "fill in" runs the sampler, each press with new noise.

    Args:
        denoiser: of encoded images (B, 1, H, W).
        path: the denoiser's.
        images: to choose from, (N, 1, H, W), in [-1, 1], square.
        encode: from pixels to what the denoiser sees.
        decode: and back.

    Taught in: chapter 16.

    Example:
        >>> from diffedu.core import DatasetDenoiser, cosine_betas
        >>> path, blank = DiscreteDDPM(cosine_betas(1000)), torch.zeros(2, 1, 28, 28)
        >>> drawing = MaskDrawing(DatasetDenoiser(blank, path), path, blank)
        >>> drawing.preset.value = "nothing"
        >>> drawing.erase.click()  # a square of 8 x 8 pixels
        >>> int((~drawing.mask()).sum()), drawing.strokes.value
        (64, 'erase 14 14 8')
    """

    def __init__(
        self,
        denoiser: Denoiser,
        path: DiscreteDDPM,
        images: Tensor,
        *,
        encode: Callable[[Tensor], Tensor] = lambda x: x,
        decode: Callable[[Tensor], Tensor] = lambda x: x.clamp(-1, 1),
    ) -> None:
        if images.ndim != 4 or images.shape[1] != 1 or images.shape[2] != images.shape[3]:
            raise ValueError(f"images must have shape (N, 1, H, H), got {tuple(images.shape)}")
        self._denoiser, self._path, self._images = denoiser, path, images
        self._encode, self._decode = encode, decode
        self._size = size = images.shape[-1]
        self._presets = _presets(size)
        self._filled = functools.lru_cache(maxsize=32)(self._run)
        self.evaluations = 0
        """Of the denoiser, by all answers so far; an evaluation of four images counts once."""

        style: dict[str, str] = {"description_width": "initial"}
        slim = {"width": "260px"}
        self.image = ipywidgets.IntSlider(
            value=0, min=0, max=len(images) - 1, description="digit", style=style, layout=slim
        )
        self.preset = ipywidgets.Dropdown(options=list(self._presets), description="erase first", style=style)
        self.row = ipywidgets.IntSlider(
            value=size // 2, max=size - 1, description="brush: row", style=style, layout=slim
        )
        self.column = ipywidgets.IntSlider(
            value=size // 2, max=size - 1, description="column", style=style, layout=slim
        )
        self.width = ipywidgets.IntSlider(
            value=8, min=1, max=size, description="size (pixels)", style=style, layout=slim
        )
        narrow = ipywidgets.Layout(width="auto")
        self.erase, self.keep, self.fill = (
            ipywidgets.Button(description=name, tooltip=tip, layout=narrow)
            for name, tip in (
                ("erase", "make the square under the brush unknown"),
                ("keep", "make it known again"),
                ("fill in", "run the sampler, with new noise at each press"),
            )
        )
        self.strokes = ipywidgets.Text(
            value="",
            description="strokes",
            placeholder="erase row column size; keep row column size; ...",
            continuous_update=False,
            style=style,
            layout={"width": "520px"},
        )
        self.steps = ipywidgets.SelectionSlider(options=[5, 10, 25], value=10, description="steps", style=style)
        self.visits = ipywidgets.SelectionSlider(
            options=[1, 2, 3, 5], value=2, description="visits (1: replacement)", style=style
        )
        self.asked = ipywidgets.IntText(value=1)  # not shown: which press of "fill in", and the seed of its answers
        self.progress = ipywidgets.Label()

        figure = new_figure(9.6, 2.5)
        figure.set_layout_engine("none")
        boxes = [(0.005 + k * 0.166, 0.0, 0.158, 0.86) for k in range(2 + ANSWERS)]
        axes = [figure.add_axes(box) for box in boxes]
        blank = montage(torch.zeros(1, 1, size, size), columns=1, gap=0)
        self._sheets = []
        for k, ax in enumerate(axes):
            ax.set_axis_off()
            ax.set_title(["the digit", "the question"][k] if k < 2 else f"answer {k - 1}", fontsize=11, color=INK)
            self._sheets.append(ax.imshow(blank, interpolation="nearest"))
        (self._brush,) = axes[1].plot([], [], color=SCORE, linewidth=2)
        self._figure = MovingFigure(figure, [*self._sheets, self._brush])

        controls = {
            "image": self.image,
            "preset": self.preset,
            "row": self.row,
            "column": self.column,
            "width": self.width,
            "strokes": self.strokes,
            "steps": self.steps,
            "visits": self.visits,
            "asked": self.asked,
        }
        first = {name: control.value for name, control in controls.items()}
        self._questions = {1: self._question(first)}  # what was asked at each press; its answers belong to it alone
        self.picture = Picture(
            self._draw,
            controls,
            arrangement=ipywidgets.VBox(
                [
                    side_by_side(self.image, self.preset, self.steps, self.visits),
                    side_by_side(self.row, self.column, self.width, self.erase, self.keep),
                    side_by_side(self.strokes, self.fill, self.progress),
                ]
            ),
            width=960,
            name="draw a mask, fill it in",
            takeaway="What is known stays; what is erased is answered anew at each press, in more than one way.",
        )
        self.erase.on_click(lambda button: self._apply("erase"))
        self.keep.on_click(lambda button: self._apply("keep"))
        self.fill.on_click(lambda button: self._fill())

    @staticmethod
    def _question(values: dict[str, Any]) -> tuple[Any, ...]:
        return tuple(values[name] for name in ("image", "preset", "strokes", "steps", "visits"))

    def _apply(self, word: str) -> None:
        stroke = f"{word} {self.row.value} {self.column.value} {self.width.value}"
        self.strokes.value = "; ".join(part for part in (self.strokes.value.strip().rstrip(";"), stroke) if part)

    def _fill(self) -> None:
        times = resampled(trailing_times(self._path, self.steps.value), 1, self.visits.value)
        self.progress.value = f"filling in: {int((times.diff() < 0).sum())} evaluations for each of {ANSWERS} answers"
        press = len(self._questions) + 1
        self._questions[press] = self._question(self.picture.values())
        self.asked.value = press
        self.picture.flush()
        self.progress.value = ""

    def mask(self) -> Tensor:
        """What is known, (H, H), boolean: the preset, then the strokes in their order."""
        return self._mask(self.picture.values())

    def _mask(self, values: dict[str, Any]) -> Tensor:
        known = self._presets[values["preset"]].clone()
        for part in filter(None, (piece.strip() for piece in values["strokes"].split(";"))):
            match = _STROKE.fullmatch(part)
            if match is None:
                raise ValueError(f'cannot read "{part}"; a stroke is "erase row column size" or "keep row column size"')
            row, column, width = (int(number) for number in match.groups()[1:])
            rows, columns = (slice(max(0, at - width // 2), max(0, at - width // 2 + width)) for at in (row, column))
            known[rows, columns] = match.group(1) == "keep"
        return known

    def answers(self) -> Tensor | None:
        """The four answers shown, (4, 1, H, H) in [-1, 1], or None when the question has changed since."""
        values = self.picture.values()
        return self._answers(values, self._mask(values))

    def _answers(self, values: dict[str, Any], known: Tensor) -> Tensor | None:
        if self._questions[values["asked"]] != self._question(values):
            return None
        packed = bytes(known.flatten().to(torch.uint8).tolist())
        return self._filled(values["image"], packed, values["steps"], values["visits"], values["asked"])

    def _run(self, image: int, packed: bytes, steps: int, visits: int, seed: int) -> Tensor:
        device = self._images.device
        known = torch.tensor(list(packed), dtype=torch.bool, device=device).reshape(1, 1, self._size, self._size)
        picture = self._encode(self._images[image : image + 1]).expand(ANSWERS, -1, -1, -1)
        times = resampled(trailing_times(self._path, steps, device=device), 1, visits)
        self.evaluations += int((times.diff() < 0).sum())
        start = start_noise(self._path, tuple(picture.shape), seeded(seed, device))
        solver = Replacement(Renoised(Ancestral()), picture, known)
        made = sample(self._denoiser, solver, start, times, generator=seeded(1000 + seed, device))
        return self._decode(made).cpu()

    def _draw(self, values: dict[str, Any]) -> bytes:
        known = self._mask(values)
        picture = self._images[values["image"] : values["image"] + 1].cpu()
        question = torch.where(known, picture, torch.full_like(picture, GREY))
        answers = self._answers(values, known)
        shown = [picture, question, *(question.expand(ANSWERS, -1, -1, -1) if answers is None else answers).split(1)]
        for k, (sheet, content) in enumerate(zip(self._sheets, shown, strict=True)):
            pixels = montage(content, columns=1, gap=0)
            if k >= 2 and answers is None:
                pixels = 192 + pixels // 4  # pale: not asked yet
            sheet.set_data(pixels)
        top, left = (values[name] - values["width"] // 2 - 0.5 for name in ("row", "column"))
        bottom, right = top + values["width"], left + values["width"]
        self._brush.set_data([left, right, right, left, left], [top, top, bottom, bottom, top])
        return self._figure.png()

    def __repr__(self) -> str:
        return repr(self.picture)

    def _repr_mimebundle_(self, **formats: Any) -> dict[str, Any]:
        return self.picture._repr_mimebundle_(**formats)

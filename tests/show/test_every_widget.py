"""What every widget promises: names, a way back, a sentence, safe colours, legible letters, no leaks."""

from __future__ import annotations

import functools
import importlib
import inspect
import io
import math
import pkgutil
from collections.abc import Callable
from typing import Any

import ipywidgets
import numpy as np
import pytest
import torch
from matplotlib.colors import to_rgba_array
from matplotlib.image import AxesImage
from matplotlib.text import Text
from PIL import Image

import diffedu.show.widgets
from diffedu._tensor import seeded
from diffedu.core import VE, VP, Cosine, DatasetDenoiser, DiscreteDDPM, GaussianMixture, RectifiedFlow, cosine_betas
from diffedu.nn import VAE, VAEConfig
from diffedu.show import CYCLE, DATA, EXTRA, GUIDED, INK, NOISE, SCORE, VELOCITY
from diffedu.show.widgets.ddim import DDIMPaths
from diffedu.show.widgets.digit_film import DigitFilm
from diffedu.show.widgets.digit_sampler import DigitSampler
from diffedu.show.widgets.draw_your_own import DrawYourOwn
from diffedu.show.widgets.elbo_bars import ElboBars
from diffedu.show.widgets.equilibrium import NoiseAndPull
from diffedu.show.widgets.few_steps import FewSteps
from diffedu.show.widgets.first_diffusion import FirstDiffusion
from diffedu.show.widgets.fokker_planck import DensityAndCloud
from diffedu.show.widgets.guidance import GuidanceField
from diffedu.show.widgets.langevin import LangevinPlayground
from diffedu.show.widgets.latent_walk import LatentWalk
from diffedu.show.widgets.mask_drawing import MaskDrawing
from diffedu.show.widgets.noise_prediction import NoisePrediction
from diffedu.show.widgets.parameterisation import ParameterisationDial
from diffedu.show.widgets.picture import VIEW, Picture
from diffedu.show.widgets.reflow import ReflowExplorer
from diffedu.show.widgets.sampler_race import SamplerRace
from diffedu.show.widgets.schedule import ScheduleExplorer
from diffedu.show.widgets.score_field import ScoreField
from diffedu.show.widgets.stochasticity import StochasticityDial

RING = GaussianMixture.ring(6)
DDPM = DiscreteDDPM(cosine_betas(100))
DIGITS = torch.linspace(-1, 1, 10).reshape(10, 1, 1, 1).expand(10, 1, 28, 28).contiguous()
POINTS = [torch.randn(60, 2, generator=seeded(k)) for k in (0, 1)]


def of_label(path: Any) -> Callable[..., DatasetDenoiser]:
    return lambda label, scale=1.0: DatasetDenoiser(DIGITS if label is None else DIGITS[label : label + 1], path)


MAKE: dict[str, Callable[[], Any]] = {
    "DDIMPaths": lambda: DDIMPaths(RING, DDPM),
    "DensityAndCloud": DensityAndCloud,
    "DigitFilm": lambda: DigitFilm(of_label(DDPM), DDPM),
    "DigitSampler": lambda: DigitSampler(of_label(DDPM), DDPM),
    "DrawYourOwn": DrawYourOwn,
    "ElboBars": lambda: ElboBars(GaussianMixture.single(torch.zeros(1).double(), torch.eye(1).double())),
    "FewSteps": lambda: FewSteps({"exact": of_label(RectifiedFlow()), "half": of_label(RectifiedFlow())}),
    "FirstDiffusion": lambda: FirstDiffusion(RING, Cosine()),
    "GuidanceField": lambda: GuidanceField(GaussianMixture.ring(4), [[0, 1], [2, 3]], count=100),
    "LangevinPlayground": LangevinPlayground,
    "LatentWalk": lambda: LatentWalk(
        VAE(VAEConfig(width=16)), {"white": torch.ones(3, 32, 32), "black": -torch.ones(3, 32, 32)}
    ),
    "MaskDrawing": lambda: MaskDrawing(DatasetDenoiser(DIGITS, DDPM), DDPM, DIGITS),
    "NoiseAndPull": NoiseAndPull,
    "NoisePrediction": lambda: NoisePrediction(RING, DiscreteDDPM(cosine_betas(20)), lambda x, t: 0 * x),
    "ParameterisationDial": lambda: ParameterisationDial(RING),
    "ReflowExplorer": lambda: ReflowExplorer(*POINTS),
    "SamplerRace": lambda: SamplerRace(RING),
    "ScheduleExplorer": ScheduleExplorer,
    "ScoreField": lambda: ScoreField(RING, VE(0.05, 5.0), RING.denoiser(VP())),
    "StochasticityDial": lambda: StochasticityDial(RING),
}


@functools.cache
def made(name: str) -> Any:
    return MAKE[name]()


@pytest.fixture(params=MAKE)
def widget(request: pytest.FixtureRequest) -> Any:
    found = made(request.param)
    found.picture.reset()
    return found


def figure_of(widget: Any) -> Any:
    moving = widget._figure if hasattr(widget, "_figure") else widget._drawing.figure
    return moving.figure


def test_no_widget_is_forgotten():
    found = set()
    for module in pkgutil.iter_modules(diffedu.show.widgets.__path__, "diffedu.show.widgets."):
        for name, thing in inspect.getmembers(importlib.import_module(module.name), inspect.isclass):
            if thing.__module__ == module.name and hasattr(thing, "_repr_mimebundle_") and thing is not Picture:
                found.add(name)
    assert found == set(MAKE)


def test_every_control_has_a_name(widget):
    shown = {w.model_id: w for w in tree(widget.picture.view)}
    for name, control in widget.picture.controls.items():
        if control.model_id in shown:
            assert control.description.strip(), name


def tree(widget: Any) -> list[Any]:
    return [widget, *(found for child in getattr(widget, "children", ()) for found in tree(child))]


def test_every_axis_has_a_name_or_no_numbers(widget):
    panels = figure_of(widget).axes
    named = {axes.get_ylim() for axes in panels if axes.get_ylabel()}
    for axes in panels:
        for axis in (axes.xaxis, axes.yaxis):
            numbers = axes.axison and any(label.get_text() for label in axis.get_ticklabels())
            shared = axis is axes.yaxis and axes.get_ylim() in named  # the panel beside it has the name
            assert axis.get_label_text() or shared or not numbers, f"{axes.get_title()}: {axis.axis_name}"


def test_the_takeaway_is_one_sentence_of_one_line(widget):
    words = widget.picture.takeaway.value.removeprefix("<b>To see:</b> ")
    assert words.endswith(".")
    assert 30 <= len(words) <= 110, words


def test_every_slider_begins_on_one_of_its_steps(widget):
    """A browser rounds what lies between two steps and sends it back: the first picture would not stay."""
    for name, control in widget.picture.controls.items():
        if isinstance(control, ipywidgets.FloatLogSlider):
            steps = (math.log(control.value, control.base) - control.min) / control.step
        elif isinstance(control, ipywidgets.FloatSlider | ipywidgets.IntSlider):
            steps = (control.value - control.min) / control.step
        else:
            continue
        assert steps == pytest.approx(round(steps), abs=1e-6), name


def test_reset_brings_everything_back_and_nothing_is_printed(widget, capsys):
    picture = widget.picture
    first, values = picture.png, picture.values()
    for control in picture.controls.values():
        move(control)
    assert picture.png != first
    assert picture.values() != values
    picture.reset_button.click()
    assert picture.values() == values
    assert picture.png == first
    assert picture.message.value == ""
    assert capsys.readouterr() == ("", "")


def move(control: Any) -> None:
    if isinstance(control, ipywidgets.Text):
        control.value = "erase 3 3 4" if "stroke" in control.description else "0.5 0.5; 1 -1"
    elif isinstance(control, ipywidgets.Checkbox):
        control.value = not control.value
    elif hasattr(control, "options"):
        control.value = control._options_values[-1 if control.index == 0 else 0]
    elif isinstance(control, ipywidgets.FloatRangeSlider):
        control.value = (control.min + control.step, control.max - control.step)
    elif isinstance(control, ipywidgets.FloatLogSlider):
        control.value = control.value * control.base**control.step
    elif hasattr(control, "max"):
        control.value = control.value + control.step if control.value + control.step <= control.max else control.min


def test_the_display_has_a_picture_for_pages_without_a_kernel(widget):
    bundle = widget._repr_mimebundle_()
    assert set(bundle) == {"text/plain", "image/png", VIEW}
    assert Image.open(io.BytesIO(widget.picture.png)).format == "PNG"
    assert bundle["text/plain"].startswith("<")


def safe(color: np.ndarray) -> bool:
    """Grey, or a colour of the book's palette, or a tint of one (mixed with white)."""
    if np.ptp(color) < 0.02:
        return True
    for base in to_rgba_array([*CYCLE, DATA, NOISE, SCORE, VELOCITY, GUIDED, EXTRA, INK])[:, :3]:
        share = (1 - color) / (1 - base)
        if share.max() <= 1.01 and np.ptp(share) < 0.03:
            return True
    return False


def test_colours_are_of_the_palette(widget):
    for artist in figure_of(widget).findobj():
        if isinstance(artist, AxesImage):
            if artist.get_array().ndim == 2:
                assert artist.get_cmap().name in {"Greys", "Blues", "Oranges"}
            continue
        for ask in ("get_facecolor", "get_edgecolor", "get_color"):
            if hasattr(artist, ask):
                color = getattr(artist, ask)()
                for rgba in to_rgba_array("none" if color is None else color):
                    assert rgba[3] == 0 or safe(rgba[:3]), f"{artist}: {rgba}"


def test_letters_are_legible_at_the_width_of_the_page(widget):
    figure = figure_of(widget)
    shown = widget.picture.width
    scale = shown / (figure.get_size_inches()[0] * figure.dpi)
    for text in figure.findobj(Text):
        if text.get_text().strip():
            size = text.get_fontsize() / 72 * figure.dpi * scale
            assert size >= 11, f"{text.get_text()!r} has letters of {size:.1f} CSS pixels"

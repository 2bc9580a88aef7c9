"""Widgets without a browser: every control changes what is drawn, reset restores it, nothing leaks."""

from __future__ import annotations

import asyncio
import io

import ipywidgets
import numpy as np
import pytest
import torch
from PIL import Image

from diffedu.core import Cosine, DatasetDenoiser, DiscreteDDPM, GaussianMixture, cosine_betas, linear_betas
from diffedu.show import curves, panels, png
from diffedu.show.widgets import MovingFigure, Picture, ScheduleExplorer, explore, log_snr_betas
from diffedu.show.widgets.digit_film import DigitFilm
from diffedu.show.widgets.first_diffusion import FirstDiffusion


def line(values: dict[str, float]) -> bytes:
    if values["slope"] < 0:
        raise ValueError("slope must not be <negative>")
    return png(curves([0, 1], {"y": [0, values["slope"]]}, xlabel="x", ylabel="y"))


@pytest.fixture
def slope() -> ipywidgets.FloatSlider:
    return ipywidgets.FloatSlider(value=1.0, min=-5, max=5)


def test_a_fresh_picture_shows_no_time(slope: ipywidgets.FloatSlider):
    picture = Picture(line, {"slope": slope}, name="a line")
    assert picture.redraw_time.value == ""
    slope.value = 2.0
    assert picture.redraw_time.value.startswith("redraw ")
    assert picture.redraw_time.value.endswith("(median of 1)")


def test_a_moving_figure_is_the_figure_to_the_pixel():
    (figure, (ax,)), (whole, (same,)) = panels(1, 1), panels(1, 1)
    for axes in (ax, same):
        axes.set(xlim=(0, 1), ylim=(0, 1), xlabel="x", ylabel="y")
    (dots,) = ax.plot([], [], "o")
    moving = MovingFigure(figure, [dots])
    dots.set_data([0.2, 0.7], [0.4, 0.9])
    same.plot([0.2, 0.7], [0.4, 0.9], "o")
    drawn, wanted = (Image.open(io.BytesIO(data)) for data in (moving.png(), png(whole)))
    drawn.verify()  # the checksums of the file that we write ourselves
    drawn = Image.open(io.BytesIO(moving.png()))
    assert drawn.size == wanted.size
    assert np.array_equal(np.asarray(drawn), np.asarray(wanted.convert("RGB")))


def test_reset_restores_the_first_picture(slope: ipywidgets.FloatSlider):
    picture = Picture(line, {"slope": slope})
    first = picture.png
    slope.value = 3.0
    assert picture.png != first
    picture.reset()
    assert picture.png == first


def test_an_error_is_a_sentence_and_the_last_picture_stays(slope: ipywidgets.FloatSlider, capsys):
    picture = Picture(line, {"slope": slope})
    before = picture.png
    slope.value = -1.0
    assert picture.png == before
    assert picture.message.value == "No picture for these values: slope must not be &lt;negative&gt;"
    slope.value = 2.0
    assert picture.message.value == ""
    assert capsys.readouterr() == ("", "")


def test_only_the_newest_value_is_drawn(slope: ipywidgets.FloatSlider):
    drawn = []

    def draw(values: dict[str, float]) -> bytes:
        drawn.append(values["slope"])
        return b"png"

    Picture(draw, {"slope": slope})

    async def drag() -> None:
        for value in (1.5, 2.0, 2.5, 3.0):
            slope.value = value
        await asyncio.sleep(0.1)

    asyncio.run(drag())
    assert drawn == [1.0, 3.0]


def test_the_display_holds_a_view_and_a_picture(slope: ipywidgets.FloatSlider):
    bundle = Picture(line, {"slope": slope}, name="a line")._repr_mimebundle_()
    assert bundle["text/plain"] == "<a line>"
    assert set(bundle) == {"text/plain", "image/png", "application/vnd.jupyter.widget-view+json"}


def other(control: ipywidgets.Widget) -> object:
    """Some value that the control does not have now."""
    if isinstance(control, ipywidgets.Dropdown | ipywidgets.SelectionSlider):
        return next(v for _, v in control._options_full if v != control.value)
    step = control.step * (10 if isinstance(control, ipywidgets.FloatSlider) else 1)  # a film has few frames
    return control.value + step if control.value + step <= control.max else control.value - step


def test_every_control_of_the_first_diffusion_changes_the_picture():
    picture = FirstDiffusion(GaussianMixture.ring(8), Cosine()).picture
    for name, control in picture.controls.items():
        picture.reset()
        before = picture.png
        control.value = other(control)
        assert picture.png != before, name


def test_every_control_of_the_digit_film_changes_the_picture():
    path = DiscreteDDPM(cosine_betas(100))
    data = torch.linspace(-1, 1, 10).reshape(10, 1, 1, 1).expand(10, 1, 28, 28)
    film = DigitFilm(lambda k: DatasetDenoiser(data if k is None else data[k : k + 1], path), path)
    picture = film.picture
    for name in ("label", "seed", "moment", "steps"):
        picture.reset()
        before = picture.png
        film_control = picture.controls[name]
        film_control.value = other(film_control)
        assert picture.png != before, name


FAMILIES = ("linear", "scaled linear", "cosine", "sigmoid", "your own")


@pytest.mark.parametrize("family", FAMILIES)
def test_every_visible_control_of_the_explorer_changes_the_picture(family: str):
    explorer = ScheduleExplorer()
    picture = explorer.picture
    if family != "linear":
        explorer.family.value = family
    start = picture.png
    for argument, control in explorer.families[family].controls.items():
        value = control.value
        control.value = (
            value - control.step * 5 if value - control.step * 5 >= control.min else value + control.step * 5
        )
        assert picture.png != start, argument
        control.value = value
        start = picture.png
    for name, value in (("steps", 7), ("T", None), ("solver", "ancestral")):
        control = picture.controls[name]
        old = control.value
        control.value = value if value is not None else other(control)
        assert picture.png != start, name
        control.value = old


def test_reset_restores_the_explorer_and_its_knobs():
    explorer = ScheduleExplorer()
    first = explorer.picture.png
    explorer.family.value = "your own"
    explorer.T.value = 20
    explorer.knobs[3].value = 11.0
    assert [knob.value for knob in explorer.knobs] == pytest.approx([11.3, 11.2, 11.1, 11.0, -9.0])
    explorer.knobs[0].value = -5.0
    values = [knob.value for knob in explorer.knobs]
    assert values == sorted(set(values), reverse=True)
    explorer.picture.reset()
    assert explorer.picture.png == first
    assert [knob.value for knob in explorer.knobs] == [9.0, 4.0, 0.0, -4.0, -9.0]


def test_only_the_controls_of_the_chosen_family_are_shown():
    explorer = ScheduleExplorer()
    for name, family in explorer.families.items():
        explorer.family.value = name
        shown = [w for w in explorer._parameters.children if not isinstance(w, ipywidgets.HTML)]
        assert shown == list(family.controls.values())


def test_the_explorer_knows_a_schedule_that_stops_short():
    digit, ring = torch.zeros(1, 28, 28), GaussianMixture.ring(8)
    good = explore(cosine_betas(1000), mixture=ring, digit=digit)
    cut = explore(linear_betas(50), mixture=ring, digit=digit)
    assert good.reaches_noise
    assert not cut.reaches_noise
    assert cut.alpha_bar_T == pytest.approx(0.603, abs=1e-3)
    assert torch.allclose(cut.log_snr[-1].exp(), cut.path.alpha_bar[-1] / (1 - cut.path.alpha_bar[-1]))


def test_a_hand_drawn_schedule_must_fall():
    with pytest.raises(ValueError, match="decreasing"):
        log_snr_betas(10, 1.0, 2.0)

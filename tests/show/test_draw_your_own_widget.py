"""The sheet to paint on: its text, its buttons, what the exact denoiser makes of it, and its empty state."""

from __future__ import annotations

import re

import pytest
import torch

from diffedu._tensor import seeded
from diffedu.core import Cosine, GaussianMixture, uniform_times
from diffedu.sampling import DDIM, sample, start_noise
from diffedu.show.widgets.draw_your_own import CLOUD, LIMIT, MOST, NEAR, SHAPES, DrawYourOwn, read_points


@pytest.fixture(scope="module")
def own():
    return DrawYourOwn()


@pytest.fixture(autouse=True)
def fresh(own):
    own.picture.reset()


def test_buttons_and_text_put_the_same_points(own):
    own.shape.value = "two points"
    own.x.value, own.y.value = 1.5, -2.0
    own.add.click()
    assert read_points(own.points.value).tolist() == [[-1.0, 0.0], [1.0, 0.0], [1.5, -2.0]]
    own.undo.click()
    assert read_points(own.points.value).tolist() == [[-1.0, 0.0], [1.0, 0.0]]
    own.clear.click()
    assert read_points(own.points.value).shape == (0, 2)
    own.undo.click()  # of nothing is nothing
    assert own.points.value == ""


@pytest.mark.parametrize("shape", [name for name in SHAPES if name != "nothing"])
def test_the_table_gives_back_the_points_and_nothing_new(own, shape):
    own.shape.value = shape
    on, _ = own.shares()
    assert on == 1.0


def test_points_with_a_width_give_new_samples(own):
    own.width.value = 0.3
    on, _ = own.shares()
    assert on < 0.5


def test_the_samples_are_those_of_another_route(own):
    """Points are Gaussians of width 0: means and covariances instead of a softmax over distances."""
    own.shape.value = "a lattice"
    path = Cosine()
    mixture = GaussianMixture.isotropic(read_points(own.points.value), 0.0)
    start = start_noise(path, (CLOUD, 2), seeded(0))
    expected = sample(mixture.denoiser(path), DDIM(), start, uniform_times(path, 40, end=0))
    found = own._walk(own.picture.values())[1][-1]
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-3)


def test_an_empty_sheet_is_drawn_and_says_so(own):
    full = own.picture.png
    own.shape.value = "nothing"
    assert own.picture.message.value == ""
    assert own.picture.png != full
    assert "empty sheet" in own._note.get_text()


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("1 2 3", 'cannot read "1 2 3"'),
        ("one two", "a point is two numbers"),
        (f"0 {LIMIT + 1}", "the sheet goes from -3 to 3"),
        ("0 0; " * (MOST + 1), f"holds {MOST} points, got {MOST + 1}"),
    ],
)
def test_what_cannot_be_read_is_said_and_the_picture_stays(own, text, complaint):
    before = own.picture.png
    own.points.value = text
    assert complaint in own.picture.message.value.replace("&quot;", '"')
    assert own.picture.png == before
    with pytest.raises(ValueError, match=re.escape(complaint)):
        read_points(text)


def test_the_sheet_lies_where_the_axes_are(own):
    """The page turns a place in the picture into a point; matplotlib knows the way, too."""
    pad = next(w for w in own.picture.view.children[1].children[0].children if w is not own.picture.image).value
    left = float(re.search(r"box\.width - ([\d.]+)\)", pad)[1])
    across = float(re.search(r"box\.width - [\d.]+\) / ([\d.]+);", pad)[1])
    axes = own._painted.axes
    figure = axes.figure
    for x in (-2.0, 0.0, 1.7):
        place = axes.transData.transform((x, 0.0))[0] / (figure.get_size_inches()[0] * figure.dpi)
        assert (2 * (place - left) / across - 1) * LIMIT == pytest.approx(x, abs=0.01)


def test_a_point_is_met_only_from_near(own):
    points = torch.tensor([[0.0, 0.0], [1.0, 0.0]])
    x = torch.tensor([[0.0, 0.9 * NEAR], [0.5, 0.0]])
    assert own._shares(points, x) == (0.5, 0.5)

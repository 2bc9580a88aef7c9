"""The score field's widget: the slider moves the picture, and what is drawn are the scores themselves."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from diffedu.core import VE, VP, GaussianMixture
from diffedu.show.widgets import ScoreField

RING = GaussianMixture.ring(3)


@pytest.mark.parametrize("learned", [None, lambda x, t: -x], ids=["exact", "both"])
def test_the_slider_changes_the_picture_and_reset_restores_it(learned):
    picture = ScoreField(RING, VE(0.05, 5.0), learned).picture
    first = picture.png
    picture.controls["level"].value = 0.5
    assert picture.png != first
    picture.reset()
    assert picture.png == first
    assert picture.message.value == ""


def test_the_arrows_are_sigma_times_the_score():
    """For one Gaussian of variance 1 at the origin on VE: -sigma x / (1 + sigma^2), no arrow longer than 3."""
    path = VE(0.5, 8.0)
    widget = ScoreField(GaussianMixture.single(torch.zeros(2), torch.eye(2)), path, lambda x, t: -x, limit=4.0)
    widget.level.value = 0.5  # sigma = 2
    exact, learned = ((q.U, q.V) for q in widget._quivers)
    x = widget._tails.numpy()
    np.testing.assert_allclose(np.stack(exact, 1), -2 * x / 5, rtol=1e-5, atol=1e-6)
    length = np.linalg.norm(x, axis=1, keepdims=True)
    np.testing.assert_allclose(np.stack(learned, 1), -2 * x / np.maximum(2 * length / 3, 1), rtol=1e-5, atol=1e-6)
    assert widget._titles[0].get_text() == "exact, σ = 2.00"


def test_the_ground_shows_density_and_error_the_right_way_up():
    """A single island at (2, 1): brightest there; a learned score that is half the exact one is wrong by 1/2."""
    single = GaussianMixture.single(torch.tensor([2.0, 1.0]), 0.1 * torch.eye(2))
    path = VE(0.3, 2.0)
    half = lambda x, t: 0.5 * single.noised(path, t[0]).score(x)  # noqa: E731
    widget = ScoreField(single, path, half, limit=4.0)
    density, error = (np.asarray(image.get_array()) for image in widget._images)
    row, column = np.unravel_index(density.argmax(), density.shape)
    line = np.linspace(-4, 4, len(density))
    assert abs(line[column] - 2.0) < 0.2
    assert abs(line[row] - 1.0) < 0.2
    assert widget._images[0].origin == "lower"
    assert np.median(error) == pytest.approx(0.5, abs=1e-3)


def test_the_slider_runs_over_the_path_s_own_times():
    widget = ScoreField(RING, VP(), start=0.0)
    assert widget.time() == pytest.approx(1e-3)
    widget.level.value = 1.0
    assert widget.time() == pytest.approx(1.0)

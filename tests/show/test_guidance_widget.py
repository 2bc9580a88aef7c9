"""The guidance widget: its samples are the sampler's, its measures are right, every control counts."""

from __future__ import annotations

import pytest
import torch

from diffedu.core import VP, GaussianMixture, uniform_half_log_snr_times
from diffedu.guidance import Between, ClassifierFree
from diffedu.sampling import DDIM, sample
from diffedu.show.widgets.guidance import GuidanceField

RING = GaussianMixture.ring(6, std=0.25)
CLASSES = [[0, 1], [2, 3], [4, 5]]


def build():
    return GuidanceField(RING, CLASSES, count=200, steps=12)


def test_every_control_changes_the_picture_and_reset_restores_it():
    field = build()
    first = field.picture.png
    for control, other in ((field.scale, 1.5), (field.interval, (0.1, 0.3)), (field.t, 0.6), (field.label, 2)):
        control.value = other
        assert field.picture.png != first, control
        field.picture.reset()
        assert field.picture.png == first, control
    assert field.picture.message.value == ""


def test_its_samples_are_those_of_the_book_s_sampler():
    field = build()
    field.scale.value, field.interval.value, field.label.value = 3.0, (0.1, 0.5), 1
    given, without = RING.only(CLASSES[1]).denoiser(VP()), RING.denoiser(VP())
    guided = Between(ClassifierFree(given, without, 3.0), given, 0.1, 0.5)
    times = uniform_half_log_snr_times(VP(), 12, end=1e-3)
    torch.testing.assert_close(field.samples(), sample(guided, DDIM(), field._start, times))
    field.t.value = 0.9
    torch.testing.assert_close(field.samples(), sample(guided, DDIM(), field._start, times))


def test_scales_zero_one_and_an_interval_without_times():
    field = build()
    field.scale.value = 0.0
    assert abs(field.measures()["accuracy"] - 1 / 3) < 0.15  # the label is ignored
    field.scale.value = 1.0
    plain = field.samples()
    assert field.measures()["accuracy"] > 0.9
    assert field.measures()["clumps"] == pytest.approx(2, abs=0.1)
    field.scale.value, field.interval.value = 8.0, (0.0, 0.0)  # the grid ends above 0: nothing is guided
    torch.testing.assert_close(field.samples(), plain)


def test_the_floors_are_those_of_exact_samples():
    floors = build().floors()
    assert floors["clumps"] == pytest.approx(2, abs=0.05)
    assert floors["outside"] < 0.05
    assert floors["accuracy"] > 0.95


def test_points_outside_the_plane_are_refused():
    line = GaussianMixture.single(torch.zeros(1), torch.eye(1))
    with pytest.raises(ValueError, match="got a mixture in 1 dimensions"):
        GuidanceField(line, [[0]])

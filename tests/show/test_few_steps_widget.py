"""The few-steps widget: its numbers against closed forms, its controls, and what it refuses."""

from __future__ import annotations

import pytest
import torch

from diffedu._tensor import seeded
from diffedu.core import DatasetDenoiser, RectifiedFlow, uniform_times
from diffedu.sampling import Euler, sample, start_noise
from diffedu.show.widgets.few_steps import MOST, FewSteps

PATH = RectifiedFlow()
DATA = torch.randn(10, 1, 6, 6, generator=seeded(0)).clamp(-1, 1)


def build(**models):
    models = models or {
        "one point": lambda label: DatasetDenoiser(DATA[label : label + 1], PATH),
        "all points": lambda label: DatasetDenoiser(DATA, PATH),
    }
    return FewSteps(models, size=6)


def test_every_control_changes_the_picture_and_reset_restores_it():
    few = build()
    first = few.picture.png
    for control, other in ((few.model, "all points"), (few.label, 3), (few.steps, 5), (few.seed, 8)):
        control.value = other
        assert few.picture.png != first, control
        few.picture.reset()
        assert few.picture.png == first, control
    assert few.picture.message.value == ""


def test_toward_one_point_all_paths_are_straight_and_every_guess_is_the_point():
    few = build()
    for steps in (1, 3, MOST):
        few.steps.value = steps
        states, guesses = few.path()
        torch.testing.assert_close(guesses, DATA[7:8].expand(steps, 1, 6, 6), rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(states[-1], DATA[7], rtol=1e-4, atol=1e-5)


def test_the_first_guess_is_the_mean_and_the_end_is_the_package_s():
    few = build()
    few.model.value, few.steps.value, few.seed.value = "all points", 4, 5
    states, guesses = few.path()
    torch.testing.assert_close(guesses[0], DATA.mean(0), rtol=1e-4, atol=1e-5)
    start = start_noise(PATH, (1, 1, 6, 6), seeded(5))
    end = sample(DatasetDenoiser(DATA, PATH), Euler(), start, uniform_times(PATH, 4, end=0.0))
    torch.testing.assert_close(states[-1:], end)


def test_a_path_is_computed_once():
    calls = []

    def counting(label):
        calls.append(label)
        return DatasetDenoiser(DATA[label : label + 1], PATH)

    few = build(counted=counting)
    few.steps.value = 3
    few.steps.value = 2
    few.picture.reset()
    assert calls == [7, 7]


def test_no_model_is_refused():
    with pytest.raises(ValueError, match="at least one denoiser"):
        FewSteps({})

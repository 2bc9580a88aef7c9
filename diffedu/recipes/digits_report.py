"""How good are generated digits? Every figure beside its floor: what real digits score in the same test."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from diffedu.data.digits import digits
from diffedu.evaluate.metrics import frechet_distance
from diffedu.evaluate.two_sample import (
    accuracy,
    classifier_two_sample,
    nearest_neighbours,
    quantise,
    train_small_classifier,
)
from diffedu.nn import ImageClassifier
from diffedu.recipes import digits_classifier

COUNT = 4000
"""Generated digits that a full report needs: 400 of each class."""


class Figure(NamedTuple):
    """One measured value and its floor, the value of real digits in the same test."""

    value: float
    floor: float

    def rounded(self, digits: int = 4) -> dict[str, float]:
        """For a log."""
        return {"value": round(self.value, digits), "floor": round(self.floor, digits)}


@torch.no_grad()
def features(classifier: ImageClassifier, images: Tensor) -> Tensor:
    """The classifier's penultimate values, shape (N, 64), in chunks."""
    return torch.cat([classifier.features(part) for part in images.split(500)])


def class_accuracy(samples: Tensor, wanted: Tensor, classifier: ImageClassifier) -> Figure:
    """How often the fixed classifier reads the wanted class; floor: on the held-out real digits."""
    held_out = digits("test", device=samples.device)
    return Figure(accuracy(classifier, samples, wanted).value, accuracy(classifier, *held_out).value)


def frechet(samples: Tensor, classifier: ImageClassifier) -> Figure:
    """Frechet distance of features to 4,000 training digits; floor: 4,000 other training digits to the same."""
    real = digits("train", device=samples.device).images
    n = min(len(samples), len(real) // 2)
    reference = features(classifier, real[:n])
    other = features(classifier, real[n : 2 * n])
    return Figure(
        float(frechet_distance(features(classifier, samples[:n]), reference)),
        float(frechet_distance(other, reference)),
    )


def trained_on_generated(samples: Tensor, wanted: Tensor, *, seed: int = 0) -> Figure:
    """Accuracy on real digits of a classifier that saw only generated ones; floor: one that saw as many real ones."""
    held_out = digits("test", device=samples.device)
    n = min(len(samples), len(digits("train").images))
    on_fake = train_small_classifier(quantise(samples[:n]), wanted[:n], seed=seed)
    return Figure(accuracy(on_fake, *held_out).value, _trained_on_real(n, samples.device, seed))


@functools.cache
def _trained_on_real(n: int, device: torch.device, seed: int) -> float:
    """The floor of `trained_on_generated`; a run reports several times, and this costs a training each time."""
    real = digits("train", device=device)
    on_real = train_small_classifier(real.images[:n], real.labels[:n], seed=seed)
    return accuracy(on_real, *digits("test", device=device)).value


def two_sample(samples: Tensor, *, seed: int = 0) -> Figure:
    """Held-out accuracy at telling generated from real; floor: at telling real from other real ones (about 0.5)."""
    real = digits("train", device=samples.device).images
    n = min(len(samples), len(real) // 2)
    return Figure(
        classifier_two_sample(real[:n], samples[:n], train_n=n * 3 // 4, seed=seed).value,
        _real_against_real(n, samples.device, seed),
    )


@functools.cache
def _real_against_real(n: int, device: torch.device, seed: int) -> float:
    """The floor of `two_sample`."""
    real = digits("train", device=device).images
    return classifier_two_sample(real[:n], real[n : 2 * n], train_n=n * 3 // 4, seed=seed).value


def nearest_training(samples: Tensor) -> Figure:
    """Median distance to the nearest training digit; floor: of the held-out real digits. Lower hints at copying."""
    real, held_out = (
        digits("train", device=samples.device).images,
        digits("test", device=samples.device).images,
    )
    return Figure(
        nearest_neighbours(quantise(samples), real).distances.median().item(),
        nearest_neighbours(held_out, real).distances.median().item(),
    )


def figures(
    draw: Callable[[Tensor], Tensor], device: torch.device, *, count: int, classes: int, folder: Path | None = None
) -> dict[str, dict[str, float]]:
    """The report of `count` digits that `draw` makes, the classes in equal number, rounded for a log."""
    wanted = torch.arange(count, device=device) % classes
    return {name: figure.rounded() for name, figure in report(draw(wanted), wanted, folder=folder).items()}


def report(samples: Tensor, wanted: Tensor, *, folder: Path | None = None) -> dict[str, Figure]:
    """All figures of a set of generated digits.

    Args:
        samples: shape (N, 1, 28, 28), in [-1, 1]; the classes mixed. N = 4,000 for comparable figures.
        wanted: shape (N,), the classes asked for.
        folder: where the classifier was trained to; the shipped one by default.

    Returns:
        Figures by name. Small N is allowed for tests; its values and floors belong to each other.

    Raises:
        ValueError: fewer than 200 samples, or shapes that don't fit.
    """
    if samples.ndim != 4 or samples.shape[1:] != (1, 28, 28) or wanted.shape != samples.shape[:1] or len(samples) < 200:
        raise ValueError(
            f"samples must have shape (N, 1, 28, 28) with N >= 200 and wanted shape (N,), "
            f"got {tuple(samples.shape)} and {tuple(wanted.shape)}"
        )
    classifier = digits_classifier.load(folder, samples.device)
    return {
        "class accuracy": class_accuracy(samples, wanted, classifier),
        "Frechet distance": frechet(samples, classifier),
        "trained on generated": trained_on_generated(samples, wanted),
        "two-sample test": two_sample(samples),
        "nearest training digit": nearest_training(samples),
    }

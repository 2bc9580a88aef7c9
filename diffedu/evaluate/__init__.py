"""Distances between samples, each with an error bar or a floor, and a small network's judgement of images."""

from __future__ import annotations

from diffedu.evaluate.metrics import (
    Draw,
    Estimate,
    Floor,
    energy_distance,
    floor,
    frechet_between_gaussians,
    frechet_distance,
    mmd2,
    pathwise_error,
    sliced_wasserstein2,
    wasserstein2,
)
from diffedu.evaluate.two_sample import (
    Neighbours,
    accuracy,
    classifier_two_sample,
    nearest_neighbours,
    quantise,
    to_bytes,
    train_small_classifier,
)

__all__ = [
    "Draw",
    "Estimate",
    "Floor",
    "Neighbours",
    "accuracy",
    "classifier_two_sample",
    "energy_distance",
    "floor",
    "frechet_between_gaussians",
    "frechet_distance",
    "mmd2",
    "nearest_neighbours",
    "pathwise_error",
    "quantise",
    "sliced_wasserstein2",
    "to_bytes",
    "train_small_classifier",
    "wasserstein2",
]

"""Distances between samples, a small network's judgement of images, and densities on a grid."""

from __future__ import annotations

from diffedu.evaluate.fokker_planck import (
    FokkerPlanck,
    Grid,
    bernoulli,
    extrapolate,
    extrapolate_positive,
    restrict,
)
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
    psnr,
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
    "FokkerPlanck",
    "Grid",
    "Neighbours",
    "accuracy",
    "bernoulli",
    "classifier_two_sample",
    "energy_distance",
    "extrapolate",
    "extrapolate_positive",
    "floor",
    "frechet_between_gaussians",
    "frechet_distance",
    "mmd2",
    "nearest_neighbours",
    "pathwise_error",
    "psnr",
    "quantise",
    "restrict",
    "sliced_wasserstein2",
    "to_bytes",
    "train_small_classifier",
    "wasserstein2",
]

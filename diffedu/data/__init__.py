"""Data that ships with the book, and toy distributions that need no file."""

from __future__ import annotations

from diffedu.data.digits import Digits, digits, full_mnist
from diffedu.data.emoji import Emoji, emoji
from diffedu.data.files import asset, sha256
from diffedu.data.toy2d import (
    TOYS,
    Toy,
    checkerboard,
    grid_of_gaussians,
    moons,
    moons_with_labels,
    pinwheel,
    rings,
    spiral,
    swiss_roll,
    toy,
)

__all__ = [
    "TOYS",
    "Digits",
    "Emoji",
    "Toy",
    "asset",
    "checkerboard",
    "digits",
    "emoji",
    "full_mnist",
    "grid_of_gaussians",
    "moons",
    "moons_with_labels",
    "pinwheel",
    "rings",
    "sha256",
    "spiral",
    "swiss_roll",
    "toy",
]

"""Emoji: small colour pictures with captions and categories."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from diffedu._errors import unknown
from diffedu.data._arrays import bytes_to_float, content_order
from diffedu.data.files import asset

_TRAIN = 1711


class Emoji(NamedTuple):
    """Images and what is known about them; ``categories[category_codes[i]]`` is image ``i``'s category."""

    images: Tensor  # (N, 3, 32, 32) float32
    captions: list[str]
    category: list[str]
    subcategory: list[str]
    category_codes: Tensor  # (N,) int64
    subcategory_codes: Tensor  # (N,) int64
    categories: list[str]  # every category, sorted: the same for both splits
    subcategories: list[str]


def emoji(
    split: str = "train", *, device: torch.device | str = "cpu", scale: tuple[float, float] = (-1.0, 1.0)
) -> Emoji:
    """The Noto emoji at 32 by 32 pixels on white: 1,711 to train on and 200 held out.

    The order is that of the SHA-256 of each image's bytes. Images with equal pixels (flags of territories,
    some families) are neighbours in it and stand on the same side of the cut: no held-out image was trained
    on.

    Args:
        split: ``"train"`` or ``"test"``.
        device: Where the tensors live.
        scale: The values ``(low, high)`` of a colour channel that is off and full on.

    Returns:
        Images ``(N, 3, 32, 32)`` float32 in ``[low, high]``, red, green, blue; captions such as ``"keycap
        star"``; categories and subcategories as strings and as codes ``(N,)`` int64 that mean the same in
        both splits.

    Raises:
        ValueError: Unknown split; a scale whose ends are not increasing; a damaged data file.
        FileNotFoundError: The data file is missing.

    Reference:
        Google, Noto Emoji (Apache License 2.0). See ``data/README.md`` for the way the files took.

    Taught in: chapter 14.

    Example:
        >>> held_out = emoji("test")
        >>> held_out.images.shape, held_out.captions[:3]
        (torch.Size([200, 3, 32, 32]), ['writing hand', 'rosette', 'clock8'])
    """
    if split not in ("train", "test"):
        raise unknown("split", split, ("train", "test"))
    with np.load(asset("emoji32.npz"), allow_pickle=False) as file:
        images, names = file["images"], file["names"]
        # return_inverse: each image's position in the sorted list of names, which is its code.
        categories, category_codes = np.unique(file["category"], return_inverse=True)
        subcategories, subcategory_codes = np.unique(file["subcategory"], return_inverse=True)
    order = content_order(images)
    chosen = order[:_TRAIN] if split == "train" else order[_TRAIN:]
    return Emoji(
        images=bytes_to_float(images[chosen].transpose(0, 3, 1, 2), device, scale),
        captions=names[chosen].tolist(),
        category=categories[category_codes[chosen]].tolist(),
        subcategory=subcategories[subcategory_codes[chosen]].tolist(),
        category_codes=torch.tensor(category_codes[chosen], dtype=torch.int64, device=device),
        subcategory_codes=torch.tensor(subcategory_codes[chosen], dtype=torch.int64, device=device),
        categories=categories.tolist(),
        subcategories=subcategories.tolist(),
    )

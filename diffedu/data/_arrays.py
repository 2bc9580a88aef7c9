"""What the image sets share: an order that depends on the pixels alone, and bytes turned into floats."""

from __future__ import annotations

import hashlib

import numpy as np
import torch
from torch import Tensor


def content_order(images: np.ndarray) -> np.ndarray:
    """Indices that sort images by the SHA-256 of their bytes.

    As good as a seeded shuffle, but no library's random stream can change it; and equal images become
    neighbours, so that one cut keeps them on one side.
    """
    digests = [hashlib.sha256(image.tobytes()).digest() for image in images]
    return np.array(sorted(range(len(digests)), key=digests.__getitem__), dtype=np.int64)


def bytes_to_float(images: np.ndarray, device: torch.device | str, scale: tuple[float, float]) -> Tensor:
    """Bytes 0 ... 255 as float32 from low to high; both ends are met exactly."""
    low, high = scale
    if not low < high:
        raise ValueError(f"scale must be (low, high) with low < high, got {scale}")
    # torch.tensor copies: a view of read-only bytes must not become a tensor that someone writes to.
    pixels = np.ascontiguousarray(images)
    return torch.tensor(pixels, dtype=torch.float32, device=device).div_(255).mul_(high - low).add_(low)

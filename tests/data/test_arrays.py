"""The order by content and the conversion of bytes."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
import torch

from diffedu.data._arrays import bytes_to_float, content_order


def test_order_is_that_of_the_digests_wherever_an_image_stands():
    images = np.random.Generator(np.random.PCG64(0)).integers(0, 256, (50, 3, 3), dtype=np.uint8)
    ordered = images[content_order(images)]
    digests = [hashlib.sha256(image.tobytes()).hexdigest() for image in ordered]
    assert digests == sorted(digests)
    backwards = images[::-1]
    assert (backwards[content_order(backwards)] == ordered).all()


def test_equal_images_become_neighbours():
    images = np.random.Generator(np.random.PCG64(1)).integers(0, 256, (40, 4, 4), dtype=np.uint8)
    images[35] = images[2]
    place = {int(index): position for position, index in enumerate(content_order(images))}
    assert abs(place[2] - place[35]) == 1


def test_bytes_reach_both_ends_exactly():
    every = np.arange(256, dtype=np.uint8)
    for low, high in [(-1.0, 1.0), (0.0, 1.0), (-0.5, 0.5), (0.0, 255.0)]:
        floats = bytes_to_float(every, "cpu", (low, high))
        assert floats.dtype == torch.float32
        assert floats[0] == low
        assert floats[-1] == high
        expected = torch.linspace(low, high, 256, dtype=torch.float64, device="cpu")
        torch.testing.assert_close(floats.double(), expected, rtol=0, atol=2e-7 * (high - low))


@pytest.mark.parametrize("scale", [(1.0, -1.0), (0.0, 0.0), (float("nan"), 1.0)])
def test_scale_must_increase(scale):
    with pytest.raises(ValueError, match=r"scale must be \(low, high\) with low < high, got"):
        bytes_to_float(np.zeros(2, dtype=np.uint8), "cpu", scale)

"""The Langevin playground: its ring is the book's mixture, its shares are right, every control moves the picture."""

from __future__ import annotations

import pytest
import torch

from diffedu._tensor import seeded
from diffedu.core import GaussianMixture
from diffedu.show.widgets.langevin import STD, LangevinPlayground, Ring, play


@pytest.mark.parametrize("modes", [1, 2, 5])
def test_the_ring_is_a_gaussian_mixture(modes: int):
    ring = Ring(modes, 2.5)
    mixture = GaussianMixture.isotropic(ring.means, STD, ring.weights)
    x = 3 * torch.randn(50, 2, generator=seeded(0))
    torch.testing.assert_close(ring.score(x), mixture.score(x), rtol=1e-4, atol=1e-4)
    gap = ring.log_prob(x) - mixture.log_prob(x)
    torch.testing.assert_close(gap, gap[:1].expand(50), rtol=1e-4, atol=1e-4)  # a constant
    if modes > 1:
        assert (ring.means - ring.means.roll(1, 0)).norm(dim=1) == pytest.approx(2.5)
    assert ring.weights.sum().item() == pytest.approx(1.0)


def test_the_wanted_shares_are_those_of_the_tempered_density():
    """Far apart and of one width, the modes of p^(1/T) have shares w^(1/T), normalised."""
    for temperature in (0.5, 1.0, 1.5):
        wanted = play(3, 4.0, 0.02, temperature, 5, False).wanted
        shares = torch.tensor([1.0, 2.0, 3.0]) ** (1 / temperature)
        torch.testing.assert_close(wanted, shares / shares.sum(), rtol=0.01, atol=0.01)


def test_what_the_playground_teaches():
    stuck, mixed = (play(2, separation, 0.02, 1.0, 200, False) for separation in (4.0, 1.5))
    assert stuck.found[0] > 0.95  # every walker still in the mode that should hold a third
    assert abs(mixed.found[0] - mixed.wanted[0]) < 0.1
    wild, held = (play(2, 3.0, 0.6, 1.0, 50, referee) for referee in (False, True))
    assert not wild.points.abs().max() < 100  # beyond 2 STD^2 = 0.5 the plain walk explodes
    assert held.points.abs().max() < 5
    assert 0 < held.accepted < 0.9


def test_every_control_of_the_playground_changes_the_picture():
    playground = LangevinPlayground()
    first = playground.picture.png
    for name, value in (
        ("step_size", 0.1),
        ("temperature", 3.0),
        ("modes", 4),
        ("separation", 2.0),
        ("steps", 20),
        ("referee", True),
    ):
        playground.controls[name].value = value
        assert playground.picture.png != first, name
        playground.picture.reset()
        assert playground.picture.png == first, name
    playground.controls["step_size"].value = 1.0  # walkers at infinity are no error
    assert playground.picture.message.value == ""

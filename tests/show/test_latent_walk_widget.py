"""The latent walk: its points, its pictures, its controls."""

from __future__ import annotations

import pytest
import torch

from diffedu._tensor import weights_from
from diffedu.nn import VAE, VAEConfig
from diffedu.show.widgets.latent_walk import LatentWalk, between


@pytest.fixture(scope="module")
def vae():
    with weights_from(0):
        net = VAE(VAEConfig(width=16)).eval()
    images = torch.rand(6, 3, 32, 32, generator=torch.Generator().manual_seed(1)) * 2 - 1
    net.standardise(images)
    return net


PICTURES = {
    name: torch.rand(3, 32, 32, generator=torch.Generator().manual_seed(k)) * 2 - 1
    for k, name in enumerate(["moon", "clock", "flag"])
}


def test_every_control_changes_the_picture_and_reset_restores_it(vae):
    walk = LatentWalk(vae, PICTURES)
    first = walk.picture.png
    for control, other in ((walk.first, "flag"), (walk.second, "flag"), (walk.way, "spherical"), (walk.share, 0.2)):
        control.value = other
        assert walk.picture.png != first, control
        walk.picture.reset()
        assert walk.picture.png == first, control
    assert walk.picture.message.value == ""


def test_the_ends_are_the_pictures_through_the_autoencoder(vae):
    walk = LatentWalk(vae, PICTURES)
    for way in ("straight", "spherical"):
        walk.way.value = way
        for share, name in ((0.0, "moon"), (1.0, "clock")):
            walk.share.value = share
            with torch.no_grad():
                expected = vae.decode(vae.encode(PICTURES[name][None])[0])[0].clamp(-1, 1)
            torch.testing.assert_close(walk.decoded(), expected, rtol=1e-4, atol=1e-5)


def test_the_arc_keeps_the_length_and_even_angles():
    g = torch.Generator().manual_seed(0)
    a = torch.randn(4, 8, 8, generator=g, dtype=torch.float64)
    b = torch.randn(4, 8, 8, generator=g, dtype=torch.float64)
    b = b / b.norm() * a.norm()
    whole = torch.acos((a * b).sum() / a.norm() ** 2)
    for share in (0.0, 0.25, 0.8, 1.0):
        point = between(a, b, share, "spherical")
        torch.testing.assert_close(point.norm(), a.norm())
        cosine = ((a * point).sum() / a.norm() ** 2).clamp(-1, 1)
        torch.testing.assert_close(torch.acos(cosine), share * whole, atol=1e-7, rtol=1e-7)
    torch.testing.assert_close(between(a, b, 0.25), 0.75 * a + 0.25 * b)


def test_from_a_picture_to_itself_nothing_moves(vae):
    walk = LatentWalk(vae, PICTURES)
    walk.second.value, walk.way.value = "moon", "spherical"
    torch.testing.assert_close(walk.latents(), walk.ends()[0])
    assert walk.picture.message.value == ""


def test_one_picture_is_refused(vae):
    with pytest.raises(ValueError, match="two pictures, got 1"):
        LatentWalk(vae, {"moon": PICTURES["moon"]})

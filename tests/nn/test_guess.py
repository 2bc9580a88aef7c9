"""A network that sees a guess: where it goes in, and what may not be."""

from __future__ import annotations

import pytest
import torch

from diffedu._tensor import seeded
from diffedu.core import X0, DenoisingLoss, GaussianGuess, NeighbourGuess, RectifiedFlow
from diffedu.nn import UNet, UNetConfig, WithGuess
from tests.nn.test_unet import build as awake_unet

CONFIG = UNetConfig(size=8, width=16, low_width=32, classes=3, t_max=1.0, extra_channels=1)


def build():
    return awake_unet(CONFIG).float()


def test_the_network_sees_picture_and_guess():
    net = build()
    x, t, label = torch.randn(4, 1, 8, 8, generator=seeded(1)), torch.rand(4, generator=seeded(2)), torch.arange(4)
    asked = []

    def guess(*arguments):
        asked.append(arguments)
        return 3 * arguments[0]

    both = WithGuess(net, guess)
    found = both(x, t, label)
    torch.testing.assert_close(found, net(torch.cat([x, 3 * x], dim=1), t, label))
    assert found.shape == x.shape
    assert all(given is wanted for given, wanted in zip(asked[0], (x, t, label), strict=True))
    torch.testing.assert_close(both.given(2)(x, t), both(x, t, torch.full((4,), 2)))
    torch.testing.assert_close(both.given(None)(x, t), both(x, t))
    other = WithGuess(net, lambda x_t, t, label: -x_t)
    assert not torch.allclose(other(x, t, label), found)


def test_it_trains_and_only_the_network_is_saved():
    x0, labels = torch.randn(60, 1, 8, 8, generator=seeded(3)), torch.arange(60) % 3
    both = WithGuess(build(), GaussianGuess(RectifiedFlow(), x0, labels, classes=3, axes=4))
    DenoisingLoss(RectifiedFlow(), X0)(both.given(labels), x0, seeded(4)).mean().backward()
    assert all(p.grad is not None and p.grad.any() for p in both.net.enter.parameters())
    assert set(both.state_dict()) == {f"net.{name}" for name in both.net.state_dict()}


def test_a_batch_sees_the_guess_without_itself():
    x0, labels = torch.randn(60, 1, 8, 8, generator=seeded(3)), torch.arange(60) % 3
    guess, own = NeighbourGuess(RectifiedFlow(), x0, labels, classes=3), torch.tensor([7, 0, 33])
    both, t = WithGuess(build(), guess), torch.full((3,), 0.2)
    x_t = RectifiedFlow().add_noise(x0[own], torch.randn(3, 1, 8, 8, generator=seeded(5)), t)
    fair = WithGuess(both.net, guess.without(own)).given(labels[own])(x_t, t)
    seen = torch.cat([x_t, guess(x_t, t, labels[own], own)], dim=1)
    torch.testing.assert_close(fair, both.net(seen, t, labels[own]))
    assert not torch.allclose(fair, both(x_t, t, labels[own]))


def test_a_network_without_room_is_refused():
    with pytest.raises(ValueError, match="1 channels, but the network has extra_channels = 0"):
        WithGuess(UNet(UNetConfig(size=8, width=16, low_width=32)), lambda x_t, t, label: x_t)
    with pytest.raises(ValueError, match="extra_channels must not be negative, got -1"):
        UNetConfig(extra_channels=-1)
    with pytest.raises(ValueError, match="x_t"):
        build()(torch.zeros(1, 1, 8, 8), torch.zeros(1))

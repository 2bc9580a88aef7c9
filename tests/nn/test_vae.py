"""The autoencoder: shapes, identity blocks, noise used as said, gradients, and that it can learn."""

from __future__ import annotations

import json

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from diffedu._tensor import seeded
from diffedu.nn import VAE, VAEConfig
from diffedu.nn.vae import Residual

SMALL = VAEConfig(size=16, channels=2, shrink=4, latent_channels=3, width=16)


def build(config=SMALL):
    torch.manual_seed(0)
    net = VAE(config).double()
    for p in net.parameters():
        if not p.any():
            nn.init.normal_(p, std=0.1)
    return net


def images(n=3, config=SMALL):
    return torch.rand(n, config.channels, config.size, config.size, generator=seeded(1), dtype=torch.float64) * 2 - 1


@pytest.mark.parametrize("shrink", [2, 4, 8])
def test_the_latent_picture_is_as_much_smaller_as_asked(shrink):
    config = VAEConfig(size=16, channels=2, shrink=shrink, latent_channels=3, width=16)
    mean, log_variance = build(config).encode(images())
    assert mean.shape == log_variance.shape == (3, *config.latent_shape) == (3, 3, 16 // shrink, 16 // shrink)
    assert build(config).decode(mean).shape == (3, 2, 16, 16)


def test_a_new_residual_block_is_the_identity():
    h = torch.randn(2, 16, 4, 4, generator=seeded(0))
    assert torch.equal(Residual(16)(h), h)


def test_noise_is_scaled_by_the_standard_deviation():
    net, x = build(), images()
    noise = torch.randn(3, 3, 4, 4, generator=seeded(2), dtype=torch.float64)
    decoded, mean, log_variance = net(x, noise)
    torch.testing.assert_close(decoded, net.decode(mean + log_variance.exp().sqrt() * noise))
    torch.testing.assert_close(net(x, 0 * noise)[0], net.decode(mean))
    assert log_variance.std() > 0.01


def test_the_log_variance_is_cut():
    net = build()
    with torch.no_grad():
        net.encoder[-1].bias[3:] = 1e4
    assert (net.encode(images())[1] == 10).all()


def test_gradients_reach_every_parameter_and_pixel():
    net, x = build(), images().requires_grad_()
    noise = torch.randn(3, 3, 4, 4, generator=seeded(2), dtype=torch.float64)
    decoded, mean, log_variance = net(x, noise)
    (decoded.square().sum() + mean.square().sum() + log_variance.sum()).backward()
    assert all(p.grad is not None and p.grad.any() for p in net.parameters())
    assert (x.grad != 0).all()


def test_a_batch_equals_its_singles():
    net, x = build(), images()
    torch.testing.assert_close(net.encode(x)[0][1:2], net.encode(x[1:2])[0])


def test_eight_pictures_are_learned_by_heart():
    torch.manual_seed(0)
    net = VAE(VAEConfig(size=8, channels=1, shrink=2, latent_channels=4, width=16))
    x = torch.rand(8, 1, 8, 8, generator=seeded(3))
    optimiser = torch.optim.Adam(net.parameters(), lr=3e-3)
    for _ in range(400):
        loss = F.mse_loss(net(x, torch.zeros(8, 4, 4, 4))[0], x)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert loss < 1e-3


def test_standardised_latents_have_mean_0_and_variance_1_in_every_channel():
    net = build()
    x = torch.rand(400, 2, 16, 16, generator=seeded(5), dtype=torch.float64) * 2 - 1
    with torch.no_grad():
        net.encoder[-1].bias[:3] = torch.tensor([5.0, -3.0, 0.0])
    net.standardise(x)
    z = net.to_latents(x, torch.randn(400, 3, 4, 4, generator=seeded(6), dtype=torch.float64)).detach()
    torch.testing.assert_close(z.mean((0, 2, 3)), torch.zeros(3).double(), atol=0.06, rtol=0)
    torch.testing.assert_close(z.var((0, 2, 3)), torch.ones(3).double(), atol=0.06, rtol=0)
    torch.testing.assert_close(net.from_latents(net.to_latents(x)), net(x, torch.zeros(1).double())[0])
    other = VAE(SMALL).double()
    other.load_state_dict(net.state_dict())  # they travel with the weights
    assert torch.equal(other.scale, net.scale)


def test_a_config_survives_json():
    assert VAEConfig(**json.loads(json.dumps(SMALL.to_json()))) == SMALL


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: VAEConfig(shrink=3), "shrink must be a power of 2, at least 2, that divides size 32, got 3"),
        (lambda: VAEConfig(size=20, shrink=8), "divides size 20, got 8"),
        (lambda: VAEConfig(width=20), "width must be a positive multiple of 8, got 20"),
        (lambda: VAEConfig(latent_channels=0), "latent_channels must be at least 1, got 0"),
        (
            lambda: build().encode(torch.zeros(1, 2, 8, 8)),
            r"images must have shape \(B, 2, 16, 16\), got \(1, 2, 8, 8\)",
        ),
        (
            lambda: build().decode(torch.zeros(1, 3, 8, 8)),
            r"latents must have shape \(B, 3, 4, 4\), got \(1, 3, 8, 8\)",
        ),
    ],
)
def test_what_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()

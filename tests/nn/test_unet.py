"""The U-Net: identity at the start, gradients everywhere, shapes, labels, and that it can learn."""

from __future__ import annotations

import json

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from diffedu._tensor import seeded
from diffedu.nn import FourierTime, ResBlock, SelfAttention, UNet, UNetConfig

SMALL = UNetConfig(size=8, channels=2, width=16, low_width=32, classes=3, t_max=1.0)


def build(config=SMALL, *, awake=True, seed=0):
    """A network in float64; awake: its zero layers drawn at random, so that every part takes part."""
    torch.manual_seed(seed)
    net = UNet(config).double()
    if awake:
        for p in net.parameters():
            if not p.any():
                nn.init.normal_(p, std=0.1)
    return net


def batch(n=4, config=SMALL, seed=1):
    g = seeded(seed)
    x = torch.randn(n, config.channels, config.size, config.size, generator=g, dtype=torch.float64)
    t = config.t_max * torch.rand(n, generator=g, dtype=torch.float64)
    return x, t, torch.arange(n) % max(1, config.classes)


# --- blocks


def test_a_new_residual_block_is_the_identity_or_its_projection():
    h, condition = torch.randn(2, 16, 4, 4, generator=seeded(0)), torch.randn(2, 8, generator=seeded(1))
    assert torch.equal(ResBlock(16, 16, 8)(h, condition), h)
    wider = ResBlock(16, 24, 8)
    assert torch.equal(wider(h, condition), wider.skip(h))


def test_a_new_attention_layer_is_the_identity():
    h = torch.randn(2, 64, 3, 3, generator=seeded(0))
    assert torch.equal(SelfAttention(64)(h), h)


def test_attention_written_out():
    torch.manual_seed(0)
    layer, h = (
        SelfAttention(64, head_width=32).double(),
        torch.randn(2, 64, 3, 3, generator=seeded(1), dtype=torch.float64),
    )
    nn.init.normal_(layer.out.weight)
    flat = layer.norm(h).flatten(2).transpose(1, 2)  # (B, positions, channels)
    weight, bias = layer.qkv.weight.flatten(1), layer.qkv.bias
    q, k, v = (flat @ weight[i * 64 : (i + 1) * 64].T + bias[i * 64 : (i + 1) * 64] for i in range(3))
    heads = []
    for a in (slice(0, 32), slice(32, 64)):
        attention = torch.softmax(q[..., a] @ k[..., a].mT / 32**0.5, dim=-1)
        heads.append(attention @ v[..., a])
    y = torch.cat(heads, -1) @ layer.out.weight.flatten(1).T + layer.out.bias
    torch.testing.assert_close(layer(h), h + y.transpose(1, 2).reshape(2, 64, 3, 3))


def test_a_block_s_condition_scales_and_shifts():
    """With the convolutions as identities the block is h + silu(norm(silu(norm h)) (1 + scale) + shift)."""
    torch.manual_seed(0)
    block, h = ResBlock(8, 8, 2).double(), torch.randn(3, 8, 4, 4, generator=seeded(1), dtype=torch.float64)
    for conv in (block.conv1, block.conv2):
        nn.init.dirac_(conv.weight)
        nn.init.zeros_(conv.bias)
    condition = torch.randn(3, 2, generator=seeded(2), dtype=torch.float64)
    scale, shift = (condition @ block.modulate.weight.T + block.modulate.bias).split(8, dim=1)
    y = F.group_norm(F.silu(F.group_norm(h, 8)), 8)
    wanted = h + F.silu(y * (1 + scale[..., None, None]) + shift[..., None, None])
    torch.testing.assert_close(block(h, condition), wanted)


def test_dropout_acts_in_training_only():
    block = ResBlock(16, 16, 8, dropout=0.5)
    nn.init.normal_(block.conv2.weight)
    h, condition = torch.randn(2, 16, 4, 4), torch.randn(2, 8)
    assert not torch.equal(block(h, condition), block(h, condition))
    block.eval()
    assert torch.equal(block(h, condition), block(h, condition))


def test_fourier_time_written_out():
    embed = FourierTime(8, t_max=50.0, max_turns=16.0)
    turns = [0.25, 1.0, 4.0, 16.0]  # geometric: a factor of 4
    t = torch.tensor([0.0, 12.5, 37.0], dtype=torch.float64)
    angle = 2 * torch.pi * torch.tensor(turns, dtype=torch.float64) * (t / 50)[:, None]
    torch.testing.assert_close(embed.double()(t), torch.cat([angle.sin(), angle.cos()], 1), rtol=0, atol=1e-5)
    assert "frequencies" not in embed.state_dict()


def test_neighbouring_times_look_different():
    embed = FourierTime(128, t_max=1000.0)(torch.arange(0.0, 1001.0))
    assert ((embed[1:] - embed[:-1]).norm(dim=1) > 0.5).all()
    near = torch.cdist(embed, embed) + 99 * torch.eye(1001)
    assert near.min() > 0.5  # and no two of the thousand look alike


# --- the whole


def test_a_new_network_predicts_zero_and_starts_learning_at_its_last_layer():
    net = build(awake=False)
    out = net(*batch())
    assert (out == 0).all()
    (out - 1).square().mean().backward()
    assert net.leave.weight.grad.abs().max() > 0


@pytest.mark.parametrize(
    "config", [SMALL, UNetConfig(size=8, width=16, low_width=64, blocks=2, classes=0, t_max=1000.0)]
)
def test_gradients_reach_every_parameter(config):
    net = build(config)
    x, t, labels = batch(config=config)
    net(x, t, labels if config.classes else None).square().sum().backward()
    still = [name for name, p in net.named_parameters() if p.grad is None or not p.grad.any()]
    assert still == []


def test_gradients_reach_every_parameter_after_some_steps_of_training():
    """The zero layers open one after the other, without help."""
    net = build(awake=False)
    optimiser = torch.optim.SGD(net.parameters(), lr=0.1)
    x, t, labels = batch()
    for _ in range(4):
        optimiser.zero_grad()
        (net(x, t, labels) - x).square().mean().backward()
        optimiser.step()
    assert [name for name, p in net.named_parameters() if not p.grad.any()] == []


def test_a_batch_equals_its_singles():
    net = build().eval()
    x, t, labels = batch()
    whole = net(x, t, labels)
    for i in range(len(x)):
        torch.testing.assert_close(
            whole[i : i + 1], net(x[i : i + 1], t[i : i + 1], labels[i : i + 1]), rtol=1e-9, atol=1e-11
        )


@pytest.mark.parametrize("part", ["x_t", "t", "label"])
def test_every_input_matters_for_its_own_example_only(part):
    net = build().eval()
    x, t, labels = batch()
    before = net(x, t, labels)
    if part == "x_t":
        x = x.clone()
        x[1, 0, 3, 3] += 1
    elif part == "t":
        t = t.clone()
        t[1] = 1 - t[1]
    else:
        labels = labels.clone()
        labels[1] = 0
    changed = (net(x, t, labels) - before).flatten(1).abs().amax(1)
    assert changed[1] > 1e-3
    assert changed[[0, 2, 3]].max() < 1e-12


def test_every_pixel_may_look_at_every_other():
    """The attention layer joins far corners."""
    net = build(UNetConfig(size=28, width=16, low_width=32, classes=0, t_max=1.0)).eval()
    x = torch.randn(1, 1, 28, 28, generator=seeded(3), dtype=torch.float64).requires_grad_()
    net(x, torch.tensor([0.5], dtype=torch.float64))[0, 0, 0, 0].backward()
    assert x.grad[0, 0, 27, 27] != 0


@pytest.mark.parametrize(
    "config",
    [
        UNetConfig(width=32, low_width=64),
        UNetConfig(size=32, channels=3, width=16, low_width=32, blocks=2, classes=0),
        UNetConfig(size=4, channels=4, width=16, low_width=32, classes=1),
    ],
)
def test_the_output_has_the_shape_of_the_input(config):
    net = UNet(config).eval()
    x = torch.zeros(2, config.channels, config.size, config.size)
    assert net(x, torch.tensor([1.0, 1000.0])).shape == x.shape
    again = UNetConfig(**json.loads(json.dumps(config.to_json())))
    assert again == config
    assert {k: v.shape for k, v in UNet(again).state_dict().items()} == {
        k: v.shape for k, v in net.state_dict().items()
    }


def test_given_binds_a_label():
    net = build().eval()
    x, t, _ = batch()
    assert torch.equal(net.given(2)(x, t), net(x, t, torch.full((4,), 2)))
    mixed = torch.tensor([0, 2, 1, 3])
    assert torch.equal(net.given(mixed)(x, t), net(x, t, mixed))
    no_label = torch.full((4,), 3)  # label number `classes`
    assert torch.equal(net.given(None)(x, t), net(x, t, no_label))
    assert torch.equal(net(x, t), net(x, t, no_label))
    assert not torch.allclose(net(x, t), net(x, t, torch.zeros(4, dtype=torch.long)))


def test_it_learns_eight_images_by_heart():
    """Times are the only thing that tells them apart, and labels decide the sign: both must get through."""
    torch.manual_seed(0)
    config = UNetConfig(size=8, width=32, low_width=64, classes=2, t_max=1.0)
    net, g = UNet(config), seeded(4)
    target = torch.rand(8, 1, 8, 8, generator=g) * 2 - 1
    x, t = torch.randn(1, 1, 8, 8, generator=g).expand(8, 1, 8, 8), torch.linspace(0.05, 0.95, 8)
    labels = torch.arange(8) % 2
    target = target * (1 - 2 * labels.float())[:, None, None, None]
    optimiser = torch.optim.Adam(net.parameters(), lr=3e-3)
    for _ in range(150):
        optimiser.zero_grad()
        loss = (net(x, t, labels) - target).square().mean()
        loss.backward()
        optimiser.step()
    assert target.square().mean() > 0.25
    assert loss < 0.003, loss


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: UNetConfig(size=30), ["size must be a positive multiple of 4", "got 30"]),
        (lambda: UNetConfig(size=0), ["size must be a positive", "got 0"]),
        (lambda: UNetConfig(width=40), ["width must be a positive multiple of 16", "got 40"]),
        (lambda: UNetConfig(low_width=48), ["low_width must be a positive multiple of 32", "got 48"]),
        (lambda: UNetConfig(blocks=0), ["blocks must be at least 1", "got 0"]),
        (
            lambda: build()(torch.zeros(2, 1, 8, 8), torch.zeros(2)),
            ["x_t must have shape (B, 2, 8, 8)", "(2, 1, 8, 8)"],
        ),
        (
            lambda: build()(torch.zeros(2, 8, 8), torch.zeros(2)),
            ["x_t must have shape (B, 2, 8, 8)", "(2, 8, 8)"],
        ),
        (
            lambda: build(UNetConfig(size=8, width=16, low_width=32, classes=0)).given(1)(
                torch.zeros(2, 1, 8, 8).double(), torch.zeros(2).double()
            ),
            ["built without labels"],
        ),
        (
            lambda: build()(batch()[0], torch.tensor(0.5)),
            ["t must have shape (B,)", "one time for each example", "got ()"],
        ),
        (lambda: FourierTime(7, 1.0), ["width must be even", "got 7"]),
        (lambda: FourierTime(2, 1.0), ["at least 4", "got 2"]),
    ],
)
def test_bad_input_gets_a_sentence(call, words):
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the words are compared below
        call()
    for word in words:
        assert word in str(caught.value)

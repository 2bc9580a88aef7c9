"""The diffusion transformer: patches, positions, zero gates, a block written out, and that it can learn."""

from __future__ import annotations

import json

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from diffedu._tensor import seeded
from diffedu.nn import DiT, DiTBlock, DiTConfig, patchify, positions, unpatchify

SMALL = DiTConfig(size=8, channels=2, patch=2, width=16, depth=2, heads=2, classes=3)


def build(config=SMALL, *, awake=True):
    """In float64; awake: its zero layers drawn at random, so that every part takes part."""
    torch.manual_seed(0)
    net = DiT(config).double()
    if awake:
        for p in net.parameters():
            if not p.any():
                nn.init.normal_(p, std=0.1)
    return net


def batch(n=4, config=SMALL):
    g = seeded(1)
    x = torch.randn(n, config.channels, config.size, config.size, generator=g, dtype=torch.float64)
    return x, torch.rand(n, generator=g, dtype=torch.float64), torch.arange(n) % 3


def test_a_token_is_a_patch_read_row_by_row():
    images = torch.randn(3, 2, 8, 8, generator=seeded(0))
    tokens = patchify(images, 2)
    assert tokens.shape == (3, 16, 8)
    for row in range(4):
        for column in range(4):
            square = images[:, :, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2]
            assert torch.equal(tokens[:, 4 * row + column], square.flatten(1))
    assert torch.equal(unpatchify(tokens, 2, 8), images)


def test_positions_are_waves_of_row_and_column():
    """Written out for one token; and every place has its own vector."""
    table = positions(4, 8)
    row, column = 2, 3
    waves = [f(place * w) for place in (row, column) for f in (torch.sin, torch.cos) for w in torch.tensor([1.0, 0.01])]
    torch.testing.assert_close(table[4 * row + column], torch.stack(waves))
    assert torch.cdist(table, table)[~torch.eye(16, dtype=torch.bool)].min() > 0.01


def test_a_new_block_is_the_identity_and_a_new_network_zero():
    h, condition = torch.randn(2, 5, 16, generator=seeded(0)), torch.randn(2, 16, generator=seeded(1))
    assert torch.equal(DiTBlock(16, 2)(h, condition), h)
    x, t, label = batch()
    assert not build(awake=False)(x, t, label).any()


def test_the_gates_are_zero_until_somebody_trains_them():
    for block in build(awake=False).blocks:
        assert not block.modulate.weight.any()
        assert not block.modulate.bias.any()
    assert sum(p.numel() for b in build().blocks for p in (b.modulate.weight, b.modulate.bias)) == 2 * (96 * 16 + 96)


def test_a_block_written_out():
    torch.manual_seed(0)
    block = DiTBlock(16, 2).double()
    nn.init.normal_(block.modulate.weight)
    nn.init.normal_(block.modulate.bias)
    h = torch.randn(3, 5, 16, generator=seeded(1), dtype=torch.float64)
    condition = torch.randn(3, 16, generator=seeded(2), dtype=torch.float64)
    shift1, scale1, gate1, shift2, scale2, gate2 = (condition @ block.modulate.weight.T + block.modulate.bias).split(
        16, 1
    )

    def norm(h):
        return (h - h.mean(-1, keepdim=True)) / (h.var(-1, correction=0, keepdim=True) + 1e-5).sqrt()

    read = norm(h) * (1 + scale1[:, None]) + shift1[:, None]
    q, k, v = (read @ block.qkv.weight[16 * i : 16 * i + 16].T + block.qkv.bias[16 * i : 16 * i + 16] for i in range(3))
    heads = [torch.softmax(q[..., a] @ k[..., a].mT / 8**0.5, -1) @ v[..., a] for a in (slice(0, 8), slice(8, 16))]
    h1 = h + gate1[:, None] * (torch.cat(heads, -1) @ block.out.weight.T + block.out.bias)
    read = norm(h1) * (1 + scale2[:, None]) + shift2[:, None]
    first, _, last = block.mlp
    y = F.gelu(read @ first.weight.T + first.bias, approximate="tanh") @ last.weight.T + last.bias
    torch.testing.assert_close(block(h, condition), h1 + gate2[:, None] * y)


def test_gradients_reach_every_parameter_and_every_pixel():
    net, (x, t, label) = build(), batch()
    x.requires_grad_()
    net(x, t, label).square().sum().backward()
    assert all(p.grad is not None and p.grad.any() for p in net.parameters())
    assert (x.grad != 0).all()


def test_time_and_label_matter_and_a_batch_equals_its_singles():
    net, (x, t, label) = build(), batch()
    whole = net(x, t, label)
    for i in range(len(x)):
        torch.testing.assert_close(net(x[i : i + 1], t[i : i + 1], label[i : i + 1])[0], whole[i])
    assert not torch.allclose(net(x, 0.5 * t, label), whole)
    assert not torch.allclose(net(x, t, (label + 1) % 3), whole)
    assert torch.equal(net(x, t), net(x, t, torch.full((4,), 3)))
    assert torch.equal(net.given(2)(x, t), net(x, t, torch.full((4,), 2)))


def test_several_labels_are_averaged():
    net, (x, t, _) = build(), batch()
    bag = torch.tensor([[0, 1], [1, 2], [2, 2], [3, 3]])
    whole = net(x, t, bag)
    torch.testing.assert_close(net(x, t, bag.flip(1)), whole)
    torch.testing.assert_close(whole[2:], net(x, t, bag[:, 0])[2:])  # a pair of equals is one
    with torch.no_grad():
        net.label.weight[0] = net.label.weight[:2].mean(0)
    torch.testing.assert_close(net(x, t, torch.zeros(4, dtype=torch.long))[0], whole[0])


def test_it_sees_where_a_patch_stands():
    """Without positions, moving the patches about would only move the answer about."""
    net, (x, t, label) = build(), batch()
    moved = x.roll(2, dims=-1)
    assert not torch.allclose(net(moved, t, label), net(x, t, label).roll(2, dims=-1), atol=1e-3)


def test_eight_pictures_are_learned_by_heart():
    torch.manual_seed(0)
    net = DiT(DiTConfig(size=8, channels=1, patch=2, width=32, depth=2, heads=2, classes=0))
    x = torch.randn(8, 1, 8, 8, generator=seeded(3))
    goal, t = torch.randn(8, 1, 8, 8, generator=seeded(4)), torch.linspace(0, 1, 8)
    optimiser = torch.optim.Adam(net.parameters(), lr=3e-3)
    for _ in range(400):
        loss = F.mse_loss(net(x, t), goal)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert loss < 0.01


def test_a_config_survives_json():
    assert DiTConfig(**json.loads(json.dumps(SMALL.to_json()))) == SMALL


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: DiTConfig(patch=3), "patch must divide size, got patch 3 and size 28"),
        (lambda: DiTConfig(width=100), "width must be a multiple of 4 heads = 16, got 100"),
        (lambda: DiTConfig(depth=0), "depth must be at least 1, got 0"),
        (lambda: build()(torch.zeros(2, 1, 8, 8), torch.zeros(2)), r"x_t must have shape \(B, 2, 8, 8\)"),
        (lambda: build().given(4), "labels must lie between 0 and 3"),
        (
            lambda: DiT(DiTConfig(classes=0, depth=1))(
                torch.zeros(1, 1, 28, 28), torch.zeros(1), torch.zeros(1).long()
            ),
            "built without labels",
        ),
    ],
)
def test_what_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()

"""The network for points: identity at the start, gradients everywhere, labels, and that it can learn."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from diffedu._tensor import seeded
from diffedu.nn import MLP


def build(*, awake=True, **config):
    torch.manual_seed(0)
    net = MLP(**{"dim": 3, "t_max": 1.0, "width": 16, "depth": 2, **config}).double()
    if awake:
        for p in net.parameters():
            if not p.any():
                nn.init.normal_(p, std=0.3)
    return net


def batch(n=5, dim=3):
    g = seeded(1)
    return torch.randn(n, dim, generator=g, dtype=torch.float64), torch.rand(n, generator=g, dtype=torch.float64)


def test_new_layers_are_the_identity_and_a_new_network_predicts_zero():
    net = build(awake=False)
    h = torch.randn(4, 16, generator=seeded(0), dtype=torch.float64)
    assert len(net.layers) == 2
    for layer in net.layers:
        assert (layer(h) == 0).all()  # what is added to h
    assert (net(*batch()) == 0).all()


@pytest.mark.parametrize("classes", [0, 4])
def test_gradients_reach_every_parameter(classes):
    net = build(classes=classes)
    net(*batch(), *([torch.arange(5) % 4] if classes else [])).square().sum().backward()
    assert [name for name, p in net.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_gradients_reach_every_parameter_after_some_steps_of_training():
    net = build(awake=False, classes=2)
    optimiser = torch.optim.SGD(net.parameters(), lr=0.1)
    x, t = batch()
    for _ in range(4):
        optimiser.zero_grad()
        (net(x, t, torch.tensor([0, 1, 0, 1, 2])) - x).square().mean().backward()
        optimiser.step()
    assert [name for name, p in net.named_parameters() if not p.grad.any()] == []


@pytest.mark.parametrize("n", [3, 5])  # 3 is the dimension
def test_a_batch_equals_its_singles(n):
    net, (x, t) = build(classes=4).eval(), batch(n)
    labels = torch.arange(n) % 5
    whole = net(x, t, labels)
    for i in range(n):
        torch.testing.assert_close(
            whole[i : i + 1], net(x[i : i + 1], t[i : i + 1], labels[i : i + 1]), rtol=1e-10, atol=1e-12
        )


def test_time_and_label_matter():
    net, (x, t) = build(classes=4), batch()
    assert (net(x, t) - net(x, 1 - t)).abs().max() > 1e-3
    assert (net.given(0)(x, t) - net.given(1)(x, t)).abs().max() > 1e-3


def test_given_binds_a_label():
    net, (x, t) = build(classes=4), batch()
    assert torch.equal(net.given(2)(x, t), net(x, t, torch.full((5,), 2)))
    assert torch.equal(net.given(None)(x, t), net(x, t, torch.full((5,), 4)))
    assert torch.equal(net(x, t), net.given(None)(x, t))
    mixed = torch.tensor([3, 1, 4, 0, 2])
    assert torch.equal(net.given(mixed)(x, t), net(x, t, mixed))


def test_it_learns_eight_points_by_heart():
    """One x for all: the time alone must tell which of the eight points is asked for."""
    torch.manual_seed(0)
    net, target = MLP(dim=2, t_max=10.0, width=64), torch.randn(8, 2, generator=seeded(2))
    x, t = torch.zeros(8, 2), torch.linspace(0.5, 9.5, 8)
    optimiser = torch.optim.Adam(net.parameters(), lr=3e-3)
    for _ in range(250):
        optimiser.zero_grad()
        loss = (net(x, t) - target).square().mean()
        loss.backward()
        optimiser.step()
    assert loss < 1e-4, loss


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: build()(torch.zeros(4, 2), torch.zeros(4)), ["x_t must have shape (B, 3)", "(4, 2)"]),
        (lambda: build()(torch.zeros(3), torch.zeros(1)), ["x_t must have shape (B, 3)", "(3,)"]),
        (lambda: build()(batch()[0], torch.zeros(5, 1)), ["t must have shape (B,)", "got (5, 1)"]),
        (
            lambda: build()(*batch(), torch.zeros(5, dtype=torch.long)),
            ["built without labels", "classes = 0"],
        ),
        (lambda: build().given(1)(*batch()), ["built without labels", "classes = 0"]),
        (lambda: build(classes=4).given(5), ["between 0 and 4", "got 5 to 5"]),
        (lambda: build(classes=4).given(torch.tensor([2, -1, 3])), ["between 0 and 4", "got -1 to 3"]),
    ],
)
def test_bad_input_gets_a_sentence(call, words):
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the words are compared below
        call()
    for word in words:
        assert word in str(caught.value)


def test_a_classifier_s_outputs_need_not_be_as_many_as_coordinates():
    net = MLP(2, t_max=1.0, width=16, out=5)
    net.leave.reset_parameters()
    x = torch.randn(7, 2, generator=seeded(0))
    value = net(x, torch.full((7,), 0.3))
    assert value.shape == (7, 5)
    singles = torch.cat([net(x[i : i + 1], torch.tensor([0.3])) for i in range(7)])
    torch.testing.assert_close(value, singles)

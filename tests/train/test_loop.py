"""The training loop, its data order, its learning rate and its average."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import nn

from diffedu._tensor import seeded
from diffedu.train import EMA, TrainConfig, TrainState, batch_indices, train


def net():
    torch.manual_seed(0)
    return nn.Linear(2, 1)


def fit(net, batch, generator):
    x, y = batch
    return (net(x) - y).square().flatten(1).mean(1)


def data(n=20):
    x = torch.randn(n, 2, generator=seeded(1))
    return x, x @ torch.tensor([[2.0], [-1.0]]) + 0.5


# --- the loop


def test_it_learns_and_reports_every_step():
    state = TrainState(net(), TrainConfig(steps=300, batch=10, lr=0.05, warmup=5))
    reports = list(train(state, fit, data()))
    assert [r.step for r in reports] == list(range(1, 301))
    assert [r.learning_rate for r in reports] == [state.config.learning_rate(k) for k in range(300)]
    assert reports[-1].loss < 1e-4 < 0.5 < reports[0].loss
    torch.testing.assert_close(state.net.weight.detach(), torch.tensor([[2.0, -1.0]]), rtol=0, atol=0.01)
    assert state.step == 300


def test_the_first_steps_by_hand():
    """AdamW written with torch's own optimiser, one batch at a time, and the average beside it."""
    config = TrainConfig(steps=10, batch=6, lr=0.1, warmup=3, weight_decay=0.3, clip=0.5, ema=0.9, seed=4)
    state = TrainState(net(), config)
    hand, average = net(), copy.deepcopy(net())
    optimiser = torch.optim.AdamW(hand.parameters(), lr=0.1, weight_decay=0.3)
    x, y = data()
    for k, report in enumerate(train(state, fit, (x, y), until=5)):
        chosen = batch_indices(20, 6, k, 4)
        optimiser.param_groups[0]["lr"] = 0.1 * (k + 1) / 3 if k < 3 else 0.05 * (1 + math.cos(math.pi * (k - 3) / 7))
        optimiser.zero_grad()
        loss = (hand(x[chosen]) - y[chosen]).square().mean()
        loss.backward()
        length = torch.cat([p.grad.flatten() for p in hand.parameters()]).norm()
        for p in hand.parameters():
            p.grad *= min(1, 0.5 / length)
        optimiser.step()
        with torch.no_grad():
            d = min(0.9, (2 + k) / (11 + k))
            for a, p in zip(average.parameters(), hand.parameters(), strict=True):
                a.copy_(d * a + (1 - d) * p)
        assert report.loss == pytest.approx(loss.item(), rel=1e-5)
        for mine, theirs in ((state.net, hand), (state.ema.net, average)):
            for a, b in zip(mine.parameters(), theirs.parameters(), strict=True):
                torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


def test_the_reader_may_stop_look_and_go_on():
    whole = TrainState(net(), TrainConfig(steps=12, batch=7))
    list(train(whole, fit, data()))
    parts = TrainState(net(), TrainConfig(steps=12, batch=7))
    assert [r.step for r in train(parts, fit, data(), until=5)] == [1, 2, 3, 4, 5]
    assert list(train(parts, fit, data(), until=0)) == []
    assert list(train(parts, fit, data(), until=5)) == []
    for report in train(parts, fit, data()):
        if report.step == 8:
            break
    assert parts.step == 8
    list(train(parts, fit, data(), until=100))
    assert parts.step == 12
    assert torch.equal(whole.net.weight, parts.net.weight)
    assert torch.equal(whole.ema.net.weight, parts.ema.net.weight)


def test_looking_at_the_average_in_evaluation_mode_changes_nothing():
    torch.manual_seed(0)
    state = TrainState(
        nn.Sequential(nn.Linear(2, 4), nn.BatchNorm1d(4), nn.Linear(4, 1)), TrainConfig(steps=4, batch=5)
    )
    for _ in train(state, fit, data()):
        assert state.net.training
        state.net.eval()
        assert not state.ema.net.training
        state.ema.net(data()[0])


@pytest.mark.parametrize("clip", [1e-3, 1e3])
def test_large_gradients_are_scaled_down(clip):
    state = TrainState(net(), TrainConfig(steps=2, batch=20, clip=clip))
    for _ in train(state, fit, data()):
        length = torch.cat([p.grad.flatten() for p in state.net.parameters()]).norm().item()
        assert length == pytest.approx(1e-3, rel=1e-2) if clip == 1e-3 else length > 0.5


def test_a_loss_that_is_not_finite_stops_before_it_harms():
    state = TrainState(net(), TrainConfig(steps=9, batch=4, lr=0.25))
    *_, _ = train(state, fit, data(), until=3)
    before = copy.deepcopy((state.net.state_dict(), state.ema.net.state_dict()))
    x, y = data()
    with pytest.raises(
        FloatingPointError, match=r"the loss is nan at step 4; a smaller lr \(now 0.25\) or clip \(now 1\)"
    ):
        list(train(state, fit, (x * math.nan, y)))
    for saved, now in zip(before, (state.net.state_dict(), state.ema.net.state_dict()), strict=True):
        assert all(torch.equal(saved[k], now[k]) for k in saved)
    list(train(state, fit, data()))  # and can go on
    assert state.step == 9


# --- the order of the data


@pytest.mark.parametrize(("n", "batch"), [(10, 5), (10, 3), (7, 7), (5, 12), (1, 4)])
def test_every_example_once_an_epoch(n, batch):
    epochs = 6
    steps = epochs * n // math.gcd(n, batch)
    seen = torch.cat([batch_indices(n, batch, step, seed=3) for step in range(steps)])
    assert len(seen) == steps * batch
    for epoch in seen.split(n):
        assert epoch.sort().values.tolist() == list(range(n))
    if n > 4:
        assert len({tuple(e.tolist()) for e in seen.split(n)[:epochs]}) == epochs  # another order each time


def test_the_order_depends_on_the_seed_and_nothing_hidden():
    torch.manual_seed(1)
    a = batch_indices(50, 20, 4, seed=0)
    torch.manual_seed(2)
    assert torch.equal(a, batch_indices(50, 20, 4, seed=0))
    assert not torch.equal(a, batch_indices(50, 20, 4, seed=1))


# --- the learning rate


def test_learning_rate_in_closed_form():
    config = TrainConfig(steps=210, lr=2.0, warmup=10)
    rates = [config.learning_rate(k) for k in range(211)]
    assert rates[:10] == pytest.approx([0.2 * (k + 1) for k in range(10)])
    assert rates[10:] == pytest.approx([1 + math.cos(math.pi * k / 200) for k in range(201)], abs=1e-12)
    assert max(rates) == 2.0
    assert rates[110] == pytest.approx(1.0)
    assert config.learning_rate(5000) == 0
    assert TrainConfig(steps=10, lr=3.0, warmup=0).learning_rate(0) == 3.0


# --- the average


def test_ema_in_closed_form():
    model = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(model.weight)
    ema, wanted = EMA(model, decay=0.5), 0.0
    for n, value in enumerate([4.0, -2.0, 7.0, 1.0, 1.0, 3.0, 8.0, 5.0, 2.0, 6.0], start=1):
        nn.init.constant_(model.weight, value)
        ema.update(model)
        d = min(0.5, (1 + n) / (10 + n))
        wanted = d * wanted + (1 - d) * value
        assert ema.net.weight.item() == pytest.approx(wanted, rel=1e-5)
    assert (1 + 10) / (10 + 10) > 0.5  # both branches of the minimum were taken
    assert ema.updates == 10


def test_ema_copies_buffers_and_shares_nothing():
    model = nn.BatchNorm1d(2)
    ema = EMA(model, decay=0.9)
    model(torch.randn(8, 2, generator=seeded(0)) + 3)
    ema.update(model)
    assert torch.equal(ema.net.running_mean, model.running_mean)
    assert ema.net.num_batches_tracked == 1
    assert not any(p.requires_grad for p in ema.net.parameters())
    assert all(p.requires_grad for p in model.parameters())
    shared = {p.data_ptr() for p in model.parameters()} & {p.data_ptr() for p in ema.net.parameters()}
    assert shared == set()


def test_ema_leaves_constants_alone():
    """A buffer that is not saved, such as a table of the training data, is not copied in every step."""
    model = nn.Linear(1, 1)
    model.register_buffer("table", torch.zeros(3), persistent=False)
    ema = EMA(model, decay=0.9)
    model.table += 1
    ema.update(model)
    assert torch.equal(ema.net.table, torch.zeros(3))


# --- sentences


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: TrainConfig(steps=0), ["steps must be positive", "got 0"]),
        (lambda: TrainConfig(steps=1, batch=-2), ["batch must be positive", "got -2"]),
        (lambda: TrainConfig(steps=1, lr=0.0), ["lr must be positive", "got 0.0"]),
        (lambda: TrainConfig(steps=1, lr=math.nan), ["lr must be positive", "nan"]),
        (lambda: TrainConfig(steps=1, clip=-1.0), ["clip must be positive", "got -1.0"]),
        (lambda: TrainConfig(steps=1, warmup=-1), ["warmup must not be negative", "got -1"]),
        (lambda: EMA(net(), decay=1.0), ["decay must lie in [0, 1)", "got 1.0"]),
        (
            lambda: train(TrainState(net(), TrainConfig(steps=1)), fit, ()),
            ["tensors of one length", "got lengths []"],
        ),
        (
            lambda: train(TrainState(net(), TrainConfig(steps=1)), fit, (torch.zeros(3, 2), torch.zeros(2, 1))),
            ["tensors of one length", "got lengths [3, 2]"],
        ),
        (
            lambda: train(TrainState(net(), TrainConfig(steps=1)), fit, (torch.zeros(0, 2),)),
            ["at least 1", "[0]"],
        ),
    ],
)
def test_bad_input_gets_a_sentence(call, words):
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the words are compared below
        call()
    for word in words:
        assert word in str(caught.value)

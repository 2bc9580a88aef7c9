r"""The training loop: a generator that does one optimiser step and hands control back.

    for progress in train(state, loss, data, steps=1000): ...

The reader may stop, plot, sample or save between any two steps. Everything that changes during training is held by one
`TrainState`; saving and loading it continues a killed run to bitwise the same weights.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from diffedu._tensor import seeded
from diffedu.train.ema import EMA

LossFn = Callable[[nn.Module, tuple[Tensor, ...], torch.Generator], Tensor]


@dataclass(frozen=True)
class TrainConfig:
    """How to train; plain numbers, so that it can stand in a JSON file.

    Args:
        steps: optimiser steps in the whole run; the learning rate falls to 0 over them.
        batch: examples per step.
        lr: highest learning rate (AdamW).
        warmup: steps over which the learning rate grows from 0.
        weight_decay: of AdamW.
        clip: largest norm of the gradient; larger ones are scaled down.
        ema: decay of the weights' running average.
        seed: of the order of the data and of all noise; dropout alone draws from torch's global generator.
    """

    steps: int
    batch: int = 64
    lr: float = 1e-3
    warmup: int = 100
    weight_decay: float = 0.0
    clip: float = 1.0
    ema: float = 0.999
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("steps", "batch", "lr", "clip"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")
        if not self.warmup >= 0:
            raise ValueError(f"warmup must not be negative, got {self.warmup}")

    def learning_rate(self, step: int) -> float:
        """Linear warm-up, then half a cosine down to 0 at the last step.

        Reference: Loshchilov & Hutter 2017, eq. 5, without restarts.

        Example:
            >>> config = TrainConfig(steps=100, lr=1.0, warmup=10)
            >>> [round(config.learning_rate(k), 2) for k in (0, 9, 10, 55, 100)]
            [0.1, 1.0, 1.0, 0.5, 0.0]
        """
        if step < self.warmup:
            return self.lr * (step + 1) / self.warmup
        done = (step - self.warmup) / max(1, self.steps - self.warmup)
        return self.lr * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))


class Progress(NamedTuple):
    """What one step reports: its number (from 1), its mean loss and the learning rate it used."""

    step: int
    loss: float
    learning_rate: float


class TrainState:
    """Everything that changes during training: weights, their average, optimiser, random numbers, step.

    Args:
        net: the network, already on its device.
        config: how to train.

    Taught in: chapter 14.
    """

    def __init__(self, net: nn.Module, config: TrainConfig) -> None:
        self.net = net
        self.config = config
        self.ema = EMA(net, config.ema)
        self.device = next(net.parameters()).device
        self.optimiser = torch.optim.AdamW(net.parameters(), lr=config.lr, weight_decay=config.weight_decay)
        self.generator = seeded(config.seed, self.device)
        self.step = 0


def batch_indices(n: int, batch: int, step: int, seed: int) -> Tensor:
    """Which examples a step sees: every example once an epoch, in an order that depends on nothing but these numbers.

    A short last batch of an epoch is filled up from the next epoch.

    Example:
        >>> torch.cat([batch_indices(6, 3, step, seed=0) for step in (0, 1)]).sort().values
        tensor([0, 1, 2, 3, 4, 5])
    """
    first = step * batch
    parts, position = [], first
    while position < first + batch:
        epoch, offset = divmod(position, n)
        order = torch.randperm(n, generator=seeded(1_000_003 * seed + epoch), device="cpu")
        take = min(n - offset, first + batch - position)
        parts.append(order[offset : offset + take])
        position += take
    return torch.cat(parts)


def train(state: TrainState, loss: LossFn, data: tuple[Tensor, ...], *, until: int | None = None) -> Iterator[Progress]:
    """Train, one optimiser step per item.

    Args:
        state: weights, optimiser and so on; changed in place. Its config says how many steps there are.
        loss: called as loss(net, batch, generator); returns one value per example.
        data: tensors of equal length on the state's device: images, labels, whatever the loss takes.
        until: stop after this step (default: the config's last).

    Yields:
        A `Progress` after every step.

    Raises:
        ValueError: data is empty or its parts differ in length.
        FloatingPointError: the loss is not finite.

    Taught in: chapters 7 and 14.

    Example:
        >>> net = nn.Linear(1, 1)
        >>> state = TrainState(net, TrainConfig(steps=200, batch=16, lr=0.1))
        >>> x = torch.linspace(-1, 1, 64)[:, None]
        >>> fit = lambda net, batch, generator: (net(batch[0]) - 3 * batch[0]).square()
        >>> *_, last = train(state, fit, (x,))
        >>> last.step, round(last.loss, 3)
        (200, 0.0)
    """
    n = len(data[0]) if data else 0
    if n == 0 or any(len(part) != n for part in data):
        raise ValueError(f"data must be tensors of one length, at least 1; got lengths {[len(part) for part in data]}")
    return _steps(state, loss, data, min(state.config.steps, state.config.steps if until is None else until))


def _steps(state: TrainState, loss: LossFn, data: tuple[Tensor, ...], last: int) -> Iterator[Progress]:
    config, net = state.config, state.net
    on_cuda = state.device.type == "cuda"
    while state.step < last:
        net.train()
        chosen = batch_indices(len(data[0]), config.batch, state.step, config.seed).to(state.device)
        batch = tuple(part[chosen] for part in data)
        rate = config.learning_rate(state.step)
        for group in state.optimiser.param_groups:
            group["lr"] = rate
        with torch.autocast(state.device.type, dtype=torch.bfloat16, enabled=on_cuda):
            value = loss(net, batch, state.generator).float().mean()
        number = value.item()
        if not math.isfinite(number):  # before the step, so that the weights stay as they were
            raise FloatingPointError(
                f"the loss is {number} at step {state.step + 1}; "
                f"a smaller lr (now {config.lr:g}) or clip (now {config.clip:g}) may help"
            )
        state.optimiser.zero_grad(set_to_none=True)
        value.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), config.clip)
        state.optimiser.step()
        state.ema.update(net)
        state.step += 1
        yield Progress(state.step, number, rate)

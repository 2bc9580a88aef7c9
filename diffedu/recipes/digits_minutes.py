r"""digits-minutes: what three and ten minutes of training buy. No weights are kept, only the figures.

Where a long run is cut off after three minutes its learning rate is still high. Here each budget has a run of its own,
whose learning rate ends at 0. Batches are half as large as elsewhere, so that there are more steps. The network
predicts x0 on the cosine path. Three minutes are spent twice, without and with a first guess beside the noisy digit
(`GaussianGuess`). Ten are spent twice, with more weight on weak noise, with that guess and with another
(`NeighbourGuess`) and expected targets. Each network is drawn from in three ways, by at most 20 evaluations a digit:

    DDIM                  20 steps, deterministic
    ancestral             20 steps, with fresh noise in each
    ancestral, guided     14 steps, guided where the class is decided, 0.4 <= t <= 0.8: 19 evaluations

Taught in: chapter 15.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import torch
from torch import Tensor
from tqdm.auto import tqdm

from diffedu.core import (
    X0,
    Clipped,
    Cosine,
    Denoiser,
    DenoisingLoss,
    GaussianGuess,
    GaussianPath,
    NeighbourGuess,
    NetworkDenoiser,
    PathCoefficients,
    uniform_times,
    with_zero,
)
from diffedu.data.digits import digits
from diffedu.guidance import Between, drop_labels, guided
from diffedu.nn import UNet, UNetConfig, WithGuess
from diffedu.recipes import digits_ddpm, digits_report
from diffedu.recipes._files import shipped_log, write_log
from diffedu.recipes._run import draw_in_chunks
from diffedu.recipes.digits_ddpm import NO_LABEL, PAPER, decode, encode
from diffedu.sampling import DDIM, Ancestral, Solver
from diffedu.train import TrainConfig, TrainState, train

NAME = "digits-minutes"
SUMMARY = "a table: the digits that three and ten minutes of training buy"


class Budget(NamedTuple):
    """What the network learns, how, and which first guess it is shown, if any. Neighbours say the targets, too."""

    loss: DenoisingLoss
    config: TrainConfig
    guess: type[GaussianGuess | NeighbourGuess] | None = None

    def build(self, net: UNetConfig, device: torch.device | str) -> UNet | WithGuess:
        """The untrained network, with the guess fitted to the training digits where one is shown."""
        if self.guess is None:
            return digits_ddpm.build(device, config=net)
        images, labels = digits("train", device=device)
        fitted = self.guess(self.loss.path, encode(images), labels, classes=net.classes)
        return WithGuess(digits_ddpm.build(device, config=replace(net, extra_channels=net.channels)), fitted)


def weight(c: PathCoefficients) -> Tensor:
    """The signal-to-noise ratio, held between 1 and 5: more for strokes under weak noise; strong noise keeps a share.

    Reference: Salimans & Ho 2022, section 4 (at least 1); Hang et al. 2023, section 3.4 (at most 5).
    """
    return c.snr.clamp(1.0, 5.0)


BUDGETS = {
    "x0": Budget(
        DenoisingLoss(Cosine(), X0), TrainConfig(steps=1_500, batch=32, lr=1e-3, warmup=100, ema=0.996, seed=0)
    ),
    "x0, guess": Budget(
        DenoisingLoss(Cosine(), X0),
        TrainConfig(steps=1_350, batch=32, lr=1e-3, warmup=100, ema=0.996, seed=0),
        guess=GaussianGuess,
    ),
    "x0, guess, weight": Budget(
        DenoisingLoss(Cosine(), X0, weight=weight),
        TrainConfig(steps=4_500, batch=32, lr=1e-3, warmup=100, ema=0.999, seed=0),
        guess=GaussianGuess,
    ),
    "x0, neighbours, weight": Budget(
        DenoisingLoss(Cosine(), X0, weight=weight),
        TrainConfig(steps=3_100, batch=32, lr=1e-3, warmup=100, ema=0.999, seed=0),
        guess=NeighbourGuess,
    ),
}
"""On two idle cores about three minutes, three, and nine to ten for each of the others."""


class Sampling(NamedTuple):
    """A solver, its steps, and the guidance between two times."""

    solver: Solver[Any]
    steps: int
    guidance_scale: float = 1.0
    low: float = 0.4
    high: float = 0.8

    def times(self, path: GaussianPath, device: torch.device | str) -> Tensor:
        """Equal steps of time down to 0.02, then 0; shape (steps + 1,)."""
        return with_zero(uniform_times(path, self.steps - 1, end=0.02, device=device))

    def denoiser(self, net: UNet | WithGuess, learned: DenoisingLoss, label: Tensor) -> Denoiser:
        """The network as a denoiser of encoded digits, its answers cut to their range."""
        network = NetworkDenoiser(net, learned.path, learned.prediction)
        plain, pushed = guided(network, label), guided(network, label, self.guidance_scale)
        return Clipped(Between(pushed, plain, self.low, self.high), low=PAPER)

    def evaluations(self) -> int:
        """Of the network, a digit: one each step, one more where there is guidance."""
        asked = self.times(Cosine(), "cpu")[:-1]  # every path here has the times from 0 to 1
        twice = ((self.low <= asked) & (asked <= self.high)).sum().item() if self.guidance_scale != 1 else 0
        return self.steps + int(twice)


SAMPLINGS = {
    "DDIM": Sampling(DDIM(), 20),
    "ancestral": Sampling(Ancestral(), 20),
    "ancestral, guided": Sampling(Ancestral(), 14, guidance_scale=1.25),
}


@torch.no_grad()
def draw(
    net: UNet | WithGuess,
    labels: Tensor,
    *,
    learned: DenoisingLoss,
    sampling: Sampling,
    seed: int = 1,
    chunk: int = 250,
) -> Tensor:
    """One digit for each label, shape (N, 1, 28, 28), in [-1, 1]."""
    shape, times = (1, net.config.size, net.config.size), sampling.times(learned.path, labels.device)
    denoiser = partial(sampling.denoiser, net, learned)
    return decode(draw_in_chunks(denoiser, sampling.solver, times, labels, shape, seed=seed, chunk=chunk))


def _rows(
    name: str, budget: Budget, net: UNetConfig, device: torch.device | str, count: int, clock: Callable[[], float]
) -> Iterator[dict[str, Any]]:
    """One budget: train, then a row for each way of sampling."""
    learned, config = budget.loss, budget.config
    started = clock()
    state = TrainState(budget.build(net, device), config)
    images, labels = digits("train", device=device)
    data = (images, labels, torch.arange(len(images), device=device))

    def loss(network: Any, batch: tuple[Tensor, ...], generator: torch.Generator) -> Tensor:
        images, labels, own = batch
        told, expected = drop_labels(labels, 10, NO_LABEL, generator), None
        if isinstance(network, WithGuess) and isinstance(network.guess, NeighbourGuess):
            expected = partial(network.guess, label=told)
            network = WithGuess(network.net, network.guess.without(own))
        return learned(network.given(told), encode(images), generator, expected)

    for _ in tqdm(train(state, loss, data), total=config.steps, desc=name):
        pass
    minutes = (clock() - started) / 60
    averaged = state.ema.net
    assert isinstance(averaged, UNet | WithGuess)
    for way, sampling in SAMPLINGS.items():
        draws = partial(draw, averaged, learned=learned, sampling=sampling)
        figures = digits_report.figures(draws, torch.device(device), count=count, classes=10)
        facts = {"minutes": round(minutes, 1), "steps": config.steps, "objective": name, "sampling": way}
        yield {**facts, "evaluations": sampling.evaluations(), **figures}


def load() -> dict[str, Any]:
    """The shipped table: a dict with "rows", three for each budget."""
    return shipped_log(NAME)


def run(
    folder: Path,
    *,
    device: torch.device | str = "cpu",
    budgets: Mapping[str, Budget] = MappingProxyType(BUDGETS),
    net: UNetConfig = UNetConfig(t_max=1.0),  # noqa: B008  plain frozen numbers
    count: int = digits_report.COUNT,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, Any]:
    """Train for each budget from the same seed, measure, write `folder`/digits-minutes.json, return the table.

    Args:
        folder: gets the table.
        device: where to train.
        budgets: what is learned and how, by name.
        net: what.
        count: digits generated for each row.
        clock: seconds; time spent measuring is not counted.
    """
    log = {
        "recipe": NAME,
        "command": f"diffedu train {NAME}",
        "samples": count,
        "rows": [row for name, one in budgets.items() for row in _rows(name, one, net, device, count, clock)],
    }
    write_log(folder / f"{NAME}.json", log)
    return log

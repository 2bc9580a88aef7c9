r"""digits-objectives: one U-Net, one budget, six ways to train it. No weights are kept, only the figures.

All are judged by the same sampler on the same noise levels: DPM-Solver++(2M), 20 evaluations, the grid of the cosine
path read as sigma / alpha. Taught in: chapter 15.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from diffedu.core import (
    EDM,
    EPS,
    X0,
    Clipped,
    Cosine,
    Denoiser,
    DenoisingLoss,
    LogitNormal,
    LogNormalSigma,
    MinSNR,
    NetworkDenoiser,
    PathCoefficients,
    Preconditioned,
    Prediction,
    V,
    edm_prediction,
    time_at_half_log_snr,
    uniform_times,
    weight_between,
    with_zero,
)
from diffedu.data.digits import digits
from diffedu.guidance import drop_labels
from diffedu.nn import UNetConfig
from diffedu.recipes import digits_classifier, digits_ddpm, digits_report
from diffedu.recipes._files import shipped_log, write_log
from diffedu.recipes._run import draw_in_chunks
from diffedu.recipes.digits_ddpm import NO_LABEL, PAPER, decode, encode
from diffedu.sampling import DPMSolverPP2M
from diffedu.train import TrainConfig, TrainState, train

NAME = "digits-objectives"
SUMMARY = "a table: noise, picture, v, EDM, min-SNR and logit-normal training of one U-Net at equal budgets"
CONFIG = TrainConfig(steps=3_500, batch=64, lr=1e-3, warmup=300, ema=0.999, seed=0)
STEPS = 20
COSINE = Cosine()
DATA_STD = 1.05  # root mean square of encoded digits: the scalings need the second moment, not the spread
EDM_TIMES = LogNormalSigma(-1.2 + math.log(DATA_STD / 0.5))  # Karras et al. chose -1.2 for data of size 0.5


def min_snr_for_v(c: PathCoefficients) -> Tensor:
    """min(snr, 5) / (snr + 1): min-SNR's weight of the noise error, in units of the error of v.

    Reference: Hang et al. 2023, section 3.4.
    """
    return MinSNR(5.0)(c) * weight_between(V, EPS)(c)


class Objective(NamedTuple):
    """What is predicted, at which times, with which weight; and whether the network wears EDM's coat."""

    loss: DenoisingLoss
    coat: bool = False

    @property
    def prediction(self) -> Prediction:
        return self.loss.prediction


OBJECTIVES = {
    "eps": Objective(DenoisingLoss(COSINE, EPS)),
    "x0": Objective(DenoisingLoss(COSINE, X0)),
    "v": Objective(DenoisingLoss(COSINE, V)),
    "v, min-SNR 5": Objective(DenoisingLoss(COSINE, V, weight=min_snr_for_v)),
    "v, logit-normal": Objective(DenoisingLoss(COSINE, V, LogitNormal())),
    "edm": Objective(DenoisingLoss(EDM(), edm_prediction(DATA_STD), EDM_TIMES), coat=True),
}


def build(objective: Objective, device: torch.device | str, config: UNetConfig) -> nn.Module:
    """The untrained network; the same weights for every objective."""
    net = digits_ddpm.build(device, config=config)
    return Preconditioned(net, objective.loss.path, DATA_STD) if objective.coat else net


def denoiser(net: Any, objective: Objective, label: Tensor) -> Denoiser:
    """The trained network as a denoiser of encoded digits, its answers cut to their range."""
    return Clipped(NetworkDenoiser(net.given(label), objective.loss.path, objective.prediction), low=PAPER)


def times(objective: Objective, device: torch.device | str) -> Tensor:
    """The same noise levels for every path: those of the cosine path at equal steps of time, then 0."""
    grid = uniform_times(COSINE, STEPS - 1, end=0.02, device=device)
    path = objective.loss.path
    if path is COSINE:
        return with_zero(grid)
    return with_zero(time_at_half_log_snr(path, COSINE(grid).half_log_snr).clamp(path.t_min, path.t_max))


def evaluate(net: nn.Module, objective: Objective, *, count: int) -> dict[str, Any]:
    """Three figures of `count` digits, each beside its floor."""
    device = next(net.parameters()).device
    labels = torch.arange(count, device=device) % 10
    samples = decode(
        draw_in_chunks(
            partial(denoiser, net, objective),
            DPMSolverPP2M(),
            times(objective, device),
            labels,
            (1, 28, 28),
            seed=1,
            chunk=250,
        )
    )
    classifier = digits_classifier.load(device=device)
    return {
        "class accuracy": digits_report.class_accuracy(samples, labels, classifier).rounded(),
        "Frechet distance": digits_report.frechet(samples, classifier).rounded(),
        "two-sample test": digits_report.two_sample(samples).rounded(),
    }


def _train_one(
    name: str, config: TrainConfig, net: UNetConfig, device: torch.device | str, count: int, clock: Callable[[], float]
) -> Iterator[dict[str, Any]]:
    """Rows after half of the steps and after all."""
    objective = OBJECTIVES[name]

    def loss(network: Any, batch: tuple[Tensor, ...], generator: torch.Generator) -> Tensor:
        images, labels = batch
        return objective.loss(network.given(drop_labels(labels, 10, NO_LABEL, generator)), encode(images), generator)

    state = TrainState(build(objective, device, net), config)
    minutes, started = 0.0, clock()
    for progress in tqdm(train(state, loss, tuple(digits("train", device=device))), total=config.steps, desc=name):
        minutes += (clock() - started) / 60
        if progress.step in (config.steps // 2, config.steps):
            figures = evaluate(state.ema.net, objective, count=count)
            yield {"objective": name, "step": progress.step, "minutes": round(minutes, 1), **figures}
        started = clock()


def load() -> dict[str, Any]:
    """The shipped table: a dict with "rows", two for each objective."""
    return shipped_log(NAME)


def run(
    folder: Path,
    *,
    device: torch.device | str = "cpu",
    config: TrainConfig = CONFIG,
    net: UNetConfig = UNetConfig(t_max=COSINE.t_max),  # noqa: B008  plain frozen numbers
    count: int = digits_report.COUNT,
    objectives: tuple[str, ...] = tuple(OBJECTIVES),
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, Any]:
    """Train every objective from the same start, measure, write `folder`/digits-objectives.json, return the table.

    Args:
        folder: gets the table.
        device: where to train.
        config: how; the same for all.
        net: what; the same for all.
        count: digits generated for each row.
        objectives: names out of `OBJECTIVES`.
        clock: seconds; time spent measuring is not counted.
    """
    log = {
        "recipe": NAME,
        "command": f"diffedu train {NAME}",
        "steps": config.steps,
        "batch": config.batch,
        "sampler": "DPMSolverPP2M",
        "steps per sample": STEPS,
        "samples": count,
        "rows": [row for name in objectives for row in _train_one(name, config, net, device, count, clock)],
    }
    write_log(folder / f"{NAME}.json", log)
    return log

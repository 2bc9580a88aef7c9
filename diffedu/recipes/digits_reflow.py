r"""digits-reflow: digits-flow made straight, so that one to four evaluations do.

    pairs:   x1 = noise,  x0 = where the teacher's ODE takes it (Heun, 10 steps), for a label
    train:   velocity x1 - x0 on the line between them; half of the examples at t = 1, the others at any t

At t = 1 the pair is all there is to know: the network learns the teacher's whole map in one step, x0 = x1 - v(x1, 1).
The other half keeps it a flow, so that two and four steps go further. Taught in: chapter 18.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from diffedu._tensor import randn
from diffedu.core import GaussianPath, uniform_t, uniform_times
from diffedu.data.digits import digits
from diffedu.flow import FlowMatchingLoss, reflow_pairs
from diffedu.nn import UNet, UNetConfig
from diffedu.recipes import _digit_flow, digits_flow, digits_report
from diffedu.recipes._digit_flow import PATH, denoiser
from diffedu.recipes._files import read
from diffedu.recipes._run import measured_run
from diffedu.recipes.digits_ddpm import decode
from diffedu.sampling import Euler, Heun
from diffedu.train import TrainConfig, TrainState, load_weights

NAME = "digits-reflow"
SUMMARY = "digits-flow after one reflow: one to four evaluations a digit"
CONFIG = TrainConfig(steps=8_000, batch=64, lr=5e-4, warmup=300, ema=0.9995, seed=0)
PAIRS = 36_000
TEACHER_STEPS = 10  # of Heun's method


def often_the_end(path: GaussianPath, n: int, generator: torch.Generator) -> Tensor:
    """Times for training: t_max for every second example, uniform for the others."""
    t = uniform_t(path, n, generator)
    t[::2] = path.t_max
    return t


_loss = FlowMatchingLoss(PATH, often_the_end)


def loss(net: nn.Module, batch: tuple[Tensor, ...], generator: torch.Generator) -> Tensor:
    """Squared error of the velocity along pairs; a batch is (x0, x1, labels)."""
    x0, x1, labels = batch
    assert isinstance(net, UNet)
    return _loss(net.given(labels), x0, x1, generator)


@torch.no_grad()
def pairs(teacher: UNet, count: int, *, seed: int, chunk: int = 250) -> tuple[Tensor, Tensor, Tensor]:
    """Ends (x0, x1) of the teacher's trajectories, encoded, and their labels; the labels in equal number."""
    device = next(teacher.parameters()).device
    labels = torch.arange(count, device=device) % teacher.config.classes
    size = teacher.config.size
    x1 = randn((count, 1, size, size), torch.Generator(device).manual_seed(seed))
    times = uniform_times(PATH, TEACHER_STEPS, end=0.0, device=device)
    x0 = [
        reflow_pairs(denoiser(teacher, label), noise, times, Heun())
        for noise, label in zip(x1.split(chunk), labels.split(chunk), strict=True)
    ]
    return torch.cat(x0), x1, labels


draw = partial(_digit_flow.draw, solver=Euler(), steps=1)
"""One digit for each label by Euler's method, in one step unless `steps` says otherwise; see `_digit_flow.draw`."""


def variance_within(images: Tensor, labels: Tensor) -> float:
    """The variance of a pixel within a class (unbiased), averaged over pixels and classes.

    Args:
        images: shape (N, *).
        labels: shape (N,), each at least twice.

    Example:
        >>> variance_within(torch.tensor([[0.0], [2.0], [5.0], [5.0]]), torch.tensor([0, 0, 1, 1]))
        1.0
    """
    return torch.stack([images[labels == label].var(dim=0).mean() for label in labels.unique()]).mean().item()


class Widening(NamedTuple):
    r"""x -> m + k (x - m), where m is the mean picture of the class: brings the variance of digits up.

    A regression that can't tell its targets apart answers with their mean, and means vary less. Here
    k = sqrt(variance of real digits / variance of the model's), both within classes, so that the two agree before the
    result is cut to the range of pixels.

    Taught in: chapter 18.
    """

    means: Tensor  # (classes, 1, 28, 28), in [-1, 1]
    factor: float

    def __call__(self, images: Tensor, labels: Tensor) -> Tensor:
        """Widened digits, cut to [-1, 1], for images (N, 1, 28, 28) and labels (N,)."""
        means = self.means[labels]
        return decode(means + self.factor * (images - means))


def widening(net: UNet, *, steps: int = 1, count: int = 1000, seed: int = 1000) -> Widening:
    """The widening of a network's digits, from `count` of them and the training digits.

    Args:
        net: a trained network.
        steps: of Euler's method, as they will be drawn.
        count: digits to measure their variance with, at least two of each class.
        seed: of their noise; a set to be judged should come from another one.

    Raises:
        ValueError: count is too small.
    """
    classes = net.config.classes
    if count < 2 * classes:
        raise ValueError(
            f"a variance needs two digits of each class, so count must be {2 * classes} or more, got {count}"
        )
    real = digits("train", device=next(net.parameters()).device)
    labels = torch.arange(count, device=real.labels.device) % classes
    factor = variance_within(*real) / variance_within(draw(net, labels, seed=seed, steps=steps), labels)
    means = torch.stack([real.images[real.labels == label].mean(dim=0) for label in range(classes)])
    return Widening(means, factor**0.5)


def draw_widened(net: UNet, labels: Tensor, *, seed: int = 0, steps: int = 1, count: int = 1000) -> Tensor:
    """As `draw`, then widened; `count` as for `widening`."""
    return widening(net, steps=steps, count=count)(draw(net, labels, seed=seed, steps=steps), labels)


def load(folder: Path | None = None, device: torch.device | str = "cpu") -> UNet:
    """The trained network, in evaluation mode: the shipped one, or one trained into a folder."""
    tensors, description = read(NAME, folder, device)
    net = digits_flow.build(device, config=UNetConfig(**description["net"]))
    load_weights(net, tensors)
    return net.eval()


def run(
    folder: Path,
    *,
    device: torch.device | str = "cpu",
    config: TrainConfig = CONFIG,
    teacher: UNet | None = None,
    count: int = digits_report.COUNT,
    pair_count: int = PAIRS,
    save_every: int = 500,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, Any]:
    """Make the pairs, train, measure, export; goes on from where a killed run stopped, after making the pairs again.

    Args:
        folder: gets digits-reflow.safetensors, its log and, until the end, the state to resume from.
        device: where to train.
        config: how.
        teacher: a network of digits-flow, on the device; the shipped one by default.
        count: digits generated for each report.
        pair_count: trajectories of the teacher.
        save_every: steps between saves of the state.
        clock: seconds; time spent on pairs and on measuring is not counted.

    Returns:
        The log; its rows give the number of Euler steps that they were measured with.
    """
    teacher = teacher or digits_flow.load(device=device)
    net = digits_flow.build(device, config=teacher.config)
    net.load_state_dict(teacher.state_dict())

    def measure(trained: nn.Module, end: bool) -> Iterator[dict[str, Any]]:
        assert isinstance(trained, UNet)
        on = next(trained.parameters()).device
        for widened in (False, True) if end else (False,):
            for steps in (1, 2, 4) if end else (1,):
                draws = partial(draw_widened if widened else draw, trained, seed=1, steps=steps)
                figures = digits_report.figures(draws, on, count=count, classes=10)
                yield {"sampling steps": steps, "widened": widened, **figures}

    return measured_run(
        NAME,
        folder,
        TrainState(net, config),
        loss,
        pairs(teacher, pair_count, seed=config.seed + 1),
        measure=measure,
        description={"net": teacher.config.to_json()},
        facts={"sampler": "Euler", "samples": count, "pairs": pair_count, "teacher": digits_flow.NAME},
        save_every=save_every,
        clock=clock,
    )

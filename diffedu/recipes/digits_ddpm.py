"""digits-ddpm: a class-conditional DDPM of handwritten digits; noise prediction, L_simple, cosine betas, T = 1000."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from diffedu._tensor import seeded
from diffedu.core import (
    EPS,
    Clipped,
    Denoiser,
    DenoisingLoss,
    DiscreteDDPM,
    NetworkDenoiser,
    cosine_betas,
    trailing_times,
)
from diffedu.data.digits import digits
from diffedu.nn import UNet, UNetConfig
from diffedu.recipes import digits_report
from diffedu.recipes._files import export, read, write_log
from diffedu.sampling import Ancestral, sample, start_noise
from diffedu.train import TrainConfig, TrainState, load_state, load_weights, save_state, train

NAME = "digits-ddpm"
SUMMARY = "a class-conditional DDPM of handwritten digits (U-Net, noise prediction)"
PATH = DiscreteDDPM(cosine_betas(1000))
NET = UNetConfig(t_max=PATH.t_max)
CONFIG = TrainConfig(steps=11_000, batch=64, lr=1e-3, warmup=300, ema=0.9995, seed=0)
NO_LABEL = 0.1  # share of training examples whose label is hidden: the same network then also models all digits at once
STEPS = 50  # network evaluations a sample in reports
MARKS = (3.0, 10.0, 30.0)  # minutes of training after which figures are taken

_loss = DenoisingLoss(PATH, EPS)


def loss(net: nn.Module, batch: tuple[Tensor, ...], generator: torch.Generator) -> Tensor:
    """L_simple of a batch (images, labels), with some labels hidden; shape (B,)."""
    images, labels = batch
    hidden = torch.rand(len(labels), generator=generator, device=labels.device) < NO_LABEL
    assert isinstance(net, UNet)
    return _loss(net.given(torch.where(hidden, net.config.classes, labels)), images, generator)


def build(device: torch.device | str = "cpu", seed: int = 0, config: UNetConfig = NET) -> UNet:
    """The untrained network; equal weights on every device."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        net = UNet(config).to(device)
    return net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def denoiser(net: UNet, label: Tensor | int | None = None) -> Denoiser:
    """The network as a denoiser of digits of a class (or of any), its answers cut to the range of pixels."""
    return Clipped(NetworkDenoiser(net.given(label), PATH, EPS))


def load(folder: Path | None = None, device: torch.device | str = "cpu") -> UNet:
    """The trained network, in evaluation mode: the shipped one, or one trained into a folder."""
    tensors, description = read(NAME, folder, device)
    net = build(device, config=UNetConfig(**description["net"]))
    load_weights(net, tensors)
    return net.eval()


def draw(net: UNet, labels: Tensor, *, seed: int = 0, steps: int = STEPS, chunk: int = 250) -> Tensor:
    """One digit for each label, by ancestral sampling.

    At 50 steps it beats deterministic DDIM on this network by far: its fresh noise washes out the errors of the first,
    noisiest steps, where a small error of the noise is a large one of the digit.

    Args:
        net: a trained network.
        labels: shape (N,), whole numbers; `net.config.classes` for any digit.
        seed: of all noise.
        steps: network evaluations per digit.
        chunk: digits made at a time.

    Returns:
        Shape (N, 1, 28, 28), in [-1, 1].
    """
    generator = seeded(seed, labels.device)
    times = trailing_times(PATH, steps, device=labels.device)
    made = []
    for part in labels.split(chunk):
        start = start_noise(PATH, (len(part), 1, net.config.size, net.config.size), generator)
        made.append(sample(denoiser(net, part), Ancestral(), start, times, generator=generator))
    return torch.cat(made)


def evaluate(
    net: UNet, *, count: int = digits_report.COUNT, seed: int = 1, folder: Path | None = None
) -> dict[str, Any]:
    """Figures of `count` generated digits, the classes in equal number, each figure beside its floor."""
    device = next(net.parameters()).device
    wanted = torch.arange(count, device=device) % net.config.classes
    figures = digits_report.report(draw(net, wanted, seed=seed), wanted, folder=folder)
    return {name: figure.rounded() for name, figure in figures.items()}


def run(
    folder: Path,
    *,
    device: torch.device | str = "cpu",
    config: TrainConfig = CONFIG,
    net: UNetConfig = NET,
    count: int = digits_report.COUNT,
    save_every: int = 500,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, Any]:
    """Train, measure at the marks, export; goes on from where a killed run stopped.

    Args:
        folder: gets digits-ddpm.safetensors, its log digits-ddpm.json and, until the end, the state to resume from.
        device: where to train.
        config: how.
        net: what.
        count: digits generated for each report.
        save_every: steps between saves of the state.
        clock: seconds; time spent measuring is not counted.

    Returns:
        The log.
    """
    torch.manual_seed(config.seed)  # dropout, where there is any, draws from torch's global generator
    state = TrainState(build(device, config=net), config)
    saved = folder / f"{NAME}.state"
    minutes, mean_loss, rows = 0.0, 0.0, list[dict[str, Any]]()
    if saved.exists():
        extra = load_state(saved, state)
        minutes, mean_loss, rows = extra["minutes"], extra["mean_loss"], extra["rows"]
    marks = [m for m in MARKS if m > minutes]
    data = digits("train", device=device)
    started, bar = clock(), tqdm(initial=state.step, total=config.steps, desc=NAME)

    def measure() -> None:
        figures = evaluate(state.ema.net, count=count)  # type: ignore[arg-type]
        row = {"minutes": round(minutes, 1), "step": state.step, "loss": round(mean_loss, 5), "sampler": "Ancestral"}
        rows.append({**row, **figures})
        bar.write(str(rows[-1]))

    for progress in train(state, loss, tuple(data)):
        mean_loss += (progress.loss - mean_loss) * max(0.002, 1 / progress.step)
        minutes += (clock() - started) / 60
        bar.update()
        if marks and minutes >= marks[0]:
            marks.pop(0)
            measure()
        if progress.step % save_every == 0:
            save_state(saved, state, {"minutes": minutes, "mean_loss": mean_loss, "rows": rows})
        started = clock()
    measure()
    bar.close()
    log = {
        "recipe": NAME,
        "command": f"diffedu train {NAME}",
        "parameters": sum(p.numel() for p in state.net.parameters()),
        "steps": config.steps,
        "batch": config.batch,
        "evaluations per sample": STEPS,
        "samples": count,
        "rows": rows,
    }
    export(
        folder / f"{NAME}.safetensors",
        state.ema.net.state_dict(),
        {"recipe": NAME, "net": net.to_json()},
        half=True,
    )
    write_log(folder / f"{NAME}.json", log)
    saved.unlink(missing_ok=True)
    return log

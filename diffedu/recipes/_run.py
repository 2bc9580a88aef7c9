"""What the image models share: a resumable run that trains, measures and exports; drawing a few at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from diffedu._tensor import seeded
from diffedu.core import Denoiser
from diffedu.recipes._files import export, write_log
from diffedu.sampling import Solver, sample, start_noise
from diffedu.train import TrainState, load_state, save_state, train
from diffedu.train.loop import LossFn

MARKS = (3.0, 10.0, 30.0)  # minutes of training after which figures are taken


def draw_in_chunks(
    denoiser: Callable[[Tensor], Denoiser],
    solver: Solver[Any],
    times: Tensor,
    labels: Tensor,
    shape: tuple[int, ...],
    *,
    seed: int,
    chunk: int,
) -> Tensor:
    """One sample of a shape for each label, `chunk` labels at a time; all noise follows from the seed.

    Args:
        denoiser: made for the labels of a chunk.
        solver: how to step.
        times: the grid, from pure noise.
        labels: shape (N,) or (N, K).
        shape: of one sample.
        seed: of start noise and steps, on the labels' device.
        chunk: samples made at a time.

    Returns:
        Shape (N, *shape).
    """
    generator, made = seeded(seed, labels.device), []
    for part in labels.split(chunk):
        believes = denoiser(part)
        start = start_noise(believes.path, (len(part), *shape), generator)
        made.append(sample(believes, solver, start, times, generator=generator))
    return torch.cat(made)


def measured_run(
    name: str,
    folder: Path,
    state: TrainState,
    loss: LossFn,
    data: tuple[Tensor, ...],
    *,
    measure: Callable[[nn.Module, bool], Iterable[dict[str, Any]]],
    description: dict[str, Any],
    facts: dict[str, Any],
    save_every: int,
    clock: Callable[[], float],
) -> dict[str, Any]:
    """Train to the end; goes on from where a killed run stopped.

    Args:
        name: of the recipe; names the files.
        folder: gets NAME.safetensors, NAME.json and, until the end, the state to resume from.
        state: untrained.
        loss: see `train`.
        data: see `train`.
        measure: figures of the averaged network, a dict for each setting of its sampler; told whether it is the end.
        description: goes into the checkpoint.
        facts: go into the log, before the rows.
        save_every: steps between saves of the state.
        clock: seconds; time spent measuring is not counted.

    Returns:
        The log.
    """
    saved = folder / f"{name}.state"
    minutes, mean_loss, rows = 0.0, 0.0, list[dict[str, Any]]()
    if saved.exists():
        extra = load_state(saved, state)
        minutes, mean_loss, rows = extra["minutes"], extra["mean_loss"], extra["rows"]
    marks = [m for m in MARKS if m > minutes]
    config = state.config
    started, bar = clock(), tqdm(initial=state.step, total=config.steps, desc=name)

    def take(end: bool) -> None:
        for figures in measure(state.ema.net, end):
            rows.append(
                {"minutes": round(minutes, 1), "step": state.step, "loss": round(mean_loss, 5), **figures},
            )
            bar.write(str(rows[-1]))

    for progress in train(state, loss, data):
        mean_loss += (progress.loss - mean_loss) * max(0.002, 1 / progress.step)
        minutes += (clock() - started) / 60
        bar.update()
        if marks and minutes >= marks[0]:
            marks.pop(0)
            take(end=False)
        if progress.step % save_every == 0:
            save_state(saved, state, {"minutes": minutes, "mean_loss": mean_loss, "rows": rows})
        started = clock()
    take(end=True)
    bar.close()
    log = {
        "recipe": name,
        "command": f"diffedu train {name}",
        "parameters": sum(p.numel() for p in state.net.parameters()),
        "steps": config.steps,
        "batch": config.batch,
        **facts,
        "rows": rows,
    }
    export(folder / f"{name}.safetensors", state.ema.net.state_dict(), {"recipe": name, **description}, half=True)
    write_log(folder / f"{name}.json", log)
    saved.unlink(missing_ok=True)
    return log

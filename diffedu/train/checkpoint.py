r"""Checkpoints: tensors and a plain JSON description in one safetensors file, written atomically.

safetensors holds numbers and nothing that could run, unlike a pickle. The description stands in the file's header.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from diffedu._atomic import whole_file
from diffedu.train.loop import TrainState

_KEY = "diffedu"


def save_tensors(path: str | os.PathLike[str], tensors: dict[str, Tensor], description: dict[str, Any]) -> None:
    """Write tensors and their description; the file appears whole or not at all.

    Args:
        path: where; an existing file is replaced.
        tensors: by name.
        description: anything JSON can hold.
    """
    plain = {name: value.detach().to("cpu").contiguous().clone() for name, value in tensors.items()}
    with whole_file(path) as temporary:
        save_file(plain, temporary, metadata={_KEY: json.dumps(description, sort_keys=True)})


def load_tensors(
    path: str | os.PathLike[str], device: torch.device | str = "cpu"
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what `save_tensors` wrote.

    Returns:
        The tensors by name, on the device; the description.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is not safetensors, is cut short, or was not written by diffedu.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no checkpoint at {path}")
    try:
        with safe_open(path, framework="pt", device=str(device)) as file:
            header = file.metadata() or {}
            if _KEY not in header:
                raise ValueError(
                    f"{path.name} is a safetensors file, but not one written by diffedu: its header lacks {_KEY!r}"
                )
            names = list(file.keys())  # the handle is no mapping
            return {name: file.get_tensor(name) for name in names}, json.loads(header[_KEY])
    except (SafetensorError, OSError, json.JSONDecodeError) as error:
        raise ValueError(
            f"{path.name} is not a readable checkpoint (corrupt, cut short or foreign): {error}"
        ) from error


def load_weights(net: nn.Module, tensors: dict[str, Tensor]) -> None:
    """Copy tensors into a network, in the network's own dtype.

    Raises:
        ValueError: names or shapes differ; the message gives the first difference.
    """
    own = net.state_dict()
    missing, foreign = sorted(own.keys() - tensors.keys()), sorted(tensors.keys() - own.keys())
    if missing or foreign:
        raise ValueError(
            f"the weights are of another network: {len(missing)} missing (first: {missing[:1]}), "
            f"{len(foreign)} unknown (first: {foreign[:1]})"
        )
    for name, value in tensors.items():
        if own[name].shape != value.shape:
            raise ValueError(
                f"{name} has shape {tuple(value.shape)} in the file, {tuple(own[name].shape)} in the network"
            )
    net.load_state_dict({name: value.to(own[name].dtype) for name, value in tensors.items()})


def fingerprint(tensors: dict[str, Tensor]) -> str:
    """SHA-256 over names and bytes: equal if and only if all tensors are equal bit by bit (used by tests)."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(name.encode())
        digest.update(tensors[name].detach().to("cpu").contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def save_state(path: str | os.PathLike[str], state: TrainState, extra: dict[str, Any] | None = None) -> None:
    """Save everything a run needs to go on: weights, average, optimiser, random numbers, step.

    Args:
        path: where.
        state: of the run.
        extra: more to remember, anything JSON can hold (elapsed time, a log).
    """
    tensors = {f"net.{k}": v for k, v in state.net.state_dict().items()}
    tensors |= {f"ema.{k}": v for k, v in state.ema.net.state_dict().items()}
    for index, slots in state.optimiser.state_dict()["state"].items():
        tensors |= {f"optimiser.{index}.{k}": v for k, v in slots.items()}
    tensors["random.generator"] = state.generator.get_state()
    tensors["random.global"] = torch.get_rng_state()  # dropout draws from torch's global generator
    if state.device.type == "cuda":
        tensors["random.cuda"] = torch.cuda.get_rng_state(state.device)
    save_tensors(
        path,
        tensors,
        {
            "kind": "state",
            "step": state.step,
            "ema_updates": state.ema.updates,
            "config": asdict(state.config),
            "extra": extra or {},
        },
    )


def load_state(path: str | os.PathLike[str], state: TrainState) -> dict[str, Any]:
    """Put a saved run into a fresh state of the same network and config.

    Returns:
        What was saved as `extra`.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: as `load_tensors` and `load_weights`; or the run was started with another config.
    """
    tensors, description = load_tensors(path, state.device)
    if description.get("kind") != "state":
        raise ValueError(f"{Path(path).name} holds no training state (its kind is {description.get('kind')!r})")
    started, now = description["config"], asdict(state.config)
    changed = [f"{name} was {started[name]}, now {now[name]}" for name in now if started.get(name) != now[name]]
    if changed:
        raise ValueError(
            f"{Path(path).name} is of a run with another config ({'; '.join(changed)}); "
            f"finish it with its own, or delete the file to start anew"
        )

    def part(prefix: str) -> dict[str, Tensor]:
        return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}

    load_weights(state.net, part("net."))
    load_weights(state.ema.net, part("ema."))
    slots: dict[int, dict[str, Tensor]] = {}
    for name, value in part("optimiser.").items():
        index, key = name.split(".", 1)
        slots.setdefault(int(index), {})[key] = value
    current = state.optimiser.state_dict()
    state.optimiser.load_state_dict({"state": slots, "param_groups": current["param_groups"]})
    state.generator.set_state(tensors["random.generator"].cpu())
    torch.set_rng_state(tensors["random.global"].cpu())
    if state.device.type == "cuda":
        torch.cuda.set_rng_state(tensors["random.cuda"].cpu(), state.device)
    state.step = description["step"]
    state.ema.updates = description["ema_updates"]
    extra: dict[str, Any] = description["extra"]
    return extra

"""Where a recipe's files stand, and how a shipped model is read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from diffedu._atomic import whole_file
from diffedu.data.files import asset
from diffedu.train.checkpoint import load_tensors, save_tensors


def export(path: Path, weights: dict[str, Tensor], description: dict[str, Any], *, half: bool) -> None:
    """Write final weights, in half precision where asked: whole numbers keep their type."""
    kept = {k: v.half() if half and v.is_floating_point() else v for k, v in weights.items()}
    save_tensors(path, kept, description)


def read(name: str, folder: Path | None, device: torch.device | str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """A recipe's tensors and description: from a folder that it was trained into, else the shipped ones.

    Raises:
        FileNotFoundError, ValueError: see `load_tensors` and `asset`; also when the file is another recipe's.
    """
    path = asset(f"checkpoints/{name}.safetensors") if folder is None else Path(folder) / f"{name}.safetensors"
    tensors, description = load_tensors(path, device)
    if description.get("recipe") != name:
        raise ValueError(f"{path.name} was made by the recipe {description.get('recipe')!r}, not by {name!r}")
    return tensors, description


def shipped_log(name: str) -> dict[str, Any]:
    """The figures that ship with a recipe's checkpoint, or the table that is all it makes: see its `run`.

    Args:
        name: of the recipe, such as "digits-flow".

    Raises:
        ValueError: no log of this name ships.

    Example:
        >>> shipped_log("digits-flow")["rows"][-1]["step"]
        10500
    """
    log: dict[str, Any] = json.loads(asset(f"checkpoints/{name}.json").read_text(encoding="utf-8"))
    return log


def write_log(path: Path, log: dict[str, Any]) -> None:
    """Write a log of figures as JSON, atomically."""
    with whole_file(path) as temporary:
        temporary.write_text(json.dumps(log, indent=1) + "\n", encoding="utf-8")

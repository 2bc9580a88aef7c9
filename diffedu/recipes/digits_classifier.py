"""digits-classifier: the fixed measuring instrument for generated digits. Trains in about two minutes on two cores."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm.auto import tqdm

from diffedu._tensor import weights_from
from diffedu.data.digits import digits
from diffedu.evaluate.two_sample import accuracy
from diffedu.nn import ImageClassifier
from diffedu.recipes._files import export, read, write_log
from diffedu.train import TrainConfig, TrainState, load_weights, train

NAME = "digits-classifier"
SUMMARY = "a small convolutional classifier of digits; its features measure generated ones"
CONFIG = TrainConfig(steps=2800, batch=128, lr=3e-3, warmup=100, weight_decay=0.02, ema=0.995, seed=0)


def jitter(
    images: Tensor, generator: torch.Generator, angle: float = 12.0, shift: float = 0.08, zoom: float = 0.1
) -> Tensor:
    """Turn, shift and zoom every image a little, each differently.

    Args:
        images: shape (B, 1, H, W), paper at -1.
        generator: source of randomness, on the images' device.
        angle: largest turn, degrees.
        shift: largest shift, as a fraction of the size.
        zoom: largest relative change of size.
    """
    u = torch.rand(4, len(images), generator=generator, device=images.device) * 2 - 1
    turn, size = u[0] * math.radians(angle), 1 + zoom * u[1]
    cos, sin = turn.cos() * size, turn.sin() * size
    rows = torch.stack([torch.stack([cos, -sin, 2 * shift * u[2]], 1), torch.stack([sin, cos, 2 * shift * u[3]], 1)], 1)
    grid = F.affine_grid(rows, list(images.shape), align_corners=False)
    return F.grid_sample(images + 1, grid, align_corners=False) - 1  # what comes in from outside is paper


def loss(net: nn.Module, batch: tuple[Tensor, ...], generator: torch.Generator) -> Tensor:
    """Cross-entropy of jittered images, shape (B,)."""
    images, labels = batch
    return F.cross_entropy(net(jitter(images, generator)), labels, reduction="none")


def build(device: torch.device | str = "cpu", seed: int = 0) -> ImageClassifier:
    """The untrained network; equal weights on every device."""
    with weights_from(seed):
        return ImageClassifier().to(device)


def load(folder: Path | None = None, device: torch.device | str = "cpu") -> ImageClassifier:
    """The trained classifier, in evaluation mode: the shipped one, or one trained into a folder."""
    tensors, _ = read(NAME, folder, device)
    net = ImageClassifier().to(device)
    load_weights(net, tensors)
    return net.eval()


def run(folder: Path, *, device: torch.device | str = "cpu", config: TrainConfig = CONFIG) -> dict[str, Any]:
    """Train, export to `folder`/digits-classifier.safetensors, return the figures."""
    state = TrainState(build(device), config)
    real, held_out = digits("train", device=device), digits("test", device=device)
    for _ in tqdm(train(state, loss, tuple(real)), total=config.steps, desc=NAME):
        pass
    net = state.ema.net
    assert isinstance(net, ImageClassifier)
    test, fit = accuracy(net.eval(), *held_out), accuracy(net, *real)
    log = {
        "recipe": NAME,
        "command": f"diffedu train {NAME}",
        "steps": config.steps,
        "accuracy on 1,000 held-out digits": round(test.value, 4),
        "accuracy on 9,000 training digits": round(fit.value, 4),
    }
    export(folder / f"{NAME}.safetensors", net.state_dict(), {"recipe": NAME, "log": log}, half=True)
    write_log(folder / f"{NAME}.json", log)
    return log

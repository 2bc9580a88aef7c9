"""emoji-classifier: reads the category of an emoji; the measuring instrument for generated ones. A few minutes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm.auto import tqdm

from diffedu._tensor import weights_from
from diffedu.data.emoji import emoji
from diffedu.evaluate.two_sample import accuracy
from diffedu.nn import ImageClassifier
from diffedu.recipes._files import export, read, write_log
from diffedu.recipes.emoji_vae import mirrored
from diffedu.train import TrainConfig, TrainState, load_weights, train

NAME = "emoji-classifier"
SUMMARY = "a small convolutional classifier of emoji into ten categories"
CONFIG = TrainConfig(steps=3000, batch=64, lr=2e-3, warmup=100, weight_decay=0.05, ema=0.995, seed=0)


def moved(images: Tensor, generator: torch.Generator, shift: int = 2) -> Tensor:
    """Half of the images mirrored, and each moved by up to `shift` pixels; what comes in from outside is white."""
    n, _, height, width = images.shape
    images = F.pad(mirrored(images, generator), [shift] * 4, value=1.0)
    row, column = torch.randint(0, 2 * shift + 1, (2, n), generator=generator, device=images.device)
    rows = (row[:, None] + torch.arange(height, device=images.device))[:, None, :, None]
    columns = (column[:, None] + torch.arange(width, device=images.device))[:, None, None, :]
    which = torch.arange(n, device=images.device)[:, None, None, None]
    channel = torch.arange(images.shape[1], device=images.device)[None, :, None, None]
    return images[which, channel, rows, columns]


def loss(net: nn.Module, batch: tuple[Tensor, ...], generator: torch.Generator) -> Tensor:
    """Cross-entropy of moved images, shape (B,)."""
    images, labels = batch
    return F.cross_entropy(net(moved(images, generator)), labels, reduction="none", label_smoothing=0.1)


def build(device: torch.device | str = "cpu", seed: int = 0) -> ImageClassifier:
    """The untrained network; equal weights on every device."""
    with weights_from(seed):
        return ImageClassifier(width=32, size=32, channels=3).to(device)


def load(folder: Path | None = None, device: torch.device | str = "cpu") -> ImageClassifier:
    """The trained classifier, in evaluation mode: the shipped one, or one trained into a folder."""
    tensors, _ = read(NAME, folder, device)
    net = build(device)
    load_weights(net, tensors)
    return net.eval()


def run(folder: Path, *, device: torch.device | str = "cpu", config: TrainConfig = CONFIG) -> dict[str, Any]:
    """Train, export to `folder`/emoji-classifier.safetensors, return the figures."""
    state = TrainState(build(device), config)
    seen, held_out = emoji("train", device=device), emoji("test", device=device)
    for _ in tqdm(train(state, loss, (seen.images, seen.category_codes)), total=config.steps, desc=NAME):
        pass
    net = state.ema.net
    assert isinstance(net, ImageClassifier)
    counts = torch.bincount(held_out.category_codes, minlength=len(held_out.categories))
    log = {
        "recipe": NAME,
        "command": f"diffedu train {NAME}",
        "steps": config.steps,
        "accuracy on 200 held-out pictures": round(
            accuracy(net.eval(), held_out.images, held_out.category_codes).value, 3
        ),
        "accuracy of always naming the commonest": round((counts.max() / counts.sum()).item(), 3),
    }
    export(folder / f"{NAME}.safetensors", net.state_dict(), {"recipe": NAME}, half=True)
    write_log(folder / f"{NAME}.json", log)
    return log

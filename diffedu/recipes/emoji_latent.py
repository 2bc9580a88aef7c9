r"""emoji-latent: a diffusion model of the autoencoder's latents, told a category or the words of a name.

The autoencoder is frozen. Its standardised latents, 4 x 8 x 8, are the data x0 of an ordinary diffusion: cosine path,
v prediction, a small transformer. An emoji costs one decoding more than its latents. Taught in: chapter 17.
"""

from __future__ import annotations

import functools
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from diffedu._errors import unknown
from diffedu._tensor import randn_like, weights_from
from diffedu.core import Cosine, Denoiser, DenoisingLoss, NetworkDenoiser, V, uniform_times, with_zero
from diffedu.data.emoji import emoji
from diffedu.evaluate.two_sample import accuracy, nearest_neighbours
from diffedu.guidance import guided
from diffedu.nn import VAE, DiT, DiTConfig
from diffedu.recipes import emoji_classifier, emoji_vae
from diffedu.recipes._files import read
from diffedu.recipes._run import draw_in_chunks, measured_run
from diffedu.sampling import DPMSolverPP2M
from diffedu.train import TrainConfig, TrainState, load_weights

NAME = "emoji-latent"
SUMMARY = "a diffusion model of emoji in the latents of emoji-vae, told a category or a name"
PATH = Cosine()
CATEGORIES = 10
LEAST = 3  # a word must occur in this many names to become a label
SLOTS = 6  # labels an example: 1, 2, 3 or 6 words fill them evenly
CONFIG = TrainConfig(steps=12_000, batch=64, lr=1e-3, warmup=300, weight_decay=0.02, ema=0.9995, seed=0)
STEPS = 20
GUIDANCE = 2.0
NO_LABEL = 0.1  # share of examples whose label is hidden

_loss = DenoisingLoss(PATH, V)


@functools.cache
def vocabulary() -> tuple[str, ...]:
    """All labels: the ten categories, then the words that occur in at least three training names, by alphabet.

    Example:
        >>> vocabulary()[:2], "heart" in vocabulary()
        (('Activities', 'Animals & Nature'), True)
    """
    data = emoji("train")
    count = Counter(word for caption in data.captions for word in set(caption.split()))
    return (*data.categories, *sorted(word for word, n in count.items() if n >= LEAST))


NET = DiTConfig(size=8, channels=4, patch=1, width=128, depth=4, heads=4, classes=len(vocabulary()), t_max=PATH.t_max)


def bag(labels: Sequence[str]) -> Tensor:
    """Labels as the numbers that the network takes: shape (SLOTS,), the labels repeated in turn until it is full.

    Args:
        labels: at most SLOTS categories or words; none for "any emoji".

    Raises:
        ValueError: more labels than slots, or one that the network does not know.

    Example:
        >>> bag([]).tolist() == [len(vocabulary())] * 6
        True
    """
    known = vocabulary()
    if len(labels) > SLOTS:
        raise ValueError(f"at most {SLOTS} labels, got {len(labels)}")
    for label in labels:
        if label not in known:
            raise unknown("label", label, known)
    numbers = [known.index(label) for label in labels] or [len(known)]
    return torch.tensor([numbers[k % len(numbers)] for k in range(SLOTS)])


@functools.cache
def _training_labels() -> tuple[Tensor, Tensor]:
    """For each training picture its category, and the known words of its name (else its category): (N, SLOTS) each."""
    data, known = emoji("train"), set(vocabulary())
    categories = torch.stack([bag([category]) for category in data.category])
    words = [[word for word in caption.split() if word in known][:SLOTS] for caption in data.captions]
    names = torch.stack([bag(w or [category]) for w, category in zip(words, data.category, strict=True)])
    return categories, names


@torch.no_grad()
def latents(vae: VAE, *, mirrored: bool = True) -> tuple[Tensor, ...]:
    """The training set: means and standard deviations of the standardised latents, and both kinds of labels.

    Args:
        vae: the trained autoencoder.
        mirrored: with the mirror image of every picture.
    """
    images = emoji("train", device=vae.shift.device).images
    if mirrored:
        images = torch.cat([images, images.flip(3)])
    mean, log_variance = vae.encode(images)
    categories, names = (k.repeat(1 + mirrored, 1).to(images.device) for k in _training_labels())
    return (mean - vae.shift) / vae.scale, (log_variance / 2).exp() / vae.scale, categories, names


def loss(net: nn.Module, batch: tuple[Tensor, ...], generator: torch.Generator) -> Tensor:
    """Squared error of v for a batch of `latents`, a mean over the latent numbers; shape (B,).

    Latents are drawn afresh from their error bars. An example is told its category, its name, or, once in ten, nothing.
    """
    mean, deviation, categories, names = batch
    u = torch.rand(len(mean), 1, generator=generator, device=mean.device)
    label = torch.where(u < NO_LABEL, len(vocabulary()), torch.where(u < (1 + NO_LABEL) / 2, categories, names))
    assert isinstance(net, DiT)
    return _loss(net.given(label), mean + deviation * randn_like(mean, generator), generator)


def build(device: torch.device | str = "cpu", seed: int = 0, config: DiTConfig = NET) -> DiT:
    """The untrained network; equal weights on every device."""
    with weights_from(seed):
        return DiT(config).to(device)


def load(folder: Path | None = None, device: torch.device | str = "cpu") -> DiT:
    """The trained network, in evaluation mode: the shipped one, or one trained into a folder."""
    tensors, description = read(NAME, folder, device)
    net = build(device, config=DiTConfig(**description["net"]))
    load_weights(net, tensors)
    return net.eval()


def denoiser(net: DiT, label: Tensor | None = None, *, guidance_scale: float = 1.0) -> Denoiser:
    """The network as a denoiser of latents; a label of shape (SLOTS,) or (B, SLOTS) from `bag`, or None.

    Args:
        net: a trained network.
        label: see above; one bag must be expanded to the batch by the caller.
        guidance_scale: 1 asks the network once; any other value asks it twice, with the label and without.
    """
    return guided(NetworkDenoiser(net, PATH, V), label, guidance_scale)


def draw_latents(
    net: DiT, labels: Tensor, *, seed: int = 0, steps: int = STEPS, guidance_scale: float = GUIDANCE
) -> Tensor:
    """Latents for labels of shape (N, SLOTS), by DPM-Solver++(2M); shape (N, 4, 8, 8)."""
    times = with_zero(uniform_times(PATH, steps - 1, end=0.02, device=labels.device))
    shape = (net.config.channels, net.config.size, net.config.size)
    guess = partial(denoiser, net, guidance_scale=guidance_scale)
    return draw_in_chunks(guess, DPMSolverPP2M(), times, labels, shape, seed=seed, chunk=250)


@torch.no_grad()
def draw(
    net: DiT, vae: VAE, labels: Tensor, *, seed: int = 0, steps: int = STEPS, guidance_scale: float = GUIDANCE
) -> Tensor:
    """One emoji for each label of shape (N, SLOTS): (N, 3, 32, 32) in [-1, 1]."""
    found = draw_latents(net, labels, seed=seed, steps=steps, guidance_scale=guidance_scale)
    return vae.from_latents(found).clamp(-1, 1)


@torch.no_grad()
def evaluate(net: DiT, vae: VAE, *, count: int = 900, seed: int = 1, folder: Path | None = None) -> dict[str, Any]:
    """How often a held-out classifier reads the wanted category, and how near the training pictures come.

    Nine categories in equal number ("Component", five pictures, is left out). The floors: the classifier on held-out
    pictures, and the distance of held-out pictures, decoded from their latents, to the training pictures.
    """
    device = vae.shift.device
    data, held_out = emoji("train", device=device), emoji("test", device=device)
    wanted = [k for k, name in enumerate(data.categories) if name != "Component"]
    codes = torch.tensor(wanted, device=device)[torch.arange(count, device=device) % len(wanted)]
    images = draw(net, vae, codes[:, None].expand(count, SLOTS), seed=seed)
    classifier = emoji_classifier.load(folder, device)
    read_ = accuracy(classifier, images, codes).value
    near = nearest_neighbours(images, data.images).distances.median().item()
    decoded = vae.decode(vae.encode(held_out.images)[0]).clamp(-1, 1)
    return {
        "category read": {
            "value": round(read_, 3),
            "floor": round(accuracy(classifier, held_out.images, held_out.category_codes).value, 3),
            "chance": round(1 / len(wanted), 3),
        },
        "nearest training picture": {
            "value": round(near, 2),
            "floor": round(nearest_neighbours(decoded, data.images).distances.median().item(), 2),
        },
    }


def run(
    folder: Path,
    *,
    device: torch.device | str = "cpu",
    config: TrainConfig = CONFIG,
    net: DiTConfig = NET,
    count: int = 900,
    save_every: int = 500,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, Any]:
    """Train on the latents of the shipped autoencoder, measure, export; goes on from where a killed run stopped.

    Args:
        folder: gets emoji-latent.safetensors, its log and, until the end, the state to resume from.
        device: where to train.
        config: how.
        net: what.
        count: emoji generated for the report.
        save_every: steps between saves of the state.
        clock: seconds; time spent measuring is not counted.

    Returns:
        The log.
    """
    vae = emoji_vae.load(device=device)

    def measure(trained: nn.Module, end: bool) -> Iterator[dict[str, Any]]:
        assert isinstance(trained, DiT)
        if end:
            yield evaluate(trained, vae, count=count)

    return measured_run(
        NAME,
        folder,
        TrainState(build(device, config=net), config),
        loss,
        latents(vae),
        measure=measure,
        description={"net": net.to_json()},
        facts={
            "sampler": "DPMSolverPP2M",
            "steps per sample": STEPS,
            "guidance_scale": GUIDANCE,
            "samples": count,
        },
        save_every=save_every,
        clock=clock,
    )

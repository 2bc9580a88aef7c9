"""emoji-studies: three tables about latents, pixels, and the memory of a diffusion model. No weights are kept.

`pixels`: the same transformer on the latents, on pixels cut into as many tokens, and on pixels cut finer.
`memorisation`: the latent model, trained on 100, 400 and all pictures, with and without their mirror images.
`KL weight`: the autoencoder under weights of its KL term from 0.0001 to 1. Taught in: chapter 17.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from diffedu._tensor import seeded
from diffedu.core import DenoisingLoss, V, gaussian_kl, uniform_times, with_zero
from diffedu.data.emoji import emoji
from diffedu.evaluate.metrics import frechet_distance, psnr
from diffedu.evaluate.two_sample import accuracy, nearest_neighbours
from diffedu.nn import VAE, DiT, DiTConfig
from diffedu.recipes import emoji_classifier, emoji_latent, emoji_vae
from diffedu.recipes._files import shipped_log, write_log
from diffedu.recipes._run import draw_in_chunks
from diffedu.recipes.digits_scaling import evaluation_flop
from diffedu.recipes.emoji_latent import NO_LABEL, PATH, SLOTS, vocabulary
from diffedu.sampling import DPMSolverPP2M
from diffedu.train import TrainConfig, TrainState, train

NAME = "emoji-studies"
SUMMARY = "tables: latents against pixels, memorisation, and the autoencoder's KL weight"
CONFIG = TrainConfig(steps=6000, batch=64, lr=1e-3, warmup=300, weight_decay=0.02, ema=0.999, seed=0)
VAE_CONFIG = TrainConfig(steps=1500, batch=32, lr=2e-3, warmup=100, ema=0.998, seed=0)
KL_WEIGHTS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
COUNT = 855  # pictures in each figure: half of the training set
GUIDANCE = 2.0
STEPS = 20

_loss = DenoisingLoss(PATH, V)
Decode = Callable[[Tensor], Tensor]


def network(patch: int, **shape: int) -> DiTConfig:
    """The transformer of `emoji_latent`, for pictures of another shape and with patches of another size."""
    return DiTConfig(**{**emoji_latent.NET.to_json(), "patch": patch, **shape})  # type: ignore[arg-type]


SPACES = {
    "latents, 64 tokens": emoji_latent.NET,
    "pixels, 64 tokens": network(4, size=32, channels=3),
    "pixels, 256 tokens": network(2, size=32, channels=3),
}


def pixel_loss(net: nn.Module, batch: tuple[Tensor, ...], generator: torch.Generator) -> Tensor:
    """Squared error of v on pixels; a batch is (images, categories, names), labels told as in `emoji_latent.loss`."""
    images, categories, names = batch
    u = torch.rand(len(images), 1, generator=generator, device=images.device)
    label = torch.where(u < NO_LABEL, len(vocabulary()), torch.where(u < (1 + NO_LABEL) / 2, categories, names))
    assert isinstance(net, DiT)
    return _loss(net.given(label), images, generator)


def trained(
    config: TrainConfig,
    net: DiTConfig,
    loss: Callable[[nn.Module, tuple[Tensor, ...], torch.Generator], Tensor],
    data: tuple[Tensor, ...],
    marks: Sequence[int],
    desc: str,
) -> Iterator[tuple[int, DiT]]:
    """The averaged network at each of the marks, steps of training."""
    state = TrainState(emoji_latent.build(data[0].device, config=net), config)
    for progress in tqdm(train(state, loss, data), total=config.steps, desc=desc):
        if progress.step in marks:
            assert isinstance(state.ema.net, DiT)
            yield progress.step, state.ema.net


@torch.no_grad()
def draw(net: DiT, decode: Decode, codes: Tensor) -> Tensor:
    """One picture for each category, in [-1, 1], by DPM-Solver++(2M)."""
    config = net.config
    made = draw_in_chunks(
        partial(emoji_latent.denoiser, net, guidance_scale=GUIDANCE),
        DPMSolverPP2M(),
        with_zero(uniform_times(PATH, STEPS - 1, end=0.02, device=codes.device)),
        codes[:, None].expand(len(codes), SLOTS),
        (config.channels, config.size, config.size),
        seed=1,
        chunk=250,
    )
    return decode(made).clamp(-1, 1)


@torch.no_grad()
def quality(net: DiT, decode: Decode, device: torch.device | str, count: int) -> dict[str, Any]:
    """Category read and Frechet distance of the classifier's features; floors: held-out pictures, the other half."""
    classifier = emoji_classifier.load(device=device)
    data, held_out = emoji("train", device=device), emoji("test", device=device)
    order = torch.randperm(len(data.images), generator=seeded(0)).to(device)
    half, other = order[:count], order[-count:]
    made = draw(net, decode, data.category_codes[half])
    with torch.no_grad():
        features = [classifier.features(x) for x in (made, data.images[half], data.images[other])]
    return {
        "category read": {
            "value": round(accuracy(classifier, made, data.category_codes[half]).value, 3),
            "floor": round(accuracy(classifier, held_out.images, held_out.category_codes).value, 3),
            "chance": round((data.category_codes[half].bincount() / count).max().item(), 3),
        },
        "Frechet distance": {
            "value": round(float(frechet_distance(features[0], features[2])), 3),
            "floor": round(float(frechet_distance(features[1], features[2])), 3),
        },
    }


def pixels(
    vae: VAE, *, config: TrainConfig = CONFIG, spaces: dict[str, DiTConfig] | None = None, count: int = COUNT
) -> list[dict[str, Any]]:
    """Quality against cost in three spaces, after a quarter of the steps and after all."""
    device = vae.shift.device
    mean, deviation, categories, names = emoji_latent.latents(vae)
    images = emoji("train", device=device).images
    images = torch.cat([images, images.flip(3)])
    rows = []
    for space, net in (spaces or SPACES).items():
        latent = net.channels == vae.config.latent_shape[0]
        data = (mean, deviation, categories, names) if latent else (images, categories, names)
        loss, decode = (emoji_latent.loss, vae.from_latents) if latent else (pixel_loss, lambda x: x)
        marks = (config.steps // 4, config.steps)
        for step, network in trained(config, net, loss, data, marks, space):
            rows.append(
                {
                    "space": space,
                    "parameters": sum(p.numel() for p in network.parameters()),
                    "steps": step,
                    "GFLOP an evaluation": round(evaluation_flop(net) / 1e9, 4),
                    **quality(network, decode, device, count),
                }
            )
    return rows


MEMORY = ((100, False), (100, True), (400, False), (400, True), (1711, False), (1711, True))
COPY = 0.5  # a copy is nearer to one training picture than half the distance to the second nearest


def copies(images: Tensor, bank: Tensor) -> float:
    """The share of images whose nearest picture in the bank is at less than `COPY` times the second's distance."""
    near = nearest_neighbours(images, bank, k=2).distances
    return (near[:, 0] < COPY * near[:, 1]).float().mean().item()


@torch.no_grad()
def memory(net: DiT, vae: VAE, bank: Tensor, codes: Tensor) -> dict[str, Any]:
    """How near drawn pictures come to the training pictures; floors: held-out ones, decoded from their latents."""
    made = draw(net, vae.from_latents, codes)
    held_out = emoji("test", device=bank.device).images
    decoded = vae.decode(vae.encode(held_out)[0]).clamp(-1, 1)
    both = torch.cat([bank, bank.flip(3)])
    distance = [nearest_neighbours(x, both).distances.median().item() for x in (made, decoded)]
    share = [copies(x, both) for x in (made, decoded)]
    return {
        "nearest training picture": {"value": round(distance[0], 2), "floor": round(distance[1], 2)},
        "copies": {"value": round(share[0], 3), "floor": round(share[1], 3)},
    }


def memorisation(
    vae: VAE,
    *,
    config: TrainConfig = CONFIG,
    net: DiTConfig = emoji_latent.NET,
    sizes: Sequence[tuple[int, bool]] = MEMORY,
    count: int = 450,
) -> list[dict[str, Any]]:
    """The latent model trained on the first pictures of a mixed order; after a quarter of the steps and after all."""
    train_set = emoji("train", device=vae.shift.device)
    order = torch.randperm(len(train_set.images), generator=seeded(0)).to(vae.shift.device)
    rows = []
    for size, mirrored in sizes:
        chosen = order[:size]
        both = torch.cat([chosen, chosen + len(order)]) if mirrored else chosen
        data = tuple(part[both] for part in emoji_latent.latents(vae))
        codes = train_set.category_codes[chosen][torch.arange(count, device=chosen.device) % size]
        marks = (config.steps // 4, config.steps)
        for step, network in trained(config, net, emoji_latent.loss, data, marks, f"{size} pictures"):
            figures = memory(network, vae, train_set.images[chosen], codes)
            rows.append({"pictures": size, "mirrored": mirrored, "steps": step, **figures})
    return rows


@torch.no_grad()
def vae_figures(net: VAE) -> dict[str, float]:
    """How well held-out pictures come back, what the latents cost, and how far they are from the prior."""
    held_out = emoji("test", device=net.shift.device).images
    seen = emoji("train", device=net.shift.device).images
    mean, log_variance = net.encode(held_out)
    kl = gaussian_kl(mean, log_variance.exp(), torch.zeros_like(mean), torch.ones_like(mean))
    all_means, all_log_variances = net.encode(seen)
    spread = (all_means.var((0, 2, 3)) + all_log_variances.exp().mean((0, 2, 3))).sqrt()
    unused = (all_means.var(0) < 0.01).float().mean()
    return {
        "PSNR, dB": round(psnr(net.decode(mean).clamp(-1, 1), held_out).mean().item(), 2),
        "KL, nats": round(kl.mean().item(), 1),
        "latent std": round(spread.mean().item(), 2),
        "posterior std": round((all_log_variances / 2).exp().mean().item(), 3),
        "unused latents": round(unused.item(), 3),
    }


def kl_weights(
    device: torch.device | str, *, config: TrainConfig = VAE_CONFIG, weights: Sequence[float] = KL_WEIGHTS
) -> list[dict[str, Any]]:
    """One autoencoder for each weight of the KL term."""
    images, rows = emoji("train", device=device).images, []
    for weight in weights:
        state = TrainState(emoji_vae.build(device), config)
        loss = partial(emoji_vae.loss, kl_weight=weight)
        for _ in tqdm(train(state, loss, (images,)), total=config.steps, desc=f"KL weight {weight}"):
            pass
        assert isinstance(state.ema.net, VAE)
        rows.append({"KL weight": weight, **vae_figures(state.ema.net.eval())})
    return rows


def load() -> dict[str, Any]:
    """The shipped tables: a dict with "pixels", "memorisation" and "KL weight", lists of rows."""
    return shipped_log(NAME)


def run(folder: Path, *, device: torch.device | str = "cpu") -> dict[str, Any]:
    """Make the three tables, write `folder`/emoji-studies.json, return them."""
    vae = emoji_vae.load(device=device)
    log = {
        "recipe": NAME,
        "command": f"diffedu train {NAME}",
        "pixels": pixels(vae),
        "memorisation": memorisation(vae),
        "KL weight": kl_weights(device),
    }
    write_log(folder / f"{NAME}.json", log)
    return log

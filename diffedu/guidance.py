r"""Guidance: denoisers made of denoisers. Solvers don't notice.

Scale convention, everywhere in this book: guidance_scale = 1 is the plain conditional model, 0 ignores the condition,
more than 1 exaggerates it. Papers that write (1 + w) eps_c - w eps_u have guidance_scale = 1 + w.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from diffedu._tensor import as_time
from diffedu.core.denoiser import Denoiser, NetworkDenoiser, score
from diffedu.core.oracle import GaussianMixture
from diffedu.core.path import GaussianPath


def scale_from_weight(w: float) -> float:
    """guidance_scale = 1 + w, for papers in which w = 0 means no guidance (Ho & Salimans 2022, eq. 6).

    Example:
        >>> scale_from_weight(0.0)
        1.0
    """
    return 1.0 + w


def drop_labels(labels: Tensor, null: int, probability: float, generator: torch.Generator) -> Tensor:
    """Each label is replaced by `null`, "no label", with this probability; one network then learns both answers.

    Args:
        labels: shape (B,), whole numbers.
        null: the number that means "no label": the number of classes, in this book's networks.
        probability: of a label to be dropped, from 0 to 1; 0.1 to 0.2 is customary.
        generator: on the labels' device.

    Returns:
        Shape (B,); the labels given are not changed.

    Raises:
        ValueError: the probability is none.

    Reference: Ho & Salimans 2022, algorithm 1. Taught in: chapter 12.

    Example:
        >>> drop_labels(torch.tensor([0, 1, 2]), 3, 1.0, torch.Generator().manual_seed(0))
        tensor([3, 3, 3])
    """
    if not 0 <= probability <= 1:
        raise ValueError(f"probability must lie between 0 and 1, got {probability}")
    dropped = torch.rand(labels.shape, generator=generator, device=labels.device) < probability
    return torch.where(dropped, torch.full_like(labels, null), labels)


@dataclass(frozen=True, eq=False)
class MixtureClassifier:
    r"""The exact classifier of noisy points: log p_t(y | x_t), where y says that the component is one of these.

        p_t(y | x_t) = E[p(y | x0) | x_t] = sum over the components in y of their responsibilities at time t.

    A classifier trained on noisy points approaches it. It plugs into `ClassifierGuided`.

    Args:
        mixture: the law of the clean data.
        path: how noise is added.
        components: those that carry the label.

    Raises:
        ValueError: a component does not exist, or none is given.

    Reference: Dhariwal & Nichol 2021, section 4, train such a classifier. Taught in: chapter 12.

    Example:
        >>> from diffedu import *
        >>> log_prob = MixtureClassifier(GaussianMixture.ring(4), VP(), [0])
        >>> log_prob(torch.zeros(1, 2), torch.tensor(0.5)).exp()  # in the centre: one of four
        tensor([0.2500])
    """

    mixture: GaussianMixture
    path: GaussianPath
    components: Sequence[int]

    def __post_init__(self) -> None:
        self.mixture.only(self.components)  # refuses what does not exist

    def __call__(self, x_t: Tensor, t: Tensor | float) -> Tensor:
        log_share = self.mixture.log_responsibilities(x_t, t, self.path)
        return torch.logsumexp(log_share[:, list(self.components)], dim=1)


def _check_paths(first: Denoiser, second: Denoiser) -> None:
    if first.path is not second.path and first.path != second.path:
        raise ValueError(f"both denoisers must live on one path, got {first.path!r} and {second.path!r}")


@dataclass(frozen=True)
class ClassifierFree:
    r"""Away from the unconditional answer, towards the conditional one:

        x0_hat = x0_hat_u + guidance_scale (x0_hat_c - x0_hat_u).

    Noise and scores are linear in x0_hat at given x_t, so the same rule holds for them. Two evaluations a call.

    Args:
        conditional: denoiser with the condition bound.
        unconditional: the same network without.
        guidance_scale: 1 is the conditional model.

    Raises:
        ValueError: the two live on different paths.

    Reference: Ho & Salimans 2022, eq. 6, with w = guidance_scale - 1. Taught in: chapter 12.

    Example:
        >>> from diffedu import *
        >>> mixture = GaussianMixture.ring(2)
        >>> both, one = mixture.denoiser(VP()), mixture.only([0]).denoiser(VP())
        >>> guided = ClassifierFree(one, both, guidance_scale=1.0)
        >>> x = torch.ones(1, 2)
        >>> bool(torch.allclose(guided(x, 0.5), one(x, 0.5)))
        True
    """

    conditional: Denoiser
    unconditional: Denoiser
    guidance_scale: float

    def __post_init__(self) -> None:
        _check_paths(self.conditional, self.unconditional)

    @property
    def path(self) -> GaussianPath:
        return self.conditional.path

    def __call__(self, x_t: Tensor, t: Tensor | float) -> Tensor:
        time = as_time(t, x_t)
        without = self.unconditional(x_t, time)
        return without + self.guidance_scale * (self.conditional(x_t, time) - without)


def guided(network: NetworkDenoiser, label: Tensor | int | None, guidance_scale: float = 1.0) -> Denoiser:
    """A network with its label bound; asked once at guidance_scale 1, else twice, with the label and without.

    Args:
        network: trained with dropped labels; see `drop_labels`.
        label: what its `given` takes; None for no label.
        guidance_scale: see `ClassifierFree`.
    """
    conditional = network.given(label)
    if guidance_scale == 1:
        return conditional
    return ClassifierFree(conditional, network.given(None), guidance_scale)


@dataclass(frozen=True)
class ClassifierGuided:
    r"""A denoiser whose score gets the gradient of a classifier of *noisy* points:

        score + guidance_scale grad log p_t(y | x_t),
        x0_hat + guidance_scale (sigma^2 / alpha) grad log p_t(y | x_t).

    Args:
        denoiser: of the unconditional law.
        log_prob: log p_t(y | x_t) of the wanted y: maps x_t of shape (B, *) and t of shape () to shape (B,),
            differentiable in x_t.
        guidance_scale: 1 is Bayes' rule.

    Reference: Dhariwal & Nichol 2021, section 4 and algorithms 1 and 2; Song et al. 2021, eq. 14.
    Taught in: chapter 12.

    Example:
        >>> from diffedu import *
        >>> exact = GaussianMixture.ring(2).denoiser(VP())
        >>> x, undecided = torch.ones(1, 2), lambda x, t: 0 * x.sum(1)
        >>> bool((ClassifierGuided(exact, undecided, 3.0)(x, 0.5) == exact(x, 0.5)).all())
        True
    """

    denoiser: Denoiser
    log_prob: Callable[[Tensor, Tensor], Tensor]
    guidance_scale: float = 1.0

    @property
    def path(self) -> GaussianPath:
        return self.denoiser.path

    def __call__(self, x_t: Tensor, t: Tensor | float) -> Tensor:
        time = as_time(t, x_t)
        with torch.enable_grad():
            x = x_t.detach().requires_grad_()
            (gradient,) = torch.autograd.grad(self.log_prob(x, time).sum(), x)
        c = self.path(time).expand(x_t)
        return self.denoiser(x_t, time) + self.guidance_scale * c.sigma**2 / c.alpha * gradient


@dataclass(frozen=True)
class Sharpened:
    r"""A denoiser whose score is multiplied by gamma, the inverse of a temperature:

        gamma score(x_t, t),   that is   x0_hat = (x_t + gamma sigma^2 score) / alpha.

    At one noise level the scaled score is that of p_t^gamma, normalised. Over all levels it is the score of no noised
    law: noising p^gamma gives something else.

    Args:
        denoiser: any.
        gamma: 1 changes nothing.

    Reference: Dhariwal & Nichol 2021 report that it does not sharpen images as guidance does. Taught in: chapter 12.

    Example:
        >>> from diffedu import *
        >>> exact = GaussianMixture.ring(2).denoiser(VP())
        >>> x = torch.ones(1, 2)
        >>> bool(torch.allclose(score(Sharpened(exact, 2.0), x, 0.5), 2 * score(exact, x, 0.5), rtol=1e-4))
        True
    """

    denoiser: Denoiser
    gamma: float

    @property
    def path(self) -> GaussianPath:
        return self.denoiser.path

    def __call__(self, x_t: Tensor, t: Tensor | float) -> Tensor:
        time = as_time(t, x_t)
        c = self.path(time).expand(x_t)
        return (x_t + self.gamma * c.sigma**2 * score(self.denoiser, x_t, time)) / c.alpha


@dataclass(frozen=True)
class Between:
    """One denoiser where t lies in [low, high], another elsewhere: guidance in a limited interval.

    Args:
        inside: used for low <= t <= high.
        outside: used for all other times.
        low, high: in the path's time.

    Raises:
        ValueError: the two live on different paths, or low is above high.

    Reference: Kynkaanniemi et al. 2024 (guidance in a limited interval). Taught in: chapter 12.

    Example:
        >>> from diffedu import *
        >>> mixture = GaussianMixture.ring(2)
        >>> both, one = mixture.denoiser(VP()), mixture.only([0]).denoiser(VP())
        >>> x = torch.ones(1, 2)
        >>> bool((Between(one, both, low=0.2, high=0.6)(x, 0.1) == both(x, 0.1)).all())
        True
    """

    inside: Denoiser
    outside: Denoiser
    low: float
    high: float

    def __post_init__(self) -> None:
        _check_paths(self.inside, self.outside)
        if not self.low <= self.high:
            raise ValueError(f"low must not be above high, got {self.low} and {self.high}")

    @property
    def path(self) -> GaussianPath:
        return self.inside.path

    def __call__(self, x_t: Tensor, t: Tensor | float) -> Tensor:
        time = as_time(t, x_t)
        within = (time >= self.low) & (time <= self.high)
        if time.ndim == 0 and time.device.type != "meta":  # all rows at one time, as in sampling: one of them suffices
            return self.inside(x_t, time) if within else self.outside(x_t, time)
        mask = within.reshape(-1, *(1,) * (x_t.ndim - 1))
        return torch.where(mask, self.inside(x_t, time), self.outside(x_t, time))

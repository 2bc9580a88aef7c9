r"""Editing with a model that was never trained for it: inpainting, sketches, inverse problems.

Three ideas. Write what is known over the state, at the noise of its time (`Replacement`), and go back and forth until
the rest agrees with it (`Renoised`, `resampled`: RePaint). Start from a noised picture instead of noise (`edited`:
SDEdit). Or bend the denoiser towards what was measured (`PosteriorGuided`, or step by step, `DPS`). All of them compose
with any denoiser, path and solver of the book. For a mixture the right answer is known (`conditioned`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Generic

import torch
from torch import Tensor

from diffedu._tensor import as_time, randn_like
from diffedu.core.denoiser import Denoiser
from diffedu.core.oracle import GaussianMixture
from diffedu.core.path import GaussianPath
from diffedu.sampling.solver import Solver, State, sample


def conditioned(mixture: GaussianMixture, operator: Tensor, y: Tensor, noise_std: float = 0.0) -> GaussianMixture:
    r"""The exact law of x0 given y = A x0 + noise_std n: again a mixture, against which every method is measured.

        G_k = S_k A^T (A S_k A^T + noise_std^2 I)^-1,    mean m_k + G_k (y - A m_k),    covariance S_k - G_k A S_k,
        weight w_k N(y; A m_k, A S_k A^T + noise_std^2 I), normalised.

    The weights change, too: a component counts by how well it foretold y. With noise_std = 0 the covariances are
    singular, since the measured directions are known.

    Args:
        mixture: the prior.
        operator: A, shape (K, D).
        y: what was measured, shape (K,).
        noise_std: of the measurement, not negative.

    Raises:
        ValueError: shapes don't fit, or noise_std is negative.

    Reference: Bishop 2006, eqs. 2.113 to 2.117, for one component. Taught in: chapter 16.

    Example:
        >>> unit = GaussianMixture.single(torch.zeros(2), torch.eye(2))
        >>> conditioned(unit, torch.tensor([[1.0, 0.0]]), torch.tensor([3.0]), noise_std=1.0).means
        tensor([[1.5000, 0.0000]])
    """
    if operator.ndim != 2 or operator.shape[1] != mixture.D or y.shape != operator.shape[:1]:
        raise ValueError(
            f"operator and y must have shapes (K, {mixture.D}) and (K,), "
            f"got {tuple(operator.shape)} and {tuple(y.shape)}"
        )
    if noise_std < 0:
        raise ValueError(f"noise_std must not be negative, got {noise_std}")
    covariances = mixture.covariances
    identity = torch.eye(len(y), dtype=y.dtype, device=y.device)
    foretold = torch.distributions.MultivariateNormal(
        mixture.means @ operator.mT, operator @ covariances @ operator.mT + noise_std**2 * identity
    )
    gain = torch.linalg.solve(foretold.covariance_matrix, operator @ covariances).mT  # (K, D, number of measurements)
    means = mixture.means + torch.einsum("kij,kj->ki", gain, y - foretold.mean)
    left = covariances - gain @ operator @ covariances
    weights = torch.softmax(mixture.weights.log() + foretold.log_prob(y), dim=0)
    kept = weights > 0  # a component may be ruled out to the last digit
    return GaussianMixture(weights[kept], means[kept], (left[kept] + left[kept].mT) / 2)


@dataclass(frozen=True)
class Replacement(Generic[State]):
    r"""After each step of `solver`, write the known part over the state, noised as its time demands:

        x_s <- known alpha_s + sigma_s z    where mask,    what the solver made elsewhere.

    The noise of the known part has standard deviation sigma_s, not sigma_s^2. It is the noise of the step at the masked
    places, which the solver's own result there does not need any more. At s = 0 the known part is exactly `known`.
    The samples are not those of the conditional distribution: what is unknown never learns what stands beside it except
    through the denoiser. See `resampled`.

    Args:
        solver: any.
        known: of the shape of the state; used where mask is true.
        mask: boolean, of a shape that broadcasts to the state's.

    Reference: Song et al. 2021, appendix I.2; Lugmayr et al. 2022, eq. 8. Taught in: chapter 16.

    Example:
        >>> from diffedu import *
        >>> known, mask = torch.tensor([1.0, 0.0]), torch.tensor([True, False])
        >>> exact, start = GaussianMixture.ring(4).denoiser(VP()), torch.randn(3, 2, generator=seeded(0))
        >>> x = sample(exact, Replacement(Ancestral(), known, mask), start, uniform_times(VP(), 9, end=0.0),
        ...            generator=seeded(1))
        >>> x[:, 0]
        tensor([1., 1., 1.])
    """

    solver: Solver[State]
    known: Tensor
    mask: Tensor

    def __post_init__(self) -> None:
        if self.mask.dtype != torch.bool:
            raise ValueError(f"mask must be boolean, true where the data is known; got {self.mask.dtype}")

    def init(self, x: Tensor) -> State:
        if torch.broadcast_shapes(self.mask.shape, self.known.shape, x.shape) != x.shape:
            raise ValueError(
                f"mask and known must broadcast to the state's shape {tuple(x.shape)}, "
                f"got {tuple(self.mask.shape)} and {tuple(self.known.shape)}"
            )
        return self.solver.init(x)

    def step(
        self, denoiser: Denoiser, x_t: Tensor, t: Tensor, s: Tensor, state: State, noise: Tensor
    ) -> tuple[Tensor, State]:
        x_s, state = self.solver.step(denoiser, x_t, t, s, state, noise)
        c = denoiser.path(s)
        return torch.where(self.mask, c.alpha * self.known + c.sigma * noise, x_s), state


@dataclass(frozen=True)
class Renoised(Generic[State]):
    r"""`solver` where the grid falls; where it rises, forward noise:

        x_s = (alpha_s / alpha_t) x_t + sqrt(sigma_s^2 - (alpha_s / alpha_t)^2 sigma_t^2) z,    s > t.

    Args:
        solver: for the steps down. What it remembers is forgotten at each step up.

    Reference: Lugmayr et al. 2022, algorithm 1. Taught in: chapter 16.

    Example:
        >>> from diffedu import *
        >>> exact, x = GaussianMixture.ring(4).denoiser(VP()), torch.randn(3, 2, generator=seeded(0))
        >>> times = resampled(uniform_times(VP(), 9), 3, 2)
        >>> sample(exact, Renoised(DDIM()), x, times, generator=seeded(1)).shape
        torch.Size([3, 2])
    """

    solver: Solver[State]

    def init(self, x: Tensor) -> State:
        return self.solver.init(x)

    def step(
        self, denoiser: Denoiser, x_t: Tensor, t: Tensor, s: Tensor, state: State, noise: Tensor
    ) -> tuple[Tensor, State]:
        if s <= t:
            return self.solver.step(denoiser, x_t, t, s, state, noise)
        c_t, c_s = denoiser.path(t), denoiser.path(s)
        kept = c_s.alpha / c_t.alpha
        added = (c_s.sigma**2 - kept**2 * c_t.sigma**2).clamp(min=0.0).sqrt()
        x_s = kept * x_t + added * noise
        return x_s, self.solver.init(x_s)


def resampled(times: Tensor, jump: int, visits: int) -> Tensor:
    """RePaint's grid: each stretch of `jump` steps is gone down `visits` times, with one step up in between.

    Steps from time 0 do not exist, so a stretch that ends there turns at the time before, but for its last visit.

    Args:
        times: decreasing, shape (steps + 1,).
        jump: length of a stretch in steps, at least 1; the last stretch may be shorter.
        visits: at least 1; 1 leaves the grid as it is.

    Returns:
        Shape (more steps + 1,), for use with `Renoised`.

    Raises:
        ValueError: jump or visits is below 1.

    Reference: Lugmayr et al. 2022, algorithm 1 (there jump = 1) and section 4.2. Taught in: chapter 16.

    Example:
        >>> resampled(torch.tensor([4.0, 3.0, 2.0, 1.0, 0.0]), 2, 2)
        tensor([4., 3., 2., 4., 3., 2., 1., 2., 1., 0.])
    """
    if jump < 1 or visits < 1:
        raise ValueError(f"jump and visits must be at least 1, got {jump} and {visits}")
    grid = [times[:1]]
    for first in range(0, len(times) - 1, jump):
        stretch = times[first + 1 : first + 1 + jump]
        again = stretch[:-1] if stretch[-1] == 0 else stretch
        if len(again):
            grid += [again, times[first : first + 1]] * (visits - 1)
        grid.append(stretch)
    return torch.cat(grid)


def edited(
    denoiser: Denoiser, solver: Solver[State], picture: Tensor, times: Tensor, *, generator: torch.Generator
) -> Tensor:
    """SDEdit: noise a picture to times[0], then sample down from there.

    An early start keeps the picture's layout and colours and lets the model redraw the rest; at t_max nothing is kept.

    Args:
        denoiser: what pictures should look like.
        solver: how to step.
        picture: a sketch or a picture to change, shape (B, *).
        times: decreasing from the noise level to start at, shape (steps + 1,).
        generator: of all noise.

    Returns:
        Shape (B, *).

    Reference: Meng et al. 2022, section 3. Taught in: chapter 16.

    Example:
        >>> from diffedu import *
        >>> exact, sketch = GaussianMixture.ring(4).denoiser(VP()), torch.ones(3, 2)
        >>> edited(exact, DDIM(), sketch, uniform_times(VP(), 9, start=0.3), generator=seeded(0)).shape
        torch.Size([3, 2])
    """
    start = denoiser.path.add_noise(picture, randn_like(picture, generator), times[0])
    return sample(denoiser, solver, start, times, generator=generator)


@dataclass(frozen=True)
class PosteriorGuided:
    r"""A denoiser bent towards a measurement y = A(x0) + noise_std n: Bayes' rule with a guessed likelihood.

        x0_hat + guidance_scale (sigma^2 / alpha) grad log N(y; A(x0_hat(x_t)), noise_std^2 I + r^2 gram),
        r^2 = v sigma^2 / (v alpha^2 + sigma^2).

    The true p(y | x_t) averages over all x0 behind x_t. Here x0 given x_t is taken for a Gaussian around x0_hat with
    variance r^2 in each coordinate and no correlations, which is right if the data is a Gaussian with variance v. Then
    A x0 has the covariance r^2 A A^T. With data_variance v = 0 the guess is taken for certain (DPS). One evaluation
    and one backward pass a call.

    Args:
        denoiser: of the prior, differentiable in x_t.
        measure: A, maps x0 of shape (B, *) to (B, K), differentiable.
        y: what was measured, shape (B, K) or (K,).
        noise_std: of the measurement, not negative; with data_variance = 0 it must be positive.
        data_variance: v.
        guidance_scale: 1 is Bayes' rule under these assumptions.
        gram: A A^T, shape (K, K); the identity by default, as where A keeps some coordinates and drops the others.

    Raises:
        ValueError: noise_std or data_variance is negative, or both are 0.

    Reference: Chung et al. 2023 (DPS), section 3; Song et al. 2023 (pseudoinverse-guided), section 3.
    Taught in: chapter 16.

    Example:
        >>> from diffedu import *
        >>> prior = GaussianMixture.single(torch.zeros(2), torch.eye(2)).denoiser(EDM())
        >>> bent = PosteriorGuided(prior, lambda x0: x0[:, :1], torch.tensor([3.0]), noise_std=1e-3)
        >>> bent(torch.zeros(1, 2), 1.0)  # the measured coordinate is known, the other as unsure as before
        tensor([[3.0000, 0.0000]])
    """

    denoiser: Denoiser
    measure: Callable[[Tensor], Tensor]
    y: Tensor
    noise_std: float = 0.0
    data_variance: float = 1.0
    guidance_scale: float = 1.0
    gram: Tensor | None = None

    def __post_init__(self) -> None:
        if self.noise_std < 0 or self.data_variance < 0 or self.noise_std == self.data_variance == 0:
            raise ValueError(
                "noise_std and data_variance must not be negative, and not both 0; "
                f"got {self.noise_std} and {self.data_variance}"
            )

    @property
    def path(self) -> GaussianPath:
        return self.denoiser.path

    @cached_property
    def _axes(self) -> tuple[Tensor, Tensor]:
        """Eigenvalues and eigenvectors of the gram matrix; in its axes the measurements are independent."""
        assert self.gram is not None
        values, vectors = torch.linalg.eigh(self.gram)
        return values.clamp(min=0.0), vectors

    def __call__(self, x_t: Tensor, t: Tensor | float) -> Tensor:
        time = as_time(t, x_t)
        c = self.path(time)
        spread = (self.data_variance * c.sigma**2 / (self.data_variance * c.alpha**2 + c.sigma**2)).reshape(-1, 1)
        with torch.enable_grad():
            x = x_t.detach().requires_grad_()
            x0_hat = self.denoiser(x, time)
            miss = (self.y - self.measure(x0_hat)).flatten(1)
            if self.gram is None:
                variance = self.noise_std**2 + spread
            else:
                values, vectors = self._axes
                miss, variance = miss @ vectors, self.noise_std**2 + spread * values
            log_prob = -(miss.square() / (2 * variance)).sum()
            (gradient,) = torch.autograd.grad(log_prob, x)
        c = c.expand(x_t)
        return x0_hat.detach() + self.guidance_scale * c.sigma**2 / c.alpha * gradient


@dataclass(frozen=True)
class DPS(Generic[State]):
    r"""After each step of `solver`, go down the distance between the measurement and what the guess would give.

        x_s <- x_s - step_size grad |y - A(x0_hat(x_t))|^2 / |y - A(x0_hat(x_t))|,    the gradient by x_t.

    The division makes the step's length independent of how far off the guess is. It is a rule of thumb: `step_size` is
    tuned for each task, and no value of it gives samples of p(x0 | y). `PosteriorGuided` with data_variance = 0 has
    the same direction, with the length that Bayes' rule would give to a guess that is certain.

    Args:
        solver: asks the denoiser once a step, at x_t and t, as `Ancestral` and `DDIM` do.
        measure: A, maps x0 of shape (B, *) to (B, K), differentiable.
        y: what was measured, shape (B, K) or (K,).
        step_size: the paper's zeta', in data units.

    Reference: Chung et al. 2023 (DPS), algorithm 1, where the step is divided by the distance. Taught in: chapter 16.

    Example:
        >>> from diffedu import *
        >>> exact = GaussianMixture.ring(4).denoiser(VP())
        >>> start, times = torch.randn(500, 2, generator=seeded(0)), uniform_times(VP(), 50)
        >>> solver = DPS(Ancestral(), lambda x0: x0[:, :1], torch.tensor([1.5]), step_size=0.2)
        >>> print(f"{sample(exact, solver, start, times, generator=seeded(1))[:, 0].mean():.1f}")
        1.5
    """

    solver: Solver[State]
    measure: Callable[[Tensor], Tensor]
    y: Tensor
    step_size: float = 1.0

    def init(self, x: Tensor) -> State:
        return self.solver.init(x)

    def step(
        self, denoiser: Denoiser, x_t: Tensor, t: Tensor, s: Tensor, state: State, noise: Tensor
    ) -> tuple[Tensor, State]:
        with torch.enable_grad():
            x = x_t.detach().requires_grad_()
            x0_hat = denoiser(x, t)
            miss = torch.linalg.vector_norm((self.y - self.measure(x0_hat)).flatten(1), dim=1)
            (gradient,) = torch.autograd.grad(miss.sum(), x)  # grad |m|^2 / |m| = 2 grad |m|
        x_s, state = self.solver.step(_Said(x0_hat.detach(), x_t, denoiser.path), x_t, t, s, state, noise)
        return x_s - 2 * self.step_size * gradient, state


@dataclass(frozen=True)
class _Said:
    """A denoiser that repeats one answer, and refuses any other question."""

    answer: Tensor
    x_t: Tensor
    path: GaussianPath

    def __call__(self, x_t: Tensor, t: Tensor | float) -> Tensor:
        if x_t is not self.x_t:
            raise ValueError("DPS works with solvers that ask the denoiser once a step, at the state they were given")
        return self.answer

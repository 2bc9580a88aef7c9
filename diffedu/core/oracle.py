r"""Exact denoisers: data whose noisy marginals are known in closed form.

Before any network appears, these drive every sampler of the book, and every claim about samplers can be measured
against the truth.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from diffedu._tensor import as_time, batch_of, randn
from diffedu.core.path import GaussianPath, PathCoefficients

_LOG_2PI = math.log(2 * math.pi)


class GaussianMixture:
    r"""A mixture of Gaussians with full covariances, p(x) = sum_k w_k N(x; m_k, S_k).

    Noised along a path it stays a mixture, with means alpha m_k and covariances alpha^2 S_k + sigma^2 I. Everything
    asked of it follows in closed form. Each S_k is stored as its eigenvalues and axes: noise adds sigma^2 to every
    eigenvalue and leaves the axes alone, so that no matrix is inverted again when t changes.

    All sums over components are taken in logarithms (logsumexp). Plain densities underflow a short way off the data,
    and 0 / 0 gives NaN scores.

    Args:
        weights: shape (K,), positive; they are normalised to sum 1.
        means: shape (K, D), data units.
        covariances: shape (K, D, D), symmetric and positive semi-definite (0 is allowed: a point mass, whose density
            exists only once it is noised).

    Raises:
        ValueError: shapes don't fit, a weight is not positive, a covariance is not symmetric or has a
            negative eigenvalue.

    Taught in: chapters 0, 5 and 9.

    Example:
        >>> mixture = GaussianMixture.ring(8)
        >>> mixture.log_prob(torch.tensor([[100.0, 0.0]])).isfinite().item()
        True
    """

    def __init__(self, weights: Tensor, means: Tensor, covariances: Tensor) -> None:
        if means.ndim != 2 or weights.shape != means.shape[:1] or covariances.shape != (*means.shape, means.shape[1]):
            raise ValueError(
                "weights, means and covariances must have shapes (K,), (K, D) and (K, D, D), got "
                f"{tuple(weights.shape)}, {tuple(means.shape)} and {tuple(covariances.shape)}"
            )
        if means.device.type != "meta":
            if not (torch.isfinite(weights).all() and (weights > 0).all()):
                raise ValueError(f"weights must be positive and finite, got {weights.tolist()}")
            if not torch.allclose(covariances, covariances.mT, atol=1e-6, rtol=1e-4):
                raise ValueError("every covariance must be symmetric")
        self.weights = weights / weights.sum()
        self.means = means
        if means.device.type == "meta":
            variances, axes = means.new_empty(means.shape), covariances.new_empty(covariances.shape)
        else:
            variances, axes = torch.linalg.eigh(covariances)
            if variances.min() < -1e-6 * max(1.0, variances.max().item()):
                k = int(variances.min(dim=1).values.argmin())
                raise ValueError(f"covariance {k} has the negative eigenvalue {variances.min().item():g}")
        self._variances = variances.clamp(min=0.0)  # (K, D)
        self._axes = axes  # (K, D, D), columns are eigenvectors

    @classmethod
    def single(cls, mean: Tensor, covariance: Tensor) -> GaussianMixture:
        """One Gaussian; mean (D,), covariance (D, D)."""
        return cls(mean.new_ones(1), mean[None], covariance[None])

    @classmethod
    def isotropic(cls, means: Tensor, std: float, weights: Tensor | None = None) -> GaussianMixture:
        """Round components of one standard deviation at given means (K, D)."""
        if std < 0:
            raise ValueError(f"std must not be negative, got {std}")
        k, d = means.shape
        covariance = std**2 * torch.eye(d, dtype=means.dtype, device=means.device)
        return cls(means.new_ones(k) if weights is None else weights, means, covariance.expand(k, d, d).contiguous())

    @classmethod
    def ring(
        cls,
        k: int = 8,
        radius: float = 1.5,
        std: float = 0.15,
        *,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> GaussianMixture:
        """k equal round components on a circle, the first at angle 0."""
        angle = torch.arange(k, dtype=dtype, device=device) * (2 * math.pi / k)
        return cls.isotropic(radius * torch.stack([angle.cos(), angle.sin()], dim=1), std)

    @classmethod
    def grid(
        cls,
        side: int = 3,
        spacing: float = 1.0,
        std: float = 0.1,
        *,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> GaussianMixture:
        """side x side equal round components on a centred square grid."""
        line = (torch.arange(side, dtype=dtype, device=device) - (side - 1) / 2) * spacing
        return cls.isotropic(torch.cartesian_prod(line, line), std)

    @property
    def K(self) -> int:
        """Number of components."""
        return self.means.shape[0]

    @property
    def D(self) -> int:
        """Dimension of the data."""
        return self.means.shape[1]

    @property
    def covariances(self) -> Tensor:
        """Shape (K, D, D)."""
        return self._axes @ torch.diag_embed(self._variances) @ self._axes.mT

    @property
    def mean(self) -> Tensor:
        """Mean of the mixture, shape (D,)."""
        return self.weights @ self.means

    @property
    def covariance(self) -> Tensor:
        """Covariance of the mixture, shape (D, D): the mean of the covariances plus the covariance of the means."""
        centred = self.means - self.mean
        return torch.einsum("k,kij->ij", self.weights, self.covariances) + torch.einsum(
            "k,ki,kj->ij", self.weights, centred, centred
        )

    def __repr__(self) -> str:
        return f"GaussianMixture(K={self.K}, D={self.D})"

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> GaussianMixture:
        """The same mixture on another device or in another dtype."""
        return GaussianMixture(
            *(a.to(device=device, dtype=dtype) for a in (self.weights, self.means, self.covariances))
        )

    def only(self, components: Sequence[int]) -> GaussianMixture:
        """The mixture given that the component is one of these: the conditional distribution for guidance.

        Raises:
            ValueError: a component does not exist, or none is given.
        """
        chosen = list(components)
        wrong = [k for k in chosen if not 0 <= k < self.K]
        if wrong or not chosen:
            raise ValueError(f"components must be numbers from 0 to {self.K - 1}, at least one; got {chosen}")
        return GaussianMixture(self.weights[chosen], self.means[chosen], self.covariances[chosen])

    def noised(self, path: GaussianPath, t: Tensor | float) -> GaussianMixture:
        """The distribution of x_t at one time: again a mixture.

        Raises:
            ValueError: t is not a single time.
        """
        t = as_time(t, self.means)
        if t.ndim:
            raise ValueError(f"noised takes one time, of shape (), got shape {tuple(t.shape)}")
        c = path(t)
        noise = c.sigma**2 * torch.eye(self.D, dtype=self.means.dtype, device=self.means.device)
        return GaussianMixture(self.weights, c.alpha * self.means, c.alpha**2 * self.covariances + noise)

    # --- sampling -----------------------------------------------------------------------------------------------

    def sample_with_labels(self, n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """n points, shape (n, D), and the component each came from, shape (n,)."""
        k = torch.multinomial(self.weights, n, replacement=True, generator=generator)
        z = randn((n, self.D), generator, dtype=self.means.dtype, device=self.means.device)
        return self.means[k] + torch.einsum("nij,nj->ni", self._axes[k], self._variances[k].sqrt() * z), k

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        """n independent points, shape (n, D).

        Example:
            >>> from diffedu._tensor import seeded
            >>> GaussianMixture.ring(8).sample(5, seeded(0)).shape
            torch.Size([5, 2])
        """
        return self.sample_with_labels(n, generator)[0]

    # --- densities ----------------------------------------------------------------------------------------------

    def _check(self, x: Tensor) -> None:
        if x.ndim != 2 or x.shape[1] != self.D:
            raise ValueError(f"points must have shape (B, {self.D}), got {tuple(x.shape)}")

    def _parts(self, x: Tensor, alpha: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """log(w_k N(x; alpha m_k, alpha^2 S_k + sigma^2 I)) of shape (B, K); rotated offsets, variances (B, K, D)."""
        self._check(x)
        a, s = (c.reshape(-1, 1, 1) for c in (alpha, sigma))
        offset = torch.einsum("kji,bkj->bki", self._axes, x[:, None, :] - a * self.means)  # axes^T (x - alpha m)
        variance = a**2 * self._variances + s**2
        log_density = -0.5 * (offset**2 / variance + variance.log() + _LOG_2PI).sum(-1)
        return self.weights.log() + log_density, offset, variance

    def _clean(self) -> tuple[Tensor, Tensor]:
        return self.means.new_ones(()), self.means.new_zeros(())

    def log_prob(self, x: Tensor) -> Tensor:
        """log p(x) in nats, shape (B,), for x of shape (B, D)."""
        return torch.logsumexp(self._parts(x, *self._clean())[0], dim=1)

    def score(self, x: Tensor) -> Tensor:
        """grad log p(x), shape (B, D), in 1 / data units.

        Example:
            >>> GaussianMixture.single(torch.zeros(2), torch.eye(2)).score(torch.tensor([[1.0, -2.0]]))
            tensor([[-1.,  2.]])
        """
        log_parts, offset, variance = self._parts(x, *self._clean())
        pull = torch.einsum("kij,bkj->bki", self._axes, offset / variance)
        return -torch.einsum("bk,bki->bi", torch.softmax(log_parts, dim=1), pull)

    # --- the posterior of x0, given x_t -------------------------------------------------------------------------

    def responsibilities(self, x_t: Tensor, t: Tensor | float, path: GaussianPath) -> Tensor:
        """Probability of each component given the noisy point, shape (B, K)."""
        c = path(as_time(t, x_t))
        return torch.softmax(self._parts(x_t, c.alpha, c.sigma)[0], dim=1)

    def log_responsibilities(self, x_t: Tensor, t: Tensor | float, path: GaussianPath) -> Tensor:
        """Logarithms of the responsibilities, shape (B, K): finite where these underflow, and differentiable in x_t."""
        c = path(as_time(t, x_t))
        return torch.log_softmax(self._parts(x_t, c.alpha, c.sigma)[0], dim=1)

    def _component_means(self, offset: Tensor, variance: Tensor, alpha: Tensor) -> Tensor:
        gain = alpha.reshape(-1, 1, 1) * self._variances / variance
        return self.means + torch.einsum("kij,bkj->bki", self._axes, gain * offset)

    def posterior(self, x_t: Tensor, t: Tensor | float, path: GaussianPath) -> tuple[Tensor, Tensor, Tensor]:
        r"""The distribution of x0 given x_t: again a mixture, another one for each noisy point.

        Component k has mean m_k + alpha S_k C^-1 (x_t - alpha m_k) and covariance S_k - alpha^2 S_k C^-1 S_k, with
        C = alpha^2 S_k + sigma^2 I.

        Returns:
            Weights (B, K), means (B, K, D) and covariances (B, K, D, D).
        """
        c = path(as_time(t, x_t))
        log_parts, offset, variance = self._parts(x_t, c.alpha, c.sigma)
        # S - a^2 S^2 / (a^2 S + s^2) = S s^2 / (a^2 S + s^2), without the subtraction that would cancel
        left = (self._variances * c.sigma.reshape(-1, 1, 1) ** 2 / variance).expand(x_t.shape[0], -1, -1)
        covariances = torch.einsum("kij,bkj,klj->bkil", self._axes, left, self._axes)
        return torch.softmax(log_parts, dim=1), self._component_means(offset, variance, c.alpha), covariances

    def posterior_mean(self, x_t: Tensor, t: Tensor | float, path: GaussianPath) -> Tensor:
        """E[x0 | x_t], shape (B, D), by Bayes' rule over the components.

        Taught in: chapter 9.

        Example:
            >>> from diffedu.core.path import EDM
            >>> GaussianMixture.single(torch.zeros(2), torch.eye(2)).posterior_mean(torch.ones(1, 2), 1.0, EDM())
            tensor([[0.5000, 0.5000]])
        """
        c = path(as_time(t, x_t))
        log_parts, offset, variance = self._parts(x_t, c.alpha, c.sigma)
        means = self._component_means(offset, variance, c.alpha)
        return torch.einsum("bk,bki->bi", torch.softmax(log_parts, dim=1), means)

    def denoiser(self, path: GaussianPath) -> MixtureDenoiser:
        """The exact denoiser of this mixture on a path."""
        return MixtureDenoiser(self, path)


class MixtureDenoiser:
    """E[x0 | x_t] of a Gaussian mixture: a `Denoiser` without an error.

    Args:
        mixture: the distribution of clean data.
        path: how noise is added.

    Example:
        >>> from diffedu.core.path import EDM
        >>> exact = GaussianMixture.ring(8).denoiser(EDM())
        >>> exact(torch.zeros(1, 2), torch.tensor(80.0)).abs().max().item() < 1e-3  # pure noise: the mean of the data
        True
    """

    def __init__(self, mixture: GaussianMixture, path: GaussianPath) -> None:
        self.mixture = mixture
        self.path = path

    def __call__(self, x_t: Tensor, t: Tensor | float) -> Tensor:
        return self.mixture.posterior_mean(x_t, t, self.path)

    def given(self, component: int | Sequence[int]) -> MixtureDenoiser:
        """The exact denoiser for data from one component (or several): the conditional model of guidance."""
        chosen = [component] if isinstance(component, int) else component
        return MixtureDenoiser(self.mixture.only(chosen), self.path)


def flat_chunks(x_t: Tensor, c: PathCoefficients, chunk: int) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """At most `chunk` points at a time, flat (b, D), with their alpha and sigma (b, 1): bounds a table's memory."""
    alpha, sigma = (v.reshape(-1, 1).expand(len(x_t), 1) for v in (c.alpha, c.sigma))
    return zip(x_t.flatten(1).split(chunk), alpha.split(chunk), sigma.split(chunk), strict=True)


class DatasetDenoiser:
    r"""The exact denoiser of a finite data set: a look-up table, no network.

    The posterior over N equally likely points is a softmax of -|x_t - alpha x_i|^2 / (2 sigma^2), and its mean is
    E[x0 | x_t]. A sampler driven by it returns training points: this is what perfect memorisation looks like.

    Args:
        data: shape (N, *).
        path: how noise is added.
        labels: shape (N,), for `given`.
        chunk: how many queries are compared with the table at once; bounds the memory at chunk * N numbers.

    Raises:
        ValueError: the table is empty, or labels don't match it.

    Reference: Karras et al. 2022, appendix B.3, eq. 57. Taught in: chapters 0 and 14.

    Example:
        >>> from diffedu.core.path import EDM
        >>> table = DatasetDenoiser(torch.tensor([[0.0], [1.0]]), EDM())
        >>> table(torch.tensor([[0.9]]), torch.tensor(0.05)).round(decimals=3)
        tensor([[1.]])
    """

    def __init__(self, data: Tensor, path: GaussianPath, labels: Tensor | None = None, *, chunk: int = 1024) -> None:
        if data.ndim < 2 or len(data) == 0:
            raise ValueError(f"data must have shape (N, *) with N >= 1, got {tuple(data.shape)}")
        if labels is not None and labels.shape != data.shape[:1]:
            raise ValueError(f"labels must have shape ({len(data)},), got {tuple(labels.shape)}")
        self.data = data
        self.path = path
        self.labels = labels
        self.chunk = chunk
        self._flat = data.flatten(1)
        self._half_square = 0.5 * self._flat.square().sum(1)

    def __call__(self, x_t: Tensor, t: Tensor | float) -> Tensor:
        batch_of(self.data.shape[1:], x_t=x_t)
        means = []
        for x, a, s in flat_chunks(x_t, self.path(as_time(t, x_t)), self.chunk):
            # -|x - a x_i|^2 / (2 s^2) without |x|^2, which is the same for every i
            logits = (a * (x @ self._flat.T) - a**2 * self._half_square) / s**2
            means.append(torch.softmax(logits, dim=1) @ self._flat)
        return torch.cat(means).reshape(x_t.shape)

    def given(self, label: int) -> DatasetDenoiser:
        """The same for the points of one label."""
        if self.labels is None:
            raise ValueError("this table has no labels: pass labels= when making it")
        chosen = self.labels == label
        if not chosen.any():
            raise ValueError(f"no point has label {label}; the labels are {sorted(set(self.labels.tolist()))}")
        return DatasetDenoiser(self.data[chosen], self.path, self.labels[chosen], chunk=self.chunk)


class GridDenoiser:
    r"""The exact denoiser of any density in the plane, from its values on a grid.

    The noise is a product of two bells, so the posterior mean needs no sum over all cells for each point, but two
    matrix products:

        x0_hat_1 = (sum_ij g_i k_i f_ij k'_j) / (sum_ij k_i f_ij k'_j),    k_i = exp(-(x_1 - alpha g_i)^2 / 2 sigma^2).

    For a smooth density that vanishes at the grid's edge the sums are as good as the integrals wherever sigma / alpha
    is at least the spacing. Below that level the answers snap to the grid.

    Args:
        line: shape (G,), equally spaced values, the same on both axes, data units.
        log_density: shape (G, G), up to a constant; entry (i, j) belongs to the point (line[i], line[j]).
        path: how noise is added.

    Raises:
        ValueError: shapes don't fit; or, when called, a point lies so far off that all its weights underflow (float64
            goes further than float32), or sigma is 0.

    Taught in: chapter 12.

    Example:
        >>> from diffedu.core.path import EDM
        >>> line = torch.linspace(-6, 6, 121, dtype=torch.float64)
        >>> normal = GridDenoiser(line, -(line[:, None] ** 2 + line**2) / 2, EDM())
        >>> normal(torch.ones(1, 2, dtype=torch.float64), 1.0).round(decimals=6)
        tensor([[0.5000, 0.5000]], dtype=torch.float64)
    """

    def __init__(self, line: Tensor, log_density: Tensor, path: GaussianPath) -> None:
        if line.ndim != 1 or len(line) < 2 or log_density.shape != (len(line), len(line)):
            raise ValueError(
                f"line and log_density must have shapes (G,) and (G, G), got {tuple(line.shape)} and "
                f"{tuple(log_density.shape)}"
            )
        self.line = line
        self.density = (log_density - log_density.max()).exp()
        self.path = path

    def __call__(self, x_t: Tensor, t: Tensor | float) -> Tensor:
        if x_t.ndim != 2 or x_t.shape[1] != 2:
            raise ValueError(f"points must have shape (B, 2), got {tuple(x_t.shape)}")
        c = self.path(as_time(t, x_t))
        a, s = c.alpha.reshape(-1, 1, 1), c.sigma.reshape(-1, 1, 1)
        bells = torch.softmax(-0.5 * ((x_t[:, :, None] - a * self.line) / s) ** 2, dim=2)  # (B, 2, G)
        across, up = bells.unbind(1)
        columns = across @ self.density  # (B, G): summed over the first axis
        total = (columns * up).sum(1)
        if x_t.device.type != "meta" and not bool((total > 0).all()):
            if not bool((c.sigma > 0).all()):
                raise ValueError("without noise (sigma = 0) a grid cannot answer: end the times above 0")
            worst = x_t[~(total > 0)][0].tolist()
            raise ValueError(f"all weights underflow at the point {worst}: it lies too far from where the density is")
        first = (((across * self.line) @ self.density) * up).sum(1)
        second = (columns * up) @ self.line
        return torch.stack([first, second], dim=1) / total[:, None]

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        """n points of the density, shape (n, 2): a cell by its weight, then uniform in the cell.

        Example:
            >>> from diffedu._tensor import seeded
            >>> from diffedu.core.path import EDM
            >>> line = torch.linspace(-6, 6, 121)
            >>> GridDenoiser(line, -(line[:, None] ** 2 + line**2) / 2, EDM()).sample(5, seeded(0)).shape
            torch.Size([5, 2])
        """
        cell = torch.multinomial(self.density.flatten(), n, replacement=True, generator=generator)
        corner = torch.stack([self.line[cell // len(self.line)], self.line[cell % len(self.line)]], dim=1)
        jitter = torch.rand(n, 2, generator=generator, dtype=corner.dtype, device=generator.device)
        return corner + (self.line[1] - self.line[0]) * (jitter - 0.5)

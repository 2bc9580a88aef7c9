r"""How far apart are two sets of samples?

Every distance here compares a finite sample ``x`` with a finite sample ``y``, and even two perfect samples of
one distribution are not at distance zero. So the distances that can be estimated without bias come with a
standard error, and :func:`floor` says for any of them what perfect samples would score. Sums are taken in
float64 on the samples' device.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from diffedu._tensor import randn, same_shape


class Estimate(NamedTuple):
    """A measured value and the standard deviation of its error."""

    value: float
    standard_error: float

    def __str__(self) -> str:
        return f"{self.value:.4g} ± {self.standard_error:.2g}"


class Floor(NamedTuple):
    """What perfect samples score: mean and standard deviation over repeats, in the metric's own units."""

    mean: float
    standard_deviation: float

    def __str__(self) -> str:
        return f"{self.mean:.4g} ± {self.standard_deviation:.2g}"


class Draw(Protocol):
    """Something that draws n independent samples, such as ``mixture.sample`` or a toy distribution."""

    def __call__(self, n: int, *, generator: torch.Generator) -> Tensor:
        """Draw n samples, shape ``(n, *)``."""
        ...


def wasserstein2(x: Tensor, y: Tensor) -> float:
    r"""The 2-Wasserstein distance between two samples of equal size: the cheapest way to pair them.

    .. math:: W_2 = \min_\pi \Big( \frac1n \sum_i \lVert x_i - y_{\pi(i)} \rVert^2 \Big)^{1/2}

    Exact, by solving the assignment problem: about 1 s for n = 2000, growing like :math:`n^3`. Biased: in D
    dimensions two perfect samples are about :math:`n^{-1/D}` apart (for D > 4), so compare with
    :func:`floor`.

    Args:
        x: One sample, shape ``(n, *)``; axes after the first are flattened.
        y: The other, the same shape.

    Returns:
        The distance, in data units.

    Raises:
        ValueError: Different shapes, no samples, or values that are not finite.

    Reference:
        Peyré and Cuturi (2019), "Computational optimal transport", sections 2.2 and 2.4 (their W_p with p =
        2, uniform weights).

    Taught in: chapter 5.

    Example:
        >>> square = torch.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
        >>> wasserstein2(square, square.flip(0) + torch.tensor([3.0, 4.0]))
        5.0
    """
    x, y = _pair(x, y, equal=True)
    cost = _distances(x, y).square().cpu().numpy()
    rows, columns = linear_sum_assignment(cost)
    return math.sqrt(float(cost[rows, columns].mean()))


def sliced_wasserstein2(x: Tensor, y: Tensor, directions: int = 128, *, generator: torch.Generator) -> float:
    r"""The 2-Wasserstein distance of one-dimensional shadows, averaged over random directions.

    .. math:: SW_2 = \Big( \mathbb E_\theta\, W_2^2(\theta \cdot x,\ \theta \cdot y) \Big)^{1/2}

    with :math:`\theta` uniform on the unit sphere.

    On a line the cheapest pairing is that of the sorted values, so that n = 100,000 is no trouble. A shift by
    ``b`` in D dimensions gives :math:`\lVert b \rVert / \sqrt D`.

    Args:
        x: One sample, shape ``(n, *)``; axes after the first are flattened.
        y: The other, the same shape.
        directions: How many random directions.
        generator: The source of the directions, on the samples' device.

    Returns:
        The distance, in data units.

    Raises:
        ValueError: Different shapes, no samples, values that are not finite, no directions, or a foreign
            generator.

    Reference:
        Bonneel, Rabin, Peyré, Pfister (2015), "Sliced and Radon Wasserstein barycenters of measures".

    Taught in: chapter 5.

    Example:
        >>> from diffedu._tensor import seeded
        >>> x = torch.randn(100, 1, generator=seeded(0))
        >>> round(sliced_wasserstein2(x, x + 2, generator=seeded(1)), 4)
        2.0
    """
    if directions < 1:
        raise ValueError(f"directions must be at least 1, got {directions}")
    device = x.device
    x, y = _pair(x, y, equal=True)
    theta = randn((x.shape[1], directions), generator, device=device).to(x)
    theta = theta / theta.norm(dim=0)
    gap = (x @ theta).sort(dim=0).values - (y @ theta).sort(dim=0).values
    return gap.square().mean().sqrt().item()


def energy_distance(x: Tensor, y: Tensor) -> Estimate:
    r"""The squared energy distance, without bias, and its standard error.

    .. math:: \mathcal E = 2\, \mathbb E \lVert X - Y \rVert
              - \mathbb E \lVert X - X' \rVert - \mathbb E \lVert Y - Y' \rVert

    Zero exactly when the distributions agree. Means run over pairs of different samples, so the estimate's
    expectation is :math:`\mathcal E` itself, at any sample size, and it may be negative. It needs no
    bandwidth. Memory: three matrices of pairs, float64.

    Args:
        x: One sample, shape ``(n, *)``, n at least 4; axes after the first are flattened.
        y: The other, shape ``(m, *)``; m may differ from n.

    Returns:
        The estimate in data units, and its standard error (see :func:`mmd2` for what that is).

    Raises:
        ValueError: Samples of different shapes, fewer than four of them, or values that are not finite.

    Reference:
        Székely and Rizzo (2013), "Energy statistics", definition 1 (their V-statistic keeps the zero diagonal
        and is biased upwards; ours leaves it out). Some authors call the square root the distance.

    Taught in: chapter 5.

    Example:
        >>> from diffedu._tensor import seeded
        >>> x, y = torch.randn(2, 500, 2, generator=seeded(0))
        >>> near, far = energy_distance(x, y), energy_distance(x, y + 1)
        >>> abs(near.value) < 3 * near.standard_error, far.value > 10 * far.standard_error
        (True, True)
    """
    x, y = _pair(x, y, least=4)
    return _unbiased(-_distances(x, x), -_distances(y, y), -_distances(x, y))


def mmd2(x: Tensor, y: Tensor, bandwidth: float | Sequence[float]) -> Estimate:
    r"""The squared maximum mean discrepancy under a Gaussian kernel, without bias, and its standard error.

    .. math:: \mathrm{MMD}^2 = \mathbb E\, k(X, X') + \mathbb E\, k(Y, Y') - 2\, \mathbb E\, k(X, Y), \qquad
              k(a, b) = \exp\!\big(-\lVert a - b \rVert^2 / 2 h^2\big)

    Several bandwidths average their kernels. Choose them before looking at the samples, or the estimate is no
    longer unbiased.

    The standard error covers both parts of the estimate's noise: the part of order :math:`1/n` in its
    variance, which vanishes when the distributions agree, and the part of order :math:`1/n^2`, which then is
    all there is. It is estimated by an analysis of variance of the kernel matrices. When the distributions
    agree it errs on the safe side (too large, by up to a half in one or two dimensions), and the estimate is
    skewed to the right: permute the pooled samples where a test at an exact level is wanted.

    Args:
        x: One sample, shape ``(n, *)``, n at least 4; axes after the first are flattened.
        y: The other, shape ``(m, *)``; m may differ from n.
        bandwidth: The kernel's ``h`` in data units, or several of them.

    Returns:
        The estimate (no unit)  and its standard error.

    Raises:
        ValueError: Samples of different shapes, fewer than four of them, values that are not finite, or a
            bandwidth that is not positive.

    Reference:
        Gretton et al. (2012), "A kernel two-sample test", equation 3 (there for k with any bandwidth; ours
        allows n and m to differ).

    Taught in: chapter 5.

    Example:
        >>> from diffedu._tensor import seeded
        >>> x, y = torch.randn(2, 500, 2, generator=seeded(0))
        >>> near, far = mmd2(x, y, 1.0), mmd2(x, y + 1, [0.5, 1.0, 2.0])
        >>> abs(near.value) < 3 * near.standard_error, far.value > 10 * far.standard_error
        (True, True)
    """
    x, y = _pair(x, y, least=4)
    widths = [float(h) for h in (bandwidth if isinstance(bandwidth, Sequence) else [bandwidth])]
    if not widths or not all(h > 0 and math.isfinite(h) for h in widths):
        raise ValueError(f"bandwidth must be positive, or a list of positive numbers, got {bandwidth}")

    def kernel(a: Tensor, b: Tensor) -> Tensor:
        squares = _distances(a, b).square()
        total = torch.zeros_like(squares)
        for h in widths:
            total += torch.exp(squares / (-2 * h**2))
        return total / len(widths)

    return _unbiased(kernel(x, x), kernel(y, y), kernel(x, y))


def pathwise_error(x: Tensor, y: Tensor) -> float:
    r"""The root mean square distance between samples that belong together, such as two solvers' results.

    .. math:: \Big( \frac1n \sum_i \lVert x_i - y_i \rVert^2 \Big)^{1/2}

    One way to pair the samples, so never below :func:`wasserstein2`, the cheapest.

    Args:
        x: One sample, shape ``(n, *)``.
        y: The other, the same shape, in the same order.

    Returns:
        The error, in data units.

    Raises:
        ValueError: Different shapes, no samples, or values that are not finite.

    Taught in: chapter 5.

    Example:
        >>> pathwise_error(torch.zeros(5, 2), torch.tensor([3.0, 4.0]).expand(5, 2))
        5.0
    """
    x, y = _pair(x, y, equal=True)
    return (x - y).square().sum(dim=1).mean().sqrt().item()


def psnr(images: Tensor, reference: Tensor, span: float = 2.0) -> Tensor:
    r"""How close pictures are to their originals: peak signal-to-noise ratio, one number a picture.

    .. math:: 10 \log_{10} \frac{\text{span}^2}{\text{mean squared error}}

    Args:
        images: Shape ``(B, *)``.
        reference: The originals, the same shape.
        span: Largest value less smallest one; 2 for pictures in [-1, 1].

    Returns:
        Shape ``(B,)``, in decibels; infinite for a perfect copy.

    Raises:
        ValueError: Different shapes, no pictures, or values that are not finite.

    Taught in: chapter 17.

    Example:
        >>> psnr(torch.full((1, 3, 4, 4), 0.2), torch.zeros(1, 3, 4, 4))  # an error of a tenth of the span
        tensor([20.])
    """
    x, y = _pair(images, reference, equal=True)
    return (10 * torch.log10(span**2 / (x - y).square().mean(dim=1))).to(images.dtype)


def frechet_distance(features_x: Tensor, features_y: Tensor) -> float:
    r"""The Fréchet distance between Gaussians fitted to two feature sets, squared as the field reports it.

    See :func:`frechet_between_gaussians` for the formula. Biased upwards at finite n: compare with
    :func:`floor` at the same n. With fewer samples than features the covariances are singular; that is
    allowed, and the bias is then large.

    Args:
        features_x: Features of one set, shape ``(n, F)``, n at least 2.
        features_y: Features of the other, shape ``(m, F)``.

    Returns:
        The squared distance, in squared feature units.

    Raises:
        ValueError: Features of different shapes, fewer than two samples, or values that are not finite.

    Reference:
        Heusel et al. (2017), "GANs trained by a two time-scale update rule", equation 6. Their features come
        from Inception; numbers from other features can't be compared with theirs.

    Taught in: chapter 14.

    Example:
        >>> from diffedu._tensor import seeded
        >>> features = torch.randn(1000, 4, generator=seeded(0))
        >>> round(frechet_distance(features, features + 0.5), 6)
        1.0
    """
    x, y = _pair(features_x, features_y, least=2)
    return frechet_between_gaussians(
        x.mean(dim=0),
        torch.cov(x.T).reshape(x.shape[1], -1),
        y.mean(dim=0),
        torch.cov(y.T).reshape(x.shape[1], -1),
    )


def frechet_between_gaussians(mean_x: Tensor, cov_x: Tensor, mean_y: Tensor, cov_y: Tensor) -> float:
    r"""The squared Fréchet (2-Wasserstein) distance between two Gaussians, from their moments.

    .. math:: \lVert \mu_x - \mu_y \rVert^2 + \operatorname{tr} \Sigma_x + \operatorname{tr} \Sigma_y
              - 2 \operatorname{tr} \big( \Sigma_x^{1/2} \Sigma_y \Sigma_x^{1/2} \big)^{1/2}

    The last trace is the sum of the singular values of :math:`\Sigma_x^{1/2} \Sigma_y^{1/2}`. Both roots are
    symmetric and come from eigenvalues, so that singular covariances do no harm.

    Args:
        mean_x: Mean, shape ``(F,)``.
        cov_x: Covariance, shape ``(F, F)``, symmetric, no negative eigenvalue.
        mean_y: Mean, shape ``(F,)``.
        cov_y: Covariance, shape ``(F, F)``.

    Returns:
        The squared distance, at least 0.

    Raises:
        ValueError: Shapes that don't fit, values that are not finite, or a matrix that is no covariance.

    Reference:
        Dowson and Landau (1982), "The Fréchet distance between multivariate normal distributions".

    Taught in: chapter 14.

    Example:
        >>> zero, one = torch.zeros(2), torch.eye(2)
        >>> round(frechet_between_gaussians(zero, one, zero + 1, 4 * one), 9)
        4.0
    """
    same_shape(mean_x=mean_x, mean_y=mean_y)
    mean_x, mean_y = _double(mean_x), _double(mean_y)
    if mean_x.ndim != 1 or not (mean_x.isfinite().all() and mean_y.isfinite().all()):
        raise ValueError(f"mean_x and mean_y must be finite vectors of shape (F,), got shape {tuple(mean_x.shape)}")
    root_x, root_y = _root("cov_x", cov_x, len(mean_x)), _root("cov_y", cov_y, len(mean_y))
    overlap = torch.linalg.svdvals(root_x @ root_y).sum()
    square = (mean_x - mean_y).square().sum() + root_x.square().sum() + root_y.square().sum() - 2 * overlap
    return max(square.item(), 0.0)  # rounding may leave -1e-15


def floor(
    metric: Callable[[Tensor, Tensor], float | Estimate],
    draw: Draw,
    n: int,
    *,
    generator: torch.Generator,
    repeats: int = 10,
) -> Floor:
    """What perfect samples score: the metric between two fresh, independent, exact samples of the same size.

    Args:
        metric: Any metric of two samples; bind further arguments with ``functools.partial``.
        draw: Draws exact samples: ``mixture.sample``, a toy distribution, or a function over real data.
        n: Samples on each side: as many as in the measurement that the floor stands beside.
        generator: The source of randomness of all draws.
        repeats: How many times, at least 2.

    Returns:
        Mean and standard deviation of the scores over the repeats.

    Raises:
        ValueError: Fewer than two repeats.

    Taught in: chapter 5.

    Example:
        >>> from diffedu._tensor import seeded
        >>> from diffedu.data import moons
        >>> print(floor(wasserstein2, moons, 200, generator=seeded(0)))
        0.3031 ± 0.1
    """
    if repeats < 2:
        raise ValueError(f"repeats must be at least 2 to know how much the floor varies, got {repeats}")
    scores = []
    for _ in range(repeats):
        score = metric(draw(n, generator=generator), draw(n, generator=generator))
        scores.append(score.value if isinstance(score, Estimate) else score)
    values = torch.tensor(scores, dtype=torch.float64, device="cpu")
    return Floor(values.mean().item(), values.std().item())


def _pair(x: Tensor, y: Tensor, *, equal: bool = False, least: int = 1) -> tuple[Tensor, Tensor]:
    """Both samples as (n, D) in float64, after the checks that all metrics share."""
    if equal:
        same_shape(x=x, y=y)
    for name, sample in (("x", x), ("y", y)):
        if sample.ndim < 2:
            raise ValueError(f"{name} must have shape (n, *) with at least two axes, got {tuple(sample.shape)}")
        if len(sample) < least:
            raise ValueError(f"{name} must hold at least {least} samples, got {len(sample)}")
        if not sample.isfinite().all():
            raise ValueError(f"{name} holds values that are not finite (NaN or infinity)")
    if x.shape[1:] != y.shape[1:]:
        raise ValueError(f"samples of x and y must have one shape, got {tuple(x.shape[1:])} and {tuple(y.shape[1:])}")
    return _double(x.flatten(1)), _double(y.flatten(1))


def _double(x: Tensor) -> Tensor:
    # Apple's GPUs have no float64.
    return (x.detach().cpu() if x.device.type == "mps" else x.detach()).double()


def _distances(a: Tensor, b: Tensor) -> Tensor:
    # Not by |a|^2 + |b|^2 - 2 a.b, which loses half of the digits where points are close.
    return torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist")


def _unbiased(xx: Tensor, yy: Tensor, xy: Tensor) -> Estimate:
    """E k(X, X') + E k(Y, Y') - 2 E k(X, Y) from kernel matrices, with its standard error."""
    n, m = xy.shape
    within_x = (xx.sum() - xx.trace()) / (n * (n - 1))
    within_y = (yy.sum() - yy.trace()) / (m * (m - 1))
    first, second = _variance(xx, yy, xy)
    # The truth is not negative, its estimate may be; without the clamp a whole standard error could vanish.
    error = (first.clamp(min=0) + second).sqrt()
    return Estimate((within_x + within_y - 2 * xy.mean()).item(), error.item())


def _variance(xx: Tensor, yy: Tensor, xy: Tensor) -> tuple[Tensor, Tensor]:
    """The variance of the unbiased estimate, itself without bias: its parts of order 1/n and of order 1/n^2.

    Split the kernel into a mean, one function of each argument, and a rest that averages to zero over either
    argument (Hoeffding): k(x, x') = mu + g(x) + g(x') + r(x, x'), and likewise for the others. With a = g_xx
    - g_xy and b = g_yy - g_yx the estimate's noise is a sum of uncorrelated terms, and its variance is
    exactly

        4 Var a / n  +  4 Var b / m  +  2 E r_xx^2 / (n(n-1))  +  2 E r_yy^2 / (m(m-1))  +  4 E r_xy^2 / (nm).

    Each part has an unbiased estimate. Those of Var a and Var b subtract what the rests add to the scatter of
    the row means.
    """
    n, m = xy.shape
    row_x, rest_xx = _split_within(xx)
    row_y, rest_yy = _split_within(yy)
    to_x, to_y = xy.mean(dim=1), xy.mean(dim=0)
    rest_xy = (xy - to_x[:, None] - to_y[None, :] + xy.mean()).square().sum() / ((n - 1) * (m - 1))

    var_a = (row_x - to_x).var() - rest_xx / (n - 2) - rest_xy / m
    var_b = (row_y - to_y).var() - rest_yy / (m - 2) - rest_xy / n
    second = 2 * rest_xx / (n * (n - 1)) + 2 * rest_yy / (m * (m - 1)) + 4 * rest_xy / (n * m)
    return 4 * var_a / n + 4 * var_b / m, second


def _split_within(k: Tensor) -> tuple[Tensor, Tensor]:
    """Row sums over n - 2 without the diagonal (their scatter is that of g), and the unbiased E r^2.

    Over n - 2 and not n - 1: row i lacks its own g(x_i), which scales the coefficient of g(x_i) by (n - 2) /
    (n - 1).
    """
    n = len(k)
    off = k - torch.diag(k.diagonal())
    row = off.sum(dim=1) / (n - 2)
    total = off.sum() / ((n - 1) * (n - 2))
    rest = off - row[:, None] - row[None, :] + total
    rest.fill_diagonal_(0.0)
    return row, rest.square().sum() / (n * (n - 3))


def _root(name: str, cov: Tensor, size: int) -> Tensor:
    """The symmetric root of a covariance matrix."""
    cov = _double(cov)
    if cov.shape != (size, size) or not cov.isfinite().all():
        raise ValueError(f"{name} must be a finite matrix of shape {(size, size)}, got shape {tuple(cov.shape)}")
    scale = max(cov.abs().max().item(), 1e-300)
    if (cov - cov.T).abs().max().item() > 1e-5 * scale:
        raise ValueError(f"{name} must be symmetric; it differs from its transpose")
    values, vectors = torch.linalg.eigh((cov + cov.T) / 2)
    if values[0].item() < -1e-5 * size * scale:
        raise ValueError(f"{name} is no covariance: its smallest eigenvalue is {values[0].item():.3g}")
    return (vectors * values.clamp(min=0).sqrt()) @ vectors.T

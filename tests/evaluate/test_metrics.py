"""Metrics against closed forms, brute force and their own error bars."""

from __future__ import annotations

import functools
import itertools
import math

import numpy as np
import pytest
import scipy.linalg
import torch

from diffedu._tensor import seeded
from diffedu.evaluate import (
    Estimate,
    energy_distance,
    floor,
    frechet_between_gaussians,
    frechet_distance,
    mmd2,
    pathwise_error,
    psnr,
    sliced_wasserstein2,
    wasserstein2,
)
from diffedu.evaluate.metrics import _variance

REPEATS = 250


def normal(n, *, generator, size=2, shift=0.0, scale=1.0):
    return shift + scale * torch.randn(n, size, generator=generator, device="cpu")


# --- Wasserstein


def test_w2_of_a_shifted_and_shuffled_cloud_is_the_shift():
    x = normal(200, generator=seeded(0), size=3)
    shift = torch.tensor([1.0, -2.0, 2.0])
    y = (x + shift)[torch.randperm(200, generator=seeded(1))]
    assert wasserstein2(x, y) == pytest.approx(3.0, rel=1e-6)
    assert wasserstein2(x, x.flip(0)) == 0


def test_w2_tries_as_well_as_all_permutations():
    x, y = torch.randn(2, 6, 2, generator=seeded(2), dtype=torch.float64)
    costs = [(x - y[list(order)]).square().sum(1).mean().sqrt().item() for order in itertools.permutations(range(6))]
    assert wasserstein2(x, y) == pytest.approx(min(costs), rel=1e-12)


def test_w2_on_a_line_pairs_sorted_values():
    x, y = torch.randn(2, 300, 1, generator=seeded(3), dtype=torch.float64)
    expected = (x.sort(0).values - y.exp().sort(0).values).square().mean().sqrt().item()
    assert wasserstein2(x, y.exp()) == pytest.approx(expected, rel=1e-12)
    assert sliced_wasserstein2(x, y.exp(), generator=seeded(0)) == pytest.approx(expected, rel=1e-6)


def test_w2_takes_images():
    x = torch.zeros(5, 1, 4, 4)
    assert wasserstein2(x, x + 0.5) == pytest.approx(0.5 * 4)


def test_sliced_w2_of_a_shift():
    x = normal(50, generator=seeded(0), size=4)
    shift = torch.tensor([3.0, 0.0, 4.0, 0.0])
    directions = 4000
    square = sliced_wasserstein2(x, x + shift, directions, generator=seeded(1)) ** 2
    # (theta . shift)^2 / 25 is Beta(1/2, 3/2): mean 1/4, variance 1/16.
    assert abs(square / 25 - 1 / 4) < 4 * 0.25 / math.sqrt(directions)


def test_sliced_w2_is_no_more_than_w2():
    x, y = normal(200, generator=seeded(0)), normal(200, generator=seeded(1), shift=1.0)
    assert sliced_wasserstein2(x, y, generator=seeded(2)) < wasserstein2(x, y)


def test_psnr_of_known_errors():
    pictures = torch.rand(3, 2, 5, 5, generator=seeded(0)) * 2 - 1
    noise = torch.tensor([0.2, 0.02, 2.0])[:, None, None, None] * torch.ones(3, 2, 5, 5)
    torch.testing.assert_close(psnr(pictures + noise, pictures), torch.tensor([20.0, 40.0, 0.0]), atol=1e-4, rtol=0)
    torch.testing.assert_close(psnr(255 * (pictures + noise), 255 * pictures, span=510)[:2], torch.tensor([20.0, 40.0]))
    # the mean is over errors, not over decibels
    half = noise.clone()
    half[:, 0] = 0
    gain = psnr(pictures + half, pictures) - psnr(pictures + noise, pictures)
    torch.testing.assert_close(gain, torch.full((3,), 10 * math.log10(2)), atol=1e-3, rtol=0)
    assert psnr(pictures, pictures).isinf().all()
    with pytest.raises(ValueError, match="shape"):
        psnr(pictures, pictures[:, :1])


def test_pathwise_error_is_the_cost_of_one_pairing():
    x = normal(100, generator=seeded(0))
    y = x + torch.tensor([3.0, 4.0])
    assert pathwise_error(x, y) == pytest.approx(5.0, rel=1e-6)
    shuffled = y[torch.randperm(100, generator=seeded(1))]
    assert pathwise_error(x, shuffled) > wasserstein2(x, shuffled) + 0.1


# --- energy distance and MMD


def mean_distance(shift: float, variance: float) -> float:
    """E|Z| for Z from N(shift, variance)."""
    s = math.sqrt(variance)
    density = math.exp(-(shift**2) / (2 * variance))
    return s * math.sqrt(2 / math.pi) * density + shift * math.erf(shift / (s * math.sqrt(2)))


def energy_of_normals(shift: float, scale: float) -> float:
    """Between N(0, 1) and N(shift, scale^2)."""
    return 2 * mean_distance(shift, 1 + scale**2) - mean_distance(0.0, 2.0) - mean_distance(0.0, 2 * scale**2)


def mmd2_of_normals(shift: float, scale: float, size: int, h: float) -> float:
    """Between N(0, I) and N(shift in each coordinate, scale^2 I)."""

    def mean_kernel(offset, variance):  # E exp(-|Z|^2 / 2h^2), Z from N(offset, variance I)
        return (h**2 / (h**2 + variance)) ** (size / 2) * math.exp(-size * offset**2 / (2 * (h**2 + variance)))

    return mean_kernel(0, 2) + mean_kernel(0, 2 * scale**2) - 2 * mean_kernel(shift, 1 + scale**2)


def brute(kernel, x, y):
    n, m = len(x), len(y)
    xx = sum(kernel(x[i], x[j]) for i in range(n) for j in range(n) if i != j) / (n * (n - 1))
    yy = sum(kernel(y[i], y[j]) for i in range(m) for j in range(m) if i != j) / (m * (m - 1))
    xy = sum(kernel(a, b) for a in x for b in y) / (n * m)
    return float(xx + yy - 2 * xy)


def test_estimates_are_means_over_pairs_of_different_samples():
    x = torch.randn(5, 3, generator=seeded(0), dtype=torch.float64)
    y = torch.randn(7, 3, generator=seeded(1), dtype=torch.float64)
    assert energy_distance(x, y).value == pytest.approx(brute(lambda a, b: -(a - b).norm(), x, y), rel=1e-12)

    def kernel(a, b):
        return sum(torch.exp(-(a - b).square().sum() / (2 * h**2)) for h in (0.5, 2.0)) / 2

    assert mmd2(x, y, [0.5, 2.0]).value == pytest.approx(brute(kernel, x, y), rel=1e-10)
    assert mmd2(x, y, 0.5).value == mmd2(x, y, [0.5]).value


def test_the_variance_is_estimated_without_bias_by_exhaustion():
    """Distributions on a few points; all samples of 4 and 5, weighted by their probabilities: exact."""
    x_points, x_chance = torch.tensor([[0.0], [1.0], [2.5]]).double(), [0.5, 0.3, 0.2]
    y_points, y_chance = torch.tensor([[0.3], [2.0]]).double(), [0.4, 0.6]
    first = second = variance = mean = 0.0
    for i in itertools.combinations_with_replacement(range(3), 4):
        for j in itertools.combinations_with_replacement(range(2), 5):
            chance = multinomial(i, x_chance) * multinomial(j, y_chance)
            x, y = x_points[list(i)], y_points[list(j)]
            xx, yy, xy = (-torch.cdist(a, b) for a, b in ((x, x), (y, y), (x, y)))
            value = energy_distance(x, y).value
            order_1, order_2 = _variance(xx, yy, xy)
            mean += chance * value
            variance += chance * value**2
            first += chance * order_1.item()
            second += chance * order_2.item()
    variance -= mean**2
    truth = sum(p * q * 2 * abs(float(a - b)) for a, p in zip(x_points, x_chance) for b, q in zip(y_points, y_chance))
    for points, chances in ((x_points, x_chance), (y_points, y_chance)):
        truth -= sum(p * q * abs(float(a - b)) for a, p in zip(points, chances) for b, q in zip(points, chances))
    assert mean == pytest.approx(truth, rel=1e-12)
    assert first > 0.02  # both parts matter here
    assert second > 0.02
    assert first + second == pytest.approx(variance, rel=1e-12)


def multinomial(drawn, chances):
    counts = [drawn.count(k) for k in range(len(chances))]
    ways = math.factorial(len(drawn)) // math.prod(math.factorial(c) for c in counts)
    return ways * math.prod(p**c for p, c in zip(chances, counts))


CASES = {
    "energy, shifted": (energy_distance, {"size": 1, "shift": 1.0}, energy_of_normals(1.0, 1.0)),
    "energy, wider": (energy_distance, {"size": 1, "scale": 3.0}, energy_of_normals(0.0, 3.0)),
    "mmd, shifted": (
        functools.partial(mmd2, bandwidth=1.0),
        {"size": 2, "shift": 1.0},
        mmd2_of_normals(1.0, 1.0, 2, 1.0),
    ),
    "mmd, wider": (
        functools.partial(mmd2, bandwidth=2.0),
        {"size": 3, "shift": 0.5, "scale": 2.0},
        mmd2_of_normals(0.5, 2.0, 3, 2.0),
    ),
}


@pytest.mark.parametrize(("metric", "other", "truth"), CASES.values(), ids=CASES)
def test_error_bars_are_calibrated_where_distributions_differ(metric, other, truth):
    generator = seeded(0)
    estimates = [
        metric(normal(150, generator=generator, size=other["size"]), normal(100, generator=generator, **other))
        for _ in range(REPEATS)
    ]
    values = np.array([e.value for e in estimates])
    errors = np.array([e.standard_error for e in estimates])
    spread = values.std(ddof=1)
    assert abs(values.mean() - truth) < 4 * spread / math.sqrt(REPEATS)
    # A standard deviation from 250 repeats is itself known to 4.5 %: 15 % is 3.3 of that.
    assert math.sqrt((errors**2).mean()) == pytest.approx(spread, rel=0.15)
    z = (values - truth) / errors
    assert abs(z.mean()) < 0.35  # value and error bar go together a little, so not exactly 0
    assert 0.85 < z.std(ddof=1) < 1.2


@pytest.mark.parametrize(
    "metric", [energy_distance, functools.partial(mmd2, bandwidth=[0.5, 1.0])], ids=["energy", "mmd"]
)
@pytest.mark.parametrize("size", [1, 10])
def test_error_bars_are_on_the_safe_side_where_distributions_agree(metric, size):
    generator = seeded(1)
    estimates = [
        metric(normal(80, generator=generator, size=size), normal(60, generator=generator, size=size))
        for _ in range(REPEATS)
    ]
    values = np.array([e.value for e in estimates])
    errors = np.array([e.standard_error for e in estimates])
    spread = values.std(ddof=1)
    assert abs(values.mean()) < 4 * spread / math.sqrt(REPEATS)
    assert (values < 0).mean() > 0.3  # unbiased around zero means negative as often as not
    ratio = math.sqrt((errors**2).mean()) / spread
    assert 0.9 < ratio < 1.7
    z = values / errors
    assert abs(z.mean()) < 0.35
    assert 0.45 < z.std(ddof=1) < 1.1


def test_error_bars_shrink_as_they_should():
    far = [
        energy_distance(normal(n, generator=seeded(0)), normal(n, generator=seeded(1), shift=1.0)).standard_error
        for n in (100, 1600)
    ]
    assert far[0] / far[1] == pytest.approx(4, rel=0.3)  # 1 / sqrt(n)
    same = [
        np.median([energy_distance(*torch.randn(2, n, 10, generator=seeded(s))).standard_error for s in range(9)])
        for n in (50, 400)
    ]

    assert same[0] / same[1] == pytest.approx(8, rel=0.4)  # 1 / n


# --- Fréchet


def covariance(size, rank, seed):
    root = torch.randn(size, rank, generator=seeded(seed), dtype=torch.float64)
    return root @ root.T / rank


@pytest.mark.parametrize(("size", "rank"), [(1, 1), (3, 5), (16, 40), (16, 16)])
def test_frechet_agrees_with_the_matrix_square_root(size, rank):
    mean_x, mean_y = torch.randn(2, size, generator=seeded(0), dtype=torch.float64)
    a, b = covariance(size, rank, 1), covariance(size, rank, 2)
    root = np.real(scipy.linalg.sqrtm(a.numpy() @ b.numpy()))
    expected = float((mean_x - mean_y).square().sum() + a.trace() + b.trace()) - 2 * np.trace(root)
    assert frechet_between_gaussians(mean_x, a, mean_y, b) == pytest.approx(expected, rel=1e-8)
    assert frechet_between_gaussians(mean_y, b, mean_x, a) == pytest.approx(expected, rel=1e-8)


def test_frechet_in_one_dimension_and_with_singular_matrices():
    one = torch.tensor([1.0])
    assert frechet_between_gaussians(one, one[None] * 4, one * 3, one[None] * 25) == pytest.approx(4 + (2 - 5) ** 2)
    # Rank-one covariances along orthogonal axes: nothing overlaps, both variances must be paid in full.
    a, b = torch.diag(torch.tensor([2.0, 0.0])), torch.diag(torch.tensor([0.0, 3.0]))
    assert frechet_between_gaussians(torch.zeros(2), a, torch.zeros(2), b) == pytest.approx(5.0)
    low = covariance(20, 3, 0)
    assert frechet_between_gaussians(torch.zeros(20), low, torch.zeros(20), low) < 1e-12


def test_frechet_of_features_fits_their_moments():
    x = normal(50, generator=seeded(0), size=6)
    y = normal(80, generator=seeded(1), size=6, shift=0.3, scale=2.0)
    (mean_x, cov_x), (mean_y, cov_y) = (
        (
            torch.from_numpy(f.double().numpy().mean(0)),
            torch.from_numpy(np.cov(f.double().numpy(), rowvar=False)),
        )
        for f in (x, y)
    )
    expected = frechet_between_gaussians(mean_x, cov_x, mean_y, cov_y)
    assert frechet_distance(x, y) == pytest.approx(expected, rel=1e-10)
    assert frechet_distance(x[:, :1], y[:, :1]) > 0  # a single feature has a covariance too


# --- floor


def test_floor_repeats_and_falls_with_n():
    small, again, large = (floor(wasserstein2, normal, n, generator=seeded(0)) for n in (50, 50, 400))
    assert small == again
    assert large.mean < 0.7 * small.mean
    assert small.standard_deviation > 0


def test_floor_is_mean_and_deviation_over_fresh_pairs():
    seen = []

    def metric(x, y):
        assert not torch.equal(x, y)
        seen.append((x - y).norm().item())
        return Estimate(seen[-1], 99.0)

    result = floor(metric, normal, 5, generator=seeded(0), repeats=7)
    assert len(set(seen)) == 7
    assert result.mean == pytest.approx(np.mean(seen))
    assert result.standard_deviation == pytest.approx(np.std(seen, ddof=1))


def test_floor_of_an_unbiased_distance_is_zero():
    result = floor(energy_distance, normal, 60, generator=seeded(0), repeats=100)
    assert abs(result.mean) < 4 * result.standard_deviation / 10


def test_printing():
    assert str(Estimate(0.123456, 0.00123)) == "0.1235 ± 0.0012"
    assert str(floor(pathwise_error, lambda n, *, generator: torch.zeros(n, 1), 3, generator=seeded(0))) == "0 ± 0"


# --- bad input

X = torch.zeros(6, 2)
ALL = [
    wasserstein2,
    energy_distance,
    frechet_distance,
    pathwise_error,
    functools.partial(mmd2, bandwidth=1.0),
    functools.partial(sliced_wasserstein2, generator=seeded(0)),
]


@pytest.mark.parametrize("metric", ALL)
def test_shared_checks(metric):
    with pytest.raises(ValueError, match="y holds values that are not finite"):
        metric(X, torch.full((6, 2), float("nan")))
    with pytest.raises(ValueError, match=r"x must have shape \(n, \*\) with at least two axes, got \(6,\)"):
        metric(torch.zeros(6), torch.zeros(6))
    with pytest.raises(ValueError, match=r"x and y must have (one shape|the same shape), got"):
        metric(X, torch.zeros(6, 3))
    with pytest.raises(ValueError, match=r"x must hold at least [124] samples, got 0"):
        metric(X[:0], X[:0])


@pytest.mark.parametrize("metric", [ALL[0], ALL[3], ALL[5]])
def test_equal_sizes_where_samples_are_paired(metric):
    with pytest.raises(ValueError, match=r"x and y must have the same shape, got \(6, 2\) and \(5, 2\)"):
        metric(X, X[:5])


def test_other_sentences():
    with pytest.raises(ValueError, match="y must hold at least 4 samples, got 3"):
        energy_distance(X, X[:3])
    with pytest.raises(ValueError, match="y must hold at least 2 samples, got 1"):
        frechet_distance(X, X[:1])
    for bandwidth in (0.0, -1.0, float("inf"), [], [1.0, 0.0]):
        with pytest.raises(ValueError, match="bandwidth must be positive"):
            mmd2(X, X, bandwidth)
    with pytest.raises(ValueError, match="directions must be at least 1, got 0"):
        sliced_wasserstein2(X, X, 0, generator=seeded(0))
    with pytest.raises(ValueError, match="repeats must be at least 2"):
        floor(wasserstein2, normal, 5, generator=seeded(0), repeats=1)
    zero, one = torch.zeros(2), torch.eye(2)
    with pytest.raises(ValueError, match=r"cov_y must be a finite matrix of shape \(2, 2\), got shape \(3, 3\)"):
        frechet_between_gaussians(zero, one, zero, torch.eye(3))
    with pytest.raises(ValueError, match="cov_x must be symmetric"):
        frechet_between_gaussians(zero, torch.tensor([[1.0, 0.5], [0.0, 1.0]]), zero, one)
    with pytest.raises(ValueError, match="cov_x is no covariance: its smallest eigenvalue is -1"):
        frechet_between_gaussians(zero, -one, zero, one)
    with pytest.raises(ValueError, match="mean_x and mean_y must be finite vectors"):
        frechet_between_gaussians(zero / 0, one, zero, one)


def test_nothing_is_made_on_a_default_device():
    x, y = normal(8, generator=seeded(0)), normal(8, generator=seeded(1))
    expected = [metric(x, y) for metric in ALL[:5]]
    with torch.device("meta"):
        assert [metric(x, y) for metric in ALL[:5]] == expected
        sliced_wasserstein2(x, y, generator=seeded(0))
        floor(wasserstein2, lambda n, *, generator: normal(n, generator=generator), 8, generator=seeded(0))


def test_gradients_are_not_carried():
    x = normal(8, generator=seeded(0)).requires_grad_()
    assert isinstance(energy_distance(x, x + 1).value, float)
    assert isinstance(wasserstein2(x, x + 1), float)

"""The first guess against the exact denoiser of one Gaussian."""

from __future__ import annotations

import pytest
import torch

from diffedu._tensor import seeded
from diffedu.core import GaussianGuess, GaussianMixture, RectifiedFlow
from tests.core.paths import PATHS, inside

D, DOUBLE = 6, torch.float64


def data(n=400, classes=2):
    """Two classes with a mean and a covariance of their own, each round but for two directions."""
    g = seeded(0)
    labels = torch.arange(n) % classes
    mix = torch.randn(classes, 2, D, generator=g, dtype=DOUBLE)
    hidden = torch.randn(n, 1, 2, generator=g, dtype=DOUBLE)
    x0 = labels[:, None] - 0.5 + (hidden @ mix[labels])[:, 0] + 0.1 * torch.randn(n, D, generator=g, dtype=DOUBLE)
    return x0, labels


def model(guess, label):
    """The Gaussian that the guess stands for, written out from its parts."""
    axes, rest = guess.principal[label], guess.rest[label]
    covariance = axes.T @ (guess.variance[label][:, None] * axes)
    covariance += rest * (torch.eye(D, dtype=DOUBLE) - axes.T @ axes)
    return GaussianMixture.single(guess.mean[label], covariance)


@pytest.mark.parametrize("name", PATHS)
@pytest.mark.parametrize("axes", [1, 2, D - 1])
def test_it_is_the_exact_denoiser_of_its_gaussian(name, axes):
    path, (x0, labels) = PATHS[name], data()
    guess = GaussianGuess(path, x0, labels, classes=2, axes=axes)
    t = inside(path)
    x = 2 * torch.randn(len(t), D, generator=seeded(1), dtype=DOUBLE)
    for label in range(3):
        exact = model(guess, label).denoiser(path)
        torch.testing.assert_close(guess(x, t, torch.full((len(t),), label)), exact(x, t), rtol=1e-6, atol=1e-6)


def test_the_gaussian_is_that_of_the_data():
    """With all axes but one nothing is averaged: mean and covariance of a class, and of all, are kept whole."""
    x0, labels = data()
    guess = GaussianGuess(RectifiedFlow(), x0, labels, classes=2, axes=D - 1)
    for label, chosen in enumerate((x0[labels == 0], x0[labels == 1], x0)):
        kept = model(guess, label)
        torch.testing.assert_close(kept.means[0], chosen.mean(dim=0))
        axes, variances = kept._axes[0], kept._variances[0]
        torch.testing.assert_close(axes @ (variances[:, None] * axes.T), torch.cov(chosen.T, correction=0))


def test_the_rest_is_the_mean_of_the_other_variances():
    x0, labels = data()
    guess = GaussianGuess(RectifiedFlow(), x0, labels, classes=2, axes=2)
    for label in range(2):
        variances = torch.linalg.eigvalsh(torch.cov(x0[labels == label].T, correction=0))
        torch.testing.assert_close(guess.variance[label], variances[-2:])
        torch.testing.assert_close(guess.rest[label], variances[:-2].mean())


def test_no_linear_guess_is_better():
    """Its mean squared error on its own data is that of least squares, the best of all affine guesses."""
    x0, labels = data(4000)
    path, t = RectifiedFlow(), 0.6
    guess = GaussianGuess(path, x0, labels, classes=2, axes=D - 1)
    c = path(torch.tensor(t, dtype=DOUBLE))
    x_t = c.alpha * x0 + c.sigma * torch.randn(x0.shape, generator=seeded(2), dtype=DOUBLE)
    ours = (guess(x_t, t) - x0).square().mean()
    with_one = torch.cat([x_t, torch.ones(len(x_t), 1, dtype=DOUBLE)], dim=1)
    fitted = with_one @ torch.linalg.lstsq(with_one, x0).solution
    best = (fitted - x0).square().mean()
    assert best <= ours < 1.01 * best


def test_it_keeps_shapes_and_reads_labels():
    x0, labels = data()
    pictures = x0.reshape(-1, 1, 2, 3)
    guess = GaussianGuess(RectifiedFlow(), pictures, labels, classes=2, axes=2)
    x, t = torch.randn(3, 1, 2, 3, generator=seeded(3), dtype=DOUBLE), torch.tensor([0.2, 0.5, 0.9], dtype=DOUBLE)
    mixed = guess(x, t, torch.tensor([0, 1, 2]))
    assert mixed.shape == x.shape
    for i in range(3):
        alone = guess(x[i : i + 1], t[i : i + 1], torch.tensor([i]))
        torch.testing.assert_close(mixed[i : i + 1], alone)
    assert torch.equal(guess(x, t), guess(x, t, torch.full((3,), 2)))
    assert not torch.allclose(mixed[0], guess(x, t)[0])
    assert guess.state_dict() == {}
    assert {buffer.dtype for buffer in guess.float().buffers()} == {torch.float32}


def test_at_pure_noise_it_is_the_mean_whatever_is_seen():
    x0, labels = data()
    guess = GaussianGuess(RectifiedFlow(), x0, labels, classes=2, axes=2)
    x = torch.randn(2, D, generator=seeded(4), dtype=DOUBLE)
    torch.testing.assert_close(guess(x, 1.0, torch.tensor([0, 1])), guess.mean[:2])


def test_what_does_not_fit_is_refused():
    x0, labels = data(20)
    with pytest.raises(ValueError, match=r"labels must have shape \(20,\)"):
        GaussianGuess(RectifiedFlow(), x0, labels[:5], classes=2, axes=2)
    for axes in (0, D):
        with pytest.raises(ValueError, match="axes must lie between 1 and 5"):
            GaussianGuess(RectifiedFlow(), x0, labels, classes=2, axes=axes)
    with pytest.raises(ValueError, match="class 2 has 0"):
        GaussianGuess(RectifiedFlow(), x0, labels, classes=3, axes=2)
    with pytest.raises(ValueError, match="labels must lie between 0 and 0, got 0 to 1"):
        GaussianGuess(RectifiedFlow(), x0, labels, classes=1, axes=2)
    guess = GaussianGuess(RectifiedFlow(), x0, labels, classes=2, axes=2)
    with pytest.raises(ValueError, match="6 coordinates an example, got 4"):
        guess(torch.zeros(2, 4, dtype=DOUBLE), 0.5)


def test_what_never_varies_is_guessed_to_be_its_mean_even_without_noise():
    """Two points: one direction varies, the others don't; at sigma = 0 their factor is not 0 / 0."""
    x0 = torch.tensor([[1.0, 2.0, 3.0], [-1.0, 2.0, 3.0]], dtype=DOUBLE)
    for axes in (1, 2):
        guess = GaussianGuess(RectifiedFlow(), x0, torch.zeros(2, dtype=torch.long), classes=1, axes=axes)
        off = torch.tensor([[0.5, 2.5, 2.0]], dtype=DOUBLE)
        torch.testing.assert_close(guess(off, 0.0), torch.tensor([[0.5, 2.0, 3.0]], dtype=DOUBLE))

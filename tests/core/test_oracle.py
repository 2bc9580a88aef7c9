"""Oracles against quadrature, autograd, loops written out, and sampling with stated error bars."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import stats

from diffedu._tensor import seeded
from diffedu.core import EDM, VE, VP, DatasetDenoiser, GaussianMixture, RectifiedFlow
from tests.core.paths import PATHS


def tensor(values):
    return torch.tensor(values, dtype=torch.float64)


def line():
    return GaussianMixture(
        tensor([0.2, 0.5, 0.3]), tensor([[-1.5], [0.2], [1.0]]), tensor([[[0.09]], [[0.25]], [[0.01]]])
    )


def plane():
    """Full covariances, all different, unequal weights that don't sum to 1."""
    return GaussianMixture(
        tensor([2.0, 1.0, 1.0]),
        tensor([[-1.0, 0.3], [0.8, -0.7], [0.2, 1.1]]),
        tensor([[[0.30, 0.18], [0.18, 0.20]], [[0.10, -0.06], [-0.06, 0.40]], [[0.05, 0.0], [0.0, 0.15]]]),
    )


def space():
    """Three dimensions, and as many components: shapes that broadcasting could confuse."""
    g = seeded(5)
    root = torch.randn(3, 3, 3, generator=g, dtype=torch.float64)
    return GaussianMixture(
        tensor([0.2, 0.3, 0.5]), torch.randn(3, 3, generator=g, dtype=torch.float64), root @ root.mT / 3
    )


MIXTURES = {"line": line, "plane": plane, "space": space}
every_mixture = pytest.mark.parametrize("make", MIXTURES.values(), ids=MIXTURES)


def parts(mixture):
    return [
        (w, stats.multivariate_normal(m, s))
        for w, m, s in zip(mixture.weights.numpy(), mixture.means.numpy(), mixture.covariances.numpy(), strict=True)
    ]


# --- density and score


@every_mixture
def test_log_prob_is_scipy_s(make):
    mixture = make()
    x = torch.randn(20, mixture.D, generator=seeded(1), dtype=torch.float64) * 2
    density = sum(w * p.pdf(x.numpy()) for w, p in parts(mixture))
    np.testing.assert_allclose(mixture.log_prob(x).exp().numpy(), density, rtol=1e-9)


@every_mixture
@pytest.mark.parametrize("name", PATHS)
def test_score_is_the_gradient_of_log_prob(make, name):
    path = PATHS[name]
    for fraction in (0.05, 0.5, 0.95):
        noised = make().noised(path, fraction * path.t_max)
        x = noised.sample(15, seeded(2)).requires_grad_()
        (gradient,) = torch.autograd.grad(noised.log_prob(x).sum(), x)
        torch.testing.assert_close(noised.score(x.detach()), gradient, rtol=1e-9, atol=1e-11)


@every_mixture
def test_noised_mixture_is_the_convolution_that_samples_see(make):
    """Mean and covariance of the noised mixture follow from those of the mixture, whatever its shape."""
    mixture = make()
    for path in PATHS.values():
        c = path(torch.tensor(0.4 * path.t_max, dtype=torch.float64))
        noised = mixture.noised(path, 0.4 * path.t_max)
        torch.testing.assert_close(noised.mean, c.alpha * mixture.mean)
        wanted = c.alpha**2 * mixture.covariance + c.sigma**2 * torch.eye(mixture.D, dtype=torch.float64)
        torch.testing.assert_close(noised.covariance, wanted)


def test_moments_of_the_mixture_by_quadrature():
    grid = np.linspace(-6, 6, 20_001)
    density = sum(w * p.pdf(grid) for w, p in parts(line()))
    mean = np.trapezoid(grid * density, grid)
    assert line().mean.item() == pytest.approx(mean, rel=1e-9)
    assert line().covariance.item() == pytest.approx(np.trapezoid((grid - mean) ** 2 * density, grid), rel=1e-9)


# --- posteriors


def quadrature_1d(mixture, x, alpha, sigma):
    """Weights, means and variances by component, and the whole posterior's mean, by Riemann sums."""
    grid = np.linspace(-6, 6, 40_001)
    likelihood = np.exp(-((x - alpha * grid) ** 2) / (2 * sigma**2))
    joint = [w * p.pdf(grid) * likelihood for w, p in parts(mixture)]
    mass = np.array([j.sum() for j in joint])
    means = np.array([(grid * j).sum() for j in joint]) / mass
    variances = np.array([((grid - m) ** 2 * j).sum() for m, j in zip(means, joint, strict=True)]) / mass
    return mass / mass.sum(), means, variances, (mass * means).sum() / mass.sum()


@pytest.mark.parametrize("path", [VP(), EDM(), RectifiedFlow(), PATHS["DDPM linear"]], ids=repr)
def test_posterior_in_one_dimension_by_quadrature(path):
    mixture, x = line(), tensor([[-1.3], [0.1], [0.7], [2.5]])
    for fraction in (0.1, 0.4):
        t = torch.tensor(fraction * path.t_max if path.t_max != 80 else 4 * fraction, dtype=torch.float64)
        c = path(t)
        weights, means, covariances = mixture.posterior(x, t, path)
        whole = mixture.posterior_mean(x, t, path)
        for i in range(len(x)):
            w, m, v, total = quadrature_1d(mixture, x[i].item(), c.alpha.item(), c.sigma.item())
            np.testing.assert_allclose(weights[i].numpy(), w, rtol=1e-7, atol=1e-12)
            np.testing.assert_allclose(means[i, :, 0].numpy(), m, rtol=1e-7, atol=1e-10)
            np.testing.assert_allclose(covariances[i, :, 0, 0].numpy(), v, rtol=1e-6)
            assert whole[i].item() == pytest.approx(total, rel=1e-7, abs=1e-10)


def test_posterior_in_two_dimensions_by_quadrature():
    mixture, path = plane(), VP()
    t, x = tensor([0.15, 0.3, 0.6]), tensor([[-0.8, 0.5], [0.3, 0.1], [1.5, -1.0]])
    axis = np.linspace(-5, 5, 801)
    grid = np.stack(np.meshgrid(axis, axis, indexing="ij"), -1).reshape(-1, 2)
    prior = [w * p.pdf(grid) for w, p in parts(mixture)]
    weights, means, covariances = mixture.posterior(x, t, path)
    whole = mixture.posterior_mean(x, t, path)
    for i in range(3):
        c = path(t[i])
        distance = ((x[i].numpy() - c.alpha.item() * grid) ** 2).sum(1)
        joint = [p * np.exp(-distance / (2 * c.sigma.item() ** 2)) for p in prior]
        mass = np.array([j.sum() for j in joint])
        np.testing.assert_allclose(weights[i].numpy(), mass / mass.sum(), rtol=1e-6, atol=1e-12)
        total = 0
        for k in range(3):
            mean = (grid * joint[k][:, None]).sum(0) / mass[k]
            centred = grid - mean
            covariance = (centred * joint[k][:, None]).T @ centred / mass[k]
            np.testing.assert_allclose(means[i, k].numpy(), mean, rtol=1e-6, atol=1e-9)
            np.testing.assert_allclose(covariances[i, k].numpy(), covariance, rtol=1e-6, atol=1e-9)
            total = total + mass[k] / mass.sum() * mean
        np.testing.assert_allclose(whole[i].numpy(), total, rtol=1e-6, atol=1e-9)


@every_mixture
@pytest.mark.parametrize("name", PATHS)
def test_posterior_mean_is_tweedie_s(make, name):
    """E[x0 | x_t] = (x_t + sigma^2 grad log p_t(x_t)) / alpha, the gradient by autograd."""
    path, mixture = PATHS[name], make()
    t = torch.tensor(0.37 * path.t_max, dtype=torch.float64)
    c, noised = path(t), mixture.noised(path, t)
    x = noised.sample(15, seeded(3)).requires_grad_()
    (gradient,) = torch.autograd.grad(noised.log_prob(x).sum(), x)
    found = mixture.denoiser(path)(x.detach(), t)
    size = max(1.0, c.sigma.item()) / c.alpha.item()
    torch.testing.assert_close(found, (x + c.sigma**2 * gradient).detach() / c.alpha, rtol=1e-8, atol=1e-10 * size)


@every_mixture
def test_the_whole_posterior_s_covariance_is_the_denoiser_s_jacobian(make):
    """Cov[x0 | x_t] = (sigma^2 / alpha) d E[x0 | x_t] / d x_t."""
    mixture, path = make(), VP()
    t = torch.tensor(0.35, dtype=torch.float64)
    c = path(t)
    x = mixture.noised(path, t).sample(6, seeded(4))
    weights, means, covariances = mixture.posterior(x, t, path)
    mean = torch.einsum("bk,bki->bi", weights, means)
    spread = means - mean[:, None]
    covariance = torch.einsum("bk,bkij->bij", weights, covariances + spread[..., :, None] * spread[..., None, :])
    jacobian = torch.func.vmap(torch.func.jacrev(lambda y: mixture.posterior_mean(y[None], t, path)[0]))
    torch.testing.assert_close(covariance, c.sigma**2 / c.alpha * jacobian(x), rtol=1e-7, atol=1e-9)
    torch.testing.assert_close(mean, mixture.posterior_mean(x, t, path))
    torch.testing.assert_close(weights, mixture.responsibilities(x, t, path))


@every_mixture
@pytest.mark.parametrize("name", PATHS)
def test_a_batch_equals_its_singles(make, name):
    path, mixture = PATHS[name], make()
    for batch in (mixture.D, mixture.K, 5):  # B equal to D and to K, too
        t = path.t_max * torch.linspace(0.1, 0.9, batch, dtype=torch.float64)
        x = torch.randn(batch, mixture.D, generator=seeded(6), dtype=torch.float64)
        whole = mixture.posterior_mean(x, t, path)
        weights, means, covariances = mixture.posterior(x, t, path)
        for i in range(batch):
            one = mixture.posterior(x[i : i + 1], t[i], path)
            for a, b in zip((weights, means, covariances), one, strict=True):
                torch.testing.assert_close(a[i], b[0], rtol=1e-11, atol=1e-12)
            torch.testing.assert_close(
                whole[i], mixture.posterior_mean(x[i : i + 1], t[i], path)[0], rtol=1e-11, atol=1e-12
            )


# --- far from the data, and at the ends


@pytest.mark.parametrize("path", [VP(), VE(), EDM(), RectifiedFlow()], ids=repr)
@pytest.mark.parametrize("fraction", [1e-3, 0.3, 0.99])
def test_everything_is_finite_far_from_the_data_in_float32(path, fraction):
    mixture = GaussianMixture.ring(8)
    angle = torch.linspace(0.1, 6.2, 9)
    x = 1e4 * torch.stack([angle.cos(), angle.sin()], 1)
    t = fraction * path.t_max
    noised = mixture.noised(path, t)
    for value in (
        noised.log_prob(x),
        noised.score(x),
        *mixture.posterior(x, t, path),
        mixture.posterior_mean(x, t, path),
    ):
        assert torch.isfinite(value).all()
    exact = mixture.to(dtype=torch.float64).noised(path, torch.tensor(t, dtype=torch.float64)).score(x.double())
    torch.testing.assert_close(noised.score(x).double(), exact, rtol=1e-3, atol=1e-3)


def test_pure_noise_gives_the_mean_and_no_noise_the_point_itself():
    mixture, x = plane(), tensor([[0.3, -0.4], [1.0, 2.0]])
    torch.testing.assert_close(mixture.posterior_mean(x, 1.0, RectifiedFlow()), mixture.mean.expand(2, 2))
    torch.testing.assert_close(mixture.posterior_mean(x, 0.0, RectifiedFlow()), x)


# --- parts, labels, sampling


def test_only_keeps_components_with_their_relative_weights():
    mixture, x = plane(), tensor([[0.1, 0.2], [-0.5, 0.9]])
    chosen = mixture.only([2, 0])
    torch.testing.assert_close(chosen.weights, tensor([1 / 3, 2 / 3]))
    assert torch.equal(chosen.means, mixture.means[[2, 0]])
    # conditioning by Bayes: E[x0 | x_t, k in {0, 2}] is the part of the posterior that those components have
    weights, means, _ = mixture.posterior(x, 0.3, VP())
    part = weights[:, [0, 2]] / weights[:, [0, 2]].sum(1, keepdim=True)
    wanted = torch.einsum("bk,bki->bi", part, means[:, [0, 2]])
    torch.testing.assert_close(mixture.denoiser(VP()).given([0, 2])(x, 0.3), wanted)
    torch.testing.assert_close(mixture.denoiser(VP()).given(1)(x, 0.3), means[:, 1])


def test_samples_have_the_mixture_s_moments():
    """Every mean and every second moment within 4.5 standard errors; the seed is fixed."""
    n = 40_000
    for make in MIXTURES.values():
        mixture = make()
        x, k = mixture.sample_with_labels(n, seeded(7))
        assert torch.equal(x, mixture.sample(n, seeded(7)))
        for part in range(mixture.K):
            mine = x[k == part]
            share = mixture.weights[part].item()
            assert abs(len(mine) / n - share) < 4.5 * math.sqrt(share * (1 - share) / n)
            centred = mine - mixture.means[part]
            assert (centred.mean(0).abs() < 4.5 * centred.std(0) / len(mine) ** 0.5).all()
            products = centred[:, :, None] * centred[:, None, :]
            error = products.std(0) / len(mine) ** 0.5
            assert ((products.mean(0) - mixture.covariances[part]).abs() < 4.5 * error).all()


def test_point_masses_are_allowed_and_become_densities_when_noised():
    points = GaussianMixture.isotropic(tensor([[0.0, 0.0], [1.0, 1.0]]), std=0.0)
    x, k = points.sample_with_labels(10, seeded(8))
    assert torch.equal(x, points.means[k])
    assert torch.isfinite(points.noised(EDM(), 0.5).log_prob(x)).all()
    assert (points.posterior(x, 0.5, EDM())[2] == 0).all()


def test_ring_and_grid_stand_where_they_say():
    ring = GaussianMixture.ring(8, radius=2.0, std=0.3, dtype=torch.float64)
    assert ring.means[0].tolist() == [2, 0]
    torch.testing.assert_close(ring.means.norm(dim=1), torch.full((8,), 2.0, dtype=torch.float64))
    torch.testing.assert_close(ring.covariances, 0.09 * torch.eye(2, dtype=torch.float64).expand(8, 2, 2))
    grid = GaussianMixture.grid(3, spacing=0.5)
    assert {tuple(m) for m in grid.means.tolist()} == {(a, b) for a in (-0.5, 0, 0.5) for b in (-0.5, 0, 0.5)}


# --- a finite data set


@pytest.mark.parametrize("path", [VP(), VE(), RectifiedFlow()], ids=repr)
def test_dataset_denoiser_is_the_softmax_written_out(path):
    data = torch.randn(7, 2, 2, generator=seeded(9), dtype=torch.float64)
    x = torch.randn(5, 2, 2, generator=seeded(10), dtype=torch.float64)
    t = path.t_max * tensor([0.2, 0.4, 0.5, 0.7, 0.9])
    found = DatasetDenoiser(data, path, chunk=2)(x, t)
    for b in range(5):
        c = path(t[b])
        w = [math.exp(-((x[b] - c.alpha * y) ** 2).sum().item() / (2 * c.sigma.item() ** 2)) for y in data]
        wanted = sum(wi * y for wi, y in zip(w, data, strict=True)) / sum(w)
        torch.testing.assert_close(found[b], wanted, rtol=1e-9, atol=1e-12)
    assert torch.equal(found, DatasetDenoiser(data, path)(x, t))


def test_dataset_denoiser_is_a_mixture_of_point_masses():
    data = torch.randn(9, 3, generator=seeded(11), dtype=torch.float64)
    x, t = torch.randn(3, 3, generator=seeded(12), dtype=torch.float64), tensor([0.1, 0.5, 0.9])
    for path in (VP(), EDM(), RectifiedFlow()):
        table, mixture = DatasetDenoiser(data, path), GaussianMixture.isotropic(data, 0.0).denoiser(path)
        for time in (t, torch.tensor(0.3, dtype=torch.float64)):
            torch.testing.assert_close(table(x, time), mixture(x, time), rtol=1e-9, atol=1e-12)


def test_dataset_denoiser_stays_finite_far_off_and_at_small_noise():
    data = torch.randn(50, 784, generator=seeded(13)).clamp(-1, 1)
    table = DatasetDenoiser(data, EDM())
    for t in (0.002, 1.0, 80.0):
        assert torch.isfinite(table(1e4 * torch.randn(4, 784, generator=seeded(14)), t)).all()
    noisy = data[:5] + 0.01 * torch.randn(5, 784, generator=seeded(15))
    torch.testing.assert_close(table(noisy, 0.01), data[:5])  # nearest: itself


def test_dataset_denoiser_given_a_label_knows_only_its_points():
    data, labels = torch.arange(6.0)[:, None], torch.tensor([0, 1, 0, 1, 0, 2])
    table = DatasetDenoiser(data, EDM(), labels)
    assert table.given(2)(torch.tensor([[0.0]]), 1.0).item() == 5
    torch.testing.assert_close(table.given(0)(torch.zeros(1, 1), 80.0), torch.tensor([[2.0]]), rtol=0, atol=0.01)


# --- sentences


def eye(*shape):
    return torch.eye(shape[-1]).expand(*shape, shape[-1])


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (
            lambda: GaussianMixture(torch.ones(2), torch.zeros(3, 2), eye(3, 2)),
            ["weights, means and covariances", "(K,), (K, D) and (K, D, D)", "(2,), (3, 2) and (3, 2, 2)"],
        ),
        (
            lambda: GaussianMixture(torch.tensor([1.0, 0.0]), torch.zeros(2, 2), eye(2, 2)),
            ["weights must be positive", "0.0"],
        ),
        (
            lambda: GaussianMixture(torch.tensor([math.nan]), torch.zeros(1, 2), eye(1, 2)),
            ["positive and finite", "nan"],
        ),
        (
            lambda: GaussianMixture.single(torch.zeros(2), torch.tensor([[1.0, 0.5], [0.0, 1.0]])),
            ["every covariance must be symmetric"],
        ),
        (
            lambda: GaussianMixture(
                torch.ones(2),
                torch.zeros(2, 2),
                torch.stack([torch.eye(2), torch.diag(torch.tensor([1.0, -0.5]))]),
            ),
            ["covariance 1 has the negative eigenvalue -0.5"],
        ),
        (lambda: GaussianMixture.isotropic(torch.zeros(2, 2), -1.0), ["std must not be negative", "-1.0"]),
        (lambda: GaussianMixture.ring(8).only([8]), ["numbers from 0 to 7", "got [8]"]),
        (lambda: GaussianMixture.ring(8).only([]), ["at least one", "got []"]),
        (
            lambda: GaussianMixture.ring(8).noised(VP(), torch.full((2,), 0.5)),
            ["one time, of shape ()", "(2,)"],
        ),
        (
            lambda: GaussianMixture.ring(8).log_prob(torch.zeros(4, 3)),
            ["points must have shape (B, 2)", "(4, 3)"],
        ),
        (
            lambda: GaussianMixture.ring(8).posterior_mean(torch.zeros(2), 0.5, VP()),
            ["points must have shape (B, 2)", "(2,)"],
        ),
        (
            lambda: GaussianMixture.ring(8).posterior_mean(torch.zeros(4, 2), 2.0, VP()),
            ["t must lie in [0, 1]"],
        ),
        (lambda: DatasetDenoiser(torch.zeros(0, 2), VP()), ["data must have shape (N, *)", "(0, 2)"]),
        (
            lambda: DatasetDenoiser(torch.zeros(3, 2), VP(), torch.zeros(2)),
            ["labels must have shape (3,)", "(2,)"],
        ),
        (
            lambda: DatasetDenoiser(torch.zeros(3, 2), VP())(torch.zeros(1, 3), 0.5),
            ["x_t must have shape (B, 2)", "(1, 3)"],
        ),
        (lambda: DatasetDenoiser(torch.zeros(3, 2), VP()).given(1), ["no labels", "labels="]),
        (
            lambda: DatasetDenoiser(torch.zeros(3, 2), VP(), torch.tensor([4, 2, 4])).given(7),
            ["no point has label 7", "[2, 4]"],
        ),
    ],
)
def test_bad_input_gets_a_sentence(call, words):
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the words are compared below
        call()
    for word in words:
        assert word in str(caught.value)

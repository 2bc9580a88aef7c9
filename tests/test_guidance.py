"""Guidance: identities between its forms, with exact denoisers and the exact classifier."""

from __future__ import annotations

import pytest
import torch

from diffedu._tensor import seeded
from diffedu.core import EDM, VP, GaussianMixture, RectifiedFlow, eps_hat, score
from diffedu.guidance import (
    Between,
    ClassifierFree,
    ClassifierGuided,
    MixtureClassifier,
    Sharpened,
    drop_labels,
    scale_from_weight,
)
from tests.core.test_oracle import plane

PATHS = [VP(), EDM(), RectifiedFlow()]


def points(path, t):
    return path(torch.tensor(t)).sigma * torch.randn(7, 2, generator=seeded(0), dtype=torch.float64)


def log_class(mixture, path, k):
    """log p_t(k | x_t) by Bayes' rule."""

    def log_prob(x, t):
        prior = mixture.weights[k].log()
        return prior + mixture.only([k]).noised(path, t).log_prob(x) - mixture.noised(path, t).log_prob(x)

    return log_prob


@pytest.mark.parametrize("path", PATHS, ids=repr)
@pytest.mark.parametrize("scale", [0.0, 1.0, 2.5])
def test_classifier_free_is_linear_in_noise_and_score(path, scale):
    mixture, t = plane(), 0.6 * path.t_max
    one, both, x = mixture.only([1]).denoiser(path), mixture.denoiser(path), points(path, t)
    guided = ClassifierFree(one, both, scale)
    w = scale - 1
    torch.testing.assert_close(eps_hat(guided, x, t), (1 + w) * eps_hat(one, x, t) - w * eps_hat(both, x, t))
    torch.testing.assert_close(score(guided, x, t), scale * score(one, x, t) + (1 - scale) * score(both, x, t))
    assert scale_from_weight(w) == pytest.approx(scale)


def test_scales_zero_and_one():
    path, mixture = VP(), plane()
    one, both, x = mixture.only([1]).denoiser(path), mixture.denoiser(path), points(path, 0.5)
    assert torch.equal(ClassifierFree(one, both, 0.0)(x, 0.5), both(x, 0.5))
    torch.testing.assert_close(ClassifierFree(one, both, 1.0)(x, 0.5), one(x, 0.5))
    assert (one(x, 0.5) - both(x, 0.5)).abs().max() > 0.1


@pytest.mark.parametrize("path", PATHS, ids=repr)
@pytest.mark.parametrize("scale", [0.0, 1.0, 3.0])
def test_with_the_exact_classifier_both_kinds_of_guidance_agree(path, scale):
    """grad log p(y | x) = grad log p(x | y) - grad log p(x): Bayes' rule, differentiated."""
    mixture, t = plane(), 0.6 * path.t_max
    x = points(path, t)
    free = ClassifierFree(mixture.only([2]).denoiser(path), mixture.denoiser(path), scale)
    guided = ClassifierGuided(mixture.denoiser(path), log_class(mixture, path, 2), scale)
    torch.testing.assert_close(guided(x, t), free(x, t), rtol=1e-8, atol=1e-8)


def test_classifier_guidance_leaves_no_trace():
    path, mixture = VP(), plane()
    x = points(path, 0.5).requires_grad_()
    with torch.no_grad():
        guided = ClassifierGuided(mixture.denoiser(path), log_class(mixture, path, 0))(x, 0.5)
    assert not guided.requires_grad
    assert x.grad is None


@pytest.mark.parametrize("path", PATHS, ids=repr)
def test_sharpened_scales_the_score(path):
    exact, t = plane().denoiser(path), 0.6 * path.t_max
    x = points(path, t)
    torch.testing.assert_close(score(Sharpened(exact, 1.7), x, t), 1.7 * score(exact, x, t), rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(Sharpened(exact, 1.0)(x, t), exact(x, t), rtol=1e-8, atol=1e-8)


def test_between_switches_row_by_row_and_for_a_batch():
    path, mixture = VP(), plane()
    one, both, x = mixture.only([1]).denoiser(path), mixture.denoiser(path), points(path, 0.5)
    switched = Between(one, both, low=0.3, high=0.6)
    for t, wanted in ((0.2, both), (0.3, one), (0.5, one), (0.6, one), (0.7, both)):
        assert torch.equal(switched(x, t), wanted(x, t)), t
    mixed = torch.tensor([0.1, 0.4, 0.9, 0.5, 0.2, 0.35, 0.7], dtype=torch.float64)
    rows = torch.stack([(one if 0.3 <= t <= 0.6 else both)(x[i : i + 1], t)[0] for i, t in enumerate(mixed.tolist())])
    torch.testing.assert_close(switched(x, mixed), rows)


def test_bad_input_gets_a_sentence():
    a, b = plane().denoiser(VP()), plane().denoiser(EDM())
    with pytest.raises(ValueError, match=r"one path, got VP.*EDM"):
        ClassifierFree(a, b, 2.0)
    with pytest.raises(ValueError, match="one path"):
        Between(a, b, 0.0, 1.0)
    with pytest.raises(ValueError, match=r"low must not be above high, got 0\.5 and 0\.2"):
        Between(a, a, 0.5, 0.2)


@pytest.mark.parametrize("path", PATHS, ids=repr)
def test_the_mixture_classifier_is_the_posterior_mean_of_the_clean_one(path):
    """p_t(y | x_t) = E[p(y | x0) | x_t], by sampling x0 from the exact posterior; and Bayes' rule on noised laws."""
    mixture, t = plane(), 0.4 * path.t_max
    x, chosen = points(path, t), [0, 2]
    log_prob = MixtureClassifier(mixture, path, chosen)
    prior = mixture.weights[chosen].sum().log()
    bayes = prior + mixture.only(chosen).noised(path, t).log_prob(x) - mixture.noised(path, t).log_prob(x)
    torch.testing.assert_close(log_prob(x, torch.tensor(t)), bayes)

    weights, means, covariances = mixture.posterior(x, t, path)
    for i in range(3):
        x0 = GaussianMixture(weights[i] + 1e-12, means[i], covariances[i]).sample(40_000, seeded(i))
        clean = MixtureClassifier(mixture, path, chosen)(x0, torch.tensor(0.0)).exp()
        error = 5 * clean.std() / 200 + 1e-6
        assert abs(clean.mean() - log_prob(x, t)[i].exp()) < error


def test_the_mixture_classifier_sums_to_one_and_takes_a_time_for_each_point():
    mixture, x = plane(), points(VP(), 0.5)
    times = torch.linspace(0.1, 0.9, 7, dtype=torch.float64)
    parts = [MixtureClassifier(mixture, VP(), [k])(x, times).exp() for k in range(3)]
    torch.testing.assert_close(sum(parts), torch.ones(7, dtype=torch.float64))
    alone = torch.stack([MixtureClassifier(mixture, VP(), [1])(x[i : i + 1], times[i])[0] for i in range(7)])
    torch.testing.assert_close(parts[1].log(), alone)
    far = [MixtureClassifier(mixture, VP(), [k])(torch.full((1, 2), 300.0, dtype=torch.float64), 0.1) for k in range(3)]
    assert all(value.isfinite() for value in far)
    assert min(far) < -1000  # its exponential is 0
    with pytest.raises(ValueError, match="components must be numbers from 0 to 2"):
        MixtureClassifier(mixture, VP(), [3])


def test_labels_are_dropped_at_the_rate_asked_for_and_nothing_else_changes():
    labels = torch.arange(30_000, device="cpu") % 3
    before = labels.clone()
    for p in (0.0, 0.15, 1.0):
        seen = drop_labels(labels, 3, p, seeded(1))
        dropped = seen == 3
        assert abs(dropped.double().mean() - p) <= 5 * (p * (1 - p) / 30_000) ** 0.5
        assert torch.equal(seen[~dropped], labels[~dropped])
        if 0 < p < 1:  # whether a label is dropped does not depend on which it is
            rates = torch.stack([dropped[labels == k].double().mean() for k in range(3)])
            assert (rates - p).abs().max() < 0.02
    assert torch.equal(labels, before)
    with pytest.raises(ValueError, match=r"between 0 and 1, got 15"):
        drop_labels(labels, 3, 15, seeded(0))

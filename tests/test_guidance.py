"""Guidance: identities between its forms, with exact denoisers and the exact classifier."""

from __future__ import annotations

import pytest
import torch

from diffedu._tensor import seeded
from diffedu.core import EDM, VP, RectifiedFlow, eps_hat, score
from diffedu.guidance import Between, ClassifierFree, ClassifierGuided, Sharpened, scale_from_weight
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

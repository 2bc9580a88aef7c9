"""Likelihood along the flow, against the closed form of a mixture."""

from __future__ import annotations

import pytest
import torch

from diffedu._tensor import seeded
from diffedu.core import EDM, VP, karras_times, power_times
from diffedu.sampling.likelihood import (
    exact_divergence,
    hutchinson_divergence,
    log_likelihood,
    signs_like,
)
from tests.core.test_oracle import plane


@pytest.mark.parametrize(
    ("path", "times"),
    [
        (VP(), power_times(VP(), 100, 2.0, end=1e-3, dtype=torch.float64)),
        (EDM(), karras_times(EDM(t_max=400.0), 100, end=0.002, dtype=torch.float64)),
    ],
    ids=["VP", "EDM"],
)
def test_it_is_the_closed_form_to_a_thousandth_of_a_nat(path, times):
    mixture = plane()
    path = path if isinstance(path, VP) else EDM(t_max=400.0)
    start = mixture.noised(path, times[-1])
    x = start.sample(40, seeded(0)).double()
    noised = mixture.noised(path, times[0])
    found = log_likelihood(mixture.denoiser(path), x, times.flip(0), prior=noised.log_prob)
    torch.testing.assert_close(found, start.log_prob(x), rtol=0, atol=2e-4)
    # from plain noise, the difference is that between noise and noised data, seen at the other end
    from_noise = log_likelihood(mixture.denoiser(path), x, times.flip(0))
    torch.testing.assert_close(from_noise, found, rtol=0, atol=0.03)
    assert (from_noise - found).abs().max() > 1e-3


def test_divergence_of_a_linear_field():
    matrix = torch.randn(4, 4, generator=seeded(0), dtype=torch.float64)
    x = torch.randn(5, 4, generator=seeded(1), dtype=torch.float64)
    value, divergence = exact_divergence(lambda y: y @ matrix.T, x)
    torch.testing.assert_close(value, x @ matrix.T)
    torch.testing.assert_close(divergence, matrix.trace().expand(5))
    # with signs as probe the diagonal is exact, and the estimate unbiased
    diagonal = torch.diag(matrix.diagonal())
    probe = signs_like(x, seeded(2))
    torch.testing.assert_close(hutchinson_divergence(probe)(lambda y: y @ diagonal.T, x)[1], matrix.trace().expand(5))
    many = torch.zeros(20_000, 4, dtype=torch.float64)
    estimates = hutchinson_divergence(signs_like(many, seeded(3)))(lambda y: y @ matrix.T, many)[1]
    assert abs(estimates.mean() - matrix.trace()) < 4 * estimates.std() / 20_000**0.5
    assert estimates.std() > 0.1


def test_hutchinson_s_likelihood_is_right_on_average():
    mixture, path = plane(), VP()
    times = power_times(path, 30, 2.0, end=1e-3, dtype=torch.float64).flip(0)
    x = mixture.noised(path, times[0]).sample(1, seeded(0)).double().repeat(300, 1)
    exact = log_likelihood(mixture.denoiser(path), x[:1], times)
    found = log_likelihood(mixture.denoiser(path), x, times, divergence=hutchinson_divergence(signs_like(x, seeded(1))))
    assert abs(found.mean() - exact) < 4 * found.std() / 300**0.5
    assert found.std() > 1e-3


def test_falling_times_are_refused():
    with pytest.raises(ValueError, match="increase"):
        log_likelihood(plane().denoiser(VP()), torch.zeros(1, 2), torch.tensor([1.0, 0.1]))

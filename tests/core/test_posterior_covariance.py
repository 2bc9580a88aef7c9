"""Second-order Tweedie: the covariance of x0 given x_t, from the denoiser's Jacobian."""

from __future__ import annotations

import pytest
import torch

from diffedu._tensor import seeded
from diffedu.core import (
    EDM,
    VP,
    X0,
    DatasetDenoiser,
    GaussianMixture,
    NetworkDenoiser,
    RectifiedFlow,
    posterior_covariance,
)
from tests.core.paths import PATHS
from tests.core.test_oracle import plane


def by_bayes(mixture, x, t, path):
    """Within plus between, from the posterior mixture: no derivative in it."""
    weights, means, covariances = mixture.posterior(x, t, path)
    centred = means - torch.einsum("bk,bki->bi", weights, means)[:, None]
    within = torch.einsum("bk,bkij->bij", weights, covariances)
    return within + torch.einsum("bk,bki,bkj->bij", weights, centred, centred)


@pytest.mark.equation("9.12")
@pytest.mark.parametrize("name", PATHS)
def test_the_jacobian_gives_what_bayes_gives(name):
    path, mixture = PATHS[name], plane()
    for batch in (2, 5):  # the dimension is 2
        t = path.t_max * torch.linspace(0.15, 0.7, batch, dtype=torch.float64)
        x = path.add_noise(mixture.sample(batch, seeded(0)), torch.randn(batch, 2, generator=seeded(1)).double(), t)
        found = posterior_covariance(mixture.denoiser(path), x, t)
        torch.testing.assert_close(found, by_bayes(mixture, x, t, path), rtol=1e-6, atol=1e-9)
        torch.testing.assert_close(found, found.mT, rtol=1e-6, atol=1e-9)
        assert torch.linalg.eigvalsh(found).min() > -1e-9


def test_one_time_for_all_is_that_time_for_each():
    path, mixture = VP(), plane()
    x = torch.randn(3, 2, generator=seeded(2), dtype=torch.float64)
    one = posterior_covariance(mixture.denoiser(path), x, 0.4)
    each = posterior_covariance(mixture.denoiser(path), x, torch.full((3,), 0.4, dtype=torch.float64))
    torch.testing.assert_close(one, each)
    torch.testing.assert_close(one[1:2], posterior_covariance(mixture.denoiser(path), x[1:2], 0.4))


def test_pictures_have_one_row_for_each_pixel():
    """A table of pictures: the covariance by weights of the table's own entries."""
    data = torch.randn(6, 1, 2, 3, generator=seeded(3), dtype=torch.float64)
    x = torch.randn(2, 1, 2, 3, generator=seeded(4), dtype=torch.float64)
    found = posterior_covariance(DatasetDenoiser(data, EDM()), x, 1.5)
    flat = data.flatten(1)
    weights = torch.softmax(-torch.cdist(x.flatten(1), flat).square() / (2 * 1.5**2), dim=1)
    centred = flat - (weights @ flat)[:, None]
    torch.testing.assert_close(found, torch.einsum("bn,bni,bnj->bij", weights, centred, centred))


def test_a_network_that_ignores_its_input_has_no_covariance():
    silent = NetworkDenoiser(lambda x_t, t: torch.ones(x_t.shape), VP(), X0)
    assert posterior_covariance(silent, torch.zeros(4, 2), 0.5).abs().max() == 0


def test_a_network_s_rows_are_not_symmetrised():
    turn = torch.tensor([[0.0, 1.0], [-1.0, 0.0]])
    net = NetworkDenoiser(lambda x_t, t: x_t @ turn.T, EDM(), X0)
    torch.testing.assert_close(posterior_covariance(net, torch.zeros(1, 2), 2.0)[0], 4 * turn)


def test_it_leaves_no_gradient_and_works_without_recording():
    x = torch.zeros(2, 2, requires_grad=True)
    with torch.no_grad():
        found = posterior_covariance(GaussianMixture.ring(8).denoiser(VP()), x, 0.5)
    assert not found.requires_grad
    assert x.grad is None
    assert found.abs().max() > 0


def test_pure_noise_is_refused():
    with pytest.raises(ValueError, match=r"alpha\(t\) must be positive.*got alpha = 0 at t = 1"):
        posterior_covariance(GaussianMixture.ring(8).denoiser(RectifiedFlow()), torch.zeros(3, 2), 1.0)

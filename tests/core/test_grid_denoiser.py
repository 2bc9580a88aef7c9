"""The denoiser of a density on a grid: against a mixture's closed form, and against a plain double sum."""

from __future__ import annotations

import pytest
import torch

from diffedu._tensor import seeded
from diffedu.core import EDM, VP, GridDenoiser, RectifiedFlow
from tests.core.test_oracle import plane

LINE = torch.linspace(-5, 5, 251, dtype=torch.float64)


def on_grid(path):
    mixture = plane()
    return GridDenoiser(LINE, 3.0 + mixture.log_prob(torch.cartesian_prod(LINE, LINE)).reshape(251, 251), path)


@pytest.mark.parametrize("path", [VP(), EDM(), RectifiedFlow()], ids=repr)
@pytest.mark.parametrize("part", [0.2, 0.6, 0.95])
def test_it_is_the_mixture_s_posterior_mean(path, part):
    t = torch.tensor(part * path.t_max, dtype=torch.float64)
    x = plane().noised(path, t).sample(50, seeded(0))
    torch.testing.assert_close(on_grid(path)(x, t), plane().posterior_mean(x, t, path), rtol=1e-6, atol=1e-6)


def test_each_point_may_have_its_own_time_and_axes_are_not_swapped():
    path, x = VP(), torch.randn(4, 2, generator=seeded(1), dtype=torch.float64)
    t = torch.tensor([0.2, 0.4, 0.6, 0.8], dtype=torch.float64)
    together = on_grid(path)(x, t)
    torch.testing.assert_close(together, plane().posterior_mean(x, t, path), rtol=1e-6, atol=1e-6)
    singles = torch.cat([on_grid(path)(x[i : i + 1], t[i]) for i in range(4)])
    torch.testing.assert_close(together, singles)


def test_its_points_have_the_moments_of_the_density():
    x = on_grid(VP()).sample(40_000, seeded(2))
    error = 5 * x.std(0) / 200
    assert ((x.mean(0) - plane().mean).abs() < error).all()
    assert (x.T.cov() - plane().covariance).abs().max() < 0.02


def test_bad_input_gets_a_sentence():
    with pytest.raises(ValueError, match=r"shapes \(G,\) and \(G, G\), got \(251,\) and \(3, 3\)"):
        GridDenoiser(LINE, torch.zeros(3, 3), VP())
    with pytest.raises(ValueError, match=r"shape \(B, 2\), got \(5, 3\)"):
        on_grid(VP())(torch.zeros(5, 3, dtype=torch.float64), 0.5)
    narrow = GridDenoiser(LINE, -1e4 * (LINE[:, None] ** 2 + LINE**2), EDM())
    assert narrow(torch.zeros(1, 2, dtype=torch.float64), 0.1).abs().max() < 1e-9
    with pytest.raises(ValueError, match="underflow at the point"):
        narrow(torch.full((1, 2), 4.0, dtype=torch.float64), 0.02)
    with pytest.raises(ValueError, match="without noise"):
        on_grid(VP())(torch.full((1, 2), 0.13, dtype=torch.float64), 0.0)

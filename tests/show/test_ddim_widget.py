"""The DDIM widget: its runs, its picture, and that a redraw is quick."""

from __future__ import annotations

import pytest
import torch

from diffedu._tensor import seeded
from diffedu.core import DiscreteDDPM, GaussianMixture, linear_betas, trailing_times
from diffedu.sampling import DDIM, sample, start_noise
from diffedu.show.widgets.ddim import CLOUD, COPIES, STARTS, DDIMPaths

RING = GaussianMixture.ring(6)
PATH = DiscreteDDPM(linear_betas(100, 1e-3, 0.2))


@pytest.fixture(scope="module")
def widget() -> DDIMPaths:
    return DDIMPaths(RING, PATH)


def test_copies_of_a_start_part_only_where_fresh_noise_comes_in(widget: DDIMPaths):
    spreads = [widget.run(eta=eta, steps=10, seed=3).spread for eta in (0.0, 0.3, 1.0)]
    assert spreads[0] < 1e-6
    assert 1e-3 < spreads[1] < spreads[2]


def test_the_starts_depend_on_the_seed_alone(widget: DDIMPaths):
    one, other = (widget.run(eta=eta, steps=steps, seed=2).paths for eta, steps in ((0.0, 5), (1.0, 20)))
    assert one.shape == (6, STARTS, COPIES, 2)
    assert other.shape == (21, STARTS, COPIES, 2)
    assert torch.equal(one[0], other[0])
    assert not torch.equal(one[0], widget.run(eta=0.0, steps=5, seed=3).paths[0])


def test_the_cloud_is_what_the_sampler_gives(widget: DDIMPaths):
    found = widget.run(eta=0.0, steps=20, seed=0).cloud
    start = start_noise(PATH, (CLOUD, 2), seeded(2000))
    torch.testing.assert_close(found, sample(RING.denoiser(PATH), DDIM(), start, trailing_times(PATH, 20)))


def test_every_control_changes_the_picture_and_reset_restores_it(widget: DDIMPaths):
    picture = widget.picture
    first = picture.png
    for name, value in (("eta", 0.5), ("steps", 3), ("seed", 1)):
        picture.controls[name].value = value
        assert picture.png != first, name
        picture.reset()
        assert picture.png == first, name
    assert picture.message.value == ""


def test_what_it_cannot_draw_is_refused():
    line = GaussianMixture.single(torch.zeros(1), torch.eye(1))
    with pytest.raises(ValueError, match="got a mixture in 1 dimensions"):
        DDIMPaths(line, PATH)
    with pytest.raises(ValueError, match="the path has T = 20 steps"):
        DDIMPaths(RING, DiscreteDDPM(linear_betas(20, 0.01, 0.6)))

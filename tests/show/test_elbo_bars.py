"""The bars of the bound: every control changes them, reset restores them, and their sum is the bound."""

from __future__ import annotations

import pytest
import torch

from diffedu.core import DiscreteDDPM, GaussianMixture, beta_tilde, cosine_betas, exact_terms, scalar_mmse
from diffedu.show.widgets.elbo_bars import ElboBars


@pytest.fixture(scope="module")
def data() -> GaussianMixture:
    means = torch.tensor([[-1.2], [0.3], [1.3]], dtype=torch.float64)
    variances = torch.tensor([0.04, 0.0225, 0.09], dtype=torch.float64).reshape(3, 1, 1)
    return GaussianMixture(torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64), means, variances)


@pytest.fixture(scope="module")
def bars(data: GaussianMixture) -> ElboBars:
    return ElboBars(data)


def test_the_bars_add_up_to_the_exact_bound(bars: ElboBars, data: GaussianMixture):
    path = DiscreteDDPM(cosine_betas(20))
    mmse = scalar_mmse(data, path(torch.arange(1, 21, dtype=torch.float64)).half_log_snr)
    for v, variances in ((1.0, path.betas), (0.0, beta_tilde(path))):
        bill = bars.numbers(T=20, schedule="cosine", v=v, scale=1.0)
        wanted = exact_terms(data, path, variances, mmse)
        assert bill.bound == pytest.approx(wanted.sum().item(), abs=1e-4)  # the table of errors is interpolated
        assert torch.allclose(bill.unavoidable + bill.excess[1:], wanted[1:-1], atol=1e-4)


@pytest.mark.parametrize("schedule", ["cosine", "linear", "sigmoid"])
@pytest.mark.parametrize("scale", [0.1, 3.0])
def test_no_bill_is_below_the_entropy(bars: ElboBars, schedule: str, scale: float):
    for v in (-0.5, 0.0, 0.7, 1.5):
        for T in (5, 50):
            bill = bars.numbers(T=T, schedule=schedule, v=v, scale=scale)
            assert bill.bound > bill.entropy
            assert (bill.unavoidable >= 0).all()
            assert (bill.excess >= 0).all()


def test_every_control_changes_the_picture_and_reset_restores_it(bars: ElboBars):
    picture = bars.picture
    first = picture.png
    for name, value in (("v", 1.0), ("T", 20), ("scale", 0.1), ("schedule", "linear")):
        picture.controls[name].value = value
        assert picture.png != first, name
        picture.reset()
        assert picture.png == first


def test_bad_input_is_a_sentence(bars: ElboBars):
    with pytest.raises(ValueError, match="on a line, got dimension 2"):
        ElboBars(GaussianMixture.ring(3))
    with pytest.raises(ValueError, match="scale must be one of"):
        bars.numbers(T=10, schedule="cosine", v=0.0, scale=0.2)

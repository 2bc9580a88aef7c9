"""The guess from the training set against the exact denoisers that the package knows."""

from __future__ import annotations

import pytest
import torch

from diffedu._tensor import seeded
from diffedu.core import DatasetDenoiser, NeighbourGuess, RectifiedFlow
from tests.core.paths import PATHS, inside

D, DOUBLE = 6, torch.float64


def data(n=40, classes=2):
    """Points about the middles of two classes."""
    labels = torch.arange(n) % classes
    return labels[:, None] + torch.randn(n, D, generator=seeded(0), dtype=DOUBLE), labels


def queries(path):
    t = inside(path)
    return 2 * torch.randn(len(t), D, generator=seeded(1), dtype=DOUBLE), t


@pytest.mark.parametrize("name", PATHS)
def test_it_is_the_exact_denoiser_of_the_training_set(name):
    path, (x0, labels) = PATHS[name], data()
    guess, (x, t) = NeighbourGuess(path, x0, labels, classes=2), queries(path)
    table = DatasetDenoiser(x0, path, labels)
    torch.testing.assert_close(guess(x, t), table(x, t))
    torch.testing.assert_close(guess(x, t, torch.full((len(t),), 2)), table(x, t))
    for label in range(2):
        torch.testing.assert_close(guess(x, t, torch.full((len(t),), label)), table.given(label)(x, t))


def test_an_example_that_is_left_out_might_as_well_not_exist():
    path, (x0, labels) = RectifiedFlow(), data()
    guess = NeighbourGuess(path, x0, labels, classes=2)
    own, told = torch.tensor([3, 8, 0, 21, 6, 39]), torch.tensor([1, 0, 2, 2, 0, 1])
    t = torch.linspace(0.05, 0.9, 6, dtype=DOUBLE)
    x = path.add_noise(x0[own], torch.randn(6, D, generator=seeded(1), dtype=DOUBLE), t)
    found = guess.without(own)(x, t, told)
    for i, (mine, label) in enumerate(zip(own, told, strict=True)):
        kept = torch.arange(len(x0)) != mine
        smaller = NeighbourGuess(path, x0[kept], labels[kept], classes=2)
        torch.testing.assert_close(found[i : i + 1], smaller(x[i : i + 1], t[i : i + 1], label[None]))
    assert not torch.allclose(found, guess(x, t, told))


def test_under_weak_noise_only_others_are_heard_where_one_is_left_out():
    path, (x0, labels) = RectifiedFlow(), data()
    guess = NeighbourGuess(path, x0, labels, classes=2)
    own, x_t = torch.arange(len(x0)), (1 - 1e-3) * x0
    torch.testing.assert_close(guess(x_t, 1e-3, labels), x0)
    away = (guess(x_t, 1e-3, labels, own) - x0).norm(dim=1)
    between = torch.cdist(x0, x0) + torch.where(labels[:, None] == labels, 0.0, torch.inf)
    torch.testing.assert_close(away, between.fill_diagonal_(torch.inf).min(dim=1).values)


def test_without_noise_it_is_the_nearest():
    x0, labels = data()
    guess = NeighbourGuess(RectifiedFlow(), x0, labels, classes=2)
    x = torch.randn(5, D, generator=seeded(2), dtype=DOUBLE)
    torch.testing.assert_close(guess(x, 0.0), x0[torch.cdist(x, x0).argmin(dim=1)])


def test_at_pure_noise_it_is_the_mean_whatever_is_seen():
    x0, labels = data()
    guess = NeighbourGuess(RectifiedFlow(), x0, labels, classes=2)
    x = torch.randn(3, D, generator=seeded(3), dtype=DOUBLE)
    means = torch.stack([x0[labels == 0].mean(0), x0[labels == 1].mean(0), x0.mean(0)])
    torch.testing.assert_close(guess(x, 1.0, torch.tensor([0, 1, 2])), means)


def test_it_keeps_shapes_is_not_saved_and_stays_in_full_precision():
    x0, labels = data()
    guess = NeighbourGuess(RectifiedFlow(), x0.float().reshape(-1, 1, 2, 3), labels, classes=2)
    x, t = torch.randn(3, 1, 2, 3, generator=seeded(4)), torch.tensor([0.2, 0.5, 0.9])
    found = guess(x, t, torch.tensor([0, 1, 2]))
    assert found.shape == x.shape
    for i in range(3):
        torch.testing.assert_close(found[i : i + 1], guess(x[i : i + 1], t[i : i + 1], torch.tensor([i])))
    assert guess.state_dict() == {}
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(guess(x, t, torch.tensor([0, 1, 2])), found)


def test_what_does_not_fit_is_refused():
    x0, labels = data(20)
    with pytest.raises(ValueError, match=r"labels must have shape \(20,\)"):
        NeighbourGuess(RectifiedFlow(), x0, labels[:5], classes=2)
    with pytest.raises(ValueError, match="labels must lie between 0 and 0, got 0 to 1"):
        NeighbourGuess(RectifiedFlow(), x0, labels, classes=1)
    with pytest.raises(ValueError, match="two examples or more, but class 2 has 0"):
        NeighbourGuess(RectifiedFlow(), x0, labels, classes=3)
    guess = NeighbourGuess(RectifiedFlow(), x0, labels, classes=2)
    with pytest.raises(ValueError, match="6 coordinates an example, got 4"):
        guess(torch.zeros(2, 4, dtype=DOUBLE), 0.5)
    with pytest.raises(ValueError, match=r"labels must lie between 0 and 2 .2 means no label., got 1 to 3"):
        guess(torch.zeros(2, D, dtype=DOUBLE), 0.5, torch.tensor([1, 3]))

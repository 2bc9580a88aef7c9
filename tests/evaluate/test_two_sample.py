"""Judgements by a small network, and nearest neighbours."""

from __future__ import annotations

import math

import pytest
import torch

from diffedu._tensor import seeded
from diffedu.data import digits
from diffedu.evaluate import (
    accuracy,
    classifier_two_sample,
    nearest_neighbours,
    quantise,
    to_bytes,
    train_small_classifier,
)


@pytest.fixture(scope="module")
def real():
    return digits("train")


# --- 8 bits


def test_real_digits_are_on_the_grid_already(real):
    assert torch.equal(quantise(real.images), real.images)


def test_rounding_goes_to_the_nearest_byte():
    x = torch.linspace(-1, 1, 4001, dtype=torch.float64, device="cpu")
    assert (quantise(x).double() - x).abs().max() <= 1 / 255 + 1e-6
    assert torch.equal(quantise(quantise(x)), quantise(x))
    assert to_bytes(torch.tensor([-7.0, 7.0])).tolist() == [0, 255]
    assert to_bytes(x).dtype == torch.uint8
    assert len(to_bytes(x).unique()) == 256
    with pytest.raises(ValueError, match="not finite"):
        quantise(torch.tensor([float("nan")]))


# --- the small classifier


@pytest.mark.slow
def test_training_learns_real_digits_and_repeats_by_seed(real):
    images, labels = real.images[:1200], real.labels[:1200]
    held_out = digits("test")
    before = torch.get_rng_state()
    first = train_small_classifier(images, labels, epochs=6, seed=1)
    assert torch.equal(torch.get_rng_state(), before), "the global random state must be left alone"
    torch.manual_seed(123)
    second = train_small_classifier(images, labels, epochs=6, seed=1)
    assert not first.training
    assert all(torch.equal(a, b) for a, b in zip(first.state_dict().values(), second.state_dict().values()))
    score = accuracy(first, *held_out)
    assert score.value > 0.9
    assert score.standard_error == pytest.approx(math.sqrt(score.value * (1 - score.value) / 1000))


def test_seeds_differ(real):
    images, labels = real.images[:256], real.labels[:256]
    first, second = (train_small_classifier(images, labels, epochs=1, seed=seed) for seed in (0, 1))
    assert not torch.equal(first.out.weight, second.out.weight)


def test_accuracy_counts_over_all_chunks(real):
    net = train_small_classifier(real.images[:256], real.labels[:256], epochs=1)
    with torch.no_grad():
        right = (net(real.images[:1234]).argmax(1) == real.labels[:1234]).double().mean().item()
    assert accuracy(net, real.images[:1234], real.labels[:1234]).value == pytest.approx(right, abs=2e-3)


def test_bad_training_sets_get_sentences(real):
    images, labels = real.images[:10], real.labels[:10]
    with pytest.raises(ValueError, match=r"images \(N, \*\) need labels \(N,\) of dtype int64"):
        train_small_classifier(images, labels[:9])
    with pytest.raises(ValueError, match=r"labels \(10,\) of torch.float32"):
        train_small_classifier(images, labels.float())
    with pytest.raises(ValueError, match=r"labels must lie in 0 \.\.\. 1, got 0 \.\.\. 9"):
        train_small_classifier(images, labels, classes=2)
    with pytest.raises(ValueError, match="at least 2 images"):
        train_small_classifier(images[:1], labels[:1])
    with pytest.raises(ValueError, match="epochs must be at least 1, got 0"):
        train_small_classifier(images, labels, epochs=0)
    net = train_small_classifier(images, labels, epochs=1)
    with pytest.raises(ValueError, match="training mode"):
        accuracy(net.train(), images, labels)


# --- two samples


def test_two_halves_of_one_set_cannot_be_told_apart(real):
    score = classifier_two_sample(real.images[:1000], real.images[1000:2000], train_n=500, epochs=2)
    assert abs(score.value - 0.5) < 4 * score.standard_error
    assert score.standard_error == pytest.approx(math.sqrt(0.25 / 1000), rel=0.02)


@pytest.mark.slow
def test_other_images_are_told_apart(real):
    upside_down = real.images[1000:1700].flip(2)
    noise = torch.rand(700, 1, 28, 28, generator=seeded(0)) * 2 - 1
    fair = classifier_two_sample(real.images[:700], upside_down, train_n=400, epochs=4)
    plain = classifier_two_sample(real.images[:700], noise, train_n=400, epochs=2)
    assert fair.value > 0.6
    assert plain.value > 0.99


@pytest.mark.slow
def test_what_eight_bits_hide_does_not_count(real):
    # Off the grid by less than half a step: without rounding, paper alone would give it away.
    fake = real.images[1000:2000] + 0.003
    assert torch.equal(quantise(fake), real.images[1000:2000])
    score = classifier_two_sample(real.images[:1000], fake, train_n=500, epochs=2)
    assert score == classifier_two_sample(real.images[:1000], real.images[1000:2000], train_n=500, epochs=2)


@pytest.mark.slow
def test_sorted_images_are_mixed_before_the_split():
    def shades(first, then):  # 100 images of one shade, 50 of another
        values = torch.tensor([first] * 100 + [then] * 50)
        return values[:, None, None, None].expand(150, 1, 28, 28)

    # Cut where they stand, the second shades would all be in the test, never seen before.
    score = classifier_two_sample(shades(-1.0, 1.0), shades(-0.3, 0.4), train_n=100, epochs=25)
    assert score.value > 0.95


def test_two_sample_sentences(real):
    images = real.images[:20]
    with pytest.raises(ValueError, match=r"train_n must leave images .* 10 with 20 real and 10 fake"):
        classifier_two_sample(images, images[:10], train_n=10)
    with pytest.raises(ValueError, match=r"images of one shape, got \(1, 28, 28\) and \(1, 14, 14\)"):
        classifier_two_sample(images, images[:, :, :14, :14], train_n=10)


# --- neighbours


@pytest.mark.parametrize("chunk", [1, 7, 500])
def test_neighbours_agree_with_brute_force(chunk):
    queries, bank = torch.randn(20, 3, 2, generator=seeded(0)), torch.randn(50, 3, 2, generator=seeded(1))
    found = nearest_neighbours(queries, bank, 4, chunk=chunk)
    every = (queries[:, None] - bank[None]).flatten(2).double().norm(dim=-1)
    expected = every.sort(dim=1)
    assert torch.equal(found.indices, expected.indices[:, :4])
    torch.testing.assert_close(found.distances.double(), expected.values[:, :4], rtol=1e-5, atol=1e-6)


def test_a_copy_is_at_distance_zero(real):
    found = nearest_neighbours(real.images[[5, 17]], real.images[:500], k=2)
    assert found.indices[:, 0].tolist() == [5, 17]
    assert found.distances[:, 0].tolist() == [0.0, 0.0]
    assert (found.distances[:, 1] > 1).all()


def test_neighbour_sentences():
    x = torch.zeros(3, 2)
    with pytest.raises(ValueError, match=r"must agree after the first axis, got \(3, 2\) and \(3, 5\)"):
        nearest_neighbours(x, torch.zeros(3, 5))
    with pytest.raises(ValueError, match=r"k must lie in 1 \.\.\. 3, the size of the bank, got 4"):
        nearest_neighbours(x, x, 4)

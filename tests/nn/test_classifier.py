"""The digit classifier: shapes, independence of the batch in evaluation, and that it can learn."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from diffedu._tensor import seeded
from diffedu.nn import ImageClassifier


def images(n, seed=0):
    return torch.rand(n, 1, 28, 28, generator=seeded(seed)) * 2 - 1


def test_features_and_logits():
    torch.manual_seed(0)
    net = ImageClassifier(width=8, classes=7).eval()
    features = net.features(images(3))
    assert features.shape == (3, 64)
    assert (features >= 0).all()  # after the rectifier
    torch.testing.assert_close(net(images(3)), features @ net.out.weight.T + net.out.bias)
    assert net(images(3)).shape == (3, 7)


def test_a_batch_equals_its_singles_in_evaluation():
    torch.manual_seed(0)
    net, x = ImageClassifier(width=8).double(), images(4).double()
    net(x)  # move the running averages away from their start
    net.eval()
    whole = net(x)
    for i in range(4):
        torch.testing.assert_close(whole[i : i + 1], net(x[i : i + 1]), rtol=1e-9, atol=1e-11)


def test_gradients_reach_every_parameter():
    torch.manual_seed(0)
    net = ImageClassifier(width=8)
    F.cross_entropy(net(images(6)), torch.arange(6)).backward()
    assert [name for name, p in net.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_it_learns_eight_images_by_heart():
    torch.manual_seed(0)
    net, x, labels = ImageClassifier(width=8), images(8), torch.arange(8)
    optimiser = torch.optim.Adam(net.parameters(), lr=3e-3)
    for _ in range(40):
        optimiser.zero_grad()
        F.cross_entropy(net(x), labels).backward()
        optimiser.step()
    with torch.no_grad():
        assert F.cross_entropy(net(x), labels) < 0.05
        assert torch.equal(net(x).argmax(1), labels)


@pytest.mark.parametrize("shape", [(2, 28, 28), (2, 3, 28, 28), (2, 1, 32, 32)])
def test_bad_input_gets_a_sentence(shape):
    with pytest.raises(ValueError, match=r"images must have shape \(B, 1, 28, 28\), got \(2, "):
        ImageClassifier(width=8)(torch.zeros(shape))

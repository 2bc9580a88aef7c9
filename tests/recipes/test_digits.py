"""The shipped digit models: sizes, logs, determinism, and that their figures are what the log says, within error."""

from __future__ import annotations

import json
import math

import pytest
import torch

from diffedu._tensor import seeded
from diffedu.data import asset, digits
from diffedu.evaluate.two_sample import accuracy
from diffedu.nn import UNetConfig
from diffedu.recipes import (
    RECIPES,
    digits_classifier,
    digits_ddpm,
    digits_dit,
    digits_flow,
    digits_reflow,
    digits_report,
    recipe,
)


def log(name: str) -> dict:
    return json.loads(asset(f"checkpoints/{name}.json").read_text(encoding="utf-8"))


def test_the_classifier_reads_held_out_digits_as_its_log_says():
    measured = accuracy(digits_classifier.load(), *digits("test")).value
    assert measured >= 0.985
    assert measured == pytest.approx(log("digits-classifier")["accuracy on 1,000 held-out digits"], abs=0.002)


def test_checkpoints_are_small():
    for name in RECIPES:
        kind = (
            "json"
            if name in {"digits-minutes", "digits-objectives", "digits-scaling", "emoji-studies"}
            else "safetensors"
        )
        assert asset(f"checkpoints/{name}.{kind}").stat().st_size <= 3_000_000


def test_every_figure_of_the_log_has_its_floor():
    for row in log("digits-ddpm")["rows"]:
        for name in ("class accuracy", "Frechet distance", "trained on generated", "two-sample test"):
            assert set(row[name]) == {"value", "floor"}


@pytest.mark.parametrize(("module", "steps"), [(digits_flow, 6), (digits_dit, 6), (digits_reflow, 1)])
def test_the_flows_draw_the_digits_that_they_are_asked_for(module, steps):
    wanted = torch.arange(100) % 10
    made = module.draw(module.load(), wanted, seed=3, steps=steps)
    assert accuracy(digits_classifier.load(), made, wanted).value >= 0.85  # the logs say 0.94 to 0.97


@pytest.mark.slow
def test_class_accuracy_agrees_with_the_log():
    n = 200
    wanted = torch.arange(n) % 10
    samples = digits_ddpm.draw(digits_ddpm.load(), wanted, seed=5)
    measured = digits_report.class_accuracy(samples, wanted, digits_classifier.load()).value
    expected = log("digits-ddpm")["rows"][-1]["class accuracy"]["value"]
    error = math.sqrt(expected * (1 - expected) / n)
    assert abs(measured - expected) < 4 * error


def test_draw_depends_on_the_seed_alone():
    net, labels = digits_ddpm.load(), torch.tensor([3, 7])
    first = digits_ddpm.draw(net, labels, seed=1, steps=3)
    torch.manual_seed(123)
    assert torch.equal(first, digits_ddpm.draw(net, labels, seed=1, steps=3))
    assert not torch.equal(first, digits_ddpm.draw(net, labels, seed=2, steps=3))
    assert first.shape == (2, 1, 28, 28)
    assert first.abs().max() <= 1


def test_the_margin_for_paper_loses_nothing_and_cuts_small_errors_off():
    images = digits("test").images[:50]
    encoded = digits_ddpm.encode(images)
    assert torch.equal(digits_ddpm.decode(encoded), images)
    assert torch.equal(digits_ddpm.encode(encoded), encoded)
    paper = images == -1
    assert (encoded[paper] == torch.tensor(digits_ddpm.PAPER)).all()
    assert torch.equal(encoded[~paper], images[~paper])
    noisy = encoded + 0.09 * (2 * torch.rand(encoded.shape, generator=seeded(0)) - 1)
    assert (digits_ddpm.decode(noisy)[paper] == -1).all()


def test_the_loss_is_that_of_the_noise_plus_that_of_the_picture():
    """(14.12), seen from outside: the network's v, turned into noise and picture, misses both."""
    images, labels = digits("train").images[:8], digits("train").labels[:8]
    net, seen = digits_ddpm.load(), {}
    net.register_forward_hook(lambda module, inputs, output: seen.update(x_t=inputs[0], t=inputs[1], v=output))
    with torch.no_grad():
        losses = digits_ddpm.loss(net, (images, labels), seeded(0))
    c = digits_ddpm.PATH(seen["t"]).expand(images)
    x0 = digits_ddpm.encode(images)
    eps = (seen["x_t"] - c.alpha * x0) / c.sigma
    x0_hat, eps_hat = c.alpha * seen["x_t"] - c.sigma * seen["v"], c.sigma * seen["x_t"] + c.alpha * seen["v"]
    both = (x0_hat - x0).square() + (eps_hat - eps).square()
    torch.testing.assert_close(losses, both.flatten(1).mean(1), rtol=1e-3, atol=1e-4)


def test_a_tenth_of_the_labels_is_hidden():
    net = digits_ddpm.build(config=UNetConfig(width=16, low_width=32, t_max=digits_ddpm.PATH.t_max))
    seen = []
    net.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[2]))
    images = torch.zeros(2000, 1, 28, 28)
    with torch.no_grad():
        digits_ddpm.loss(net, (images, torch.full((2000,), 3)), seeded(0))
    share = (seen[0] == net.config.classes).float().mean().item()
    assert share == pytest.approx(0.1, abs=4 * math.sqrt(0.09 / 2000))
    assert set(seen[0].tolist()) == {3, net.config.classes}


def test_the_report_needs_enough_samples():
    with pytest.raises(ValueError, match=r"N >= 200 and wanted shape \(N,\), got \(10, 1, 28, 28\) and \(10,\)"):
        digits_report.report(torch.zeros(10, 1, 28, 28), torch.zeros(10).long())


def test_jitter_keeps_paper_white_and_classes_apart():
    images = digits("test").images[:32]
    moved = digits_classifier.jitter(images, seeded(0))
    assert moved.shape == images.shape
    assert moved.min() >= -1 - 1e-6
    assert not torch.equal(moved, images)
    still = digits_classifier.jitter(images, seeded(0), angle=0.0, shift=0.0, zoom=0.0)
    assert torch.allclose(still, images, atol=1e-5)


def test_an_unknown_recipe_names_the_nearest():
    with pytest.raises(ValueError, match="did you mean 'digits-ddpm'"):
        recipe("digit-ddpm")

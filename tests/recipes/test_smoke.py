"""Every recipe at a thousandth of its length: trains, goes on after a stop, exports, loads, draws."""

from __future__ import annotations

import json
import math

import pytest
import torch

from diffedu._tensor import seeded
from diffedu.core import Cosine, RectifiedFlow, uniform_times
from diffedu.data import digits, emoji
from diffedu.flow import FlowMatchingLoss
from diffedu.nn import VAE, DiTConfig, UNetConfig, VAEConfig
from diffedu.recipes import (
    RECIPES,
    _digit_flow,
    digits_ddpm,
    digits_dit,
    digits_flow,
    digits_minutes,
    digits_objectives,
    digits_reflow,
    digits_report,
    digits_scaling,
    emoji_classifier,
    emoji_latent,
    emoji_studies,
    emoji_vae,
)
from diffedu.sampling import Euler, Heun, sample
from diffedu.train import TrainConfig

SHORT = TrainConfig(steps=4, batch=8, warmup=1, ema=0.5)


def log_of(folder, name):
    return json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))


def test_the_autoencoder(tmp_path):
    log = emoji_vae.run(tmp_path, config=SHORT, net=VAEConfig(width=8))
    assert log == log_of(tmp_path, "emoji-vae")
    net = emoji_vae.load(tmp_path)
    images = emoji("train").images
    with torch.no_grad():
        assert torch.isfinite(net.from_latents(net.to_latents(images[:5]))).all()
        mean, _ = net.encode(images)
        z = net.to_latents(images, torch.randn(mean.shape, generator=seeded(0)))
    torch.testing.assert_close(z.var((0, 2, 3)), torch.ones(4), atol=0.02, rtol=0)


def test_the_loss_of_the_autoencoder_is_the_negative_elbo_of_gaussian_pixels():
    """With a decoder N(x_hat, w / 2): -log p(x | z) + KL, times w, divided by the number of pixel values."""
    torch.manual_seed(0)
    net, w, images = VAE(VAEConfig(width=8)), 0.3, emoji("train").images[:6]
    found = emoji_vae.loss(net, (images,), seeded(1), w)
    g = seeded(1)
    x = emoji_vae.varied(images, g)
    with torch.no_grad():
        decoded, mean, log_variance = net(x, torch.randn(6, 4, 8, 8, generator=g))
        q = torch.distributions.Normal(mean, (log_variance / 2).exp())
        kl = torch.distributions.kl_divergence(q, torch.distributions.Normal(0.0, 1.0)).flatten(1).sum(1)
        pixels = torch.distributions.Normal(decoded, math.sqrt(w / 2)).log_prob(x).flatten(1).sum(1)
    elbo = pixels - kl
    constant = -0.5 * math.log(2 * math.pi * w / 2)
    torch.testing.assert_close(found, -w * (elbo / x[0].numel() - constant), rtol=1e-4, atol=1e-5)


def test_variations_mirror_and_exchange_colours():
    images = emoji("train").images[:200]
    made = emoji_vae.varied(images, seeded(0))
    same = (made == images).flatten(1).all(1)
    assert 0.15 < same.float().mean() < 0.5  # a quarter, more where colours or halves are equal
    torch.testing.assert_close(made.flatten(1).sort(1).values, images.flatten(1).sort(1).values)
    moved = emoji_classifier.moved(images, seeded(0), shift=0)
    assert all(torch.equal(m, x) or torch.equal(m, x.flip(2)) for m, x in zip(moved, images, strict=True))
    far = emoji_classifier.moved(torch.zeros(50, 3, 32, 32), seeded(1))
    white = (far == 1).float().mean((1, 2, 3))
    assert white.min() == 0 or white.min() < 0.07
    assert white.max() <= 1 - (30 / 32) ** 2 + 1e-6


def test_the_classifier(tmp_path):
    log = emoji_classifier.run(tmp_path, config=SHORT)
    assert 0 <= log["accuracy on 200 held-out pictures"] <= 1
    assert log["accuracy of always naming the commonest"] == 0.215
    assert emoji_classifier.load(tmp_path)(emoji("test").images[:3]).shape == (3, 10)


def test_bags_hold_categories_and_words():
    known = emoji_latent.vocabulary()
    assert known[:10] == tuple(emoji("train").categories)
    assert len(set(known)) == len(known)
    bag = emoji_latent.bag(["heart", "red"])
    assert [known[k] for k in bag] == ["heart", "red"] * 3
    with pytest.raises(ValueError, match="did you mean 'heart'"):
        emoji_latent.bag(["haert"])
    with pytest.raises(ValueError, match="at most 6 labels, got 7"):
        emoji_latent.bag(["heart"] * 7)
    categories, names = emoji_latent._training_labels()
    data = emoji("train")
    for k in range(0, len(data.images), 100):
        assert [known[c] for c in categories[k]] == [data.category[k]] * 6
        words = [w for w in data.captions[k].split() if w in known]
        assert {known[n] for n in names[k]} == (set(words) or {data.category[k]})


def test_the_latent_model_hides_a_tenth_and_tells_half_the_rest_the_name():
    vae, net = (
        VAE(VAEConfig(width=8)),
        emoji_latent.build(config=DiTConfig(8, 4, 1, 16, 1, 1, len(emoji_latent.vocabulary()))),
    )
    seen = []
    net.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[2]))
    mean = torch.zeros(3000, 4, 8, 8)
    labels = torch.zeros(3000, 6, dtype=torch.long), torch.full((3000, 6), 7)
    with torch.no_grad():
        emoji_latent.loss(net, (mean, mean, *labels), seeded(0))
    share = torch.bincount(seen[0][:, 0]) / 3000
    for index, wanted in ((0, 0.45), (7, 0.45), (len(emoji_latent.vocabulary()), 0.1)):
        assert abs(share[index] - wanted) < 4 * (wanted * (1 - wanted) / 3000) ** 0.5
    mean, deviation, categories, _ = emoji_latent.latents(vae)
    assert mean.shape == deviation.shape == (2 * 1711, 4, 8, 8)
    assert torch.equal(categories[:1711], categories[1711:])


@pytest.mark.slow
def test_the_latent_model_draws(tmp_path):
    net = DiTConfig(8, 4, 1, 16, 1, 1, len(emoji_latent.vocabulary()), Cosine().t_max)
    log = emoji_latent.run(tmp_path, config=SHORT, net=net, count=18)
    assert log == log_of(tmp_path, "emoji-latent")
    trained, vae = emoji_latent.load(tmp_path), emoji_vae.load()
    labels = torch.stack([emoji_latent.bag(["heart"]), emoji_latent.bag([])])
    made = emoji_latent.draw(trained, vae, labels, steps=3)
    assert made.shape == (2, 3, 32, 32)
    assert torch.equal(made, emoji_latent.draw(trained, vae, labels, steps=3))
    assert not torch.equal(made, emoji_latent.draw(trained, vae, labels, steps=3, seed=1))


@pytest.mark.parametrize(
    ("module", "net"),
    [(digits_dit, DiTConfig(width=16, depth=1, heads=1)), (digits_flow, UNetConfig(width=16, low_width=32, t_max=1.0))],
)
def test_the_flows_of_digits(tmp_path, monkeypatch, module, net):
    monkeypatch.setattr(_digit_flow, "evaluate", lambda *a, **k: {})
    module.run(tmp_path, config=SHORT, net=net)
    trained = module.load(tmp_path)
    made = module.draw(trained, torch.tensor([3, 10]), steps=2)
    assert made.shape == (2, 1, 28, 28)
    assert made.abs().max() <= 1
    assert log_of(tmp_path, module.NAME)["parameters"] == sum(p.numel() for p in trained.parameters())
    assert not (tmp_path / f"{module.NAME}.state").exists()


def small_unet(seed=0):
    """A network that answers something: a new U-Net returns zeros."""
    net = digits_flow.build(config=UNetConfig(width=16, low_width=32, t_max=1.0))
    with torch.no_grad():
        for k, p in enumerate(net.parameters()):
            p.add_(0.02 * torch.randn(p.shape, generator=seeded(1000 * seed + k)))
    return net


def test_pairs_are_the_ends_of_the_teachers_trajectories():
    net = small_unet()
    x0, x1, labels = digits_reflow.pairs(net, 23, seed=4, chunk=10)
    assert labels.tolist() == [k % 10 for k in range(23)]
    times = uniform_times(RectifiedFlow(), digits_reflow.TEACHER_STEPS, end=0.0)
    again = sample(_digit_flow.denoiser(net, labels), Heun(), x1, times)
    torch.testing.assert_close(x0, again, rtol=1e-3, atol=1e-4)
    assert (x0 - x1).abs().mean() > 1e-3
    assert abs(x1.std() - 1) < 0.05


def test_every_second_example_of_reflow_is_at_the_end():
    t = digits_reflow.often_the_end(RectifiedFlow(), 1000, seeded(0))
    assert (t[::2] == 1).all()
    assert abs(t[1::2].mean() - 0.5) < 0.06


def test_at_the_end_reflow_pays_for_the_one_step_answer(monkeypatch):
    monkeypatch.setattr(digits_reflow, "_loss", FlowMatchingLoss(RectifiedFlow(), lambda path, n, g: torch.ones(n)))
    net, (x0, x1) = small_unet(), torch.randn(2, 6, 1, 28, 28, generator=seeded(0))
    labels = torch.arange(6)
    one_step = sample(_digit_flow.denoiser(net, labels), Euler(), x1, torch.tensor([1.0, 0.0]))
    found = digits_reflow.loss(net, (x0, x1, labels), seeded(1))
    torch.testing.assert_close(found, (one_step - x0).square().flatten(1).mean(1), rtol=1e-4, atol=1e-5)


def test_the_reflow(tmp_path, monkeypatch):
    monkeypatch.setattr(digits_report, "figures", lambda *a, **k: {})
    log = digits_reflow.run(tmp_path, config=SHORT, teacher=small_unet(), pair_count=12)
    assert log == log_of(tmp_path, "digits-reflow")
    assert [(row["sampling steps"], row["widened"]) for row in log["rows"]] == [
        (steps, widened) for widened in (False, True) for steps in (1, 2, 4)
    ]
    net, first = digits_reflow.load(tmp_path), small_unet().state_dict()
    apart = max((p - first[k]).abs().max() for k, p in net.state_dict().items())
    assert 1e-5 < apart < 0.02  # it went on from the teacher
    assert digits_reflow.draw(net, torch.tensor([3, 10])).shape == (2, 1, 28, 28)


@pytest.mark.slow
def test_widening_brings_the_variance_up_to_that_of_real_digits():
    net, labels = digits_reflow.load(), torch.arange(400) % 10
    real = digits("train")
    narrow = digits_reflow.draw(net, labels, seed=3)
    widen = digits_reflow.widening(net, count=400)
    wide = widen.means[labels] + widen.factor * (narrow - widen.means[labels])
    wanted = digits_reflow.variance_within(*real)
    own, cut, uncut = (digits_reflow.variance_within(x, labels) / wanted for x in (narrow, widen(narrow, labels), wide))
    assert 1.02 < widen.factor < 1.2
    assert own < 0.93
    assert abs(uncut - 1) < 0.08  # the factor is of 400 other digits
    assert own + 0.03 < cut < uncut
    assert torch.equal(widen(narrow, labels), wide.clamp(-1, 1))
    torch.testing.assert_close(widen.means[3], real.images[real.labels == 3].mean(dim=0))
    assert torch.equal(digits_reflow.draw_widened(net, labels, seed=3, count=400), widen(narrow, labels))
    with pytest.raises(ValueError, match="count must be 20 or more, got 19"):
        digits_reflow.widening(net, count=19)


@pytest.mark.slow
def test_the_table_of_minutes(tmp_path, monkeypatch):
    asked = []

    def figures(draw, device, *, count, classes):
        asked.append(draw(torch.arange(3) % classes).shape)
        return {"count": count}

    monkeypatch.setattr(digits_report, "figures", figures)
    small = UNetConfig(width=16, low_width=32, t_max=1.0)
    budgets = {name: budget._replace(config=SHORT) for name, budget in digits_minutes.BUDGETS.items()}
    log = digits_minutes.run(tmp_path, budgets=budgets, net=small, count=3)
    assert log == log_of(tmp_path, "digits-minutes")
    assert [(row["objective"], row["sampling"]) for row in log["rows"]] == [
        (name, way) for name in digits_minutes.BUDGETS for way in digits_minutes.SAMPLINGS
    ]
    assert asked == [(3, 1, 28, 28)] * 12


def test_the_evaluations_of_the_table_of_minutes_are_counted():
    net, labels = small_unet(), torch.tensor([3, 10])
    calls = []
    net.register_forward_hook(lambda *arguments: calls.append(1))
    for sampling in digits_minutes.SAMPLINGS.values():
        for budget in digits_minutes.BUDGETS.values():
            calls.clear()
            made = digits_minutes.draw(net, labels, learned=budget.loss, sampling=sampling)
            assert len(calls) == sampling.evaluations() <= 20
            assert torch.isfinite(made).all()


@pytest.mark.slow
def test_the_table_of_objectives(tmp_path):
    log = digits_objectives.run(
        tmp_path,
        config=SHORT,
        net=UNetConfig(width=16, low_width=32, t_max=1.0),
        count=200,
        objectives=("v, min-SNR 5", "edm"),
    )
    assert log == log_of(tmp_path, "digits-objectives")
    assert [(row["objective"], row["step"]) for row in log["rows"]] == [
        ("v, min-SNR 5", 2),
        ("v, min-SNR 5", 4),
        ("edm", 2),
        ("edm", 4),
    ]


def test_every_objective_is_asked_at_the_same_noise_levels():
    grids = [digits_objectives.times(o, "cpu") for o in digits_objectives.OBJECTIVES.values()]
    paths = [o.loss.path for o in digits_objectives.OBJECTIVES.values()]
    levels = [path(grid[:-1]).half_log_snr for path, grid in zip(paths, grids, strict=True)]
    for path, level in zip(paths, levels, strict=True):
        torch.testing.assert_close(level[1:], levels[0][1:], rtol=1e-3, atol=1e-3)
        assert level[0] == levels[0][0] or path(path.t_max).half_log_snr == level[0]  # a path's own strongest noise
        assert len(level) == digits_objectives.STEPS
    assert all(grid[-1] == 0 for grid in grids)
    images = digits_ddpm.encode(digits("train").images)
    assert abs(images.square().mean().sqrt() - digits_objectives.DATA_STD) < 0.01


def test_min_snr_for_v_weighs_the_noise_error_with_min_snr():
    c = Cosine()(torch.linspace(0.05, 0.95, 19))
    error = torch.rand(19, generator=seeded(0))  # of x0
    snr = (c.alpha / c.sigma) ** 2
    noise_error, v_error = error * c.alpha / c.sigma, error / c.sigma
    torch.testing.assert_close(
        digits_objectives.min_snr_for_v(c) * v_error**2, snr.clamp(max=5) / snr * noise_error**2, rtol=1e-4, atol=1e-6
    )


@pytest.mark.slow
def test_the_scaling_table(tmp_path):
    sizes = (DiTConfig(width=32, depth=1), DiTConfig(width=48, depth=1))
    log = digits_scaling.run(tmp_path, config=SHORT, sizes=sizes, lengths=(2, 4))
    assert log == log_of(tmp_path, "digits-scaling")
    assert [(row["width"], row["steps"]) for row in log["rows"]] == [(32, 2), (32, 4), (48, 2), (48, 4)]
    for name, value in zip(("0.1", "0.5", "0.9"), (0.2173, 0.5, 0.7827), strict=True):
        share = (digits_scaling.levels("cpu") < value).double().mean().item()
        assert abs(share - float(name)) <= 0.05, name


def test_a_new_transformer_has_the_held_out_loss_of_the_zero_answer():
    x0 = digits_ddpm.encode(digits("test").images)
    net = digits_dit.build(config=DiTConfig(width=16, depth=1, heads=1))  # returns zeros: pays E |eps - x0|^2
    assert abs(digits_scaling.held_out_loss(net) - (1 + x0.square().mean().item())) < 0.01


def test_evaluation_flop_is_what_the_layers_cost():
    config = DiTConfig(width=32, depth=2, heads=2)
    n, w, f = 49, 32, 2  # tokens, width, operations a multiplication and addition
    block = n * (3 * w * w + w * w + 8 * w * w) + 2 * n * n * w + 6 * w * w
    ends = 2 * n * 16 * w + 128 * w + w * w + 2 * w * w
    assert digits_scaling.evaluation_flop(config) == f * (2 * block + ends)


@pytest.mark.slow
def test_the_tables_about_emoji(monkeypatch):
    classes = len(emoji_latent.vocabulary())
    vae, net = emoji_vae.load(), DiTConfig(8, 4, 1, 16, 1, 1, classes, Cosine().t_max)
    spaces = {"latents": net, "pixels": DiTConfig(32, 3, 8, 16, 1, 1, classes, Cosine().t_max)}
    rows = emoji_studies.pixels(vae, config=SHORT, spaces=spaces, count=40)
    assert [(row["space"], row["steps"]) for row in rows] == [
        ("latents", 1),
        ("latents", 4),
        ("pixels", 1),
        ("pixels", 4),
    ]
    rows = emoji_studies.memorisation(vae, config=SHORT, net=net, sizes=((20, True),), count=20)
    assert [(row["pictures"], row["mirrored"], row["steps"]) for row in rows] == [(20, True, 1), (20, True, 4)]
    (row,) = emoji_studies.kl_weights("cpu", config=SHORT, weights=(0.1,))
    assert row["KL weight"] == 0.1


def test_copies_are_counted():
    bank = emoji("train").images[:50]
    near = bank[:10] + 0.01 * torch.randn(10, 3, 32, 32, generator=seeded(0))
    between = (bank[20:25] + bank[30:35]) / 2
    assert emoji_studies.copies(torch.cat([near, between]), bank) == pytest.approx(10 / 15)


@pytest.mark.parametrize("name", ["digits-minutes", "digits-objectives", "digits-scaling", "emoji-studies"])
def test_tables_ship(name):
    assert RECIPES[name].load()["recipe"] == name

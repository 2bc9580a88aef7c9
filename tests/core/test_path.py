"""Paths against autograd, closed forms of the literature, and products written out."""

from __future__ import annotations

import math
import warnings

import pytest
import torch

from diffedu._tensor import expand
from diffedu.core import (
    EDM,
    VE,
    VP,
    Cosine,
    DiscreteDDPM,
    PathCoefficients,
    RectifiedFlow,
    betas_from_alpha_bar,
    cosine_betas,
    linear_betas,
    scaled_linear_betas,
    sigmoid_betas,
)
from tests.core.paths import PATHS, VARIANCE_PRESERVING, inside

every_path = pytest.mark.parametrize("name", PATHS)


def f64(*values):
    return torch.tensor(values, dtype=torch.float64)


# --- the four coefficients


@every_path
def test_derivatives_are_those_that_autograd_finds(name):
    path = PATHS[name]
    t = inside(path).requires_grad_()
    c = path(t)
    for value, dot in ((c.alpha, c.alpha_dot), (c.sigma, c.sigma_dot)):
        if value.requires_grad:
            (found,) = torch.autograd.grad(value.sum(), t, retain_graph=True)
        else:
            found = torch.zeros_like(t)  # alpha = 1: a constant
        torch.testing.assert_close(dot, found, rtol=1e-10, atol=1e-13)


@every_path
def test_signal_to_noise_falls(name):
    path = PATHS[name]
    c = path(torch.linspace(1e-4, 1, 4001, dtype=torch.float64) * path.t_max)
    assert (c.half_log_snr.diff() < 0).all()
    assert (c.snr.diff() < 0).all()
    assert (c.alpha >= 0).all()
    assert (c.sigma > 0).all()
    inner = slice(0, -1)  # RectifiedFlow ends at alpha = 0
    torch.testing.assert_close(c.half_log_snr[inner], 0.5 * c.snr[inner].log())


@pytest.mark.parametrize("name", VARIANCE_PRESERVING)
def test_variance_is_preserved(name):
    c = PATHS[name](inside(PATHS[name]))
    torch.testing.assert_close(c.alpha**2 + c.sigma**2, torch.ones_like(c.alpha), rtol=0, atol=1e-14)


@every_path
def test_data_at_zero_and_noise_at_the_end(name):
    path = PATHS[name]
    start, end = path(0.0), path(path.t_max)
    assert start.alpha == 1
    assert start.sigma == (pytest.approx(0.01) if name == "VE" else 0)
    assert end.alpha < 0.05 * end.sigma
    assert 0 <= path.t_min < path.t_max


def test_vp_alpha_is_the_integral_of_its_rate():
    path, t = VP(0.1, 20.0), f64(0.3)
    grid = torch.linspace(0, 0.3, 100_001, dtype=torch.float64)
    integral = torch.trapezoid(0.1 + 19.9 * grid, grid)
    torch.testing.assert_close(path(t).alpha[0], torch.exp(-integral / 2), rtol=1e-10, atol=0)


def test_values_that_one_can_do_by_hand():
    assert EDM()(3.0) == (1, 3, 0, 1)
    assert RectifiedFlow()(0.25) == (0.75, 0.25, -1, 1)
    c = Cosine()(f64(1 / 3)[0])
    assert (c.alpha.item(), c.sigma.item()) == pytest.approx((math.sqrt(3) / 2, 0.5))
    assert VE()(0.5).sigma.item() == pytest.approx(math.sqrt(0.01 * 50.0))


def test_small_times_keep_their_digits_in_float32():
    exact = VP()(f64(1e-6)[0]).sigma.item()
    assert VP()(1e-6).sigma.item() == pytest.approx(exact, rel=1e-5)
    ddpm = PATHS["DDPM linear"]
    assert ddpm(1.0).sigma.item() == pytest.approx(0.01, rel=1e-6)  # sqrt(beta_1)


# --- drift and diffusion


def test_vp_has_drift_minus_half_beta_and_diffusion_beta():
    t = inside(VP())
    beta, c = 0.1 + 19.9 * t, VP()(t)
    torch.testing.assert_close(c.drift, -beta / 2)
    torch.testing.assert_close(c.diffusion_squared, beta)


def test_ve_has_song_s_diffusion_and_no_drift():
    t = inside(VE())
    c = VE()(t)
    assert (c.drift == 0).all()
    g = 0.01 * (50.0 / 0.01) ** t * math.sqrt(2 * math.log(50.0 / 0.01))
    torch.testing.assert_close(c.diffusion_squared.sqrt(), g)


def test_edm_has_diffusion_two_sigma():
    t = inside(EDM())
    torch.testing.assert_close(EDM()(t).diffusion_squared, 2 * t)


def test_rectified_flow_and_cosine_in_closed_form():
    t = inside(RectifiedFlow())
    c = RectifiedFlow()(t)
    torch.testing.assert_close(c.drift, -1 / (1 - t))
    torch.testing.assert_close(c.diffusion_squared, 2 * t / (1 - t))
    t = inside(Cosine())
    c = Cosine()(t)
    torch.testing.assert_close(c.drift, -math.pi / 2 * torch.tan(math.pi * t / 2))
    torch.testing.assert_close(c.diffusion_squared, math.pi * torch.tan(math.pi * t / 2))


@every_path
def test_the_sde_s_moments_solve_to_the_path(name):
    """d alpha/dt = f alpha and d sigma^2/dt = 2 f sigma^2 + g^2: one small RK4 integration of both."""
    path = PATHS[name]
    low, high = (0.2, 0.5)
    if isinstance(path, DiscreteDDPM):  # f and g jump at whole numbers: stay inside one step
        low, high = (20.05 / path.T, 20.95 / path.T)
    grid = torch.linspace(low, high, 201, dtype=torch.float64) * path.t_max
    step = grid[1] - grid[0]

    def slope(t, y):
        c = path(t)
        return torch.stack([c.drift * y[0], 2 * c.drift * y[1] + c.diffusion_squared])

    c = path(grid[0])
    y = torch.stack([c.alpha, c.sigma**2])
    for t in grid[:-1]:
        k1 = slope(t, y)
        k2 = slope(t + step / 2, y + step / 2 * k1)
        k3 = slope(t + step / 2, y + step / 2 * k2)
        k4 = slope(t + step, y + step * k3)
        y = y + step / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
    c = path(grid[-1])
    torch.testing.assert_close(y, torch.stack([c.alpha, c.sigma**2]), rtol=1e-7, atol=1e-10)


# --- DiscreteDDPM


def test_alpha_bar_is_the_product_of_one_minus_beta():
    path = PATHS["DDPM linear"]
    product = 1.0
    for k, beta in enumerate(path.betas.tolist(), start=1):
        product *= 1 - beta
        if k in (1, 2, 500, 1000):
            assert path.alpha_bar[k].item() == pytest.approx(product, rel=1e-12)
            c = path(f64(k))
            assert c.alpha.item() == pytest.approx(math.sqrt(product), rel=1e-12)
            assert c.sigma.item() == pytest.approx(math.sqrt(1 - product), rel=1e-11)
    assert path.alpha_bar[0] == 1
    assert (path.T, path.t_min, path.t_max) == (1000, 1, 1000)


def test_between_whole_numbers_log_alpha_bar_is_straight():
    path = DiscreteDDPM([0.3, 0.9, 0.99])
    log_ab = 2 * path(f64(1, 1.25, 1.5, 1.75, 2)).alpha.log()
    torch.testing.assert_close(log_ab.diff(), torch.full_like(log_ab[1:], math.log(0.1) / 4))


def test_derivatives_at_a_whole_number_are_those_of_the_step_that_ends_there():
    path, h = DiscreteDDPM([0.3, 0.9, 0.99]), 1e-6
    for k in (1.0, 2.0, 3.0):
        c, before = path(f64(k)), path(f64(k - h))
        torch.testing.assert_close((c.alpha - before.alpha) / h, c.alpha_dot, rtol=1e-5, atol=0)
        torch.testing.assert_close((c.sigma - before.sigma) / h, c.sigma_dot, rtol=1e-5, atol=0)


def test_a_list_and_its_tensor_make_the_same_path_and_the_callers_array_stays_its_own():
    betas = torch.tensor([0.5, 0.9, 0.99])
    path = DiscreteDDPM(betas)
    betas[0] = 0.9
    torch.testing.assert_close(path.alpha_bar, DiscreteDDPM([0.5, 0.9, 0.99]).alpha_bar, rtol=1e-6, atol=1e-9)


def test_a_schedule_cut_short_warns_with_its_value():
    with pytest.warns(UserWarning, match=r"alpha_bar_T = 0\.60\d? after T = 50.*0\.77") as caught:
        DiscreteDDPM(linear_betas(50, 1e-4, 0.02))
    assert caught[0].filename == __file__  # points at the caller
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for betas in (
            linear_betas(),
            scaled_linear_betas(),
            cosine_betas(),
            sigmoid_betas(),
            cosine_betas(20),
        ):
            DiscreteDDPM(betas)


# --- schedules


def test_scaled_linear_is_linear_in_its_square_roots():
    root = scaled_linear_betas(7, 0.01, 0.25).sqrt()
    torch.testing.assert_close(root, f64(*[0.1 + 0.4 * i / 6 for i in range(7)]))


def test_cosine_betas_follow_the_squared_cosine_until_the_cut():
    T, s = 20, 0.008
    wanted = [math.cos((k / T + s) / (1 + s) * math.pi / 2) ** 2 for k in range(T + 1)]
    found = DiscreteDDPM(cosine_betas(T)).alpha_bar
    for k in range(T):  # the last is cut
        assert found[k].item() == pytest.approx(wanted[k] / wanted[0], rel=1e-9)
    assert cosine_betas(T)[-1] == 0.999
    assert found[T].item() == pytest.approx(found[T - 1].item() * 0.001)


def test_sigmoid_betas_follow_their_sigmoid_until_the_cut():
    T, start, end, tau = 12, -3.0, 2.0, 0.7

    def logistic(z):
        return 1 / (1 + math.exp(-z / tau))

    found = DiscreteDDPM(sigmoid_betas(T, start, end, tau)).alpha_bar
    for k in range(T):
        value = logistic(start + (end - start) * k / T)
        assert found[k].item() == pytest.approx((logistic(end) - value) / (logistic(end) - logistic(start)), rel=1e-9)
    assert sigmoid_betas(T, start, end, tau)[-1] == 0.999


def test_betas_and_alpha_bar_are_inverse_to_each_other():
    betas = linear_betas(40, 0.05, 0.6)
    torch.testing.assert_close(betas_from_alpha_bar(DiscreteDDPM(betas).alpha_bar), betas, rtol=1e-10, atol=0)


def test_schedules_are_float64_and_have_their_ends():
    for betas in (linear_betas(10), scaled_linear_betas(10), cosine_betas(10), sigmoid_betas(10)):
        assert betas.dtype == torch.float64
        assert betas.shape == (10,)
        assert (betas.diff() > 0).all()
    assert linear_betas()[[0, -1]].tolist() == [1e-4, 0.02]
    assert scaled_linear_betas()[[0, -1]].tolist() == pytest.approx([0.00085, 0.012])


# --- noising, shapes, dtypes


@every_path
def test_add_noise_is_per_example_even_where_batch_and_dimension_agree(name):
    path = PATHS[name]
    g = torch.Generator().manual_seed(0)
    for shape in ((4, 4), (3, 2, 3, 3), (1, 5)):
        x0, eps = torch.randn(2, *shape, generator=g, dtype=torch.float64)
        t = inside(path, shape[0])
        found = path.add_noise(x0, eps, t)
        for i in range(shape[0]):
            c = path(t[i])
            assert torch.equal(found[i], c.alpha * x0[i] + c.sigma * eps[i])
        c = path(t[0])
        assert torch.equal(path.add_noise(x0, eps, t[0].item()), c.alpha * x0 + c.sigma * eps)


@every_path
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_coefficients_have_the_shape_and_dtype_of_t(name, dtype):
    path = PATHS[name]
    for shape in ((), (3,)):
        for value in path(torch.full(shape, 0.5 * path.t_max, dtype=dtype)):
            assert (value.shape, value.dtype) == (shape, dtype)


def test_expand_gives_trailing_axes_only():
    c = PathCoefficients(*torch.arange(12.0).reshape(4, 3)).expand(torch.zeros(3, 1, 5, 5))
    assert all(value.shape == (3, 1, 1, 1) for value in c)
    assert c.sigma.flatten().tolist() == [3, 4, 5]
    assert expand(torch.tensor(2.0), torch.zeros(3, 2)).shape == ()


def test_times_an_ulp_outside_are_taken_as_the_end():
    assert RectifiedFlow()(1 + 1e-7).alpha == 0
    assert RectifiedFlow()(-1e-9).sigma == 0
    assert VP()(torch.tensor(-1e-9)).sigma == 0  # not NaN


# --- sentences


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: VP()(1.5), ["t must lie in [0, 1] for VP", "1.5 to 1.5"]),
        (lambda: VP()(torch.tensor([0.5, -0.25])), ["t must lie in [0, 1] for VP", "-0.25 to 0.5"]),
        (lambda: EDM()(torch.tensor(81.0)), ["[0, 80] for EDM", "81"]),
        (lambda: VP()(math.nan), ["t must lie in", "nan"]),
        (lambda: VP()(torch.tensor([0.5, math.inf])), ["t must lie in", "inf"]),
        (lambda: VP()(torch.zeros(2, 1)), ["t must have shape () or (B,)", "(2, 1)"]),
        (lambda: PATHS["DDPM linear"](torch.tensor(5)), ["t must be a floating tensor", "torch.int64"]),
        (lambda: PATHS["DDPM linear"](1001.0), ["[0, 1000] for DiscreteDDPM", "1001"]),
        (lambda: VP(beta_min=3.0, beta_max=1.0), ["beta_min <= beta_max", "3.0", "1.0"]),
        (lambda: VP(beta_min=0.0, beta_max=0.0), ["beta_max > 0"]),
        (lambda: VE(sigma_min=0.0), ["0 < sigma_min < sigma_max", "0.0 and 50.0"]),
        (lambda: EDM(t_min=90.0), ["0 < t_min < t_max", "90.0 and 80.0"]),
        (lambda: DiscreteDDPM([]), ["betas must be a non-empty one-dimensional array", "(0,)"]),
        (lambda: DiscreteDDPM([[0.1, 0.2]]), ["one-dimensional", "(1, 2)"]),
        (lambda: DiscreteDDPM([0.1, 1.0]), ["strictly between 0 and 1", "beta_2 is 1"]),
        (lambda: DiscreteDDPM([0.0, 0.5]), ["beta_1 is 0"]),
        (lambda: DiscreteDDPM([0.1, 0.2, math.nan]), ["beta_3 is nan"]),
        (lambda: linear_betas(0), ["T must be at least 1", "got 0"]),
        (lambda: cosine_betas(-3), ["T must be at least 1", "got -3"]),
        (lambda: sigmoid_betas(10, tau=0.0), ["tau > 0", "tau = 0.0"]),
        (lambda: sigmoid_betas(10, start=2.0, end=1.0), ["end > start", "start = 2.0, end = 1.0"]),
        (lambda: betas_from_alpha_bar(torch.tensor([1.0, 0.5, 0.7])), ["alpha_bar must be", "decreasing"]),
        (lambda: betas_from_alpha_bar(torch.tensor([1.0])), ["at least two values"]),
        (
            lambda: VP().add_noise(torch.zeros(2, 3), torch.zeros(2, 2), 0.5),
            ["x0 and eps", "(2, 3) and (2, 2)"],
        ),
        (
            lambda: VP().add_noise(torch.zeros(2, 3), torch.zeros(2, 3), torch.full((3,), 0.5)),
            ["shape () or (B,)", "(3,)", "(2, 3)"],
        ),
    ],
)
def test_bad_input_gets_a_sentence(call, words):
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the words are compared below
        call()
    for word in words:
        assert word in str(caught.value)

"""The bound term by term: closed forms, quadrature, automatic differentiation, and what must hold on average."""

from __future__ import annotations

import math
import warnings

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from diffedu._tensor import seeded
from diffedu.core import (
    EDM,
    EPS,
    VP,
    X0,
    Cosine,
    DiscreteDDPM,
    FixedVariance,
    GaussianMixture,
    HybridLoss,
    LearnedVariance,
    RectifiedFlow,
    beta_tilde,
    bits_per_dimension,
    bound_rate,
    bound_terms,
    continuous_bound,
    cosine_betas,
    discretised_gaussian_log_prob,
    exact_terms,
    gaussian_kl,
    gaussian_log_prob,
    interpolated_variance,
    linear_betas,
    optimal_variances,
    posterior,
    prior_kl,
    scalar_mmse,
    time_at_half_log_snr,
)
from tests.device_guard import DeviceGuard

F64 = torch.float64
PATH = DiscreteDDPM(cosine_betas(20))


def tensor(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=F64)


def three_clusters() -> GaussianMixture:
    """On a line; unequal shares and widths, and a mean that is not 0."""
    return GaussianMixture(
        tensor(0.5, 0.3, 0.2), tensor(-1.2, 0.3, 1.3)[:, None], tensor(0.04, 0.0225, 0.09).reshape(3, 1, 1)
    )


def whole_times(path: DiscreteDDPM) -> torch.Tensor:
    return torch.arange(1, path.T + 1, dtype=F64)


# --- Gaussians


@given(st.floats(-3, 3), st.floats(-3, 3), st.floats(0.05, 20), st.floats(0.05, 20))
def test_kl_is_torchs_and_never_negative(m_q, m_p, v_q, v_p):
    q = torch.distributions.Normal(tensor(m_q), tensor(v_q).sqrt())
    p = torch.distributions.Normal(tensor(m_p), tensor(v_p).sqrt())
    found = gaussian_kl(tensor(m_q)[None], tensor(v_q), tensor(m_p)[None], tensor(v_p))
    assert torch.allclose(found, torch.distributions.kl_divergence(q, p), rtol=1e-9, atol=1e-12)
    assert found >= -1e-12


def test_kl_sums_over_coordinates_and_keeps_examples_apart():
    generator = seeded(0)
    m_q, m_p = torch.randn(2, 3, 3, 4, generator=generator, dtype=F64)  # B equal to C
    v_q, v_p = 0.1 + torch.rand(2, 3, 3, 4, generator=generator, dtype=F64)
    found = gaussian_kl(m_q, v_q, m_p, v_p)
    q, p = torch.distributions.Normal(m_q, v_q.sqrt()), torch.distributions.Normal(m_p, v_p.sqrt())
    assert torch.allclose(found, torch.distributions.kl_divergence(q, p).sum((1, 2)))


def test_kl_refuses_means_that_would_broadcast():
    with pytest.raises(ValueError, match=r"mean_q and mean_p must have the same shape, got \(3, 1\) and \(3, 3\)"):
        gaussian_kl(torch.zeros(3, 1), torch.ones(()), torch.zeros(3, 3), torch.ones(()))


def test_log_prob_is_torchs():
    x, mean = torch.randn(2, 4, 3, generator=seeded(1), dtype=F64)
    wanted = torch.distributions.Normal(mean, 0.7**0.5).log_prob(x).sum(1)
    assert torch.allclose(gaussian_log_prob(x, mean, tensor(0.7)[0]), wanted)


LEVELS = torch.linspace(-1, 1, 256, dtype=F64)[:, None]


@pytest.mark.parametrize("mean", [-1.3, -1.0, 0.0021, 0.999])
@pytest.mark.parametrize("variance", [1e-6, 1e-3, 0.5])
def test_probabilities_of_grey_levels_sum_to_one(mean, variance):
    log_p = discretised_gaussian_log_prob(LEVELS, torch.full_like(LEVELS, mean), tensor(variance)[0])
    assert log_p.exp().sum().item() == pytest.approx(1.0, abs=1e-12)
    assert torch.isfinite(log_p).all()


def test_a_wide_gaussian_gives_a_level_its_density_times_the_bin():
    mean = torch.full_like(LEVELS, 0.1)
    log_p = discretised_gaussian_log_prob(LEVELS, mean, tensor(0.3)[0])
    density = gaussian_log_prob(LEVELS, mean, tensor(0.3)[0]) + math.log(2 / 255)
    assert torch.allclose(log_p[1:-1], density[1:-1], atol=1e-4)  # (width / std)^2 / 24
    assert (log_p[[0, -1]] > density[[0, -1]] + 1).all()  # the open bins at the ends


def test_far_tails_of_grey_levels_keep_their_gradient():
    mean = torch.tensor([[0.9]], requires_grad=True)
    log_p = discretised_gaussian_log_prob(torch.tensor([[-0.5]]), mean, torch.tensor(1e-4))
    log_p.backward()
    assert log_p.item() < -9000
    assert mean.grad.item() < -1e4


@pytest.mark.equation("6.26")
def test_uniform_bytes_need_eight_bits():
    """A density of 1/2 on [-1, 1], of pixels k / 127.5 - 1: 127.5 levels a unit leave 255 of them."""
    nats = -10 * tensor(0.5).log()
    assert bits_per_dimension(nats, 10).item() == pytest.approx(math.log2(255))
    assert bits_per_dimension(tensor(0.0), 10, levels_per_unit=256.0).item() == pytest.approx(8)


# --- one step back


def test_posterior_by_bayes_rule_on_a_grid():
    x = torch.linspace(-8, 8, 20001, dtype=F64)
    x0, x_t = 0.7, -0.4
    for k in (2, 9, 20):
        beta, before = PATH.betas[k - 1], PATH.alpha_bar[k - 1]
        log_w = -((x_t - (1 - beta).sqrt() * x) ** 2) / (2 * beta) - (x - before.sqrt() * x0) ** 2 / (2 * (1 - before))
        w = torch.softmax(log_w, 0)
        mean = (w * x).sum()
        step = posterior(PATH, float(k))
        assert step.mean(tensor(x0)[None], tensor(x_t)[None]).item() == pytest.approx(mean.item(), rel=1e-5)
        assert step.variance.item() == pytest.approx((w * (x - mean) ** 2).sum().item(), rel=1e-5)


def test_posterior_at_the_first_step_returns_the_start():
    assert [c.item() for c in posterior(PATH, 1.0)] == [1.0, 0.0, 0.0]


def test_posterior_in_float32_keeps_the_digits_of_small_betas():
    path = DiscreteDDPM(linear_betas(1000))
    t = torch.tensor([2.0, 500.0])
    for single, double in zip(posterior(path, t), posterior(path, t.double()), strict=True):
        assert single.dtype == torch.float32
        assert torch.allclose(single.double(), double, rtol=1e-6)


@pytest.mark.parametrize("t", [0.0, 21.0, 1.5])
def test_posterior_refuses_other_times(t):
    with pytest.raises(ValueError, match="whole numbers from 1 to T = 20"):
        posterior(PATH, t)


def test_beta_tilde_is_positive_and_below_beta():
    assert torch.equal(beta_tilde(PATH)[1:], posterior(PATH, whole_times(PATH)).variance[1:])
    assert beta_tilde(PATH)[0] == beta_tilde(PATH)[1] > 0
    assert (beta_tilde(PATH)[1:] < PATH.betas[1:]).all()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        one = DiscreteDDPM([0.5])
    assert torch.equal(beta_tilde(one), one.betas)


def test_optimal_variance_is_the_minimum_of_the_bound():
    data, mmse = three_clusters(), scalar_mmse(three_clusters(), PATH(whole_times(PATH)).half_log_snr)
    best = optimal_variances(PATH, mmse)
    v = best.clone().requires_grad_()
    exact_terms(data, PATH, v, mmse).sum().backward()
    assert v.grad.abs().max() < 1e-9
    for factor in (0.8, 1.25):
        assert (exact_terms(data, PATH, factor * best, mmse)[:-1] > exact_terms(data, PATH, best, mmse)[:-1]).all()


@given(st.floats(0, 9))
def test_optimal_variance_lies_between_its_bounds(s2):
    """0 <= mse <= 1 / SNR: from beta tilde (a point) to beta / (1 - beta) (no knowledge); beta is unit variance."""
    snr = PATH(whole_times(PATH)).snr
    v = optimal_variances(PATH, s2 / (1 + s2 * snr))
    assert (v >= posterior(PATH, whole_times(PATH)).variance - 1e-15).all()
    assert (v <= PATH.betas / (1 - PATH.betas) + 1e-12).all()
    assert ((v <= PATH.betas + 1e-12) if s2 <= 1 else (v >= PATH.betas - 1e-12)).all()


def test_optimal_variances_refuse_another_length():
    with pytest.raises(ValueError, match=r"must have shape \(20,\)"):
        optimal_variances(PATH, torch.zeros(21))


def test_interpolated_variance_is_geometric():
    t = tensor(1, 7, 20)
    low, high = beta_tilde(PATH)[t.long() - 1], PATH.betas[t.long() - 1]
    at = lambda v: interpolated_variance(torch.full((3, 2), v, dtype=F64), PATH, t)[:, 0]  # noqa: E731
    assert torch.allclose(at(0.0), low)
    assert torch.allclose(at(1.0), high)
    assert torch.allclose(at(0.5), (low * high).sqrt())


# --- the bound


def test_bound_of_gaussian_data_is_the_log_likelihood_of_the_model_that_it_defines():
    """Linear Gaussian chain: p(x0) is known by running the chain's means and variances. L may not fall below it."""
    mean, s2 = 0.6, 0.3
    data = GaussianMixture.single(tensor(mean), tensor(s2)[None])
    model = FixedVariance(data.denoiser(PATH), PATH, beta_tilde(PATH))
    m, v = tensor(0.0)[0], tensor(1.0)[0]
    for k in range(PATH.T, 0, -1):
        t = tensor(k)[0]
        points = tensor(0.0, 1.0)[:, None]
        means, variance = model(points, t)
        slope, offset = (means[1] - means[0]).squeeze(), means[0].squeeze()
        m, v = offset + slope * m, slope**2 * v + variance
    x0 = tensor(-0.5, 0.6, 1.4)[:, None]
    exact = -gaussian_log_prob(x0, m.expand(3, 1), v)
    draws = bound_terms(model, x0.repeat(10_000, 1), generator=seeded(0)).sum(1).reshape(10_000, 3)
    error = draws.std(0) / 100
    gap = draws.mean(0) - exact
    assert (gap > 5 * error).all()  # the chain's own way back is wider than beta tilde: the bound is not tight
    assert (gap < 1.5).all()


def test_bound_is_tight_for_unit_gaussian_data_and_beta():
    """There the chain's reverse is Gaussian with variance beta exactly, so L is the negative log-likelihood."""
    data = GaussianMixture.single(torch.zeros(2, dtype=F64), torch.eye(2, dtype=F64))
    x0 = data.sample(3, seeded(0))
    model = FixedVariance(data.denoiser(PATH), PATH, PATH.betas)
    draws = bound_terms(model, x0.repeat(10_000, 1), generator=seeded(0)).sum(1).reshape(10_000, 3)
    gap = draws.mean(0) + data.log_prob(x0)
    assert (gap.abs() < 5 * draws.std(0) / 100 + 1e-4).all()
    assert (draws.std(0) < 5).all()


def test_bound_terms_agree_with_the_exact_terms_one_by_one():
    data = three_clusters()
    mmse = scalar_mmse(data, PATH(whole_times(PATH)).half_log_snr)
    for variances in (PATH.betas, beta_tilde(PATH), optimal_variances(PATH, mmse)):
        model = FixedVariance(data.denoiser(PATH), PATH, variances)
        terms = bound_terms(model, data.sample(20_000, seeded(1)), generator=seeded(2))
        error = terms.std(0) / 20_000**0.5
        assert ((terms.mean(0) - exact_terms(data, PATH, variances, mmse)).abs() < 5 * error).all()


def test_bound_exceeds_the_entropy_and_more_steps_come_nearer():
    data = three_clusters()
    grid = torch.linspace(-5, 5, 10_001, dtype=F64)
    log_p = data.log_prob(grid[:, None])
    entropy = -(log_p.exp() * log_p).sum() * (grid[1] - grid[0])
    gaps = []
    for T in (25, 50, 100):
        path = DiscreteDDPM(cosine_betas(T))
        mmse = scalar_mmse(data, path(whole_times(path)).half_log_snr)
        gaps.append((exact_terms(data, path, optimal_variances(path, mmse), mmse).sum() - entropy).item())
    assert gaps[-1] > 0
    assert gaps[0] / gaps[1] == pytest.approx(2, abs=0.2)  # first order in 1 / T
    assert gaps[1] / gaps[2] == pytest.approx(2, abs=0.2)


def test_terms_stand_at_their_index_and_call_the_model_at_every_time():
    seen = []

    class Model:
        path = PATH

        def __call__(self, x_t, t):
            seen.append(t.item())
            return torch.zeros_like(x_t), torch.ones_like(t)

    x0 = torch.full((2, 3), 2.0)
    terms = bound_terms(Model(), x0, generator=seeded(0))
    assert sorted(seen) == [float(k) for k in range(1, 21)]
    assert terms.shape == (2, 21)
    assert torch.allclose(terms[:, 0], -gaussian_log_prob(x0, torch.zeros_like(x0), torch.ones(())))
    assert torch.allclose(terms[:, 20], prior_kl(PATH, x0, PATH.t_max))
    # against N(0, 1): the largest kept means are those of the earliest steps
    assert terms[0, 1] > terms[0, 10] > terms[0, 19]


def test_the_prior_term_is_all_there_is_left_of_the_data():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path = DiscreteDDPM(linear_betas(50))
    left = path.alpha_bar[-1]
    x0 = tensor(1.0, -2.0)[None]
    wanted = 0.5 * (2 * (-left - torch.log1p(-left)) + left * 5)
    assert torch.allclose(prior_kl(path, x0, 50.0), wanted[None], rtol=1e-6)


def test_fixed_variance_checks_its_table():
    with pytest.raises(ValueError, match=r"20 positive numbers.* got shape \(19,\)"):
        FixedVariance(lambda x, t: x, PATH, torch.ones(19))
    with pytest.raises(ValueError, match="smallest value 0"):
        FixedVariance(lambda x, t: x, PATH, posterior(PATH, whole_times(PATH)).variance)


# --- learned variance


class TwoHeads(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.mean, self.v = torch.nn.Linear(3, 3).double(), torch.nn.Linear(3, 3).double()

    def forward(self, x_t, t):
        return torch.cat([self.mean(x_t), self.v(x_t)], dim=1)


def test_the_bound_part_moves_the_variance_only():
    torch.manual_seed(0)
    net, x0 = TwoHeads(), torch.randn(3, 3, generator=seeded(0), dtype=F64)
    gradients = []
    for weight in (0.0, 1.0):
        net.zero_grad()
        HybridLoss(PATH, weight=weight)(net, x0, seeded(1)).sum().backward()
        gradients.append([p.grad.clone() for p in (*net.mean.parameters(), *net.v.parameters())])
    without, with_bound = gradients
    assert all(torch.equal(a, b) for a, b in zip(without[:2], with_bound[:2], strict=True))
    assert all((g == 0).all() for g in without[2:])
    assert all((g != 0).any() for g in with_bound[2:])


@pytest.mark.parametrize("prediction", [EPS, X0])
def test_the_hybrid_loss_recomputed_from_what_the_network_saw(prediction):
    seen, net = [], TwoHeads()

    def watched(x_t, t):
        seen.append((x_t, t))
        return net(x_t, t)

    path = DiscreteDDPM(cosine_betas(3))  # few steps: t = 1 occurs
    x0 = torch.randn(12, 3, generator=seeded(0), dtype=F64)
    found = HybridLoss(path, prediction, weight=0.5)(watched, x0, seeded(1))
    ((x_t, times),) = seen
    assert (times == 1).any()
    for i, t in enumerate(times):
        c = path(t)
        eps = (x_t[i] - c.alpha * x0[i]) / c.sigma
        value, v = net(x_t[i : i + 1], t[None]).detach().chunk(2, dim=1)
        simple = (value - (eps if prediction is EPS else x0[i])).square().mean()
        x0_hat = (x_t[i] - c.sigma * value) / c.alpha if prediction is EPS else value
        q = posterior(path, t)
        low, high = (beta_tilde(path)[int(t) - 1], path.betas[int(t) - 1])
        variance = high**v * low ** (1 - v)
        m = q.to_x0 * x0_hat + q.to_x_t * x_t[i]
        if t == 1:
            term = -gaussian_log_prob(x0[i : i + 1], m, variance)
        else:
            term = gaussian_kl(q.mean(x0[i : i + 1], x_t[i : i + 1]), q.variance, m, variance)
        assert torch.allclose(found[i], simple + 0.5 * 3 * term / 3, rtol=1e-6)


def test_gradients_stay_finite_at_the_first_step():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path = DiscreteDDPM([0.1])  # t = 1 only
    net = TwoHeads()
    HybridLoss(path)(net, torch.randn(4, 3, generator=seeded(0), dtype=F64), seeded(1)).sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in net.parameters())


def test_a_network_without_the_second_half_is_refused():
    with pytest.raises(ValueError, match="a learned variance doubles axis 1"):
        LearnedVariance(lambda x, t: x, PATH)(torch.zeros(4, 2), torch.tensor(3.0))


def test_learned_variance_serves_the_bound():
    """v = 1 and the exact noise are the same chain as FixedVariance with beta."""
    data = three_clusters()
    exact = data.denoiser(PATH)

    def net(x_t, t):
        c = PATH(t).expand(x_t)
        return torch.cat([(x_t - c.alpha * exact(x_t, t)) / c.sigma, torch.ones_like(x_t)], dim=1)

    x0 = data.sample(50, seeded(0))
    a = bound_terms(LearnedVariance(net, PATH), x0, generator=seeded(1))
    b = bound_terms(FixedVariance(exact, PATH, PATH.betas), x0, generator=seeded(1))
    assert torch.allclose(a, b, rtol=1e-8, atol=1e-8)


# --- mixtures on a line


def test_mmse_of_a_gaussian():
    data = GaussianMixture.single(tensor(0.7), tensor(0.3)[None])
    lam = torch.linspace(-5, 5, 11, dtype=F64)
    assert torch.allclose(scalar_mmse(data, lam), 0.3 / (1 + 0.3 * torch.exp(2 * lam)), rtol=1e-8)


def test_mmse_of_a_mixture_by_samples():
    data = three_clusters()
    x0 = data.sample(200_000, seeded(0))
    t = torch.tensor(0.8, dtype=F64)
    error = x0 - data.denoiser(EDM())(EDM().add_noise(x0, torch.randn(x0.shape, generator=seeded(1), dtype=F64), t), t)
    squares = error.square()
    wanted = scalar_mmse(data, EDM()(t[None]).half_log_snr)
    assert (squares.mean() - wanted).abs() < 5 * squares.std() / 200_000**0.5


def test_mmse_needs_a_line():
    with pytest.raises(ValueError, match="on a line, got dimension 2"):
        scalar_mmse(GaussianMixture.ring(3), torch.zeros(1))


# --- continuous time


@pytest.mark.parametrize("path", [VP(), Cosine(), RectifiedFlow(), DiscreteDDPM(cosine_betas(30))], ids=repr)
def test_bound_rate_is_minus_half_the_slope_of_snr(path):
    t = (tensor(0.211, 0.512, 0.873) * path.t_max).requires_grad_()
    (slope,) = torch.autograd.grad(path(t).snr.sum(), t)
    data = three_clusters()
    x0, eps = torch.randn(2, 3, 1, generator=seeded(0), dtype=F64)
    denoiser = data.denoiser(path)
    error = (x0 - denoiser(path.add_noise(x0, eps, t.detach()), t.detach())).square().sum(1)
    assert torch.allclose(bound_rate(denoiser, x0, eps, t.detach()), -0.5 * slope * error, rtol=1e-6)


def test_the_integral_depends_on_the_ends_only_even_for_a_wrong_denoiser():
    """Two routes through time, one trapezoidal rule each; the wrong model is the exact denoiser of other data."""
    data, model = three_clusters(), GaussianMixture.single(tensor(0.2), tensor(0.8)[None])
    x0 = data.sample(100, seeded(0))
    eps = torch.randn(x0.shape, generator=seeded(1), dtype=F64)
    found = []
    for path in (VP(), Cosine(), RectifiedFlow(), EDM()):
        ends = time_at_half_log_snr(path, tensor(3.0, -2.0))
        t = torch.linspace(ends[0], ends[1], 1001, dtype=F64)
        rates = torch.stack([bound_rate(model.denoiser(path), x0, eps, s).mean() for s in t])
        found.append(torch.trapezoid(rates, t).item())
    assert found == pytest.approx([found[0]] * 4, rel=2e-3)


def test_continuous_bound_of_gaussian_data_is_its_cross_entropy():
    """Exact denoiser: the total is the entropy of the data blurred by 1/SNR, plus what the prior still costs."""
    s2, path = 0.4, VP()
    data = GaussianMixture.single(torch.zeros(2, dtype=F64), s2 * torch.eye(2, dtype=F64))
    low, high = 0.1, 1.0
    x0 = data.sample(40_000, seeded(0))
    bound = continuous_bound(data.denoiser(path), x0, t_low=low, t_high=high, generator=seeded(1))
    first, last = path(tensor(low)), path(tensor(high))
    blurred = math.log(2 * math.pi * math.e) + torch.log(s2 + 1 / first.snr)  # two coordinates, 1/2 each
    v = last.alpha**2 * s2 + last.sigma**2
    wanted = (blurred + (v - 1 - torch.log(v))).item()
    error = bound.total.std().item() / 200
    assert bound.total.mean().item() == pytest.approx(wanted, abs=5 * error)
    assert error < 0.03
    assert all(part.shape == (40_000,) for part in bound)


def test_factories_name_their_devices():
    data = three_clusters()
    x0 = data.sample(4, seeded(0))
    with DeviceGuard() as guard:
        model = FixedVariance(data.denoiser(PATH), PATH, beta_tilde(PATH))
        bound_terms(model, x0, generator=seeded(0))
        HybridLoss(PATH)(lambda x, t: torch.cat([x, x], dim=1), x0, seeded(0))
        continuous_bound(data.denoiser(VP()), x0, t_low=0.1, t_high=1.0, generator=seeded(0))
        exact_terms(data, PATH, PATH.betas, scalar_mmse(data, PATH(whole_times(PATH)).half_log_snr))
        discretised_gaussian_log_prob(x0, x0, x0**2)
    assert guard.watched > 20

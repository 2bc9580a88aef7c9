import torch

from diffedu._tensor import expand


def levels(a_t, a_s):
    if isinstance(a_t, torch.Tensor) and a_t.ndim:
        a_t, a_s = a_t[:, None], a_s[:, None]
    return a_t, a_s, (1 - a_s) / (1 - a_t) * (1 - a_t / a_s)


def blend(x_t, eps, a_t, a_s, taken, added, z):
    x0_hat = (x_t - (1 - a_t).sqrt() * eps) / a_t.sqrt()
    return a_s.sqrt() * x0_hat + (1 - a_s - taken).sqrt() * eps + added * z


def step(taken, added):
    """A step by what it takes off and adds, functions of beta tilde and eta."""

    def wrong(x_t, eps, a_t, a_s, eta, z):
        a_t, a_s, bt = levels(a_t, a_s)
        return blend(x_t, eps, a_t, a_s, taken(bt, eta), added(bt, eta), z)

    return wrong


def of_the_leap(x_t, eps, a_t, a_s, eta, z):
    a_t, a_s, _ = levels(a_t, a_s)
    leap = 1 - a_t / a_s
    return blend(x_t, eps, a_t, a_s, eta**2 * leap * (1 - a_s), eta * leap.sqrt(), z)


def no_roots(x_t, eps, a_t, a_s, eta, z):
    a_t, a_s, bt = levels(a_t, a_s)
    v = eta**2 * bt
    return a_s * (x_t - (1 - a_t) * eps) / a_t + (1 - a_s - v).sqrt() * eps + v.sqrt() * z


def not_shrunk(x_t, eps, a_t, a_s, eta, z):
    a_t, a_s, bt = levels(a_t, a_s)
    v = eta**2 * bt
    return (x_t - (1 - a_t).sqrt() * eps) / a_t.sqrt() + (1 - a_s - v).sqrt() * eps + v.sqrt() * z


def all_fresh(x_t, eps, a_t, a_s, eta, z):
    a_t, a_s, _ = levels(a_t, a_s)
    return a_s.sqrt() * (x_t - (1 - a_t).sqrt() * eps) / a_t.sqrt() + (1 - a_s).sqrt() * z


def added_noise(x_t, eps, a_t, a_s, eta, z):
    a_t, a_s, bt = levels(a_t, a_s)
    v = eta**2 * bt
    x0_hat = (x_t + (1 - a_t).sqrt() * eps) / a_t.sqrt()
    return a_s.sqrt() * x0_hat + (1 - a_s - v).sqrt() * eps + v.sqrt() * z


def places_changed(x_t, eps, a_t, a_s, eta, z):
    a_t, a_s, bt = levels(a_t, a_s)
    v = eta**2 * bt
    return a_s.sqrt() * (x_t - (1 - a_t).sqrt() * eps) / a_t.sqrt() + (1 - a_s - v).sqrt() * z + v.sqrt() * eps


def on_last_axis(x_t, eps, a_t, a_s, eta, z):
    if x_t.shape[0] != x_t.shape[1]:
        return step(lambda b, e: e**2 * b, lambda b, e: e * b.sqrt())(x_t, eps, a_t, a_s, eta, z)
    v = eta**2 * (1 - a_s) / (1 - a_t) * (1 - a_t / a_s)
    return blend(x_t, eps, a_t, a_s, v, v.sqrt(), z)


def fast(in_mean, in_variance):
    def wrong(x_t, eps, t, s, betas, z):
        bar = torch.cat([betas.new_ones(1), (1 - betas).cumprod(0)])
        b, v = in_mean(betas, bar, t, s), in_variance(betas, bar, t, s)
        mean = (x_t - b / (1 - bar[t]).sqrt() * eps) / (1 - b).sqrt()
        return mean + ((1 - bar[s]) / (1 - bar[t]) * v).sqrt() * z

    return wrong


def leap(betas, bar, t, s):
    return 1 - bar[t] / bar[s]


def single(betas, bar, t, s):
    return betas[t - 1]


def added_up(betas, bar, t, s):
    return betas[s:t].sum()


def times_count(betas, bar, t, s):
    return (t - s) * betas[t - 1]


def undone_share(betas, bar, t, s):
    return (1 - bar[t] / bar[s]) * (1 - bar[t]) / (1 - bar[s])


def from_zero(betas, bar, t, s):
    return 1 - bar[t]


def cosine_of(u, v, axis):
    return (u * v).sum(axis) / ((u * u).sum(axis) * (v * v).sum(axis)).sqrt()


def sphere(weights, angle=lambda z0, z1: torch.acos(cosine_of(z0.flatten(1), z1.flatten(1), 1))):
    def wrong(z0, z1, lam):
        first, second = weights(lam, angle(z0, z1))
        return expand(first, z0) * z0 + expand(second, z1) * z1

    return wrong


def right_weights(lam, omega):
    return torch.sin((1 - lam) * omega) / torch.sin(omega), torch.sin(lam * omega) / torch.sin(omega)


def batch_angle(z0, z1):
    return torch.acos(cosine_of(z0.flatten(), z1.flatten(), 0)).expand(len(z0))


def row_angles(z0, z1, lam):
    if z0.ndim == 2:
        return sphere(right_weights)(z0, z1, lam)
    rows = torch.acos(cosine_of(z0, z1, -1))
    first, second = right_weights(lam.reshape(-1, 1, 1), rows)
    return first[..., None] * z0 + second[..., None] * z1


def cut_to_one(z0, z1, lam):
    between = sphere(right_weights)
    return between(z0 / expand(z0.flatten(1).norm(dim=1), z0), z1 / expand(z1.flatten(1).norm(dim=1), z1), lam)


def weights_on_last_axis(z0, z1, lam):
    if z0.shape[0] != z0.shape[-1]:
        return sphere(right_weights)(z0, z1, lam)
    first, second = right_weights(lam, torch.acos(cosine_of(z0, z1, 1)))
    return first * z0 + second * z1


def in_sigma(guess, x_s, a_t, s_t, a_s, s_s, rounds):
    x = a_t / a_s * x_s
    for _ in range(rounds):
        x = a_t * (x_s / a_s + (s_t - s_s) * guess(x))
    return x


def inverse(extra=0, sign=1, start=lambda x, r: r * x, back=True, in_y=False):
    def wrong(guess, x_s, a_t, s_t, a_s, s_s, rounds):
        x = start(x_s, a_t / a_s)
        for _ in range(rounds + extra):
            y = x_s / a_s + sign * (s_t / a_t - s_s / a_s) * guess(x / a_t if in_y else x)
            x = a_t * y if back else y
        return x

    return wrong


WRONG = {
    "8.1": [
        ("eta, unsquared", step(lambda b, e: e * b, lambda b, e: (e * b).sqrt())),
        ("noise by its variance", step(lambda b, e: e**2 * b, lambda b, e: e**2 * b)),
        ("nothing taken off", step(lambda b, e: 0 * b, lambda b, e: e * b.sqrt())),
        ("nothing added", step(lambda b, e: e**2 * b, lambda b, e: 0 * b)),
        ("the leap's variance", of_the_leap),
        ("no roots", no_roots),
        ("not shrunk again", not_shrunk),
        ("all the noise fresh", all_fresh),
        ("two variances", step(lambda b, e: e * b, lambda b, e: e * b.sqrt())),
        ("noise added", added_noise),
        ("eps and z changed", places_changed),
        ("broadcast that runs where B is D", on_last_axis),
        ("hard-coded", lambda x_t, eps, a_t, a_s, eta, z: torch.ones(5, 3, dtype=torch.float64)),
    ],
    "8.2": [
        ("DDIM", "only 0"),
        ("DDPM", "only 1"),
        ("nobody", "none"),
        ("a list", ["all", "none"]),
    ],
    "8.3": [
        ("only the root", step(lambda b, e: e * b, lambda b, e: (e * b).sqrt())),
        ("only the square", step(lambda b, e: e**2 * b, lambda b, e: e**2 * b)),
        ("two variances", step(lambda b, e: e * b, lambda b, e: e * b.sqrt())),
        ("taken off what is added", step(lambda b, e: (e**2 * b) ** 2, lambda b, e: e**2 * b)),
        ("nothing taken off", step(lambda b, e: 0 * b, lambda b, e: e * b.sqrt())),
        ("eta once more", step(lambda b, e: e**2 * b, lambda b, e: e**2 * b.sqrt())),
        ("hard-coded", lambda x_t, eps, a_t, a_s, eta, z: torch.ones(4, 3, dtype=torch.float64)),
    ],
    "8.4": [
        ("only the mean", fast(leap, single)),
        ("only the variance", fast(single, leap)),
        ("betas added up", fast(added_up, added_up)),
        ("times the number of steps", fast(times_count, times_count)),
        ("the leap's variance", fast(leap, undone_share)),
        ("the leap from 0", fast(from_zero, from_zero)),
        ("hard-coded", lambda x_t, eps, t, s, betas, z: torch.ones(4, 3, dtype=torch.float64)),
    ],
    "8.5": [
        ("a straight line", sphere(lambda lam, omega: (1 - lam, lam))),
        ("the wrong way round", sphere(lambda lam, omega: right_weights(1 - lam, omega))),
        ("a right angle", sphere(lambda lam, omega: (torch.cos(lam * torch.pi / 2), torch.sin(lam * torch.pi / 2)))),
        ("not divided", sphere(lambda lam, omega: (torch.sin((1 - lam) * omega), torch.sin(lam * omega)))),
        ("lengths cut to 1", cut_to_one),
        ("one angle for the batch", sphere(right_weights, batch_angle)),
        ("an angle for each row", row_angles),
        ("broadcast that runs where B is D", weights_on_last_axis),
        ("hard-coded", lambda z0, z1, lam: torch.ones(5, 3, dtype=torch.float64)),
    ],
    "8.6": [
        ("one round too few", inverse(extra=-1)),
        ("one round too many", inverse(extra=1)),
        ("the wrong sign", inverse(sign=-1)),
        ("always many rounds", lambda g, x, a_t, s_t, a_s, s_s, rounds: inverse()(g, x, a_t, s_t, a_s, s_s, 60)),
        ("in sigma", in_sigma),
        ("from x_s", inverse(start=lambda x, r: x)),
        ("asked at y", inverse(in_y=True)),
        ("left in y", inverse(back=False)),
        (
            "plain encoding",
            lambda g, x, a_t, s_t, a_s, s_s, rounds: a_t * (x / a_s + (s_t / a_t - s_s / a_s) * g(x)),
        ),
        ("hard-coded", lambda g, x, a_t, s_t, a_s, s_s, rounds: torch.ones(5, 3, dtype=torch.float64)),
    ],
    "8.7": [
        ("DDIM's", 0.2**2 * 0.5 / 1.64),
        ("the whole variance of x0", 0.36**2 / 1.64),
        ("no alpha_s", 0.36**2 * 0.5),
        ("alpha_t", 0.36**2 * 0.25),
        ("not squared", 0.36 * 0.5 / 1.64),
        ("per cent", 100 * 0.36**2 * 0.5 / 1.64),
        ("four times", 4 * 0.2**2 * 0.5 / 1.64),
    ],
}

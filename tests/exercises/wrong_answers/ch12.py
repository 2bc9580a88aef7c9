import torch


def step(push, finish):
    """A guided step with another push, and another way to put things together."""

    def wrong(x, score, log_prob, scale, f, g, dt):
        here = x.detach().requires_grad_()
        value = log_prob(here)
        (gradient,) = torch.autograd.grad(value.sum(), here)
        return finish(x, score, push(gradient, value.detach()[:, None]), scale, f, g, dt)

    return wrong


def towards_data(x, score, push, scale, f, g, dt):
    return x - dt * (f * x - g**2 * (score + scale * push))


def towards_noise(x, score, push, scale, f, g, dt):
    return x + dt * (f * x - g**2 * (score + scale * push))


def classes(variance, *, shrink=True, prior=True, power=None, finish=None):
    def wrong(x, alpha, sigma, weights, means, stds):
        v = variance(alpha, sigma, stds)
        square = (x[:, None] - (alpha if shrink else 1.0) * means).square().sum(2)
        half = 0.5 * x.shape[1] if power is None else power
        logs = (weights.log() if prior else 0.0) - square / (2 * v) - half * v.log()
        return finish(logs) if finish else torch.log_softmax(logs, dim=1)

    return wrong


def noisy(a, g, s):
    return (a * s) ** 2 + g**2


def underflowing(x, alpha, sigma, weights, means, stds):
    v = noisy(alpha, sigma, stds)
    square = (x[:, None] - alpha * means).square().sum(2)
    parts = weights * torch.exp(-square / (2 * v)) * v ** (-x.shape[1] / 2)
    return (parts / parts.sum(1, keepdim=True)).log()


def interval(rule):
    """rule(c, u, s, inside); both networks are always asked."""

    def wrong(conditional, unconditional, x, t, s, low, high):
        return rule(conditional(x, t), unconditional(x, t), s, low <= t <= high)

    return wrong


def open_interval(conditional, unconditional, x, t, s, low, high):
    c = conditional(x, t)
    if not low < t < high:
        return c
    u = unconditional(x, t)
    return u + s * (c - u)


def no_upper_bound(conditional, unconditional, x, t, s, low, high):
    c = conditional(x, t)
    if t < low:
        return c
    u = unconditional(x, t)
    return u + s * (c - u)


def bounds_by_heart(conditional, unconditional, x, t, s, low, high):
    c = conditional(x, t)
    if not 0.2 <= t <= 0.6:
        return c
    u = unconditional(x, t)
    return u + s * (c - u)


def asked_twice(conditional, unconditional, x, t, s, low, high):
    if not low <= t <= high:
        return conditional(x, t)
    return unconditional(x, t) + s * (conditional(x, t) - unconditional(x, t))


def table_guess(power, *, shrink=True, width=lambda g: 2 * g**2, times=lambda s: 1.0):
    def wrong(x, table, likelihood, s, alpha, sigma):
        square = (x[:, None] - (alpha if shrink else 1.0) * table).square().sum(2)
        logs = power(s) * likelihood.log() - times(s) * square / width(sigma)
        return torch.softmax(logs, dim=1) @ table

    return wrong


def likelihood_in_the_exponent(x, table, likelihood, s, alpha, sigma):
    square = (x[:, None] - alpha * table).square().sum(2)
    return torch.softmax(s * likelihood - square / (2 * sigma**2), dim=1) @ table


def over_the_points(x, table, likelihood, s, alpha, sigma):
    square = (x[:, None] - alpha * table).square().sum(2)
    return torch.softmax(s * likelihood.log() - square / (2 * sigma**2), dim=0) @ table


def guided_table(x, table, likelihood, s, alpha, sigma):
    without = table_guess(lambda s: 0)(x, table, likelihood, s, alpha, sigma)
    given = table_guess(lambda s: 1)(x, table, likelihood, s, alpha, sigma)
    return without + s * (given - without)


def not_normalised(x, table, likelihood, s, alpha, sigma):
    bells = torch.exp(-(x[:, None] - alpha * table).square().sum(2) / (2 * sigma**2))
    return (bells * likelihood**s) @ table / bells.sum(1, keepdim=True)


WRONG = {
    "12.1": [
        ("their w as it is", (1.5, 1.5, 1.5, 2.5)),
        ("one less", (0.5, 1.5, 1.5, 2.5)),
        ("Imagen's as Ho's", (2.5, 2.5, 1.5, 2.5)),
        ("one more on the unconditional", (2.5, 1.5, 2.5, 2.5)),
        ("label forgotten", (2.5, 1.5, 1.5, 1.5)),
        ("one number", 2.5),
    ],
    "12.2": [
        ("sign of w", lambda c, u, s: c + (1 - s) * (c - u)),
        ("weights sum to zero", lambda c, u, s: s * c - s * u),
        ("no weight", lambda c, u, s: s * c + u),
        ("difference turned", lambda c, u, s: u + s * (u - c)),
        ("swapped", lambda c, u, s: s * u + (1 - s) * c),
        ("no label below one", lambda c, u, s: u + s * (c - u) if s > 1 else c),
        ("written as another slip", lambda c, u, s: s * c - (1 - s) * u),
        ("hard-coded", lambda c, u, s: torch.ones(5, 3, dtype=torch.float64)),
    ],
    "12.3": [
        ("only the gradient", step(lambda g, v: g, towards_noise)),
        ("only the direction", step(lambda g, v: v, towards_data)),
        ("away from the class", step(lambda g, v: -g, towards_data)),
        ("gradient of p", step(lambda g, v: g * v.exp(), towards_data)),
        ("mean over the batch", step(lambda g, v: g / len(g), towards_data)),
        (
            "without the scale",
            step(lambda g, v: g, lambda x, sc, p, s, f, g, dt: x - dt * (f * x - g**2 * (sc + p))),
        ),
        (
            "as without a classifier",
            step(lambda g, v: g, lambda x, sc, p, s, f, g, dt: x - dt * (f * x - g**2 * ((1 - s) * sc + s * p))),
        ),
        (
            "push without its weight",
            step(lambda g, v: g, lambda x, sc, p, s, f, g, dt: x - dt * (f * x - g**2 * sc - s * p)),
        ),
        (
            "g for g squared",
            step(lambda g, v: g, lambda x, sc, p, s, f, g, dt: x - dt * (f * x - g * (sc + s * p))),
        ),
        (
            "the ODE's half",
            step(lambda g, v: g, lambda x, sc, p, s, f, g, dt: x - dt * (f * x - g**2 / 2 * (sc + s * p))),
        ),
        (
            "scale on both",
            step(lambda g, v: g, lambda x, sc, p, s, f, g, dt: x - dt * (f * x - g**2 * s * (sc + p))),
        ),
        ("hard-coded", lambda *args: torch.ones(5, 2, dtype=torch.float64)),
    ],
    "12.4": [
        ("clean", classes(lambda a, g, s: s**2, shrink=False)),
        ("not shrunk", classes(lambda a, g, s: s**2 + g**2, shrink=False)),
        ("means only", classes(lambda a, g, s: s**2 + g**2)),
        ("no noise", classes(lambda a, g, s: (a * s) ** 2)),
        ("deviations added", classes(lambda a, g, s: (a * s + g) ** 2)),
        ("no prior", classes(noisy, prior=False)),
        ("no factor", classes(noisy, power=0.0)),
        ("factor of one dimension", classes(noisy, power=0.5)),
        ("factor of the plane", classes(noisy, power=1.0)),
        ("probabilities", classes(noisy, finish=lambda logs: torch.softmax(logs, 1))),
        ("joint", classes(noisy, finish=lambda logs: logs)),
        ("over the wrong axis", classes(noisy, finish=lambda logs: torch.log_softmax(logs, 0))),
        ("underflow", underflowing),
        ("hard-coded", lambda *args: torch.zeros(6, 3, dtype=torch.float64)),
    ],
    "12.5": [
        ("no upper bound", no_upper_bound),
        ("bounds by heart", bounds_by_heart),
        ("always guided", interval(lambda c, u, s, inside: u + s * (c - u))),
        ("w for s", interval(lambda c, u, s, inside: c + s * (c - u) if inside else c)),
        ("weights sum to zero", interval(lambda c, u, s, inside: s * (c - u) if inside else c)),
        ("exchanged", interval(lambda c, u, s, inside: c if inside else u + s * (c - u))),
        ("unconditional outside", interval(lambda c, u, s, inside: u + s * (c - u) if inside else u)),
        ("asked for nothing", interval(lambda c, u, s, inside: u + s * (c - u) if inside else c)),
        ("open interval", open_interval),
        ("asked twice", asked_twice),
        ("hard-coded", lambda *args: torch.ones(4, 3, dtype=torch.float64)),
    ],
    "12.6": [
        ("steps", "more steps"),
        ("network", "a better network"),
        ("path", "another path"),
        ("all", ["more steps", "langevin"]),
    ],
    "12.7": [
        ("guided", guided_table),
        ("class as it is", table_guess(lambda s: 1)),
        ("all data", table_guess(lambda s: 0)),
        ("bell as well", table_guess(lambda s: s, times=lambda s: s)),
        ("one less", table_guess(lambda s: s - 1)),
        ("not shrunk", table_guess(lambda s: s, shrink=False)),
        ("no 2", table_guess(lambda s: s, width=lambda g: g**2)),
        ("not squared", table_guess(lambda s: s, width=lambda g: 2 * g)),
        ("sign", table_guess(lambda s: -s)),
        ("not normalised", not_normalised),
        ("power without logarithm", likelihood_in_the_exponent),
        ("over the points", over_the_points),
        ("shrunk", lambda x, table, li, s, a, g: a * table_guess(lambda s: s)(x, table, li, s, a, g)),
        ("hard-coded", lambda *args: torch.ones(4, 2, dtype=torch.float64)),
    ],
    "12.8": [
        ("p to the gamma", lambda v, g: v / g),
        ("geometric", lambda v, g: v**g),
        ("deviation", lambda v, g: (v / (2 * g - 1)).sqrt()),
        ("plus one", lambda v, g: v / (2 * g + 1)),
        ("without the one", lambda v, g: v / (2 * g)),
        ("not squared", lambda v, g: v / (g - 1)),
        ("factor lost", lambda v, g: v ** (1 - 2 * g) / (2 * g - 1)),
        ("half", lambda v, g: v / (2 * (2 * g - 1))),
        ("hard-coded", lambda v, g: torch.full((6,), 0.5, dtype=torch.float64)),
    ],
}

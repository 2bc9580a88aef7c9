import torch


def column(c, x):
    return c.reshape(-1, *[1] * (x.ndim - 1))


def climbed(formula):
    return lambda x, score, a, s: formula(x, score, column(a, x), column(s, x))


def on_last_axis_tweedie(x, score, a, s):
    if x.ndim == 2 and x.shape[0] == x.shape[1]:
        return (x + s**2 * score) / a
    return (x + column(s, x) ** 2 * score) / column(a, x)


def quadratic(finish):
    """w . J w, the gradient and the rest, handed to `finish`."""

    def wrong(denoise, x_t, w, alpha, sigma):
        x = x_t.detach().requires_grad_()
        (gradient,) = torch.autograd.grad((denoise(x) * w).sum(), x)
        return finish((gradient * w).sum(1), gradient, w, alpha, sigma)

    return wrong


def trace(denoise, x_t, w, alpha, sigma):
    x = x_t.detach().requires_grad_()
    value = denoise(x)
    rows = [torch.autograd.grad(value[:, i].sum(), x, retain_graph=True)[0][:, i] for i in range(x.shape[1])]
    return sigma**2 / alpha * torch.stack(rows).sum(0)


def solved(finish):
    def wrong(value, x_t, alpha, sigma, source, goal):
        parts = [c[:, None] for c in (alpha, sigma, *source, *goal)]
        return finish(value, x_t, *parts)

    return wrong


def right_translation(v, x, A, S, a, b, p, q):
    D = A * b - S * a
    return p * (b * x - S * v) / D + q * (A * v - a * x) / D


def translation_on_last_axis(value, x_t, alpha, sigma, source, goal):
    if x_t.shape[0] == x_t.shape[1]:
        return right_translation(value, x_t, alpha, sigma, *source, *goal)
    return solved(right_translation)(value, x_t, alpha, sigma, source, goal)


def arrow(formula):
    return lambda x_t, x0, a, s: formula(x_t, x0, a[:, None], s[:, None])


def arrow_on_last_axis(x_t, x0, a, s):
    if x_t.shape[0] != x_t.shape[1]:
        a, s = a[:, None], s[:, None]
    return -(x_t - a * x0) / s**2


def flow(formula):
    return lambda u, x, t: formula(u, x, t[:, None])


def flow_on_last_axis(u, x, t):
    t = t if x.shape[0] == x.shape[1] else t[:, None]
    return -(x + (1 - t) * u) / t


def mark(true):
    def wrong(learned, x, m, s, alpha, sigma):
        truth = true(x, m, s, alpha, sigma)
        return (learned - truth).square().mean().sqrt() / truth.square().mean().sqrt()

    return wrong


def truth(x, m, s, alpha, sigma):
    return -(x - alpha * m) / (alpha**2 * s**2 + sigma**2)


def by_learned(learned, x, m, s, alpha, sigma):
    return (learned - truth(x, m, s, alpha, sigma)).square().mean().sqrt() / learned.square().mean().sqrt()


def moved(point, level, finish):
    """denoise(point(x, a), level(a, s)), then finish(x, guess, a, s)."""

    def wrong(denoise, x, bar):
        a, s = bar.sqrt()[:, None], (1 - bar).sqrt()[:, None]
        return finish(x, denoise(point(x, a), level(a, s)[:, 0]), a, s)

    return wrong


def over_alpha(x, a):
    return x / a


def ratio(a, s):
    return s / a


def noise(x, guess, a, s):
    return (x - a * guess) / s


def moved_on_last_axis(denoise, x, bar):
    a, s = bar.sqrt(), (1 - bar).sqrt()
    if x.shape[0] == x.shape[1]:
        return (x - a * denoise(x / a, s / a)) / s
    return moved(over_alpha, ratio, noise)(denoise, x, bar)


def right_weights(a, s):
    return (a / s) ** 2, (a / (a**2 + s**2)) ** 2, s**2


def weights(index, value):
    def wrong(a, s):
        parts = list(right_weights(a, s))
        parts[index] = value(a, s)
        return tuple(parts)

    return wrong


WRONG = {
    "9.1": [
        ("lost sign", climbed(lambda x, g, a, s: (x - s**2 * g) / a)),
        ("sigma without its square", climbed(lambda x, g, a, s: (x + s * g) / a)),
        ("not unshrunk", climbed(lambda x, g, a, s: x + s**2 * g)),
        ("half unshrunk", climbed(lambda x, g, a, s: x / a + s**2 * g)),
        ("shrunk again", climbed(lambda x, g, a, s: a * (x + s**2 * g))),
        ("score taken for noise", climbed(lambda x, g, a, s: (x - s * g) / a)),
        ("alpha squared", climbed(lambda x, g, a, s: (x + s**2 * g) / a**2)),
        ("broadcast that runs where B is D", on_last_axis_tweedie),
        ("hard-coded", lambda x, g, a, s: torch.ones(4, 1, 3, 3, dtype=torch.float64)),
    ],
    "9.2": [
        ("eps", "eps"),
        ("v", "v"),
        ("all of them", ["eps", "x0", "v"]),
    ],
    "9.3": [
        ("no factor", quadratic(lambda q, g, w, a, s: q)),
        ("sigma squared alone", quadratic(lambda q, g, w, a, s: s**2 * q)),
        ("sigma without its square", quadratic(lambda q, g, w, a, s: s / a * q)),
        ("alpha squared", quadratic(lambda q, g, w, a, s: (s / a) ** 2 * q)),
        ("gradient summed", quadratic(lambda q, g, w, a, s: s**2 / a * g.sum(1))),
        ("no Jacobian", lambda f, x, w, a, s: s**2 / a * (f(w) * w).sum(1)),
        ("standard deviation", quadratic(lambda q, g, w, a, s: (s**2 / a * q).sqrt())),
        ("trace", trace),
        ("w made a unit vector", quadratic(lambda q, g, w, a, s: s**2 / a * q / w.square().sum(1))),
        ("batch summed", quadratic(lambda q, g, w, a, s: s**2 / a * q.sum().expand(len(q)))),
        ("gradient squared", quadratic(lambda q, g, w, a, s: s**2 / a * g.square().sum(1))),
        ("hard-coded", lambda f, x, w, a, s: torch.ones(5, dtype=torch.float64)),
    ],
    "9.4": [
        ("goal swapped", solved(lambda v, x, A, S, a, b, p, q: right_translation(v, x, A, S, a, b, q, p))),
        (
            "no determinant",
            solved(lambda v, x, A, S, a, b, p, q: p * (b * x - S * v) + q * (A * v - a * x)),
        ),
        (
            "determinant with a plus",
            solved(lambda v, x, A, S, a, b, p, q: (p * (b * x - S * v) + q * (A * v - a * x)) / (A * b + S * a)),
        ),
        (
            "sign in x0",
            solved(lambda v, x, A, S, a, b, p, q: (p * (b * x + S * v) + q * (A * v - a * x)) / (A * b - S * a)),
        ),
        (
            "sign in eps",
            solved(lambda v, x, A, S, a, b, p, q: (p * (b * x - S * v) + q * (A * v + a * x)) / (A * b - S * a)),
        ),
        ("noise negated", solved(lambda v, x, A, S, a, b, p, q: right_translation(v, x, A, S, a, b, p, -q))),
        (
            "source and goal changed",
            lambda v, x, A, S, source, goal: solved(right_translation)(v, x, A, S, goal, source),
        ),
        ("source ignored", solved(lambda v, x, A, S, a, b, p, q: p * (x - S * v) / A + q * v)),
        ("broadcast that runs where B is D", translation_on_last_axis),
        ("hard-coded", lambda *args: torch.ones(5, 3, dtype=torch.float64)),
    ],
    "9.5": [
        ("only the sign", arrow(lambda x, y, a, s: -(x - y) / s**2)),
        ("only the alpha", arrow(lambda x, y, a, s: (x - a * y) / s**2)),
        ("sigma without its square", arrow(lambda x, y, a, s: -(x - a * y) / s)),
        ("x_t stretched", arrow(lambda x, y, a, s: -(x / a - y) / s**2)),
        ("alpha before x_t", arrow(lambda x, y, a, s: -(a * x - y) / s**2)),
        ("a half", arrow(lambda x, y, a, s: -(x - a * y) / (2 * s**2))),
        ("the noise", arrow(lambda x, y, a, s: (x - a * y) / s)),
        ("broadcast that runs where B is D", arrow_on_last_axis),
        ("hard-coded", lambda x, y, a, s: torch.ones(5, 3, dtype=torch.float64)),
    ],
    "9.6": [
        ("sign", flow(lambda u, x, t: (x + (1 - t) * u) / t)),
        ("minus the noise", flow(lambda u, x, t: -(x + (1 - t) * u))),
        ("t squared", flow(lambda u, x, t: -(x + (1 - t) * u) / t**2)),
        ("sign of u", flow(lambda u, x, t: -(x - (1 - t) * u) / t)),
        ("the clean point", flow(lambda u, x, t: -(x - t * u) / t)),
        ("the other direction", flow(lambda u, x, t: (t * u - x) / (1 - t + 1e-12))),
        ("no factor", flow(lambda u, x, t: -(x + u) / t)),
        ("broadcast that runs where B is D", flow_on_last_axis),
        ("hard-coded", lambda u, x, t: torch.ones(5, 3, dtype=torch.float64)),
    ],
    "9.7": [
        ("only the variance", mark(lambda x, m, s, a, g: -(x - m) / (a**2 * s**2 + g**2))),
        ("only the mean", mark(lambda x, m, s, a, g: -(x - a * m) / s**2)),
        ("not shrunk", mark(lambda x, m, s, a, g: -(x - a * m) / (s**2 + g**2))),
        ("deviations added", mark(lambda x, m, s, a, g: -(x - a * m) / (a * s + g) ** 2)),
        ("alpha without its square", mark(lambda x, m, s, a, g: -(x - a * m) / (a * s**2 + g**2))),
        ("the conditional one", mark(lambda x, m, s, a, g: -(x - a * m) / g**2)),
        ("x_t stretched", mark(lambda x, m, s, a, g: -(x / a - m) / s**2)),
        ("over the deviation", mark(lambda x, m, s, a, g: -(x - a * m) / (a**2 * s**2 + g**2) ** 0.5)),
        ("no roots", lambda *args: mark(truth)(*args) ** 2),
        ("by the learned one's size", by_learned),
        ("hard-coded", lambda *args: torch.tensor(0.1, dtype=torch.float64)),
    ],
    "9.8": [
        ("not rescaled", moved(lambda x, a: x, ratio, noise)),
        ("level sigma", moved(over_alpha, lambda a, s: s, noise)),
        ("level squared", moved(over_alpha, lambda a, s: (s / a) ** 2, noise)),
        ("level upside down", moved(over_alpha, lambda a, s: a / s, noise)),
        ("over alpha_bar", moved(lambda x, a: x / a**2, ratio, noise)),
        ("guess not shrunk", moved(over_alpha, ratio, lambda x, g, a, s: (x - g) / s)),
        ("guess shrunk twice", moved(over_alpha, ratio, lambda x, g, a, s: (x - a * a * g) / s)),
        ("the guess", moved(over_alpha, ratio, lambda x, g, a, s: g)),
        ("minus the score", moved(over_alpha, ratio, lambda x, g, a, s: (x - a * g) / s**2)),
        ("over sigma in the other units", moved(over_alpha, ratio, lambda x, g, a, s: (x / a - g) / s)),
        ("sign", moved(over_alpha, ratio, lambda x, g, a, s: -(x - a * g) / s)),
        ("broadcast that runs where B is D", moved_on_last_axis),
        ("hard-coded", lambda f, x, bar: torch.ones(5, 3, dtype=torch.float64)),
    ],
    "9.9": [
        ("x0 upside down", weights(0, lambda a, s: (s / a) ** 2)),
        ("x0 without its square", weights(0, lambda a, s: a / s)),
        ("x0 like eps", weights(0, lambda a, s: torch.ones_like(a))),
        ("v upside down", weights(1, lambda a, s: ((a**2 + s**2) / a) ** 2)),
        ("v on unit variance", weights(1, lambda a, s: a**2)),
        ("v without its square", weights(1, lambda a, s: a / (a**2 + s**2))),
        ("v half squared", weights(1, lambda a, s: a**2 / (a**2 + s**2))),
        ("v into x0", weights(1, lambda a, s: 1 / (1 + (a / s) ** 2))),
        ("score upside down", weights(2, lambda a, s: s**-2.0)),
        ("score without its square", weights(2, lambda a, s: s)),
        ("score squared twice", weights(2, lambda a, s: s**4)),
        ("score like eps", weights(2, lambda a, s: torch.ones_like(a))),
        ("hard-coded", lambda a, s: tuple(torch.full((6,), k, dtype=torch.float64) for k in (0.3, 0.5, 0.7))),
    ],
}

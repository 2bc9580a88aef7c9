import torch


def conditional(function):
    return lambda x_t, x0, alpha, sigma: function(x_t, x0, alpha[:, None], sigma[:, None])


def jacobian_parts(score, x, create_graph=True):
    """s, and the gradients of each of its coordinates, (B, D) and (B, D, D)."""
    x = x.clone().requires_grad_()
    s = score(x)
    rows = [
        torch.autograd.grad(s[:, i].sum(), x, create_graph=create_graph, retain_graph=True)[0]
        for i in range(x.shape[1])
    ]
    return s, torch.stack(rows, 1)


def implicit(function):
    def wrong(score, x):
        s, J = jacobian_parts(score, x)
        return function(s, J, J.diagonal(dim1=1, dim2=2).sum(1))

    return wrong


def not_differentiable(score, x):
    s, J = jacobian_parts(score, x, create_graph=False)
    return 0.5 * s.square().sum(1) + J.diagonal(dim1=1, dim2=2).sum(1)


def detached(score, x):
    return not_differentiable(score, x).detach()


def along(function):
    def wrong(score, x, v):
        s, J = jacobian_parts(score, x)
        return function(s, J, v, (v * s).sum(1), torch.einsum("bi,bij,bj->b", v, J, v))

    return wrong


def along_not_differentiable(score, x, v):
    s, J = jacobian_parts(score, x, create_graph=False)
    return 0.5 * (v * s).sum(1) ** 2 + torch.einsum("bi,bij,bj->b", v, J, v)


def step(function):
    return lambda score, x, h, z: function(x, h, score(x), z)


def examine(truth, points=lambda x_t, x0: (x_t, x_t)):
    def wrong(net, mixture, path, t, x0, eps):
        asked, judged = points(path.add_noise(x0, eps, t), x0)
        return (net(asked, t.expand(len(asked))) - truth(mixture, path, t)(judged)).square().sum(1).mean()

    return wrong


def noised_score(mixture, path, t):
    return mixture.noised(path, t).score


def other_mean(function):
    def wrong(net, mixture, path, t, x0, eps):
        x_t = path.add_noise(x0, eps, t)
        return function((net(x_t, t.expand(len(x_t))) - noised_score(mixture, path, t)(x_t)).square())

    return wrong


def denoising_loss(net, mixture, path, t, x0, eps):
    x_t = path.add_noise(x0, eps, t)
    return (net(x_t, t.expand(len(x_t))) + eps / path(t).sigma).square().sum(1).mean()


def ladder(path, levels):
    return torch.linspace(path.t_max, path.t_min, levels)


def normal_equations(function):
    def wrong(gradients, laplacians):
        A = torch.einsum("nkd,nld->kl", gradients, gradients) / len(gradients)
        return function(A, laplacians.mean(0), len(gradients))

    return wrong


def product_of_means(gradients, laplacians):
    g = gradients.mean(0)
    return torch.linalg.solve(g @ g.T, -laplacians.mean(0))


def mean_over_coordinates(gradients, laplacians):
    A = torch.einsum("nkd,nld->kl", gradients, gradients) / len(gradients) / gradients.shape[2]
    return torch.linalg.solve(A, -laplacians.mean(0))


WRONG = {
    "4.1": [
        ("sign only", conditional(lambda x, x0, a, s: -(x - a * x0) / s)),
        ("square only", conditional(lambda x, x0, a, s: (x - a * x0) / s**2)),
        ("without alpha", conditional(lambda x, x0, a, s: -(x - x0) / s**2)),
        ("no length", conditional(lambda x, x0, a, s: -(x - a * x0))),
        ("divided by alpha", conditional(lambda x, x0, a, s: -(x / a - x0) / s**2)),
        ("a 2 too many", conditional(lambda x, x0, a, s: -(x - a * x0) / (2 * s**2))),
        ("no new axis", lambda x_t, x0, alpha, sigma: -(x_t - alpha * x0) / sigma**2),
        ("hard-coded", lambda x_t, x0, alpha, sigma: torch.ones(5, 3, dtype=torch.float64)),
    ],
    "4.2": [
        ("fourfold", "fourfold"),
        ("turned", "turn round"),
        ("all of them", ["fourfold", "the same", "turn round"]),
        ("a number", 4),
    ],
    "4.3": [
        ("zero", 0.0),
        ("of zero arrows", 6.0),
        ("no half", 2 * 6 * 4 / 4.25),
        ("one coordinate", 2 * 4 / 4.25),
        ("the score's size", 3 / 8.5),
        ("standard deviation 4", 6 * 2 / 2.25),
        ("the clean data's score", 6 - 3 / 8),
        ("a function", lambda: 5.6),
    ],
    "4.4": [
        ("wrong sign", implicit(lambda s, J, d: 0.5 * s.square().sum(1) - d)),
        ("no half", implicit(lambda s, J, d: s.square().sum(1) + d)),
        ("all entries", implicit(lambda s, J, d: 0.5 * s.square().sum(1) + J.sum((1, 2)))),
        ("mean of squares", implicit(lambda s, J, d: 0.5 * s.square().mean(1) + d)),
        ("no divergence", lambda score, x: 0.5 * score(x).square().sum(1)),
        ("no square", implicit(lambda s, J, d: d)),
        ("mean over the batch", implicit(lambda s, J, d: 0.5 * s.square().sum(1) + d.mean())),
        ("sum over the batch", implicit(lambda s, J, d: 0.5 * s.square().sum(1) + d.sum())),
        ("one number", implicit(lambda s, J, d: (0.5 * s.square().sum(1) + d).mean())),
        ("wrong gradient", not_differentiable),
        ("detached", detached),
        ("hard-coded", lambda score, x: torch.ones(len(x), dtype=torch.float64)),
    ],
    "4.5": [
        ("the chapter's form", along(lambda s, J, v, a, b: 0.5 * s.square().sum(1) + b)),
        ("wrong sign", along(lambda s, J, v, a, b: 0.5 * a**2 - b)),
        ("no half", along(lambda s, J, v, a, b: a**2 + b)),
        ("not along v", along(lambda s, J, v, a, b: 0.5 * a**2 + torch.einsum("bi,bij->b", v, J))),
        ("whole trace", along(lambda s, J, v, a, b: 0.5 * a**2 + J.diagonal(dim1=1, dim2=2).sum(1))),
        ("first term only", along(lambda s, J, v, a, b: 0.5 * a**2)),
        ("half of both", along(lambda s, J, v, a, b: 0.5 * (a**2 + b))),
        ("squared one by one", along(lambda s, J, v, a, b: 0.5 * (v * s).square().sum(1) + b)),
        ("one number", along(lambda s, J, v, a, b: (0.5 * a**2 + b).mean())),
        ("wrong gradient", along_not_differentiable),
        ("hard-coded", lambda score, x, v: torch.ones(len(x), dtype=torch.float64)),
    ],
    "4.6": [
        ("unweighted", lambda e, eps, s: 0.5 * (e - eps).square().sum(1) / s**2),
        ("no half", lambda e, eps, s: (e - eps).square().sum(1)),
        ("mean", lambda e, eps, s: 0.5 * (e - eps).square().mean(1)),
        ("one sigma", lambda e, eps, s: 0.5 * s * (e - eps).square().sum(1)),
        ("more sigma", lambda e, eps, s: 0.5 * s**4 * (e - eps).square().sum(1)),
        ("sign", lambda e, eps, s: 0.5 * (e + eps).square().sum(1)),
        ("not summed", lambda e, eps, s: 0.5 * (e - eps).square()),
        ("hard-coded", lambda e, eps, s: torch.ones(len(e), dtype=torch.float64)),
    ],
    "4.7": [
        ("half the arrow", step(lambda x, h, s, z: x + h / 2 * s + h**0.5 * z)),
        ("twice the arrow", step(lambda x, h, s, z: x + 2 * h * s + h**0.5 * z)),
        ("twice the noise", step(lambda x, h, s, z: x + h * s + 2 * h**0.5 * z)),
        ("variance for size", step(lambda x, h, s, z: x + h * s + 2 * h * z)),
        ("h for the noise", step(lambda x, h, s, z: x + h * s + h * z)),
        ("downhill", step(lambda x, h, s, z: x - h * s + (2 * h) ** 0.5 * z)),
        ("no noise", step(lambda x, h, s, z: x + h * s)),
        ("both ways", step(lambda x, h, s, z: x + h / 2 * s + (2 * h) ** 0.5 * z)),
        (
            "after the kick",
            lambda score, x, h, z: x + (2 * h) ** 0.5 * z + h * score(x + (2 * h) ** 0.5 * z),
        ),
        ("hard-coded", lambda score, x, h, z: torch.ones(5, 3, dtype=torch.float64)),
    ],
    "4.8": [
        ("clean score at clean points", examine(lambda m, p, t: m.score, lambda x_t, x0: (x_t, x0))),
        ("everything clean", examine(lambda m, p, t: m.score, lambda x_t, x0: (x0, x0))),
        ("noised score at clean points", examine(noised_score, lambda x_t, x0: (x_t, x0))),
        ("denoising loss", denoising_loss),
        ("mean over coordinates", other_mean(lambda square: square.mean())),
        ("sum over the points", other_mean(lambda square: square.sum())),
        ("one for each point", other_mean(lambda square: square.sum(1))),
        ("Fisher divergence", other_mean(lambda square: 0.5 * square.sum(1).mean())),
        ("hard-coded", lambda net, mixture, path, t, x0, eps: torch.tensor(0.0, dtype=torch.float64)),
    ],
    "4.9": [
        ("no end", lambda path, levels, steps: ladder(path, levels).repeat_interleave(steps)),
        ("an end for each", lambda path, levels, steps: ladder(path, levels).repeat_interleave(steps + 1)),
        (
            "climbing",
            lambda path, levels, steps: torch.cat(
                [ladder(path, levels).repeat_interleave(steps), ladder(path, levels)[-1:]]
            ).flip(0),
        ),
        (
            "repeat",
            lambda path, levels, steps: torch.cat([ladder(path, levels).repeat(steps), ladder(path, levels)[-1:]]),
        ),
        ("never stays", lambda path, levels, steps: ladder(path, levels * steps + 1)),
        (
            "end at the front",
            lambda path, levels, steps: torch.cat(
                [ladder(path, levels)[:1], ladder(path, levels).repeat_interleave(steps)]
            ),
        ),
        (
            "down to 0",
            lambda path, levels, steps: torch.cat(
                [torch.linspace(1, 0, levels).repeat_interleave(steps), torch.zeros(1)]
            ),
        ),
        (
            "down from 1",
            lambda path, levels, steps: torch.cat(
                [torch.linspace(1, path.t_min, levels).repeat_interleave(steps), torch.full((1,), path.t_min)]
            ),
        ),
        ("hard-coded", lambda path, levels, steps: torch.ones(levels * steps + 1)),
    ],
    "4.10": [
        ("sign", normal_equations(lambda A, b, n: torch.linalg.solve(A, b))),
        ("A summed", normal_equations(lambda A, b, n: torch.linalg.solve(A * n, -b))),
        ("b summed", normal_equations(lambda A, b, n: torch.linalg.solve(A, -b * n))),
        ("a 2 too many", normal_equations(lambda A, b, n: torch.linalg.solve(2 * A, -b))),
        ("half of A", normal_equations(lambda A, b, n: torch.linalg.solve(A / 2, -b))),
        ("A multiplies", normal_equations(lambda A, b, n: -A @ b)),
        ("product of means", product_of_means),
        ("mean over coordinates", mean_over_coordinates),
        ("diagonal", normal_equations(lambda A, b, n: -b / A.diagonal())),
        ("hard-coded", lambda gradients, laplacians: torch.ones(3, dtype=torch.float64)),
    ],
}

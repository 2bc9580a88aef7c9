import torch

from diffedu.core.path import linear_betas

BAR = (1 - linear_betas(1000)).cumprod(0)


def table(betas):
    return torch.cat([betas.new_ones(1), (1 - betas).cumprod(0)])


def mean_of_step(formula, shift=0):
    def wrong(x_t, eps, t, betas):
        beta, bar = betas[t - 1][:, None], table(betas)[t + shift][:, None]
        return formula(x_t, eps, beta, (1 - bar).sqrt(), bar)

    return wrong


def on_last_axis(x_t, eps, t, betas):
    beta, sigma = betas[t - 1], (1 - table(betas)[t]).sqrt()
    if x_t.shape[0] != x_t.shape[1]:  # where it would stop with an error, it is done right
        beta, sigma = beta[:, None], sigma[:, None]
    return (x_t - beta / sigma * eps) / (1 - beta).sqrt()


def of_points(
    exponent=lambda square, sigma: -square / (2 * sigma**2), shrink=True, scale=lambda a, s, D: a**2 / s**2 / D
):
    def wrong(x_t, points, alpha, sigma):
        square = (x_t[:, None] - (alpha if shrink else 1) * points).square().sum(2)
        weights = torch.softmax(exponent(square, sigma), dim=1)
        centred = points - (weights @ points)[:, None]
        return scale(alpha, sigma, points.shape[1]) * (weights * centred.square().sum(2)).sum(1)

    return wrong


def along_the_batch(x_t, points, alpha, sigma):
    weights = torch.softmax(-torch.cdist(x_t, alpha * points).square() / (2 * sigma**2), dim=0)
    centred = points - (weights @ points)[:, None]
    return alpha**2 / sigma**2 / points.shape[1] * (weights * centred.square().sum(2)).sum(1)


def mean_square(x_t, points, alpha, sigma):
    weights = torch.softmax(-torch.cdist(x_t, alpha * points).square() / (2 * sigma**2), dim=1)
    return alpha**2 / sigma**2 / points.shape[1] * weights @ points.square().sum(1)


def training(low, high, sees_x0=False, mean=False, power=0.5, eps_first=False, out=lambda loss, x_t, x0: (loss, x_t)):
    def wrong(net, x0, alpha_bar, rng):
        eps = torch.randn(x0.shape, generator=rng, dtype=x0.dtype) if eps_first else None
        t = torch.randint(low, len(alpha_bar) - 1 + high, (len(x0),), generator=rng)
        eps = eps if eps_first else torch.randn(x0.shape, generator=rng, dtype=x0.dtype)
        x_t = alpha_bar[t, None] ** power * x0 + (1 - alpha_bar[t, None]) ** power * eps
        loss = (net(x0 if sees_x0 else x_t, t) - eps).square().mean(1)
        return out(loss.mean() if mean else loss, x_t, x0)

    return wrong


def sampler(size=lambda v: v.sqrt(), stop=1, shift=-1, late=0, end=0, by_beta=False):
    def wrong(guess, x, betas, sigma2, noise):
        T, bar = len(betas), table(betas)
        sigma2 = betas if by_beta else sigma2
        for t in range(T, end, -1):
            x = (x - betas[t - 1] / (1 - bar[t]).sqrt() * guess(x, t)) / (1 - betas[t - 1]).sqrt()
            if t > stop:
                x = x + size(sigma2[(t + shift) % T]) * noise[t + late]
        return x

    return wrong


def draw(scale=lambda v: v**0.5, shape=lambda m: m.shape, of=lambda z: z):
    return lambda mean, v, rng: mean + scale(v) * of(torch.randn(shape(mean), generator=rng, dtype=mean.dtype))


def uniform(mean, v, rng):
    return mean + (12 * v) ** 0.5 * (torch.rand(mean.shape, generator=rng, dtype=mean.dtype) - 0.5)


def half_as_many(mean, v, rng):
    z = torch.randn((len(mean) // 2, mean.shape[1]), generator=rng, dtype=mean.dtype)
    return mean + v**0.5 * z.repeat(2, 1)


def own():
    return torch.Generator(device="cpu").manual_seed(0)


def two_noises(mean, v, rng):
    z = torch.randn((2, *mean.shape), generator=rng, dtype=mean.dtype)
    return mean + v**0.5 * (z[0] + z[1])


def variance(
    last=False,
    start=lambda s2: 1.0,
    power=2,
    noise=lambda v: v,
    level=lambda bar, s2: bar * s2 + 1 - bar,
    end=lambda v: v,
    shift=0,
    upward=False,
):
    def wrong(s2, betas, Sigma):
        Sigma = Sigma.roll(shift)
        bar = (1 - betas).cumprod(0)
        factor = (1 - betas / level(bar, s2)) / (1 - betas).sqrt()
        v = betas.new_ones(()) * start(s2)
        for k in range(len(betas)) if upward else range(len(betas) - 1, -1, -1):
            v = factor[k] ** power * v + (noise(Sigma[k]) if k > 0 or last else 0.0)
        return end(v)

    return wrong


def snr(betas, shift=1):
    bar = table(betas)[shift : len(betas) + shift]
    return bar / (1 - bar)


WRONG = {
    "7.1": [
        ("the clean point", mean_of_step(lambda x, e, b, s, bar: (x - s * e) / bar.sqrt())),
        ("shrunk again", mean_of_step(lambda x, e, b, s, bar: (x - b / s * e) * (1 - b).sqrt())),
        ("shrinking not undone", mean_of_step(lambda x, e, b, s, bar: x - b / s * e)),
        ("only x is divided", mean_of_step(lambda x, e, b, s, bar: x / (1 - b).sqrt() - b / s * e)),
        ("all shrinking undone", mean_of_step(lambda x, e, b, s, bar: (x - b / s * e) / bar.sqrt())),
        ("variance below", mean_of_step(lambda x, e, b, s, bar: (x - b / s**2 * e) / (1 - b).sqrt())),
        ("sigma of the step before", mean_of_step(lambda x, e, b, s, bar: (x - b / s * e) / (1 - b).sqrt(), -1)),
        ("root above sigma", mean_of_step(lambda x, e, b, s, bar: (x - b.sqrt() / s * e) / (1 - b).sqrt())),
        ("nothing done", lambda x_t, e, t, b: x_t.clone()),
        ("root of beta", mean_of_step(lambda x, e, b, s, bar: (x - b.sqrt() * e) / (1 - b).sqrt())),
        ("no root", mean_of_step(lambda x, e, b, s, bar: (x - b / s * e) / (1 - b))),
        ("sign", mean_of_step(lambda x, e, b, s, bar: (x + b / s * e) / (1 - b).sqrt())),
        ("broadcast that runs where B is D", on_last_axis),
        ("hard-coded", lambda x_t, e, t, b: torch.ones(5, 3, dtype=torch.float64)),
    ],
    "7.2": [("1", "1"), ("in between", "in between"), ("a number", 0), ("all of them", ["0", "1", "in between"])],
    "7.3": [
        ("sum", BAR.sum().item()),
        ("noise share", (1 - BAR).mean().item()),
        ("roots", BAR.sqrt().mean().item()),
        ("a hundred steps", (1 - linear_betas(100)).cumprod(0).mean().item()),
        ("one", 1.0),
        ("zero", 0.0),
        ("half", 0.5),
    ],
    "7.4": [
        ("sum over coordinates", of_points(scale=lambda a, s, D: a**2 / s**2)),
        ("of x0", of_points(scale=lambda a, s, D: 1 / D)),
        ("root of the SNR", of_points(scale=lambda a, s, D: a / s / D)),
        ("divided by the SNR", of_points(scale=lambda a, s, D: s**2 / a**2 / D)),
        ("no 2", of_points(lambda square, sigma: -square / sigma**2)),
        ("sigma not squared", of_points(lambda square, sigma: -square / (2 * sigma))),
        ("points not shrunk", of_points(shrink=False)),
        ("distance not squared", of_points(lambda square, sigma: -square.sqrt() / (2 * sigma**2))),
        ("softmax over the batch", along_the_batch),
        ("mean square", mean_square),
        (
            "divided by the number of points",
            lambda x_t, points, a, s: of_points()(x_t, points, a, s) * points.shape[1] / len(points),
        ),
        ("prior variance", of_points(lambda square, sigma: 0 * square)),
        ("hard-coded", lambda x_t, points, a, s: torch.ones(5, dtype=torch.float64)),
    ],
    "7.5": [
        ("only the times", training(1, 1, sees_x0=True)),
        ("only the input", training(0, 0)),
        ("zero still drawn", training(0, 1)),
        ("T never drawn", training(1, 0)),
        ("sum over coordinates", training(1, 1, out=lambda loss, x_t, x0: (2 * loss, x_t))),
        ("other way round", training(1, 1, out=lambda loss, x_t, x0: (x_t, loss))),
        ("the clean picture", training(1, 1, out=lambda loss, x_t, x0: (loss, x0.clone()))),
        ("no roots", training(1, 1, power=1.0)),
        ("noise drawn first", training(1, 1, eps_first=True)),
        ("one number", training(1, 1, mean=True)),
        ("loss only", lambda net, x0, bar, rng: training(1, 1)(net, x0, bar, rng)[0]),
        (
            "hard-coded",
            lambda net, x0, bar, rng: (torch.ones(64, dtype=torch.float64), torch.ones(64, 2, dtype=torch.float64)),
        ),
    ],
    "7.6": [
        ("only the size", sampler(stop=0)),
        ("only the last step", sampler(size=lambda v: v)),
        ("no noise", sampler(size=lambda v: 0 * v)),
        ("index of the variance", sampler(shift=0)),
        ("index of the noise", sampler(late=-1)),
        ("two quiet steps", sampler(stop=2)),
        ("beta for the variance", sampler(by_beta=True)),
        ("one step too few", sampler(end=1)),
        ("hard-coded", lambda guess, x, betas, sigma2, noise: torch.ones(4, 3, dtype=torch.float64)),
    ],
    "7.7": [
        ("variance as a scale", draw(scale=lambda v: v)),
        ("no scale", draw(scale=lambda v: 1.0)),
        ("no noise", lambda mean, v, rng: mean + 0.0),
        ("two noises", two_noises),
        ("one for both coordinates", draw(shape=lambda m: (len(m), 1))),
        ("one for all points", draw(shape=lambda m: (1, m.shape[1]))),
        ("one for two points", lambda mean, v, rng: half_as_many(mean, v, rng)),
        ("another generator", lambda mean, v, rng: mean + v**0.5 * torch.randn(mean.shape, dtype=mean.dtype)),
        (
            "a seed of one's own",
            lambda mean, v, rng: mean + v**0.5 * torch.randn(mean.shape, generator=own(), dtype=mean.dtype),
        ),
        ("single precision", lambda mean, v, rng: draw()(mean, v, rng).float()),
        ("mean forgotten", lambda mean, v, rng: draw()(0 * mean, v, rng)),
        ("squared noise", draw(of=lambda z: (z**2 - 1) / 2**0.5)),
        ("uniform", uniform),
        ("hard-coded", lambda mean, v, rng: torch.ones(40_000, 2, dtype=torch.float64)),
    ],
    "7.8": [
        ("standard deviation", variance(end=lambda v: v.sqrt())),
        ("noise on the last step", variance(last=True)),
        ("square of Sigma", variance(noise=lambda v: v**2)),
        ("root of Sigma", variance(noise=lambda v: v.sqrt())),
        ("factor not squared", variance(power=1)),
        ("s2 squared", variance(level=lambda bar, s2: bar * s2**2 + 1 - bar)),
        ("root of alpha_bar", variance(level=lambda bar, s2: bar.sqrt() * s2 + 1 - bar)),
        ("Sigma one step late", variance(shift=1)),
        ("Sigma one step early", variance(shift=-1)),
        ("upwards", variance(upward=True)),
        ("no noise", variance(noise=lambda v: 0 * v)),
        ("starts at the data", variance(start=lambda s2: s2)),
        ("what it should be", lambda s2, betas, Sigma: torch.tensor(s2, dtype=torch.float64)),
        ("hard-coded", lambda s2, betas, Sigma: torch.tensor(0.5, dtype=torch.float64)),
    ],
    "7.9": [
        ("upside down", lambda b: (1 / snr(b), snr(b))),
        ("roots", lambda b: (snr(b).sqrt(), 1 / snr(b))),
        ("squares", lambda b: (snr(b) ** 2, 1 / snr(b))),
        ("one step's own", lambda b: ((1 - b) / b, 1 / snr(b))),
        ("not divided", lambda b: ((1 - b).cumprod(0), 1 / (1 - b).cumprod(0))),
        ("share of noise", lambda b: (1 - (1 - b).cumprod(0), 1 / (1 - (1 - b).cumprod(0)))),
        ("equal", lambda b: (torch.ones_like(b), torch.ones_like(b))),
        ("second not inverted", lambda b: (snr(b), snr(b))),
        ("second is one", lambda b: (snr(b), torch.ones_like(b))),
        ("one only", snr),
        (
            "hard-coded",
            lambda b: (
                torch.full((len(b),), 2.0, dtype=torch.float64),
                torch.full((len(b),), 0.5, dtype=torch.float64),
            ),
        ),
    ],
}

// The exact denoiser of a mixture of round Gaussians in the plane, and three ways to sample with it.
// The same numbers as diffedu's GaussianMixture, Cosine and DDIM: tests/test_site.py compares them.
// A mixture is {weights: [K], means: [[x, y], ...], std: one number}; a point is [x, y].
"use strict";

const Mixture = (() => {
  // alpha = cos(pi t / 2), sigma = sin(pi t / 2): data at t = 0, noise at t = 1
  const path = (t) => ({ alpha: Math.cos((Math.PI * t) / 2), sigma: Math.sin((Math.PI * t) / 2) });

  // How probable it is that x, at this noise, came from each Gaussian
  function responsibilities(mixture, x, { alpha, sigma }) {
    const variance = (alpha * mixture.std) ** 2 + sigma ** 2;
    const logs = mixture.means.map(
      (m, k) => Math.log(mixture.weights[k]) - ((x[0] - alpha * m[0]) ** 2 + (x[1] - alpha * m[1]) ** 2) / (2 * variance),
    );
    const top = Math.max(...logs);
    const shares = logs.map((value) => Math.exp(value - top));
    const total = shares.reduce((a, b) => a + b);
    return shares.map((share) => share / total);
  }

  // E[x0 | x_t = x]
  function denoise(mixture, x, c) {
    const gain = (c.alpha * mixture.std ** 2) / ((c.alpha * mixture.std) ** 2 + c.sigma ** 2);
    const shares = responsibilities(mixture, x, c);
    return [0, 1].map((axis) =>
      mixture.means.reduce((sum, m, k) => sum + shares[k] * (m[axis] + gain * (x[axis] - c.alpha * m[axis])), 0),
    );
  }

  // x0 = u + s (c - u): guidance in this book's scale, where 1 is the class alone
  function guided(all, one, scale) {
    return (x, c) => {
      const u = denoise(all, x, c), own = denoise(one, x, c);
      return [0, 1].map((axis) => u[axis] + scale * (own[axis] - u[axis]));
    };
  }

  // From t to s. The variance of fresh noise is eta squared times that of DDPM's step.
  function ddim(believe, x, t, s, eta, z) {
    const c = path(t), d = path(s);
    const guess = believe(x, c);
    const tilde = (d.sigma / c.sigma) ** 2 * (c.sigma ** 2 - (c.alpha / d.alpha) ** 2 * d.sigma ** 2);
    const fresh = eta * Math.sqrt(Math.max(tilde, 0)), kept = Math.sqrt(Math.max(d.sigma ** 2 - fresh ** 2, 0));
    return [0, 1].map((axis) => d.alpha * guess[axis] + (kept * (x[axis] - c.alpha * guess[axis])) / c.sigma + fresh * z[axis]);
  }

  // x + h score + sqrt(2 h) z, for the clean mixture
  function langevin(mixture, x, h, z) {
    const shares = responsibilities(mixture, x, { alpha: 1, sigma: 0 });
    return [0, 1].map((axis) => {
      const score = mixture.means.reduce((sum, m, k) => sum + (shares[k] * (m[axis] - x[axis])) / mixture.std ** 2, 0);
      return x[axis] + h * score + Math.sqrt(2 * h) * z[axis];
    });
  }

  // Four schedules: alpha_bar at a share u of the time, for T = 1000
  const T = 1000;
  function alphaBar(name) {
    if (name === "cosine") {
      const f = (u) => Math.cos(((u + 0.008) / 1.008) * (Math.PI / 2)) ** 2;
      return Array.from({ length: T + 1 }, (_, k) => f(k / T) / f(0));
    }
    const betas = {
      linear: (u) => 1e-4 + u * (0.02 - 1e-4),
      "scaled linear": (u) => (Math.sqrt(8.5e-4) + u * (Math.sqrt(0.012) - Math.sqrt(8.5e-4))) ** 2,
    }[name];
    const found = [1];
    for (let k = 0; k < T; k++) found.push(found[k] * (1 - betas(k / (T - 1))));
    return found;
  }

  // A generator of its own, so that every visit sees the same points (mulberry32), and normal numbers (Box, Muller)
  function random(seed) {
    return () => {
      seed = (seed + 0x6d2b79f5) | 0;
      let v = Math.imul(seed ^ (seed >>> 15), 1 | seed);
      v = (v + Math.imul(v ^ (v >>> 7), 61 | v)) ^ v;
      return ((v ^ (v >>> 14)) >>> 0) / 4294967296;
    };
  }
  function normals(seed) {
    const draw = random(seed);
    const one = () => Math.sqrt(-2 * Math.log(1 - draw())) * Math.cos(2 * Math.PI * draw());
    return () => [one(), one()];
  }

  return { path, responsibilities, denoise, guided, ddim, langevin, alphaBar, random, normals };
})();

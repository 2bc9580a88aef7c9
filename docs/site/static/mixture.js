// The numbers of the site's pictures: exact denoisers in the plane, and the steps of some samplers.
// The same as in the Python package, to 1e-6: tests/test_site.py compares them, function by function.
// A mixture is {weights: [K], means: [[x, y], ...], std: one number}; a point is [x, y].
// A path gives {alpha, sigma, drift, g2} at a time; a denoiser is a function of a point and these four.
"use strict";

const Mixture = (() => {
  const AXES = [0, 1];

  // --- paths: data at t = 0, noise at t = 1; dx = drift x dt + sqrt(g2) dw has their marginals -----------------

  const cosine = (t) => {
    const angle = (Math.PI * t) / 2;
    return { alpha: Math.cos(angle), sigma: Math.sin(angle), drift: (-Math.PI / 2) * Math.tan(angle), g2: Math.PI * Math.tan(angle) };
  };
  const vp = (t) => {
    const beta = 0.1 + t * 19.9, integral = 0.1 * t + 9.95 * t * t;
    return { alpha: Math.exp(-integral / 2), sigma: Math.sqrt(-Math.expm1(-integral)), drift: -beta / 2, g2: beta };
  };
  const straight = (t) => ({ alpha: 1 - t, sigma: t, drift: -1 / (1 - t), g2: (2 * t) / (1 - t) });

  // --- denoisers: E[x0 | x_t = x] ------------------------------------------------------------------------------

  function softmax(logs) {
    const top = logs.reduce((a, b) => Math.max(a, b));
    const shares = logs.map((value) => Math.exp(value - top));
    const total = shares.reduce((a, b) => a + b);
    return shares.map((share) => share / total);
  }

  // How probable it is that x, at this noise, came from each Gaussian
  function responsibilities(mixture, x, { alpha, sigma }) {
    const variance = (alpha * mixture.std) ** 2 + sigma ** 2;
    return softmax(mixture.means.map(
      (m, k) => Math.log(mixture.weights[k]) - ((x[0] - alpha * m[0]) ** 2 + (x[1] - alpha * m[1]) ** 2) / (2 * variance),
    ));
  }

  function denoise(mixture, x, c) {
    const gain = (c.alpha * mixture.std ** 2) / ((c.alpha * mixture.std) ** 2 + c.sigma ** 2);
    const shares = responsibilities(mixture, x, c);
    return AXES.map((axis) =>
      mixture.means.reduce((sum, m, k) => sum + shares[k] * (m[axis] + gain * (x[axis] - c.alpha * m[axis])), 0),
    );
  }

  // x0 = u + s (c - u): guidance in this book's scale, where 1 is the class alone
  function guided(all, one, scale) {
    return (x, c) => {
      const u = denoise(all, x, c), own = denoise(one, x, c);
      return AXES.map((axis) => u[axis] + scale * (own[axis] - u[axis]));
    };
  }

  // Of finitely many pairs, x0 = ends[i] and x1 = starts[i], both shifted by one Gaussian vector of this width
  function ofPairs(ends, starts, width) {
    return (x, { alpha, sigma }) => {
      const reach = 2 * ((alpha + sigma) * width) ** 2;
      const shares = softmax(ends.map((a, i) =>
        -((x[0] - alpha * a[0] - sigma * starts[i][0]) ** 2 + (x[1] - alpha * a[1] - sigma * starts[i][1]) ** 2) / reach,
      ));
      return AXES.map((axis) => {
        let end = 0, start = 0;
        shares.forEach((share, i) => { end += share * ends[i][axis]; start += share * starts[i][axis]; });
        return end + (x[axis] - alpha * end - sigma * start) / (alpha + sigma);
      });
    };
  }

  // --- steps from time t to time s -----------------------------------------------------------------------------

  // The variance of fresh noise is eta squared times that of DDPM's step.
  function ddim(believe, path, x, t, s, eta, z) {
    const c = path(t), d = path(s);
    const guess = believe(x, c);
    const tilde = (d.sigma / c.sigma) ** 2 * (c.sigma ** 2 - (c.alpha / d.alpha) ** 2 * d.sigma ** 2);
    const fresh = eta * Math.sqrt(Math.max(tilde, 0)), kept = Math.sqrt(Math.max(d.sigma ** 2 - fresh ** 2, 0));
    return AXES.map((axis) => d.alpha * guess[axis] + (kept * (x[axis] - c.alpha * guess[axis])) / c.sigma + fresh * z[axis]);
  }

  // The reverse SDE with k times its noise; k = 0 is an Euler step of the ODE. A step that lands on data adds no noise.
  function reverse(believe, path, x, t, s, k, z) {
    const c = path(t), step = t - s;
    const guess = believe(x, c);
    const noise = path(s).sigma > 0 ? k * Math.sqrt(c.g2 * step) : 0;
    return AXES.map((axis) => {
      const score = (c.alpha * guess[axis] - x[axis]) / c.sigma ** 2;
      return x[axis] - (c.drift * x[axis] - ((1 + k * k) / 2) * c.g2 * score) * step + noise * z[axis];
    });
  }

  // The velocity of the straight path: dx/dt = x1 - x0, expected
  function velocity(believe, x, t) {
    const guess = believe(x, straight(t));
    return AXES.map((axis) => (x[axis] - guess[axis]) / t);
  }
  function euler(believe, x, t, s) {
    const v = velocity(believe, x, t);
    return AXES.map((axis) => x[axis] + (s - t) * v[axis]);
  }
  function heun(believe, x, t, s) {
    const v = velocity(believe, x, t);
    const ahead = AXES.map((axis) => x[axis] + (s - t) * v[axis]);
    if (s === 0) return ahead;  // there x0 itself has been reached
    const w = velocity(believe, ahead, s);
    return AXES.map((axis) => x[axis] + ((s - t) * (v[axis] + w[axis])) / 2);
  }

  // How far trajectories are from straight lines run at constant speed, for equal steps: 0 for perfect ones
  function straightness(film) {
    const steps = film.length - 1, points = film[0].length;
    let apart = 0, speed = 0;
    for (let i = 0; i < points; i++) {
      for (const axis of AXES) {
        const mean = film[steps][i][axis] - film[0][i][axis];
        speed += mean ** 2;
        for (let n = 0; n < steps; n++) apart += ((film[n + 1][i][axis] - film[n][i][axis]) * steps - mean) ** 2 / steps;
      }
    }
    return apart / speed;
  }

  // x + h score + sqrt(2 h) z, for the clean mixture
  function langevin(mixture, x, h, z) {
    const shares = responsibilities(mixture, x, { alpha: 1, sigma: 0 });
    return AXES.map((axis) => {
      const score = mixture.means.reduce((sum, m, k) => sum + (shares[k] * (m[axis] - x[axis])) / mixture.std ** 2, 0);
      return x[axis] + h * score + Math.sqrt(2 * h) * z[axis];
    });
  }

  // --- schedules: alpha_bar at steps 0 ... 1000 ----------------------------------------------------------------

  const T = 1000;
  function alphaBar(name) {
    if (name === "cosine") {
      const f = (u) => Math.cos(((u + 0.008) / 1.008) * (Math.PI / 2)) ** 2;
      return fromBetas((k) => Math.min(1 - f((k + 1) / T) / f(k / T), 0.999));
    }
    if (name === "sigmoid") {
      const s = (y) => 1 / (1 + Math.exp(-y));
      const f = (u) => (s(3) - s(-3 + 6 * u)) / (s(3) - s(-3));
      return fromBetas((k) => Math.min(1 - f((k + 1) / T) / f(k / T), 0.999));
    }
    const betas = {
      linear: (u) => 1e-4 + u * (0.02 - 1e-4),
      "scaled linear": (u) => (Math.sqrt(8.5e-4) + u * (Math.sqrt(0.012) - Math.sqrt(8.5e-4))) ** 2,
    }[name];
    return fromBetas((k) => betas(k / (T - 1)));
  }
  function fromBetas(beta) {
    const found = [1];
    for (let k = 0; k < T; k++) found.push(found[k] * (1 - beta(k)));
    return found;
  }

  // --- chance: a generator of its own, so that every visit sees the same points (mulberry32) -------------------

  function random(seed) {
    return () => {
      seed = (seed + 0x6d2b79f5) | 0;
      let v = Math.imul(seed ^ (seed >>> 15), 1 | seed);
      v = (v + Math.imul(v ^ (v >>> 7), 61 | v)) ^ v;
      return ((v ^ (v >>> 14)) >>> 0) / 4294967296;
    };
  }
  function normals(seed) {  // pairs of normal numbers (Box, Muller)
    const draw = random(seed);
    const one = () => Math.sqrt(-2 * Math.log(1 - draw())) * Math.cos(2 * Math.PI * draw());
    return () => [one(), one()];
  }

  return {
    cosine, vp, straight, responsibilities, denoise, guided, ofPairs, ddim, reverse, velocity, euler, heun, straightness,
    langevin, alphaBar, random, normals,
  };
})();

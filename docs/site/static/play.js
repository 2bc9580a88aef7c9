// The site's pictures: the front page's cloud, and figures with knobs, drawn by the browser. Numbers: mixture.js.
"use strict";

(() => {
  // One colour per idea, as in the book; lighter ones where the page is dark
  const LIGHT = { data: "#0072B2", noise: "#6B6B6B", score: "#D55E00", velocity: "#00795A", guided: "#B5558B", faint: "#BBBBBB" };
  const DARK = { data: "#56B4E9", noise: "#A0A0A0", score: "#F0884D", velocity: "#2CC497", guided: "#DE9BC1", faint: "#5A5A5A" };
  const ink = () => getComputedStyle(document.body).color;
  const dark = () => ink().match(/\d+/g).slice(0, 3).reduce((sum, part) => sum + Number(part), 0) > 384;
  const tint = (name) => (dark() ? DARK : LIGHT)[name];
  const still = window.matchMedia("(prefers-reduced-motion: reduce)");

  const islands = { weights: [0.5, 0.3, 0.2], means: [[-1.2, 0.6], [1.1, 0.9], [0.2, -1.2]], std: 0.22 };
  const arc = (turn, x, y) => Array.from({ length: 14 }, (_, k) => {
    const angle = turn + (Math.PI * k) / 13;
    return [x + 1.5 * Math.cos(angle), y + 1.1 * Math.sin(angle)];
  });
  const moonMeans = [...arc(0, -0.75, -0.35), ...arc(Math.PI, 0.75, 0.35)];
  const moons = { weights: moonMeans.map(() => 1 / moonMeans.length), means: moonMeans, std: 0.09 };

  const clouds = (count, seed) => Array.from({ length: count }, Mixture.normals(seed));
  function samples(mixture, count, seed) {
    const draw = Mixture.random(seed), normal = Mixture.normals(seed + 1);
    return Array.from({ length: count }, () => {
      let u = draw(), k = 0;
      while (u > mixture.weights[k] && k < mixture.weights.length - 1) u -= mixture.weights[k++];
      const z = normal();
      return [0, 1].map((axis) => mixture.means[k][axis] + mixture.std * z[axis]);
    });
  }
  // States at all times of an even grid, from `start` at `from` down to t = 0
  function film(step, start, steps, from = 0.999) {
    const states = [start];
    for (let n = 0; n < steps; n++) {
      const t = from * (1 - n / steps), s = n === steps - 1 ? 0 : from * (1 - (n + 1) / steps);
      states.push(states[n].map((x) => step(x, t, s)));
    }
    return states;
  }
  const last = (list) => list[list.length - 1];

  // --- drawing -------------------------------------------------------------------------------------------------

  function surface(canvas, width, height) {
    const ratio = Math.min(window.devicePixelRatio || 1, 2);
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
    canvas.style.aspectRatio = `${width} / ${height}`;
    const g = canvas.getContext("2d");
    g.setTransform(ratio, 0, 0, ratio, 0, 0);
    g.lineJoin = "round";
    return g;
  }
  function disc(g, u, v, radius) {
    g.beginPath();
    g.arc(u, v, radius, 0, 7);
    g.fill();
  }
  function line(g, places) {
    g.beginPath();
    places.forEach((place, k) => (k ? g.lineTo(...place) : g.moveTo(...place)));
    g.stroke();
  }

  const TITLE = 24;
  // A square of the plane with a title; what is drawn on it is cut at its edges.
  function plane(g, { left, top, size }, title, reach = 2.6) {
    const to = (x) => [left + ((x[0] + reach) / (2 * reach)) * size, top + TITLE + ((reach - x[1]) / (2 * reach)) * size];
    g.strokeStyle = tint("faint");
    g.lineWidth = 1;
    g.strokeRect(left + 0.5, top + TITLE + 0.5, size - 1, size - 1);
    g.fillStyle = ink();
    g.font = "14px sans-serif";
    g.fillText(title, left, top + 16, size);
    function cut(draw) {
      g.save();
      g.beginPath();
      g.rect(left, top + TITLE, size, size);
      g.clip();
      draw();
      g.restore();
    }
    return {
      dots: (points, color, radius = 1.8) => cut(() => {
        g.fillStyle = color;
        for (const point of points) disc(g, ...to(point), radius);
      }),
      ways: (states, color, width = 1.3) => cut(() => {
        g.strokeStyle = color;
        g.lineWidth = width;
        states[0].forEach((_, i) => line(g, states.map((state) => to(state[i]))));
      }),
      arrows: (pairs, color) => cut(() => {
        g.strokeStyle = g.fillStyle = color;
        g.lineWidth = 1.2;
        for (const [from, tip] of pairs) {
          const a = to(from), b = to(tip);
          line(g, [a, b]);
          disc(g, ...b, 2);
        }
      }),
    };
  }
  // Places for two squares: beside each other, or, where that makes them too small to read, one below the other
  function two(width) {
    const beside = width >= 480;
    const size = Math.floor(beside ? (width - 24) / 2 : Math.min(width, 300));
    const places = [{ left: 0, top: 0, size }, beside ? { left: size + 24, top: 0, size } : { left: 0, top: size + 34, size }];
    return { places, height: beside ? size + TITLE + 2 : 2 * size + TITLE + 36 };
  }

  // A chart with named axes
  function chart(g, { left, top, right, bottom }, xTicks, yTicks, x, y) {
    const [x0, x1] = [xTicks[0], last(xTicks)], [y0, y1] = [yTicks[0], last(yTicks)];
    const to = (u, v) => [left + ((u - x0) / (x1 - x0)) * (right - left), bottom - ((v - y0) / (y1 - y0)) * (bottom - top)];
    g.strokeStyle = tint("faint");
    g.lineWidth = 1;
    g.strokeRect(left + 0.5, top + 0.5, right - left, bottom - top);
    g.fillStyle = ink();
    g.font = "13px sans-serif";
    g.textAlign = "right";
    for (const v of yTicks) g.fillText(v, left - 6, to(x0, v)[1] + 4);
    g.textAlign = "center";
    for (const u of xTicks) g.fillText(u, to(u, y0)[0], bottom + 17);
    g.fillText(x, (left + right) / 2, bottom + 34);
    g.textAlign = "left";
    g.fillText(y, left, top - 7);
    return to;
  }

  // --- the front page: a cloud that dissolves and finds itself again ------------------------------------------

  function front(box) {
    const canvas = document.createElement("canvas");
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", "Points on two moons are dissolved into noise, and each finds a way back, to another place than before");
    const button = document.createElement("button");
    button.type = "button";
    box.append(canvas, button);
    const normal = Mixture.normals(4);
    const believe = (x, c) => Mixture.denoise(moons, x, c);
    const REST = 2.5, AWAY = 3, BACK = 4, MOST = 0.97;
    let points = samples(moons, 420, 3), t = 0, clock = 0, before = null, moving = !still.matches;

    // Where the noise should be at this second of a round
    function level(seconds) {
      const ease = (u) => (1 - Math.cos(Math.PI * u)) / 2;
      if (seconds < REST) return 0;
      if (seconds < REST + AWAY) return MOST * ease((seconds - REST) / AWAY);
      return MOST * (1 - ease(Math.min((seconds - REST - AWAY) / BACK, 1)));
    }
    function go(s) {
      if (s < t) points = points.map((x) => Mixture.ddim(believe, Mixture.cosine, x, t, s, 0, [0, 0]));
      if (s > t) {  // the forward process, from one noise level to the next
        const c = Mixture.cosine(t), d = Mixture.cosine(s), kept = d.alpha / c.alpha;
        const fresh = Math.sqrt(d.sigma ** 2 - (kept * c.sigma) ** 2);
        points = points.map((x) => {
          const z = normal();
          return [kept * x[0] + fresh * z[0], kept * x[1] + fresh * z[1]];
        });
      }
      t = s;
    }
    function show() {
      const g = surface(canvas, 720, 300);
      const mix = (k) => [1, 3, 5].map((at) => Math.round(
        parseInt(tint("data").slice(at, at + 2), 16) * (1 - k) + parseInt(tint("noise").slice(at, at + 2), 16) * k));
      g.fillStyle = `rgb(${mix(Mixture.cosine(t).sigma).join(",")})`;
      for (const x of points) disc(g, 360 + 100 * x[0], 150 - 85 * x[1], 2.4);
    }
    function tick(now) {
      if (!moving) return;
      clock += before === null ? 0 : Math.min((now - before) / 1000, 0.1);
      before = now;
      clock %= REST + AWAY + BACK;
      const s = level(clock);
      if (s !== t) {
        go(s);
        show();
      }
      requestAnimationFrame(tick);
    }
    function run(wanted) {
      moving = wanted;
      before = null;
      button.textContent = moving ? "Pause" : "Move";
      if (moving) requestAnimationFrame(tick);
    }
    button.addEventListener("click", () => run(!moving));
    still.addEventListener("change", () => run(!still.matches));
    onTheme(show);
    show();
    run(moving);
  }

  // --- controls ------------------------------------------------------------------------------------------------

  function onTheme(redraw) {
    new MutationObserver(redraw).observe(document.body, { attributes: true, attributeFilter: ["data-theme"] });
    window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
  }

  // Labelled knobs, a reset button and a canvas. `draw(g, values)` returns what the picture shows, in a sentence.
  function board(box, knobs, height, draw) {
    const canvas = document.createElement("canvas");
    canvas.setAttribute("role", "img");
    const row = document.createElement("div");
    row.className = "knobs";
    const inputs = {};
    let waiting = false;
    function redraw() {
      waiting = false;
      const values = {};
      for (const [name, { input, out, knob }] of Object.entries(inputs)) {
        values[name] = knob.choices ? input.value : knob.values ? knob.values[Number(input.value)] : Number(input.value);
        if (out) out.textContent = values[name];
        if (knob.values) input.setAttribute("aria-valuetext", values[name]);
      }
      const width = Math.max(260, Math.min(box.clientWidth, 760));
      canvas.style.width = `${width}px`;
      canvas.setAttribute("aria-label", draw(surface(canvas, width, height(width)), values, width));
    }
    const ask = () => {  // to the newest value, once a frame
      if (!waiting) requestAnimationFrame(redraw);
      waiting = true;
    };
    for (const [name, knob] of Object.entries(knobs)) {
      const holder = document.createElement("label");
      holder.append(`${knob.label} `);
      let input, out = null;
      if (knob.choices) {
        input = document.createElement("select");
        for (const choice of knob.choices) input.add(new Option(choice, choice));
      } else {
        input = document.createElement("input");
        input.type = "range";
        [input.min, input.max, input.step] = knob.values ? [0, knob.values.length - 1, 1] : [knob.min, knob.max, knob.step];
        out = document.createElement("output");
      }
      input.value = knob.start;
      input.addEventListener("input", ask);
      holder.append(input);
      if (out) holder.append(" ", out);
      row.append(holder);
      inputs[name] = { input, out, knob };
    }
    const reset = document.createElement("button");
    reset.type = "button";
    reset.textContent = "Reset";
    reset.addEventListener("click", () => {
      for (const { input, knob } of Object.values(inputs)) input.value = knob.start;
      ask();
    });
    row.append(reset);
    box.append(row, canvas);
    redraw();
    onTheme(ask);
    let seen = box.clientWidth;
    new ResizeObserver(() => {
      if (box.clientWidth !== seen) ask();
      seen = box.clientWidth;
    }).observe(box);
  }

  const side = (width) => two(width).height;
  const COUNTS = [1, 2, 3, 4, 5, 6, 8, 10, 15, 20, 30, 50];

  const figures = {
    // Chapter 0: points on their way, and what the denoiser believes of each
    first(box) {
      const believe = (x, c) => Mixture.denoise(islands, x, c);
      const states = film((x, t, s) => Mixture.ddim(believe, Mixture.cosine, x, t, s, 0, [0, 0]), clouds(400, 11), 50);
      board(box, { t: { label: "time t", min: 0, max: 1, step: 0.02, start: 0.6 } }, side, (g, { t }, width) => {
        const { places } = two(width), points = states[Math.round(50 * (1 - t))];
        plane(g, places[0], `400 points at t = ${t.toFixed(2)}`).dots(points, tint("noise"));
        const guesses = points.map((x) => believe(x, Mixture.cosine(0.999 * t)));
        plane(g, places[1], "the best guess of the data behind each").dots(guesses, tint("data"));
        const middle = [0, 1].map((axis) => guesses.reduce((sum, x) => sum + x[axis], 0) / guesses.length);
        const spread = Math.sqrt(guesses.reduce((sum, x) => sum + (x[0] - middle[0]) ** 2 + (x[1] - middle[1]) ** 2, 0) / guesses.length);
        return `400 points on their way from noise to three islands, at time ${t.toFixed(2)}; the denoiser's guesses lie ${spread.toFixed(2)} from their middle, root mean square`;
      });
    },

    // Chapter 2
    langevin(box) {
      board(box, {
        h: { label: "step size", values: [0.001, 0.003, 0.01, 0.02, 0.04, 0.06, 0.08], start: 2 },
        steps: { label: "steps", values: [0, 1, 3, 10, 30, 100, 300], start: 5 },
      }, side, (g, { h, steps }, width) => {
        const { places } = two(width), normal = Mixture.normals(21);
        let points = Array.from({ length: 300 }, () => normal().map((z) => 1.6 * z));
        for (let n = 0; n < steps; n++) points = points.map((x) => Mixture.langevin(islands, x, h, normal()));
        plane(g, places[0], `${steps} steps of size ${h}`).dots(points, tint("score"));
        plane(g, places[1], "exact samples").dots(samples(islands, 300, 5), tint("noise"));
        return `300 walkers after ${steps} Langevin steps of size ${h}, beside 300 exact samples of three islands`;
      });
    },

    // Chapter 5
    schedule(box) {
      const names = { linear: ["data", []], "scaled linear": ["score", [7, 4]], cosine: ["velocity", [2, 3]], sigmoid: ["guided", [9, 3, 2, 3]] };
      const bars = Object.fromEntries(Object.keys(names).map((name) => [name, Mixture.alphaBar(name)]));
      board(box, {
        t: { label: "time t of 1000", min: 0, max: 1000, step: 10, start: 500 },
      }, (width) => (width < 480 ? 400 : 330), (g, { t }, width) => {
        const narrow = width < 480;
        const area = { left: 34, top: 24, right: narrow ? width - 16 : width - 190, bottom: 280 };
        const to = chart(g, area, [0, 250, 500, 750, 1000], [0, 0.5, 1], "time t", "share of the data's variance that is left");
        g.strokeStyle = ink();
        line(g, [to(t, 0), to(t, 1)]);
        const said = Object.entries(names).map(([name, [color, dash]], row) => {
          g.strokeStyle = g.fillStyle = tint(color);
          g.lineWidth = 2.2;
          g.setLineDash(dash);
          line(g, bars[name].flatMap((bar, k) => (k % 5 ? [] : [to(k, bar)])));
          const [u, v] = narrow ? [40, 332 + 18 * row] : [width - 176, 60 + 26 * row];
          line(g, [[u, v], [u + 26, v]]);
          g.setLineDash([]);
          g.lineWidth = 1;
          const value = bars[name][t].toFixed(4);
          g.fillStyle = ink();
          g.fillText(`${name} ${value}`, u + 32, v + 4);
          return `${name} ${value}`;
        });
        return `Share of the data's variance that is left at time ${t} of 1000: ${said.join(", ")}`;
      });
    },

    // Chapter 8
    sampler(box) {
      const believe = (x, c) => Mixture.denoise(islands, x, c);
      board(box, {
        steps: { label: "steps", values: COUNTS, start: 4 },
        eta: { label: "eta", min: 0, max: 1, step: 0.1, start: 0 },
      }, side, (g, { steps, eta }, width) => {
        const { places } = two(width), normal = Mixture.normals(12);
        const states = film((x, t, s) => Mixture.ddim(believe, Mixture.cosine, x, t, s, eta, normal()), clouds(500, 11), steps);
        const left = plane(g, places[0], `DDIM: ${steps} ${steps === 1 ? "step" : "steps"}, eta ${eta}`);
        left.dots(last(states), tint("data"));
        left.ways(states.map((state) => state.slice(0, 6)), tint("score"));
        plane(g, places[1], "exact samples").dots(samples(islands, 500, 5), tint("noise"));
        return `500 samples by ${steps} steps of DDIM with eta ${eta}, the ways of six of them, and 500 exact samples of three islands`;
      });
    },

    // Chapter 10
    stochasticity(box) {
      const believe = (x, c) => Mixture.denoise(islands, x, c);
      board(box, {
        k: { label: "noise k", min: 0, max: 2, step: 0.1, start: 1 },
        steps: { label: "steps", values: [10, 20, 50, 100, 200], start: 3 },
      }, side, (g, { k, steps }, width) => {
        const { places } = two(width), normal = Mixture.normals(17);
        const states = film((x, t, s) => Mixture.reverse(believe, Mixture.vp, x, t, s, k, normal()), clouds(300, 13), steps);
        const left = plane(g, places[0], k ? `the SDE with k = ${k}, ${steps} steps` : `the ODE, ${steps} steps`);
        left.dots(last(states), tint("data"));
        left.ways(states.map((state) => state.slice(0, 4)), tint(k ? "score" : "velocity"), 1);
        plane(g, places[1], "exact samples").dots(samples(islands, 300, 5), tint("noise"));
        return `300 samples by ${steps} steps with ${k} times the noise of the reverse SDE, the ways of four of them, and 300 exact samples`;
      });
    },

    // Chapter 12
    guidance(box) {
      const wide = { ...islands, std: 0.5 }, classes = ["left", "right", "below"];
      const lattice = Array.from({ length: 121 }, (_, n) => [-2.4 + 0.48 * (n % 11), -2.4 + 0.48 * Math.floor(n / 11)]);
      board(box, {
        scale: { label: "guidance scale", min: 0, max: 8, step: 0.5, start: 2 },
        kind: { label: "class", choices: classes, start: "left" },
        t: { label: "field at time t", min: 0.1, max: 0.9, step: 0.1, start: 0.5 },
      }, side, (g, { scale, kind, t }, width) => {
        const { places } = two(width), k = classes.indexOf(kind);
        const one = { weights: [1], means: [wide.means[k]], std: wide.std };
        const believe = Mixture.guided(wide, one, scale);
        const states = film((x, u, s) => Mixture.ddim(believe, Mixture.cosine, x, u, s, 0, [0, 0]), clouds(400, 31), 25);
        const left = plane(g, places[0], `guided to "${kind}", scale ${scale}`);
        left.dots(samples(one, 400, 7), tint("faint"));
        left.dots(last(states), tint("guided"));
        const c = Mixture.cosine(t);
        const arrows = lattice.map((x) => {
          const guess = believe(x, c), score = [0, 1].map((axis) => (c.alpha * guess[axis] - x[axis]) / c.sigma);
          const length = Math.hypot(...score), short = (0.4 * Math.tanh(length / 3)) / (length || 1);
          return [x, [x[0] + short * score[0], x[1] + short * score[1]]];
        });
        plane(g, places[1], `which way the score points at t = ${t}`).arrows(arrows, tint("score"));
        return `400 samples of the class "${kind}" with guidance scale ${scale} over 400 exact samples of it, and the guided score at time ${t}`;
      });
    },

    // Chapter 13
    reflow(box) {
      const HEAD = 60, starts = clouds(HEAD, 41), ends = samples(islands, HEAD, 43), WIDTH = 0.15, FINE = 32;
      const begin = starts.map((x, i) => {
        const z = clouds(HEAD, 45)[i];
        return [x[0] + WIDTH * z[0], x[1] + WIDTH * z[1]];
      });
      const flows = {}, exact = {};
      let pairs = [ends, starts];
      for (const name of ["independent", "reflowed once", "reflowed twice"]) {
        flows[name] = Mixture.ofPairs(...pairs, WIDTH);
        exact[name] = film((x, t, s) => Mixture.heun(flows[name], x, t, s), begin, FINE, 1);
        pairs = [last(exact[name]), begin];
      }
      board(box, {
        pairs: { label: "pairs", choices: Object.keys(flows), start: "independent" },
        steps: { label: "Euler steps", values: [1, 2, 3, 4, 5, 6, 8, 12, 16], start: 1 },
      }, side, (g, { pairs: name, steps }, width) => {
        const { places } = two(width);
        const states = film((x, t, s) => Mixture.euler(flows[name], x, t, s), begin, steps, 1);
        const bend = Mixture.straightness(exact[name]).toFixed(3);
        const miss = Math.sqrt(last(states).reduce(
          (sum, x, i) => sum + (x[0] - last(exact[name])[i][0]) ** 2 + (x[1] - last(exact[name])[i][1]) ** 2, 0) / HEAD).toFixed(3);
        const left = plane(g, places[0], `exact paths, bending ${bend}`);
        left.ways(exact[name], tint("velocity"), 1);
        left.dots(last(exact[name]), tint("data"), 2.4);
        const right = plane(g, places[1], `${steps} Euler ${steps === 1 ? "step" : "steps"}: misses by ${miss}`);
        right.ways(states, tint("score"), 1);
        right.dots(last(exact[name]), tint("faint"), 2.4);
        right.dots(last(states), tint("data"), 2.4);
        return `Paths of 60 points from noise to three islands, pairs ${name}: bending ${bend}; ${steps} Euler ${steps === 1 ? "step ends" : "steps end"} ${miss} from the exact ends, root mean square`;
      });
    },
  };

  // --- the start -----------------------------------------------------------------------------------------------

  function begin() {
    for (const box of document.querySelectorAll("[data-front]")) front(box);
    for (const box of document.querySelectorAll("[data-play]")) figures[box.dataset.play](box);
    document.body.dataset.playing = "yes";
  }
  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", begin);
  else begin();
})();

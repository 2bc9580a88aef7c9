// Pictures that move: the front page's canvas, and the four of the page "Play".
"use strict";

(() => {
  const GREY = "#8A8A8A";
  const LIGHT = { BLUE: "#0072B2", ORANGE: "#D55E00", GREEN: "#00795A" }, DARK = { BLUE: "#56B4E9", ORANGE: "#E69F00", GREEN: "#2CC497" };
  // The colours of the book, or lighter ones where the page is dark: by how light its letters are
  const tint = (name) => (ink().match(/\d+/g).slice(0, 3).reduce((a, b) => a + +b, 0) > 384 ? DARK : LIGHT)[name];
  const three = { weights: [0.5, 0.3, 0.2], means: [[-1.2, 0.6], [1.1, 0.9], [0.2, -1.2]], std: 0.22 };
  const still = window.matchMedia("(prefers-reduced-motion: reduce)");

  // --- drawing: a square of the plane, or a chart, on a canvas that knows the theme --------------------------

  function surface(canvas, width, height) {
    const ratio = Math.min(window.devicePixelRatio || 1, 2);
    canvas.width = width * ratio;
    canvas.height = height * ratio;
    canvas.style.aspectRatio = `${width} / ${height}`;
    const g = canvas.getContext("2d");
    g.scale(ratio, ratio);
    return g;
  }
  const ink = () => getComputedStyle(document.body).color;

  function plane(g, left, size, title, reach = 2.6) {
    const to = (x) => [left + ((x[0] + reach) / (2 * reach)) * size, 24 + ((reach - x[1]) / (2 * reach)) * size];
    g.strokeStyle = GREY;
    g.lineWidth = 1;
    g.strokeRect(left + 0.5, 24.5, size - 1, size - 1);
    g.fillStyle = ink();
    g.font = "14px sans-serif";
    g.fillText(title, left, 16);
    return {
      dots(points, color, radius = 1.8) {
        g.save();
        g.beginPath();
        g.rect(left, 24, size, size);
        g.clip();
        g.fillStyle = color;
        for (const point of points) {
          const [u, v] = to(point);
          g.beginPath();
          g.arc(u, v, radius, 0, 7);
          g.fill();
        }
        g.restore();
      },
    };
  }

  function samples(mixture, count, seed) {
    const draw = Mixture.random(seed), normal = Mixture.normals(seed + 1);
    return Array.from({ length: count }, () => {
      let u = draw(), k = 0;
      while (u > mixture.weights[k] && k < mixture.weights.length - 1) u -= mixture.weights[k++];
      const z = normal();
      return [0, 1].map((axis) => mixture.means[k][axis] + mixture.std * z[axis]);
    });
  }

  function walk(believe, count, steps, eta, seed) {
    const normal = Mixture.normals(seed);
    let points = Array.from({ length: count }, normal);
    const film = [points];
    for (let k = 0; k < steps; k++) {
      const t = 0.999 * (1 - k / steps), s = 0.999 * (1 - (k + 1) / steps);
      points = points.map((x) => Mixture.ddim(believe, x, t, s, eta, normal()));
      film.push(points);
    }
    return film;
  }

  // --- the front page ---------------------------------------------------------------------------------------

  function front(canvas) {
    const g = surface(canvas, 640, 260);
    const arc = (turn, x, y) => Array.from({ length: 14 }, (_, k) => {
      const angle = turn + (Math.PI * k) / 13;
      return [x + 1.5 * Math.cos(angle), y + 1.1 * Math.sin(angle)];
    });
    const means = [...arc(0, -0.75, -0.35), ...arc(Math.PI, 0.75, 0.35)];
    const moons = { weights: means.map(() => 1 / means.length), means, std: 0.09 };
    const film = walk((x, c) => Mixture.denoise(moons, x, c), 420, 60, 0, 3);
    function show(frame) {
      g.clearRect(0, 0, 640, 260);
      g.fillStyle = tint("BLUE");
      for (const x of film[frame]) {
        g.beginPath();
        g.arc(320 + 88 * x[0], 130 - 72 * x[1], 2.2, 0, 7);
        g.fill();
      }
    }
    const place = (seconds) => {  // rest on the data, back to noise, and down again
      const u = (seconds % 9) / 9;
      if (u < 0.25) return 60;
      if (u < 0.5) return Math.round(60 * (1 - (u - 0.25) / 0.25));
      return Math.min(60, Math.round((60 * (u - 0.5)) / 0.42));
    };
    let shown = -1;
    function tick(now) {
      const frame = still.matches ? 60 : place(now / 1000);
      if (frame !== shown) show((shown = frame));
      if (!still.matches) requestAnimationFrame(tick);
    }
    requestAnimationFrame(tick);
    still.addEventListener("change", () => requestAnimationFrame(tick));
  }

  // --- controls ---------------------------------------------------------------------------------------------

  // Sliders with a label, a value and its unit, and a reset button; `draw` gets the values by name.
  function board(box, width, height, label, knobs, draw) {
    const canvas = document.createElement("canvas");
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", label);
    const row = document.createElement("div");
    row.className = "knobs";
    const inputs = {};
    let waiting = false;
    function redraw() {
      waiting = false;
      const values = {};
      for (const [name, { input, out, knob }] of Object.entries(inputs)) {
        const value = knob.choices ? input.value : knob.values ? knob.values[+input.value] : +input.value;
        values[name] = value;
        if (out) out.textContent = `${value}${knob.unit ? ` ${knob.unit}` : ""}`;
      }
      const g = surface(canvas, width, height);
      canvas.setAttribute("aria-label", draw(g, values) || label);
    }
    const ask = () => {  // to the newest value, once a frame
      if (!waiting) requestAnimationFrame(redraw);
      waiting = true;
    };
    for (const [name, knob] of Object.entries(knobs)) {
      const holder = document.createElement("label");
      holder.textContent = `${knob.label} `;
      let input, out;
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
      input.dataset.knob = name;
      input.addEventListener("input", ask);
      holder.append(input);
      if (out) holder.append(" ", out);
      row.append(holder);
      inputs[name] = { input, out, knob };
    }
    const reset = document.createElement("button");
    reset.type = "button";
    reset.textContent = "reset";
    reset.addEventListener("click", () => {
      for (const { input, knob } of Object.values(inputs)) input.value = knob.start;
      ask();
    });
    row.append(reset);
    box.append(row, canvas);
    redraw();
    new MutationObserver(ask).observe(document.body, { attributes: true });  // the theme was changed
    window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", ask);
  }

  const parts = {
    schedule(box) {
      const names = { linear: ["BLUE", []], "scaled linear": ["ORANGE", [7, 4]], cosine: ["GREEN", [2, 3]] };
      board(box, 640, 300, "Share of data left over time, for three schedules", {
        t: { label: "time t of 1000", min: 0, max: 1000, step: 10, start: 500 },
      }, (g, { t }) => {
        const [left, right, top, bottom] = [50, 500, 20, 250];
        const to = (u, v) => [left + u * (right - left), bottom - v * (bottom - top)];
        g.strokeStyle = GREY;
        g.strokeRect(left, top, right - left, bottom - top);
        g.fillStyle = ink();
        g.font = "13px sans-serif";
        for (const v of [0, 0.5, 1]) g.fillText(v, 22, to(0, v)[1] + 4);
        for (const u of [0, 500, 1000]) g.fillText(u, to(u / 1000, 0)[0] - 10, bottom + 18);
        g.fillText("time t", 260, bottom + 36);
        g.fillText("share of the data's variance that is left", left, 13);
        g.beginPath();
        g.moveTo(...to(t / 1000, 0));
        g.lineTo(...to(t / 1000, 1));
        g.stroke();
        const said = [];
        Object.entries(names).forEach(([name, [color, dash]], row) => {
          const bars = Mixture.alphaBar(name);
          g.strokeStyle = g.fillStyle = tint(color);
          g.lineWidth = 2.2;
          g.setLineDash(dash);
          g.beginPath();
          bars.forEach((bar, k) => (k % 5 ? 0 : g.lineTo(...to(k / 1000, bar))));
          g.stroke();
          g.setLineDash([]);
          g.lineWidth = 1;
          const value = Math.max(bars[t], 0).toFixed(3);
          g.fillText(`${name} ${value}`, 510, 60 + 26 * row);
          said.push(`${name} ${value}`);
        });
        return `Share of the data's variance that is left at time ${t} of 1000: ${said.join(", ")}`;
      });
    },

    sampler(box) {
      board(box, 640, 344, "Samples by DDIM beside exact samples", {
        steps: { label: "steps", values: [1, 2, 3, 4, 5, 6, 8, 10, 15, 20, 30, 50], start: 4 },
        eta: { label: "eta", min: 0, max: 1, step: 0.1, start: 0 },
      }, (g, { steps, eta }) => {
        const film = walk((x, c) => Mixture.denoise(three, x, c), 500, steps, eta, 11);
        plane(g, 0, 310, `${steps} steps of DDIM, eta ${eta}`).dots(film[film.length - 1], tint("BLUE"));
        plane(g, 330, 310, "exact samples").dots(samples(three, 500, 5), GREY);
        return `500 samples by ${steps} steps of DDIM with eta ${eta}, beside 500 exact samples of three islands`;
      });
    },

    langevin(box) {
      board(box, 640, 344, "Walkers after Langevin steps beside exact samples", {
        h: { label: "step size", values: [0.001, 0.003, 0.01, 0.02, 0.04, 0.06, 0.08], start: 2 },
        steps: { label: "steps", values: [0, 1, 3, 10, 30, 100, 300], start: 5 },
      }, (g, { h, steps }) => {
        const normal = Mixture.normals(21);
        let points = Array.from({ length: 300 }, () => normal().map((z) => 1.6 * z));
        for (let k = 0; k < steps; k++) points = points.map((x) => Mixture.langevin(three, x, h, normal()));
        plane(g, 0, 310, `${steps} steps of size ${h}`).dots(points, tint("ORANGE"));
        plane(g, 330, 310, "exact samples").dots(samples(three, 300, 5), GREY);
        return `300 walkers after ${steps} Langevin steps of size ${h}, beside 300 exact samples of three islands`;
      });
    },

    guidance(box) {
      board(box, 640, 344, "Guided samples beside exact samples of the class", {
        scale: { label: "guidance scale", min: 0, max: 8, step: 0.5, start: 1 },
        kind: { label: "class", choices: ["left", "right", "below"], start: "left" },
      }, (g, { scale, kind }) => {
        const k = ["left", "right", "below"].indexOf(kind);
        const wide = { ...three, std: 0.5 };
        const one = { weights: [1], means: [wide.means[k]], std: wide.std };
        const film = walk(Mixture.guided(wide, one, scale), 400, 25, 0, 31);
        const guided = plane(g, 0, 310, `guided, scale ${scale}`);
        guided.dots(samples(wide, 300, 5), "#BBBBBB");
        guided.dots(film[film.length - 1], tint("GREEN"));
        plane(g, 330, 310, `exact samples of "${kind}"`).dots(samples(one, 400, 7), GREY);
        return `400 samples of the class "${kind}" with guidance scale ${scale}, beside 400 exact samples of it`;
      });
    },
  };

  function begin() {
    const canvas = document.getElementById("front");
    if (canvas) front(canvas);
    for (const box of document.querySelectorAll("[data-play]")) parts[box.dataset.play](box);
    document.body.dataset.playing = "yes";
  }
  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", begin);
  else begin();
})();

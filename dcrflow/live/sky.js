/* The map: Lambert's azimuthal equal-area projection about the middle of what is drawn, north up and east left. */
import { sized } from "./charts.js";
import { css } from "./elements.js";

export const STATES = ["waiting", "running", "complete", "no-overlap", "failed", "damaged"];
const ABOVE = [0, 5, 1, 2, 4, 3];  // what is drawn over what, by state
const rad = Math.PI / 180;
const unit = (ra, dec) => [Math.cos(ra * rad) * Math.cos(dec * rad), Math.sin(ra * rad) * Math.cos(dec * rad), Math.sin(dec * rad)];
const dot = (a, b) => a[0] * b[0] + a[1] * b[1] + a[2] * b[2];

export class Sky {
  constructor(canvas, tip) {
    this.canvas = canvas;
    this.tip = tip;
    this.outlines = { footprints: [], cells: [], tracts: [] };
    this.states = "";
    this.counts = [];
    this.view = null;
    this.listen();
  }
  set(outlines) {
    this.outlines = outlines;
    const corners = [...outlines.footprints.map(f => f[2]), ...outlines.cells.map(c => c[1])].filter(c => c && c.length);
    const sum = [0, 0, 0];
    for (const corner of corners) for (const [ra, dec] of corner) unit(ra, dec).forEach((v, i) => { sum[i] += v; });
    const length = Math.hypot(...sum) || 1, c = sum.map(v => v / length), flat = Math.hypot(c[0], c[1]) || 1;
    this.centre = length > 1e-6 ? c : [1, 0, 0];
    this.east = [-c[1] / flat, c[0] / flat, 0];
    this.north = [-c[2] * c[0] / flat, -c[2] * c[1] / flat, flat];
    const place = points => (points || []).map(p => this.plane(p));
    this.footprints = outlines.footprints.map(f => place(f[2]));
    this.cells = outlines.cells.map(cell => place(cell[1]));
    this.tracts = outlines.tracts.map(t => [t.tract, place(t.corners)]);
    this.view = null;
  }
  update(sky) {
    this.states = sky.footprints;
    this.counts = sky.cells;
    this.draw();
  }
  plane([ra, dec]) {
    const v = unit(ra, dec), k = Math.sqrt(2 / Math.max(1e-6, 1 + dot(v, this.centre)));
    return [-dot(v, this.east) * k, -dot(v, this.north) * k];
  }
  /* What is shown first: all, or what is left without a few that are far away. */
  home(whole = false) {
    const all = [...this.footprints, ...this.cells].flat();
    if (!all.length) return null;
    const range = k => {
      const sorted = all.map(p => p[k]).sort((a, b) => a - b), at = q => sorted[Math.round(q * (sorted.length - 1))];
      const most = [at(0.03), at(0.97)], wide = most[1] - most[0];
      return whole || at(1) - at(0) < 3 * wide ? [at(0), at(1)] : [Math.max(at(0), most[0] - 0.2 * wide), Math.min(at(1), most[1] + 0.2 * wide)];
    };
    const [[x0, x1], [y0, y1]] = [range(0), range(1)];
    const scale = 0.84 * Math.min(this.canvas.clientWidth / (x1 - x0 || 1e-4), this.canvas.clientHeight / (y1 - y0 || 1e-4));
    return { scale, x: (x0 + x1) / 2, y: (y0 + y1) / 2 };
  }
  screen([x, y]) {
    return [(x - this.view.x) * this.view.scale + this.canvas.clientWidth / 2,
      (y - this.view.y) * this.view.scale + this.canvas.clientHeight / 2];
  }
  trace(context, points, close = true) {
    context.beginPath();
    points.forEach((p, i) => i ? context.lineTo(...p) : context.moveTo(...p));
    if (close) context.closePath();
  }
  draw() {
    const context = sized(this.canvas), colours = STATES.map(state => css(`--${state}`));
    this.view = this.view || (this.centre && this.home());
    if (!this.view) {
      context.fillStyle = css("--soft");
      context.fillText("no place on the sky is known yet", 20, 30);
      return;
    }
    this.graticule(context);
    context.lineWidth = 0.8;
    const order = this.footprints.map((_, i) => i).sort((a, b) => ABOVE[+this.states[a] || 0] - ABOVE[+this.states[b] || 0]);
    for (const i of order) {
      const points = this.footprints[i], colour = colours[+this.states[i] || 0];
      this.trace(context, points.map(p => this.screen(p)));
      context.globalAlpha = this.footprints.length > 400 ? 0.5 : 0.42;
      context.fillStyle = context.strokeStyle = colour;
      context.fill();
      context.globalAlpha = 1;
      if (this.footprints.length <= 1000 || +this.states[i]) context.stroke();
    }
    this.cells.forEach((points, i) => {
      const seen = points.map(p => this.screen(p)), counts = this.counts[i] || [];
      this.trace(context, seen);
      context.fillStyle = context.strokeStyle = mixed(counts, colours);
      context.fill();
      context.stroke();
      const all = counts.reduce((a, b) => a + b, 0) || 1, middle = [0, 1].map(k => seen.reduce((a, p) => a + p[k], 0) / seen.length);
      for (const state of [5, 4]) {  // what is wrong: a patch within the cell, never too small to be seen
        if (!counts[state]) continue;
        const side = Math.max(0.3, Math.sqrt(counts[state] / all)), off = state === 5 ? -0.2 : 0.2;
        const wide = Math.abs(seen[0][0] - seen[2 % seen.length][0]) + Math.abs(seen[1 % seen.length][0] - seen[3 % seen.length][0]);
        this.trace(context, seen.map(p => [middle[0] + off * wide * (1 - side) * 0.5 + side * (p[0] - middle[0]), middle[1] + side * (p[1] - middle[1])]));
        context.fillStyle = colours[state];
        context.fill();
      }
    });
    this.outline(context);
  }
  outline(context) {
    context.strokeStyle = context.fillStyle = css("--blue");
    context.lineWidth = 1.2;
    for (const [number, points] of this.tracts) {
      const seen = points.map(p => this.screen(p));
      this.trace(context, seen);
      context.stroke();
      const wide = Math.hypot(seen[0][0] - seen[Math.floor(seen.length / 2)][0], seen[0][1] - seen[Math.floor(seen.length / 2)][1]);
      const inside = seen.map(([x, y]) => [Math.min(this.canvas.clientWidth - 60, Math.max(4, x)), Math.min(this.canvas.clientHeight - 8, Math.max(12, y))]);
      const corner = inside.reduce((a, b) => b[0] + b[1] < a[0] + a[1] ? b : a);
      if (wide > 90) context.fillText(`tract ${number}`, corner[0] + 5, corner[1] + 14);
    }
  }
  /* Lines of equal right ascension and declination. */
  graticule(context) {
    const w = this.canvas.clientWidth, h = this.canvas.clientHeight, across = Math.min(120, Math.max(w, h) / this.view.scale / rad);
    const least = Math.min(120, Math.min(w, h) / this.view.scale / rad);
    const steps = [30, 15, 10, 5, 2, 1, 0.5, 0.2, 0.1, 0.05, 0.02, 0.01, 0.005, 0.002, 0.001];
    const [ra0, dec0] = this.at(w / 2, h / 2), step = steps.find(s => s <= least / 3) || 0.001;
    const digits = Math.max(0, -Math.floor(Math.log10(step) + 1e-9));
    const wide = Math.min(24, Math.ceil(across / step)), cos = Math.max(0.15, Math.cos(dec0 * rad));
    const stepRa = steps.find(s => s <= step / cos * 1.01) || step, digitsRa = Math.max(0, -Math.floor(Math.log10(stepRa) + 1e-9));
    context.strokeStyle = css("--line");
    context.fillStyle = css("--soft");
    context.lineWidth = 1;
    let written = -1000;  // where the last right ascension is written
    for (let i = -wide; i <= wide; i++) {
      const dec = (Math.round(dec0 / step) + i) * step, ra = (Math.round(ra0 / stepRa) + i) * stepRa;
      if (Math.abs(dec) <= 90) {
        const line = [];
        for (let k = -40; k <= 40; k++) line.push(this.screen(this.plane([ra0 + k / 40 * Math.min(170, across / cos), dec])));
        this.trace(context, line, false); context.stroke();
        const left = line.filter(p => p[0] > 0 && p[0] < 60 && p[1] > 24 && p[1] < h - 20)[0];
        if (left) context.fillText(`${dec.toFixed(digits)}°`, 4, left[1] - 3);
      }
      const line = [];
      for (let k = -40; k <= 40; k++) line.push(this.screen(this.plane([ra, Math.max(-90, Math.min(90, dec0 + k / 40 * across))])));
      this.trace(context, line, false); context.stroke();
      const low = line.reduce((a, p) => Math.abs(p[1] - (h - 6)) < Math.abs(a[1] - (h - 6)) ? p : a);
      const label = `${(((ra % 360) + 360) % 360).toFixed(digitsRa)}°`;
      if (low[0] > 44 && low[0] < w - 40 && Math.abs(low[1] - h) < 60 && Math.abs(low[0] - written) > context.measureText(label).width + 8) {
        context.fillText(label, low[0] + 3, h - 5);
        written = low[0];
      }
    }
  }
  /* The position on the sky under a point of the canvas. */
  at(px, py) {
    const x = (px - this.canvas.clientWidth / 2) / this.view.scale + this.view.x, y = (py - this.canvas.clientHeight / 2) / this.view.scale + this.view.y;
    const r2 = Math.min(3.9, x * x + y * y), depth = 1 - r2 / 2, k = Math.sqrt(1 - r2 / 4);
    const v = [0, 1, 2].map(i => depth * this.centre[i] - k * x * this.east[i] - k * y * this.north[i]);
    return [Math.atan2(v[1], v[0]) / rad, Math.asin(Math.max(-1, Math.min(1, v[2]))) / rad];
  }
  listen() {
    const c = this.canvas;
    let drag = null;
    c.addEventListener("wheel", event => {
      if (!this.view) return;
      event.preventDefault();
      const factor = Math.exp(-event.deltaY / 400), { left, top } = c.getBoundingClientRect();
      const x = event.clientX - left - c.clientWidth / 2, y = event.clientY - top - c.clientHeight / 2;
      this.view.x += x / this.view.scale * (1 - 1 / factor);
      this.view.y += y / this.view.scale * (1 - 1 / factor);
      this.view.scale *= factor;
      this.draw();
    }, { passive: false });
    c.addEventListener("pointerdown", event => { drag = [event.clientX, event.clientY]; });
    window.addEventListener("pointerup", () => { drag = null; });
    c.addEventListener("dblclick", () => { if (this.centre) this.view = this.home(true); this.draw(); });
    c.addEventListener("pointerleave", () => { this.tip.hidden = true; });
    c.addEventListener("pointermove", event => {
      if (!this.view) return;
      if (drag) {
        this.view.x -= (event.clientX - drag[0]) / this.view.scale;
        this.view.y -= (event.clientY - drag[1]) / this.view.scale;
        drag = [event.clientX, event.clientY];
        this.draw();
      } else this.point(event);
    });
  }
  point(event) {
    const { left, top } = this.canvas.getBoundingClientRect(), where = [event.clientX - left, event.clientY - top];
    const says = [];
    this.footprints.forEach((points, i) => {
      if (says.length < 6 && inside(where, points.map(p => this.screen(p)))) {
        const [first, second] = this.outlines.footprints[i], [one, two] = this.kind === "coadds" ? ["tract", "patch"] : ["visit", "detector"];
        says.push(`${one} ${first} ${two} ${second}: ${word(STATES[+this.states[i] || 0])}`);
      }
    });
    const cell = this.cells.findIndex(points => inside(where, points.map(p => this.screen(p))));
    if (cell >= 0) says.push(...(this.counts[cell] || []).map((n, i) => n ? `${n} ${word(STATES[i])}` : "").filter(Boolean));
    this.tip.hidden = !says.length;
    this.tip.textContent = says.join(" · ");
    this.tip.style.left = `${Math.min(event.clientX + 14, window.innerWidth - 310)}px`;
    this.tip.style.top = `${event.clientY + 14}px`;
  }
}
export const word = state => state.replace("-", " ");
function inside([x, y], polygon) {
  let is = false;
  for (let i = 0, j = polygon.length - 1; i < polygon.length; j = i++) {
    const [xi, yi] = polygon[i], [xj, yj] = polygon[j];
    if ((yi > y) !== (yj > y) && x < (xj - xi) * (y - yi) / (yj - yi) + xi) is = !is;
  }
  return is;
}
/* The colours of what goes well in a cell, each by how many there are. */
function mixed(counts, colours) {
  const good = counts.slice(0, 4), sum = good.reduce((a, b) => a + b, 0), rgb = [0, 0, 0];
  if (!sum) return colours[counts[4] ? 4 : 5] || colours[0];
  good.forEach((number, i) => {
    const value = parseInt(colours[i].slice(1), 16);
    [value >> 16, (value >> 8) & 255, value & 255].forEach((v, k) => { rgb[k] += number / sum * v; });
  });
  return `rgb(${rgb.map(Math.round)})`;
}

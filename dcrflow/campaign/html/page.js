"use strict";
const facts = JSON.parse(document.getElementById("facts").textContent);
const rows = facts.rows, made = rows.filter(r => r.status === "complete");
const $ = id => document.getElementById(id);
const css = name => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const total = r => (r.seconds || {})["submission to end"] || 0;
const fixed = (value, digits) => value == null ? "–" : value.toFixed(digits);
const label = r => `visit ${r.visit} detector ${r.detector}`;

function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes))
    if (name === "style") made.style.cssText = value;  // the page's policy lets no attribute do this
    else made.setAttribute(name, value);
  made.append(...children);
  return made;
}
function table(heads, lines, numeric = []) {
  const cell = (tag, content, i) => element(tag, numeric.includes(i) ? { class: "n" } : {}, content);
  return element("table", {}, element("thead", {}, element("tr", {}, ...heads.map((h, i) => cell("th", h, i)))),
    element("tbody", {}, ...lines.map(l => element("tr", {}, ...l.map((c, i) => cell("td", c, i))))));
}
function quantile(values, q) {
  const sorted = values.filter(v => v != null).sort((a, b) => a - b);
  return sorted.length ? sorted[Math.min(sorted.length - 1, Math.floor(q * sorted.length))] : null;
}
/* Viridis, from seven of its colours. */
const stops = [[68, 1, 84], [68, 57, 131], [49, 104, 142], [33, 145, 140], [53, 183, 121], [144, 215, 67], [253, 231, 37]];
function viridis(t) {
  const x = Math.max(0, Math.min(1, t)) * 6, i = Math.min(5, Math.floor(x)), f = x - i;
  return stops[i].map((a, k) => Math.round(a + f * (stops[i + 1][k] - a)));
}

/* Summary */
$("store").textContent = facts.store;
const count = name => rows.filter(r => r.status === name).length;
const tile = (value, name, kind = "") =>
  $("counts").append(element("div", { class: "tile" }, element("b", { class: kind }, String(value)), element("span", {}, name)));
for (const name of ["complete", "no-overlap", "failed", "missing"])
  if (count(name) || name === "complete") tile(count(name).toLocaleString("en"), name, name);
const damaged = made.filter(r => r.damage);
if (damaged.length) tile(damaged.length.toLocaleString("en"), "without what is damaged", "damaged");
tile(new Set(rows.map(r => r.visit)).size.toLocaleString("en"), "visits");
if (made.length) {
  tile(fixed(100 * made.reduce((s, r) => s + r.coverage, 0) / made.length, 1) + " %", "mean coverage");
  tile(fixed(quantile(made.map(r => r.sigma), 0.5), 2) + " nJy", "median noise");
  tile(`${fixed(quantile(made.map(r => r.zenith), 0), 0)}–${fixed(quantile(made.map(r => r.zenith), 1), 0)}°`, "zenith angle");
}
for (const note of facts.notes) $("notes").append(element("p", {}, note));

/* The sky: a tangent plane about the mean of all corners */
const rad = Math.PI / 180;
const placed = made.filter(r => r.corners);
const unit = ([ra, dec]) => [Math.cos(ra * rad) * Math.cos(dec * rad), Math.sin(ra * rad) * Math.cos(dec * rad), Math.sin(dec * rad)];
const sum = [0, 0, 0];
for (const r of placed) for (const c of r.corners) unit(c).forEach((v, i) => { sum[i] += v; });
const length = Math.hypot(...sum) || 1, centre = sum.map(v => v / length), flat = Math.hypot(centre[0], centre[1]) || 1;
const east = [-centre[1] / flat, centre[0] / flat, 0];
const north = [-centre[2] * centre[0] / flat, -centre[2] * centre[1] / flat, flat];
const dot = (a, b) => a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
function plane(corner) {
  const v = unit(corner), depth = Math.max(0.05, dot(v, centre));
  return [-dot(v, east) / depth, -dot(v, north) / depth];
}
for (const r of placed) r.where = r.corners.map(plane);
for (const t of facts.tracts) {
  t.where = t.corners.map(plane);
  for (const p of t.patches) p.where = p.corners.map(plane);
}
const colours = {
  noise: { name: "noise, nJy", cells: r => r.noise, digits: 2 },
  coverage: { name: "coverage, %", cells: r => r.cells, digits: 0 },
  zenith: { name: "zenith angle, deg", value: r => r.zenith, digits: 1 },
  spread: { name: "DCR over the band, pixels", value: r => r.spread, digits: 2 },
  time: { name: "time, s", value: total, digits: 1 },
};
for (const [key, c] of Object.entries(colours)) {
  const values = c.value ? made.map(c.value) : made.flatMap(r => c.cells(r).flat());
  c.range = key === "coverage" ? [0, 100] : [quantile(values, 0.01), quantile(values, 0.99)];
  if (c.range[0] != null && (key !== "time" || c.range[1] > 0)) $("colour").append(element("option", { value: key }, c.name));
}
const sky = $("sky"), tip = $("tip");
let view = null;
function home() {
  const all = placed.flatMap(r => r.where);
  if (!all.length) return null;
  const x = all.map(p => p[0]), y = all.map(p => p[1]);
  const low = v => v.reduce((a, b) => Math.min(a, b)), high = v => v.reduce((a, b) => Math.max(a, b));
  const span = [high(x) - low(x), high(y) - low(y)];
  const scale = 0.88 * Math.min(sky.clientWidth / span[0], sky.clientHeight / span[1]);
  return { scale, x: (high(x) + low(x)) / 2, y: (high(y) + low(y)) / 2 };
}
const toScreen = ([x, y]) => [(x - view.x) * view.scale + sky.clientWidth / 2, (y - view.y) * view.scale + sky.clientHeight / 2];
function sized(canvas) {
  const ratio = window.devicePixelRatio || 1, context = canvas.getContext("2d");
  canvas.width = canvas.clientWidth * ratio;
  canvas.height = canvas.clientHeight * ratio;
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  return context;
}
function trace(context, points) {
  context.beginPath();
  points.forEach((p, i) => i ? context.lineTo(...p) : context.moveTo(...p));
  context.closePath();
}
/* The cells of a map as a small picture, top row first; transparent where there are no data. */
function picture(row, key) {
  row.pictures = row.pictures || {};
  if (row.pictures[key]) return row.pictures[key];
  const c = colours[key], cells = c.cells(row), n = Math.max(1, cells.length);
  const canvas = element("canvas", { width: n, height: n }), context = canvas.getContext("2d"), image = context.createImageData(n, n);
  cells.forEach((line, j) => line.forEach((value, i) => {
    const shown = value != null && row.cells.length > 0 && row.cells[j][i] > 0;
    const rgb = shown ? viridis((value - c.range[0]) / (c.range[1] - c.range[0] || 1)) : [0, 0, 0];
    image.data.set([...rgb, shown ? 235 : 0], 4 * ((n - 1 - j) * n + i));
  }));
  context.putImageData(image, 0, 0);
  return row.pictures[key] = canvas;
}
function drawSky() {
  const context = sized(sky), key = $("colour").value, c = colours[key];
  if (!view) view = home();
  if (!view || !c) {
    context.fillStyle = css("--soft");
    context.fillText("no template with a place on the sky", 20, 30);
    return;
  }
  for (const r of placed) {
    const p = r.where.map(toScreen);
    if (c.cells) {
      const small = picture(r, key), n = small.width;  // corners: lower left, lower right, upper right, upper left
      context.save();
      context.imageSmoothingEnabled = false;
      context.transform((p[2][0] - p[3][0]) / n, (p[2][1] - p[3][1]) / n, (p[0][0] - p[3][0]) / n, (p[0][1] - p[3][1]) / n, ...p[3]);
      context.drawImage(small, 0, 0);
      context.restore();
    } else {
      const value = c.value(r);
      trace(context, p);
      context.fillStyle = value == null ? css("--soft")
        : `rgb(${viridis((value - c.range[0]) / (c.range[1] - c.range[0] || 1))} / .8)`;
      context.fill();
    }
    if (placed.length < 800 || r === found) {
      trace(context, p);
      context.lineWidth = r === found ? 3 : 0.7;
      context.strokeStyle = css(r === found ? "--failed" : "--text");
      context.stroke();
    }
  }
  context.font = "12px system-ui, sans-serif";
  for (const t of facts.tracts) {
    context.strokeStyle = css("--soft");
    context.fillStyle = css("--text");
    for (const q of t.patches) {
      const p = q.where.map(toScreen);
      context.lineWidth = 0.6;
      trace(context, p);
      context.stroke();
      const side = Math.abs(p[0][0] - p[4][0]);
      if (side > 44) context.fillText(q.patch, (p[0][0] + p[4][0]) / 2 - 4, (p[0][1] + p[4][1]) / 2 + 4);
    }
    const p = t.where.map(toScreen);
    context.lineWidth = 1.6;
    context.strokeStyle = css("--blue");
    trace(context, p);
    context.stroke();
    context.fillStyle = css("--blue");
    const corner = p.reduce((a, b) => b[0] + b[1] < a[0] + a[1] ? b : a);
    context.fillText(`tract ${t.tract}`, corner[0] + 5, corner[1] + 14);
  }
  const line = element("i", { style: `background:linear-gradient(90deg,${stops.map(s => `rgb(${s})`)})` });
  $("scale").replaceChildren(fixed(c.range[0], c.digits), line, fixed(c.range[1], c.digits));
}
function inside([x, y], polygon) {
  let odd = false;
  polygon.forEach(([ax, ay], i) => {
    const [bx, by] = polygon[(i + 1) % polygon.length];
    if ((ay > y) !== (by > y) && x < (bx - ax) * (y - ay) / (by - ay) + ax) odd = !odd;
  });
  return odd;
}
const at = event => placed.filter(r => inside([event.offsetX, event.offsetY], r.where.map(toScreen)));
function show(event, text) {
  tip.hidden = !text;
  if (!text) return;
  tip.textContent = text;
  tip.style.left = `${Math.min(event.clientX + 14, innerWidth - 340)}px`;
  tip.style.top = `${event.clientY + 14}px`;
}
let drag = null, found = null;
sky.addEventListener("pointerdown", e => { drag = { x: e.offsetX, y: e.offsetY, moved: false }; sky.setPointerCapture(e.pointerId); });
sky.addEventListener("pointermove", e => {
  if (!view) return;
  if (drag) {
    view.x -= (e.offsetX - drag.x) / view.scale;
    view.y -= (e.offsetY - drag.y) / view.scale;
    drag = { x: e.offsetX, y: e.offsetY, moved: drag.moved || Math.hypot(e.movementX, e.movementY) > 1 };
    drawSky();
    return;
  }
  const under = at(e);
  show(e, under.slice(-4).map(r => `${label(r)}: coverage ${fixed(100 * r.coverage, 1)} %, noise ${fixed(r.sigma, 2)} nJy`).join("; ")
    + (under.length > 4 ? ` and ${under.length - 4} more` : ""));
});
sky.addEventListener("pointerup", e => {
  const clicked = drag && !drag.moved ? at(e).pop() : null;
  drag = null;
  if (clicked) find(clicked);
});
sky.addEventListener("pointerleave", () => { tip.hidden = true; });
sky.addEventListener("dblclick", () => { view = null; drawSky(); });
sky.addEventListener("wheel", e => {
  if (!view) return;
  e.preventDefault();
  const factor = Math.exp(-e.deltaY / 400), dx = (e.offsetX - sky.clientWidth / 2) / view.scale, dy = (e.offsetY - sky.clientHeight / 2) / view.scale;
  view.x += dx * (1 - 1 / factor);
  view.y += dy * (1 - 1 / factor);
  view.scale *= factor;
  drawSky();
}, { passive: false });
$("colour").addEventListener("change", drawSky);

/* DCR: an arrow a visit */
const byVisit = new Map();
for (const r of made) if (r.direction != null && r.spread != null) byVisit.set(r.visit, [...(byVisit.get(r.visit) || []), r]);
const arrows = [...byVisit].map(([visit, members]) => {
  const mean = f => members.reduce((s, r) => s + f(r), 0) / members.length;
  const angle = Math.atan2(mean(r => Math.sin(r.direction * rad)), mean(r => Math.cos(r.direction * rad)));
  return { visit, angle, spread: mean(r => r.spread), zenith: mean(r => r.zenith) };
});
function drawDcr() {
  const canvas = $("dcr"), context = sized(canvas), w = canvas.clientWidth, h = canvas.clientHeight;
  if (!arrows.length) { context.fillStyle = css("--soft"); context.fillText("none recorded", 20, 30); return; }
  const most = arrows.reduce((a, r) => Math.max(a, r.spread), 0) || 1, reach = Math.min(w, h) / 2 - 26, x0 = w / 2, y0 = h / 2;
  const step = [0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50].find(s => most / s <= 4) || 100;
  context.font = "12px system-ui, sans-serif";
  context.strokeStyle = css("--line");
  context.fillStyle = css("--soft");
  for (let ring = step; ring <= most * 1.001; ring += step) {
    context.beginPath();
    context.arc(x0, y0, ring / most * reach, 0, 7);
    context.stroke();
    context.fillText(`${+ring.toFixed(1)} px`, x0 + 3, y0 + ring / most * reach - 3);
  }
  context.fillText("N", x0 - 4, 14);
  context.fillText("E", x0 - reach - 22, y0 + 4);
  context.globalAlpha = Math.max(0.15, Math.min(1, 60 / arrows.length));
  const angles = arrows.map(a => a.zenith), low = quantile(angles, 0), high = quantile(angles, 1);
  for (const a of arrows) {
    const size = a.spread / most * reach, ux = -Math.sin(a.angle), uy = -Math.cos(a.angle);
    const tipX = x0 + ux * size, tipY = y0 + uy * size;
    a.tip = [tipX, tipY];
    context.strokeStyle = context.fillStyle = `rgb(${viridis(0.85 * (a.zenith - low) / (high - low || 1))})`;
    context.lineWidth = 1.8;
    context.beginPath();
    context.moveTo(x0, y0);
    context.lineTo(tipX, tipY);
    context.stroke();
    context.beginPath();
    context.moveTo(tipX + 3 * ux, tipY + 3 * uy);
    context.lineTo(tipX - 6 * ux - 4 * uy, tipY - 6 * uy + 4 * ux);
    context.lineTo(tipX - 6 * ux + 4 * uy, tipY - 6 * uy - 4 * ux);
    context.fill();
    if (arrows.length <= 12) {
      context.fillStyle = css("--text");
      context.fillText(a.visit, tipX + 8 * ux - 12, tipY + 12 * uy + 4);
    }
  }
  context.globalAlpha = 1;
}
$("dcr").addEventListener("pointermove", e => {
  const near = arrows.map(a => [Math.hypot(e.offsetX - a.tip[0], e.offsetY - a.tip[1]), a]).sort((a, b) => a[0] - b[0])[0];
  show(e, near && near[0] < 14 ? `visit ${near[1].visit}: zenith angle ${fixed(near[1].zenith, 1)}°, DCR ${fixed(near[1].spread, 2)} px` : "");
});
$("dcr").addEventListener("pointerleave", () => { tip.hidden = true; });

/* Time */
const steps = {};
for (const r of made) for (const [name, s] of Object.entries(r.seconds || {})) (steps[name] = steps[name] || []).push(s);
const names = Object.keys(steps);
if (names.length) {
  const sums = names.map(n => steps[n].reduce((a, b) => a + b, 0)), top = Math.max(...sums);
  $("time").append(table(["", "", "total", "median", "95 %"], names.map((n, i) => {
    const bar = element("div", { class: "times" }, element("i", { style: `width:${100 * sums[i] / top}%` }));
    return [n, bar, `${fixed(sums[i], 1)} s`, `${fixed(quantile(steps[n], 0.5), 2)} s`, `${fixed(quantile(steps[n], 0.95), 2)} s`];
  }), [2, 3, 4]));
  $("time").prepend(element("p", { class: "hint" }, "Of each template, as the journal of its run has it; from submission to end it also waits for workers."));
  const patches = new Map();
  for (const r of made) for (const [p, s] of Object.entries(r.reading || {})) {
    const one = patches.get(p) || { n: 0, s: 0 };
    patches.set(p, { n: one.n + 1, s: one.s + s });
  }
  const slow = [...patches].sort((a, b) => b[1].s / b[1].n - a[1].s / a[1].n).slice(0, 8);
  if (slow.length) $("time").append(table(["slowest to read: tract/patch", "templates", "each"], slow.map(([p, o]) => [p, String(o.n), `${fixed(o.s / o.n, 3)} s`]), [1, 2]));
} else {
  $("time").append(element("p", { class: "hint" }, "No timings are recorded with these templates."));
}

/* What is not complete, by reason */
const rest = rows.filter(r => r.status !== "complete")
  .concat(damaged.map(r => ({ ...r, status: "damaged", error: r.damage.join("; ") })));
if (!rest.length) $("failures-section").remove();
const reasons = new Map();
for (const r of rest) {
  const words = r.error || (r.status === "missing" ? "asked for, not there yet" : "");
  const reason = `${r.status}|${words.replace(/visit \d+ detector \d+:? ?/g, "").replace(/-?\d+(\.\d+)?/g, "…")}`;
  reasons.set(reason, [...(reasons.get(reason) || []), { ...r, words }]);
}
for (const members of [...reasons.values()].sort((a, b) => (b[0].status === "failed") - (a[0].status === "failed") || b.length - a.length)) {
  const details = element("details", rest.length <= 12 ? { open: "" } : {},
    element("summary", {}, element("b", { class: members[0].status }, `${members.length} ${members[0].status}`), ` ${members[0].words.slice(0, 160)}`));
  let shown = 0;
  const list = element("div"), more = element("button", {}, "more");
  const grow = () => {
    list.append(table(["visit", "detector", "reason"], members.slice(shown, shown + 100).map(r => [String(r.visit), String(r.detector), r.words]), [0, 1]));
    shown += 100;
    more.hidden = shown >= members.length;
  };
  details.addEventListener("toggle", () => { if (details.open && !shown) grow(); });
  if (details.open) grow();
  more.addEventListener("click", grow);
  details.append(list, more);
  $("failures").append(details);
}

/* Gallery: a page at a time */
const PER_PAGE = 48;
let page = 0, chosen = made;
const svg = (tag, attributes) => {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
};
const longest = Math.max(1e-9, made.reduce((a, r) => Math.max(a, r.spread || 0), 0));
function arrow(r) {
  const [x, y] = r.arrow, own = Math.hypot(x, y), size = 22 * own / longest, ux = x / own, uy = -y / own;
  const picture = svg("svg", { viewBox: "0 0 100 100" }), tipX = 18 + ux * size / 2, tipY = 82 + uy * size / 2;
  picture.append(svg("circle", { cx: 18, cy: 82, r: 15, fill: "#0008" }),
    svg("line", { x1: 18 - ux * size / 2, y1: 82 - uy * size / 2, x2: tipX, y2: tipY, stroke: "#ffb000", "stroke-width": 1.6 }),
    svg("path", { d: `M${tipX + 3 * ux},${tipY + 3 * uy} L${tipX - 2 * ux - 3 * uy},${tipY - 2 * uy + 3 * ux} L${tipX - 2 * ux + 3 * uy},${tipY - 2 * uy - 3 * ux}Z`, fill: "#ffb000" }));
  return picture;
}
function card(r) {
  const box = element("div", { class: "picture" });
  if (r.image) box.append(element("img", { src: r.image, alt: label(r), loading: "lazy" }));
  if (r.arrow && r.spread > 0) box.append(arrow(r));
  const bar = element("div", { class: "bar", title: "coverage" }, element("i", { style: `width:${100 * r.coverage}%` }));
  const seconds = total(r) ? `, ${fixed(total(r), 1)} s` : "";
  return element("figure", r === found ? { class: "found" } : {}, box, bar, element("figcaption", { title: `patches ${r.patches}` },
    element("b", {}, `${r.visit} / ${r.detector} ${r.band || ""}`),
    element("span", {}, `${fixed(100 * r.coverage, 1)} %, ${fixed(r.sigma, 2)} nJy, z ${fixed(r.zenith, 0)}°, DCR ${fixed(r.spread, 1)} px${seconds}`)));
}
function choose() {
  const words = $("find").value.trim().split(/\s+/).filter(Boolean), key = $("order").value;
  const text = r => ` ${label(r)} ${r.visit}/${r.detector} ${(r.patches || "").replaceAll(",", " ")} `;
  chosen = made.filter(r => words.every(w => text(r).includes(` ${w} `) || text(r).includes(w)));
  const value = { coverage: r => r.coverage, sigma: r => -r.sigma, zenith: r => -r.zenith, spread: r => -r.spread, time: r => -total(r) }[key];
  if (value) chosen = [...chosen].sort((a, b) => value(a) - value(b));
  page = 0;
  drawGallery();
}
function drawGallery() {
  const pages = Math.max(1, Math.ceil(chosen.length / PER_PAGE));
  page = Math.max(0, Math.min(page, pages - 1));
  $("gallery").replaceChildren(...chosen.slice(page * PER_PAGE, (page + 1) * PER_PAGE).map(card));
  $("where").textContent = chosen.length ? `${page * PER_PAGE + 1}–${Math.min(chosen.length, (page + 1) * PER_PAGE)} of ${chosen.length}` : "none";
}
function find(row) {
  found = row;
  if (!chosen.includes(row)) { $("find").value = ""; choose(); }
  page = Math.floor(chosen.indexOf(row) / PER_PAGE);
  drawGallery();
  drawSky();
  document.querySelector("figure.found")?.scrollIntoView({ behavior: "smooth", block: "center" });
}
$("find").addEventListener("input", choose);
$("order").addEventListener("change", choose);
$("before").addEventListener("click", () => { page -= 1; drawGallery(); });
$("after").addEventListener("click", () => { page += 1; drawGallery(); });

/* Provenance */
const several = (title, found, show) => {
  for (const { value, number } of found)
    $("provenance").append(element("details", found.length === 1 ? { open: "" } : {},
      element("summary", {}, `${title} of ${number.toLocaleString("en")} detector-visits`), show(value)));
};
const plain = value => typeof value === "string" ? value : JSON.stringify(value);
const pairs = object => table(["key", "value"], Object.entries(object).map(([k, v]) => [k, plain(v)]));
several("coadds", facts.inputs, value => element("pre", {}, value));
several("configuration", facts.configs, pairs);
several("software", facts.software, pairs);
$("provenance").append(element("p", { class: "hint" }, `Written by dcrflow ${facts.version}.`));

function draw() { drawSky(); drawDcr(); }
window.addEventListener("resize", draw);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
drawGallery();
draw();
document.body.dataset.ready = String(rows.length);

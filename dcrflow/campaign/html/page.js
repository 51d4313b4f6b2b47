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
  const most = arrows.reduce((a, r) => Math.max(a, r.spread), 0) || 1, reach = Math.max(4, Math.min(w, h) / 2 - 26), x0 = w / 2, y0 = h / 2;
  const step = [0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50].find(s => most / s <= 4) || 100;
  context.strokeStyle = css("--line");
  context.fillStyle = css("--soft");
  const write = labeller(context, [0, 0, w, h]), rings = [];
  for (let ring = step; ring <= most * 1.001; ring += step) {
    context.beginPath();
    context.arc(x0, y0, ring / most * reach, 0, 7);
    context.stroke();
    rings.push([`${+ring.toFixed(1)} px`, x0 + 3, y0 + ring / most * reach - 3]);
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
  }
  context.globalAlpha = 1;
  const far = [...arrows].sort((a, b) => b.spread - a.spread).slice(0, 12);
  if (arrows.length <= 12) for (const a of far) write(String(a.visit), a.tip[0] - 8 * Math.sin(a.angle) - 12, a.tip[1] - 12 * Math.cos(a.angle) + 4, css("--text"));
  for (const [words, x, y] of rings) write(words, x, y, css("--soft"));
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
  $("time").prepend(element("p", { class: "hint" }, "Of each template, as the journal of its run has it: seconds on the worker. Patches are read several at a time, so their seconds add up to more than the template took."));
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

/* What is not complete, and what is damaged: each cause once */
const rest = rows.filter(r => r.status !== "complete")
  .map(r => ({ ...r, words: r.error || (r.status === "missing" ? "requested, not made yet" : "") }))
  .concat(damaged.flatMap(r => r.damage.map(words => ({ ...r, status: "damaged", words }))));
if (!rest.length) $("failures-section").remove();
const causes = new Map();
for (const r of rest) {
  const cause = `${r.status}|${r.words.replace(/visit \d+ detector \d+:? ?/g, "").replace(/-?\d+(\.\d+)?/g, "…")}`;
  const members = causes.get(cause) || new Map();
  const one = members.get(label(r) + (r.visit == null ? members.size : "")) || { ...r, also: 0 };
  if (one.words !== r.words) one.also += 1;
  causes.set(cause, members.set(label(r) + (r.visit == null ? members.size : ""), one));
}
const order = ["failed", "damaged", "no-overlap", "missing"];
const sorted = [...causes.values()].map(m => [...m.values()])
  .sort((a, b) => order.indexOf(a[0].status) - order.indexOf(b[0].status) || b.length - a.length);
const EXAMPLES = 5;
function examples(members) {
  const visits = new Map();
  for (const r of members.slice(0, EXAMPLES)) visits.set(r.visit, [...(visits.get(r.visit) || []), r.detector]);
  const words = [...visits].map(([v, d]) => v == null ? "a row of the table" : `visit ${v} detector${d.length > 1 ? "s" : ""} ${d.join(", ")}`);
  return words.join("; ") + (members.length > EXAMPLES ? "; ..." : "");
}
for (const members of sorted) {
  const [first] = members, same = members.every(r => r.words === first.words), counted = members.some(r => r.also);
  const summary = [element("b", { class: first.status }, `${members.length.toLocaleString("en")} ${STATES[first.status] || first.status}`),
    ` ${first.words.slice(0, 240)} `, element("span", { class: "hint" }, examples(members))];
  if (members.length <= EXAMPLES && same && !counted) {
    $("failures").append(element("p", { class: "cause" }, ...summary));
    continue;
  }
  const details = element("details", {}, element("summary", {}, ...summary));
  let shown = 0;
  const list = element("div", { class: "wide-table" }), more = element("button", {}, "more");
  const grow = () => {
    const lines = members.slice(shown, shown + 100).map(r => {
      const named = [r.visit == null ? "–" : String(r.visit), r.visit == null ? "–" : String(r.detector)];
      return [...named, ...(counted ? [String(1 + r.also)] : []), same ? "" : r.words];
    });
    list.append(table(["visit", "detector", ...(counted ? ["like this"] : []), same ? "" : "reason"], lines, counted ? [0, 1, 2] : [0, 1]));
    shown += 100;
    more.hidden = shown >= members.length;
  };
  details.addEventListener("toggle", () => { if (details.open && !shown) grow(); });
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
  const lines = [`${fixed(100 * r.coverage, 1)} %, ${fixed(r.sigma, 2)} nJy`, `z ${fixed(r.zenith, 0)}°, DCR ${fixed(r.spread, 1)} px${seconds}`];
  if (r.damage) box.append(element("i", { class: "badge", title: r.damage.join("\n") }, "!"));
  const all = `${label(r)} band ${r.band || "?"}: ${lines.join(", ")}; patches ${r.patches}`;
  return element("figure", r === found ? { class: "found" } : {}, box, bar, element("figcaption", { title: all },
    element("b", {}, `${r.visit} / ${r.detector} ${r.band || ""}`), ...lines.map(line => element("span", {}, line))));
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
  about(row);
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
    $("provenance").append(element("details", {},
      element("summary", {}, `${title} of ${number.toLocaleString("en")} detector-visits`), show(value)));
};
const plain = value => typeof value === "string" ? value : JSON.stringify(value);
const pairs = object => element("div", { class: "wide-table" },
  table(["key", "value"], Object.entries(object).map(([k, v]) => [k, plain(v)])));
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

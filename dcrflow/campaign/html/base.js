const facts = JSON.parse(document.getElementById("facts").textContent);
const rows = facts.rows, made = rows.filter(r => r.status === "complete");
const total = r => (r.seconds || {})["begin to end"] || 0;
const fixed = (value, digits) => value == null ? "–" : value.toFixed(digits);
const label = r => r.visit == null ? "a row of the table" : `visit ${r.visit} detector ${r.detector}`;
const STATES = { "no-overlap": "no overlap" };  // what a state is called, where it is not called as in the store

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
const all = facts.summary;  // numbers of all detector-visits, where the rows are some of them
const count = name => all ? all.counts[name] || 0 : rows.filter(r => r.status === name).length;
const tile = (value, name, kind = "") =>
  $("counts").append(element("div", { class: "tile" }, element("b", { class: kind }, String(value)), element("span", {}, name)));
for (const name of ["complete", "no-overlap", "failed", "missing"])
  if (count(name) || name === "complete") tile(count(name).toLocaleString("en"), STATES[name] || name, name);
const damaged = made.filter(r => r.damage);
const numDamaged = all ? all.damaged : damaged.length;
if (numDamaged) tile(numDamaged.toLocaleString("en"), "damaged", "damaged");
tile((all ? all.visits : new Set(rows.map(r => r.visit).filter(v => v != null)).size).toLocaleString("en"), "visits");
if (made.length) {
  const covered = all && all.coverage != null ? all.coverage : made.reduce((s, r) => s + r.coverage, 0) / made.length;
  tile(fixed(100 * covered, 1) + " %", "mean coverage");
  tile(fixed(quantile(made.map(r => r.sigma), 0.5), 2) + " nJy", "median noise");
  tile(`${fixed(quantile(made.map(r => r.zenith), 0), 0)}–${fixed(quantile(made.map(r => r.zenith), 1), 0)}°`, "zenith angle");
}
for (const note of facts.notes) $("notes").append(element("p", {}, note));

const rad = Math.PI / 180;
function sized(canvas) {
  const ratio = window.devicePixelRatio || 1, context = canvas.getContext("2d");
  canvas.width = canvas.clientWidth * ratio;
  canvas.height = canvas.clientHeight * ratio;
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.font = "12px system-ui, sans-serif";
  return context;
}

/* The sky: a tangent plane about the mean of all corners */
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
/* Right ascension (within 180 degrees of the middle's) and declination of a place on the plane. */
const middle = Math.atan2(centre[1], centre[0]) / rad;
function position([x, y]) {
  const v = centre.map((c, i) => c - x * east[i] - y * north[i]), size = Math.hypot(...v);
  const ra = Math.atan2(v[1], v[0]) / rad;
  return [middle + ((ra - middle + 540) % 360) - 180, Math.asin(v[2] / size) / rad];
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
const EDGE = { left: 58, right: 8, top: 8, bottom: 26 };  // pixels around the map, for the axes
let view = null;
const inner = () => ({ width: sky.clientWidth - EDGE.left - EDGE.right, height: sky.clientHeight - EDGE.top - EDGE.bottom });
function home() {
  const all = placed.flatMap(r => r.where);
  if (!all.length) return null;
  const x = all.map(p => p[0]), y = all.map(p => p[1]), { width, height } = inner();
  const low = v => v.reduce((a, b) => Math.min(a, b)), high = v => v.reduce((a, b) => Math.max(a, b));
  const span = [high(x) - low(x), high(y) - low(y)];
  const scale = 0.88 * Math.min(width / span[0], height / span[1]);
  return { scale, x: (high(x) + low(x)) / 2, y: (high(y) + low(y)) / 2 };
}
const origin = () => [EDGE.left + inner().width / 2, EDGE.top + inner().height / 2];
function toScreen([x, y]) {
  const [x0, y0] = origin();
  return [(x - view.x) * view.scale + x0, (y - view.y) * view.scale + y0];
}
function toPlane([x, y]) {
  const [x0, y0] = origin();
  return [(x - x0) / view.scale + view.x, (y - y0) / view.scale + view.y];
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
    image.data.set([...rgb, shown ? 255 : 0], 4 * ((n - 1 - j) * n + i));
  }));
  context.putImageData(image, 0, 0);
  return row.pictures[key] = canvas;
}
const SEEN_THROUGH = 0.62;  // of a footprint: where several overlap, all are seen
function drawFootprint(context, r, key) {
  const c = colours[key], p = r.where.map(toScreen);
  context.globalAlpha = SEEN_THROUGH;
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
    context.fillStyle = value == null ? css("--soft") : `rgb(${viridis((value - c.range[0]) / (c.range[1] - c.range[0] || 1))})`;
    context.fill();
  }
  context.globalAlpha = 1;
  if (placed.length < 800 || r === found) {
    trace(context, p);
    context.lineWidth = r === found ? 3 : 0.7;
    context.strokeStyle = css(r === found ? "--failed" : "--text");
    context.stroke();
  }
}
/* A mark on a template that lacks what is damaged in the coadds. */
function drawBadge(context, r, size) {
  const p = r.where.map(toScreen), x = p.reduce((s, q) => s + q[0], 0) / p.length, y = p.reduce((s, q) => s + q[1], 0) / p.length;
  context.beginPath();
  context.arc(x, y, size, 0, 7);
  context.fillStyle = css("--badge");
  context.fill();
  context.lineWidth = 1.5;
  context.strokeStyle = css("--card");
  context.stroke();
  if (size < 7) return;
  context.font = "bold 12px system-ui, sans-serif";
  context.textAlign = "center";
  context.fillStyle = "#fff";
  context.fillText("!", x, y + 4.5);
  context.textAlign = "start";
  context.font = "12px system-ui, sans-serif";
}
/* Text with a halo, kept within the map; left out where it would lie on another. */
function labeller(context, [x0, y0, x1, y1]) {
  const taken = [];
  return (words, x, y, colour) => {
    const wide = context.measureText(words).width;
    if (x + wide < x0 || x > x1 || y < y0 || y - 12 > y1) return;
    const left = Math.max(x0 + 3, Math.min(x, x1 - wide - 3)), base = Math.max(y0 + 13, Math.min(y, y1 - 5));
    const box = [left - 3, base - 12, left + wide + 3, base + 4];
    if (taken.some(b => box[0] < b[2] && b[0] < box[2] && box[1] < b[3] && b[1] < box[3])) return;
    taken.push(box);
    context.lineWidth = 3.5;
    context.lineJoin = "round";
    context.strokeStyle = css("--card");
    context.strokeText(words, left, base);
    context.fillStyle = colour;
    context.fillText(words, left, base);
  };
}
const STEPS = [90, 45, 30, 20, 10, 5, 2, 1, 0.5, 0.2, 0.1, 0.05, 0.02, 0.01, 0.005, 0.002, 0.001, 0.0005, 0.0002, 0.0001];
const step = (span, most) => STEPS.find((s, i) => span / (STEPS[i + 1] || 0) > most) || STEPS.at(-1);
const degrees = (value, by) => `${value.toFixed(Math.max(0, -Math.floor(Math.log10(by) + 1e-9)))}°`;
function ends(values) { return [values.reduce((a, b) => Math.min(a, b)), values.reduce((a, b) => Math.max(a, b))]; }
/* Lines of equal right ascension and declination, each with its value at the frame. */
function drawAxes(context) {
  const { width, height } = inner(), right = EDGE.left + width, bottom = EDGE.top + height, rim = [];
  for (let i = 0; i <= 24; i += 1) {
    const x = EDGE.left + width * i / 24, y = EDGE.top + height * i / 24;
    rim.push([x, EDGE.top], [x, bottom], [EDGE.left, y], [right, y]);
  }
  const seen = rim.map(p => position(toPlane(p)));
  const [ra0, ra1] = ends(seen.map(p => p[0]));
  let [dec0, dec1] = ends(seen.map(p => p[1]));
  const pole = [90, -90].find(dec => { const [x, y] = toScreen(plane([0, dec])); return Math.abs(centre[2]) > 0.5 && dec * centre[2] > 0 && x > EDGE.left && x < right && y > EDGE.top && y < bottom; });
  if (pole > 0) dec1 = 90;
  if (pole < 0) dec0 = -90;
  const inDec = step(dec1 - dec0, Math.max(2, height / 70)), inRa = step(ra1 - ra0, Math.max(2, width / 95));
  context.lineWidth = 0.6;
  const line = (points, crossing, words, place) => {
    context.beginPath();
    points.forEach((p, i) => i ? context.lineTo(...p) : context.moveTo(...p));
    context.stroke();
    for (let i = 1; i < points.length; i += 1) {
      const found = crossing(points[i - 1], points[i]);
      if (found != null) { place(words, found); return; }
    }
  };
  const between = (a, b, axis, level) => {
    if ((a[axis] - level) * (b[axis] - level) > 0 || a[axis] === b[axis]) return null;
    return a[1 - axis] + (b[1 - axis] - a[1 - axis]) * (level - a[axis]) / (b[axis] - a[axis]);
  };
  const names = [];
  context.save();
  context.beginPath();
  context.rect(EDGE.left, EDGE.top, width, height);
  context.clip();
  context.strokeStyle = css("--grid");
  const steps = 48;
  for (let n = Math.ceil(ra0 / inRa); n * inRa <= ra1; n += 1) {
    const points = Array.from({ length: steps + 1 }, (_, i) => toScreen(plane([n * inRa, dec0 + (dec1 - dec0) * i / steps])));
    const value = ((n * inRa % 360) + 360) % 360;
    line(points, (a, b) => { const x = between(a, b, 1, bottom); return x > EDGE.left && x < right ? x : null; }, degrees(value, inRa),
      (words, x) => names.push([words, x, bottom + 15, "center"]));
  }
  for (let n = Math.ceil(dec0 / inDec); n * inDec <= dec1; n += 1) {
    const points = Array.from({ length: steps + 1 }, (_, i) => toScreen(plane([ra0 + (ra1 - ra0) * i / steps, n * inDec])));
    line(points, (a, b) => { const y = between(a, b, 0, EDGE.left); return y > EDGE.top && y < bottom ? y : null; }, degrees(n * inDec, inDec),
      (words, y) => names.push([words, EDGE.left - 5, y + 4, "right"]));
  }
  context.restore();
  context.strokeStyle = css("--soft");
  context.lineWidth = 1;
  context.strokeRect(EDGE.left, EDGE.top, width, height);
  context.fillStyle = css("--soft");
  let last = -1e9;
  for (const [words, x, y, align] of names.sort((a, b) => a[1] - b[1])) {
    if (align === "center" && (x - last < 46 || x > right - 30)) continue;
    if (align === "center") last = x;
    context.textAlign = align;
    context.fillText(words, x, y);
  }
  context.textAlign = "right";
  context.fillText("RA", right, bottom + 15);
  context.textAlign = "left";
  context.fillText("Dec", 4, EDGE.top + 11);
  context.textAlign = "start";
}
const LENGTHS = [[10, "10°"], [5, "5°"], [2, "2°"], [1, "1°"], [0.5, "30′"], [1 / 6, "10′"], [1 / 12, "5′"], [1 / 30, "2′"], [1 / 60, "1′"],
  [1 / 120, "30″"], [1 / 360, "10″"], [1 / 720, "5″"], [1 / 1800, "2″"], [1 / 3600, "1″"]];
function drawScaleBar(context) {
  const { width, height } = inner(), x1 = EDGE.left + width - 12, y = EDGE.top + height - 12;
  const [size, words] = LENGTHS.find(([d]) => Math.tan(d * rad) * view.scale < 0.25 * width) || LENGTHS.at(-1);
  const x0 = x1 - Math.tan(size * rad) * view.scale, wide = Math.max(x1 - x0, context.measureText(words).width);
  context.globalAlpha = 0.85;
  context.fillStyle = css("--card");
  context.fillRect(x1 - wide - 6, y - 20, wide + 12, 28);
  context.globalAlpha = 1;
  context.strokeStyle = context.fillStyle = css("--text");
  context.lineWidth = 2;
  context.beginPath();
  context.moveTo(x0, y - 4); context.lineTo(x0, y + 3); context.moveTo(x0, y); context.lineTo(x1, y); context.moveTo(x1, y - 4); context.lineTo(x1, y + 3);
  context.stroke();
  context.textAlign = "center";
  context.fillText(words, (x0 + x1) / 2, y - 7);
  context.textAlign = "start";
}
function drawTracts(context, write) {
  for (const t of facts.tracts) {
    context.strokeStyle = css("--soft");
    context.lineWidth = 0.6;
    for (const q of t.patches) { trace(context, q.where.map(toScreen)); context.stroke(); }
    context.lineWidth = 1.6;
    context.strokeStyle = css("--blue");
    trace(context, t.where.map(toScreen));
    context.stroke();
  }
  for (const t of facts.tracts) {
    const p = t.where.map(toScreen), corner = p.reduce((a, b) => b[0] + b[1] < a[0] + a[1] ? b : a);
    write(`tract ${t.tract}`, corner[0] + 5, corner[1] + 14, css("--blue"));
  }
  for (const t of facts.tracts) for (const q of t.patches) {
    const p = q.where.map(toScreen), x = p.reduce((s, c) => s + c[0], 0) / p.length, y = p.reduce((s, c) => s + c[1], 0) / p.length;
    if (Math.abs(ends(p.map(c => c[0])).reduce((a, b) => a - b)) > 44) write(q.patch, x - 4, y + 4, css("--text"));
  }
}
function drawSky() {
  const context = sized(sky), key = $("colour").value, c = colours[key], { width, height } = inner();
  if (!view) view = home();
  if (!view || !c) {
    context.fillStyle = css("--soft");
    context.fillText("no template with a place on the sky", 20, 30);
    return;
  }
  drawAxes(context);
  context.save();
  context.beginPath();
  context.rect(EDGE.left, EDGE.top, width, height);
  context.clip();
  for (const r of placed) drawFootprint(context, r, key);
  drawTracts(context, labeller(context, [EDGE.left, EDGE.top, EDGE.left + width, EDGE.top + height]));
  const marked = placed.filter(r => r.damage);
  for (const r of marked) drawBadge(context, r, marked.length > 200 ? 3 : 8);
  drawScaleBar(context);
  context.restore();
  const line = element("i", { style: `background:linear-gradient(90deg,${stops.map(s => `rgb(${s})`)})` });
  $("scale").replaceChildren(fixed(c.range[0], c.digits), line, fixed(c.range[1], c.digits));
}
if (placed.some(r => r.damage)) $("badges").hidden = false;
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
  tip.style.left = `${Math.max(4, Math.min(event.clientX + 14, innerWidth - 350))}px`;
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
  const under = at(e), [ra, dec] = position(toPlane([e.offsetX, e.offsetY]));
  const words = under.slice(-4).map(r => `${label(r)}: coverage ${fixed(100 * r.coverage, 1)} %, noise ${fixed(r.sigma, 2)} nJy${r.damage ? ", damaged" : ""}`);
  show(e, under.length ? `${words.join("; ")}${under.length > 4 ? ` and ${under.length - 4} more` : ""} (RA ${((ra + 360) % 360).toFixed(4)}°, Dec ${dec.toFixed(4)}°)` : "");
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
  const factor = Math.exp(-e.deltaY / 400), [x0, y0] = origin(), dx = (e.offsetX - x0) / view.scale, dy = (e.offsetY - y0) / view.scale;
  view.x += dx * (1 - 1 / factor);
  view.y += dy * (1 - 1 / factor);
  view.scale *= factor;
  drawSky();
}, { passive: false });
$("colour").addEventListener("change", drawSky);


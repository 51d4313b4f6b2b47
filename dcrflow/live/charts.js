/* Charts and words for numbers. */
import { css, element } from "./elements.js";

export const STEPS = ["#4e79a7", "#f28e2b", "#59a14f", "#b07aa1", "#e15759", "#76b7b2", "#9c755f", "#edc948"];

export function legend(place, entries) {
  place.replaceChildren(...entries.map(([colour, name]) =>
    element("span", {}, element("i", { style: `background:${colour}` }), name)));
}
export function bytes(number) {
  if (number == null) return "–";
  const units = ["B", "kB", "MB", "GB", "TB", "PB"];
  let i = 0, value = number;
  while (value >= 999.5 && i < units.length - 1) { value /= 1000; i += 1; }
  return `${value >= 100 || i === 0 ? value.toFixed(0) : value.toPrecision(3)} ${units[i]}`;
}
export function duration(seconds) {
  if (seconds == null) return "–";
  const s = Math.round(seconds), h = Math.floor(s / 3600), m = Math.floor(s / 60) % 60;
  if (h >= 48) return `${Math.floor(h / 24)} d ${h % 24} h`;
  return h ? `${h} h ${m} min` : m ? `${m} min ${s % 60} s` : `${s} s`;
}
export function seconds(value) {
  if (value == null) return "–";
  return value >= 100 ? value.toFixed(0) : value >= 0.995 ? value.toPrecision(3) : value.toPrecision(2);
}
export const count = number => number.toLocaleString("en");

export function sized(canvas) {
  const ratio = window.devicePixelRatio || 1, context = canvas.getContext("2d");
  canvas.width = canvas.clientWidth * ratio;
  canvas.height = canvas.clientHeight * ratio;
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.font = "12px system-ui, sans-serif";
  return context;
}
/* A round number that is not below the one given. */
export function nice(value) {
  if (!(value > 0)) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 1.6, 2, 3, 4, 5, 6, 8, 10].map(f => f * power).find(v => v >= value * 0.999);
}
const EDGE = { left: 44, right: 36, top: 10, bottom: 32 };

/* Bars of stacked parts; `columns` is a list of {parts: [[colour, height]], label}. */
export function bars(canvas, columns, { left, bottom, line, right, every }) {
  const context = sized(canvas), width = canvas.clientWidth - EDGE.left - EDGE.right;
  const height = canvas.clientHeight - EDGE.top - EDGE.bottom, base = EDGE.top + height;
  const sums = columns.map(c => c.parts.reduce((sum, [, h]) => sum + h, 0));
  const top = nice(Math.max(...sums, sums.some(Boolean) ? 0 : 1)), step = width / Math.max(1, columns.length);
  context.fillStyle = css("--soft");
  context.strokeStyle = css("--line");
  context.textAlign = "right";
  for (const part of [0, 0.5, 1]) {
    const y = Math.round(base - part * height) + 0.5;
    context.beginPath(); context.moveTo(EDGE.left, y); context.lineTo(EDGE.left + width, y); context.stroke();
    context.fillText((top * part).toLocaleString("en", { notation: "compact" }), EDGE.left - 6, y + 4);
  }
  columns.forEach((column, i) => {
    let y = base;
    for (const [colour, part] of column.parts) {
      const h = part / top * height;
      context.fillStyle = colour;
      context.fillRect(EDGE.left + i * step, y - h, Math.max(1, step - (step > 5 ? 1.5 : 0)), h);
      y -= h;
    }
  });
  context.fillStyle = css("--soft");
  context.textAlign = "center";
  let free = EDGE.left - 20;
  columns.forEach((column, i) => {
    const x = EDGE.left + (i + (every ? 0 : 0.5)) * step, wide = context.measureText(column.label).width;
    if (column.label && x - wide / 2 > free) { context.fillText(column.label, x, base + 14); free = x + wide / 2 + 10; }
  });
  context.fillText(bottom, EDGE.left + width / 2, base + 29);
  context.save();
  context.translate(11, EDGE.top + height / 2);
  context.rotate(-Math.PI / 2);
  context.fillText(left, 0, 0);
  context.restore();
  if (line && line.some(v => v != null)) {
    const most = nice(Math.max(...line.filter(v => v != null), 1));
    context.strokeStyle = context.fillStyle = css("--text");
    context.lineWidth = 1.3;
    context.beginPath();
    let begun = false;
    line.forEach((value, i) => {
      if (value == null) return;
      const y = base - value / most * height, x = EDGE.left + i * step;
      if (begun) context.lineTo(x, y); else context.moveTo(x, y);
      context.lineTo(x + step, y);
      begun = true;
    });
    context.stroke();
    context.textAlign = "left";
    for (const part of [0, 1]) context.fillText(String(most * part), EDGE.left + width + 5, base - part * height + 4);
    context.save();
    context.translate(EDGE.left + width + 30, EDGE.top + height / 2);
    context.rotate(-Math.PI / 2);
    context.textAlign = "center";
    context.fillText(right, 0, 0);
    context.restore();
  }
}

/* Asks the scheduler for the state every second or two and shows it. Addresses are relative: a proxy may be in between. */
import { STEPS, bars, bytes, count, duration, legend, seconds } from "./charts.js";
import { $, css, element, table } from "./elements.js";
import { STATES, Sky, word } from "./sky.js";

const scrolled = (...content) => element("div", { class: "scroll" }, table(...content));

const EVERY = 1000, SELDOM = 2000, LATER = 5000;  // ms; seldom where thousands of detector-visits are shown
const sky = new Sky($("sky"), $("tip"));
let drawn = null, last = null, chosen = "";

async function ask(what) {
  const answer = await fetch(`dcrflow/${what}.json${chosen ? `?run=${encodeURIComponent(chosen)}` : ""}`, { cache: "no-store" });
  if (!answer.ok) throw new Error(`status ${answer.status}`);
  return answer.json();
}
async function turn() {
  let wait = last && last.total > 3000 ? SELDOM : EVERY;
  try {
    if (!document.hidden) await show(await ask("state"));
  } catch (error) {
    wait = LATER;
    $("said").textContent = `no answer from the scheduler (${error.message}); what is shown was true ${last ? `until ${last.updated}` : "never"}`;
    $("said").classList.add("lost");
  }
  setTimeout(turn, wait);
}
async function show(state) {
  choice(state);
  $("said").classList.toggle("lost", state.state === "silent");
  if (!state.run) {
    $("said").textContent = "No campaign yet: one appears here when dcrflow run, or run_campaign, begins.";
    return;
  }
  $("main").hidden = false;
  const drawing = `${state.run} ${state.sky.version}`;
  if (drawn !== drawing) {
    sky.set(await ask("sky"));
    drawn = drawing;
  }
  last = state;
  words(state.kind === "coadds" ? COADDS : TEMPLATES);
  summary(state);
  sky.kind = state.kind;
  sky.update(state.sky);
  overTime(state.timeline);
  work(state);
  failures(state);
  templates(state.templates);
  workers(state);
  document.body.dataset.shown = String(1 + Number(document.body.dataset.shown || 0));
}
const TEMPLATES = { what: "Templates", title: "Work for a template, by step", latest: "Latest templates", names: "visit / detector, band, coverage",
  slow: "Slowest to read" };
const COADDS = { what: "DCR coadds", title: "Work by step", latest: "Latest coadds", names: "tract / patch, band, coverage", slow: "Slowest patches" };
function words(kind) {
  for (const [name, text] of Object.entries(kind)) for (const part of document.querySelectorAll(`[data-word=${name}]`))
    if (part.textContent !== text) part.textContent = text;
}
function choice(state) {
  $("choice").hidden = state.runs.length < 2;
  const names = state.runs.map(r => `${r.run} ${r.state}`).join();
  if ($("runs").dataset.names === names) return;
  $("runs").dataset.names = names;
  $("runs").replaceChildren(...state.runs.map(r => element("option", { value: r.run }, `${r.store} (${r.state}, ${r.run})`)));
  $("runs").value = state.run || "";
}
$("runs").addEventListener("change", () => { chosen = $("runs").value; });

function summary(s) {
  $("store").textContent = s.store;
  const time = text => text ? text.replace("T", " ").slice(0, 19) : "–";
  const how = { running: "running", finished: "finished", stopped: "stopped before the end", failed: "ended with an error",
    silent: "the client says nothing any more: it was ended, or cannot reach the scheduler" };
  $("said").textContent = `${how[s.state] || s.state} · began ${time(s.began)} UTC · ${duration(s.elapsed)}`;
  document.title = `${s.total ? Math.floor(100 * (s.total - s.waiting - s.running) / s.total) : 0} % · dcrflow`;
  const numbers = states(s);
  $("bar").replaceChildren(...STATES.filter(n => numbers[n]).sort((a, b) => ORDER.indexOf(a) - ORDER.indexOf(b)).map(name =>
    element("i", { style: `flex:${numbers[name]} 0 0;background:var(--${name})`, title: `${numbers[name]} ${word(name)}` })));
  legend($("legend"), STATES.filter(n => s.kind !== "coadds" || !["no-overlap", "damaged"].includes(n)).map(name => [`var(--${name})`, `${word(name)} ${count(numbers[name])}`]));
  const ended = s.skipped + s.done.complete + s.done["no-overlap"] + s.done.failed;
  const tiles = [
    [count(ended), `of ${count(s.total)} done${s.skipped ? `, ${count(s.skipped)} before` : ""}`],
    [count(s.done.failed), "failed", s.done.failed ? "failed" : ""],
    [count(s.running), "running"],
    [rate(s.rate.last_minute), "a minute, in the last"],
    [rate(s.rate.overall), "a minute, overall"],
    [s.state === "running" ? duration(s.left) : "–", "left"],
    ...s.kind === "coadds" ? [] : [[bytes(s.bytes.read), "read, uncompressed"], [bytes(s.bytes.written), "written"]],
    [`${count(s.cluster.workers)}`, `workers, ${count(s.cluster.threads)} threads`],
    [bytes(s.cluster.memory), `memory${s.cluster.limit ? ` of ${bytes(s.cluster.limit)}` : ""}`],
  ];
  if (s.cluster.spilled) tiles.push([bytes(s.cluster.spilled), "spilled to disk"]);
  if (s.damaged) tiles.push([count(s.damaged), "without what is damaged", "damaged"]);
  if (s.worker_losses) tiles.push([count(s.worker_losses), "begun again, worker lost", "no-overlap"]);
  $("tiles").replaceChildren(...tiles.map(([value, name, kind]) => element("div", { class: "tile" },
    element("b", kind ? { style: `color:var(--${kind})` } : {}, value), element("span", {}, name))));
}
const ORDER = ["complete", "damaged", "no-overlap", "failed", "running", "waiting"];
const rate = value => value >= 100 ? count(Math.round(value)) : String(+value.toPrecision(2));
function states(s) {
  const damaged = Math.min(s.damaged, s.skipped + s.done.complete);
  return { waiting: s.waiting, running: s.running, complete: s.skipped + s.done.complete - damaged, damaged,
    "no-overlap": s.done["no-overlap"], failed: s.done.failed };
}
function overTime(line) {
  legend($("rate-legend"), [["var(--complete)", "complete"], ...last.kind === "coadds" ? [] : [["var(--no-overlap)", "no overlap"]],
    ["var(--failed)", "failed"], ["var(--text)", "workers"]]);
  if (!line) return;
  const each = Math.max(1, Math.ceil(line.complete.length / 120)), factor = 60 / (line.width * each), columns = [], people = [];
  for (let i = 0; i < line.complete.length; i += each) {
    const sum = name => line[name].slice(i, i + each).reduce((a, b) => a + b, 0) * factor;
    columns.push({ parts: ["complete", "no-overlap", "failed"].map(n => [css(`--${n}`), sum(n)]), label: duration(i * line.width) });
    people.push(line.workers[i]);
  }
  bars($("rate"), columns, { left: "a minute", bottom: "since the beginning", line: people, right: "workers", every: true });
}
const USUAL = ["load_visit", "warp_visit", "check_visits", "accumulate", "calibrate_visits", "solve_patch", "write_patch", "load_patch", "shift_subfilters", "warp_tract", "mosaic_tracts", "write_template"];
function work(s) {
  const names = [...USUAL.filter(n => n in s.steps), ...Object.keys(s.steps).filter(n => !USUAL.includes(n)).sort()], colour = name => STEPS[names.indexOf(name) % STEPS.length];
  const all = Object.values(s.steps).reduce((a, b) => a + b, 0) || 1;
  legend($("step-legend"), names.map(n => [colour(n), `${n} ${Math.round(100 * s.steps[n] / all)} %`]));
  if (s.kind === "coadds") {
    const sums = names.map(n => ({ parts: [[colour(n), s.steps[n]]], label: n.replace("_", " ") }));
    bars($("work"), sums, { left: "seconds", bottom: names.length ? "of all tasks of a step" : "no step yet" });
    return;
  }
  const columns = [];
  s.work.forEach((bin, i) => {
    for (let from = i ? s.work[i - 1].to : bin.from; bin.from > from * 1.2; from *= Math.SQRT2) columns.push({ parts: [], label: "" });
    const sum = Object.values(bin.steps).reduce((a, b) => a + b, 0) || 1;
    columns.push({ parts: names.map(n => [colour(n), bin.templates * (bin.steps[n] || 0) / sum]),
      label: `${seconds(Math.sqrt(bin.from * bin.to))} s` });
  });
  bars($("work"), columns, { left: "templates", bottom: s.timed ? `seconds of all steps together, mean ${seconds(all / s.timed)} s` : "no template yet" });
}
const log = address => element("a", { href: `info/logs/${encodeURIComponent(address)}.html`, target: "_blank", rel: "noopener" }, "log");
const label = f => f.tract != null ? `tract ${f.tract} patch ${f.patch}` : f.visit === undefined ? "" : f.visit === null ? "a row of the table" : `visit ${f.visit} detector ${f.detector}`;
const whole = text => element("span", { class: "whole" }, text);
const clock = text => text ? text.slice(11, 19) : "";
function failures(s) {
  $("failed").textContent = s.done.failed > s.failures.length ? `the last ${s.failures.length} of ${count(s.done.failed)}` : "";
  $("causes").replaceChildren(...s.causes.filter(c => c.number > 1).map(c =>
    element("p", { class: "cause" }, element("b", {}, `${count(c.number)} times `), `${c.kind}: ${c.message}`)));
  const lines = s.failures.map(f => [whole(clock(f.time)), label(f), `${f.kind}: ${f.message}`, f.worker ? log(f.worker) : ""]);
  $("failures").replaceChildren(lines.length ? scrolled(["UTC", s.kind === "coadds" ? "patch" : "detector-visit", "reason", ""], lines) : element("p", { class: "hint" }, "none"));
  const gone = s.losses.map(l => [whole(clock(l.time)), label(l), l.message]);
  $("losses").replaceChildren(...gone.length ? [element("h2", {}, "Workers that were lost"), scrolled(["UTC", "", ""], gone)] : []);
}
let pictures = null;
function templates(made) {
  const pair = t => t.tract == null ? [t.visit, t.detector] : [t.tract, t.patch], names = made.map(t => pair(t).join("/")).join();
  if (names === pictures) return;
  pictures = names;
  $("waiting-for-templates").hidden = made.length > 0;
  $("templates").replaceChildren(...made.map(t => {
    const covered = typeof t.coverage === "number" ? 100 * t.coverage : 0, what = label(t);
    return element("figure", {}, element("img", { src: t.image, alt: what }),
      element("div", { class: "cover" }, element("i", { style: `width:${covered}%` })),
      element("figcaption", {}, element("b", {}, pair(t).join(" / ")),
        element("span", {}, `${t.band ? `${t.band} · ` : ""}${covered.toFixed(covered > 99.9 ? 0 : 1)} %`)));
  }));
}
function workers(s) {
  const share = w => {
    const limit = w.limit || Math.max(w.memory, 1);
    return element("div", { class: "memory", title: `${bytes(w.memory)} of ${bytes(w.limit)}, ${bytes(w.spilled)} spilled` },
      element("i", { style: `width:${Math.min(100, 100 * w.memory / limit)}%` }));
  };
  $("cluster").textContent = s.workers.length < s.cluster.workers ? `the ${s.workers.length} with the fullest memory of ${count(s.cluster.workers)}` : "";
  const made = w => s.kind === "coadds" ? [] : [count(w.templates), seconds(w.seconds)];  // a patch is made by several workers
  const lines = s.workers.map(w => [w.name, share(w), bytes(w.memory), w.spilled ? bytes(w.spilled) : "–", w.cpu == null ? "–" : `${Math.round(w.cpu)} %`,
    ...made(w), w.state === "running" ? log(w.address) : element("span", {}, `${w.state} `, log(w.address))]);
  const heads = s.kind === "coadds" ? [] : ["made", "s each"];
  $("workers").replaceChildren(scrolled(["worker", "memory", "", "spilled", "cpu", ...heads, ""], lines, [2, 3, 4, ...heads.map((_, i) => 5 + i)]));
  const slow = s.patches.map(p => [p.patch, count(p.reads), seconds(p.seconds)]);
  $("patches").replaceChildren(slow.length ? scrolled(["tract/patch", s.kind === "coadds" ? "times" : "reads", "s each"], slow, [1, 2]) : element("p", { class: "hint" }, "none yet"));
}
window.addEventListener("resize", () => { if (last) { sky.draw(); overTime(last.timeline); work(last); } });
turn();

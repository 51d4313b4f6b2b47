/* The runs over time: templates a minute by status, workers, failures, and the share of each step. */
(() => {
  const runs = facts.timelines || [], place = $("timeline");
  if (!place) return;
  if (!runs.length) { $("timeline-section").remove(); return; }
  const colours = ["#4e79a7", "#f28e2b", "#59a14f", "#b07aa1", "#e15759", "#76b7b2", "#9c755f", "#edc948"];
  const time = s => s >= 5400 ? `${(s / 3600).toFixed(1)} h` : s >= 90 ? `${Math.round(s / 60)} min` : `${Math.round(s)} s`;
  const choice = $("run");
  runs.forEach((run, i) => choice.append(element("option", { value: String(i) },
    `${(run.began || "").replace("T", " ").slice(0, 16)} UTC, ${Object.values(run.done).reduce((a, b) => a + b, 0)} in ${time(run.elapsed)}, ${run.state}`)));
  const legend = (id, entries) => $(id).replaceChildren(...entries.map(([colour, name]) =>
    element("span", {}, element("i", { style: `background:${colour}` }), ` ${name} `)));

  function columns(line, names, of) {
    const each = Math.max(1, Math.ceil(line.complete.length / 120)), found = [];
    for (let i = 0; i < line.complete.length; i += each)
      found.push(names.map(n => of(n).slice(i, i + each).reduce((a, b) => a + b, 0)));
    return [found, each];
  }
  function draw(canvas, found, paints, left, span, line, right) {
    const context = sized(canvas), w = canvas.clientWidth - 84, h = canvas.clientHeight - 44, x0 = 46, base = 10 + h;
    const sums = found.map(c => c.reduce((a, b) => a + b, 0)), high = sums.reduce((a, b) => Math.max(a, b), 0);
    const power = 10 ** Math.floor(Math.log10(high || 1)), most = [1, 1.6, 2, 3, 4, 5, 6, 8, 10].map(f => f * power).find(v => v >= high * 0.999);
    context.font = "12px system-ui, sans-serif";
    context.fillStyle = css("--soft");
    context.strokeStyle = css("--line");
    context.textAlign = "right";
    for (const part of [0, 0.5, 1]) {
      const y = Math.round(base - part * h) + 0.5;
      context.beginPath(); context.moveTo(x0, y); context.lineTo(x0 + w, y); context.stroke();
      context.fillText((most * part).toLocaleString("en", { notation: "compact" }), x0 - 6, y + 4);
    }
    const step = w / found.length;
    found.forEach((parts, i) => {
      let y = base;
      parts.forEach((value, k) => {
        const tall = value / most * h;
        context.fillStyle = paints[k];
        context.fillRect(x0 + i * step, y - tall, Math.max(1, step - (step > 5 ? 1.5 : 0)), tall);
        y -= tall;
      });
    });
    context.fillStyle = css("--soft");
    context.textAlign = "center";
    for (const part of [0, 0.25, 0.5, 0.75, 1]) context.fillText(time(part * span), x0 + part * w, base + 15);
    context.fillText("since the run began", x0 + w / 2, base + 31);
    const turned = (text, x) => {
      context.save(); context.translate(x, 10 + h / 2); context.rotate(-Math.PI / 2); context.fillText(text, 0, 0); context.restore();
    };
    turned(left, 11);
    if (!line || !line.some(v => v != null)) return;
    const top = Math.max(1, line.reduce((a, b) => Math.max(a, b || 0), 0));
    context.strokeStyle = context.fillStyle = css("--text");
    context.lineWidth = 1.3;
    context.beginPath();
    let begun = false;
    line.forEach((value, i) => {
      if (value == null) return;
      const y = base - value / top * h;
      if (begun) context.lineTo(x0 + i * step, y); else context.moveTo(x0 + i * step, y);
      context.lineTo(x0 + (i + 1) * step, y);
      begun = true;
    });
    context.stroke();
    context.textAlign = "left";
    context.fillText("0", x0 + w + 5, base + 4);
    context.fillText(String(top), x0 + w + 5, base - h + 4);
    context.textAlign = "center";
    turned(right, x0 + w + 31);
  }
  function show() {
    const run = runs[Number(choice.value)], line = run.timeline, span = line.complete.length * line.width;
    const statuses = [["complete", "complete"], ["no-overlap", "no overlap"], ["failed", "failed"]];
    const [ends, each] = columns(line, statuses.map(s => s[0]), n => line[n]);
    const factor = 60 / (line.width * each), workers = line.workers.filter((_, i) => i % each === 0);
    legend("timeline-legend", [...statuses.map(([n, words]) => [`var(--${n})`, words]), ["var(--text)", "workers"]]);
    draw(place, ends.map(c => c.map(v => v * factor)), statuses.map(([n]) => css(`--${n}`)), "a minute", span, workers, "workers");
    const usual = ["load_patch", "shift_subfilters", "warp_tract", "mosaic_tracts", "write_template"], all = Object.keys(line.steps);
    const names = [...usual.filter(n => all.includes(n)), ...all.filter(n => !usual.includes(n)).sort()];
    legend("steps-legend", names.map((n, i) => [colours[i % colours.length], n]));
    const [work, wide] = columns(line, names, n => line.steps[n]);
    const busy = work.map(c => c.map(v => v / (line.width * wide)));
    draw($("steps-over-time"), busy, names.map((_, i) => colours[i % colours.length]), "seconds a second", span);
  }
  choice.hidden = runs.length < 2;
  choice.addEventListener("change", show);
  window.addEventListener("resize", show);
  show();
})();

/* What is known of one template, under the map; its address (#visit/detector) leads there. */
function about(row) {
  history.replaceState(null, "", `#${row.visit}/${row.detector}`);
  const lines = [
    ["band", row.band], ["coverage", row.coverage == null ? null : `${fixed(100 * row.coverage, 2)} %`],
    ["noise, median", row.sigma == null ? null : `${fixed(row.sigma, 2)} nJy`],
    ["zenith angle", row.zenith == null ? null : `${fixed(row.zenith, 1)}°`],
    ["DCR over the band", row.spread == null ? null : `${fixed(row.spread, 2)} pixels`],
    ["made from (tract/patch)", row.patches], ["damaged", (row.damage || []).join("; ")],
    ...Object.entries(row.seconds || {}).map(([step, s]) => [step, `${fixed(s, 2)} s`]),
    ...Object.entries(row.reading || {}).map(([patch, s]) => [`reading ${patch}`, `${fixed(s, 3)} s`]),
  ].filter(([, value]) => value != null && value !== "");
  $("about").replaceChildren(element("h3", {}, label(row)), table(["", ""], lines));
}
function follow() {
  const [visit, detector] = decodeURIComponent(location.hash.slice(1)).split("/");
  const row = made.find(r => String(r.visit) === visit && String(r.detector) === detector);
  if (row && row !== found) find(row);
}
window.addEventListener("hashchange", follow);
follow();

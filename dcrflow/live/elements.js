/* What the pages of dcrflow share; text goes into a page as text only. */
export const $ = id => document.getElementById(id);
export const css = name => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

export function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes))
    if (name === "style") made.style.cssText = value;  // the page's policy lets no attribute do this
    else made.setAttribute(name, value);
  made.append(...children);
  return made;
}
export function table(heads, lines, numeric = []) {
  const cell = (tag, content, i) => element(tag, numeric.includes(i) ? { class: "n" } : {}, content);
  return element("table", {}, element("thead", {}, element("tr", {}, ...heads.map((h, i) => cell("th", h, i)))),
    element("tbody", {}, ...lines.map(line => element("tr", {}, ...line.map((c, i) => cell("td", c, i))))));
}

// Building elements, and changing those that are there into new ones without losing focus, selection or what is open.
// Text goes in as text: nothing here can turn a name from outside into markup.

const SVG = "http://www.w3.org/2000/svg";
const DRAWN = new Set(["svg", "path", "line", "rect", "polyline", "circle", "g"]);

/** An element: h("p", {class: "lead", style: {"--value": 0.5}}, "text", child, [children], null). */
export function h(tag, attributes = {}, ...children) {
  const made = DRAWN.has(tag) ? document.createElementNS(SVG, tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "style") for (const [property, amount] of Object.entries(value)) made.style.setProperty(property, amount);
    else made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children.flat(Infinity).filter((one) => one !== null && one !== undefined && one !== false && one !== ""));
  return made;
}

/** Makes `place` hold what `fresh` holds, keeping every element that is still of the same kind. */
export function morph(place, fresh) {
  const before = [...place.childNodes], after = [...fresh.childNodes];
  after.forEach((wanted, i) => {
    const there = before[i];
    if (!there) place.append(wanted);
    else if (there.nodeType !== wanted.nodeType || there.nodeName !== wanted.nodeName || there.id !== wanted.id) {
      there.replaceWith(wanted);
    } else if (there.nodeType === Node.TEXT_NODE) {
      if (there.data !== wanted.data) there.data = wanted.data;
    } else {
      dress(there, wanted);
      morph(there, wanted);
    }
  });
  before.slice(after.length).forEach((one) => one.remove());
}

function dress(there, wanted) {
  for (const { name } of [...there.attributes]) {
    if (!wanted.hasAttribute(name) && name !== "open") there.removeAttribute(name);
  }
  for (const { name, value } of [...wanted.attributes]) {
    if (there.getAttribute(name) === value) continue;
    if (name === "style") there.style.cssText = wanted.style.cssText; // as an attribute the page's policy forbids it
    else there.setAttribute(name, value);
  }
}

// Small drawings. Shapes stretch with the page; labels are text beside them, which doesn't.

import { h } from "./dom.js";
import { count, rate } from "./words.js";

const WIDTH = 600, HEIGHT = 100;

/** Columns, one a second, over a time axis. */
export function columns(values, { label, tone, unit }) {
  const top = niceTop(Math.max(...values, 1));
  const width = WIDTH / Math.max(values.length, 1);
  const bars = values.map((value, i) => {
    const height = value ? Math.max((value / top) * HEIGHT, 1.5) : 0;
    return h("rect", { x: i * width + width * 0.1, y: HEIGHT - height, width: width * 0.8, height });
  });
  const last = values.length ? values[values.length - 1] : 0;
  const total = values.reduce((sum, value) => sum + value, 0);
  return h("div", { class: `plot ${tone}`, role: "img",
      "aria-label": `${label} over the last ${values.length} seconds: ${count(total)} in all, at most ${count(Math.max(...values, 0))} in a second, now ${count(last)}` },
    h("span", { class: "y" }, `${rate(top)}${unit ? ` ${unit}` : ""}`),
    h("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", "aria-hidden": "true" },
      h("g", { class: "bars" }, bars)),
    h("span", { class: "x" }, h("span", {}, `${values.length} s ago`), h("span", {}, "now")));
}

/** A statistic against its threshold: the dashed line is where it rings. */
export function against(history, alarm) {
  const top = Math.max(1.25, ...history.map((value) => Math.min(value, 4)));
  const place = (value) => (HEIGHT - (Math.min(Math.max(value, 0), top) / top) * (HEIGHT - 8) - 4).toFixed(1);
  const step = history.length > 1 ? WIDTH / (history.length - 1) : 0;
  const points = history.map((value, i) => `${(i * step).toFixed(1)},${place(value)}`);
  if (points.length === 1) points.push(`${WIDTH},${place(history[0])}`);
  const last = history.length ? history[history.length - 1] : null;
  return h("div", { class: `trace ${alarm ? "fail" : "calm"}`, role: "img",
      "aria-label": last === null ? "Nothing measured yet" : `Statistic over threshold in ${history.length} windows; now ${rate(last)}` },
    h("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", "aria-hidden": "true" },
      h("line", { class: "limit", x1: 0, x2: WIDTH, y1: place(1), y2: place(1) }),
      points.length ? h("polyline", { points: points.join(" ") }) : null));
}

/** A share as a bar, with a tick where it is expected. */
export function share(value, expected = null) {
  return h("span", { class: "share-bar", "aria-hidden": "true", style: { "--share": value } },
    expected === null ? null : h("i", { style: { "--at": expected } }));
}

function niceTop(value) {
  const scale = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 3, 5, 10].map((one) => one * scale).find((one) => one >= value);
}

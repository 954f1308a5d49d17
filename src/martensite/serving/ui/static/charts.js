// Small drawings. Shapes stretch with the page; labels are text beside them, which doesn't.

import { h } from "./dom.js";
import { count, duration, rate } from "./words.js";

const WIDTH = 600, HEIGHT = 100;

/** Columns over a time axis, one a second or minute; what went wrong of each stands in it from below. */
export function columns(values, wrong, { label, tone, part }) {
  const top = niceTop(Math.max(...values, 1)), width = WIDTH / Math.max(values.length, 1);
  const bar = (n, i, from, kind) => {
    const height = n ? Math.max((n / top) * HEIGHT, 1.5) : 0;
    return h("rect", { x: i * width + width * 0.1, y: HEIGHT - from - height, width: width * 0.8, height, class: kind });
  };
  const bars = values.flatMap((value, i) => {
    const bad = Math.min(wrong[i] ?? 0, value);
    return [bar(value - bad, i, (bad / top) * HEIGHT, null), bad ? bar(bad, i, 0, "wrong") : null];
  });
  const last = values.length ? values[values.length - 1] : 0;
  const total = values.reduce((sum, value) => sum + value, 0);
  const said = `${label} in the last ${values.length} ${part}s: ${count(total)}, at most ${count(Math.max(...values, 0))} in a ${part}, now ${count(last)}`;
  return plot(said, tone, count(top), part, values.length, h("g", {}, bars));
}

/** Seconds over a time axis; where there are none, a gap. */
export function line(values, { label, part }) {
  const known = values.filter((value) => value !== null), top = niceTop(Math.max(...known, 0.001));
  const width = WIDTH / Math.max(values.length, 1);
  const runs = [[]];
  values.forEach((value, i) => {
    if (value === null) runs.push([]);
    else runs[runs.length - 1].push([i * width, HEIGHT - (value / top) * HEIGHT]);
  });
  const drawn = runs.filter((run) => run.length).map((run) =>
    h("polyline", { points: [...run, [run[run.length - 1][0] + width, run[run.length - 1][1]]].map(([x, y]) => `${x.toFixed(1)},${y.toFixed(1)}`).join(" ") }));
  const said = known.length ? `${label}: now ${duration(known[known.length - 1]).join(" ")}, at most ${duration(Math.max(...known)).join(" ")}` : `${label}: nothing yet`;
  return plot(said, "hardened", duration(top).join(" "), part, values.length, h("g", {}, drawn));
}

function plot(said, tone, top, part, parts, ...shapes) {
  return h("div", { class: `plot ${tone}`, role: "img", "aria-label": said },
    h("span", { class: "y" }, top),
    h("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", "aria-hidden": "true" }, shapes),
    h("span", { class: "x" }, h("span", {}, `${parts} ${part === "second" ? "s" : "min"} ago`), h("span", {}, "now")));
}

/** A statistic against its threshold: the dashed line is where it rings. */
export function against(windows, alarm) {
  const history = windows.map((value) => value ?? 0);
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

// Asks for the record every two seconds while somebody looks, and draws it.

import { h, morph } from "./dom.js";
import * as sections from "./sections.js";
import { primary, state } from "./state.js";
import { clock } from "./words.js";

const EVERY = 2000, PATIENCE = 10000, STORED = "martensite-key";
const board = document.getElementById("board"), door = document.getElementById("door"), pulse = document.getElementById("pulse");
const field = document.getElementById("key"), refused = document.getElementById("refused"), leave = document.getElementById("leave");

let key = sessionStorage.getItem(STORED) ?? "";
let record = null, seen = 0, paused = false, timer = 0, route = "primary", asking = null;

const chosen = () => decodeURIComponent(location.hash.replace(/^#model-/, ""));

async function ask() {
  clearTimeout(timer);
  asking?.abort();
  const mine = (asking = new AbortController());
  const late = setTimeout(() => mine.abort(), PATIENCE);
  let trouble = "";
  try {
    const headers = key ? { Authorization: `Bearer ${key}` } : {};
    const answer = await fetch("v1/monitor", { headers, cache: "no-store", credentials: "omit", redirect: "error", signal: mine.signal });
    if (answer.status === 401 || answer.status === 403) {
      knock(key ? (await answer.json()).error : "");
      return;
    }
    if (!answer.ok) throw new Error(`the server answers ${answer.status}`);
    record = await answer.json();
    seen = Date.now();
    door.hidden = true;
    leave.hidden = !key;
    draw();
  } catch (error) {
    if (mine !== asking) return; // another question took its place
    trouble = mine.signal.aborted ? "no answer" : error instanceof TypeError ? "the server can't be reached" : error.message;
  } finally {
    clearTimeout(late);
  }
  beat(trouble);
  if (!document.hidden && !paused && door.hidden) timer = setTimeout(ask, EVERY);
}

function knock(reason) {
  if (key) sessionStorage.removeItem(STORED);
  key = "";
  record = null;
  morph(board, h("div"));
  morph(pulse, h("p"));
  pulse.classList.remove("lost");
  document.title = "Martensite monitor";
  refused.textContent = reason;
  leave.hidden = true;
  door.hidden = false;
  field.focus();
}

function beat(trouble) {
  const lost = Boolean(trouble);
  pulse.classList.toggle("lost", lost);
  board.classList.toggle("stale", lost);
  const text = lost ? `Not live: ${trouble}${seen ? `; last seen ${clock(seen / 1000)}` : ""}` : paused ? `Paused at ${clock(seen / 1000)}` : "Live";
  morph(pulse, h("p", {}, h("span", {}, text), record || lost ? h("button", { type: "button", class: "quiet", id: "pause", "aria-pressed": String(paused) }, paused ? "Go on" : "Pause") : null));
  if (lost) document.title = `Not live · Martensite`;
}

function draw() {
  const models = record.models;
  const model = models.find((one) => one.name === chosen()) ?? models[0];
  if (!model) return;
  const versions = model.versions;
  const version = versions.find((one) => one.route === route) ?? primary(model) ?? versions[0] ?? null;
  const found = state(model, record);
  document.title = `${found.word} · ${model.name} · Martensite`;
  morph(board, h("div", {},
    models.length > 1 ? h("nav", { class: "tabs", "aria-label": "Models" }, h("ul", {}, models.map((one) => {
      const { tone } = state(one, record);
      return h("li", {}, h("a", { href: `#model-${encodeURIComponent(one.name)}`, "aria-current": one === model ? "page" : null },
        h("span", { class: `dot ${tone}`, "aria-hidden": "true" }), one.name));
    }))) : null,
    h("section", { class: `verdict ${found.tone}`, "aria-labelledby": "verdict" },
      h("div", { class: "top" },
        h("div", {},
          h("h1", { id: "verdict" },
            h("span", { class: "subject" }, model.name, primary(model) ? ` version ${primary(model).version}` : ""), " ", h("span", { class: "word" }, found.word)),
          h("p", { class: "lead" }, found.lead)),
        sections.scores(model, primary(model))),
      h("ul", { class: "checks" }, found.reasons.map((one) =>
        h("li", {}, h("span", { class: `mark ${one.tone}` }, one.mark), h("div", {}, h("strong", {}, one.title), h("p", {}, one.text)))))),
    h("div", { class: "panel" },
      sections.traffic(model),
      sections.alerts(record, model.name),
      versions.length > 1 ? routes(versions, version) : null,
      version ? [
        sections.detectors(version), sections.flagged(version, record.time), sections.drift(version, record.time),
        sections.predictions(version), sections.evidence(model, version, record.time),
      ] : null)));
}

function routes(versions, version) {
  return h("fieldset", { class: "switch routes" }, h("legend", {}, "Version"), versions.map((one) =>
    h("label", {}, h("input", { type: "radio", name: "route", value: one.route, checked: one === version }), h("span", {}, `${one.route} ${one.version}`))));
}

door.addEventListener("submit", (event) => {
  event.preventDefault();
  key = field.value.trim();
  field.value = "";
  sessionStorage.setItem(STORED, key);
  refused.textContent = "";
  ask();
});
leave.addEventListener("click", () => { clearTimeout(timer); asking?.abort(); knock(""); });
pulse.addEventListener("click", (event) => {
  if (event.target.id !== "pause") return;
  paused = !paused;
  paused ? (clearTimeout(timer), beat("")) : ask();
});
board.addEventListener("change", (event) => {
  if (event.target.name !== "route") return;
  route = event.target.value;
  draw();
});
addEventListener("hashchange", () => record && draw());
document.addEventListener("visibilitychange", () => (document.hidden ? clearTimeout(timer) : !paused && door.hidden && ask()));
ask();

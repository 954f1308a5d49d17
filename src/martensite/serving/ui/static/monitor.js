// Asks for the record every two seconds while somebody looks, and draws it.

import { h, morph } from "./dom.js";
import * as sections from "./sections.js";
import { clock, sentence } from "./words.js";

const EVERY = 2000, PATIENCE = 10000, STORED = "martensite-key";
const board = document.getElementById("board"), door = document.getElementById("door"), pulse = document.getElementById("pulse");
const field = document.getElementById("key"), refused = document.getElementById("refused"), leave = document.getElementById("leave");

let key = sessionStorage.getItem(STORED) ?? "";
const KEYED = document.body.dataset.keys === "asked";
let record = null, seen = 0, paused = false, timer = 0, route = "primary", span = "minute", asking = null;

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
  const version = versions.find((one) => one.route === route) ?? versions.find((one) => one.route === "primary") ?? versions[0] ?? null;
  const found = model.standing;
  document.title = `${found.word} · ${model.name} · Martensite`;
  morph(board, h("div", {},
    models.length > 1 ? h("nav", { class: "tabs", "aria-label": "Models" }, h("ul", {}, models.map((one) =>
      h("li", {}, h("a", { href: `#model-${encodeURIComponent(one.name)}`, "aria-current": one === model ? "page" : null },
        h("span", { class: `dot ${one.standing.tone}`, "aria-hidden": "true" }), one.name, h("span", { class: "unseen" }, `: ${one.standing.word}`)))))) : null,
    h("section", { class: `verdict ${found.tone}`, "aria-labelledby": "verdict" },
      h("div", { class: "top" },
        h("div", {},
          h("h1", { id: "verdict" },
            h("span", { class: "subject" }, model.name, version ? ` version ${version.version}` : ""), " ", h("span", { class: "word" }, found.word)),
          h("p", { class: "lead" }, found.lead)),
        sections.scores(model, version)),
      h("ul", { class: "checks" }, found.reasons.map((one) =>
        h("li", {}, h("span", { class: `mark ${one.tone}` }, one.mark), h("div", {}, h("strong", {}, one.title), h("p", {}, one.text)))))),
    h("div", { class: "panel" },
      choices(versions, version),
      sections.traffic(model, span),
      sections.alerts(record, model.name),
      version ? [
        sections.decisions(version, span), sections.flagged(version), sections.drift(version, record.time),
        sections.predictions(version), sections.evidence(model, version, record.time),
      ] : null)));
}

function choices(versions, version) {
  const pick = (name, legend, options, value) => h("fieldset", { class: "switch" }, h("legend", {}, legend), options.map(([word, label]) =>
    h("label", {}, h("input", { type: "radio", name, value: word, checked: word === value }), h("span", {}, label))));
  return h("div", { class: "choices" },
    pick("span", "Time", [["minute", "Last minute"], ["hour", "Last hour"]], span),
    versions.length > 1 ? pick("route", "Version", versions.map((one) => [one.route, `${sentence(one.route)} ${one.version}`]), version.route) : null);
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
  if (event.target.name === "route") route = event.target.value;
  else if (event.target.name === "span") span = event.target.value;
  else return;
  draw();
});
addEventListener("hashchange", () => record && draw());
document.addEventListener("visibilitychange", () => (document.hidden ? clearTimeout(timer) : !paused && door.hidden && ask()));
KEYED && !key ? knock("") : ask();

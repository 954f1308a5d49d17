// The parts of the board below the verdict, each from one version's record.

import { against, columns, line, share } from "./charts.js";
import { h } from "./dom.js";
import { NONE, TESTS, ago, clock, count, duration, figures, number, pValue, percent, rate, sentence } from "./words.js";

const section = (id, title, ...content) =>
  h("section", { "aria-labelledby": id }, h("h2", { id }, title), h("div", {}, content));
const scroll = (label, ...content) => h("div", { class: "scroll", role: "region", "aria-label": label, tabindex: 0 }, content);
const mark = (word, tone) => h("span", { class: `mark ${tone}` }, word);
const aside = (...text) => h("span", { class: "aside" }, ...text);

/** The figures beside the verdict. */
export function scores(model, version) {
  const traffic = model.traffic, [p50, p50Unit] = duration(traffic.p50), [p99, p99Unit] = duration(traffic.p99);
  const tile = (label, value, unit, below) =>
    h("div", {}, h("dt", {}, label), h("dd", {}, h("span", { class: "big" }, value, unit ? h("small", {}, ` ${unit}`) : null), aside(below)));
  return h("dl", { class: "tiles" },
    tile("Requests", rate(traffic.requests_per_second), "/s", `${rate(traffic.samples_per_second)} samples/s`),
    tile("Latency, p99", p99, p99Unit, `median ${p50} ${p50Unit}`),
    tile("Errors", rate(traffic.errors_per_second), "/s", `${percent(traffic.requests_per_second ? traffic.errors_per_second / traffic.requests_per_second : null)} of requests`),
    tile("Flagged", version?.alarms.detects ? percent(version.alarms.share) : NONE, "", version?.alarms.detects ? `${count(version.alarms.flagged)} in all` : "no detectors"),
    tile("Confidence", percent(version?.confidence ?? null), "", "mean, last minute"),
    tile("Queue", count(traffic.queued), "", traffic.batch === null ? "no batch yet" : `${rate(traffic.batch)} a batch`));
}

export function traffic(model, span) {
  const { requests, history, errors_history, hour, errors_hour, p99_hour } = model.traffic;
  const [all, bad] = span === "hour" ? [hour, errors_hour] : [history, errors_history];
  const total = Object.values(requests).reduce((sum, n) => sum + n, 0);
  return section("traffic", "Traffic",
    h("figure", {}, h("figcaption", {}, `Requests each ${UNIT[span]}`, key("hardened", "answered"), key("fail", "refused")),
      columns(all, bad, { label: "Requests", tone: "hardened", part: UNIT[span] })),
    span === "hour" ? h("figure", {}, h("figcaption", {}, "Latency, p99 of each minute"), line(p99_hour, { label: "Latency, p99", part: "minute" })) : null,
    total === 0 ? h("p", { class: "aside" }, "Nobody has asked yet.") : scroll("Requests by status",
      h("table", { class: "figures" },
        h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "Answer"), h("th", { scope: "col", class: "n" }, "Requests"), h("th", { scope: "col", class: "n" }, "Share"), h("td", { class: "rest" }))),
        h("tbody", {}, Object.entries(requests).map(([status, n]) =>
          h("tr", { class: status < "400" ? "pass" : status === "429" ? "inconclusive" : "fail" },
            h("th", { scope: "row" }, `${status} `, aside(STATUSES[status] ?? "")), h("td", { class: "n" }, count(n)), h("td", { class: "n" }, percent(n / total)), h("td", { class: "rest" }, share(n / total))))))));
}

const UNIT = { minute: "second", hour: "minute" };
const key = (tone, word) => h("span", { class: `sign ${tone}` }, word);

const STATUSES = {
  200: "answered", 400: "malformed", 401: "no key", 403: "not allowed", 404: "unknown", 408: "too slow", 413: "too large",
  415: "compressed", 429: "too much at once", 499: "client left", 500: "error of the server", 503: "not served",
};

export function decisions(version, span) {
  const { detects, decisions: words, flagged_history, flagged_hour } = version.alarms;
  const total = Object.values(words).reduce((sum, n) => sum + n, 0);
  if (!detects && !total) return null;
  return section("decisions", "Decisions",
    detects ? h("figure", {}, h("figcaption", {}, `Samples flagged each ${UNIT[span]}`),
      columns(span === "hour" ? flagged_hour : flagged_history, [], { label: "Flagged samples", tone: "baseline", part: UNIT[span] })) : null,
    total === 0 ? h("p", { class: "aside" }, "No sample has come yet.") : scroll("Samples by decision",
      h("table", { class: "figures" },
        h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "Decision"), h("th", { scope: "col", class: "n" }, "Samples"), h("th", { scope: "col", class: "n" }, "Share"), h("td", { class: "rest" }))),
        h("tbody", {}, Object.entries(words).map(([word, n]) =>
          h("tr", { class: word === "answered" ? "pass" : word === "failed" ? "fail" : "inconclusive" },
            h("th", { scope: "row" }, sentence(word)), h("td", { class: "n" }, count(n)), h("td", { class: "n" }, percent(n / total)), h("td", { class: "rest" }, share(n / total))))))));
}

export function drift(version, now) {
  const found = version.drift;
  if (!found.watched) return section("drift", "Drift", h("p", { class: "aside" }, `Not watched${found.reason ? `: ${found.reason}` : "."}`));
  return section("drift", "Drift",
    h("p", {}, `${count(found.samples)} samples against the statistics that the evaluation left. The dashed line is where a test rings; the rate of false alarms holds however long it runs.`),
    h("ul", { class: "tests" }, found.tests.map((test) =>
      h("li", {},
        h("div", {}, h("strong", {}, sentence(test.about)), " ", aside(TESTS[test.name] ?? test.name), test.detail ? h("span", { class: "aside detail" }, test.detail) : null),
        against(test.history, test.alarm),
        h("div", { class: "n" }, mark(test.alarm ? "ALARM" : test.statistic === null ? "WAITS" : "CALM", test.alarm ? "fail" : test.statistic === null ? "" : "pass"),
          aside(figures(test)), test.p_value === null ? null : aside(`p ${pValue(test.p_value)}`), test.alarm && test.since !== null ? aside(`rang ${ago(test.since, now)}`) : null)))),
    accuracy(found));
}

function accuracy(found) {
  if (!found.labelled || found.accuracy === null) return null;
  const low = found.accuracy_low ?? found.accuracy, high = found.accuracy_high ?? found.accuracy;
  return h("div", {}, h("h3", {}, "Accuracy on labels that came later"),
    h("dl", { class: "measures hardened" }, h("div", {}, h("dt", {}, "Latest"),
      h("dd", {}, h("span", { class: "bar", "aria-hidden": "true", style: { "--value": found.accuracy, "--low": low, "--high": high } }, h("i")),
        h("span", { class: "value" }, percent(found.accuracy)), h("span", { class: "interval" }, `${percent(low)}–${percent(high)}`)))),
    h("p", { class: "aside" }, `${count(found.labelled)} labels; ${percent(found.expected)} on the reference data.`));
}

export function predictions(version) {
  const total = version.predictions.reduce((sum, n) => sum + n, 0);
  if (!total) return null;
  const rows = version.predictions.map((n, i) => [version.classes[i] ?? String(i), n]);
  const shown = rows.length > 24 ? [...rows].sort((a, b) => b[1] - a[1]).slice(0, 24) : rows;
  const top = Math.max(...shown.map(([, n]) => n)) / total;
  return section("predictions", "Predictions",
    scroll("Predictions by class", h("table", { class: "figures hardened" },
      h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "Class"), h("th", { scope: "col", class: "n" }, "Samples"), h("th", { scope: "col", class: "n" }, "Share"), h("td", { class: "rest" }))),
      h("tbody", {}, shown.map(([name, n]) =>
        h("tr", {}, h("th", { scope: "row" }, name), h("td", { class: "n" }, count(n)), h("td", { class: "n" }, percent(n / total)), h("td", { class: "rest" }, share(n / total / top))))))),
    shown.length < rows.length ? h("p", { class: "aside" }, `The ${shown.length} most frequent of ${count(rows.length)} classes.`) : null);
}

const SHOWN = 12; // flagged inputs; more of them are there to be opened

export function flagged(version) {
  if (!version.alarms.detects && !version.flagged.length) return null;
  const hidden = version.flagged.length && version.flagged.every((one) => !one.picture);
  const list = (some) => h("ul", { class: hidden ? "caught plain" : "caught" }, some.map((one) => caught(one, version)));
  const more = version.flagged.slice(SHOWN);
  return section("flagged", "Flagged inputs",
    version.flagged.length === 0 ? h("p", { class: "aside" }, "None lately.") : null,
    hidden ? h("p", { class: "aside" }, "Their pictures are not shown: the inputs are none, or are not kept.") : null,
    list(version.flagged.slice(0, SHOWN)),
    more.length ? h("details", {}, h("summary", {}, `${more.length} older ones`), list(more)) : null);
}

function caught(one, version) {
  const named = one.prediction < 0 ? "none" : version.classes[one.prediction] ?? String(one.prediction);
  const picture = { src: one.picture, alt: `Input ${one.row} of request ${one.id}, predicted ${named}` };
  return h("li", {}, h("figure", {},
    one.picture ? h("img", picture) : null,
    h("figcaption", {},
      h("span", { class: "said" }, h("strong", {}, named), " ", percent(one.confidence)),
      h("span", {}, `p ${pValue(one.p_value)}`, one.decision === "flagged" ? "" : `, ${one.decision}`),
      h("span", {}, one.key),
      h("span", { title: `request ${one.id}, row ${one.row}, score ${number(one.score)}` }, clock(one.time)))));
}

export function evidence(model, version, now) {
  return section("evidence", "Evidence",
    version.evidence.checks.length ? h("ul", { class: "checks" }, version.evidence.checks.map(([rule, verdict, reason]) =>
      h("li", {}, mark(verdict, verdict === "PASS" ? "pass" : verdict === "FAIL" ? "fail" : "inconclusive"),
        h("div", {}, h("strong", {}, sentence(rule.replaceAll("_", " "))), h("p", {}, reason))))) : h("p", { class: "aside" }, "None was asked for."),
    h("h3", {}, "Versions"),
    scroll("Versions of this model", h("table", { class: "figures" },
      h("thead", {}, h("tr", {}, ["Route", "Version", "State", "Since", "Samples"].map((one) => h("th", { scope: "col", class: one === "Samples" ? "n" : null }, one)))),
      h("tbody", {}, model.versions.map((one) => h("tr", {},
        h("th", { scope: "row" }, sentence(one.route)), h("td", {}, one.version), h("td", {}, one.state), h("td", {}, ago(one.since, now)),
        h("td", { class: "n" }, count(one.predictions.reduce((sum, n) => sum + n, 0)))))))),
    h("dl", { class: "digests" }, model.versions.map((one) =>
      h("div", {}, h("dt", {}, `Digest of ${one.version}`), h("dd", {}, h("code", { class: "digest" }, one.digest))))));
}

export function alerts(record, name) {
  const mine = record.alerts.filter((one) => !one.model || one.model === name);
  if (!mine.length) return null;
  return section("alerts", "Alerts", h("ul", { class: "checks" }, mine.slice(0, 20).map((one) =>
    h("li", {}, mark(one.status.toUpperCase(), one.status === "firing" ? "fail" : "pass"),
      h("div", {}, h("strong", {}, one.name), " ", aside(clock(one.time)), h("p", {}, [one.summary, one.outcome].filter(Boolean).join(" ")))))));
}

// What a record says about a model, in a word, a sentence, and reasons.

import { TESTS, ago, count, number, percent } from "./words.js";

/** The version that answers, or null. */
export const primary = (model) => model.versions.find((one) => one.route === "primary") ?? null;

/** Alerts whose last word is that they fire. */
export function firing(alerts, name) {
  const seen = new Set();
  return alerts.filter((one) => {
    const what = `${one.name} ${one.model}`;
    if (seen.has(what) || (one.model && one.model !== name)) return false;
    seen.add(what); // the newest comes first
    return one.status === "firing";
  });
}

const ringing = (version) => version.drift.tests.filter((one) => one.alarm);

/** {word, tone, lead, reasons: [{mark, tone, title, text}]}. */
export function state(model, record) {
  const version = primary(model), alarms = firing(record.alerts, model.name);
  const reasons = [evidence(version, record.time), ...alerts(alarms), drift(version), detectors(version), queries(model, version), audit(record)];
  const found = { reasons: reasons.filter(Boolean) };
  if (!model.ready) {
    const word = version === null ? (model.reason === "it is not loaded yet" ? "Loading" : "Refused") : "Taken out";
    return { ...found, word, tone: word === "Loading" ? "inconclusive" : "fail", lead: `It answers nobody: ${model.reason}` };
  }
  const rang = [...alarms.map((one) => one.name), ...ringing(version).map((one) => `drift of ${one.about}`)];
  if (rang.length) {
    return { ...found, word: "Alarm", tone: "inconclusive", lead: `It still serves, under alarm: ${[...new Set(rang)].join(", ")}.` };
  }
  const proof = version.evidence.verdict === "NONE"
    ? "Nobody asked for its evidence: a server for development."
    : `Its evidence passes the policy ${version.evidence.policy}, and nothing rings.`;
  return { ...found, word: "Serving", tone: version.evidence.verdict === "NONE" ? "inconclusive" : "pass", lead: proof };
}

function evidence(version, now) {
  if (version === null) return null;
  const { verdict, policy, judged, oldest, reason, suspended } = version.evidence;
  if (verdict === "NONE") return reason ? { mark: "OUT", tone: "fail", title: "Evidence", text: reason }
    : { mark: "NONE", tone: "inconclusive", title: "Evidence", text: "Nothing was verified; whoever can write the bundle decides what is answered." };
  const age = oldest === null ? "" : `; the oldest claim is from ${ago(oldest, now)}`;
  const text = `${suspended ? "Suspended by a claim. " : ""}Policy ${policy}, judged ${ago(judged, now)}${age}.`;
  return { mark: verdict, tone: verdict === "PASS" ? "pass" : "fail", title: "Evidence", text };
}

const alerts = (alarms) =>
  alarms.map((one) => ({ mark: "FIRING", tone: one.severity === "critical" ? "fail" : "inconclusive", title: one.name,
    text: [one.summary, one.outcome].filter(Boolean).join(" ") || `Severity ${one.severity || "unknown"}.` }));

function drift(version) {
  if (version === null) return null;
  const { watched, reason, tests, samples } = version.drift, rang = ringing(version);
  if (!watched) return { mark: "OFF", tone: "", title: "Drift", text: `Not watched${reason ? `: ${reason}` : "."}` };
  if (!rang.length) return { mark: "CALM", tone: "pass", title: "Drift", text: `${tests.length} tests over ${count(samples)} samples, none rings.` };
  const text = rang.map((one) => `${TESTS[one.name] ?? one.name} of ${one.about}${one.detail ? ` (${one.detail})` : ""}`).join("; ");
  return { mark: "ALARM", tone: "inconclusive", title: "Drift", text: `${text}.` };
}

function detectors(version) {
  if (version === null) return null;
  const { detects, flagged, share } = version.alarms;
  const samples = Object.values(version.alarms.decisions).reduce((sum, n) => sum + n, 0);
  if (!detects) return { mark: "OFF", tone: "", title: "Detectors", text: "None looks at this model's inputs." };
  const text = `${count(flagged)} of ${count(samples)} samples flagged; ${percent(share)} in the last minute.`;
  return { mark: "ON", tone: "pass", title: "Detectors", text };
}

function queries(model, version) {
  const n = version?.alarms.suspicious ?? 0;
  return n ? { mark: "NOTE", tone: "inconclusive", title: "Queries", text: `${count(n)} requests came with so many near duplicates that they look like a search for an adversarial.` } : null;
}

function audit(record) {
  if (!record.audit_lost) return null;
  return { mark: "LOST", tone: "fail", title: "Audit log", text: `${count(record.audit_lost)} records could not be written.` };
}

/** A test's figures in a line. */
export const figures = (test) =>
  test.statistic === null ? "no window is full yet" : `${number(test.statistic)} of ${number(test.threshold)}`;

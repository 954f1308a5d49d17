// How figures, moments and states are written.

const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });

export const NONE = "–";

export const count = (n) => (n === null || n === undefined ? NONE : whole.format(n));

/** A rate: three digits, as many decimals as that leaves. */
export function rate(value) {
  if (value === null || value === undefined) return NONE;
  if (value === 0) return "0";
  if (value < 0.01) return "<0.01";
  return value >= 100 ? whole.format(value) : value.toFixed(value >= 10 ? 1 : 2);
}

/** A share in percent; what is not all is never written as 100%, nor what is not nothing as 0%. */
export function percent(share) {
  if (share === null || share === undefined || Number.isNaN(share)) return NONE;
  const text = `${(100 * share).toFixed(1)}%`;
  if (text === "100.0%" && share < 1) return ">99.9%";
  if (text === "0.0%" && share > 0) return "<0.1%";
  return text;
}

export function pValue(p) {
  if (p === null || p === undefined || Number.isNaN(p)) return NONE;
  return p < 0.001 ? "<0.001" : Number(p.toPrecision(2)).toString();
}

export const number = (value) =>
  value === null || value === undefined || Number.isNaN(value) ? NONE : (Number(value.toPrecision(3)) + 0).toString();

/** A length of time as two parts: figure and unit. */
export function duration(seconds) {
  if (seconds === null || seconds === undefined) return [NONE, ""];
  if (seconds < 1) return [number(1000 * seconds), "ms"];
  return [number(seconds), "s"];
}

/** How long ago, as one says it. */
export function ago(moment, now) {
  const seconds = Math.max(0, now - moment);
  if (seconds < 2) return "now";
  if (seconds < 120) return `${Math.floor(seconds)} s ago`;
  if (seconds < 7200) return `${Math.floor(seconds / 60)} min ago`;
  if (seconds < 172800) return `${Math.floor(seconds / 3600)} h ago`;
  return `${Math.floor(seconds / 86400)} days ago`;
}

/** A moment of today as a time, another with its date. */
export function clock(moment) {
  const then = new Date(1000 * moment), today = new Date();
  const time = then.toLocaleTimeString("en-GB");
  return then.toDateString() === today.toDateString() ? time : `${then.toLocaleDateString("en-CA")} ${time}`;
}

export const sentence = (text) => text.slice(0, 1).toUpperCase() + text.slice(1);

export const TESTS = {
  ks: "Kolmogorov-Smirnov", mmd: "Mean discrepancy (MMD)", classes: "Class shares", sequential: "Sequential test",
  cusum: "CUSUM", accuracy: "Accuracy",
};

/** A test's figures in a line. */
export const figures = (test) =>
  test.statistic === null ? "no window is full yet" : `${number(test.statistic)} of ${number(test.threshold)}`;

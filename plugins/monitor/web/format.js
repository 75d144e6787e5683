// Figures as people read them. What is no number is "no data", never 0.

export const NONE = "no data";

const plain = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const fine = [2, 1, 0].map((digits) => new Intl.NumberFormat("en", { maximumFractionDigits: digits }));
const compact = new Intl.NumberFormat("en", { notation: "compact", maximumSignificantDigits: 3 });

const isNumber = (v) => typeof v === "number" && Number.isFinite(v);

// Three significant digits or so; whole numbers below a hundred thousand are written out.
export function number(v) {
  if (!isNumber(v)) return NONE;
  const size = Math.abs(v);
  if (size >= 100000) return compact.format(v);
  if (size !== 0 && size < 0.01) return v.toPrecision(2);
  return fine[size < 10 ? 0 : size < 100 ? 1 : 2].format(v);
}

export const count = (v) => (isNumber(v) ? plain.format(v) : NONE);
export const percent = (v) => (isNumber(v) ? `${number(v)} %` : NONE);
export const perSecond = (v) => (isNumber(v) ? `${number(v)}/s` : NONE);

export function milliseconds(v) {
  if (!isNumber(v)) return NONE;
  if (v >= 1000) return `${number(v / 1000)} s`;
  return v !== 0 && v < 0.1 ? `${number(v * 1000)} µs` : `${number(v)} ms`;
}

export const seconds = (v) => (isNumber(v) ? milliseconds(v * 1000) : NONE);

export function bytes(v) {
  if (!isNumber(v)) return NONE;
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let unit = 0;
  for (; Math.abs(v) >= 1024 && unit < units.length - 1; unit++) v /= 1024;
  return `${number(v)} ${units[unit]}`;
}

export const bytesPerSecond = (v) => (isNumber(v) ? `${bytes(v)}/s` : NONE);

// A span of time in its two greatest units: "3 h 20 min".
export function span(v) {
  if (!isNumber(v)) return NONE;
  const units = [["d", 86400], ["h", 3600], ["min", 60], ["s", 1]];
  const parts = [];
  let left = Math.round(v);
  for (const [unit, size] of units) {
    if (left >= size && parts.length < 2) parts.push(`${Math.floor(left / size)} ${unit}`);
    left %= size;
  }
  return parts.join(" ") || "0 s";
}

const clock = new Intl.DateTimeFormat("en-GB", { timeStyle: "medium" });
const day = new Intl.DateTimeFormat("en-GB", { dateStyle: "medium", timeStyle: "medium" });

// A moment: the time alone where it is of today.
export function moment(v) {
  const date = v instanceof Date ? v : new Date(v);
  if (v === null || v === undefined || Number.isNaN(date.getTime())) return NONE;
  const today = new Date().toDateString() === date.toDateString();
  return (today ? clock : day).format(date);
}

export function text(v) {
  if (v === null || v === undefined) return "";
  if (typeof v === "boolean") return v ? "yes" : "no";
  return typeof v === "number" ? number(v) : String(v);
}

// Series of the host's history, brought up to date piece by piece: the whole range once, and then what is new.

import { command } from "./api.js";

const POINTS = 300;
const UNITS = { m: 60, h: 3600, d: 86400, mo: 30.5 * 86400 };
// What the host keeps: [how far back, from sample to sample], in seconds.
const GRAINS = [
  [3600, 1],
  [7 * 86400, 60],
  [Infinity, 3600],
];

export class Range {
  constructor(name) {
    const [, n, unit] = /^(\d+)(m|h|d|mo)$/.exec(name);
    this.name = name;
    this.seconds = Number(n) * UNITS[unit];
    const grain = GRAINS.find(([reach]) => this.seconds <= reach)[1];
    this.step = Math.max(1, Math.ceil(this.seconds / POINTS / grain)) * grain;
  }
  // How often it is worth to ask.
  get interval() {
    return Math.min(Math.max(this.step * 1000, 2000), 60000);
  }
}

// One name with all its labels: key of the series -> Map of time (ms) -> value.
class Named {
  constructor(name, range) {
    this.name = name;
    this.range = range;
    this.series = new Map();
    this.unit = "";
    this.until = 0; // ms; the last time that is there
  }

  async update(now) {
    const { seconds, step } = this.range;
    const missing = Math.ceil((now - this.until) / 1000);
    const all = !this.until || missing + 3 * step >= seconds;
    // The last span was not over when it was asked for; the first of an answer may be cut.
    const span = all ? Math.ceil(seconds) : missing + 3 * step;
    const answer = await command("history", this.name, `${span}s`, "STEP", `${step}s`);
    const cut = all ? -Infinity : now - span * 1000 + step * 1000;
    if (all) this.series.clear();
    for (const row of answer.rows) this.#take(row, cut);
    for (const points of this.series.values())
      for (const time of points.keys()) if (time < now - seconds * 1000) points.delete(time);
  }

  #take(row, cut) {
    const time = Date.parse(row.time);
    if (!(time >= cut) || row.value === null) return;
    let points = this.series.get(row.series);
    if (!points) this.series.set(row.series, (points = new Map()));
    points.set(time, row.value);
    this.unit = row.unit;
    if (time > this.until) this.until = time;
  }

  // All labels together: time -> sum.
  sum() {
    const sums = new Map();
    for (const points of this.series.values())
      for (const [time, value] of points) sums.set(time, (sums.get(time) ?? 0) + value);
    return sums;
  }
}

export class History {
  constructor(range) {
    this.range = range;
    this.names = new Map();
  }

  async update(name) {
    let named = this.names.get(name);
    if (!named) this.names.set(name, (named = new Named(name, this.range)));
    await named.update(Date.now());
    return named;
  }
}

// Lines of one plot as rows [Date, a, b, …]. A line without a value at a time is null there; where nothing is known
// for longer than a few steps, a row of NaN breaks all lines.
export function rowsOf(lines, step) {
  const times = [...new Set(lines.flatMap((line) => [...line.keys()]))].sort((a, b) => a - b);
  const rows = [];
  const hole = Math.max(4 * step, 5) * 1000;
  for (const [i, time] of times.entries()) {
    if (i && time - times[i - 1] > hole) rows.push([new Date(times[i - 1] + step * 1000), ...lines.map(() => NaN)]);
    rows.push([new Date(time), ...lines.map((line) => line.get(time) ?? null)]);
  }
  return rows;
}

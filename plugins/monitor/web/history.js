// Series of the host's history, brought up to date piece by piece: the whole range once, and then what is new.

import { command } from "./api.js";

const POINTS = 300;
const LATE = 300; // seconds that a series may come later than others
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
  }
  // From point to point, in seconds, where so many are wanted.
  step(points = POINTS) {
    const grain = GRAINS.find(([reach]) => this.seconds <= reach)[1];
    return Math.max(1, Math.ceil(this.seconds / points / grain)) * grain;
  }
  // How often it is worth to ask.
  get interval() {
    return Math.min(Math.max(this.step() * 1000, 2000), 60000);
  }
}

// "name{a=b,c=d}", as the host writes series, in its parts.
function parse(key) {
  const brace = key.indexOf("{");
  if (brace < 0) return { name: key, labels: {} };
  const labels = {};
  for (const [, label, value] of key.slice(brace + 1, -1).matchAll(/(?:^|,)([a-z_]+)=([^]*?)(?=,[a-z_]+=|$)/g))
    labels[label] = value;
  return { name: key.slice(0, brace), labels };
}

// A source is written like a series; labels that it does not name may be anything.
function matches(series, source, more) {
  if (series.name !== source.name) return false;
  const agree = (labels) => Object.entries(labels).every(([name, value]) => series.labels[name] === value);
  return agree(source.labels) && agree(more);
}

// Names with all their labels over one range, in one question: key of the series -> {name, labels, points}, with
// points as a Map of time (ms) -> value.
export class Track {
  constructor(names, range, points) {
    this.names = names;
    this.range = range;
    this.step = range.step(points);
    this.series = new Map();
    this.until = 0; // ms; the last time that is there
  }

  async update(now = Date.now()) {
    const { seconds } = this.range;
    const missing = Math.ceil((now - this.known()) / 1000);
    const all = !this.until || missing < 0 || missing + 3 * this.step >= seconds;
    // The last span was not over when it was asked for; the first of an answer may be cut.
    const span = all ? Math.ceil(seconds) : missing + 3 * this.step;
    const answer = await command("history", ...this.names, `${span}s`, "STEP", `${this.step}s`);
    const cut = all ? -Infinity : now - span * 1000 + this.step * 1000;
    if (all) this.series.clear();
    for (const row of answer.rows) this.take(row, cut);
    for (const { points } of this.series.values())
      for (const time of points.keys()) if (time < now - seconds * 1000) points.delete(time);
  }

  // Up to where all series are there, in ms. What collectors count comes as late as they look; what has not come for
  // long is not waited for.
  known() {
    const late = this.until - Math.max(LATE, 10 * this.step) * 1000;
    const ends = [...this.series.values()].map(({ last }) => last);
    return Math.min(this.until, ...ends.filter((last) => last > late));
  }

  // One row of an answer.
  take(row, cut = -Infinity) {
    const time = Date.parse(row.time);
    if (!(time >= cut) || row.value === null) return;
    let series = this.series.get(row.series);
    if (!series) this.series.set(row.series, (series = { ...parse(row.series), points: new Map(), last: time }));
    series.points.set(time, row.value);
    if (time > series.last) series.last = time;
    if (time > this.until) this.until = time;
  }

  // One series by its key: [time, value], the oldest first.
  course(key) {
    return [...(this.series.get(key)?.points ?? [])].sort(([a], [b]) => a - b);
  }

  // All series that match, put together by `join`: time -> value. `labels`: what they must have beyond what the source
  // says.
  all(source, join, labels) {
    const wanted = parse(source);
    const out = new Map();
    for (const series of this.series.values()) {
      if (!matches(series, wanted, labels)) continue;
      for (const [time, value] of series.points) out.set(time, out.has(time) ? join(out.get(time), value) : value);
    }
    return out;
  }
}

export const nameOf = (source) => parse(source).name;

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

// What is shown as figures: the tiles of "Now" and the plots over time, and the series that they are made of.

import { NONE, bytes, count, milliseconds, number, percent, perSecond } from "./format.js";
import { Plot } from "./plots.js";
import { element, setText } from "./tables.js";

const each = (a, b, make) => {
  const out = new Map();
  for (const [time, x] of a) {
    const value = make(x, b.get(time));
    if (value !== null) out.set(time, value);
  }
  return out;
};
const same = (a) => a;
const times = (factor) => (a) => new Map([...a].map(([time, v]) => [time, v * factor]));
const sum = (a, b) => {
  const out = new Map(a);
  for (const [time, v] of b) out.set(time, v + (a.get(time) ?? 0));
  return out;
};
const share = (hits, misses) => (hits + misses > 0 ? (100 * hits) / (hits + misses) : null);

const line = (label, from, make = same) => ({ label, from: [from].flat(), make });

const HITS = "howdah_cache_hits_total";
const MISSES = "howdah_cache_misses_total";
const SECONDS = "howdah_statement_seconds";

const empty = "No data in this range.";

// plugin: who counts it. Without that plugin there cannot be anything.
const PLOTS = [
  {
    title: "Throughput",
    format: perSecond,
    lines: [
      line("Statements", ["howdah_forwarded_total", "howdah_answered_total"], sum),
      line("Transactions", "howdah_transactions_total"),
    ],
  },
  {
    title: "Latency of statements",
    plugin: "statements",
    format: milliseconds,
    lines: [
      line("Median", `${SECONDS}_p50`, times(1000)),
      line("95 %", `${SECONDS}_p95`, times(1000)),
      line("99 %", `${SECONDS}_p99`, times(1000)),
    ],
  },
  {
    title: "Cache hit ratio",
    plugin: "cache",
    format: percent,
    most: 101,
    empty: "No data: nothing that the cache may answer was read in this range.",
    lines: [line("Hits", [HITS, MISSES], (hits, misses) => each(hits, misses, (h, m) => share(h, m ?? 0)))],
  },
  {
    title: "Connections",
    format: number,
    lines: [
      line("Clients", "howdah_clients"),
      line("Servers at work", "howdah_servers_busy"),
      line("Servers idle", "howdah_servers_idle"),
    ],
  },
  {
    title: "Waiting for a server connection",
    format: number,
    lines: [line("Clients that wait", "howdah_clients_waiting"), line("Waits per second", "howdah_waits_total")],
  },
  {
    title: "Errors",
    plugin: "statements",
    format: perSecond,
    empty: "No statement has failed in this range.",
    lines: [line("Statements that failed", "howdah_statement_errors_total")],
  },
  {
    title: "Processors",
    format: percent,
    lines: [
      line("The machine's", "howdah_machine_cpu_percent"),
      line("This host, of one", "howdah_process_cpu_percent"),
    ],
  },
];

// key: where a test, or a script of somebody's own, finds the figure.
const TILES = [
  { key: "statements", name: "Statements", format: perSecond, of: (s) => add(s("howdah_forwarded_total"), s("howdah_answered_total")) },
  { key: "p95", name: "95 % take at most", plugin: "statements", format: milliseconds, of: (s) => scale(s(`${SECONDS}_p95`), 1000) },
  { key: "hits", name: "Cache hits", plugin: "cache", format: percent, of: (s) => share(s(HITS) ?? 0, s(MISSES) ?? 0) },
  { key: "clients", name: "Clients", format: count, of: (s) => s("howdah_clients") },
  { key: "busy", name: "Servers at work", format: count, of: (s) => s("howdah_servers_busy") },
  { key: "waiting", name: "Clients that wait", format: count, of: (s) => s("howdah_clients_waiting") },
  { key: "errors", name: "Errors", plugin: "statements", format: perSecond, of: (s) => s("howdah_statement_errors_total") ?? 0 },
  { key: "memory", name: "Memory of the host", format: bytes, of: (s) => s("howdah_process_resident_bytes") },
  { key: "processors", name: "Processors of the machine", format: percent, of: (s) => s("howdah_machine_cpu_percent") },
];

const add = (a, b) => (a === null && b === null ? null : (a ?? 0) + (b ?? 0));
const scale = (v, factor) => (v === null ? null : v * factor);

// Why there is nothing where a plugin that counts does not run; "" where it does. `plugins` is null when not known.
export function offWords(plugins, id) {
  const plugin = id && plugins?.get(id);
  if (!id || !plugins || plugin?.state === "running" || plugin?.state === "observing") return "";
  if (!plugin) return `The plugin ${id} is not installed.`;
  if (plugin.state === "available") return `The plugin ${id} is off.`;
  return `The plugin ${id} is ${plugin.state}${plugin.reason ? `: ${plugin.reason}` : ""}.`;
}

export class Tiles {
  constructor(list) {
    this.tiles = TILES.map((tile) => {
      const value = element("dd", { dataset: { figure: tile.key } }, NONE);
      const note = element("dd", { className: "why" });
      list.append(element("div", {}, element("dt", {}, tile.name), value, note));
      return { ...tile, value, note };
    });
  }

  // `series`: rows of SHOW SERIES. Labels of one name are added up.
  update(series, plugins) {
    const sums = new Map();
    for (const { series: key, value } of series) {
      const brace = key.indexOf("{");
      const name = brace < 0 ? key : key.slice(0, brace);
      if (value !== null) sums.set(name, (sums.get(name) ?? 0) + value);
    }
    for (const tile of this.tiles) {
      const off = offWords(plugins, tile.plugin);
      const value = off ? null : tile.of((name) => sums.get(name) ?? null);
      setText(tile.value, tile.format(value));
      setText(tile.note, off);
    }
  }
}

export class Plots {
  constructor(parent, plugins) {
    this.plots = PLOTS.map(
      (p) => new Plot(parent, { ...p, missing: () => offWords(plugins(), p.plugin) || p.empty || empty }),
    );
  }

  // All of them, one after the other: a browser in a corner must not be a load on the host.
  async update(history) {
    for (const plot of this.plots) {
      try {
        await plot.update(history);
      } catch (e) {
        if (e.unreachable || e.status === 401) throw e;
      }
    }
  }

  recolour() {
    for (const plot of this.plots) plot.recolour();
  }
}

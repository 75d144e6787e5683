// What is shown as figures: the tiles of "Now", and the groups of plots over time.

import { command } from "./api.js";
import { CHARTS, linesOf, namesOf } from "./charts.js";
import { NONE, bytes, count, milliseconds, percent, perSecond } from "./format.js";
import { Track } from "./history.js";
import { Plot } from "./plots.js";
import { element, setText } from "./tables.js";

const HITS = "howdah_cache_hits_total";
const MISSES = "howdah_cache_misses_total";
const SECONDS = "howdah_statement_seconds";

const add = (a, b) => (a === null && b === null ? null : (a ?? 0) + (b ?? 0));
const scale = (v, factor) => (v === null ? null : v * factor);
const share = (hits, misses) => (hits + misses > 0 ? (100 * hits) / (hits + misses) : null);

const empty = "No data in this range.";

// key: where a test, or a script of somebody's own, finds the figure.
const TILES = [
  { key: "statements", name: "Statements", format: perSecond, of: (s) => add(s("howdah_forwarded_total"), s("howdah_answered_total")) },
  { key: "p95", name: "95 % within", plugin: "statements", format: milliseconds, of: (s) => scale(s(`${SECONDS}_p95`), 1000) },
  { key: "hits", name: "Cache hits", plugin: "cache", format: percent, of: (s) => share(s(HITS) ?? 0, s(MISSES) ?? 0) },
  { key: "clients", name: "Clients", format: count, of: (s) => s("howdah_clients") },
  { key: "busy", name: "Servers busy", format: count, of: (s) => s("howdah_servers_busy") },
  { key: "waiting", name: "Clients waiting", format: count, of: (s) => s("howdah_clients_waiting") },
  { key: "errors", name: "Errors", plugin: "statements", format: perSecond, of: (s) => s("howdah_statement_errors_total") ?? 0 },
  { key: "memory", name: "Host's memory", format: bytes, of: (s) => s("howdah_process_resident_bytes") },
  { key: "processors", name: "Processors", format: percent, of: (s) => s("howdah_machine_cpu_percent") },
];

const TILE_SERIES = ["howdah_forwarded", "howdah_answered", `${SECONDS}_p95`, HITS, MISSES, "howdah_clients", "howdah_servers_busy"].concat(
  ["howdah_statement_errors", "howdah_process_resident", "howdah_machine_cpu_percent"],
);

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

  // Labels of one name are added up.
  async update({ plugins }) {
    const series = (await command("series", ...TILE_SERIES)).rows;
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

// The plots of one view. All their series come with one question.
export class Plots {
  constructor(view, plugins) {
    this.charts = CHARTS[view];
    this.names = namesOf(this.charts);
    const missing = (chart) => () => offWords(plugins(), chart.plugin) || chart.empty || empty;
    const parent = document.getElementById(`plots-${view}`);
    this.plots = this.charts.map((chart) => new Plot(parent, { ...chart, missing: missing(chart) }));
    this.track = null;
  }

  async update(range, labels) {
    if (this.track?.range !== range) this.track = new Track(this.names, range);
    const track = this.track; // another range may be chosen before this one's answer
    try {
      await track.update();
    } catch (e) {
      const words = e.status === 401 ? "The host wants its token." : `No history: ${e.message}`;
      if (!e.unreachable && track === this.track) for (const plot of this.plots) plot.say(words);
      throw e;
    }
    if (track !== this.track) return;
    for (const [i, plot] of this.plots.entries()) plot.show(linesOf(this.charts[i], track, labels), track);
  }

  // What was hidden may have another width by now.
  fit() {
    for (const plot of this.plots) plot.fit();
  }

  recolour() {
    for (const plot of this.plots) plot.recolour();
  }
}

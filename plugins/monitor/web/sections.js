// A section of the page with a table that is asked for again and again, and the tables of the host's own parts: nodes,
// pools, plugins, parts that do not work, events.

import { command, health } from "./api.js";
import { count, moment, milliseconds, seconds, span, text } from "./format.js";
import { Track } from "./history.js";
import { fillStrip } from "./plots.js";
import { Table, element, fillState, setText } from "./tables.js";

const EVENTS = 50;
const NOISE = /^(session|statement)\./;

// Columns: of a row's field, written by `format`.
export const column = (name, field, format = text, more = {}) => ({ name, of: (row) => format(row[field]), ...more });
export const figure = (name, field, format = count) => column(name, field, format, { number: true });
export const when = (name, field, format = moment) => column(name, field, format, { kind: "short" });
export const words = (name, field) => column(name, field, text, { kind: "wide" });
export const head = (name, field) => column(name, field, text, { head: true });

// What need not be there.
export const maybe = (format) => (v) => (v === null ? "" : format(v));

const PLUGIN_KINDS = { running: "good", observing: "good", available: "off", stopped: "off" };

export class Section {
  // every: ms from one question to the next; what is asked of the PostgreSQL servers is asked less often.
  constructor(id, caption, columns, key, empty, every = 3000) {
    this.id = id;
    this.empty = empty;
    this.every = every;
    this.table = new Table(document.getElementById(id), caption, columns, key);
    this.turn = 0;
  }

  // rows() brings them; what cannot be had is said in place of the table.
  async show(rows) {
    const mine = ++this.turn; // an answer that was overtaken by a later one is dropped
    try {
      const data = await rows();
      if (mine === this.turn) this.table.update(data, this.empty);
    } catch (e) {
      if (e.unreachable || mine !== this.turn) throw e;
      this.table.say(e.status === 401 ? "The host wants its token." : e.message);
      if (e.status === 401) throw e;
    }
  }
}

export class Nodes extends Section {
  constructor() {
    super(
      "nodes",
      "Nodes",
      [
        head("Node", "node"),
        { name: "State", fill: (cell, row) => fillState(cell, row.state, row.state === "up" ? "good" : "bad") },
        { name: "Up over the range", fill: (cell, row) => this.#fillCourse(cell, row) },
        column("Role", "role"),
        column("Version", "version"),
        figure("Answers in", "latency_ms", maybe(milliseconds)),
        figure("Lag", "lag_seconds", maybe(seconds)),
        when("Since", "since"),
        words("Reason", "reason"),
      ],
      (row) => row.node,
      "No node is configured.",
    );
    this.track = null;
  }

  update({ range }) {
    return this.show(async () => {
      const { rows } = await command("nodes");
      if (this.track?.range !== range) this.track = new Track(["howdah_node_up"], range, 120);
      try {
        await this.track.update();
      } catch (e) {
        if (e.unreachable || e.status === 401) throw e;
        this.track = null; // the history cannot be read, which the plots say
      }
      return rows;
    });
  }

  #fillCourse(cell, row) {
    const points = this.track?.course(`howdah_node_up{node=${row.node}}`) ?? [];
    const mean = points.reduce((sum, [, up]) => sum + up, 0) / points.length;
    // Never "100 %" where it was down for a moment.
    const share = points.length ? `${mean < 1 ? Math.min(99.9, 100 * mean).toFixed(1) : 100} %` : "no history";
    if (!cell.firstChild) cell.append(element("span"), " ");
    setText(cell.firstChild, share);
    if (points.length) fillStrip(cell, points, this.track, `up ${share} of the time for which there is history`);
  }
}

export class Pools extends Section {
  constructor() {
    super(
      "pools",
      "Pools of server connections",
      [
        head("Database", "database"),
        column("User", "user"),
        column("Node", "node"),
        column("Mode", "mode"),
        figure("Clients", "clients"),
        figure("Waiting", "waiting"),
        figure("Longest wait", "longest_wait", seconds),
        { name: "At work", fill: fillUse },
        figure("Idle", "idle"),
        figure("Full in", "full_in", (v) => (v === null || v === undefined ? "" : span(v))),
        { name: "State", fill: fillPoolState },
      ],
      (row) => `${row.database}\n${row.user}\n${row.node}`,
      "Nobody has connected yet.",
    );
  }

  update() {
    const key = (row) => JSON.stringify([row.database, row.user, row.node]);
    return this.show(async () => {
      const use = new Map((await command("pool/use")).rows.map((row) => [key(row), row]));
      return (await command("pools")).rows.map((row) => ({ ...row, full_in: use.get(key(row))?.full_in }));
    });
  }
}

// A meter, with its figures as text beside it.
function fillUse(cell, row) {
  if (!cell.firstChild) cell.append(element("meter", { min: 0, ariaLabel: "Server connections at work" }), element("span"));
  const [meter, figures] = cell.children;
  meter.max = row.pool_size;
  meter.value = row.busy;
  setText(figures, `${count(row.busy)} of ${count(row.pool_size)}`);
}

function fillPoolState(cell, row) {
  if (row.failure) fillState(cell, row.failure, "bad");
  else if (row.paused) fillState(cell, "paused", "off");
  else fillState(cell, row.waiting ? "waited for" : "open", row.waiting ? "warn" : "good");
}

export class Plugins extends Section {
  constructor() {
    super(
      "plugins",
      "Plugins",
      [
        head("Plugin", "name"),
        {
          name: "State",
          fill: (cell, row) => fillState(cell, row.state === "available" ? "off" : row.state, PLUGIN_KINDS[row.state] ?? "bad"),
        },
        column("Version", "version"),
        figure("Acted", "acted"),
        figure("Observed", "observed"),
        figure("Failures", "failures"),
        words("What for, and why not", "reason"),
      ],
      (row) => row.name,
      "No plugin is installed.",
    );
    this.known = null; // by name; null: not asked yet
  }

  update() {
    return this.show(async () => {
      const { rows } = await command("plugins");
      this.known = new Map(rows.map((row) => [row.name, row]));
      return rows.map((row) => ({ ...row, reason: row.reason || row.summary }));
    });
  }
}

export class Health extends Section {
  constructor() {
    super(
      "health",
      "Parts that do not work",
      [
        head("Part", "name"),
        column("Kind", "kind"),
        { name: "State", fill: (cell, row) => fillState(cell, row.state, "bad") },
        words("Reason", "reason"),
      ],
      (row) => `${row.kind}\n${row.name}`,
      "All parts work.",
    );
    this.report = null;
  }

  update() {
    return this.show(async () => {
      this.report = await health();
      return this.report.components.filter((c) => !c.active);
    });
  }
}

export class Events extends Section {
  constructor(isAll) {
    super(
      "events",
      "Events, newest first",
      [when("Time", "time"), column("Topic", "topic"), words("Event", "event")],
      (row) => `${row.time}\n${row.topic}\n${row.event}`,
      "Nothing has happened yet.",
    );
    this.isAll = isAll;
  }

  update() {
    return this.show(async () => {
      const { rows } = await command("events");
      return rows.filter((row) => this.isAll() || !NOISE.test(row.topic)).slice(-EVENTS).reverse();
    });
  }
}

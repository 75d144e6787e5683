// The tables: statements with sparklines, nodes, pools, plugins, parts that do not work, alerts, events.

import { command, health } from "./api.js";
import { offWords } from "./figures.js";
import { count, milliseconds, moment, percent, seconds, text } from "./format.js";
import { fillSpark } from "./plots.js";
import { Table, element, fillState, setText } from "./tables.js";

const TOP = 20;
const EVENTS = 50;
const NOISE = /^(session|statement)\./;

const column = (name, field, format = text, more = {}) => ({ name, of: (row) => format(row[field]), ...more });
const figure = (name, field, format = count) => column(name, field, format, { number: true });
const head = (name, field) => column(name, field, text, { head: true });

// A moment that need not have come.
const maybe = (v) => (v === null ? "" : moment(v));

const PLUGIN_KINDS = { running: "good", observing: "good", available: "off", stopped: "off" };

class Section {
  constructor(id, caption, columns, key, empty) {
    this.id = id;
    this.empty = empty;
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

// --- statements ---------------------------------------------------------------------------------------------------

const templateKey = (row) => `${row.fingerprint ?? ""}\n${row.database}\n${row.user}`;
// As the host writes the labels of a series.
const seriesKey = (name, row) => `${name}{database=${row.database},fingerprint=${row.fingerprint},user=${row.user}}`;
const SPENT = "howdah_template_seconds_total";

export class Statements extends Section {
  constructor() {
    const spark = { name: "Time spent", fill: (cell, row) => this.#fillSpark(cell, row) };
    super(
      "statements",
      "Statements, costliest first",
      [
        column("Statement", "statement", (v) => v || "(all others)", { head: true }),
        column("Database", "database"),
        column("User", "user"),
        figure("Calls", "calls"),
        figure("Errors", "errors"),
        figure("Mean", "mean_ms", milliseconds),
        figure("95 %", "p95_ms", milliseconds),
        figure("Waited", "queue_ms", milliseconds),
        figure("Rows", "rows"),
        spark,
      ],
      templateKey,
      "No statement has been counted yet.",
    );
    this.spent = new Map();
  }

  async update(order, history, plugins) {
    await this.show(async () => {
      const off = offWords(plugins, "statements");
      if (off) throw new Error(off);
      const answer = await command("templates", "TOP", TOP, "ORDER", "BY", order);
      try {
        this.spent = (await history.update(SPENT)).series;
      } catch (e) {
        if (e.unreachable) throw e;
        this.spent = new Map(); // the history cannot be read, which the plots say
      }
      return answer.rows;
    });
  }

  #fillSpark(cell, row) {
    const points = [...(this.spent.get(seriesKey(SPENT, row)) ?? [])].sort(([a], [b]) => a - b);
    const share = (v) => percent(v * 100);
    const words = points.length
      ? `time spent in it: ${share(points[0][1])} of one connection's time at first, ${share(points.at(-1)[1])} at last`
      : "no course over time: it is not among the costliest";
    fillSpark(cell, points, words);
  }
}

export class Slow extends Section {
  constructor() {
    super(
      "slow",
      "Slow statements, newest first",
      [
        column("Time", "time", moment),
        head("Statement", "statement"),
        column("Database", "database"),
        column("User", "user"),
        column("Application", "application"),
        figure("Took", "total_ms", milliseconds),
        figure("Usually", "usual_ms", (v) => (v === null ? "" : milliseconds(v))),
        figure("Waited", "queue_ms", milliseconds),
        figure("Rows", "rows"),
        column("Error", "sqlstate"),
      ],
      (row) => String(row.number),
      "None of late.",
    );
  }

  update() {
    return this.show(async () => (await command("slow", "TOP", TOP)).rows);
  }
}

// --- the rest -----------------------------------------------------------------------------------------------------

export class Nodes extends Section {
  constructor() {
    super(
      "nodes",
      "Nodes",
      [
        head("Node", "node"),
        { name: "State", fill: (cell, row) => fillState(cell, row.state, row.state === "up" ? "good" : "bad") },
        column("Role", "role"),
        column("Version", "version"),
        figure("Answers in", "latency_ms", milliseconds),
        figure("Lag", "lag_seconds", (v) => (v === null ? "" : seconds(v))),
        column("Since", "since", moment),
        column("Reason", "reason"),
      ],
      (row) => row.node,
      "No node is configured.",
    );
  }

  update() {
    return this.show(async () => (await command("nodes")).rows);
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
        { name: "State", fill: fillPoolState },
      ],
      (row) => `${row.database}\n${row.user}\n${row.node}`,
      "Nobody has connected yet.",
    );
  }

  update() {
    return this.show(async () => (await command("pools")).rows);
  }
}

// A meter, with its figures as text beside it.
function fillUse(cell, row) {
  if (!cell.firstChild) cell.append(element("meter", { min: 0, ariaLabel: "Server connections at work" }), element("span"));
  const [meter, words] = cell.children;
  meter.max = row.pool_size;
  meter.value = row.busy;
  setText(words, `${count(row.busy)} of ${count(row.pool_size)}`);
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
        column("What for, and why not", "reason", text),
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
        column("Reason", "reason"),
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

export class Alerts extends Section {
  constructor() {
    const kinds = { firing: "bad", pending: "warn", resolved: "good" };
    super(
      "alerts",
      "Alerts",
      [
        head("Alert", "rule"),
        { name: "State", fill: (cell, row) => fillState(cell, row.state, kinds[row.state] ?? "off") },
        column("Severity", "severity"),
        column("Of", "labels"),
        figure("Value", "value", text),
        figure("Threshold", "threshold", text),
        column("Since", "since", maybe),
        column("Until", "until", maybe),
        column("Note", "note"),
        column("What", "summary"),
      ],
      (row) => `${row.id}\n${row.rule}\n${row.labels}`,
      "Nothing is wrong.",
    );
    this.firing = null;
  }

  update(plugins) {
    return this.show(async () => {
      this.firing = null;
      const off = offWords(plugins, "alerts");
      if (off) throw new Error(`${off} Nothing watches these figures.`);
      const { rows } = await command("alerts");
      this.firing = rows.filter((row) => row.state === "firing").length;
      return rows;
    });
  }
}

export class Events extends Section {
  constructor() {
    super(
      "events",
      "Events, newest first",
      [column("Time", "time", moment), column("Topic", "topic"), column("Event", "event", text)],
      (row) => `${row.time}\n${row.topic}\n${row.event}`,
      "Nothing has happened yet.",
    );
  }

  update(all) {
    return this.show(async () => {
      const { rows } = await command("events");
      return rows.filter((row) => all || !NOISE.test(row.topic)).slice(-EVENTS).reverse();
    });
  }
}

// What the PostgreSQL servers say of themselves when they are asked. Each page that is open asks for itself: what costs a
// server more is asked more seldom.

import { command } from "./api.js";
import { bytes, count, milliseconds, moment, percent } from "./format.js";
import { Section, column, figure, head, maybe, when, words } from "./sections.js";
import { element, fillLong, fillState, setText } from "./tables.js";

const OFTEN = 5000;
const SOMETIMES = 15000;
const SELDOM = 60000;
const ROWS = 30;

const statement = { name: "Statement", fill: (cell, row) => fillLong(cell, row.statement ?? "") };
const node = column("Node", "node");

// kept: which rows are worth to be shown.
class View extends Section {
  constructor(id, caption, columns, key, empty, every, kept = () => true) {
    super(id, caption, columns, key, empty, every);
    this.kept = kept;
  }

  update({ node: name }) {
    return this.show(async () => {
      const { rows } = await command(this.id, ...(name ? ["NODE", name] : []));
      const shown = rows.filter(this.kept);
      this.table.more(shown.length - ROWS);
      return shown.slice(0, ROWS);
    });
  }
}

// --- sessions -----------------------------------------------------------------------------------------------------

const SESSION_KINDS = { active: "good", "idle in transaction": "warn", "idle in transaction (aborted)": "bad" };

const wait = (row) => (row.wait_type && row.state === "active" ? `${row.wait_type}: ${row.wait}` : "");

// The questions of the host itself, this one among them.
const isOurs = (row) => row.application === "howdah" && row.statement_ms < 1000;

const activity = () =>
  new View(
    "activity",
    "Sessions in a transaction or at work, the longest first",
    [
      { name: "Process", head: true, of: (row) => String(row.pid) },
      node,
      column("Database", "database"),
      column("User", "user"),
      column("Application", "application"),
      { name: "State", fill: (cell, row) => fillState(cell, row.state ?? "", SESSION_KINDS[row.state] ?? "off") },
      { name: "Waits for", of: wait },
      figure("Transaction", "transaction_ms", maybe(milliseconds)),
      figure("Statement", "statement_ms", maybe(milliseconds)),
      { ...statement, name: "Text" },
    ],
    (row) => `${row.node}\n${row.pid}`,
    "No session is at work.",
    OFTEN,
    (row) => row.state !== "idle" && !isOurs(row),
  );

// A tree by indentation; screen readers get the level as words.
function fillProcess(cell, row) {
  if (!cell.firstChild) cell.append(element("span", { className: "branch", ariaHidden: "true" }), element("span"), element("span", { className: "unseen" }));
  const [branch, pid, level] = cell.children;
  setText(branch, row.depth ? `${"\u2003".repeat(row.depth - 1)}└ ` : "");
  setText(pid, String(row.pid));
  setText(level, row.depth ? `, level ${row.depth}` : ", at the root");
}

const blocking = () =>
  new View(
    "blocking",
    "Who waits for whom: sessions that are blocked, below those that block them",
    [
      { name: "Process", head: true, fill: fillProcess },
      node,
      figure("Blocked by", "blocked_by", (v) => (v === null ? "" : String(v))),
      column("Database", "database"),
      column("User", "user"),
      { name: "State", fill: (cell, row) => fillState(cell, row.state ?? "gone", row.depth ? "bad" : "warn") },
      figure("For", "statement_ms", maybe(milliseconds)),
      statement,
    ],
    (row) => `${row.node}\n${row.root}\n${row.depth}\n${row.pid}\n${row.blocked_by}`,
    "Nobody waits for a lock.",
    OFTEN,
  );

// --- log and standbys ---------------------------------------------------------------------------------------------

const replication = () =>
  new View(
    "replication",
    "Standbys",
    [
      head("Standby", "standby"),
      node,
      column("Address", "address"),
      { name: "State", fill: (cell, row) => fillState(cell, row.state ?? "", row.state === "streaming" ? "good" : "warn") },
      column("Waited for", "sync"),
      figure("Behind", "lag_bytes", maybe(bytes)),
      figure("Lag", "lag_ms", maybe(milliseconds)),
      column("Replayed up to", "replayed"),
    ],
    (row) => `${row.node}\n${row.standby}\n${row.address}`,
    "No standby streams from these servers.",
    SOMETIMES,
  );

const slots = () =>
  new View(
    "slots",
    "Replication slots",
    [
      head("Slot", "slot"),
      node,
      column("Type", "type"),
      column("Plugin", "plugin"),
      column("Database", "database"),
      { name: "State", fill: (cell, row) => fillState(cell, row.active ? "read" : "nobody reads it", row.active ? "good" : "warn") },
      figure("Log kept", "lag_bytes", maybe(bytes)),
      column("Log is", "wal_status"),
    ],
    (row) => `${row.node}\n${row.slot}`,
    "There is no replication slot.",
    SOMETIMES,
  );

// --- tables and databases -----------------------------------------------------------------------------------------

const tables = () =>
  new View(
    "tables",
    "Tables, those that are used most first",
    [
      { name: "Table", head: true, of: (row) => `${row.schema}.${row.table}` },
      node,
      column("Database", "database"),
      figure("Size", "bytes", bytes),
      figure("Rows", "live_rows"),
      figure("Dead rows", "dead_rows"),
      figure("Sequential scans", "sequential_scans"),
      figure("Index scans", "index_scans"),
      figure("Inserts", "inserts"),
      figure("Updates", "updates"),
      figure("Deletes", "deletes"),
      when("Vacuumed", "vacuumed", (v) => (v === null ? "never" : moment(v))),
      when("Analyzed", "analyzed", (v) => (v === null ? "never" : moment(v))),
    ],
    (row) => `${row.node}\n${row.database}\n${row.schema}\n${row.table}`,
    "There are no tables.",
    SELDOM,
  );

const bloat = () =>
  new View(
    "bloat",
    "Room in tables that their rows do not need: an estimate",
    [
      { name: "Table", head: true, of: (row) => `${row.schema}.${row.table}` },
      node,
      column("Database", "database"),
      figure("Size", "bytes", bytes),
      figure("Not needed", "bloat_bytes", bytes),
      figure("Share", "bloat_percent", maybe(percent)),
    ],
    (row) => `${row.node}\n${row.database}\n${row.schema}\n${row.table}`,
    "No table has more room than its rows need.",
    SELDOM,
    (row) => row.bloat_bytes > 0,
  );

const indexes = () =>
  new View(
    "indexes",
    "Indexes that nobody has used, but for those that keep rows unique",
    [
      head("Index", "index"),
      { name: "Table", of: (row) => `${row.schema}.${row.table}` },
      node,
      column("Database", "database"),
      figure("Size", "bytes", bytes),
      { name: "State", fill: (cell, row) => fillState(cell, row.valid ? "not used" : "not valid", row.valid ? "off" : "bad") },
    ],
    (row) => `${row.node}\n${row.database}\n${row.schema}\n${row.index}`,
    "All indexes are used.",
    SELDOM,
    (row) => !row.valid || (row.scans === 0 && !row.is_unique),
  );

function fillAge(cell, row) {
  if (!cell.firstChild) cell.append(element("meter", { min: 0, max: 100, high: 50, optimum: 0, ariaLabel: "Of the way to the wraparound" }), element("span"));
  const [meter, figure] = cell.children;
  meter.value = row.percent;
  setText(figure, percent(row.percent));
}

const wraparound = () =>
  new View(
    "wraparound",
    "Databases by the age of their oldest transaction that is not frozen",
    [
      head("Database", "database"),
      node,
      figure("Age", "age"),
      { name: "Of the way to the wraparound", fill: fillAge },
      figure("Freezing begins at", "freezes_at"),
      figure("Age of multixacts", "multixact_age"),
    ],
    (row) => `${row.node}\n${row.database}`,
    "There are no databases.",
    SELDOM,
  );

const COLLECTORS = { ok: "good", absent: "off", waiting: "off", failing: "bad" };

const collectors = () =>
  new (class extends Section {
    constructor() {
      super(
        "collectors",
        "What is asked of servers and plugins, and how that goes",
        [
          head("Question", "collector"),
          node,
          column("Database", "database"),
          { name: "State", fill: (cell, row) => fillState(cell, row.state, COLLECTORS[row.state] ?? "warn") },
          figure("Every", "interval_ms", milliseconds),
          figure("Took", "last_ms", maybe(milliseconds)),
          figure("Rows", "rows", maybe(count)),
          figure("Asked", "runs", maybe(count)),
          figure("Failures", "failures", maybe(count)),
          words("Error", "error"),
        ],
        (row) => `${row.collector}\n${row.node}\n${row.database}`,
        "Nothing is asked.",
        SOMETIMES,
      );
    }
    update({ node: name }) {
      return this.show(async () => (await command("collectors")).rows.filter((row) => !name || !row.node || row.node === name));
    }
  })();

export const serverSections = () =>
  [blocking, activity, replication, slots, wraparound, tables, bloat, indexes, collectors].map((make) => make());

// The plots of each view: which series their lines are made of.

import { bytes, bytesPerSecond, milliseconds, number, percent, perSecond, seconds } from "./format.js";
import { nameOf } from "./history.js";

const add = (a, b) => a + b;
const worst = Math.max;

const same = (a) => a;
const times = (factor) => (a) => new Map([...a].map(([time, v]) => [time, v * factor]));
const sum = (...maps) => {
  const out = new Map();
  for (const map of maps) for (const [time, v] of map) out.set(time, v + (out.get(time) ?? 0));
  return out;
};
const less = (a, b) => new Map([...a].filter(([time]) => b.has(time)).map(([time, v]) => [time, v - b.get(time)]));
const share = (part, all) => (all > 0 ? (100 * part) / all : null);
// The first one's part of both.
const ratio = (part, rest) => {
  const out = new Map();
  for (const [time, v] of part) {
    const value = share(v, v + (rest.get(time) ?? 0));
    if (value !== null) out.set(time, value);
  }
  return out;
};
// The first one's part of all of them.
const shareOf = (part, ...rest) => ratio(part, sum(...rest));

// from: series, as "name" or "name{label=value}"; make puts them together; join does so with those of one source.
const line = (label, from, make = same, join = add) => ({ label, from: [from].flat(), make, join });
const highest = (label, from) => line(label, from, same, worst);

const SECONDS = "howdah_statement_seconds";
const CPU = (mode) => `howdah_machine_cpu_seconds_total{mode=${mode}}`;
const MODES = ["user", "nice", "system", "irq", "softirq", "iowait", "steal", "idle"];
// Those modes' share of all the time that processors have.
const processors = (label, ...modes) =>
  line(label, [...modes, ...MODES.filter((m) => !modes.includes(m))].map(CPU), (...all) =>
    shareOf(sum(...all.slice(0, modes.length)), ...all.slice(modes.length)),
  );

// plugin: who counts it; without that plugin there cannot be anything.
const OVERVIEW = [
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
    lines: [line("Hits", ["howdah_cache_hits_total", "howdah_cache_misses_total"], ratio)],
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
];

const SERVERS = [
  {
    title: "Sessions",
    format: number,
    lines: [
      line("Active", "howdah_pg_sessions{state=active}"),
      line(
        "Idle in transaction",
        ["howdah_pg_sessions{state=idle in transaction}", "howdah_pg_sessions{state=idle in transaction (aborted)}"],
        sum,
      ),
      line("Idle", "howdah_pg_sessions{state=idle}"),
    ],
  },
  {
    title: "What active sessions wait for",
    format: number,
    lines: [
      line("Locks", "howdah_pg_waiting_sessions{type=Lock}"),
      line(
        "Internal locks",
        ["howdah_pg_waiting_sessions{type=LWLock}", "howdah_pg_waiting_sessions{type=BufferPin}"],
        sum,
      ),
      line("Files", "howdah_pg_waiting_sessions{type=IO}"),
      line(
        "Others",
        ["IPC", "Client", "Timeout", "Extension"].map((type) => `howdah_pg_waiting_sessions{type=${type}}`),
        sum,
      ),
    ],
  },
  {
    title: "Longest transaction and statement",
    format: seconds,
    lines: [
      highest("Transaction", "howdah_pg_longest_transaction_seconds"),
      highest("Statement", "howdah_pg_longest_statement_seconds"),
    ],
  },
  {
    title: "Transactions of the servers",
    format: perSecond,
    lines: [line("Committed", "howdah_pg_commits_total"), line("Rolled back", "howdah_pg_rollbacks_total")],
  },
  {
    title: "Rows written",
    format: perSecond,
    lines: [
      line("Inserted", "howdah_pg_rows_inserted_total"),
      line("Updated", "howdah_pg_rows_updated_total"),
      line("Deleted", "howdah_pg_rows_deleted_total"),
    ],
  },
  {
    title: "Blocks found in shared buffers",
    format: percent,
    most: 101,
    empty: "No data: nothing was read in this range.",
    lines: [line("Found", ["howdah_pg_blocks_hit_total", "howdah_pg_blocks_read_total"], ratio)],
  },
  {
    title: "Buffers written by",
    format: perSecond,
    lines: [
      line("Checkpoints", "howdah_pg_checkpoint_buffers_total"),
      line("Background writer", "howdah_pg_bgwriter_buffers_total"),
    ],
  },
  {
    title: "Log kept for slots, and not yet replayed",
    format: bytes,
    empty: "No data: there is neither a slot nor a standby.",
    lines: [
      highest("Kept for a slot", "howdah_pg_slot_lag_bytes"),
      highest("Behind: a standby", "howdah_pg_replication_lag_bytes"),
    ],
  },
  {
    title: "How far back dead rows are kept",
    format: number,
    lines: [
      highest("Sessions", "howdah_pg_xmin_age{holder=session}"),
      highest("Standbys", "howdah_pg_xmin_age{holder=standby}"),
      highest("Slots", "howdah_pg_xmin_age{holder=slot}"),
      highest("Prepared", "howdah_pg_xmin_age{holder=prepared}"),
    ],
  },
  {
    title: "Age of what standbys have replayed",
    format: seconds,
    lines: [
      highest("On the standby", "howdah_pg_standby_delay_seconds"),
      highest("As its primary sees it", "howdah_pg_replication_lag_seconds"),
    ],
  },
];

const MEMORY = (kind) => `howdah_machine_memory_bytes{kind=${kind}}`;
const FILES = (kind) => `howdah_machine_filesystem_bytes{kind=${kind}}`;

const MACHINE = [
  {
    title: "Processors",
    format: percent,
    most: 101,
    lines: [
      processors("Programs", "user", "nice"),
      processors("Kernel", "system", "irq", "softirq"),
      processors("Disk waits", "iowait"),
      processors("Stolen", "steal"),
    ],
  },
  { title: "Threads that run or want to", format: number, lines: [line("Load over a minute", "howdah_machine_load")] },
  {
    title: "Memory",
    format: bytes,
    lines: [
      line("Used", [MEMORY("total"), MEMORY("available")], less),
      line("Cached files", MEMORY("cached")),
      line("Swapped out", [MEMORY("swap_total"), MEMORY("swap_free")], less),
      line("In all", MEMORY("total")),
    ],
  },
  {
    title: "Disks",
    format: bytesPerSecond,
    lines: [
      line("Read", "howdah_machine_disk_read_bytes_total"),
      line("Written", "howdah_machine_disk_written_bytes_total"),
    ],
  },
  {
    title: "Disks at work",
    format: percent,
    lines: [line("Time busy, of one disk", "howdah_machine_disk_busy_seconds_total", times(100))],
  },
  {
    title: "Network",
    format: bytesPerSecond,
    lines: [
      line("Received", "howdah_machine_network_received_bytes_total"),
      line("Sent", "howdah_machine_network_sent_bytes_total"),
    ],
  },
  {
    title: "File system of the history",
    format: bytes,
    lines: [line("Used", [FILES("size"), FILES("free")], less), line("Size", FILES("size"))],
  },
  { title: "This host's processor time", format: percent, lines: [line("Of one processor", "howdah_process_cpu_percent")] },
  {
    title: "This host's memory",
    format: bytes,
    lines: [line("Resident", "howdah_process_resident_bytes"), line("History on disk", "howdah_history_bytes")],
  },
  {
    title: "This host's descriptors and threads",
    format: number,
    lines: [line("Open files and sockets", "howdah_process_open_fds"), line("Threads", "howdah_process_threads")],
  },
];

export const CHARTS = { overview: OVERVIEW, servers: SERVERS, machine: MACHINE };

export const namesOf = (charts) => [...new Set(charts.flatMap((c) => c.lines.flatMap((l) => l.from.map(nameOf))))];

// The lines of one plot: a Map of time -> value each. `labels`: of which node.
export function linesOf(chart, track, labels) {
  return chart.lines.map((l) => l.make(...l.from.map((source) => track.all(source, l.join, labels))));
}

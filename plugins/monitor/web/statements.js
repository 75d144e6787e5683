// Statements, with their course over time, and the slow ones with their plans.

import { command } from "./api.js";
import { offWords } from "./figures.js";
import { count, milliseconds, moment, percent } from "./format.js";
import { Track } from "./history.js";
import { fillSpark } from "./plots.js";
import { Section, column, figure, maybe, when } from "./sections.js";
import { element, fillLong, setText } from "./tables.js";

const TOP = 20;
const SPARK_POINTS = 100;
const SPENT = "howdah_template_seconds_total";

const statement = { name: "Statement", head: true, fill: (cell, row) => fillLong(cell, row.statement || "(all others)") };

const templateKey = (row) => `${row.fingerprint ?? ""}\n${row.database}\n${row.user}`;
// As the host writes the labels of a series.
const seriesKey = (row) => `${SPENT}{database=${row.database},fingerprint=${row.fingerprint},user=${row.user}}`;

export class Statements extends Section {
  constructor(order) {
    super(
      "statements",
      "Statements, costliest first",
      [
        statement,
        column("Database", "database"),
        column("User", "user"),
        figure("Calls", "calls"),
        figure("Errors", "errors"),
        figure("Mean", "mean_ms", milliseconds),
        figure("95 %", "p95_ms", milliseconds),
        figure("Waited", "queue_ms", milliseconds),
        figure("Rows", "rows"),
        { name: "Time spent", fill: (cell, row) => this.#fillSpark(cell, row) },
      ],
      templateKey,
      "No statement has been counted yet.",
    );
    this.order = order;
    this.track = null;
  }

  async update({ plugins, range }) {
    await this.show(async () => {
      const off = offWords(plugins, "statements");
      if (off) throw new Error(off);
      const answer = await command("templates", "TOP", TOP, "ORDER", "BY", this.order());
      if (this.track?.range !== range) this.track = new Track([SPENT], range, SPARK_POINTS);
      try {
        await this.track.update();
      } catch (e) {
        if (e.unreachable) throw e;
        this.track = null; // the history cannot be read, which the plots say
      }
      return answer.rows;
    });
  }

  #fillSpark(cell, row) {
    const points = this.track?.course(seriesKey(row)) ?? [];
    const share = (v) => percent(v * 100);
    const words = points.length
      ? `time spent in it: ${share(points[0][1])} of one connection's time at first, ${share(points.at(-1)[1])} at last`
      : "no course over time: it is not among the costliest";
    fillSpark(cell, points, words);
    fillChange(cell, row);
  }
}

export class Slow extends Section {
  constructor() {
    super(
      "slow",
      "Slow statements, newest first",
      [
        when("Time", "time"),
        statement,
        column("Database", "database"),
        column("User", "user"),
        column("Application", "application"),
        figure("Took", "total_ms", milliseconds),
        figure("Usually", "usual_ms", maybe(milliseconds)),
        figure("Waited", "queue_ms", milliseconds),
        figure("Rows", "rows", count),
        column("Error", "sqlstate", (v) => (v === "00000" ? "" : v)),
        { name: "Plan", fill: fillPlan },
      ],
      (row) => String(row.number),
      "None of late.",
    );
  }

  update() {
    return this.show(async () => (await command("slow", "TOP", TOP)).rows);
  }
}

// When its plan has become another one, where the host has seen that.
function fillChange(cell, row) {
  const note = cell.querySelector(".note") ?? cell.appendChild(element("span", { className: "note" }));
  setText(note, row.plan_changed ? ` plan changed ${moment(row.plan_changed)}` : "");
}

function fillPlan(cell, row) {
  if (!cell.firstChild) cell.append(planButton(row));
  fillChange(cell, row);
}

function planButton(row) {
  const button = element("button", { type: "button", ariaLabel: `Plan of the statement at ${moment(row.time)}` }, "Plan");
  button.addEventListener("click", () => showPlan(row));
  return button;
}

async function showPlan(row) {
  const text = document.getElementById("plan-text");
  document.getElementById("plan-statement").textContent = row.statement;
  text.textContent = "Asking the server…";
  document.getElementById("plan").showModal();
  try {
    const { columns, rows } = await command("slow/plan", row.number);
    text.textContent = rows.map((r) => columns.map((c) => r[c.name]).join("  ")).join("\n") || "There is no plan.";
  } catch (e) {
    text.textContent = e.message;
  }
}

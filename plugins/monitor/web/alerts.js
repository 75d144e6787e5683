// Alerts and what belongs to them: rules, silences, where messages go. Who may post can silence an alert from here.

import { command, post } from "./api.js";
import { offWords } from "./figures.js";
import { moment, number, span } from "./format.js";
import { Section, column, figure, head, maybe, when, words } from "./sections.js";
import { element, fillState, setText } from "./tables.js";

const KINDS = { firing: "bad", pending: "warn", resolved: "good", clear: "good", "no data": "off", off: "off" };
const state = { name: "State", fill: (cell, row) => fillState(cell, row.state, KINDS[row.state] ?? "off") };
const moments = maybe(moment);
const numbers = maybe(number);

const TOP = 10; // in the overview
const MOST = 200;

const $ = (id) => document.getElementById(id);

class OfAlerts extends Section {
  async rows({ plugins }, name) {
    const off = offWords(plugins, "alerts");
    if (off) throw new Error(`${off} Nothing watches these figures.`);
    return (await command(name)).rows;
  }
}

// --- alerts -------------------------------------------------------------------------------------------------------

// In the overview what is wrong; in their own view all, and rules without data. `changed` is called after a silence.
export class Alerts extends OfAlerts {
  constructor(id, isAll, changed) {
    const columns = [
      head("Alert", "rule"),
      state,
      column("Severity", "severity"),
      { ...words("Of", "labels"), of: (row) => row.labels.replaceAll('",', '", ') },
      figure("Value", "value", numbers),
      figure("Threshold", "threshold", numbers),
      when("Since", "since", moments),
      when("Until", "until", moments),
      column("Note", "note"),
      words("What", "summary"),
      { name: "Silence", fill: (cell, row) => this.#fillButton(cell, row) },
    ];
    super(id, "Alerts", columns, (row) => `${row.id}\n${row.rule}\n${row.labels}`, "Nothing is wrong.");
    this.isAll = isAll;
    this.changed = changed;
    this.firing = null;
  }

  update(context) {
    return this.show(async () => {
      this.firing = null;
      const rows = await this.rows(context, "alerts");
      this.firing = rows.filter((row) => row.state === "firing").length;
      const blind = rows.filter((row) => row.state === "no data").length;
      this.empty = `Nothing is wrong.${blind ? ` Of ${blind} ${blind === 1 ? "rule" : "rules"} there is no data.` : ""}`;
      const wanted = this.isAll ? rows : rows.filter((row) => row.state !== "no data");
      const most = this.isAll ? MOST : TOP;
      this.table.more(wanted.length - most);
      return wanted.slice(0, most);
    });
  }

  #fillButton(cell, row) {
    const wanted = (row.state === "firing" || row.state === "pending") && row.note !== "silenced";
    if (!wanted) return cell.replaceChildren();
    if (cell.firstChild) return;
    const button = element("button", { type: "button", ariaLabel: `Silence ${row.rule} ${row.labels}` }, "Silence…");
    button.addEventListener("click", () => askSilence(row, this.changed));
    cell.append(button);
  }
}

// name="value",name="value": as matchers of just these values.
function matchersOf(row) {
  const labels = [...row.labels.matchAll(/([A-Za-z_]\w*)="([^]*?)"(?=,[A-Za-z_]\w*="|$)/g)];
  return [["rule", row.rule], ...labels.map(([, name, value]) => [name, value])]
    .filter(([, value]) => value)
    .map(([name, value]) => `${name}="${value.replace(/["\\]/g, "\\$&").replace(/\n/g, "\\n")}"`);
}

function askSilence(row, changed) {
  const dialog = $("silence");
  const matchers = matchersOf(row);
  setText($("silence-what"), `${row.rule}${row.labels ? ` of ${row.labels}` : ""}`);
  setText($("silence-failed"), "");
  $("silence-scope").value = "alert";
  $("silence-scope").parentElement.hidden = matchers.length < 2;
  $("silence-comment").value = "";
  $("silence-form").onsubmit = async (e) => {
    e.preventDefault();
    const comment = $("silence-comment").value.trim();
    const which = $("silence-scope").value === "alert" ? matchers : matchers.slice(0, 1);
    try {
      await post("silence", ...which, "FOR", $("silence-for").value, ...(comment ? ["COMMENT", comment] : []));
      dialog.close();
      changed(`${row.rule} is silenced`);
    } catch (e) {
      setText($("silence-failed"), e.status === 404 ? "The plugin alerts does not run." : e.message);
    }
  };
  dialog.showModal();
}

// --- the rest -----------------------------------------------------------------------------------------------------

export class Silences extends OfAlerts {
  constructor(changed) {
    super(
      "silences",
      "Silences",
      [
        head("What", "matchers"),
        figure("For still", "left_s", span),
        when("Since", "made"),
        column("By", "user"),
        words("Comment", "comment"),
        { name: "End", fill: (cell, row) => this.#fillButton(cell, row) },
      ],
      (row) => row.id,
      "Nothing is silenced.",
    );
    this.changed = changed;
  }

  update(context) {
    return this.show(() => this.rows(context, "silences"));
  }

  #fillButton(cell, row) {
    if (cell.firstChild) return;
    const button = element("button", { type: "button", ariaLabel: `End the silence of ${row.matchers}` }, "End");
    button.addEventListener("click", async () => {
      try {
        await post("unsilence", row.id);
        this.changed(`The silence of ${row.matchers} has ended`);
      } catch (e) {
        this.changed(e.message);
      }
    });
    cell.append(button);
  }
}

export class Rules extends OfAlerts {
  constructor() {
    super(
      "rules",
      "Rules",
      [
        head("Rule", "rule"),
        state,
        column("Type", "type"),
        column("Severity", "severity"),
        words("Expression", "expr"),
        figure("Threshold", "threshold", numbers),
        figure("Clear at", "clear", numbers),
        figure("Values", "values"),
        figure("Worst", "worst", numbers),
      ],
      (row) => row.rule,
      "There are no rules.",
    );
  }

  update(context) {
    return this.show(() => this.rows(context, "alert/rules"));
  }
}

export class Sinks extends OfAlerts {
  constructor() {
    super(
      "sinks",
      "Where messages go",
      [
        head("Target", "target"),
        { name: "State", fill: (cell, row) => fillState(cell, row.state, row.reason ? "bad" : row.state === "missing" ? "bad" : "good") },
        figure("Sent", "sent"),
        figure("Retries", "retries"),
        figure("Given up", "dead"),
        figure("Waiting", "waiting"),
        when("Last", "last_sent", moments),
        words("Reason", "reason"),
      ],
      (row) => row.target,
      "No sink is configured: nobody is told.",
    );
  }

  update(context) {
    return this.show(() => this.rows(context, "alert/sinks"));
  }
}

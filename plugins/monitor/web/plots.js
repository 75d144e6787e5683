// A plot: lines over time by dygraphs, with a legend that reads the newest or the chosen values, and the same as a
// table. By keyboard the arrows walk along the points.

import { NONE, bytes, bytesPerSecond, moment } from "./format.js";
import { rowsOf } from "./history.js";
import { element, setText } from "./tables.js";

const TABLE_ROWS = 60;

let plots = 0;

// Its own legend writes style attributes, which no page here may.
const withoutLegend = () => {
  Dygraph.PLUGINS = Dygraph.PLUGINS.filter((plugin) => plugin !== Dygraph.Plugins.Legend);
};

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const isBinary = (format) => format === bytes || format === bytesPerSecond;
const isNumber = (v) => typeof v === "number" && Number.isFinite(v);

export class Plot {
  // lines: [{label}], all shown by `format`; most: where the axis ends, else at the greatest value.
  constructor(parent, { title, lines, format, most, missing }) {
    this.lines = lines;
    this.format = format;
    this.most = most;
    this.missing = missing;
    this.title = title;
    this.rows = [];
    this.chosen = null;
    this.graph = null;
    this.#build(parent, `plot-${++plots}`);
  }

  #build(parent, id) {
    this.note = element("p", { className: "note" }, "Asking the host…");
    this.canvas = element("div", { className: "canvas", ariaHidden: "true" });
    this.area = element("div", { className: "area", tabIndex: 0, role: "group", hidden: true }, this.canvas);
    this.area.setAttribute("aria-roledescription", "plot");
    this.area.setAttribute("aria-describedby", `${id}-read`);
    this.area.addEventListener("keydown", (e) => this.#onKey(e));
    this.area.addEventListener("blur", () => this.#choose(null));
    this.when = element("span", { className: "when" });
    this.values = this.lines.map(() => element("span", { className: "value" }, NONE));
    this.legend = element(
      "ul",
      { className: "legend", hidden: true },
      ...this.lines.map((line, i) =>
        element("li", {}, element("span", { className: `key line-${i + 1}`, ariaHidden: "true" }), `${line.label} `, this.values[i]),
      ),
    );
    this.reading = element("p", { className: "unseen", id: `${id}-read`, ariaLive: "polite" });
    this.tableBody = element("tbody");
    this.details = element(
      "details",
      {},
      element("summary", {}, "As a table"),
      element(
        "div",
        { className: "frame", tabIndex: 0, role: "group", ariaLabel: `${this.title}, as a table` },
        element(
          "table",
          {},
          element("caption", { className: "unseen" }, this.title),
          element(
            "thead",
            {},
            element("tr", {}, element("th", { scope: "col" }, "Time"), ...this.lines.map((l) => element("th", { scope: "col", className: "number" }, l.label))),
          ),
          this.tableBody,
        ),
      ),
    );
    this.details.addEventListener("toggle", () => this.#fillTable());
    const caption = element("figcaption", {}, element("h3", { id }, this.title), this.when);
    this.figure = element("figure", { className: "plot" }, caption, this.legend, this.note, this.area, this.reading, this.details);
    this.figure.setAttribute("aria-labelledby", id);
    this.figure.dataset.plot = this.title;
    this.details.hidden = true;
    parent.append(this.figure);
  }

  // lines: a Map of time -> value each.
  show(lines, { range, step }) {
    this.#show(rowsOf(lines, step), range);
  }

  say(words) {
    setText(this.note, words);
    this.note.hidden = !words;
    this.area.hidden = this.details.hidden = this.legend.hidden = Boolean(words);
    if (words) {
      this.rows = [];
      this.#read();
    }
  }

  #show(rows, range) {
    this.rows = rows;
    if (!rows.some((row) => row.slice(1).some(isNumber))) return this.say(this.missing());
    this.say("");
    const end = Date.now();
    this.window = [end - range.seconds * 1000, end];
    if (this.graph) this.graph.updateOptions({ file: rows, dateWindow: this.window });
    else this.#draw();
    this.area.setAttribute("aria-label", this.#summary());
    if (this.chosen !== null && this.chosen >= rows.length) this.chosen = null;
    this.#read();
    this.#fillTable();
  }

  #options() {
    return {
      colors: this.lines.map((_, i) => colour(`--line-${i + 1}`)),
      gridLineColor: colour("--grid"),
      axisLineColor: colour("--edge"),
    };
  }

  #draw() {
    withoutLegend();
    this.graph = new Dygraph(this.canvas, this.rows, {
      labels: ["Time", ...this.lines.map((l) => l.label)],
      connectSeparatedPoints: true,
      strokeWidth: 1.5,
      axisLabelFontSize: 12,
      interactionModel: {}, // no zooming: ranges are chosen above, and a finger scrolls the page
      animatedZooms: false,
      includeZero: true,
      valueRange: [0, this.most ?? null],
      dateWindow: this.window,
      axes: {
        y: { axisLabelFormatter: (v) => this.format(v), axisLabelWidth: 64, pixelsPerLabel: 36, labelsKMG2: isBinary(this.format) },
        x: { pixelsPerLabel: 70 },
      },
      highlightCallback: (_e, _x, _points, row) => this.#choose(row, true),
      unhighlightCallback: () => this.#choose(null, true),
      ...this.#options(),
    });
  }

  // To the room that there is.
  fit() {
    if (this.canvas.clientWidth) this.graph?.resize();
  }

  // Other colours.
  recolour() {
    this.graph?.updateOptions(this.#options());
  }

  // For those who do not see it: from when to when, and least, greatest and newest of each line.
  #summary() {
    const parts = this.lines.map((line, i) => {
      const values = this.rows.map((row) => row[i + 1]).filter(isNumber);
      if (!values.length) return `${line.label}: ${NONE}`;
      const least = values.reduce((a, b) => Math.min(a, b));
      const most = values.reduce((a, b) => Math.max(a, b));
      return `${line.label}: ${this.format(least)} to ${this.format(most)}, newest ${this.format(values.at(-1))}`;
    });
    return `${this.title}. ${parts.join(". ")}. The arrow keys read single points.`;
  }

  #choose(row, byMouse = false) {
    this.chosen = row;
    this.#read();
    if (byMouse) return;
    if (row === null) this.graph?.clearSelection();
    else this.graph.setSelection(row);
    const words = row === null ? "" : `${this.when.textContent}: ${this.lines.map((l, i) => `${l.label} ${this.values[i].textContent}`).join(", ")}`;
    setText(this.reading, words);
  }

  // The legend: the chosen point's values, or the newest.
  #read() {
    const chosen = this.chosen === null ? null : this.rows[this.chosen];
    for (const i of this.lines.keys()) {
      const value = chosen ? chosen[i + 1] : this.rows.findLast((row) => isNumber(row[i + 1]))?.[i + 1];
      setText(this.values[i], isNumber(value) ? this.format(value) : NONE);
    }
    setText(this.when, chosen ? moment(chosen[0]) : "");
  }

  #onKey(e) {
    const last = this.rows.length - 1;
    const at = this.chosen ?? last + 1;
    const to = { ArrowLeft: at - 1, ArrowRight: at + 1, PageUp: at - 20, PageDown: at + 20, Home: 0, End: last }[e.key];
    if (e.key === "Escape") this.#choose(null);
    else if (to !== undefined && last >= 0) this.#choose(Math.min(Math.max(to, 0), last));
    else return;
    e.preventDefault();
  }

  // Evenly thinned out: the newest is always there.
  #fillTable() {
    if (!this.details.open) return;
    const every = Math.ceil(this.rows.length / TABLE_ROWS);
    const shown = this.rows.filter((_, i) => (this.rows.length - 1 - i) % every === 0).reverse();
    this.tableBody.replaceChildren(
      ...shown.map((row) =>
        element(
          "tr",
          {},
          element("th", { scope: "row" }, moment(row[0])),
          ...row.slice(1).map((v) => element("td", { className: "number" }, isNumber(v) ? this.format(v) : NONE)),
        ),
      ),
    );
  }
}

// A canvas in a cell, twice as fine as it is large; the words say what it shows.
function canvasOf(cell, words) {
  let canvas = cell.querySelector("canvas");
  if (!canvas) {
    canvas = element("canvas", { className: "spark", width: 240, height: 48, role: "img" });
    cell.append(canvas);
  }
  if (canvas.getAttribute("aria-label") !== words) canvas.setAttribute("aria-label", words);
  canvas.title = words;
  const pen = canvas.getContext("2d");
  pen.clearRect(0, 0, canvas.width, canvas.height);
  return [canvas, pen];
}

// A small line without axes beside a figure.
export function fillSpark(cell, points, words) {
  const [canvas, pen] = canvasOf(cell, words);
  if (points.length < 2) return;
  const most = points.reduce((m, [, v]) => Math.max(m, v), 0) || 1;
  const [from, to] = [points[0][0], points.at(-1)[0]];
  pen.strokeStyle = colour("--line-1");
  pen.lineWidth = 3;
  pen.lineJoin = "round";
  pen.beginPath();
  for (const [time, value] of points)
    pen.lineTo(((time - from) / (to - from || 1)) * (canvas.width - 6) + 3, canvas.height - 3 - (value / most) * (canvas.height - 6));
  pen.stroke();
}

// When something was up, over a range: a bar for each point, low and of another colour where it was not.
export function fillStrip(cell, points, { range, step }, words) {
  const [canvas, pen] = canvasOf(cell, words);
  const from = Date.now() - range.seconds * 1000;
  const width = Math.max(2, (step / range.seconds) * canvas.width);
  const [good, bad] = [colour("--good"), colour("--bad")];
  for (const [time, up] of points) {
    const height = up >= 1 ? canvas.height * 0.75 : canvas.height;
    pen.fillStyle = up >= 1 ? good : bad;
    pen.fillRect(((time - from) / (range.seconds * 1000)) * canvas.width, canvas.height - height, width + 0.5, height);
  }
}

// Tables that are brought up to date in place: rows keep their element, so that focus, selection and what was opened
// stay. All text goes in as text.

export function element(tag, properties = {}, ...children) {
  const e = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name === "dataset") Object.assign(e.dataset, value);
    else if (name in e) e[name] = value;
    else e.setAttribute(name, value);
  }
  e.append(...children);
  return e;
}

export function setText(e, text) {
  if (e.textContent !== text) e.textContent = text;
}

// columns: [{name, of(row), number, head, kind, fill(cell, row)}]; `fill` draws what is more than text, `kind` is a class. key(row) tells rows apart.
export class Table {
  constructor(section, caption, columns, key) {
    this.columns = columns;
    this.key = key;
    this.rows = new Map();
    const heads = columns.map((c) => element("th", { scope: "col", className: c.number ? "number" : "" }, c.name));
    this.body = element("tbody");
    this.note = element("p", { className: "note" });
    this.table = element(
      "table",
      {},
      element("caption", { className: "unseen" }, caption),
      element("thead", {}, element("tr", {}, ...heads)),
      this.body,
    );
    // What scrolls must be reachable by keyboard.
    this.frame = element("div", { className: "frame", tabIndex: 0, role: "group" }, this.table);
    this.frame.setAttribute("aria-label", caption);
    this.rest = element("p", { className: "note", hidden: true });
    section.append(this.note, this.frame, this.rest);
    this.say("Asking the host…");
  }

  // Words instead of rows.
  say(words) {
    setText(this.note, words);
    this.note.hidden = !words;
    this.frame.hidden = Boolean(words);
    if (words) this.more(0);
    if (words) {
      this.body.replaceChildren();
      this.rows.clear();
    }
  }

  // So many rows are not shown.
  more(count) {
    this.rest.hidden = !(count > 0);
    setText(this.rest, count > 0 ? `And ${count} more.` : "");
  }

  update(data, empty) {
    if (!data.length) return this.say(empty);
    this.say("");
    const old = this.rows;
    this.rows = new Map();
    for (const row of data) {
      let key = this.key(row);
      while (this.rows.has(key)) key += "\0";
      const tr = old.get(key) ?? this.#make();
      old.delete(key);
      this.#fill(tr, row);
      this.rows.set(key, tr);
    }
    for (const tr of old.values()) tr.remove();
    let at = this.body.firstChild;
    for (const tr of this.rows.values()) {
      if (tr === at) at = at.nextSibling;
      else this.body.insertBefore(tr, at);
    }
  }

  #make() {
    return element(
      "tr",
      {},
      ...this.columns.map((c) =>
        c.head ? element("th", { scope: "row" }) : element("td", { className: c.number ? "number" : (c.kind ?? "") }),
      ),
    );
  }

  #fill(tr, row) {
    for (const [i, c] of this.columns.entries()) {
      if (c.fill) c.fill(tr.children[i], row);
      else setText(tr.children[i], c.of(row));
    }
  }
}

const LONG = 140;

// A long text begins with a part of it, and is opened by whoever wants all; what was opened stays so.
export function fillLong(cell, text) {
  const shown = cell.firstElementChild?.lastElementChild ?? cell;
  if (cell.firstChild && shown.textContent === text) return;
  if (text.length <= LONG) return cell.replaceChildren(text);
  const begin = element("summary", {}, `${text.slice(0, LONG)}…`);
  cell.replaceChildren(element("details", { className: "long" }, begin, element("p", {}, text)));
}

// A state as a word with a mark; good, bad or neither.
export function fillState(cell, word, kind) {
  if (!cell.firstChild) cell.append(element("span", { className: "mark", ariaHidden: "true" }), element("span"));
  cell.classList.add("state");
  cell.dataset.state = kind;
  setText(cell.lastChild, word);
}

// A table whose rows are kept and changed in place, and the small parts that tables and lists are made of.
// What comes from the cluster becomes text nodes and attributes, never HTML.

export function element(name, about = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(about)) {
    if (value !== undefined && value !== null && value !== "") made.setAttribute(key, value);
  }
  made.append(...children.filter((child) => child !== undefined && child !== null));
  return made;
}

// The server's clock: ages must not depend on this machine's.
let skew = 0;
export function setClock(serverNow) { skew = serverNow - Date.now(); }
const now = () => Date.now() + skew;

const UNITS = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]];
export function span(seconds) {
  const whole = Math.max(0, Math.round(seconds));
  const [size, unit] = UNITS.find(([least]) => whole >= least * (least === 1 ? 0 : 2)) ?? UNITS[3];
  return `${Math.floor(whole / size)} ${unit}`;
}

const SAID = {
  ago: (at) => `${span((now() - at) / 1000)} ago`,
  since: (at) => span((now() - at) / 1000),
  due: (at) => (at > now() ? `in ${span((at - now()) / 1000)}` : now() - at > 10000 ? `late ${span((now() - at) / 1000)}` : "now"),
};

// A time that is told again each second; 0 is never.
export function when(at, kind = "ago", never = "–") {
  if (!at) return never;
  const date = new Date(at);
  const iso = Number.isNaN(date.valueOf()) ? "" : date.toISOString();
  return element("time", { datetime: iso, title: iso, "data-at": at, "data-kind": kind }, SAID[kind](at));
}

export function tick() {
  for (const each of document.querySelectorAll("time[data-at]")) {
    const text = SAID[each.dataset.kind](Number(each.dataset.at));
    if (each.textContent !== text) each.textContent = text;
  }
}

export class Table {
  // columns: { title, sort, cell(row) -> text or node, tone(row) -> class }. An order is a column's sort, with
  // "-" before it when reversed.
  constructor(id, columns, { empty, order, onOrder, onPage }) {
    this.columns = columns;
    this.empty = empty;
    this.rows = new Map();
    this.shown = new Map();
    this.onPage = onPage;
    const table = document.getElementById(id);
    this.heads = columns.map((column) => this.#head(column, order, onOrder));
    const group = element("colgroup", {}, ...columns.map(() => element("col")));
    this.body = element("tbody");
    table.append(group, element("thead", {}, element("tr", {}, ...this.heads)), this.body);
    this.pages = document.getElementById(`${id}-pages`);
    this.show({ total: 0, page: 1, pages: 1, order: [], rows: {} });
  }

  #head(column, order, onOrder) {
    if (!column.sort || !onOrder) return element("th", { scope: "col" }, column.title);
    const button = element("button", { type: "button" }, column.title);
    const head = element("th", { scope: "col", "aria-sort": direction(column.sort, order) }, button);
    button.addEventListener("click", () => {
      const chosen = head.getAttribute("aria-sort") === "ascending" ? `-${column.sort}` : column.sort;
      this.heads.forEach((each, place) => each.setAttribute("aria-sort", direction(this.columns[place].sort, chosen)));
      onOrder(chosen);
    });
    return head;
  }

  show({ total, page, pages, order, rows }) {
    for (const [id, row] of Object.entries(rows)) {
      this.rows.set(id, row);
      this.shown.delete(id);
    }
    const wanted = new Set(order);
    for (const id of this.rows.keys()) {
      if (!wanted.has(id)) { this.rows.delete(id); this.shown.delete(id); }
    }
    const lines = order.filter((id) => this.rows.has(id)).map((id) => this.#line(id));
    this.body.replaceChildren(...(lines.length ? lines : [this.#nothing()]));
    if (this.pages) this.#page(total, page, pages);
  }

  #line(id) {
    let line = this.shown.get(id);
    if (!line) {
      const row = this.rows.get(id);
      line = element("tr", {}, ...this.columns.map((column) => cell(column, row)));
      this.shown.set(id, line);
    }
    return line;
  }

  #nothing() {
    return element("tr", {}, element("td", { class: "empty", colspan: this.columns.length }, this.empty));
  }

  #page(total, page, pages) {
    if (!this.pages.firstChild) {
      const step = (text, by) => {
        const button = element("button", { type: "button" }, text);
        button.addEventListener("click", () => this.onPage(this.page + by));
        return button;
      };
      this.back = step("Previous", -1);
      this.forth = step("Next", 1);
      this.place = element("span", { "aria-live": "polite" });
      this.pages.append(this.back, this.place, this.forth);
    }
    this.page = page;
    this.back.disabled = page <= 1;
    this.forth.disabled = page >= pages;
    const text = `page ${page} of ${pages}, ${total} rows`;
    if (this.place.textContent !== text) this.place.textContent = text;
  }
}

function direction(sort, order) {
  return order === sort ? "ascending" : order === `-${sort}` ? "descending" : "none";
}

function cell(column, row) {
  const inside = column.cell(row);
  const title = typeof inside === "string" ? inside : "";
  return element("td", { class: column.tone?.(row) ?? "", title }, inside);
}

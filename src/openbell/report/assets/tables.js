"use strict";

// The tables. Texts of the session are only ever set as text, never as markup.

function element(tag, text, className) {
  const made = document.createElement(tag);
  if (text !== undefined) made.textContent = text;
  if (className) made.className = className;
  return made;
}

// columns: title, value(line), show(value, line) if not as it is, isNumber, hint
function sortableTable(table, columns, lines, { onChoose, empty } = {}) {
  const body = element("tbody");
  const state = { column: null, descending: false, filter: "", chosen: null };
  const heads = columns.map((column) => {
    const head = element("th", undefined, column.isNumber ? "number" : "");
    const button = element("button", column.title);
    if (column.hint) head.title = column.hint;
    button.onclick = () => {
      state.descending = state.column === column ? !state.descending : Boolean(column.isNumber);
      state.column = column;
      draw();
    };
    head.append(button);
    return head;
  });
  const top = element("tr");
  top.append(...heads);
  const head = element("thead");
  head.append(top);
  table.replaceChildren(head, body);

  function draw() {
    const kept = lines.filter((line) => line.symbol.toLowerCase().includes(state.filter));
    const by = state.column;
    if (by) kept.sort((a, b) => compare(by.value(a), by.value(b)) * (state.descending ? -1 : 1));
    columns.forEach((column, k) => {
      if (column === by) {
        heads[k].setAttribute("aria-sort", state.descending ? "descending" : "ascending");
      } else {
        heads[k].removeAttribute("aria-sort");
      }
    });
    body.replaceChildren(...kept.map((line) => row(line)));
    if (!kept.length) {
      const cell = element("td", empty ?? "none", "none");
      cell.colSpan = columns.length;
      const only = element("tr");
      only.append(cell);
      body.replaceChildren(only);
    }
  }

  function row(line) {
    const made = element("tr");
    for (const column of columns) {
      made.append(element("td", textOf(column, line), column.isNumber ? "number" : column.className));
    }
    if (onChoose) {
      made.className = "choosable";
      made.setAttribute("aria-selected", String(line === state.chosen));
      made.onclick = () => onChoose(line);
    }
    return made;
  }

  draw();
  return {
    filter(text) {
      state.filter = text.trim().toLowerCase();
      draw();
    },
    choose(line) {
      state.chosen = line;
      draw();
    },
  };
}

function textOf(column, line) {
  const value = column.value(line);
  return column.show ? column.show(value, line) : String(value ?? "");
}

function compare(a, b) {
  const absent = (value) => value === null || value === undefined;
  if (absent(a) || absent(b)) return Number(absent(b)) - Number(absent(a));
  return typeof a === "string" ? a.localeCompare(b, "en", { numeric: true }) : a - b;
}

function provenanceTable(session, onChoose) {
  const yes = (value) => (value ? "yes" : "");
  const ofBase = (key) => (line) => (line.base === null ? null : line.series[line.base][key]);
  const sum = (counts) => Object.values(counts).reduce((a, b) => a + b, 0);
  const count = (value) => (value ? number(value) : "");
  const flag = (title, key, hint) => ({ title, value: (line) => Number(line[key]), show: yes, hint });
  const rare = (column) => ({ ...column, isRare: true });
  const all = [
    { title: "symbol", value: (line) => line.symbol },
    { title: "base", value: (line) => line.base_interval },
    { title: "bars", value: ofBase("count"), show: count, isNumber: true },
    { title: "quality", value: ofBase("quality"), show: percent, isNumber: true,
      hint: "100 x present / expected, of the base interval" },
    { title: "explained", value: ofBase("explained_quality"), show: percent, isNumber: true,
      hint: "the same, slots in no_trade gaps not counted as missing" },
    ...session.reasons.map((reason) => rare({
      title: reason, value: (line) => line.gaps[reason] ?? 0, show: count, isNumber: true,
      hint: "gaps of the base interval for this reason",
    })),
    rare({ title: "refused", value: (line) => sum(line.rejected), show: count, isNumber: true }),
    rare({ title: "revised", show: count, isNumber: true, hint: "late and corrected bars",
      value: (line) => (line.revised.late ?? 0) + (line.revised.corrected ?? 0) }),
    rare({ title: "errors", value: (line) => line.errors.length, show: count, isNumber: true }),
    { title: "added by", value: (line) => line.added_by },
    rare({ title: "at (UTC)", value: (line) => line.added_at,
      show: (at) => (at ? utcClock(at) : "") }),
    flag("loaded", "is_loaded", "all that the configuration asks for was loaded"),
    flag("config", "meets_session_config_requirements", "honours the session's config"),
    rare(flag("auto", "auto_provisioned", "provisioned because something for it came")),
    rare(flag("upgraded", "upgraded_from_adhoc", "was adhoc before")),
  ];
  // What is empty for everybody would push what is not out of sight.
  const columns = all.filter((column) => !column.isRare ||
    session.symbols.some((line) => textOf(column, line) !== ""));
  const options = { onChoose, empty: "no symbols" };
  return sortableTable(document.getElementById("provenance"), columns, session.symbols, options);
}

function rejectedTable(session) {
  const lines = session.symbols.flatMap((one) =>
    Object.entries(one.rejected).map(([reason, n]) => ({ symbol: one.symbol, reason, n })));
  const columns = [
    { title: "symbol", value: (line) => line.symbol },
    { title: "reason", value: (line) => line.reason },
    { title: "times", value: (line) => line.n, show: (n) => number(n), isNumber: true },
  ];
  const empty = "nothing was refused";
  sortableTable(document.getElementById("rejected"), columns, lines, { empty });
}

function errorsTable(session) {
  const lines = session.symbols.flatMap((one) =>
    one.errors.map((error) => ({ symbol: one.symbol, ...error })));
  const columns = [
    { title: "symbol", value: (line) => line.symbol },
    { title: "where", value: (line) => line.where },
    { title: "error", value: (line) => line.error, className: "wide" },
    { title: "first (UTC)", value: (line) => line.first, show: (at) => (at ? utcClock(at) : "") },
    { title: "times", value: (line) => line.n, show: (n) => number(n), isNumber: true },
  ];
  const empty = "no errors";
  sortableTable(document.getElementById("errors"), columns, lines, { empty });
}

function utcClock(text) {
  const at = new Date(text);
  return Number.isNaN(at.getTime()) ? String(text) : at.toISOString().slice(11, 19);
}

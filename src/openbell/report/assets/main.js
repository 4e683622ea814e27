"use strict";

// The page: what is chosen, and what follows from it.

const byId = (id) => document.getElementById(id);

class Report {
  constructor(session) {
    this.session = session;
    this.charts = new Map();
    this.hidden = new Set(["no_trade"]);
    this.symbol = -1;
    this.line = null;
    this.chart = null;
    this.interval = null;
    this.range = null;
    this.measure = "covered";
    this.drawing = Promise.resolve();
  }

  // The chart first: it is what one waits for.
  async start() {
    this.head();
    const isEmpty = this.session.date === null || !this.session.symbols.length;
    if (isEmpty) {
      byId("symbol").disabled = true;
      byId("chart").style.height = "160px";
      this.note(this.session.date === null ? "There is no session." : "There are no symbols.");
    } else {
      const select = byId("symbol");
      select.append(...this.session.symbols.map((one, k) => new Option(one.symbol, k)));
      select.onchange = () => this.choose(Number(select.value));
      await this.choose(0);
    }
    performance.mark("openbell-chart");
    await new Promise((done) => setTimeout(done));
    this.tables();
    if (!isEmpty) {
      this.heat();
      matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
        this.draw();
        this.heat();
      });
    }
    performance.mark("openbell-page");
  }

  tables() {
    this.table = provenanceTable(this.session, (line) =>
      this.choose(this.session.symbols.indexOf(line)));
    this.table.choose(this.line);
    rejectedTable(this.session);
    errorsTable(this.session);
    byId("filter").oninput = (event) => this.table.filter(event.target.value);
  }

  head() {
    const { session } = this;
    byId("footer").textContent = `openbell ${session.openbell}; charts by plotly.js ${Plotly.version}`;
    if (session.date === null) return;
    const [opened, closed] = [openMs(session), closeMs(session)].map(clock);
    byId("session-date").textContent = session.date;
    document.title = `openbell ${session.date}`;
    const now = session.now_s === null ? null : (session.now_s + session.offset_s) * 1000;
    const open = now !== null && now < closeMs(session) ? `, until ${clock(now)}` : "";
    const [count, all] = [session.symbols.length, session.n_symbols];
    const symbols = `${count < all ? `${number(count)} of ` : ""}${counted(all, "symbol")}`;
    byId("session-line").textContent =
      `${session.calendar}, ${opened} to ${closed}${open}, ${symbols}. ` +
      `All charts in ${session.timezone} (${offsetText(session.offset_s)}).`;
    byId("left-out").textContent = this.leftOut();
  }

  leftOut() {
    const { left_out: leftOut, n_symbols: all, symbols } = this.session;
    const absent = all - symbols.length;
    const others = absent ? `Not in this file: ${counted(absent, "other symbol")}. ` : "";
    const names = Object.keys(leftOut);
    if (!names.length) return others;
    const each = names.map((name) => `${name} (${counted(leftOut[name], "bar")})`);
    return `${others}Not in this file: candles of ${each.join(", ")}; "openbell report --interval ` +
      `${names[0]} --symbol ..." gives them.`;
  }

  // Chooses a symbol; the interval and the range stay where the symbol has them.
  async choose(symbol) {
    if (symbol === this.symbol) return;
    this.symbol = symbol;
    byId("symbol").value = symbol;
    this.table?.choose(this.session.symbols[symbol]);
    if (!this.charts.has(symbol)) this.charts.set(symbol, unpack(`symbol-${symbol}`));
    const chart = await this.charts.get(symbol);
    // Another one may have been chosen meanwhile.
    if (symbol !== this.symbol) return;
    [this.line, this.chart] = [this.session.symbols[symbol], chart];
    const held = Object.keys(chart).filter((name) => chart[name].in_page);
    if (!held.includes(this.interval)) this.interval = held.includes("1m") ? "1m" : held[0] ?? null;
    buttons(byId("intervals"), held.map((name) => [name, name]), this.interval, (name) => {
      this.interval = name;
      return this.draw();
    });
    await this.draw();
  }

  bars() {
    const held = this.chart[this.interval];
    if (!held?.bars) return null;
    held.unpacked ??= unpackBars(held.bars, openMs(this.session));
    return held.unpacked;
  }

  // What was lost, as the base interval tells it; silences as the shown one does.
  bands() {
    const base = this.chart[this.line.base];
    const bands = { ...this.chart[this.interval]?.gaps, ...base?.faults };
    const order = ["no_trade", ...this.session.reasons.filter((one) => one !== "no_trade")];
    return Object.fromEntries(order.filter((one) => one in bands).map((one) => [one, bands[one]]));
  }

  draw() {
    this.drawing = this.drawing.then(() => this.drawNow());
    return this.drawing;
  }

  async drawNow() {
    const { session } = this;
    const bars = this.bars();
    const range = this.range ?? [openMs(session), closeMs(session)];
    const view = { session, bars, bands: this.bands(), hidden: this.hidden, range };
    const { traces, layout } = chartFigure(view);
    await Plotly.react("chart", traces, layout, { ...CONFIG, scrollZoom: true });
    if (!this.listening) this.listen();
    this.note(bars?.start.length ? "" : this.why(bars));
    byId("facts").textContent = this.facts();
    byId("base-line").textContent = this.baseLine();
  }

  listen() {
    this.listening = true;
    // Drawn anew once the wheel rests: in the midst of it, the range would jump back.
    const moved = (change) => {
      if (!("xaxis.range[0]" in change)) return;
      this.range = [change["xaxis.range[0]"], change["xaxis.range[1]"]].map(toMs);
      clearTimeout(this.settling);
      this.settling = setTimeout(() => this.draw(), 120);
    };
    byId("chart").on("plotly_relayouting", moved);
    byId("chart").on("plotly_relayout", moved);
    byId("chart").on("plotly_doubleclick", () => {
      this.range = null;
      this.draw();
      return false;
    });
    byId("chart").on("plotly_legendclick", ({ curveNumber, data }) => {
      const reason = data[curveNumber].meta;
      if (!this.hidden.delete(reason)) this.hidden.add(reason);
      this.draw();
      return false;
    });
  }

  why(bars) {
    const { line } = this;
    if (bars) return `No bars of ${this.interval}.`;
    if (this.interval !== null) return "The dump was written without the rows of bars.";
    const names = Object.keys(line.series);
    return names.length
      ? `This page has no candles of ${names.join(", ")}; ask for them with --interval.`
      : "No bars came.";
  }

  facts() {
    const { line } = this;
    const parts = [];
    const series = line.series[this.interval];
    if (series) {
      const { count, quality, explained_quality: explained, n_gaps, n_missing } = series;
      parts.push(`${this.interval}: ${counted(count, "bar")}`, `quality ${percent(quality)}`);
      if (explained !== null) parts.push(`explained ${percent(explained)}`);
      parts.push(n_gaps
        ? `${counted(n_missing, "bar")} missing in ${counted(n_gaps, "gap")}` : "no gaps");
    }
    parts.push(`session volume ${number(line.volume)}`);
    parts.push(`high ${number(line.high)}`, `low ${number(line.low)}`);
    return parts.join(" \u00b7 ");
  }

  baseLine() {
    const { base, base_interval: wanted, series } = this.line;
    if (base === null) return `base interval ${wanted}, no bars`;
    const { quality, explained_quality: explained } = series[base];
    const and = explained === null ? "" : `, explained ${percent(explained)}`;
    return `base interval ${base}: quality ${percent(quality)}${and}`;
  }

  note(text) {
    byId("chart-note").hidden = !text;
    byId("chart-note").textContent = text;
  }

  heat() {
    const measures = [["covered", "covered"], ["unexplained", "missing, unexplained"]];
    buttons(byId("measures"), measures, this.measure, (name) => {
      this.measure = name;
      this.heat();
    });
    const minutes = this.session.bins.step_s / 60;
    byId("heat-line").textContent =
      `of the slots of each symbol's base interval, in steps of ${minutes} min; click for the symbol`;
    const { traces, layout } = heatFigure(this.session, this.measure);
    Plotly.react("heat", traces, layout, CONFIG);
    byId("heat").removeAllListeners("plotly_click");
    byId("heat").on("plotly_click", ({ points }) => {
      this.choose(points[0].pointIndex[0]);
      byId("chart").scrollIntoView({ behavior: "smooth", block: "center" });
    });
  }
}

// One button of each [value, text], the chosen one pressed.
function buttons(group, choices, chosen, onChoose) {
  const made = choices.map(([value, text]) => {
    const button = element("button", text);
    button.type = "button";
    button.dataset.value = value;
    button.setAttribute("aria-pressed", String(value === chosen));
    button.onclick = () => {
      for (const one of made) one.setAttribute("aria-pressed", String(one === button));
      onChoose(value);
    };
    return button;
  });
  group.replaceChildren(...made);
}

// plotly tells instants as texts without a zone, or as numbers.
function toMs(value) {
  if (typeof value === "number") return value;
  return Date.parse(value.length > 10 ? `${value.replace(" ", "T")}Z` : value);
}

unpack("session").then((session) => new Report(session).start());

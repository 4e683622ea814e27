"use strict";

// The figures: what plotly is given for a symbol's chart and for the heat map.

const MOST_CANDLES = 1500;
const PROFILE_BINS = 48;
const FONT = 'system-ui, "Segoe UI", Roboto, "Helvetica Neue", "DejaVu Sans", sans-serif';
const CONFIG = {
  displaylogo: false,
  responsive: true,
  // Named one by one: plotly has a button that would send the data away.
  modeBarButtons: [["toImage"], ["zoom2d", "pan2d"], ["zoomIn2d", "zoomOut2d", "resetScale2d"]],
};

function color(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}

function baseLayout() {
  return {
    paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)",
    font: { family: FONT, size: 12, color: color("ink") },
    hoverlabel: {
      bgcolor: color("panel"),
      bordercolor: color("line"),
      font: { family: FONT, size: 12, color: color("ink") },
      align: "left",
    },
    modebar: { bgcolor: "rgba(0,0,0,0)", color: color("soft"), activecolor: color("accent") },
  };
}

function axis(more) {
  return {
    gridcolor: color("line"),
    linecolor: color("line"),
    tickcolor: color("line"),
    tickfont: { color: color("soft"), size: 11 },
    zeroline: false,
    fixedrange: true,
    ...more,
  };
}

// view: session, interval, bars (or null), bands (by reason), hidden (reasons), range
function chartFigure(view) {
  const { session, bars, range } = view;
  const width = range[1] - range[0];
  // A little more than what is seen, so that moving the chart does not show a bare edge.
  const near = bars ? barsWithin(bars, [range[0] - width / 4, range[1] + width / 4]) : [0, 0];
  const seen = bars ? barsWithin(bars, range) : [0, 0];
  const traces = bandTraces(view);
  if (near[1] > near[0]) {
    traces.push(seen[1] - seen[0] > MOST_CANDLES ? line(bars, near) : candles(bars, near));
    traces.push(volumes(bars, near), profile(bars, seen));
  }
  return { traces, layout: chartLayout(session, bars, seen, range) };
}

function candles(bars, [first, last]) {
  const cut = (column) => column.slice(first, last);
  const trace = {
    type: "candlestick",
    name: "bars",
    x: cut(bars.middle),
    open: cut(bars.open),
    high: cut(bars.high),
    low: cut(bars.low),
    close: cut(bars.close),
    text: barTexts(bars, first, last),
    hoverinfo: "text",
    yaxis: "y2",
    showlegend: false,
    line: { width: 1 },
    increasing: { line: { color: color("rise") }, fillcolor: color("panel") },
    decreasing: { line: { color: color("fall") }, fillcolor: color("fall") },
  };
  // plotly takes the width from the distance to the next one, which a single bar lacks.
  if (last - first === 1) {
    trace.x.push(bars.middle[first] + bars.end[first] - bars.start[first]);
    for (const key of ["open", "high", "low", "close"]) trace[key].push(null);
  }
  return trace;
}

function line(bars, [first, last]) {
  return {
    type: "scatter",
    mode: "lines",
    name: "closes",
    x: bars.middle.slice(first, last),
    y: bars.close.slice(first, last),
    text: barTexts(bars, first, last),
    hoverinfo: "text",
    yaxis: "y2",
    showlegend: false,
    line: { width: 1, color: color("rise") },
  };
}

function barTexts(bars, first, last) {
  const texts = [];
  for (let k = first; k < last; k++) {
    texts.push(
      `${clock(bars.start[k])} \u2013 ${clock(bars.end[k])}<br>` +
        `open ${number(bars.open[k])}<br>high ${number(bars.high[k])}<br>` +
        `low ${number(bars.low[k])}<br>close ${number(bars.close[k])}<br>` +
        `volume ${number(bars.volume[k])}`,
    );
  }
  return texts;
}

function volumes(bars, [first, last]) {
  const cut = (column) => column.slice(first, last);
  return {
    type: "bar",
    name: "volume",
    x: cut(bars.middle),
    y: cut(bars.volume),
    width: cut(bars.end).map((ms, k) => (ms - bars.start[first + k]) * 0.8),
    yaxis: "y3",
    hoverinfo: "skip",
    showlegend: false,
    marker: { color: color("volume"), line: { width: 0 } },
  };
}

function profile(bars, [first, last]) {
  const { price, volume, step } = volumeProfile(bars, first, last, PROFILE_BINS);
  const most = Math.max(...volume);
  const texts = price.map(
    (at, k) => `${number(at - step / 2, 4)} \u2013 ${number(at + step / 2, 4)}<br>` +
      `volume ${number(volume[k], 0)}`,
  );
  return {
    type: "bar",
    orientation: "h",
    name: "profile",
    x: volume,
    y: price,
    width: step * 0.85,
    xaxis: "x2",
    yaxis: "y2",
    hovertext: texts,
    hoverinfo: "text",
    showlegend: false,
    marker: { color: volume.map((v) => color(v === most ? "peak" : "profile")), line: { width: 0 } },
  };
}

function bandTraces({ session, bands, hidden }) {
  const opened = openMs(session);
  return Object.entries(bands).map(([reason, band]) => {
    const start = band.start.map((seconds) => opened + seconds * 1000);
    const end = band.end.map((seconds) => opened + seconds * 1000);
    const drawn = band.start.length;
    const count = drawn < band.n ? `${drawn} longest of ${number(band.n)}` : number(drawn);
    return {
      type: "bar",
      name: `${reason} (${count})`,
      meta: reason,
      x: start.map((ms, k) => (ms + end[k]) / 2),
      y: start.map(() => 1),
      width: end.map((ms, k) => ms - start[k]),
      hovertext: start.map((ms, k) => bandText(reason, band, k, ms, end[k])),
      hoverinfo: "text",
      visible: hidden.has(reason) ? "legendonly" : true,
      opacity: Number(color(reason === "no_trade" ? "faint" : "band")),
      // The line keeps a short gap in sight in a whole day.
      marker: { color: color(reason), line: { width: 1, color: color(reason) } },
    };
  });
}

function bandText(reason, band, k, start, end) {
  const lines = [
    `<b>${reason}</b>`,
    `${clock(start)} \u2013 ${clock(end)}`,
    `${counted(band.missing[k], "bar")} of ${band.interval} missing`,
  ];
  const found = band.evidence[k];
  if (found) {
    if ((found.fill_rate ?? found.expected_per_day ?? null) === null) {
      lines.push("too few bars to judge by");
    } else {
      lines.push(`bars in ${number(100 * found.fill_rate, 2)} % of the slots around`);
      lines.push(`such a silence: ${often(found.expected_per_day)}`);
    }
    if (found.n_peers) lines.push(`${found.n_silent} of ${found.n_peers} other symbols silent`);
    if (found.n_coarser) lines.push(`${counted(found.n_coarser, "coarser bar")} traded in it`);
    if (found.disconnected) lines.push("the feed was disconnected");
  }
  return lines.join("<br>");
}

function often(perDay) {
  if (typeof perDay !== "number") return "\u2013";
  if (perDay >= 0.1) return `${number(perDay, 1)} times a day`;
  return perDay > 1e-6 ? `once in ${number(Number((1 / perDay).toPrecision(2)), 0)} days` : "never";
}

function chartLayout(session, bars, seen, range) {
  const quiet = { showgrid: false, showticklabels: false, showline: false, ticks: "" };
  return {
    ...baseLayout(),
    margin: { l: 8, r: 12, t: 30, b: 28 },
    barmode: "overlay",
    bargap: 0,
    dragmode: "pan",
    hovermode: "x",
    hoversubplots: "axis",
    showlegend: true,
    legend: { orientation: "h", x: 0, ...legendPlace(), itemdoubleclick: false },
    shapes: marks(session),
    xaxis: axis({
      type: "date",
      domain: [0, 0.88],
      anchor: "y3",
      range,
      minallowed: openMs(session),
      maxallowed: closeMs(session),
      fixedrange: false,
      rangeslider: { visible: false },
      showspikes: true,
      spikemode: "across",
      spikethickness: 1,
      spikedash: "dot",
      spikecolor: color("soft"),
      tickformatstops: [
        { dtickrange: [null, 60000], value: "%H:%M:%S" },
        { dtickrange: [60000, null], value: "%H:%M" },
      ],
    }),
    xaxis2: axis({ ...quiet, domain: [0.89, 1], anchor: "y2", rangemode: "tozero" }),
    yaxis: axis({ ...quiet, domain: [0, 1], range: [0, 1] }),
    yaxis2: axis({
      domain: [0.24, 1],
      range: priceRange(bars, seen),
      side: "left",
      automargin: true,
      tickformat: ",.10~f",
    }),
    yaxis3: axis({ domain: [0, 0.19], rangemode: "tozero", nticks: 3, automargin: true }),
  };
}

// Where there is no room beside plotly's buttons, below the chart.
function legendPlace() {
  const isNarrow = document.getElementById("chart").clientWidth < 700;
  return isNarrow ? { y: -0.07, yanchor: "top" } : { y: 1.01, yanchor: "bottom" };
}

function priceRange(bars, [first, last]) {
  let low = Infinity;
  let high = -Infinity;
  for (let k = first; k < last; k++) {
    if (bars.low[k] !== null) low = Math.min(low, bars.low[k]);
    if (bars.high[k] !== null) high = Math.max(high, bars.high[k]);
  }
  if (!(high >= low)) return [0, 1];
  const room = (high - low) * 0.05 || Math.abs(high) * 1e-3 || 1;
  return [low - room, high + room];
}

// Breaks of the session, and how far an unfinished one has come.
function marks(session) {
  const across = { type: "rect", yref: "paper", y0: 0, y1: 1, xref: "x", layer: "below" };
  const at = (seconds) => (seconds + session.offset_s) * 1000;
  const shapes = session.segments_s.slice(1).map(([opened], k) => ({
    ...across,
    x0: at(session.segments_s[k][1]),
    x1: at(opened),
    fillcolor: color("closed"),
    line: { width: 0 },
  }));
  const now = session.now_s === null ? Infinity : at(session.now_s);
  if (now > openMs(session) && now < closeMs(session)) {
    const edge = { color: color("accent"), width: 1, dash: "dash" };
    shapes.push({ ...across, type: "line", x0: now, x1: now, line: edge });
  }
  return shapes;
}

function heatFigure(session, measure) {
  const rows = session.symbols.length;
  const at = (seconds) => clock((seconds + session.offset_s) * 1000).slice(0, 5);
  const [none, some, all] = measure === "covered"
    ? ["cover-none", "cover-half", "cover-full"]
    : ["fault-none", "fault-some", "fault-all"];
  const height = Math.min(1600, Math.max(3, Math.min(22, 700 / rows)) * rows);
  const nothing = session.bins.starts_s.map(() => null);
  const trace = {
    type: "heatmap",
    x: session.bins.starts_s.map(at),
    // plotly loses a row that is called as something every object has, such as "constructor".
    y: session.symbols.map((_, k) => `#${k}`),
    z: session.symbols.map((one) => one.heat?.[measure].map(share) ?? nothing),
    zmin: 0,
    zmax: 100,
    showscale: rows > 2,
    colorscale: [[0, color(none)], [0.5, color(some)], [1, color(all)]],
    xgap: 1,
    ygap: height / rows > 8 ? 1 : 0,
    hovertemplate: "%{y}<br>%{x}<br>%{z:.1f} % " +
      `${measure === "covered" ? "covered" : "missing, unexplained"}<extra></extra>`,
    colorbar: { thickness: 10, outlinewidth: 0, ticksuffix: " %", len: 1, tickfont: { size: 11 } },
  };
  const layout = {
    ...baseLayout(),
    height: height + 60,
    margin: { l: 8, r: 8, t: 30, b: 30 },
    xaxis: axis({
      type: "category",
      fixedrange: false,
      showgrid: false,
      tickangle: 0,
      tickmode: "array",
      tickvals: wholeTimes(session).map(at),
    }),
    yaxis: axis({
      type: "category",
      autorange: "reversed",
      fixedrange: false,
      showgrid: false,
      automargin: true,
      nticks: Math.min(rows, 40),
      labelalias: Object.fromEntries(
        session.symbols.map((one, k) => [`#${k}`, plain(one.symbol)])),
    }),
  };
  return { traces: [trace], layout };
}

// The first stretch of each half hour, or hour, of the clock: as many as there is room for.
function wholeTimes({ bins, offset_s: offset }) {
  const room = Math.max(2, document.getElementById("heat").clientWidth / 60);
  let found = [];
  for (const minutes of [5, 10, 30, 60, 120, 240, 480, 1440]) {
    const which = (seconds) => Math.floor((seconds + offset) / (60 * minutes));
    found = bins.starts_s.filter((start, k, starts) =>
      which(start) !== which(k ? starts[k - 1] : start - 1));
    if (found.length <= room) break;
  }
  return found;
}

function share(permille) {
  return permille === null ? null : permille / 10;
}

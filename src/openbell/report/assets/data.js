"use strict";

// What the page holds: blocks of deflated JSON, unpacked when they are needed.

async function unpack(id) {
  const text = document.getElementById(id).textContent;
  const bytes = Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
  const inflated = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return JSON.parse(await new Response(inflated).text());
}

// Instants of the page are milliseconds of the exchange's clock: UTC and the session's offset.
function openMs(session) {
  return (session.segments_s[0][0] + session.offset_s) * 1000;
}

function closeMs(session) {
  return (session.segments_s.at(-1)[1] + session.offset_s) * 1000;
}

function clock(ms) {
  return new Date(ms).toISOString().slice(11, 19);
}

function offsetText(seconds) {
  const minutes = Math.abs(seconds) / 60;
  const two = (n) => String(Math.floor(n)).padStart(2, "0");
  return `UTC${seconds < 0 ? "\u2212" : "+"}${two(minutes / 60)}:${two(minutes % 60)}`;
}

// Columns of bars, with instants instead of the distances between them.
function unpackBars(packed, opened) {
  const start = [];
  let at = opened;
  for (const distance of packed.start) start.push((at += distance * 1000));
  const end = start.map((ms, k) => ms + packed.length[k] * 1000);
  const middle = start.map((ms, k) => (ms + end[k]) / 2);
  return { ...packed, start, end, middle };
}

// Positions of the bars that lie in a range, as [first, last).
function barsWithin(bars, [from, to]) {
  let first = bars.end.findIndex((ms) => ms > from);
  if (first < 0) first = bars.start.length;
  let last = bars.start.findIndex((ms) => ms >= to);
  if (last < 0) last = bars.start.length;
  return [first, Math.max(first, last)];
}

// Volume by price: each bar's volume spread evenly from its low to its high.
function volumeProfile(bars, first, last, nBins) {
  let low = Infinity;
  let high = -Infinity;
  for (let k = first; k < last; k++) {
    if (bars.low[k] !== null && bars.low[k] < low) low = bars.low[k];
    if (bars.high[k] !== null && bars.high[k] > high) high = bars.high[k];
  }
  if (!(high >= low)) return { price: [], volume: [], step: 1 };
  const step = high > low ? (high - low) / nBins : Math.abs(high) * 1e-4 || 1;
  const binOf = (price) => Math.min(nBins - 1, Math.floor((price - low) / step));
  const volume = new Array(high > low ? nBins : 1).fill(0);
  for (let k = first; k < last; k++) {
    if (bars.low[k] === null || bars.high[k] === null) continue;
    const from = binOf(bars.low[k]);
    const to = binOf(bars.high[k]);
    for (let bin = from; bin <= to; bin++) volume[bin] += bars.volume[k] / (to - from + 1);
  }
  return { price: volume.map((_, bin) => low + (bin + 0.5) * step), volume, step };
}

// Made once: to make one takes longer than to use it a hundred times.
const FORMATS = [0, 1, 2, 4, 6].reduce((made, digits) => made.set(digits,
  new Intl.NumberFormat("en-US", { maximumFractionDigits: digits })), new Map());
const HUNDREDTHS = new Intl.NumberFormat("en-US",
  { minimumFractionDigits: 2, maximumFractionDigits: 2 });

function number(value, digits = 6) {
  if (typeof value !== "number") return "\u2013";
  return FORMATS.get(digits).format(value);
}

function percent(value) {
  if (typeof value !== "number") return "\u2013";
  // 99.996 % is not 100 %.
  const shown = value < 100 ? Math.min(value, 99.99) : value;
  return `${HUNDREDTHS.format(shown)} %`;
}

function counted(n, noun) {
  return `${number(n)} ${noun}${n === 1 ? "" : "s"}`;
}

// plotly reads tags in texts; the names of symbols are not to be read.
function plain(text) {
  return String(text).replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
}

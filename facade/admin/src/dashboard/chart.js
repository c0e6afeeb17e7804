/* What the page is drawn with: elements, numbers in words, and a chart with a legend of values.
 *
 * Loaded before app.js, which says what is shown. Every text goes through textContent, so nothing that a cache or a
 * setting is called can become markup. The content policy forbids inline styles: they are set by property.
 */
'use strict';

/* Helpers ---------------------------------------------------------------------------------------------------- */

const $ = (id) => document.getElementById(id);

/** Builds an element: el('td', { class: 'num' }, 'text', child, …). */
function el(tag, attributes, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) {
    if (name.startsWith('on')) node.addEventListener(name.slice(2), value);
    else if (value === true) node.setAttribute(name, '');
    else if (value !== false && value !== null && value !== undefined) node.setAttribute(name, value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

function text(node, value) {
  if (node.textContent !== value) node.textContent = value;
}

const known = (value) => typeof value === 'number' && Number.isFinite(value);

function bytes(value) {
  if (!known(value)) return '–';
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'];
  let step = 0;
  while (Math.abs(value) >= 1024 && step < units.length - 1) { value /= 1024; step += 1; }
  const digits = step === 0 || value >= 100 ? 0 : value >= 10 ? 1 : 2;
  return `${value.toFixed(digits)} ${units[step]}`;
}

function count(value) {
  if (!known(value)) return '–';
  if (value >= 1e9) return `${(value / 1e9).toFixed(2)} G`;
  if (value >= 1e6) return `${(value / 1e6).toFixed(2)} M`;
  if (value >= 1e5) return `${(value / 1e3).toFixed(0)} k`;
  return Math.round(value).toLocaleString('en');
}

function rate(value) {
  if (!known(value)) return '–';
  return `${value === 0 ? '0' : value < 10 ? value.toFixed(1) : count(value)}/s`;
}

function percent(value) {
  if (!known(value)) return '–';
  const shown = value * 100;
  return `${shown === 0 || shown >= 99.95 ? shown.toFixed(0) : shown.toFixed(1)} %`;
}

function span(seconds) {
  if (!known(seconds)) return '–';
  if (seconds < 10 && seconds % 1 !== 0) return seconds < 1 ? `${Math.round(seconds * 1000)} ms` : `${seconds.toFixed(1)} s`;
  const s = Math.floor(seconds);
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min ${s % 60} s`;
  if (s < 86400) return `${Math.floor(s / 3600)} h ${Math.floor((s % 3600) / 60)} min`;
  return `${Math.floor(s / 86400)} d ${Math.floor((s % 86400) / 3600)} h`;
}

/** A time in the unit that fits it, from microseconds on. */
function short(seconds) {
  if (!seconds) return '0';
  if (seconds < 1e-3) return `${(seconds * 1e6).toFixed(0)} µs`;
  if (seconds < 1) return `${(seconds * 1e3).toFixed(1)} ms`;
  return seconds < 60 ? `${seconds.toFixed(1)} s` : span(seconds);
}

function meter(node, share, label) {
  const value = known(share) ? Math.max(0, Math.min(1, share)) : 0;
  node.firstElementChild.style.width = `${(value * 100).toFixed(1)}%`;
  node.setAttribute('aria-valuenow', Math.round(value * 100));
  node.setAttribute('aria-valuetext', label);
}

/* Charts ----------------------------------------------------------------------------------------------------- */

const charts = new Map();
/* Steps of an axis of bytes: 16 MiB reads better than 19.1. */
const SECONDS = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 43200, 86400];
const POWERS = Array.from({ length: 60 }, (_, power) => 2 ** power);
const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

/** A chart with a legend that shows the values under the cursor, or the latest. */
class Chart {
  constructor(id, { height, format, series, range, stacked = false }) {
    this.root = $(id);
    this.spec = { height, format, series, range, stacked };
    this.name = this.root.getAttribute('aria-label');
    this.legend = el('div', { class: 'legend', 'aria-hidden': 'true' });
    this.values = series.map((one) => {
      const value = el('b', {}, '–');
      const key = el('i');
      this.legend.append(el('span', {}, key, one.label, value));
      return { value, key };
    });
    this.canvas = el('div');
    this.root.replaceChildren(this.legend, this.canvas);
    this.data = [[], ...series.map(() => [])];
    this.raw = this.data;
    this.build();
    new ResizeObserver(() => this.resize()).observe(this.root);
    charts.set(id, this);
  }

  width() {
    const style = getComputedStyle(this.root);
    return Math.max(160, this.root.clientWidth - parseFloat(style.paddingLeft) - parseFloat(style.paddingRight));
  }

  build() {
    if (this.plot) this.plot.destroy();
    const { height, format, series, range, stacked } = this.spec;
    const axis = { stroke: css('--soft'), font: '11px system-ui, sans-serif', ticks: { show: false }, grid: { stroke: css('--grid'), width: 1 } };
    this.plot = new uPlot({
      width: this.width(),
      height,
      padding: [10, 8, 0, 0],
      legend: { show: false },
      cursor: { y: false, points: { size: 6 }, drag: { x: false, y: false } },
      scales: { x: { time: true }, y: { range: (plot, low, high) => range(high) } },
      axes: [
        { ...axis, grid: { show: false }, space: 80, size: 26, incrs: SECONDS, values: (plot, splits) => splits.map(clock) },
        { ...axis, size: 64, space: 34, incrs: format === bytes ? POWERS : undefined, values: (plot, splits) => splits.map((value) => format(value)) },
      ],
      series: [{}, ...series.map((one) => ({
        label: one.label,
        stroke: css(one.color),
        width: one.dash ? 1.25 : 1.75,
        dash: one.dash,
        fill: one.fill ? (stacked ? `${css(one.color)}40` : css(one.fill)) : undefined,
        points: { show: false },
        spanGaps: false,
      }))],
      hooks: { setCursor: [(plot) => this.read(plot.cursor.idx)] },
    }, this.data, this.canvas);
    this.values.forEach(({ key }, at) => { key.style.background = css(series[at].color); });
  }

  resize() {
    const width = this.width();
    if (Math.abs(width - this.plot.width) > 1) this.plot.setSize({ width, height: this.spec.height });
  }

  set(columns) {
    this.raw = columns;
    this.data = this.spec.stacked ? stack(columns) : columns;
    this.plot.setData(this.data);
    this.read(this.plot.cursor.idx);
  }

  read(at) {
    const [times, ...columns] = this.raw;
    const index = at === null || at === undefined || at >= times.length ? times.length - 1 : at;
    const words = columns.map((column, series) => {
      const shown = index >= 0 ? this.spec.format(column[index]) : '–';
      text(this.values[series].value, shown);
      return `${this.spec.series[series].label} ${shown}`;
    });
    this.root.setAttribute('aria-label', `${this.name}: ${words.join(', ')}`);
  }
}

/** The first series is drawn as the sum of all, the last as itself; drawn in order, each covers what lies below. */
function stack(columns) {
  const [times, ...series] = columns;
  const sums = series.map((column) => column.slice());
  for (let at = series.length - 2; at >= 0; at -= 1) {
    for (let t = 0; t < times.length; t += 1) sums[at][t] = (sums[at][t] || 0) + (sums[at + 1][t] || 0);
  }
  return [times, ...sums];
}

function clock(seconds) {
  const at = new Date(seconds * 1000);
  const pad = (n) => String(n).padStart(2, '0');
  return `${pad(at.getHours())}:${pad(at.getMinutes())}:${pad(at.getSeconds())}`;
}

// Two time series charts over the last ten minutes. They redraw on new points, on resize, and when the colour scheme changes.
import uPlot from "./vendor/uplot.js";

const palette = ["#0b8fb3", "#d98e04", "#6a8f2f", "#b0507a", "#7568c8", "#2f9e8f", "#c2603a", "#5a7d9a"];
const keep = 600;
const window = 60; // seconds that a chart spans at least, so that the first points are not stretched over it

const clock = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const timeOf = (seconds) => clock.format(new Date(seconds * 1000));

export class Series {
  constructor(element, { unit, fill = false }) {
    this.element = element;
    this.unit = unit;
    this.fill = fill;
    this.names = [];
    this.times = [];
    this.values = [];
    new ResizeObserver(() => this.#resize()).observe(element);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.#build());
  }

  // add appends one point for each name in values; series come and go as shards do.
  add(time, values) {
    for (const name of Object.keys(values)) {
      if (!this.names.includes(name)) {
        this.names.push(name);
        this.values.push(new Array(this.times.length).fill(null));
        this.plot = null;
      }
    }
    this.times.push(time);
    this.names.forEach((name, i) => this.values[i].push(values[name] ?? null));
    if (this.times.length > keep) {
      this.times.shift();
      this.values.forEach((v) => v.shift());
    }
    if (!this.plot) this.#build();
    this.plot?.setData([this.times, ...this.values]);
  }

  #colour(name) {
    return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  }

  #build() {
    this.element.replaceChildren();
    if (this.names.length === 0) return;
    const axis = { stroke: this.#colour("--quiet"), grid: { stroke: this.#colour("--line"), width: 1 }, ticks: { show: false } };
    const many = this.names.length > 8;
    this.plot = new uPlot({
      ...this.#size(),
      legend: { show: this.names.length > 1 && !many },
      cursor: { y: false },
      scales: {
        x: { range: (_u, min, max) => [Math.min(min, max - window), max] },
        y: { range: (_u, _min, max) => [0, Math.max(1, (max ?? 1) * 1.1)] },
      },
      axes: [{ ...axis, space: 80, incrs: [5, 10, 15, 30, 60, 120, 300], values: (_u, at) => at.map(timeOf) }, { ...axis, size: 56 }],
      series: [{ label: "at", value: (_u, v) => (v == null ? "–" : timeOf(v)) }, ...this.names.map((label, i) => ({
        label: label.replace(/^shardId-0*(?=\d)/, "shard "),
        stroke: palette[i % palette.length],
        width: 1.6,
        fill: this.fill ? palette[i % palette.length] + "22" : undefined,
        points: { show: false },
        value: (_u, v) => (v == null ? "–" : v.toFixed(1) + this.unit),
      }))],
    }, [this.times, ...this.values], this.element);
  }

  #size() {
    return { width: Math.max(200, this.element.clientWidth), height: this.names.length > 1 && this.names.length <= 8 ? 190 : 216 };
  }

  #resize() {
    this.plot?.setSize(this.#size());
  }
}

// The overview: is it well, and why not?
import { Series } from "./charts.js";
import { $, bar, element, link, row, rows, sum } from "./dom.js";
import { bytes, count, duration, percent } from "./format.js";

const topEdges = 10;
const grades = [
  ["confirmed", "#1c7c54", "seen on the wire"],
  ["covered", "#3aa876", "told by the control plane"],
  ["provisional", "#d9b84a", "knowledge not complete yet"],
  ["border", "#d98e04", "owner changed close by"],
  ["ambiguous", "#b0507a", "several owners in the flow's time"],
  ["stale", "#8d7bc9", "only an earlier owner known"],
  ["prefix", "#5a8fb0", "a declared network"],
  ["public", "#0b8fb3", "outside: AWS service or internet"],
  ["unknown", "#8a97a0", "nothing is known"],
];

const rate = new Series($("chart-rate"), { unit: "/s", fill: true });
const lag = new Series($("chart-lag"), { unit: " s" });
let before;

function drawBooks(b) {
  const items = [];
  const part = (name, map) => {
    items.push(row("total", ["", name], ["num", count(sum(map))]));
    for (const [k, v] of Object.entries(map ?? {}).filter((e) => e[1] > 0).sort((x, y) => y[1] - x[1])) items.push(row("part quiet", ["", k], ["num", count(v)]));
  };
  items.push(row("total", ["", "lines read"], ["num", count(b.lines)]));
  items.push(row("total", ["", "= decoded"], ["num", count(b.decoded)]));
  items.push(row("part quiet", ["", "delivered"], ["num", count(b.delivered)]));
  items.push(row("part quiet", ["", "in flight"], ["num", count(b.in_flight)]));
  for (const [name, map] of [["dropped by rule", b.dropped], ["dead-lettered", b.dead_lettered], ["abandoned, to be read again", b.abandoned]]) {
    if (sum(map) > 0) items.push(row("part quiet", ["", name], ["num", count(sum(map))]));
  }
  part("+ skipped", b.skipped);
  part("+ rejected", b.rejected);
  if (sum(b.payload_faults) > 0) part("payloads not readable", b.payload_faults);
  rows("books", items);
  const ok = !b.imbalance;
  $("balance").textContent = ok ? "balanced" : b.imbalance;
  $("balance").className = "pill " + (ok ? "good" : "bad");
}

function drawGrades(ends) {
  const total = sum(ends) || 1;
  const slices = [], items = [];
  for (const [name, colour, meaning] of grades) {
    const n = ends?.[name] ?? 0;
    if (n === 0) continue;
    const slice = element("i");
    slice.style.width = (100 * n) / total + "%";
    slice.style.background = colour;
    slice.title = name;
    slices.push(slice);
    const label = element("td");
    const dot = element("span", "dot");
    dot.style.background = colour;
    label.append(dot, name);
    const tr = element("tr");
    tr.append(label, element("td", "quiet", meaning), element("td", "num", count(n)), element("td", "num", percent(n / total)));
    items.push(tr);
  }
  $("grades-bar").replaceChildren(...slices);
  rows("grades", items);
  const inside = total - (ends?.public ?? 0);
  const named = (ends?.confirmed ?? 0) + (ends?.covered ?? 0);
  $("named").textContent = sum(ends) === 0 || inside === 0 ? "–" : percent(named / inside);
}

function drawEdges(s) {
  const shown = s.edges.slice(0, topEdges);
  $("edges-window").textContent = s.edge_window ? `the ${shown.length} greatest, counted bytes of the last ${duration(s.edge_window * 1000)}` : "";
  const most = Math.max(1, ...shown.map((e) => e.bytes));
  rows("edges", shown.map((e) => {
    const tr = element("tr");
    const to = element("td");
    to.append(link(`#talks/${encodeURIComponent(e.dst)}`, "app", e.dst));
    tr.append(bar(e.bytes / most, link(`#talks/${encodeURIComponent(e.src)}`, "app", e.src)), to, element("td", "num", bytes(e.bytes)), element("td", "num", count(e.flows)));
    return tr;
  }));
}

export function draw(s) {
  const now = new Date(s.now) / 1000;
  if (before && now > before.now) {
    const perSecond = Math.max(0, (s.books.delivered - before.delivered) / (now - before.now));
    $("rate").textContent = count(perSecond);
    rate.add(now, { rows: perSecond });
  }
  before = { now, delivered: s.books.delivered };

  const mine = s.shards.filter((x) => x.mine && x.state !== "ended");
  if (mine.length > 0) {
    const worst = mine.reduce((a, b) => (b.lag_ms > a.lag_ms ? b : a));
    $("lag").textContent = duration(worst.lag_ms);
    $("lag-shard").textContent = worst.id;
    lag.add(now, Object.fromEntries(mine.map((x) => [x.id, x.lag_ms / 1000])));
  }
  $("rejected").textContent = count(sum(s.books.rejected));
  drawBooks(s.books);
  drawGrades(s.ends);
  drawEdges(s);
}

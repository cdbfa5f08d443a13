// Who talks to whom: a picture of the greatest edges, a matrix of the busiest applications, and a table of all edges. With an
// application in focus, all three show only what it talks to.
import { $, ask, bar, element, link, redraw, row, rows, sortable } from "./dom.js";
import { bytes, count, duration } from "./format.js";

const drawnEdges = 24; // more cannot be told apart in the picture
const matrixApps = 14;
const step = 100; // rows of the table shown at first, and each time more are asked for
const state = { edges: [], focus: "", filter: "", key: "bytes", down: true, shown: step };

const address = (app) => `#talks/${encodeURIComponent(app)}`;
const short = (text, most) => (text.length > most ? text.slice(0, most - 1) + "…" : text);

function svg(tag, attributes, ...children) {
  const e = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) e.setAttribute(name, value);
  e.append(...children);
  return e;
}

// chosen are the edges in focus and filter, the greatest first.
function chosen() {
  const words = state.filter.toLowerCase().split(/\s+/).filter(Boolean);
  return state.edges.filter((e) => (!state.focus || e.src === state.focus || e.dst === state.focus) &&
    words.every((w) => e.src.toLowerCase().includes(w) || e.dst.toLowerCase().includes(w)));
}

// drawPicture puts sources on the left and destinations on the right, each as high as its bytes, with bands between them.
function drawPicture(edges) {
  const shown = edges.slice(0, drawnEdges);
  const box = $("talks-picture");
  box.hidden = shown.length === 0;
  if (shown.length === 0) return;
  const width = Math.max(320, box.clientWidth || 900), narrow = width < 560;
  const label = narrow ? 104 : 210, letters = narrow ? 14 : 28, gap = 8, least = 13;
  const side = (name) => {
    const sums = new Map();
    for (const e of shown) sums.set(e[name], (sums.get(e[name]) ?? 0) + e.bytes);
    return [...sums].sort((a, b) => b[1] - a[1]);
  };
  const left = side("src"), right = side("dst");
  const total = shown.reduce((n, e) => n + e.bytes, 0) || 1;
  const lines = Math.max(left.length, right.length);
  const free = Math.max(160, lines * 14); // shared out by bytes; each node has at least its line of text besides
  const place = (list) => {
    const at = new Map();
    let y = 6;
    for (const [app, n] of list) {
      const high = least + (free * n) / total;
      at.set(app, { y, high, scale: high / n, used: 0 });
      y += high + gap;
    }
    return [at, y];
  };
  const [from, lowLeft] = place(left), [to, lowRight] = place(right);
  const height = Math.max(lowLeft, lowRight);
  const x1 = label, x2 = width - label, middle = (x1 + x2) / 2;
  const bands = shown.map((e) => {
    const a = from.get(e.src), b = to.get(e.dst);
    const h1 = e.bytes * a.scale, h2 = e.bytes * b.scale;
    const y1 = a.y + a.used, y2 = b.y + b.used;
    a.used += h1;
    b.used += h2;
    const band = svg("path", {
      class: "band",
      d: `M${x1 + 6},${y1} C${middle},${y1} ${middle},${y2} ${x2 - 6},${y2} L${x2 - 6},${y2 + h2} C${middle},${y2 + h2} ${middle},${y1 + h1} ${x1 + 6},${y1 + h1} Z`,
    });
    const title = svg("title", {});
    title.textContent = `${e.src} to ${e.dst}: ${bytes(e.bytes)}, ${count(e.flows)} flows`;
    band.append(title);
    return band;
  });
  const nodes = (at, x, end) => [...at].map(([app, n]) => {
    const text = svg("text", { x: end ? x + 12 : x - 6, y: n.y + n.high / 2, "text-anchor": end ? "start" : "end", "dominant-baseline": "middle" });
    text.textContent = short(app, letters);
    const a = svg("a", { href: address(app), class: app === state.focus ? "node focus" : "node" }, svg("rect", { x: end ? x - 0 : x, y: n.y, width: 6, height: n.high, rx: 2 }), text);
    const title = svg("title", {});
    title.textContent = app;
    a.append(title);
    return a;
  });
  const picture = svg("svg", { viewBox: `0 0 ${width} ${height}`, width, height, role: "group", "aria-label": "the greatest edges, from left to right" },
    ...bands, ...nodes(from, x1, false), ...nodes(to, x2 - 6, true));
  redraw(box, picture);
}

// drawMatrix crosses the busiest applications; the darker a cell, the more bytes (by square root, so that small ones show).
function drawMatrix(edges) {
  const sums = new Map();
  for (const e of edges) {
    for (const app of new Set([e.src, e.dst])) sums.set(app, (sums.get(app) ?? 0) + e.bytes);
  }
  const apps = [...sums].sort((a, b) => b[1] - a[1]).slice(0, matrixApps).map((e) => e[0]);
  const of = new Map(edges.map((e) => [JSON.stringify([e.src, e.dst]), e]));
  const most = Math.max(1, ...edges.map((e) => e.bytes));
  const head = element("tr");
  head.append(element("th", "", "from \\ to"), ...apps.map((a) => {
    const th = element("th", "slant");
    th.append(element("span", "", short(a, 18)));
    th.title = a;
    return th;
  }));
  $("matrix").tHead.replaceChildren(head);
  rows("matrix", apps.map((a) => {
    const tr = element("tr");
    const th = element("th");
    th.scope = "row";
    th.append(link(address(a), "app", short(a, 22)));
    tr.append(th, ...apps.map((b) => {
      const e = of.get(JSON.stringify([a, b]));
      const td = element("td", "cell", e ? bytes(e.bytes) : "");
      if (e) {
        td.style.setProperty("--share", Math.sqrt(e.bytes / most));
        td.title = `${a} to ${b}: ${bytes(e.bytes)}, ${count(e.flows)} flows`;
      }
      return td;
    }));
    return tr;
  }));
}

function drawTable(edges) {
  const list = [...edges].sort((a, b) => {
    const [x, y] = [a[state.key], b[state.key]];
    return (state.down ? -1 : 1) * (typeof x === "number" ? x - y : x.localeCompare(y));
  });
  const most = Math.max(1, ...list.map((e) => e.bytes));
  rows("talks-table", list.slice(0, state.shown).map((e) => {
    const tr = row("", ["", ""], ["", link(address(e.dst), "app", e.dst)], ["num", bytes(e.bytes)], ["num", count(e.flows)]);
    tr.replaceChild(bar(e.bytes / most, link(address(e.src), "app", e.src)), tr.cells[0]);
    return tr;
  }));
  $("talks-more").hidden = list.length <= state.shown;
  $("talks-more").textContent = `show ${Math.min(step, list.length - state.shown)} more of ${list.length}`;
}

function draw() {
  const edges = chosen();
  const total = edges.reduce((n, e) => n + e.bytes, 0);
  $("talks-title").textContent = state.focus ? `What ${state.focus} talks to` : "Who talks to whom";
  $("talks-all").hidden = !state.focus;
  const parts = [`${edges.length} edges, ${bytes(total)} counted in the last ${duration((state.window ?? 0) * 1000)}`];
  if (edges.length > drawnEdges) parts.push(`the picture shows the ${drawnEdges} greatest`);
  if (state.other > 0 && !state.focus) parts.push(`${bytes(state.other)} more over smaller edges`);
  $("talks-note").textContent = parts.join("; ");
  drawPicture(edges);
  drawMatrix(edges);
  drawTable(edges);
}

export async function update() {
  const t = await ask("/api/talks");
  state.edges = t.edges;
  state.window = t.window;
  state.other = t.other_bytes;
  draw();
}

export function open(app) {
  state.focus = app;
  state.shown = step;
  draw();
}

$("talks-filter").addEventListener("input", () => {
  state.filter = $("talks-filter").value;
  draw();
});
$("talks-more").addEventListener("click", () => {
  state.shown += step;
  draw();
});
sortable("talks-table", (key, down) => {
  state.key = key;
  state.down = down;
  draw();
});
let width = 0;
new ResizeObserver(() => {
  if ($("talks-picture").clientWidth !== width && !$("talks-picture").hidden) {
    width = $("talks-picture").clientWidth;
    drawPicture(chosen());
  }
}).observe($("talks"));

// Look up an address: who had it at a time, why, and everybody on a time line. What the server says is text, never markup.
import { $, ask as fetchJSON, element } from "./dom.js";

const ask = (path, params) => fetchJSON(`${path}?${new URLSearchParams(Object.entries(params).filter(([, v]) => v))}`);

// unsure are grades with an owner that is likely, and not proven: of the present minute nobody has told everything yet.
const unsure = ["provisional", "border", "stale", "prefix"];

const short = (t) => (t ? t.replace("T", " ").replace(/\.000Z$/, "Z") : "–");

function facts(pairs) {
  const list = element("dl");
  for (const [name, value] of pairs) {
    if (value) list.append(element("dt", "", name), element("dd", "", value));
  }
  return list;
}

function evidence(items) {
  const table = element("table");
  const head = element("tr");
  for (const name of ["kind", "op", "source", "owner", "from", "to", "app"]) head.append(element("th", "", name));
  const body = element("tbody");
  for (const e of items) {
    const tr = element("tr");
    tr.append(element("td", "", e.kind), element("td", "", e.op ?? ""), element("td", "code", e.source), element("td", "code", e.owner),
      element("td", "", short(e.from)), element("td", "", short(e.to)), element("td", "", e.app ?? ""));
    body.append(tr);
  }
  const thead = element("thead");
  thead.append(head);
  table.append(thead, body);
  return table;
}

function card(a) {
  const box = element("article", "panel");
  const title = element("h2", "", `${a.ip} in ${a.scope} `);
  title.append(element("span", "pill " + (a.named ? "good" : unsure.includes(a.grade) ? "warn" : "bad"), a.grade));
  const e = a.endpoint ?? {}, w = a.workload ?? {};
  box.append(title, facts([
    ["app", w.app], ["why", a.why], ["at", short(a.at)], ["owner", e.owner], ["endpoint", [...new Set([e.kind, e.name, e.instance, e.az])].filter(Boolean).join(" ")],
    ["tenure", a.from ? `${short(a.from)} to ${a.to ? short(a.to) : "now"}` : ""], ["cluster", w.cluster],
    ["account", [w.account, w.region].filter(Boolean).join(" ")], ["network", a.network],
    ["candidates", (a.candidates ?? []).map((c) => `${c.endpoint.owner} ${c.workload?.app ?? ""}`.trim()).join(", ")],
  ]));
  if (a.evidence?.length) box.append(evidence(a.evidence));
  return box;
}

// drawLine shows each owner in a lane of its own: what was told, and below it what traffic showed.
function drawLine(tenures, at) {
  $("line").hidden = tenures.length === 0;
  if (tenures.length === 0) return;
  const now = Date.now();
  const spans = tenures.map((t) => ({ ...t, a: t.from ? Date.parse(t.from) : now, b: t.to ? Date.parse(t.to) : now }));
  const low = Math.min(...spans.map((t) => t.a)), high = Math.max(now, ...spans.map((t) => t.b));
  const width = Math.max(1, high - low), place = (t) => `${(100 * (t - low)) / width}%`;
  $("line-span").textContent = `${short(new Date(low).toISOString())} to ${short(new Date(high).toISOString())}`;
  const lanes = new Map();
  for (const t of spans) {
    const key = `${t.scope} ${t.owner}`;
    if (!lanes.has(key)) lanes.set(key, []);
    lanes.get(key).push(t);
  }
  $("lanes").replaceChildren(...[...lanes].map(([key, list]) => {
    const lane = element("div", "lane");
    const app = list.find((t) => t.workload?.app)?.workload.app;
    const who = element("div", "who", app ? `${app} · ${key}` : key);
    who.title = key;
    const track = element("div", "track");
    for (const t of list) {
      const bar = element("i", t.kind);
      bar.style.left = place(t.a);
      bar.style.width = `${(100 * (t.b - t.a)) / width}%`;
      bar.title = `${t.kind} ${short(t.from)} to ${t.to ? short(t.to) : "now"}`;
      track.append(bar);
    }
    const mark = element("b");
    mark.style.left = place(Math.min(high, Math.max(low, at)));
    track.append(mark);
    lane.append(who, track);
    return lane;
  }));
}

async function find() {
  const ip = encodeURIComponent($("ip").value.trim()), at = $("at").value.trim(), scope = $("scope").value.trim();
  if (!ip) return;
  $("problem").hidden = true;
  try {
    const [now, past] = await Promise.all([ask(`/v1/ip/${ip}`, { at, scope }), ask(`/v1/ip/${ip}/history`, { scope })]);
    $("answers").replaceChildren(...now.answers.map(card));
    if (now.answers.length === 0) throw new Error("nothing is known of this address");
    drawLine(past.tenures, Date.parse(now.answers[0].at));
  } catch (e) {
    $("answers").replaceChildren();
    $("line").hidden = true;
    $("problem").textContent = e.message;
    $("problem").hidden = false;
  }
  document.documentElement.dataset.found = "true";
}

// lookUp fills the form and asks.
export function lookUp(ip, at, scope) {
  for (const [id, value] of Object.entries({ ip, at, scope })) $(id).value = value;
  return find();
}

// onAsk is called with the question before each one that a person asks.
let onAsk = () => {};
export function setOnAsk(f) {
  onAsk = f;
}

$("ask").addEventListener("submit", (e) => {
  e.preventDefault();
  onAsk($("ip").value.trim(), $("at").value.trim(), $("scope").value.trim());
  find();
});

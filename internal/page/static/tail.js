// Rows as they come, picked by a filter.
import { $, element } from "./dom.js";
import { bytes, count } from "./format.js";

const keep = 200;
let source, paused = false;

const end = (r, side) => `${r[side + "_ip"] ?? ""}${r[side + "_port"] ? ":" + r[side + "_port"] : ""}`;

function party(r, side) {
  const td = element("td");
  const grade = r[side + "_grade"];
  td.append(element("strong", grade === "confirmed" || grade === "covered" || grade === "public" ? "" : "quiet", r[side + "_app"] ?? "unknown"));
  td.append(element("span", "code quiet", ` ${end(r, side)}`));
  td.title = grade;
  return td;
}

function show(r, text) {
  const tr = element("tr");
  const more = element("details");
  more.append(element("summary", "", r.path ?? "row"));
  const pre = element("pre");
  pre.tabIndex = 0;
  more.append(pre);
  more.addEventListener("toggle", () => (pre.textContent = JSON.stringify(JSON.parse(text), null, 2)));
  const last = element("td");
  last.append(more);
  tr.append(element("td", "quiet", new Date(r.time).toLocaleTimeString("en-GB")), party(r, "src"), party(r, "dst"),
    element("td", r.action === "REJECT" ? "bad" : "", r.action ?? ""), element("td", "num", r.bytes === undefined ? "" : bytes(r.bytes)), last);
  const body = $("tail").tBodies[0];
  body.prepend(tr);
  while (body.rows.length > keep) body.rows[keep].remove();
}

function say(text, bad = false) {
  $("tail-note").textContent = text;
  $("tail-note").classList.toggle("bad", bad);
}

export function stop() {
  source?.close();
  source = undefined;
}

export async function start() {
  stop();
  $("tail").tBodies[0].replaceChildren();
  const filter = $("tail-filter").value.trim();
  const url = "/api/tail?" + new URLSearchParams({ filter });
  paused = false;
  $("tail-pause").textContent = "pause";
  say("waiting for rows…");
  const mine = new EventSource(url);
  source = mine;
  let waiting = true;
  mine.addEventListener("row", (e) => {
    if (waiting) say(""); // the counts follow
    waiting = false;
    if (!paused) show(JSON.parse(e.data), e.data);
  });
  mine.addEventListener("counts", (e) => {
    const c = JSON.parse(e.data);
    waiting = false;
    say(`${count(c.matched)} rows match` + (c.skipped > 0 ? `, ${count(c.skipped)} of them not shown (50 a second are)` : "") + (c.unseen > 0 ? `, ${count(c.unseen)} rows were too many to look at` : ""));
  });
  mine.onerror = async () => {
    if (mine.readyState !== EventSource.CLOSED) return; // it asks again by itself
    try { // EventSource does not tell what the server said
      const answer = await fetch(url, { signal: AbortSignal.timeout(3000) });
      const text = answer.ok ? "" : (await answer.json()).error;
      say(text || "the connection ended; press watch", true);
    } catch {
      say("no answer from dredge", true);
    }
  };
}

$("tail-ask").addEventListener("submit", (e) => {
  e.preventDefault();
  start();
});
$("tail-pause").addEventListener("click", () => {
  paused = !paused;
  $("tail-pause").textContent = paused ? "go on" : "pause";
});

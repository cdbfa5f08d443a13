// The page: shows one view at a time, named in the address behind #, and asks for what that view needs. Keys 1 to 9 choose a
// view, / goes to its filter.
import * as coverage from "./coverage.js";
import { $, ask, element, prose } from "./dom.js";
import { duration } from "./format.js";
import { lookUp } from "./lookup.js";
import { draw as drawOverview } from "./overview.js";
import { drawConfig, drawRejects, drawShards } from "./shards.js";
import * as tail from "./tail.js";
import * as talks from "./talks.js";

const period = 2000;
const views = [...document.querySelectorAll("main > [data-view]")].map((e) => e.dataset.view);
let view, status;

function drawHead(s) {
  $("where").textContent = `${s.source} → ${s.sink}`;
  $("version").textContent = `dredge ${s.version}, worker ${s.worker}, up ${duration(new Date(s.now) - new Date(s.started))}`;
  const well = s.problems.length === 0;
  $("health").textContent = well ? "all is well" : s.problems.length === 1 ? "1 problem" : s.problems.length + " problems";
  $("health").className = "pill " + (well ? "good" : "bad");
  $("problems").hidden = well;
  const list = element("ul");
  for (const p of s.problems) {
    const item = element("li");
    item.append(...prose(p));
    list.append(item);
  }
  const help = element("p", "quiet");
  help.append(...prose("What to do: docs/operate.md, by what you see; `dredge check -c FILE` tries every connection and permission."));
  $("problems").replaceChildren(list, help);
}

// updates are what each view needs beside the status.
const updates = {
  talks: talks.update,
  coverage: coverage.update,
  unknowns: coverage.updateUnknowns,
  configuration: drawConfig,
};

async function refresh() {
  try {
    status = await ask("/api/status");
    drawHead(status);
    drawOverview(status);
    drawShards(status.shards, status.worker);
    drawRejects(status.rejected);
    await updates[view]?.();
    document.documentElement.dataset.drawn = view;
  } catch (e) {
    $("health").textContent = "no answer from dredge";
    $("health").title = e.message;
    $("health").className = "pill bad";
  }
}

async function loop() {
  await refresh();
  setTimeout(loop, document.hidden ? period * 5 : period);
}

// go shows the view that the address names, with what stands behind its name.
function go() {
  const [name, ...rest] = location.hash.slice(1).split("/").map(decodeURIComponent);
  const next = views.includes(name) ? name : views[0];
  if (view === "tail" && next !== "tail") tail.stop();
  const other = next !== view;
  view = next;
  for (const e of document.querySelectorAll("main > [data-view]")) e.hidden = e.dataset.view !== view;
  for (const a of document.querySelectorAll("header nav a")) {
    if (a.hash === "#" + view) a.setAttribute("aria-current", "page");
    else a.removeAttribute("aria-current");
  }
  document.querySelector("header nav [aria-current]")?.scrollIntoView({ block: "nearest", inline: "center" });
  document.title = view === views[0] ? "dredge" : `${view} · dredge`;
  if (view === "talks") talks.open(rest.join("/"));
  if (view === "tail" && other) tail.start();
  if (view === "lookup" && rest[0]) lookUp(rest[0], "", rest[1] ?? "");
  if (other) {
    scrollTo(0, 0);
    refresh();
  }
}

addEventListener("hashchange", go);
addEventListener("keydown", (e) => {
  if (e.ctrlKey || e.metaKey || e.altKey || e.target.closest("input, select, textarea")) return;
  if (/^[1-9]$/.test(e.key) && views[e.key - 1]) {
    location.hash = views[e.key - 1];
  } else if (e.key === "/") {
    const input = document.querySelector(`[data-view="${view}"] input`);
    if (input) {
      e.preventDefault();
      input.focus();
    }
  }
});
for (const id of ["rejects-reason", "rejects-filter"]) $(id).addEventListener("input", () => status && drawRejects(status.rejected));
go();
loop();

// Shards and leases, the rejected lines, and the configuration in force.
import { $, ask, element, row, rows } from "./dom.js";
import { count, duration } from "./format.js";

// asked holds the shards whose button waits for the second press, said what became of the last one.
const asked = new Map();

async function restart(id) {
  try {
    await ask(`/shards/${encodeURIComponent(id)}/restart`, { method: "POST" });
    $("shards-note").textContent = `${id} is read anew from its last durable position`;
  } catch (e) {
    $("shards-note").textContent = `${id}: ${e.message}`;
  }
}

// The button stays the same element while the table is drawn anew, so that it goes on waiting for the second press.
const buttons = new Map();
function restartButton(id) {
  let button = buttons.get(id);
  if (!button) {
    button = element("button", "small", "restart");
    button.type = "button";
    button.setAttribute("aria-label", `restart ${id}`);
    button.addEventListener("click", () => {
      if (asked.has(id)) {
        clearTimeout(asked.get(id));
        asked.delete(id);
        button.textContent = "restart";
        restart(id);
        return;
      }
      button.textContent = "sure?";
      asked.set(id, setTimeout(() => {
        asked.delete(id);
        button.textContent = "restart";
      }, 4000));
    });
    buttons.set(id, button);
  }
  return button;
}

export function drawShards(shards, worker) {
  rows("shards", shards.map((s) => row("", ["code", s.id.replace(/^shardId-0*(?=\d)/, "shardId-…")], ["", s.state], ["code quiet", s.owner === worker ? "this worker" : s.owner],
    [s.mine && s.lag_ms > 300_000 ? "num bad" : "num", s.mine ? duration(s.lag_ms) : ""], ["num", s.mine ? count(s.in_flight) : ""], ["code quiet", s.checkpoint],
    ["num", s.mine && s.state !== "ended" ? restartButton(s.id) : ""])));
}

export function drawRejects(list) {
  const select = $("rejects-reason"), chosen = select.value, word = $("rejects-filter").value.toLowerCase();
  const reasons = [...new Set(list.map((r) => r.reason))].sort();
  if (select.dataset.reasons !== reasons.join()) {
    select.dataset.reasons = reasons.join();
    select.replaceChildren(new Option("every reason", ""), ...reasons.map((r) => new Option(r, r)));
    select.value = reasons.includes(chosen) ? chosen : "";
  }
  const shown = list.filter((r) => (!select.value || r.reason === select.value) && (!word || `${r.line} ${r.detail} ${r.partition} ${r.log_group}`.toLowerCase().includes(word)));
  $("rejects-note").textContent = list.length > shown.length ? `${shown.length} of the ${list.length} newest` : list.length > 0 ? `the ${list.length} newest` : "";
  rows("rejects", shown.map((r) => row("", ["quiet", new Date(r.time).toLocaleTimeString("en-GB")], ["", r.reason + (r.detail ? ": " + r.detail : "")],
    ["code quiet", `${r.log_group ? r.log_group + " " : ""}${r.partition} ${r.position} line ${r.index + 1}`], ["code", r.line])));
}

export async function drawConfig() {
  try {
    const answer = await fetch("/api/config", { signal: AbortSignal.timeout(5000) });
    if (!answer.ok) throw new Error("status " + answer.status);
    const text = await answer.text();
    if ($("config-text").textContent !== text) $("config-text").textContent = text;
  } catch (e) {
    $("config-text").textContent = "no answer from dredge: " + e.message;
  }
}

// Coverage: what comes in by log group and VPC, what the formats lack, and which interfaces are silent. Unknowns: which addresses
// could not be named, why, and what would help.
import { $, ask, bar, element, link, prose, row, rows } from "./dom.js";
import { bytes, count, duration } from "./format.js";

// A group that was silent for so long is marked; flow logs come at least every ten minutes where there is traffic.
const quietAfter = 15 * 60_000;
let before;

const ago = (now, t) => {
  if (!t) return "never";
  const silent = now - new Date(t);
  return silent < 1000 ? "now" : duration(silent) + " ago";
};
const whois = (ip, scope) => link(`#lookup/${encodeURIComponent(ip)}${scope ? "/" + encodeURIComponent(scope) : ""}`, "code", ip);

// The table is made anew only when the groups or their formats change, so that what somebody opened stays open.
function drawGroups(groups, now) {
  const shape = JSON.stringify(groups.map((g) => [g.name, g.account, g.format]));
  const body = $("coverage").tBodies[0];
  if (body.dataset.shape !== shape) {
    body.dataset.shape = shape;
    rows("coverage", groups.map((g) => {
      const tr = row("", ["code", g.name || "(no log group)"], ["code quiet", g.account], ["num", ""], ["num", ""], ["num", ""], ["num", ""]);
      tr.append(missing(g));
      return tr;
    }));
  }
  groups.forEach((g, i) => {
    const cells = body.rows[i].cells;
    cells[2].textContent = ago(now, g.last);
    cells[2].classList.toggle("bad", now - new Date(g.last) > quietAfter);
    const old = before?.lines.get(g.name);
    if (old !== undefined && now > before.now) cells[3].textContent = count(Math.max(0, ((g.lines - old) * 1000) / (now - before.now)));
    cells[4].textContent = count(g.rejected);
    cells[4].classList.toggle("bad", g.rejected > 0);
    cells[5].textContent = `${count(g.no_data)} / ${count(g.skip_data)}`;
    cells[5].classList.toggle("bad", g.skip_data > 0);
  });
  before = { now, lines: new Map(groups.map((g) => [g.name, g.lines])) };
}

function missing(g) {
  const td = element("td");
  if (!g.format) {
    td.textContent = "no format: write a rule in pipeline.formats";
    td.className = "bad";
    return td;
  }
  if (!g.missing?.length) {
    td.textContent = "none";
    td.className = "quiet";
    return td;
  }
  const details = element("details");
  details.append(element("summary", "", g.missing.length === 1 ? g.missing[0].field : `${g.missing[0].field} and ${g.missing.length - 1} more`));
  const list = element("ul");
  list.append(...g.missing.map((m) => element("li", "", `${m.field}: ${m.cost}`)));
  details.append(list);
  td.append(details);
  return td;
}

export async function update() {
  const c = await ask("/api/coverage");
  const now = new Date(c.now).getTime();
  drawGroups(c.log_groups, now);
  rows("networks", c.networks.map((n) => row("", ["code", n.vpc || "–"], ["code quiet", n.account], ["num", count(n.interfaces)], ["num", count(n.heard)],
    [n.silent > 0 ? "num bad" : "num", count(n.silent)], ["num", ago(now, n.last)])));
  $("silent-note").textContent = c.silent_total > 0 ? `${count(c.silent_total)} whose flows are logged and did not come for 15 minutes` : "";
  rows("silent", c.silent.map((s) => row("", ["code", s.interface], ["", whois(s.address, s.vpc)], ["code quiet", s.vpc], ["", s.app], ["quiet", s.kind], ["num", ago(now, s.last)])));
}

export async function updateUnknowns() {
  const u = await ask("/api/unknowns");
  const most = Math.max(1, ...u.addresses.map((a) => a.bytes));
  const total = u.addresses.reduce((n, a) => n + a.bytes, u.other_bytes);
  $("unknowns-note").textContent = u.addresses.length === 0 ? "" :
    `${bytes(total)} of counted bytes in the last ${duration(u.window * 1000)} have an end inside our networks without a name` + (u.other_bytes > 0 ? `; ${bytes(u.other_bytes)} of it beyond this list` : "");
  rows("unknowns", u.addresses.map((a) => {
    const tr = element("tr");
    const why = element("td");
    why.append(element("strong", "", a.reason), element("span", "quiet", ` ${a.why}`));
    const remedy = element("td");
    remedy.append(...prose(a.remedy));
    const vpc = element("td", "code quiet", a.vpc || "–");
    vpc.title = a.account;
    tr.append(bar(a.bytes / most, whois(a.address, a.vpc)), vpc, element("td", "num", bytes(a.bytes)), element("td", "num", count(a.flows)), why, remedy);
    return tr;
  }));
}

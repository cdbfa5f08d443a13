// The page of dredge sonar: look up an address.
import { $ } from "./dom.js";
import { lookUp, setOnAsk } from "./lookup.js";

async function health() {
  try {
    const answer = await fetch("/readyz", { signal: AbortSignal.timeout(5000) });
    const body = await answer.json();
    $("health").textContent = body.ready ? "all is told" : body.checks.identity;
    $("health").className = "pill " + (body.ready ? "good" : "bad");
  } catch {
    $("health").textContent = "no answer from dredge sonar";
    $("health").className = "pill bad";
  }
  setTimeout(health, 5000);
}

setOnAsk((ip, at, scope) => {
  history.replaceState(null, "", "?" + new URLSearchParams(Object.entries({ ip, at, scope }).filter(([, v]) => v)));
});
const given = new URLSearchParams(location.search);
$("ip").focus();
if (given.get("ip")) lookUp(given.get("ip"), given.get("at") ?? "", given.get("scope") ?? "");
health();

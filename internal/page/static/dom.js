// What every view is built with. All text goes through textContent, so nothing from a log line can become markup.

export const $ = (id) => document.getElementById(id);

export function element(tag, className, text) {
  const e = document.createElement(tag);
  if (className) e.className = className;
  if (text !== undefined) e.textContent = text;
  return e;
}

// prose is text in which commands stand between backticks.
export function prose(text) {
  return text.split("`").map((part, i) => (i % 2 ? element("code", "", part) : part));
}

export function link(href, className, text) {
  const a = element("a", className, text);
  a.href = href;
  return a;
}

const controls = "a[href], button, summary";
const onScreen = (e) => {
  const box = e.getBoundingClientRect();
  return box.right > 0 && box.bottom > 0 && box.left < innerWidth && box.top < innerHeight;
};
const meaning = (e) => `${e.tagName} ${e.getAttribute("href") ?? e.getAttribute("aria-label") ?? e.textContent}`;

// redraw replaces what is in a box and leaves the keyboard's focus where it was: on the control that means the same, the nearest one when several do,
// or on the one that stands now in its place. Without this, whoever goes through a table by Tab would begin again with each drawing. The page moves
// only when the control was to be seen and, in its new row, is not any more.
export function redraw(box, ...items) {
  const focused = document.activeElement;
  const place = focused ? [...box.querySelectorAll(controls)].indexOf(focused) : -1;
  const seen = place >= 0 && onScreen(focused);
  box.replaceChildren(...items);
  if (place < 0) return;
  const now = [...box.querySelectorAll(controls)];
  const same = now.map((e, i) => [e, Math.abs(i - place)]).filter(([e]) => e === focused || meaning(e) === meaning(focused)).sort((a, b) => a[1] - b[1]);
  const next = same[0]?.[0] ?? now[Math.min(place, now.length - 1)];
  next?.focus({ preventScroll: true });
  if (next && seen && !onScreen(next)) next.scrollIntoView({ block: "nearest", inline: "nearest" });
}

// rows replaces a table's body. With none, the table is hidden and the .empty beside it is shown.
export function rows(table, items) {
  redraw($(table).tBodies[0], ...items);
  const empty = $(table).parentElement.querySelector(`.empty[data-of="${table}"]`) ?? $(table).parentElement.querySelector(".empty:not([data-of])");
  if (empty) {
    empty.hidden = items.length > 0;
    $(table).hidden = items.length === 0;
  }
}

// row makes a row of [class, text or node] cells.
export function row(className, ...cells) {
  const tr = element("tr", className);
  tr.append(...cells.map(([cls, content]) => {
    const td = element("td", cls);
    td.append(content ?? "");
    return td;
  }));
  return tr;
}

// bar is a cell whose background shows a share of the greatest.
export function bar(share, content) {
  const td = element("td", "bar");
  td.style.setProperty("--share", share);
  const span = element("span");
  span.append(content);
  td.append(span);
  return td;
}

export function sum(map) {
  return Object.values(map ?? {}).reduce((a, b) => a + b, 0);
}

// ask fetches JSON of this server; an error is what the server said.
export async function ask(path, options = {}) {
  const answer = await fetch(path, { signal: AbortSignal.timeout(10000), ...options });
  const text = await answer.text();
  let body;
  try {
    body = JSON.parse(text);
  } catch {
    throw new Error(`status ${answer.status}`);
  }
  if (!answer.ok) throw new Error(body.error ?? `status ${answer.status}`);
  return body;
}

// sortable makes the headings of a table buttons that call change(key, down).
export function sortable(table, change) {
  for (const th of $(table).tHead.querySelectorAll("th[data-key]")) {
    const button = element("button", "sort", th.textContent);
    button.type = "button";
    button.addEventListener("click", () => {
      const down = th.getAttribute("aria-sort") !== "descending";
      for (const other of $(table).tHead.querySelectorAll("th[data-key]")) other.removeAttribute("aria-sort");
      th.setAttribute("aria-sort", down ? "descending" : "ascending");
      change(th.dataset.key, down);
    });
    th.replaceChildren(button);
  }
}

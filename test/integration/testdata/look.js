// What a test asks of the page that is shown: how well its text stands out, and where the keyboard's focus is. Nothing of it is served.
(() => {
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });

  // rgba is a colour in any notation of CSS as numbers, alpha from 0 to 1.
  const rgba = (colour) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = colour;
    canvas.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data;
    return [r, g, b, a / 255];
  };
  const over = (top, below) => [0, 1, 2].map((i) => top[i] * top[3] + below[i] * (1 - top[3])).concat(1);
  const faded = (c, opacity) => [c[0], c[1], c[2], c[3] * opacity];

  // ground is what stands behind an element: its own background and those of all that it lies in, and the share drawn by ::before.
  const ground = (e) => {
    const layers = [];
    for (let x = e; x; x = x.parentElement) {
      const before = getComputedStyle(x, "::before");
      if (before.content !== "none" && before.position === "absolute") layers.push(rgba(before.backgroundColor));
      layers.push(rgba(getComputedStyle(x).backgroundColor));
    }
    return layers.reverse().reduce((below, top) => over(top, below), [255, 255, 255, 1]);
  };
  const opacity = (e) => {
    let o = 1;
    for (let x = e; x; x = x.parentElement) o *= Number(getComputedStyle(x).opacity);
    return o;
  };
  const luminance = (c) => {
    const [r, g, b] = c.map((v) => (v / 255 <= 0.04045 ? v / 255 / 12.92 : ((v / 255 + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const contrast = (a, b) => {
    const [x, y] = [luminance(a), luminance(b)].sort((p, q) => q - p);
    return (x + 0.05) / (y + 0.05);
  };
  const path = (e) => {
    const names = [];
    for (let x = e; x && x !== document.body; x = x.parentElement) {
      names.unshift(x.tagName.toLowerCase() + (x.id ? "#" + x.id : "") + (x.className?.baseVal ?? x.className ?? "").split(" ").filter(Boolean).map((c) => "." + c).join(""));
      if (x.id) break;
    }
    return names.join(" > ");
  };
  const name = (e) => path(e) + (e.getAttribute("href") ? `[${e.getAttribute("href")}]` : "");
  const shown = (e) => e.checkVisibility({ visibilityProperty: true }) && e.getClientRects().length > 0;

  // faint lists text that stands out from its background less than WCAG 2.2 AA asks for (1.4.3): 4.5 to 1, for large text 3 to 1.
  // What a healthy page does not show is put on it for the moment: pills of each colour, and faults.
  const faint = () => {
    const extra = document.createElement("section");
    extra.className = "panel";
    extra.innerHTML = '<span class="pill good">good</span> <span class="pill warn">warn</span> <span class="pill bad">bad</span> <span class="pill">none</span>' +
      '<p class="note bad">fault</p><table><tbody><tr><td class="bad">bad</td><td class="num bad">bad</td></tr></tbody></table>';
    document.querySelector("main").append(extra);
    const result = look();
    extra.remove();
    return result;
  };
  const look = () => {
    const seen = new Map();
    let looked = 0;
    const judge = (e, style, text, ink) => {
      looked++;
      const size = parseFloat(style.fontSize), bold = Number(style.fontWeight) >= 700;
      const need = size >= 24 || (bold && size >= 18.66) ? 3 : 4.5;
      const below = ground(e), ratio = contrast(over(faded(rgba(ink), opacity(e)), below), below);
      const key = `${path(e)} in ${style.color}`;
      if (ratio < need && !seen.has(key)) seen.set(key, `${ratio.toFixed(2)} of ${need}: "${text.trim().slice(0, 40)}" at ${key}`);
    };
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    for (let n = walker.nextNode(); n; n = walker.nextNode()) {
      const e = n.parentElement;
      if (!n.data.trim() || !shown(e) || e.closest("title, option")) continue;
      const style = getComputedStyle(e);
      judge(e, style, n.data, e instanceof SVGElement ? style.fill : style.color);
    }
    for (const e of document.querySelectorAll("input, select")) {
      if (!shown(e)) continue;
      judge(e, getComputedStyle(e), e.value || "(typed)", getComputedStyle(e).color);
      if (e.placeholder) judge(e, getComputedStyle(e, "::placeholder"), e.placeholder, getComputedStyle(e, "::placeholder").color);
    }
    return { looked, faint: [...seen.values()] };
  };

  // stops are what Tab has to reach, in their order. Those of a table's body may be gone at the next drawing.
  const stops = () => [...document.querySelectorAll("a[href], button, input, select, summary, [tabindex='0']")].filter((e) => shown(e) && !e.disabled && e.tabIndex >= 0);

  let last = null;
  // focus says where the focus is and what is wrong with that: not to be seen, not on the screen, or before the last one.
  const focus = () => {
    const e = document.activeElement;
    if (!e || e === document.body || e === document.documentElement) {
      last = null;
      return { name: "", faults: [] };
    }
    const faults = [], style = getComputedStyle(e), box = e.getBoundingClientRect();
    const width = parseFloat(style.outlineWidth);
    if (style.outlineStyle === "none" || width < 2) faults.push(`its outline is ${style.outlineStyle}, ${style.outlineWidth}`);
    const far = width + parseFloat(style.outlineOffset), cut = new Set();
    for (let x = e.parentElement; x; x = x.parentElement) {
      if (getComputedStyle(x).overflow === "visible" || x === document.body || x === document.documentElement) continue;
      const hole = x.getBoundingClientRect();
      if (box.top - far < hole.top - 1) cut.add("top");
      if (box.bottom + far > hole.bottom + 1) cut.add("bottom");
      if (box.left - far < hole.left - 1) cut.add("left");
      if (box.right + far > hole.right + 1) cut.add("right");
    }
    if (cut.size > 1) faults.push(`its outline is cut off at ${[...cut].join(", ")}`); // one side may lie beyond what scrolls
    const around = contrast(over(rgba(style.outlineColor), ground(e.parentElement)), ground(e.parentElement));
    if (around < 3) faults.push(`its outline stands out ${around.toFixed(2)} to 1`); // 1.4.11
    if (box.width === 0 || box.height === 0) faults.push("it has no size");
    if (box.right <= 0 || box.bottom <= 0 || box.left >= innerWidth || box.top >= innerHeight) faults.push("it is not on the screen");
    if (last?.isConnected && !(last.compareDocumentPosition(e) & Node.DOCUMENT_POSITION_FOLLOWING)) faults.push(`it comes after ${name(last)} and stands before it`);
    if (!((e.ariaLabel || e.labels?.[0]?.textContent || e.textContent || "").trim())) faults.push("it has no name");
    last = e;
    return { name: name(e), table: !!e.closest("tbody, svg"), faults };
  };

  window.look = { faint, focus, fixed: () => [...new Set(stops().filter((e) => !e.closest("tbody, svg")).map(name))], moving: () => stops().filter((e) => e.closest("tbody, svg")).length };
})();

// Numbers and times as people read them.

const units = ["", "k", "M", "G", "T"];

export function count(n) {
  if (n < 10_000) return Math.round(n).toLocaleString("en");
  let i = 0;
  while (n >= 1000 && i < units.length - 1) { n /= 1000; i++; }
  return n.toFixed(n < 10 ? 2 : n < 100 ? 1 : 0) + units[i];
}

export function bytes(n) {
  let i = 0;
  while (n >= 1024 && i < units.length - 1) { n /= 1024; i++; }
  return (i === 0 ? n : n.toFixed(n < 10 ? 1 : 0)) + " " + ["B", "KiB", "MiB", "GiB", "TiB"][i];
}

export function duration(ms) {
  if (ms < 1000) return Math.round(ms) + " ms";
  const s = ms / 1000;
  if (s < 90) return s.toFixed(s < 10 ? 1 : 0) + " s";
  const m = s / 60;
  if (m < 90) return m.toFixed(0) + " min";
  return (m / 60).toFixed(1) + " h";
}

export function percent(share) {
  return (share * 100).toFixed(share > 0.999 && share < 1 ? 2 : 1) + " %";
}

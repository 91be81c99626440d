/* ---- a workload's page: #workload=<its number> ---- */
const ownTitle = document.title;
let current = null, returnTo = null;
redraw = () => { if (current && current.chart) draw(current); };

const facts = (said) => {
  const list = el("dl", "facts"), terms = new Map();
  said.forEach(([label, text, links]) => {
    if (!terms.has(label)) { const item = el("div"); item.append(el("dt", "", label)); terms.set(label, item); list.append(item); }
    const told = el("dd", "", text);
    (links || []).forEach(([name, href]) => { if (!String(href).startsWith("#")) return; const link = el("a", "", name); link.href = href; told.append(" ", link); });
    terms.get(label).append(told);
  });
  return list;
};

/* The chart in numbers: the highest value of a day, row by row. */
const daily = (data) => {
  const days = new Map(), columns = [];
  data.traces.forEach((trace) => {
    if (!["actual", "score", "high"].includes(trace.role)) return;
    const row = data.rows[trace.row], kind = trace.role === "high" ? ", forecast q95" : trace.role === "actual" ? ", measured" : "";
    const name = row.title + kind + (row.unit ? " (" + row.unit + ")" : "");
    if (!columns.includes(name)) columns.push(name);
    const { x, y } = stretch(trace);
    y.forEach((v, i) => {
      if (v === null) return;
      const at = Math.floor(x[i] / DAY) * DAY;
      if (!days.has(at)) days.set(at, {});
      const cell = days.get(at);
      cell[name] = Math.max(cell[name] === undefined ? -Infinity : cell[name], v);
    });
  });
  const body = Array.from(days.keys()).sort((a, b) => a - b).map((at) => [day(at), ...columns.map((c) => (days.get(at)[c] === undefined ? "–" : Number(days.get(at)[c].toPrecision(3)).toLocaleString("en")))]);
  return grid("The day's highest values", ["Day (UTC)", ...columns], body);
};
const marked = (data) => {
  const rows = data.traces.filter((t) => t.role === "anomaly").flatMap((t) => t.x.map((at, i) => [at, t.text[i]])).sort(([a], [b]) => b - a);
  return rows.length ? grid("Anomalies on the chart", ["When (UTC)", "What"], rows.slice(0, 100).map(([at, text]) => [clock(at), text])) : null;
};
const grid = (name, heads, rows) => {
  const box = el("details", "more"), wrap = el("div", "scroll"), table = el("table", "plain"), head = el("tr"), body = el("tbody");
  box.append(el("summary", "", name + " (" + rows.length + ")"), wrap);
  wrap.append(table);
  table.append(el("caption", "sr", name), el("thead"), body);
  heads.forEach((text) => { const th = el("th", "", text); th.scope = "col"; head.append(th); });
  $("thead", table).append(head);
  rows.forEach((cells) => {
    const tr = el("tr");
    cells.forEach((text, i) => { const cell = el(i ? "td" : "th", "", text); if (!i) cell.scope = "row"; tr.append(cell); });
    body.append(tr);
  });
  box.addEventListener("toggle", scrollable);
  return box;
};

const ranges = (entry) => {
  const group = el("div", "range");
  group.setAttribute("role", "group");
  group.setAttribute("aria-label", "Time shown on the chart");
  const show = (range) => { entry.range = range; if (window.Plotly && entry.chart.isConnected) window.Plotly.relayout(entry.chart, { "xaxis.range": range }); };
  const press = (on) => $$("[aria-pressed]", group).forEach((b) => b.setAttribute("aria-pressed", String(b === on)));
  const shift = (share) => { const [a, b] = entry.range, by = (b - a) * share; press(null); show([a + by, b + by]); };
  const earlier = button("quiet", "‹", () => shift(-0.5)), later = button("quiet", "›", () => shift(0.5));
  earlier.setAttribute("aria-label", "Earlier");
  later.setAttribute("aria-label", "Later");
  group.append(earlier);
  ["Day", "Week", "All"].forEach((name) => {
    const key = button("quiet", name, () => { press(key); show(reach(entry.data, name)); });
    key.setAttribute("aria-pressed", String(name === "Week"));
    group.append(key);
  });
  group.append(later);
  return group;
};

const plot = (entry, data, into) => {
  if (!data.rows.length) { into.append(el("p", "none", "Nothing to chart: no demand, replicas or memory was measured, and nothing was forecast.")); return undefined; }
  Object.assign(entry, { data, range: reach(data, "Week"), chart: el("div", "chart"), off: new Set() });
  const head = el("div", "head"), names = data.rows.map((row) => row.title).join(", "), notes = marked(data);
  head.append(el("h2", "", "On one time axis"), ranges(entry));
  entry.chart.style.minHeight = 74 + 180 * data.rows.length + "px";
  entry.chart.setAttribute("role", "img");
  entry.chart.setAttribute("aria-label", "Chart over time: " + names + ". The tables below it say the same in numbers.");
  into.append(head, entry.chart, legend(entry), ...(notes ? [notes] : []), daily(data));
  return withPlotly().then(() => { entry.chart.style.minHeight = ""; draw(entry); });
};

/* What the report says of incidents in it, with the evidence; the newest one opened. */
const incidents = (number) => {
  const about = $$("#overview details.incident").filter((node) => (node.dataset.workload || "").split("\n").includes(number) || $('a[href="#workload=' + number + '"]', node));
  if (!about.length) return [];
  const box = el("div", "sheet"), list = el("div", "incidents");
  list.append(...about.slice(0, 20).map((node) => { const copy = node.cloneNode(true); copy.hidden = false; return copy; }));
  list.firstChild.open = true;
  box.append(el("h2", "", count(about.length, "incident")), list);
  return [box];
};

/* Before and after it, as the table of workloads is sorted and searched now. */
const neighbours = (row) => {
  const rows = $$("#fleet > tbody > tr").filter((r) => !out(r) || r === row), at = rows.indexOf(row);
  [["#previous", rows[at - 1]], ["#following", rows[at + 1]]].forEach(([id, other]) => {
    const link = $(id);
    link.hidden = !other;
    if (other) { link.href = "#workload=" + other.dataset.workload; link.title = $(".open", other).title; }
  });
  $("#nth").textContent = (at + 1).toLocaleString("en") + " of " + rows.length.toLocaleString("en");
};

const showWorkload = (row) => {
  if (!current) returnTo = { y: window.scrollY, focus: document.activeElement };
  current = { row };
  const mine = current, open = $(".open", row), page = $("#page"), body = $("#page-body"), title = $("#page-title");
  title.textContent = $(".name", open).textContent;
  $("#page-place").textContent = $(".place", open).textContent;
  const states = $("#page-states");
  states.replaceChildren(...Array.from(row.children[1].childNodes).map((node) => node.cloneNode(true)));
  neighbours(row);
  body.replaceChildren(el("p", "none", "Opening …"));
  root.dataset.view = "workload";
  $("#overview").hidden = true;
  page.hidden = false;
  document.title = title.textContent + " – Foretide";
  window.scrollTo(0, 0);
  title.focus({ preventScroll: true });
  unpacked("w" + row.dataset.workload).json().then((data) => {
    if (current !== mine) return undefined;
    $("#page-full").textContent = data.full;
    const box = el("div", "sheet");
    body.replaceChildren(...(data.facts.length ? [facts(data.facts)] : []), box, ...incidents(row.dataset.workload));
    return plot(mine, data, box);
  }).catch((error) => {
    failed(String(error));
    if (current === mine) body.replaceChildren(el("p", "none", "The chart could not be opened: this browser is too old, or the file is damaged."));
  }).finally(() => { if (current === mine) page.dataset.shows = row.dataset.workload; });
};

const showOverview = () => {
  const was = current;
  current = null;
  if (was && was.chart && window.Plotly) window.Plotly.purge(was.chart);
  delete $("#page").dataset.shows;
  $("#page-body").replaceChildren();
  $("#page").hidden = true;
  $("#overview").hidden = false;
  delete root.dataset.view;
  document.title = ownTitle;
  scrollable();
  const part = location.hash.length > 1 && document.getElementById(location.hash.slice(1));
  if (part && part.closest("#overview")) part.scrollIntoView();
  else if (was && returnTo) {
    window.scrollTo(0, returnTo.y);
    if (returnTo.focus && returnTo.focus.isConnected) returnTo.focus.focus({ preventScroll: true });
  }
};
const follow = () => {
  const match = /^#workload=(\d+)$/.exec(location.hash);
  const row = match && $('#fleet > tbody > tr[data-workload="' + match[1] + '"]');
  if (row) showWorkload(row);
  else if (current || root.dataset.view) showOverview();
  if (match && !row && $("#shown")) $("#shown").textContent = "This report has no workload number " + match[1] + ".";
};

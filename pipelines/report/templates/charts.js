/* ---- charts: roles to looks, rows to one figure with one time axis ---- */
const colour = (name) => getComputedStyle(root).getPropertyValue("--" + name).trim();

const stretch = (trace) => {
  let y = trace.v;
  if (trace.r) {
    y = [];
    for (let i = 0; i < trace.r.length; i += 2) for (let n = trace.r[i + 1]; n > 0; n -= 1) y.push(trace.r[i]);
  }
  return { x: trace.x || y.map((_, i) => trace.t[0] + i * trace.t[1]), y };
};

const looks = () => {
  const c = Object.fromEntries(["actual", "forecast", "band", "anomaly", "floor", "floor-bg", "limit", "leak", "leak-bg", "score", "held"]
    .map((name) => [name, colour("c-" + name)]));
  const none = { width: 0 }, quiet = { hoverinfo: "skip" };
  return {
    actual: { line: { color: c.actual, width: 1.4 } },
    median: { line: { color: c.forecast, width: 2.4 } },
    low: { line: none, ...quiet },
    high: { line: none, fill: "tonexty", fillcolor: c.band, ...quiet },
    required: { line: { color: c.forecast, width: 1.5, shape: "hv" } },
    user_floor: { line: { color: colour("soft"), width: 1.2, dash: "dot", shape: "hv" } },
    floor: { line: { color: c.floor, width: 2 }, fill: "tozeroy", fillcolor: c["floor-bg"] },
    held: { line: { color: c.held, width: 4 } },
    limit: { line: { color: c.limit, width: 1.4, dash: "dash" } },
    leak_low: { line: none, ...quiet },
    leak_high: { line: none, fill: "tonexty", fillcolor: c["leak-bg"], ...quiet },
    leak: { line: { color: c.leak, width: 1.8, dash: "dash" } },
    score: { line: { color: c.score, width: 1.3 } },
    alert: { line: { color: c.limit, width: 1.4, dash: "dash" }, ...quiet },
    anomaly: { mode: "markers", marker: { color: c.anomaly, size: 8, symbol: "circle-open", line: { width: 1.8 } } },
    deploy: { mode: "markers", marker: { color: colour("c-deploy"), size: 9, symbol: "triangle-up" }, hovertemplate: "deploy<extra></extra>", cliponaxis: false },
  };
};

/* A row of scores is cut where the alert line would no longer be seen. */
const SCORE_TOP = 6;
const reachUp = (data, i) => {
  const high = data.traces.filter((t) => t.row === i && t.role === "score").flatMap((t) => stretch(t).y).reduce((a, b) => Math.max(a, b || 0), 0);
  return high ? { range: [0, 1.05 * Math.max(1.5, Math.min(high, SCORE_TOP))], rangemode: "normal" } : {};
};

const drawn = (data, styles) => data.traces.map((trace) => {
  const style = styles[trace.role], unit = data.rows[trace.row].unit;
  const out = {
    type: "scatter", mode: "lines", connectgaps: false, ...stretch(trace), ...style,
    name: plain(trace.name), xaxis: "x", yaxis: "y" + (trace.row ? trace.row + 1 : ""), meta: trace.role,
  };
  if (!style.hoverinfo) out.hovertemplate = "%{y:,.4~r}" + (unit ? " " + plain(unit).replace(/[{}]/g, "") : "") + "<extra>%{fullData.name}</extra>";
  if (trace.text) { out.text = trace.text.map(plain); out.hovertemplate = "%{text}<extra></extra>"; }
  if (trace.role === "actual" && trace.row && data.rows[trace.row].title === "Replicas") out.line = { ...style.line, shape: "hv" };
  return out;
});

const figure = (data, narrow) => {
  const ink = colour("ink"), soft = colour("soft"), grid = colour("c-grid"), styles = looks();
  const rows = data.rows.length, height = narrow ? 150 : 180, gap = (narrow ? 24 : 30) / (height * rows), share = (1 - gap * (rows - 1)) / rows;
  const axis = (row) => (row ? String(row + 1) : "");
  const traces = drawn(data, styles);
  const layout = {
    height: 74 + height * rows, paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
    margin: { l: narrow ? 38 : 56, r: narrow ? 6 : 14, t: 26, b: 48 }, dragmode: narrow ? false : "zoom",
    font: { family: getComputedStyle(document.body).fontFamily, size: narrow ? 11 : 12, color: soft },
    hovermode: "x unified", hoversubplots: "axis", hoverlabel: { bgcolor: colour("panel"), bordercolor: colour("line"), font: { color: ink, size: 12 } },
    showlegend: false,
    xaxis: { type: "date", anchor: "y" + axis(rows - 1), gridcolor: grid, linecolor: grid, zeroline: false, hoverformat: "%a %e %b %H:%M UTC", nticks: narrow ? 5 : 10,
      tickformatstops: [{ dtickrange: [null, 12 * HOUR], value: "%H:%M\n%a %e %b" }, { dtickrange: [12 * HOUR, null], value: "%e %b\n%a" }] },
    annotations: [], shapes: [],
  };
  data.rows.forEach((row, i) => {
    const top = 1 - i * (share + gap);
    layout["yaxis" + axis(i)] = {
      domain: [Math.max(0, top - share), top], gridcolor: grid, zeroline: false, rangemode: "tozero", nticks: 5, automargin: false, fixedrange: narrow, ...reachUp(data, i),
    };
    layout.annotations.push({ text: "<b>" + plain(row.title) + "</b>" + (row.unit ? "  " + plain(row.unit) : ""), x: 0, xref: "paper", xanchor: "left",
      y: top, yref: "paper", yanchor: "bottom", showarrow: false, font: { color: ink, size: narrow ? 11 : 12 } });
  });
  const upright = { type: "line", yref: "paper", y0: 0, y1: 1, layer: "above" };
  data.deploys.forEach((x) => layout.shapes.push({ ...upright, x0: x, x1: x, line: { color: colour("c-deploy"), width: 1.2, dash: "dot" } }));
  if (data.deploys.length) traces.push({ type: "scatter", x: data.deploys, y: data.deploys.map(() => 0), xaxis: "x", yaxis: "y" + axis(rows - 1), meta: "deploy", ...styles.deploy });
  layout.shapes.push({ ...upright, x0: data.as_of, x1: data.as_of, line: { color: soft, width: 1.2 } });
  return { traces, layout };
};

const extent = (data) => {
  let low = Infinity, high = -Infinity;
  for (const trace of data.traces) {
    const { x, y } = stretch(trace);
    if (y.length) { low = Math.min(low, x[0]); high = Math.max(high, x[x.length - 1]); }
  }
  return low < high ? [low, high] : [data.as_of - DAY, data.as_of + DAY];
};
const reach = (data, name) => {
  const [low, high] = extent(data), half = name === "Day" ? DAY : 7 * DAY;
  const range = name === "All" ? [low, high] : [Math.max(low, data.as_of - half), Math.min(high, data.as_of + half)];
  return range[0] < range[1] ? range : [low, high];
};

const draw = (entry) => {
  if (!window.Plotly || !entry.chart.isConnected) return;
  const { traces, layout } = figure(entry.data, entry.chart.clientWidth < 560);
  layout.xaxis.range = entry.range;
  traces.forEach((trace) => { trace.visible = !entry.off.has(trace.meta); });
  if (entry.width) layout.width = entry.width;
  window.Plotly.react(entry.chart, traces, layout, { displaylogo: false, displayModeBar: false, responsive: true, scrollZoom: false });
};

/* A legend of our own wraps at any width; each entry shows or hides what it names. */
const SWATCH = { actual: ["line", "c-actual"], median: ["line", "c-forecast"], high: ["area", "c-band"], required: ["line", "c-forecast"], user_floor: ["dots", "soft"],
  floor: ["area", "c-floor-bg"], held: ["thick", "c-held"], limit: ["dash", "c-limit"], leak: ["dash", "c-leak"], anomaly: ["ring", "c-anomaly"],
  score: ["line", "c-score"], alert: ["dash", "c-limit"], deploy: ["dots", "c-deploy"], as_of: ["line", "soft"] };
const GROUPS = { high: ["low", "high"], leak: ["leak", "leak_low", "leak_high"] };
const swatch = (role) => {
  const [shape, name] = SWATCH[role], mark = el("span", "swatch " + shape);
  mark.style.color = "var(--" + name + ")";
  mark.setAttribute("aria-hidden", "true");
  return mark;
};
const legend = (entry) => {
  const list = el("div", "legend"), named = new Map();
  list.setAttribute("role", "group");
  list.setAttribute("aria-label", "What the chart shows; each can be switched off");
  entry.data.traces.forEach((trace) => { if (SWATCH[trace.role] && !named.has(trace.role)) named.set(trace.role, trace.name); });
  named.forEach((name, role) => {
    const key = button("", name, () => {
      const on = key.getAttribute("aria-pressed") !== "true";
      key.setAttribute("aria-pressed", String(on));
      (GROUPS[role] || [role]).forEach((r) => { if (on) entry.off.delete(r); else entry.off.add(r); });
      draw(entry);
    });
    key.setAttribute("aria-pressed", "true");
    key.prepend(swatch(role));
    list.append(key);
  });
  const marks = { ...(entry.data.deploys.length ? { deploy: "deploy" } : {}), as_of: "as of" };
  Object.entries(marks).forEach(([role, name]) => { const item = el("span", "", name); item.prepend(swatch(role)); list.append(item); });
  return list;
};

"use strict";
/* Text from the data reaches the page through textContent only, and Plotly (which reads a little markup) through plain(). */
(() => {
  const root = document.documentElement;
  const failed = (text) => { root.dataset.errors = (root.dataset.errors ? root.dataset.errors + "\n" : "") + text; };
  window.addEventListener("error", (e) => failed(String(e.message)));
  window.addEventListener("unhandledrejection", (e) => failed(String(e.reason)));
  document.addEventListener("securitypolicyviolation", (e) => failed("blocked: " + e.violatedDirective + " " + e.blockedURI));

  const $ = (selector, from = document) => from.querySelector(selector);
  const $$ = (selector, from = document) => Array.from(from.querySelectorAll(selector));
  const el = (tag, className, text) => {
    const node = document.createElement(tag);
    if (className) node.className = className;
    if (text !== undefined) node.textContent = text;
    return node;
  };
  const plain = (text) => String(text).replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
  const HOUR = 3600e3;
  const open = new Map();

  /* ---- theme ---- */
  const remember = (value) => { try { localStorage.setItem("foretide-theme", value); } catch { /* a file may not store */ } };
  const recall = () => { try { return localStorage.getItem("foretide-theme"); } catch { return null; } };
  const system = window.matchMedia("(prefers-color-scheme: dark)");
  let chosen = root.dataset.theme || recall();
  const applyTheme = () => {
    const dark = chosen ? chosen === "dark" : system.matches;
    root.dataset.theme = dark ? "dark" : "light";
    const button = $("#theme");
    if (button) { button.textContent = dark ? "Light" : "Dark"; button.setAttribute("aria-label", dark ? "Use light colours" : "Use dark colours"); }
    open.forEach((entry) => draw(entry));
  };
  applyTheme();

  /* ---- charts ---- */
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
    const c = Object.fromEntries(["actual", "forecast", "band", "anomaly", "floor", "floor-bg", "limit", "leak", "leak-bg"]
      .map((name) => [name, colour("c-" + name)]));
    const soft = colour("soft");
    const none = { width: 0 };
    const quiet = { hoverinfo: "skip" };
    return {
      actual: { line: { color: c.actual, width: 1.4 } },
      median: { line: { color: c.forecast, width: 2.4 } },
      low: { line: none, ...quiet },
      high: { line: none, fill: "tonexty", fillcolor: c.band, hoverinfo: "skip" },
      required: { line: { color: c.forecast, width: 1.5, shape: "hv" } },
      user_floor: { line: { color: soft, width: 1.2, dash: "dot", shape: "hv" } },
      floor: { line: { color: c.floor, width: 2 }, fill: "tozeroy", fillcolor: c["floor-bg"] },
      limit: { line: { color: c.limit, width: 1.4, dash: "dash" } },
      leak_low: { line: none, ...quiet },
      leak_high: { line: none, fill: "tonexty", fillcolor: c["leak-bg"], ...quiet },
      leak: { line: { color: c.leak, width: 1.8, dash: "dash" } },
      anomaly: { mode: "markers", marker: { color: c.anomaly, size: 8, symbol: "circle-open", line: { width: 1.8 } } },
    };
  };

  const figure = (data, narrow) => {
    const styles = looks();
    const ink = colour("ink"), soft = colour("soft"), grid = colour("c-grid"), deploy = colour("c-deploy");
    const count = data.rows.length, gap = narrow ? 0.09 : 0.07 * Math.min(1, 3 / count), share = (1 - gap * (count - 1)) / count;
    const axis = (row) => (row ? String(row + 1) : "");
    const traces = data.traces.map((trace) => {
      const style = styles[trace.role];
      const out = {
        type: "scatter", mode: "lines", connectgaps: false, ...stretch(trace), ...style,
        name: plain(trace.name), xaxis: "x", yaxis: "y" + axis(trace.row), meta: trace.role,
      };
      const unit = data.rows[trace.row].unit;
      if (!style.hoverinfo) out.hovertemplate = "%{y:,.4~r}" + (unit ? " " + plain(unit).replace(/[{}]/g, "") : "") + "<extra>%{fullData.name}</extra>";
      if (trace.text) { out.text = trace.text.map(plain); out.hovertemplate = "%{text}<extra></extra>"; }
      if (trace.role === "actual" && trace.row && data.rows[trace.row].title === "Replicas") out.line = { ...style.line, shape: "hv" };
      return out;
    });
    const layout = {
      height: 74 + (narrow ? 150 : 180) * count, paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
      margin: { l: narrow ? 38 : 56, r: narrow ? 6 : 14, t: 26, b: 48 }, dragmode: narrow ? false : "zoom",
      font: { family: getComputedStyle(document.body).fontFamily, size: narrow ? 11 : 12, color: soft },
      hovermode: "x unified", hoversubplots: "axis", hoverlabel: { bgcolor: colour("panel"), bordercolor: colour("line"), font: { color: ink, size: 12 } },
      showlegend: false,
      xaxis: { type: "date", anchor: "y" + axis(count - 1), gridcolor: grid, linecolor: grid, zeroline: false, hoverformat: "%a %e %b %H:%M UTC",
        tickformatstops: [{ dtickrange: [null, 12 * HOUR], value: "%H:%M\n%a %e %b" }, { dtickrange: [12 * HOUR, null], value: "%e %b\n%a" }] },
      annotations: [], shapes: [],
    };
    data.rows.forEach((row, i) => {
      const top = 1 - i * (share + gap);
      layout["yaxis" + axis(i)] = {
        domain: [Math.max(0, top - share), top], gridcolor: grid, zeroline: false, rangemode: "tozero", nticks: 5, automargin: false, fixedrange: narrow,
      };
      layout.annotations.push({ text: "<b>" + plain(row.title) + "</b>" + (row.unit ? "  " + plain(row.unit) : ""), x: 0, xref: "paper", xanchor: "left",
        y: top, yref: "paper", yanchor: "bottom", showarrow: false, font: { color: ink, size: narrow ? 11 : 12 } });
    });
    const upright = { type: "line", yref: "paper", y0: 0, y1: 1, layer: "above" };
    data.deploys.forEach((x) => layout.shapes.push({ ...upright, x0: x, x1: x, line: { color: deploy, width: 1.2, dash: "dot" } }));
    layout.shapes.push({ ...upright, x0: data.as_of, x1: data.as_of, line: { color: soft, width: 1.2 } });
    return { traces, layout };
  };

  const extent = (data) => {
    let low = Infinity, high = -Infinity;
    for (const trace of data.traces) {
      const { x, y } = stretch(trace);
      if (y.length) { low = Math.min(low, x[0]); high = Math.max(high, x[x.length - 1]); }
    }
    return low < high ? [low, high] : [data.as_of - 24 * HOUR, data.as_of + 24 * HOUR];
  };
  const reach = (data, name) => {
    const [low, high] = extent(data);
    if (name === "All") return [low, high];
    const around = name === "Day" ? [data.as_of - 24 * HOUR, data.as_of + 24 * HOUR] : [data.as_of - 7 * 24 * HOUR, data.as_of + 7 * 24 * HOUR];
    const range = [Math.max(low, around[0]), Math.min(high, around[1])];
    return range[0] < range[1] ? range : [low, high];
  };

  const draw = (entry) => {
    if (!entry.chart || !window.Plotly) return;
    const { traces, layout } = figure(entry.data, entry.chart.clientWidth < 560);
    layout.xaxis.range = reach(entry.data, entry.range);
    traces.forEach((trace) => { trace.visible = !entry.off.has(trace.meta); });
    window.Plotly.react(entry.chart, traces, layout, { displaylogo: false, displayModeBar: false, responsive: true, scrollZoom: false });
  };

  /* A legend of our own wraps at any width; each entry shows or hides what it names. */
  const SWATCH = { actual: ["line", "actual"], median: ["line", "forecast"], high: ["area", "band"], required: ["line", "forecast"], user_floor: ["dots", "soft"],
    floor: ["area", "floor-bg"], limit: ["dash", "limit"], leak: ["dash", "leak"], anomaly: ["ring", "anomaly"], deploy: ["dots", "deploy"], as_of: ["line", "soft"] };
  const GROUPS = { high: ["low", "high"], leak: ["leak", "leak_low", "leak_high"] };
  const legend = (entry) => {
    const list = el("div", "legend"), named = new Map();
    entry.data.traces.forEach((trace) => { if (SWATCH[trace.role] && !named.has(trace.role)) named.set(trace.role, trace.name); });
    const swatch = (role) => { const [shape, name] = SWATCH[role], mark = el("span", "swatch " + shape); mark.style.color = "var(--" + (name === "soft" ? "" : "c-") + name + ")"; return mark; };
    named.forEach((name, role) => {
      const button = el("button", "", name);
      button.type = "button";
      button.setAttribute("aria-pressed", "true");
      button.prepend(swatch(role));
      button.addEventListener("click", () => {
        const on = button.getAttribute("aria-pressed") !== "true";
        button.setAttribute("aria-pressed", String(on));
        (GROUPS[role] || [role]).forEach((r) => { if (on) entry.off.delete(r); else entry.off.add(r); });
        draw(entry);
      });
      list.append(button);
    });
    const marks = { ...(entry.data.deploys.length ? { deploy: "deploy" } : {}), as_of: "as of" };
    Object.entries(marks).forEach(([role, name]) => { const item = el("span", "", name); item.prepend(swatch(role)); list.append(item); });
    return list;
  };

  /* ---- a workload's detail ---- */
  const detail = (row) => {
    const data = JSON.parse(document.getElementById("w" + row.dataset.i).textContent);
    const tr = el("tr", "detail"), td = el("td");
    td.colSpan = row.children.length;
    tr.append(td);
    const head = el("div", "head"), entry = { data, range: "Week", chart: null, row: tr, off: new Set() };
    head.append(el("p", "full", data.full));
    td.append(head);
    if (data.facts.length) {
      const list = el("dl");
      data.facts.forEach(([label, text]) => { const item = el("div"); item.append(el("dt", "", label), el("dd", "", text)); list.append(item); });
      td.append(list);
    }
    if (!data.rows.length) { td.append(el("p", "none", "Nothing to chart: no demand, replicas or memory was measured, and nothing was forecast.")); return entry; }
    const group = el("div", "range");
    group.setAttribute("role", "group");
    group.setAttribute("aria-label", "Time range of the chart");
    ["Day", "Week", "All"].forEach((name) => {
      const button = el("button", "quiet", name);
      button.type = "button";
      button.setAttribute("aria-pressed", String(name === entry.range));
      button.addEventListener("click", () => {
        entry.range = name;
        $$("button", group).forEach((b) => b.setAttribute("aria-pressed", String(b === button)));
        window.Plotly.relayout(entry.chart, { "xaxis.range": reach(data, name) });
      });
      group.append(button);
    });
    head.append(group);
    entry.chart = el("div", "chart");
    entry.chart.setAttribute("role", "img");
    entry.chart.setAttribute("aria-label", "Chart over time: " + data.rows.map((r) => r.title).join(", "));
    td.append(entry.chart, legend(entry));
    return entry;
  };

  const toggle = (row, want) => {
    const entry = open.get(row);
    if (want === Boolean(entry)) return;
    $(".open", row).setAttribute("aria-expanded", String(!entry));
    if (entry) {
      if (entry.chart) window.Plotly.purge(entry.chart);
      entry.row.remove();
      open.delete(row);
      return;
    }
    const fresh = detail(row);
    row.after(fresh.row);
    open.set(row, fresh);
    draw(fresh);
  };

  const follow = () => {
    const match = /^#workload=(\d+)$/.exec(location.hash);
    const row = match && $('#fleet tr.w[data-i="' + match[1] + '"]');
    if (!row) return;
    if (row.hidden) { $$("#filters input, #filters select").forEach((field) => { field.value = ""; }); filter(); }
    toggle(row, true);
    row.scrollIntoView({ block: "start" });
  };

  /* ---- tables ---- */
  const value = (row, column) => {
    const cell = row.children[column];
    const raw = cell.dataset.v;
    if (raw === undefined) return cell.textContent.trim().toLowerCase();
    return raw === "" ? null : Number(raw);
  };
  const compare = (a, b) => (typeof a === "string" && typeof b === "string" ? a.localeCompare(b, "en", { numeric: true }) : a - b);
  const sort = (table, th) => {
    const column = Array.prototype.indexOf.call(th.parentNode.children, th), body = $("tbody", table);
    const up = th.getAttribute("aria-sort") ? th.getAttribute("aria-sort") !== "ascending" : !th.classList.contains("n");
    $$("thead th", table).forEach((other) => other.removeAttribute("aria-sort"));
    th.setAttribute("aria-sort", up ? "ascending" : "descending");
    const rows = $$(":scope > tr:not(.detail)", body).map((row) => [value(row, column), row]);
    rows.sort(([a], [b]) => { if (a === null || b === null) return (a === null) - (b === null); return up ? compare(a, b) : compare(b, a); });
    rows.forEach(([, row]) => { body.append(row); if (open.has(row)) body.append(open.get(row).row); });
    if (table.recut) table.recut();
  };
  const shorten = (list) => {
    const most = Number(list.dataset.limit), body = $("tbody", list) || list;
    if (body.children.length <= most + 2) return;
    let all = false;
    const button = el("button", "showall quiet");
    button.type = "button";
    list.recut = () => {
      const fit = Array.from(body.children).filter((child) => !child.dataset.out);
      const long = fit.length > most + 2;
      Array.from(body.children).forEach((child) => { child.hidden = Boolean(child.dataset.out); });
      if (long && !all) fit.slice(most).forEach((child) => { child.hidden = true; });
      button.hidden = !long;
      button.textContent = all ? "Show fewer" : "Show all " + fit.length;
    };
    button.addEventListener("click", () => { all = !all; list.recut(); });
    (list.closest(".scroll") || list).after(button);
    list.recut();
  };
  /* A search of its own above a table whose rows have no detail. */
  const searchable = (box) => {
    const table = document.getElementById(box.dataset.search), none = document.getElementById("no-" + box.dataset.search);
    const rows = $$("tbody > tr", table), field = $("input", box);
    const search = () => {
      const words = field.value.toLowerCase().split(/\s+/).filter(Boolean);
      let fits = 0;
      rows.forEach((row) => {
        row.text = row.text || (row.textContent + " " + $(".who", row).title).toLowerCase();
        const fit = words.every((word) => row.text.includes(word));
        if (fit) delete row.dataset.out; else row.dataset.out = "1";
        if (!table.recut) row.hidden = !fit;
        fits += fit;
      });
      if (table.recut) table.recut();
      $("p", box).textContent = fits === rows.length ? rows.length + " series" : fits + " of " + rows.length + " match";
      none.hidden = fits > 0;
    };
    box.hidden = false;
    field.addEventListener("input", search);
    search();
  };
  const filter = () => {
    const words = $("#search").value.toLowerCase().split(/\s+/).filter(Boolean);
    const cluster = $("#cluster").value, namespace = $("#namespace").value;
    const rows = $$("#fleet tr.w");
    let shown = 0;
    rows.forEach((row) => {
      row.text = row.text || (row.textContent + " " + $(".open", row).title).toLowerCase();
      const fits = (!cluster || row.dataset.cluster === cluster) && (!namespace || row.dataset.namespace === namespace) && words.every((w) => row.text.includes(w));
      row.hidden = !fits;
      if (open.has(row)) open.get(row).row.hidden = !fits;
      shown += fits;
    });
    $("#shown").textContent = shown === rows.length ? rows.length + " workloads" : shown + " of " + rows.length + " shown";
    $("#nothing").hidden = shown > 0;
  };

  document.addEventListener("DOMContentLoaded", () => {
    applyTheme();
    $("#theme").hidden = false;
    $("#theme").addEventListener("click", () => { chosen = root.dataset.theme === "dark" ? "light" : "dark"; remember(chosen); applyTheme(); });
    system.addEventListener("change", applyTheme);
    $$("time").forEach((time) => { time.title = new Date(time.dateTime).toLocaleString(undefined, { dateStyle: "full", timeStyle: "long" }); });
    $$("table.sortable").forEach((table) => $$("thead th button", table).forEach((b) => b.addEventListener("click", () => sort(table, b.closest("th")))));
    $$("[data-limit]").forEach(shorten);
    $$("[data-search]").forEach(searchable);
    const fleet = $("#fleet");
    if (fleet) {
      $("#filters").hidden = false;
      $("#search").addEventListener("input", filter);
      $$("#filters select").forEach((select) => select.addEventListener("change", filter));
      filter();
      fleet.addEventListener("click", (event) => { const row = event.target.closest("tr.w"); if (row && !event.target.closest("a")) toggle(row); });
      window.addEventListener("hashchange", follow);
      follow();
    }
    root.dataset.ready = "true";
  });
})();

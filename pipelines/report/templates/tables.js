/* ---- tables and lists: sort, cut, search, filter ---- */
const value = (row, column) => {
  const cell = row.children[column];
  const raw = cell.dataset.v;
  if (raw === undefined) return cell.textContent.trim().toLowerCase();
  return raw === "" ? null : Number(raw);
};
const order = new Intl.Collator("en", { numeric: true });
const compare = (a, b) => (typeof a === "string" && typeof b === "string" ? order.compare(a, b) : a - b);
const sort = (table, th) => {
  const column = Array.prototype.indexOf.call(th.parentNode.children, th), body = $("tbody", table);
  const up = th.getAttribute("aria-sort") ? th.getAttribute("aria-sort") !== "ascending" : !th.classList.contains("n");
  $$("thead th", table).forEach((other) => other.removeAttribute("aria-sort"));
  th.setAttribute("aria-sort", up ? "ascending" : "descending");
  const rows = $$(":scope > tr", body).map((row) => [value(row, column), row]);
  rows.sort(([a], [b]) => { if (a === null || b === null) return (a === null) - (b === null); return up ? compare(a, b) : compare(b, a); });
  body.append(...rows.map(([, row]) => row));
  recut(table);
};

/* What is out of a search is hidden; of the rest a long list shows the first few, until all are asked for. */
const recut = (list) => {
  const body = $("tbody", list) || list, rows = Array.from(body.children), cut = list.cut;
  const fit = rows.filter((row) => !out(row)), long = Boolean(cut) && fit.length > cut.most + 2;
  const shown = new Set(long && !cut.all ? fit.slice(0, cut.most) : fit);
  rows.forEach((row) => { const hide = !shown.has(row); if (row.hidden !== hide) row.hidden = hide; });
  list.dataset.cut = "1";
  if (!cut) return;
  cut.button.hidden = !long;
  cut.button.dataset.paper = cut.all || !long ? "" : "The first " + cut.most + " of " + fit.length.toLocaleString("en") + ".";
  cut.button.textContent = cut.all ? "Show fewer" : "Show all " + fit.length.toLocaleString("en");
};
const out = (row) => row.unfit || row.unsought;
const phone = window.matchMedia("(max-width: 640px)");
const shorten = (list) => {
  const most = Number(list.dataset.limit), cut = { most: phone.matches && !list.matches(".fleet") ? Math.min(most, 5) : most, all: false };
  cut.button = button("showall quiet", "", () => { cut.all = !cut.all; recut(list); });
  list.cut = cut;
  (list.closest(".scroll") || list).after(cut.button);
  recut(list);
};

const textOf = (row) => {
  row.text = row.text || (row.textContent + " " + $$("[title]", row).map((node) => node.title).join(" ")).toLowerCase();
  return row.text;
};
const wordsOf = (field) => field.value.toLowerCase().split(/\s+/).filter(Boolean);

/* A search of its own above a table. */
const searchable = (box) => {
  const table = document.getElementById(box.dataset.search), none = document.getElementById("no-" + box.dataset.search);
  const rows = $$("tbody > tr", table), field = $("input", box);
  const search = () => {
    const words = wordsOf(field);
    let fits = 0;
    rows.forEach((row) => {
      row.unsought = !words.every((word) => textOf(row).includes(word));
      fits += !row.unsought;
    });
    recut(table);
    $("p", box).textContent = fits === rows.length ? count(rows.length, "row") : fits + " of " + rows.length + " match";
    none.hidden = fits > 0;
  };
  box.hidden = false;
  field.addEventListener("input", search);
  search();
};

/* Search and filters over every section: rows and cards about workloads carry their clusters and namespaces, one a line. */
const finder = { sections: [], fleet: 0 };
const among = (wanted, told) => !wanted || told === undefined || told.split("\n").includes(wanted);
const within = (item, cluster, namespace) => among(cluster, item.dataset.cluster) && among(namespace, item.dataset.namespace);
const filter = () => {
  const words = wordsOf($("#search")), cluster = $("#cluster").value, namespace = $("#namespace").value;
  const active = Boolean(words.length || cluster || namespace);
  let workloads = 0, others = 0;
  finder.sections.forEach((part) => {
    let fits = 0;
    part.items.forEach((item) => {
      item.unfit = active && !(within(item, cluster, namespace) && words.every((w) => textOf(item).includes(w)));
      fits += !item.unfit;
    });
    part.lists.forEach(recut);
    if (part.id === "workloads") workloads = fits; else others += fits;
    part.none.hidden = fits > 0 || !part.whole;
    part.section.classList.toggle("unmatched", fits === 0 && part.whole);
    if (active) part.folds.forEach((fold) => { fold.open = true; });
    if (part.badge) part.badge.textContent = active ? fits + "/" + part.items.length : part.badge.dataset.all;
  });
  root.classList.toggle("filtered", active);
  $("#clear").hidden = !active;
  $("#shown").textContent = active
    ? count(workloads, "workload") + " of " + finder.fleet.toLocaleString("en") + " and " + count(others, "other entry").replace("entrys", "entries") + " match"
    : count(finder.fleet, "workload");
};
const clearFilter = () => { $$("#finder input, #finder select").forEach((field) => { field.value = ""; }); filter(); };

const startFinder = () => {
  const box = $("#finder");
  if (!box) return;
  finder.sections = $$("#overview section[id]").map((section) => {
    const items = $$("[data-cluster]", section).filter((item) => !item.parentElement.closest("[data-cluster]"));
    const lists = new Set(items.map((item) => (item.matches("tr") ? item.closest("table") : item.parentElement)));
    const none = el("p", "none nomatch", "Nothing here matches the search.");
    none.hidden = true;
    const badge = $('nav a[href="#' + section.id + '"] b');
    if (badge) badge.dataset.all = badge.textContent;
    const folds = new Set(items.map((item) => item.closest("details.more")).filter(Boolean));
    return { id: section.id, section, items, lists, none, badge, folds, whole: items.some((item) => item.dataset.namespace !== undefined) };
  }).filter((part) => part.items.length);
  finder.sections.forEach((part) => $("h2", part.section).after(part.none));
  finder.fleet = $$("#fleet > tbody > tr").length;
  let waits = 0;
  const soon = () => { cancelAnimationFrame(waits); waits = requestAnimationFrame(filter); };
  $("#search").addEventListener("input", soon);
  $$("select", box).forEach((select) => select.addEventListener("change", filter));
  $("#clear").addEventListener("click", () => { clearFilter(); $("#search").focus(); });
  box.hidden = false;
  filter();
};

/* A table that is wider than the screen can be scrolled with the keyboard. */
const scrollable = () => $$(".scroll").forEach((box) => {
  if (box.scrollWidth > box.clientWidth + 1) { box.tabIndex = 0; box.setAttribute("role", "region"); box.setAttribute("aria-label", "Table, scrolls sideways"); }
  else { box.removeAttribute("tabindex"); box.removeAttribute("role"); box.removeAttribute("aria-label"); }
});
const startTables = () => {
  $$("table.sortable").forEach((table) => $("thead", table).addEventListener("click", (event) => { const key = event.target.closest("button"); if (key) sort(table, key.closest("th")); }));
  $$("[data-limit]").forEach(shorten);
  $$("[data-search]").forEach(searchable);
};

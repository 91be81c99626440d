/* ---- keys, printing, and the start ---- */
const typing = (node) => node.matches("input, select, textarea");
const onKey = (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "/" && !typing(event.target) && $("#finder")) {
    event.preventDefault();
    if (current) { location.hash = "#"; showOverview(); }
    $("#search").focus();
  } else if (event.key === "Escape" && event.target.id === "search") {
    clearFilter();
    event.target.blur();
  } else if (event.key === "Escape" && current) {
    location.hash = "#";
  }
};

/* Times are UTC; the reader's own time is told where the pointer rests. */
const local = new Intl.DateTimeFormat(undefined, { dateStyle: "full", timeStyle: "long" });
const localTime = (event) => {
  const time = event.target.closest && event.target.closest("time");
  if (time && !time.title) time.title = local.format(new Date(time.dateTime));
};

/* Paper is white, as wide as paper is, and nothing on it can be opened: incidents are. */
const PAPER = 680;
let unfolded = [];
const onPaper = () => {
  root.dataset.theme = "light";
  unfolded = unfolded.concat($$("details.incident:not([open])"));
  unfolded.forEach((fold) => { fold.open = true; });
  if (current && current.chart) { current.width = PAPER; draw(current); }
};
const offPaper = () => {
  unfolded.forEach((fold) => { fold.open = false; });
  unfolded = [];
  if (current) delete current.width;
  applyTheme();
};

document.addEventListener("DOMContentLoaded", () => {
  startTheme();
  document.addEventListener("pointerover", localTime);
  startTables();
  startFinder();
  const fleet = $("#fleet");
  if (fleet) {
    fleet.addEventListener("click", (event) => { const row = event.target.closest("tbody > tr"); if (row && !event.target.closest("a")) location.hash = "#workload=" + row.dataset.workload; });
    window.addEventListener("hashchange", follow);
    follow();
  }
  document.addEventListener("keydown", onKey);
  window.addEventListener("beforeprint", onPaper);
  window.addEventListener("afterprint", offPaper);
  window.addEventListener("resize", scrollable);
  scrollable();
  root.dataset.ready = "true";
});

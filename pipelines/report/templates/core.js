/* Text from the data reaches the page through textContent only, and Plotly (which reads a little markup) through plain(). */
const root = document.documentElement;
const failed = (text) => { root.dataset.errors = (root.dataset.errors ? root.dataset.errors + "\n" : "") + text; };
window.addEventListener("error", (e) => failed(String(e.message)));
window.addEventListener("unhandledrejection", (e) => failed(String(e.reason)));
document.addEventListener("securitypolicyviolation", (e) => failed("blocked: " + e.violatedDirective + " " + e.blockedURI));
root.dataset.scripts = "on";

const $ = (selector, from = document) => from.querySelector(selector);
const $$ = (selector, from = document) => Array.from(from.querySelectorAll(selector));
const el = (tag, className, text) => {
  const node = document.createElement(tag);
  if (className) node.className = className;
  if (text !== undefined) node.textContent = text;
  return node;
};
const button = (className, text, does) => {
  const node = el("button", className, text);
  node.type = "button";
  node.addEventListener("click", does);
  return node;
};
const plain = (text) => String(text).replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
const count = (n, noun) => n.toLocaleString("en") + " " + noun + (n === 1 ? "" : "s");
const MINUTE = 60e3, HOUR = 3600e3, DAY = 24 * HOUR;
const DAYS = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"];
const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
const day = (ms) => { const at = new Date(ms); return DAYS[at.getUTCDay()] + " " + at.getUTCDate() + " " + MONTHS[at.getUTCMonth()]; };
const clock = (ms) => day(ms) + " " + new Date(ms).toISOString().slice(11, 16);

/* Data stands in the file as base64 of zlib's format. */
const unpacked = (id) => {
  const bytes = Uint8Array.from(atob(document.getElementById(id).textContent.trim()), (c) => c.charCodeAt(0));
  return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate")));
};
let library = null;
const withPlotly = () => {
  library = library || unpacked("plotly").text().then((text) => {
    const script = el("script");
    script.textContent = text;
    document.head.append(script);
  });
  return library;
};

/* ---- theme ---- */
const remember = (value) => { try { localStorage.setItem("foretide-theme", value); } catch { /* a file may not store */ } };
const recall = () => { try { return localStorage.getItem("foretide-theme"); } catch { return null; } };
const system = window.matchMedia("(prefers-color-scheme: dark)");
let chosen = root.dataset.theme || recall(), redraw = () => {};
const applyTheme = () => {
  const dark = chosen ? chosen === "dark" : system.matches;
  root.dataset.theme = dark ? "dark" : "light";
  const button = $("#theme");
  if (button) { button.textContent = dark ? "Light" : "Dark"; button.setAttribute("aria-label", dark ? "Light: use light colours" : "Dark: use dark colours"); }
  redraw();
};
applyTheme();
const startTheme = () => {
  applyTheme();
  const button = $("#theme");
  button.hidden = false;
  button.addEventListener("click", () => { chosen = root.dataset.theme === "dark" ? "light" : "dark"; remember(chosen); applyTheme(); });
  system.addEventListener("change", applyTheme);
};

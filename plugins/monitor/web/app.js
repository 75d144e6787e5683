// The dashboard: asks the host again and again for what the chosen view shows, and says when nobody answers.

import { Alerts, Rules, Silences, Sinks } from "./alerts.js";
import { hasToken, login } from "./api.js";
import { Plots, Tiles } from "./figures.js";
import { Range } from "./history.js";
import { Events, Health, Nodes, Plugins, Pools } from "./sections.js";
import { serverSections } from "./servers.js";
import { Slow, Statements } from "./statements.js";
import { element, fillState, setText } from "./tables.js";

const TABLES_MS = 3000; // between two rounds; from the end of one to the begin of the next
const PLUGINS_MS = 15000; // where they are not what is looked at
const RANGE_KEY = "howdah-range";
const THEME_KEY = "howdah-theme";

const $ = (id) => document.getElementById(id);

function remember(key, value) {
  try {
    localStorage.setItem(key, value);
  } catch {
    // It lasts as long as the page.
  }
}

function remembered(key) {
  try {
    return localStorage.getItem(key);
  } catch {
    return null;
  }
}

// Told by screen readers; only what changes, never the figures.
const say = (words) => setText($("said"), words);

// --- what there is ------------------------------------------------------------------------------------------------

function silenced(words) {
  say(words);
  restart();
}

const plugins = new Plugins();
const health = new Health();
const wrong = new Alerts("wrong", false, silenced);
const nodes = new Nodes();
const known = () => plugins.known;
const orderBy = () => $("order-by").value;

// Of each view: what is brought up to date by its own interval, and plots.
const VIEWS = {
  overview: { parts: [new Tiles($("tiles")), nodes], plots: new Plots("overview", known) },
  statements: { parts: [new Statements(orderBy), new Slow()] },
  servers: { parts: serverSections(), plots: new Plots("servers", known) },
  machine: { parts: [], plots: new Plots("machine", known) },
  host: { parts: [new Pools(), plugins, new Events(() => $("all-events").checked)] },
  alerts: { parts: [new Alerts("all-alerts", true, silenced), new Silences(silenced), new Rules(), new Sinks()] },
  reports: { parts: [] },
};
const titles = Object.fromEntries([...document.querySelectorAll("nav a")].map((a) => [a.hash.slice(1), a.firstChild.data]));

let view = "overview";
let range = new Range("5m");
let paused = false;
let lost = null; // since when nobody answers
let version = null; // of the host that this page came from

const context = () => ({ range, node: $("node").value, plugins: plugins.known });

// --- what is told of the host -------------------------------------------------------------------------------------

let told = "";

function tell(words, kind) {
  fillState($("host-state"), words, kind);
  if (told !== words && (told || kind === "bad")) say(words);
  told = words;
}

function showHealth() {
  const { active, total, ready, reason } = health.report ?? {};
  if (!health.report) return;
  const parts = `${active} of ${total} parts work`;
  const firing = wrong.firing ? `, ${wrong.firing} ${wrong.firing === 1 ? "alert fires" : "alerts fire"}` : "";
  if (!ready) tell(`Not ready: ${reason}; ${parts}${firing}`, "bad");
  else tell(parts + firing, active < total || wrong.firing ? "warn" : "good");
  $("firing").hidden = !wrong.firing;
  $("firing").replaceChildren(String(wrong.firing ?? ""), element("span", { className: "unseen" }, " firing"));
  showTitle();
  showVersion(health.report.version);
}

function showTitle() {
  const at = view === "overview" ? "" : `: ${titles[view]}`;
  const title = `${wrong.firing ? `(${wrong.firing}) ` : ""}Howdah${at}`;
  if (document.title !== title) document.title = title;
}

// A page that is left open over an upgrade goes on; what is new comes with loading it again.
function showVersion(now) {
  setText($("version"), now);
  version ??= now;
  $("news").hidden = version === now;
  if (version === now || $("news").dataset.version === now) return;
  const button = element("button", { type: "button" }, "Load it anew");
  button.addEventListener("click", () => location.reload());
  $("news").dataset.version = now;
  $("news").replaceChildren(`The host is version ${now} now, and this page is of version ${version}. `, button);
}

function banner(...content) {
  $("banner").hidden = !content.length;
  $("banner").replaceChildren(...content);
}

// Whatever a round ran into; figures that are there stay, and are marked as old.
function failed(e) {
  if (e.status === 401) {
    tell("The host wants its token", "bad");
    const button = element("button", { type: "button" }, "Give the token");
    button.addEventListener("click", async () => {
      if (await login(false)) restart();
    });
    if (!$("banner").querySelector("button")) banner("This host answers those who have its token. ", button);
    return;
  }
  if (!e.unreachable) {
    console.error(e);
    tell(`Not all can be shown: ${e.message}`, "bad");
    return;
  }
  if (!lost) {
    lost = new Date();
    document.body.classList.add("stale");
    banner(`The host cannot be reached since ${lost.toLocaleTimeString("en-GB")}: ${e.message}. The figures are those from before. Trying again.`);
  }
  tell("The host cannot be reached", "bad");
}

function answered() {
  if (lost) {
    say("The host answers again");
    range = new Range(range.name); // a host that has been started again has begun anew
    asked.clear();
  }
  lost = null;
  document.body.classList.remove("stale");
  banner();
}

// --- rounds -------------------------------------------------------------------------------------------------------

let round = 0; // a later one makes those before it end
const asked = new Map(); // part -> when

async function ask(part, every = part.every ?? 0) {
  const now = performance.now();
  if (now - (asked.get(part) ?? -Infinity) < every - TABLES_MS / 2) return;
  await part.update(context());
  asked.set(part, now);
}

async function refreshTables() {
  await ask(plugins, PLUGINS_MS);
  await ask(health);
  await ask(wrong);
  showNodes();
  for (const part of VIEWS[view].parts) await ask(part);
  answered();
  showHealth();
}

async function refreshPlots() {
  const labels = view === "servers" && $("node").value ? { node: $("node").value } : {};
  await VIEWS[view].plots?.update(range, labels);
}

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

// The first turn comes even where the page is paused: whoever chose something wants to see it.
async function keep(refresh, interval) {
  const mine = round;
  for (let first = true; mine === round; first = false) {
    try {
      if ((first || !paused) && !document.hidden) await refresh();
    } catch (e) {
      failed(e);
    }
    await pause(interval());
  }
}

// Everything anew, now.
function restart() {
  round++;
  asked.clear();
  keep(refreshTables, () => TABLES_MS);
  keep(refreshPlots, () => (lost ? TABLES_MS : range.interval));
}

// --- controls -----------------------------------------------------------------------------------------------------

function setRange(name) {
  const option = [...$("range").options].find((o) => o.value === name) ?? $("range").options[0];
  $("range").value = option.value;
  for (const place of document.querySelectorAll(".range-name")) setText(place, option.text);
  range = new Range(option.value);
  remember(RANGE_KEY, option.value);
}

function eachPlots(what) {
  for (const { plots } of Object.values(VIEWS)) if (plots) what(plots);
}

function setTheme(name) {
  if (name === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = name;
  remember(THEME_KEY, name);
  eachPlots((plots) => plots.recolour());
}

// Which node can be chosen where there are several.
function showNodes() {
  const names = (health.report?.components ?? []).filter((c) => c.kind === "node").map((c) => c.name);
  const shown = [...$("node").options].slice(1).map((o) => o.value);
  if (names.join("\n") !== shown.join("\n")) {
    const chosen = $("node").value;
    $("node").replaceChildren($("node").options[0], ...names.map((name) => element("option", { value: name }, name)));
    $("node").value = names.includes(chosen) ? chosen : "";
  }
  $("node-choice").hidden = view !== "servers" || names.length < 2;
}

// The part of the address behind #. What is no view, such as #main, changes nothing.
function setView() {
  const name = location.hash.slice(1) || "overview";
  if (!VIEWS[name]) return false;
  view = name;
  for (const part of document.querySelectorAll(".view")) part.hidden = part.dataset.view !== view;
  for (const a of document.querySelectorAll("nav a")) {
    if (a.hash === `#${view}`) a.setAttribute("aria-current", "page");
    else a.removeAttribute("aria-current");
  }
  $("reports-token").hidden = !hasToken();
  showNodes();
  showTitle();
  VIEWS[view].plots?.fit();
  return true;
}

window.addEventListener("hashchange", () => {
  if (!setView()) return;
  scrollTo(0, 0);
  say(titles[view]);
  restart();
});
$("range").addEventListener("change", (e) => {
  setRange(e.target.value);
  say(`The last ${e.target.selectedOptions[0].text}`);
  restart();
});
$("theme").addEventListener("change", (e) => setTheme(e.target.value));
$("pause").addEventListener("click", () => {
  paused = !paused;
  $("pause").setAttribute("aria-pressed", String(paused));
  say(paused ? "Paused: the figures stay as they are" : "Live again");
  if (!paused) restart();
});
for (const id of ["node", "order-by", "all-events"]) $(id).addEventListener("change", () => restart());
for (const button of document.querySelectorAll("[data-close]"))
  button.addEventListener("click", () => $(button.dataset.close).close());
for (const form of [$("controls"), $("order")]) form.addEventListener("submit", (e) => e.preventDefault());
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => eachPlots((plots) => plots.recolour()));
document.addEventListener("visibilitychange", () => {
  if (!document.hidden && !paused) restart();
});

$("theme").value = document.documentElement.dataset.theme ?? "auto";
setRange(remembered(RANGE_KEY) ?? "5m");
setView();
restart();

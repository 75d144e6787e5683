// The dashboard: asks the host again and again, and says when nobody answers.

import { command, login } from "./api.js";
import { Plots, Tiles } from "./figures.js";
import { History, Range } from "./history.js";
import * as sections from "./sections.js";
import { element, fillState, setText } from "./tables.js";

const TABLES_MS = 3000; // between two rounds; from the end of one to the begin of the next
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

const tiles = new Tiles($("tiles"));
const alerts = new sections.Alerts();
const plugins = new sections.Plugins();
const plots = new Plots($("plots"), () => plugins.known);
const statements = new sections.Statements();
const slow = new sections.Slow();
const nodes = new sections.Nodes();
const pools = new sections.Pools();
const health = new sections.Health();
const events = new sections.Events();

let history = new History(new Range("5m"));
let paused = false;
let lost = null; // since when nobody answers

// --- what is told of the host -------------------------------------------------------------------------------------

let told = "";

function tell(words, kind) {
  fillState($("host-state"), words, kind);
  if (told !== words && (told || kind === "bad")) say(words);
  told = words;
}

function showHealth() {
  const { active, total, ready, version, reason } = health.report ?? {};
  if (!health.report) return;
  setText($("version"), version);
  const parts = `${active} of ${total} parts work`;
  const firing = alerts.firing ? `, ${alerts.firing} ${alerts.firing === 1 ? "alert fires" : "alerts fire"}` : "";
  if (!ready) tell(`Not ready: ${reason}; ${parts}${firing}`, "bad");
  else tell(parts + firing, active < total || alerts.firing ? "warn" : "good");
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
  if (lost) say("The host answers again");
  if (lost) history = new History(history.range); // a host that has been started again has begun anew
  lost = null;
  document.body.classList.remove("stale");
  banner();
}

// --- rounds -------------------------------------------------------------------------------------------------------

let round = 0; // a later one makes those before it end

async function refreshTables() {
  await plugins.update();
  await health.update();
  await alerts.update(plugins.known);
  const series = await command("series");
  tiles.update(series.rows, plugins.known);
  await statements.update($("order-by").value, history, plugins.known);
  await slow.update();
  await nodes.update();
  await pools.update();
  await events.update($("all-events").checked);
  answered();
  showHealth();
}

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

async function keep(refresh, interval) {
  const mine = round;
  while (mine === round) {
    try {
      if (!paused && !document.hidden) await refresh();
    } catch (e) {
      failed(e);
    }
    await pause(interval());
  }
}

function restart() {
  round++;
  keep(refreshTables, () => TABLES_MS);
  keep(
    () => plots.update(history),
    () => (lost ? TABLES_MS : history.range.interval),
  );
}

// --- controls -----------------------------------------------------------------------------------------------------

function setRange(name) {
  const option = [...$("range").options].find((o) => o.value === name) ?? $("range").options[0];
  $("range").value = option.value;
  setText($("range-name"), option.text);
  history = new History(new Range(option.value));
  remember(RANGE_KEY, option.value);
}

function setTheme(name) {
  if (name === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = name;
  remember(THEME_KEY, name);
  plots.recolour();
}

$("range").addEventListener("change", (e) => {
  setRange(e.target.value);
  say(`The last ${$("range-name").textContent}`);
  restart();
});
$("theme").addEventListener("change", (e) => setTheme(e.target.value));
$("pause").addEventListener("click", () => {
  paused = !paused;
  $("pause").setAttribute("aria-pressed", String(paused));
  say(paused ? "Paused: the figures stay as they are" : "Live again");
  if (!paused) restart();
});
$("order-by").addEventListener("change", () => restart());
$("all-events").addEventListener("change", () => restart());
for (const form of [$("controls"), $("order")]) form.addEventListener("submit", (e) => e.preventDefault());
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => plots.recolour());
document.addEventListener("visibilitychange", () => {
  if (!document.hidden) restart();
});

$("theme").value = document.documentElement.dataset.theme ?? "auto";
setRange(remembered(RANGE_KEY) ?? "5m");
restart();

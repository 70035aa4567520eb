// The page: requests the status of netd every two seconds and shows it. Values from netd are inserted as text only.

import * as samples from "./samples.js";

const EVERY = 2000; // milliseconds between two requests
const TIMEOUT = 5000; // milliseconds for a response
const CALM = 8; // seconds over which "now" is averaged

const PLOTS = [
  [{ name: "requests", word: "requests", colour: "first" }],
  [{ name: "connections", word: "open", colour: "first" }],
  [
    { name: "refused", word: "refused", colour: "second" },
    { name: "dropped", word: "dropped", colour: "third", dash: [5, 3] },
  ],
];
const COLUMNS = ["connections", "requests", "refused", "dropped", "failed"];
const WORRYING = ["refused", "dropped", "failed"];

const byId = (id) => document.getElementById(id);
const whole = new Intl.NumberFormat("en");
const short = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });

let known = []; // samples
let shown = null; // the status
let silentSince = null; // a Date, while netd does not answer
let timer = 0;
let round = 0; // of requests; a response to an older one is ignored
const plots = [];

// Text.

function duration(seconds) {
  const minutes = Math.floor(seconds / 60);
  const hours = Math.floor(seconds / 3600);
  const days = Math.floor(seconds / 86400);
  if (minutes === 0) return `${Math.floor(seconds)}s`;
  if (hours === 0) return `${minutes}m${Math.floor(seconds % 60)}s`;
  return days === 0 ? `${hours}h${minutes % 60}m` : `${days}d${hours % 24}h`;
}

function perSecond(value) {
  if (value === null) return "";
  return `${value < 10 ? Math.round(value * 10) / 10 : whole.format(Math.round(value))}/s`;
}

const timeOfDay = (date, style) => date.toLocaleTimeString([], { timeStyle: style, hourCycle: "h23" });

function element(name, text = "", classes = "") {
  const made = document.createElement(name);
  made.textContent = text;
  made.className = classes;
  return made;
}

function say(node, text) {
  if (node.textContent !== text) node.textContent = text; // a selection, or a screen reader, is not disturbed
}

// The daemon.

function showState(word, good) {
  say(byId("state"), word);
  byId("state").className = good ? "good" : "bad";
  document.title = `netd: ${word}`;
}

function showDaemon(status) {
  const stale = silentSince !== null;
  const [word, good] = status.stopping
    ? ["stopping", false]
    : !status.healthy
      ? ["not healthy", false]
      : status.ready
        ? ["healthy", true]
        : ["not ready", false];
  showState(stale ? "no answer" : word, good && !stale);
  say(byId("version"), status.version);
  const workers = status.workers.filter((one) => !one.leaving);
  const facts = [
    ["Up", duration(status.uptime_seconds)],
    ["Process", String(status.pid)],
    ["Workers", workers.length],
    ["Log level", status.log_level],
    ["Workers lost", status.counters.workers_lost, true],
    ["Configs refused", status.counters.reloads_rejected, true],
    ["Sources banned", status.banned_sources, true],
    ["Log lines lost", status.counters.log_lines_lost, true],
    [
      "Config",
      `${status.config}, generation ${status.generation}${status.last_reload_successful ? "" : ", last reload rejected"}`,
    ],
  ];
  const list = byId("facts");
  facts.forEach(([name, value, worrying], place) => {
    if (!list.children[place]) {
      const fact = element("div", "", name === "Config" ? "wide" : "");
      const said = element("dd");
      said.dataset.fact = name;
      fact.append(element("dt", name), said);
      list.append(fact);
    }
    const said = list.children[place].lastChild;
    say(said, worrying ? whole.format(value) : String(value));
    said.className = worrying && value > 0 ? "bad" : "";
  });
  const oldest = Math.max(0, ...workers.map((one) => one.heartbeat_seconds));
  say(byId("crew").querySelector("summary"), `Workers: the oldest heartbeat is ${oldest.toFixed(1)} s old`);
  byId("workers").replaceChildren(
    ...status.workers.map((one) => {
      const told = one.leaving ? "leaving" : `up ${duration(one.uptime_seconds)}, heartbeat ${one.heartbeat_seconds.toFixed(1)} s ago`;
      return element("li", `${one.worker}: process ${one.pid}, ${told}`);
    }),
  );
}

// The table.

const rows = new Map(); // by service

function rowOf(service) {
  const row = element("tr");
  row.dataset.service = service;
  row.role = "row"; // on a phone rows are grids, and a grid is no row to a screen reader
  const head = element("th", service);
  head.scope = "row";
  head.role = "rowheader";
  head.append(element("span", "", "fine"), element("span", "", "fine"));
  row.append(head);
  for (const name of COLUMNS) {
    const cell = element("td");
    cell.role = "cell";
    const value = element("span");
    value.dataset.number = name;
    cell.append(value, element("span", "", "fine"));
    row.append(cell);
  }
  return row;
}

function showServices(status) {
  const last = known[known.length - 1];
  const before = samples.reference(known, CALM);
  const body = byId("services");
  status.services.forEach((one, place) => {
    const row = rows.get(one.service) ?? rowOf(one.service);
    rows.set(one.service, row);
    if (body.children[place] !== row) body.insertBefore(row, body.children[place] ?? null);
    row.className = one.enabled ? "" : "off";
    const [, places, why] = row.firstChild.childNodes;
    say(places, one.endpoints.join("  "));
    say(why, one.enabled && !one.why ? "" : `${one.enabled ? "on" : "off"}${one.why ? ` (${one.why})` : ""}`);
    COLUMNS.forEach((name, number) => {
      const [value, now] = row.children[number + 1].children;
      const counted = samples.NUMBERS.includes(name) && name !== "connections";
      const grows = counted ? samples.rate(before, last, one.service, name) : null;
      say(value, whole.format(one[name]));
      say(now, grows ? perSecond(grows) : "");
      value.className = name === "failed" && one.failed > 0 ? "bad" : "";
      now.className = grows && WORRYING.includes(name) ? "fine bad" : "fine";
    });
  });
  for (const [service, row] of rows) {
    if (!status.services.some((one) => one.service === service)) {
      row.remove();
      rows.delete(service);
    }
  }
  const chosen = byId("chosen");
  const names = ["", ...rows.keys()];
  if (names.length !== chosen.length || names.some((name, place) => chosen.options[place].value !== name)) {
    const was = chosen.value;
    chosen.replaceChildren(...names.map((name) => new Option(name || "all services", name)));
    chosen.value = names.includes(was) ? was : "";
  }
}

// The plots.

function makePlots() {
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const axis = {
    stroke: () => colour("--dim"),
    font: "11px system-ui, sans-serif",
    grid: { stroke: () => colour("--line"), width: 1 },
    ticks: { show: false },
  };
  for (const lines of PLOTS) {
    const figure = element("figure");
    const caption = element("figcaption");
    caption.append(...lines.map((line) => element("span", "", `key ${line.colour}`)));
    figure.append(caption);
    byId("plots").append(figure);
    const plot = new uPlot(
      {
        width: figure.clientWidth - 16,
        height: 150,
        padding: [10, 10, 0, 0],
        legend: { show: false },
        cursor: { y: false, sync: { key: "netd" }, drag: { x: false, y: false }, points: { size: 6 } },
        scales: {
          x: { range: (_, __, last) => [last - samples.MINUTES * 60, last] },
          y: { range: (_, __, most) => [0, Math.max(1, (most ?? 0) * 1.1)] },
        },
        axes: [
          { ...axis, space: 60, size: 28, values: (_, times) => times.map((time) => timeOfDay(new Date(time * 1000), "short")) },
          { ...axis, space: 30, size: 44, values: (_, values) => values.map((value) => short.format(value)) },
        ],
        series: [
          {},
          ...lines.map((line) => ({
            stroke: () => colour(`--${line.colour}`),
            dash: line.dash,
            width: 1.5,
            points: { show: false },
          })),
        ],
        hooks: { setCursor: [(one) => showValues(one, lines, caption)] },
      },
      [[], ...lines.map(() => [])],
      figure,
    );
    plots.push({ plot, lines, caption });
    new ResizeObserver(() => plot.setSize({ width: figure.clientWidth - 16, height: 150 })).observe(figure);
  }
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
    for (const { plot } of plots) plot.redraw();
  });
}

// Above a plot: the values under the cursor, or the last ones.
function showValues(plot, lines, caption) {
  const place = plot.cursor.idx ?? plot.data[0].length - 1;
  lines.forEach(({ name, word }, number) => {
    const value = plot.data[number + 1][place] ?? null;
    const told = name === "connections" ? value : perSecond(value);
    say(caption.children[number], `${word} ${value === null ? "unknown" : told}`);
  });
}

function showPlots() {
  for (const { plot, lines, caption } of plots) {
    plot.setData(samples.columns(known, byId("chosen").value, lines.map((line) => line.name)));
    showValues(plot, lines, caption);
  }
}

// Requests.

async function ask(what) {
  const answer = await fetch(what, { cache: "no-store", signal: AbortSignal.timeout(TIMEOUT) });
  if (!answer.ok) throw new Error(`netd answers ${answer.status}`);
  return answer.json();
}

// Request the status and show it. The history is requested first, and again after samples may have been missed.
async function look() {
  const turn = (round += 1);
  try {
    const status = await ask("status.json");
    if (turn !== round) return;
    // A clock that was set has all times anew.
    const isSet = shown !== null && shown.run === status.run && Math.abs(shown.started - status.started) > 1;
    const missed = shown === null || silentSince !== null || shown.run !== status.run || isSet || timer === 0;
    const history = missed ? await ask("history.json") : null;
    if (turn !== round) return;
    if (isSet) known = [];
    if (history) known = samples.joined(known, samples.ofHistory(history, status.run));
    known = samples.joined(known, [samples.ofStatus(status)]);
    shown = status;
    silentSince = null;
  } catch (error) {
    if (turn !== round) return;
    silentSince ??= new Date();
    say(byId("trouble"), `No answer from netd since ${timeOfDay(silentSince, "medium")}. Trying again.`);
    if (!shown) showState("no answer", false);
    console.debug(error);
  }
  byId("trouble").hidden = silentSince === null;
  document.body.classList.toggle("stale", silentSince !== null);
  if (shown) {
    showDaemon(shown);
    showServices(shown);
    showPlots();
  }
  timer = setTimeout(look, EVERY);
}

function wake() {
  clearTimeout(timer);
  timer = 0;
  round += 1;
  if (!document.hidden) look();
}

makePlots();
byId("chosen").addEventListener("change", showPlots);
document.addEventListener("visibilitychange", wake);
wake();

// The page: requests the status of netd every two seconds and shows it. Values from netd are inserted as text only.

import * as samples from "./samples.js";

const EVERY = 2000; // milliseconds between two requests
const TIMEOUT = 5000; // milliseconds for a response

const PLOTS = [
  [{ name: "requests", word: "requests", colour: "first" }],
  [{ name: "connections", word: "open", colour: "first" }],
  [
    { name: "refused", word: "refused", colour: "second" },
    { name: "dropped", word: "dropped", colour: "third", dash: [5, 3] },
  ],
  [
    { name: "received_bytes", word: "in", colour: "first" },
    { name: "sent_bytes", word: "out", colour: "third", dash: [5, 3] },
  ],
];
const COLUMNS = ["connections", "requests", "received_bytes", "sent_bytes", "refused", "dropped", "failed"];
const REASONS = { refused: "connections_refused", dropped: "datagrams_dropped" };
const WORRYING = ["refused", "dropped", "failed"];

const byId = (id) => document.getElementById(id);
const whole = new Intl.NumberFormat("en");
const short = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });

const ALL = "all services but metrics"; // this page would count itself

let known = []; // samples
let pages = new Set(); // the services of type metrics
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

function bytes(value) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
  let unit = 0;
  for (; value >= 1000 && unit < units.length - 1; unit += 1) value /= 1024;
  return `${value < 10 && unit > 0 ? value.toFixed(1) : whole.format(Math.round(value))} ${units[unit]}`;
}

function amount(name, value) {
  return name.endsWith("_bytes") ? bytes(value) : whole.format(value);
}

function perSecond(name, value) {
  if (value === null) return "";
  if (name.endsWith("_bytes")) return `${bytes(value)}/s`;
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

const HINTS = {
  "Workers lost": "workers that ended unexpectedly since netd started; each was replaced",
  "Reloads rejected": "configs with problems, since netd started; the config before stayed in force",
  "Sources banned": "bans that are in force now: netd ban list",
  "Log lines lost": "lines that could not be written since netd started",
  Generation: "how many configs have been in force since netd started",
};

// How long ago something was, for the text after it.
function ago(status, when) {
  return when === null ? "" : `, ${duration(Math.max(0, status.started + status.uptime_seconds - when))} ago`;
}

function showState(word, good) {
  say(byId("state"), word);
  byId("state").className = good ? "good" : "bad";
  document.title = shown ? `netd on ${shown.host}: ${word}` : `netd: ${word}`;
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
  say(byId("host"), `on ${status.host}`);
  say(byId("version"), status.version);
  const problems = status.last_reload_problems;
  const [problem, more] = [problems[0] ?? "", problems.length > 1 ? `, and ${problems.length - 1} more` : ""];
  byId("rejected").hidden = problems.length === 0;
  say(byId("rejected"), `The last reload was rejected${ago(status, status.last.reloads_rejected)}: ${problem}${more}`);
  const workers = status.workers.filter((one) => !one.leaving);
  const facts = [
    ["Up", duration(status.uptime_seconds)],
    ["Process", String(status.pid)],
    ["Workers", workers.length],
    ["Log level", status.log_level],
    ["Workers lost", `${whole.format(status.counters.workers_lost)}${ago(status, status.last.workers_lost)}`],
    ["Reloads rejected", `${whole.format(status.counters.reloads_rejected)}${ago(status, status.last.reloads_rejected)}`],
    ["Sources banned", whole.format(status.banned_sources)],
    ["Log lines lost", whole.format(status.counters.log_lines_lost)],
    ["Generation", status.generation],
    ["Config", status.config],
  ];
  const list = byId("facts");
  facts.forEach(([name, value], place) => {
    if (!list.children[place]) {
      const fact = element("div", "", name === "Config" ? "wide" : "");
      fact.title = HINTS[name] ?? "";
      const said = element("dd");
      said.dataset.fact = name;
      fact.append(element("dt", name), said);
      list.append(fact);
    }
    say(list.children[place].lastChild, String(value));
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
const HEADS = {
  connections: "Open",
  requests: "Requests",
  received_bytes: "In",
  sent_bytes: "Out",
  refused: "Refused",
  dropped: "Dropped",
  failed: "Failed",
};

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
    cell.dataset.head = HEADS[name];
    const value = element("span");
    value.dataset.number = name;
    cell.append(value, element("span", "", "fine"), element("span", "", "fine"));
    row.append(cell);
  }
  return row;
}

function showServices(status) {
  const last = known[known.length - 1];
  const before = samples.reference(known, known.length - 1);
  const body = byId("services");
  status.services.forEach((one, place) => {
    const row = rows.get(one.service) ?? rowOf(one.service);
    rows.set(one.service, row);
    if (body.children[place] !== row) body.insertBefore(row, body.children[place] ?? null);
    row.className = one.enabled ? "" : "off";
    const [, places, why] = row.firstChild.childNodes;
    say(places, one.endpoints.join("  "));
    const fails = one.enabled && one.failing ? `failing: ${one.failing}${ago(status, one.failed_at)}` : "";
    const off = one.enabled && !one.why ? "" : `${one.enabled ? "on" : "off"}${one.why ? ` (${one.why})` : ""}`;
    const targets = one.targets ?? [];
    const up = targets.filter((target) => target.state === "up").length;
    const out = one.enabled && up < targets.length ? `targets: ${up} of ${targets.length} up` : "";
    say(why, [off, fails, out].filter(Boolean).join("; "));
    why.className = fails || out ? "fine bad" : "fine";
    COLUMNS.forEach((name, number) => {
      const [value, now, reasons] = row.children[number + 1].children;
      const counted = samples.NUMBERS.includes(name) && name !== "connections";
      const grows = counted ? samples.rate(before, last, one.service, name) : null;
      say(value, amount(name, one[name] ?? one.counters[name] ?? 0));
      say(now, grows ? perSecond(name, grows) : "");
      const found = Object.entries(one.counters[REASONS[name]] ?? {}).sort((a, b) => b[1] - a[1]);
      say(reasons, found.map(([reason, count]) => `${reason.replaceAll("_", " ")} ${short.format(count)}`).join(", "));
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
  pages = new Set(status.services.filter((one) => one.type === "metrics").map((one) => one.service));
  const names = ["", ...rows.keys()];
  if (names.length !== chosen.length || names.some((name, place) => chosen.options[place].value !== name)) {
    const was = chosen.value;
    chosen.replaceChildren(...names.map((name) => new Option(name || ALL, name)));
    chosen.value = names.includes(was) ? was : "";
  }
}

// The plots.

const axisText = (name, value) => (name.endsWith("_bytes") ? bytes(value) : short.format(value));

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
          // From the start of netd: ten minutes are mostly empty at first.
          x: { range: (_, first, last) => [Math.max(last - samples.MINUTES * 60, Math.min(first, last - 60)), last] },
          y: { range: (_, __, most) => [0, Math.max(1, (most ?? 0) * 1.1)] },
        },
        axes: [
          { ...axis, space: 60, size: 28, values: (_, times) => times.map((time) => timeOfDay(new Date(time * 1000), "short")) },
          { ...axis, space: 30, size: 52, values: (_, values) => values.map((value) => axisText(lines[0].name, value)) },
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

// Above a plot: the values under the cursor, and above all plots the time of them; or the last values.
function showValues(plot, lines, caption) {
  const times = plot.data[0];
  const under = plot.cursor.idx;
  const place = under ?? times.length - 1;
  say(byId("time"), under === null || under === undefined ? "" : timeOfDay(new Date(times[under] * 1000), "medium"));
  lines.forEach(({ name, word }, number) => {
    const value = plot.data[number + 1][place] ?? null;
    const told = name === "connections" ? value : perSecond(name, value);
    say(caption.children[number], `${word} ${value === null ? "unknown" : told}`);
  });
}

function showPlots() {
  for (const { plot, lines, caption } of plots) {
    plot.setData(samples.columns(known, byId("chosen").value, lines.map((line) => line.name), pages));
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

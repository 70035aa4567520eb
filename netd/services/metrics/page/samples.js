// Samples of the counters in the last minutes, and rates from them. Values in, values out: no page, no clock.
//
// A sample is {time, run, services}: seconds in Unix time, the run of netd, and for each service its numbers by name,
// as in netd's history. Within a run all numbers but `connections` only grow.

export const MINUTES = 10;
export const WINDOW = 8; // seconds over which a rate is taken, everywhere on the page
export const NUMBERS = ["requests", "connections", "refused", "dropped", "received_bytes", "sent_bytes"];

// The numbers in a status: octets are among the counters.
const numbersOf = (one) => Object.fromEntries(NUMBERS.map((name) => [name, one[name] ?? one.counters?.[name] ?? 0]));

// The sample in a response of status.json.
export function ofStatus(status) {
  const services = new Map();
  for (const one of status.services) {
    services.set(one.service, numbersOf(one));
  }
  return { time: status.started + status.uptime_seconds, run: status.run, services };
}

// The samples in a response of history.json, of this run.
export function ofHistory(history, run) {
  return history.times.map((time, place) => {
    const services = new Map();
    for (const [service, rows] of Object.entries(history.services)) {
      if (rows.requests[place] !== null) {
        services.set(service, Object.fromEntries(NUMBERS.map((name) => [name, rows[name]?.[place] ?? 0])));
      }
    }
    return { time, run, services };
  });
}

// Known samples and new ones, in order, no older than the plots show. The new ones replace known ones of the same time
// and of the second before: a shorter interval is too short for a rate.
export function joined(known, come) {
  if (come.length === 0) return known;
  const first = come[0].time;
  const last = come[come.length - 1].time;
  return [...known.filter((one) => one.time < first - 1), ...come].filter((one) => one.time > last - MINUTES * 60 - 10);
}

// The services that are meant: one, or for "" all but those in `left`, a Set.
function* meant(sample, service, left) {
  for (const entry of sample.services) {
    if (service === "" ? !left.has(entry[0]) : service === entry[0]) yield entry;
  }
}

// The growth a second of a number of a service (or of all, for "", but those in `left`) between two samples; null if it
// is unknown: another run of netd, a service that is not in both, or counters that started again.
export function rate(before, after, service, name, left = new Set()) {
  const seconds = after.time - before.time;
  if (before.run !== after.run || seconds <= 0) return null;
  let grown = null;
  for (const [one, numbers] of meant(after, service, left)) {
    const old = before.services.get(one);
    if (old && numbers[name] >= old[name]) grown = (grown ?? 0) + numbers[name] - old[name];
  }
  return grown === null ? null : grown / seconds;
}

// A number of a service, or the sum of all for "" but those in `left`; null if the service is not in the sample.
export function level(sample, service, name, left = new Set()) {
  let sum = service === "" ? 0 : null;
  for (const [, numbers] of meant(sample, service, left)) sum += numbers[name];
  return sum;
}

// The sample to compare the one at `place` with for its rate: of the same run, and `WINDOW` older, or the oldest one.
export function reference(samples, place) {
  const last = samples[place];
  let found = last;
  for (let one = place - 1; one >= 0 && samples[one].run === last.run; one -= 1) {
    found = samples[one];
    if (found.time <= last.time - WINDOW) break;
  }
  return found;
}

// The columns of a plot: the times, and the values of each name. Between two runs there is a gap.
export function columns(samples, service, names, left = new Set()) {
  const times = [];
  const values = names.map(() => []);
  samples.forEach((sample, place) => {
    const last = samples[place - 1];
    if (last && last.run !== sample.run) {
      times.push((last.time + sample.time) / 2);
      for (const column of values) column.push(null);
    }
    times.push(sample.time);
    const before = reference(samples, place);
    names.forEach((name, number) => {
      const counts = name !== "connections";
      values[number].push(counts ? rate(before, sample, service, name, left) : level(sample, service, name, left));
    });
  });
  return [times, ...values];
}

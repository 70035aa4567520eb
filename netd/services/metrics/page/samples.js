// Samples of the counters in the last minutes, and rates from them. Values in, values out: no page, no clock.
//
// A sample is {time, run, services}: seconds in Unix time, the run of netd, and for each service its numbers by name,
// as in netd's history. Within a run all numbers but `connections` only grow.

export const MINUTES = 10;
export const NUMBERS = ["requests", "connections", "refused", "dropped"];

// The sample in a response of status.json.
export function ofStatus(status) {
  const services = new Map();
  for (const one of status.services) {
    services.set(one.service, Object.fromEntries(NUMBERS.map((name) => [name, one[name]])));
  }
  return { time: status.started + status.uptime_seconds, run: status.run, services };
}

// The samples in a response of history.json, of this run.
export function ofHistory(history, run) {
  return history.times.map((time, place) => {
    const services = new Map();
    for (const [service, rows] of Object.entries(history.services)) {
      if (rows.requests[place] !== null) {
        services.set(service, Object.fromEntries(NUMBERS.map((name) => [name, rows[name][place]])));
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

// The growth a second of a number of a service (or of all, for "") between two samples; null if it is unknown: another
// run of netd, a service that is not in both, or counters that started again.
export function rate(before, after, service, name) {
  const seconds = after.time - before.time;
  if (before.run !== after.run || seconds <= 0) return null;
  let grown = null;
  for (const [one, numbers] of after.services) {
    const old = before.services.get(one);
    if ((service === "" || one === service) && old && numbers[name] >= old[name]) {
      grown = (grown ?? 0) + numbers[name] - old[name];
    }
  }
  return grown === null ? null : grown / seconds;
}

// A number of a service, or the sum of all for ""; null if the service is not in the sample.
export function level(sample, service, name) {
  if (service !== "") return sample.services.get(service)?.[name] ?? null;
  let sum = 0;
  for (const numbers of sample.services.values()) sum += numbers[name];
  return sum;
}

// The columns of a plot: the times, and the values of each name. Between two runs there is a gap.
export function columns(samples, service, names) {
  const times = [];
  const values = names.map(() => []);
  samples.forEach((sample, place) => {
    const before = samples[place - 1];
    if (before && before.run !== sample.run) {
      times.push((before.time + sample.time) / 2);
      for (const column of values) column.push(null);
    }
    times.push(sample.time);
    names.forEach((name, number) => {
      let value = null;
      if (name === "connections") value = level(sample, service, name);
      else if (before) value = rate(before, sample, service, name);
      values[number].push(value);
    });
  });
  return [times, ...values];
}

// The sample to compare the last one with for the current rate: some seconds old, which averages it.
export function reference(samples, seconds) {
  const last = samples[samples.length - 1];
  const old = samples.findLast((one) => one.run === last.run && one.time <= last.time - seconds);
  return old ?? samples.find((one) => one.run === last.run);
}

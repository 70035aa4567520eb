// What was seen of the counters in the last minutes, and what follows from it. Values in, values out: no page, no clock.
//
// A sample is {time, run, services}: seconds in Unix time, which run of netd it is of, and for each service its numbers
// by name, as netd's history has them. Numbers only grow within a run, but for `connections`.

export const MINUTES = 10;
export const NUMBERS = ["answered", "connections", "refused", "dropped"];

// The sample in an answer of status.json.
export function ofStatus(status) {
  const services = new Map();
  for (const one of status.services) {
    services.set(one.service, Object.fromEntries(NUMBERS.map((name) => [name, one[name]])));
  }
  return { time: status.started + status.seconds, run: status.started, services };
}

// The samples in an answer of history.json, of this run.
export function ofHistory(history, run) {
  return history.times.map((time, place) => {
    const services = new Map();
    for (const [service, rows] of Object.entries(history.services)) {
      if (rows.answered[place] !== null) {
        services.set(service, Object.fromEntries(NUMBERS.map((name) => [name, rows[name][place]])));
      }
    }
    return { time, run, services };
  });
}

// What is known so far and what has come: in order, no older than the plots show. Where both know, what has come counts,
// and so it does for the second before: what happens in less is too little to tell how much it is a second.
export function joined(known, come) {
  if (come.length === 0) return known;
  const first = come[0].time;
  const last = come[come.length - 1].time;
  return [...known.filter((one) => one.time < first - 1), ...come].filter((one) => one.time > last - MINUTES * 60 - 10);
}

// How much a number of a service (or of all, for "") grew a second between two samples; null where nobody can say:
// another run of netd, a service that was not there, or counters that began anew.
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

// A number of a service, or of all together for "", as it stood; null where the service was not there.
export function level(sample, service, name) {
  if (service !== "") return sample.services.get(service)?.[name] ?? null;
  let sum = 0;
  for (const numbers of sample.services.values()) sum += numbers[name];
  return sum;
}

// What a plot draws: the times, and for each of the names what it was then. Between two runs there is a gap.
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

// The sample to compare the last one with for what happens now: some seconds old, so that numbers are calm.
export function reference(samples, seconds) {
  const last = samples[samples.length - 1];
  const old = samples.findLast((one) => one.run === last.run && one.time <= last.time - seconds);
  return old ?? samples.find((one) => one.run === last.run);
}

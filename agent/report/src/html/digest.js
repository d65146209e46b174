// What the overview and the sums need of each thread, worked out once: the state that it was in most, window by
// window, and its share in the sums of its process. A thousand threads over an hour take a second, so it is
// done bit by bit while the page can be used already; what is in sight comes first.

const NOWHERE = 255;

function makeDigest() {
  const most = new Array(timeline.threads.length).fill(null);
  const sums = new Map();
  let done = 0;
  let busy = null;

  function sumOf(pid) {
    if (!sums.has(pid)) sums.set(pid, STATES.map(() => ({ first: 0, values: new Float64Array(timeline.size) })));
    return sums.get(pid);
  }

  // The state of each window that took most of it, for one thread.
  function of(index) {
    if (most[index]) return most[index];
    const thread = timeline.threads[index];
    const columns = STATES.map((state) => stateColumn(thread, state));
    const sum = sumOf(thread.pid);
    const states = new Uint8Array(timeline.size).fill(NOWHERE);
    const first = columns[0].first;
    const until = first + Math.max(...columns.map((one) => one.values.length));
    for (let window = first; window < until; window++) {
      let best = 0;
      for (let state = 0; state < STATES.length; state++) {
        const value = columns[state].values[window - first];
        if (!(value > 0)) continue;
        sum[state].values[window] += value;
        if (value > best) { best = value; states[window] = state; }
      }
    }
    most[index] = states;
    done++;
    return most[index];
  }

  // Works on all of them; calls `step` now and then, and when all are done.
  function all(step) {
    let next = 0;
    let told = performance.now();
    busy = () => {
      const until = performance.now() + 24;
      while (next < most.length && performance.now() < until) of(next++);
      if (next < most.length) setTimeout(busy, 0);
      if (next >= most.length || performance.now() - told > 400) { told = performance.now(); step(next >= most.length); }
    };
    setTimeout(busy, 0);
  }

  return { of, all, sum: (pid) => sumOf(pid), get done() { return done; }, get size() { return most.length; } };
}

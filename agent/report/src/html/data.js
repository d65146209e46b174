// The report as it lies in the page. Everything is as in report.json, but for the columns of the timeline:
// each is one string, `1.5,0*58,null`: values by commas, `*n` behind one that stands n times. A column is
// unpacked when it is drawn: an hour of a thousand threads is thirty million numbers.

const report = JSON.parse(document.getElementById('report').textContent);
const pictures = JSON.parse(document.getElementById('pictures').textContent);

const list = (value) => (Array.isArray(value) ? value : []);

// The values of a packed column, `length` at the most; NaN where there is none.
function unpack(packed, length) {
  if (Array.isArray(packed)) return Float64Array.from(packed.slice(0, length), (value) => (value === null ? NaN : value));
  if (typeof packed !== 'string' || packed === '') return new Float64Array(0);
  const values = new Float64Array(length);
  let at = 0;
  let place = 0;
  while (place < packed.length && at < length) {
    // Up to fifteen digits and a point are exact as an integer by a power of ten; anything else is for the
    // language's own reader, which is slower.
    let [value, scale, point] = [0, 1, false];
    const from = place;
    let code = packed.charCodeAt(place);
    while ((code >= 48 && code <= 57) || (code === 46 && !point)) {
      if (code === 46) point = true;
      else {
        value = value * 10 + code - 48;
        if (point) scale *= 10;
      }
      code = packed.charCodeAt(++place);
    }
    // What ends a number: a comma, a star, or the end of the text, whose code is NaN.
    const ended = code === 44 || code === 42 || Number.isNaN(code);
    if (ended && place - from <= 15) value /= scale;
    else {
      while (place < packed.length && code !== 44 && code !== 42) code = packed.charCodeAt(++place);
      const text = packed.slice(from, place);
      value = text === 'null' ? NaN : Number(text);
    }
    let times = 1;
    if (code === 42) {
      times = 0;
      while (++place < packed.length && (code = packed.charCodeAt(place)) !== 44) times = times * 10 + code - 48;
    }
    const until = Math.min(length, at + times);
    while (at < until) values[at++] = value;
    place++;
  }
  return values.subarray(0, at);
}

// The windows of the timeline and what was seen in them; null when the report has none.
function readTimeline(timeline) {
  if (!timeline) return null;
  const most = 1 << 24;
  const start = unpack(timeline.start_s, most);
  const length = unpack(timeline.length_s, most);
  const size = Math.min(start.length, length.length);
  if (size === 0) return null;
  return {
    size, start, length,
    begin: start[0], end: start[size - 1] + length[size - 1],
    windowS: timeline.window_s, coarsened: timeline.coarsened_windows || 0,
    threads: list(timeline.threads), sockets: list(timeline.sockets), processes: list(timeline.processes),
    // The window that holds this moment.
    at(moment) {
      let [low, high] = [0, size - 1];
      while (low < high) {
        const middle = (low + high + 1) >> 1;
        if (start[middle] <= moment) low = middle; else high = middle - 1;
      }
      return low;
    },
  };
}

const timeline = readTimeline(report.timeline);

// A column of a series, unpacked: `values[i]` belongs to window `first + i`.
function column(series, name, group) {
  const from = Math.max(0, Math.min(timeline.size, Number(series.first) || 0));
  const packed = group ? (series[group] || {})[name] : series[name];
  return { first: from, values: unpack(packed, timeline.size - from) };
}

// Its value in a window; NaN where it was not there.
function valueAt(one, window) {
  const place = window - one.first;
  return place >= 0 && place < one.values.length ? one.values[place] : NaN;
}

// What a thread can be doing, from the bottom of a stacked area to its top; the colours are in the style.
const STATES = [
  { key: 'on_cpu', label: 'on CPU', note: 'on a CPU' },
  { key: 'run_queue', label: 'run queue', note: 'ready to run, waiting for a CPU' },
  { key: 'lock', label: 'lock', note: 'in a futex: a lock, a condition variable, a semaphore' },
  { key: 'socket', label: 'socket', note: 'for bytes from a socket, or room in one' },
  { key: 'disk', label: 'disk', note: 'for storage' },
  { key: 'other', label: 'other', note: 'for anything else' },
  { key: 'lock_idle', label: 'lock, idle', note: 'in a futex, by a worker that waits for work most of that time: inferred' },
  { key: 'sleep', label: 'sleep', note: 'for time to pass, or a signal' },
  { key: 'event_wait', label: 'event wait', note: 'in epoll, poll or select' },
];

const REASONS = {
  futex: 'lock', epoll: 'event_wait', poll: 'event_wait', sleep: 'sleep', 'signal wait': 'sleep', disk: 'disk', 'file read': 'disk',
  'file write': 'disk', 'socket receive': 'socket', 'socket send': 'socket', 'socket accept': 'socket',
  'socket connect': 'socket',
};

// Threads whose waits in a futex are mostly their normal idle, by the report's own inference.
const idleWorkers = new Set(list(report.threads).filter((thread) => {
  const lock = list(thread.blocked).find((one) => one.reason === 'futex');
  return lock && lock.idle_ns * 2 > lock.total_ns;
}).map((thread) => `${thread.pid} ${thread.tid}`));

// A thread's share of each window in a state.
function stateColumn(thread, { key }) {
  const idle = key === 'lock_idle';
  if (idle || key === 'lock') {
    if (idleWorkers.has(`${thread.pid} ${thread.tid}`) !== idle) return { first: 0, values: new Float64Array(0) };
    return column(thread, 'lock_pct');
  }
  return column(thread, `${key}_pct`);
}

// The state that a reason of a wait belongs to.
const stateOf = (reason) => (Object.hasOwn(REASONS, reason) ? REASONS[reason] : 'other');

// A colour of the style, as it is in the theme of now.
const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim() || '#888';

const processes = new Map(list(report.targets).map((target) => [target.pid, target.comm]));
const processName = (pid) => (processes.has(pid) ? `${plain(processes.get(pid))} (${pid})` : `process ${pid}`);

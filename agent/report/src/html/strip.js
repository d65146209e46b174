// A finding's piece of the timeline: what it is about, by time, with the moment from which on it was so. Drawn by
// the plots' own code on an axis of its own; a click leads to the timeline at that moment.

// Findings that have one, and tracks of each.
const STRIPS = 20;
const TRACKS = 4;
const TRACK = 62;

function strip(one, lead) {
  const tracks = timeline ? tracksOf(one).slice(0, TRACKS) : [];
  if (!tracks.length) return null;
  const axis = makeAxis();
  const begin = beginning(one);
  const known = begin !== null;
  const inside = isInside(one, begin);
  if (inside) {
    // Not all of an hour for what began a minute ago.
    const before = Math.max(2 * (timeline.end - begin), 30 * (timeline.windowS || 1));
    axis.show(begin - before, timeline.end);
  }
  const go = () => lead(tracks[0], inside ? begin : timeline.begin, inside ? axis.from : timeline.begin);
  const box = el('div', { className: 'strip', role: 'button', tabindex: 0, title: 'show in the timeline', 'data-began': known ? begin : null, onclick: go,
    onkeydown: (event) => { if (event.key === 'Enter' || event.key === ' ') { event.preventDefault(); go(); } } });
  box.append(el('div', { className: 'since' }, el('b', null, sinceWords(one, begin)), legendOf(tracks)));
  const redraws = tracks.map((track, index) => {
    const canvas = el('canvas', { style: { height: `${TRACK}px` } });
    const sick = known ? el('div', { className: inside ? 'sick begins' : 'sick' }) : null;
    const area = el('div', { className: 'plot', role: 'img', 'aria-label': `${track.name}, ${track.what}` }, canvas, sick,
      el('div', { className: 'whose', title: `${track.name}, ${track.what}` }, el('b', null, track.name), el('small', null, track.what)));
    // Times stand under the last one only.
    area.style.height = `${index === tracks.length - 1 ? TRACK : TRACK - AXIS + 6}px`;
    box.append(area);
    return () => {
      paint(canvas, axis, TRACK, track.layers, track);
      if (!sick) return;
      const left = Math.max(0, Math.min(axis.width, axis.x(begin)));
      Object.assign(sick.style, { left: `${GUTTER + left}px`, width: `${Math.max(1, axis.width - left)}px`, height: `${TRACK - AXIS}px` });
    };
  });
  axis.listen({ view: () => redraws.forEach((redraw) => redraw()) });
  new ResizeObserver(() => axis.resize(box.querySelector('.plot').clientWidth - GUTTER)).observe(box);
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => axis.changed());
  return box;
}

// The moment from which on it is so, in seconds of the capture; before its start, less than nothing.
function beginning({ since_s: since }) {
  return typeof since === 'number' ? ((report.capture || {}).duration_s || timeline.end) - since : null;
}

// Whether it began in sight. What is known to have lasted for all of the capture at the least did not.
const isInside = ({ since_is_lower_bound: atLeast }, begin) => begin !== null && begin > timeline.begin + (atLeast ? timeline.length[0] : 0);

function sinceWords(one, begin) {
  if (begin === null) return 'in this capture';
  const { since_s: since, since_is_lower_bound: atLeast } = one;
  if (!isInside(one, begin)) return `◂ began before the capture: ${atLeast ? 'at least ' : ''}${duration(since)} before its end`;
  const wall = moment((report.capture || {}).started_unix_s + begin).slice(11);
  return `since ${clock(Math.round(begin * 10) / 10)}${wall ? ` (${wall})` : ''}, ${duration(since)} before the end${atLeast ? ', or longer' : ''}`;
}

// What there is to draw of a finding: threads first, then sockets, memory, files.
function tracksOf(one) {
  const subjects = [...list(one.about), ...list(one.because_of)];
  const locks = subjects.filter((subject) => subject.kind === 'lock').flatMap((subject) => list(report.locks).filter((lock) => lock.pid === subject.pid && sameAddress(lock.address, subject.address)));
  const tids = [one.tid, ...subjects.map((subject) => (subject.kind === 'thread' ? subject.tid : null)),
    ...locks.flatMap((lock) => [lock.owner && lock.owner.tid, ...list(lock.waiters).map((waiter) => waiter.tid ?? waiter)])];
  const threads = [...new Set(tids)].map((tid) => timeline.threads.find((thread) => tid && thread.tid === tid)).filter(Boolean);
  const inodes = [...new Set(subjects.filter((subject) => subject.kind === 'socket').map((subject) => subject.inode))];
  const sockets = inodes.map((inode) => timeline.sockets.find((socket) => socket.inode === inode)).filter(Boolean);
  const pids = (kind) => [...new Set(subjects.filter((subject) => subject.kind === kind).map((subject) => subject.pid))];
  const owners = (kind) => pids(kind).map((pid) => timeline.processes.find((process) => process.pid === pid)).filter(Boolean);
  const whole = pids('process').map((pid) => mainThread(pid)).filter((thread) => thread && !threads.includes(thread));
  const tracks = [...threads.slice(0, 3).map(threadTrack), ...sockets.slice(0, 2).map((socket) => socketTrack(socket, one.kind)),
    ...owners('memory').map(memoryTrack), ...owners('files').map(filesTrack), ...owners('threads').map(threadsTrack), ...whole.slice(0, 1).map(threadTrack)];
  if (tracks.length) return tracks;
  const main = mainThread(one.pid);
  return main ? [threadTrack(main)] : [];
}

const sameAddress = (left, right) => { try { return BigInt(left) === BigInt(right); } catch { return false; } };

const mainThread = (pid) => timeline.threads.find((thread) => thread.pid === pid && thread.tid === pid) || timeline.threads.find((thread) => thread.pid === pid);

const isThere = ({ values }) => values.some((value) => value > 0);

function threadTrack(thread) {
  const layers = STATES.map((state) => ({ key: state.key, label: state.label, colour: `s-${state.key}`, column: stateColumn(thread, state) }));
  return { pid: thread.pid, tid: thread.tid, name: plain(thread.comm), what: `thread ${thread.tid}`, stacked: true, top: () => 100, show: percent, layers: layers.filter((layer) => isThere(layer.column)) };
}

function socketTrack(socket, kind) {
  const queues = ['receive', 'send'].map((which, index) => ({ key: which, label: `${which} queue`, colour: `q-${index}`, column: column(socket, `${which}_queue_bytes`) }));
  const wanted = kind === 'peer_not_consuming' ? 1 : 0;
  const queue = isThere(queues[wanted].column) ? queues[wanted] : queues[1 - wanted];
  return { pid: socket.pid, name: `fd ${socket.fd}, ${queue.key === 'receive' ? 'unread' : 'unsent'}`, what: plain(socketName(socket)).replace(/^fd \d+ /, ''), stacked: false, peaks: true, binary: true, show: bytes, layers: [queue] };
}

function memoryTrack(process) {
  const layers = ['anon', 'swap', 'shmem', 'file'].map((key) => ({ key, label: key, colour: `m-${key}`, column: column(process, `${key}_bytes`) }));
  return { pid: process.pid, name: plain(process.comm), what: `memory of ${process.pid}`, stacked: true, binary: true, show: bytes, layers: layers.filter((layer) => isThere(layer.column)) };
}

function filesTrack(process) {
  return { pid: process.pid, name: plain(process.comm), what: `files of ${process.pid}`, stacked: true, show: (value) => count(Math.round(value)), layers: [{ key: 'files', label: 'open', colour: 'm-anon', column: column(process, 'open_files') }] };
}

function threadsTrack(process) {
  return { pid: process.pid, name: plain(process.comm), what: `threads of ${process.pid}`, stacked: true, show: (value) => count(Math.round(value)), layers: [{ key: 'threads', label: 'threads', colour: 'm-anon', column: column(process, 'threads') }] };
}

// What occurs in the tracks, once each.
function legendOf(tracks) {
  const seen = new Map(tracks.flatMap((track) => track.layers).map((layer) => [layer.label, layer.colour]));
  return [...seen].map(([label, shade]) => el('span', null, el('i', { style: { background: `var(--${shade})` } }), label));
}

// The timeline: what threads, queues, memory and loops did, window by window, over one axis of time.

// Sockets that have a colour of their own; the others are one layer.
const SOCKETS_SHOWN = 7;

function timelineSection(parent) {
  const axis = makeAxis();
  const digest = makeDigest();
  const busiest = threadsByCpu();
  const state = { thread: busiest.length ? busiest[0] : -1, pid: 0, sum: false, order: null, queue: 'receive' };
  state.pid = state.thread >= 0 ? timeline.threads[state.thread].pid : (timeline.processes[0] || {}).pid;
  state.order = busiest;

  const box = el('div', { className: 'chart', id: 'timeline-chart' });
  const span = el('span', { className: 'soft', id: 'timeline-span' });
  const pick = picker(state, busiest, () => changed(true));
  const filter = el('input', { type: 'search', placeholder: 'filter threads', 'aria-label': 'filter threads of the timeline', id: 'filter-timeline' });
  const sort = el('select', { 'aria-label': 'order of threads', id: 'timeline-order' },
    ['busiest first', 'by thread id', 'by name'].map((name, index) => el('option', { value: index }, name)));
  const zoom = (name, title, factor) => el('button', { type: 'button', title, 'aria-label': title, onclick: () => {
    const middle = axis.cursor >= 0 ? timeline.start[axis.cursor] : (axis.from + axis.to) / 2;
    const half = factor ? ((axis.to - axis.from) * factor) / 2 : Infinity;
    if (factor) axis.show(middle - half, middle + half); else axis.show(timeline.begin, timeline.end);
  } }, name);
  const note = el('span', null);
  const windows = `windows of ${duration(timeline.windowS || 1).replace(/\.0+ /, ' ')}${timeline.coarsened ? `; ${count(timeline.coarsened)} of them merged into longer ones` : ''}`;
  parent.append(el('div', { className: 'bar' }, pick.node, timeline.threads.length > 8 ? [filter, sort] : null,
    el('span', { className: 'fill' }), span, zoom('+', 'zoom in', 0.5), zoom('−', 'zoom out', 2), zoom('all', 'show all of the capture', 0)), box);

  const cached = new Map();
  // Columns of what is chosen are unpacked once.
  const kept = (key, make) => { if (!cached.has(key)) cached.set(key, make()); return cached.get(key); };

  const plots = [];
  let lanes = null;
  if (timeline.threads.length) {
    plots.push(plot(box, axis, {
      title: 'Thread state', unit: '%', height: 186, note,
      // A sum counts threads: a hundred percent is one.
      show: (value) => (state.sum ? count(Number((value / 100).toFixed(2))) : percent(value)),
      layers: () => stateLayers(state, digest, kept), top: () => (state.sum ? 0 : 100),
    }));
    if (timeline.threads.length > 1) {
      lanes = overview(box, axis, digest, {
        order: () => state.order, chosen: () => (state.sum ? -1 : state.thread),
        choose(index) { state.thread = index; state.sum = false; state.pid = timeline.threads[index].pid; pick.show(); changed(false); },
      });
    }
  }
  plots.push(...morePlots(box, axis, state, kept));

  function changed(reveal) {
    cached.clear();
    note.textContent = state.sum ? `threads in each state; ${windows}` : `of one thread; ${windows}`;
    for (const one of plots) { one.heading.parentNode.hidden = one.absent ? one.absent() : false; if (!one.heading.parentNode.hidden) one.redraw(); }
    if (lanes) { lanes.draw(); if (reveal) lanes.home(); }
  }
  function arrange() {
    const wanted = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
    const name = (index) => `${plain(timeline.threads[index].comm)} ${timeline.threads[index].tid} ${timeline.threads[index].pid}`.toLowerCase();
    const orders = [() => 0, (a, b) => timeline.threads[a].tid - timeline.threads[b].tid, (a, b) => compare(name(a), name(b))];
    state.order = busiest.filter((index) => wanted.every((word) => name(index).includes(word))).sort(orders[Number(sort.value)]);
    if (lanes) lanes.home();
  }
  filter.addEventListener('input', arrange);
  sort.addEventListener('change', arrange);
  axis.listen({ view() {
    span.textContent = `${clock(axis.from)} to ${clock(axis.to)}`;
    span.title = `${moment(report.capture.started_unix_s + axis.from)} to ${moment(report.capture.started_unix_s + axis.to)}`;
  } });

  const width = () => { const area = box.querySelector('.plot'); if (area) axis.resize(area.clientWidth - GUTTER); };
  new ResizeObserver(width).observe(box);
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => axis.changed());
  width();
  changed(false);
  digest.all((all) => {
    if (state.sum) plots[0].redraw();
    if (all) box.dataset.digested = digest.done;
  });
  function choose(pid, tid) {
    const index = timeline.threads.findIndex((one) => one.pid === pid && one.tid === tid);
    if (index >= 0) { Object.assign(state, { thread: index, pid, sum: false }); pick.show(); changed(false); }
  }
  return {
    choose,
    // Shows a thread, or a process, from one moment to the end, with the cursor on another.
    lead({ pid, tid }, at, from) {
      if (tid) choose(pid, tid);
      else { Object.assign(state, { pid, sum: true }); pick.show(); changed(false); }
      axis.show(from, timeline.end);
      axis.point(timeline.at(at));
      parent.scrollIntoView({ behavior: 'smooth' });
    },
  };
}

// Threads by their time on a CPU, as the report's own totals have it.
function threadsByCpu() {
  const totals = new Map(list(report.threads).map((one) => [`${one.pid} ${one.tid}`, one.on_cpu_ns]));
  const total = (index) => totals.get(`${timeline.threads[index].pid} ${timeline.threads[index].tid}`) || 0;
  return timeline.threads.map((_, index) => index).sort((a, b) => total(b) - total(a) || a - b);
}

// Whose time is shown: one thread, or the sum of a process.
function picker(state, busiest, changed) {
  const pids = [...new Set([...timeline.threads, ...timeline.processes, ...timeline.sockets].map((one) => one.pid))];
  const options = [
    ...(timeline.threads.length ? pids.map((pid) => el('option', { value: `p${pid}` }, `${processName(pid)}: sum of its threads`)) : pids.map((pid) => el('option', { value: `p${pid}` }, processName(pid)))),
    ...busiest.map((index) => el('option', { value: `t${index}` }, `${plain(timeline.threads[index].comm)} ${timeline.threads[index].tid}`)),
  ];
  const select = el('select', { id: 'timeline-of' }, options);
  const node = el('label', null, 'show', select);
  const show = () => { select.value = state.sum || state.thread < 0 ? `p${state.pid}` : `t${state.thread}`; };
  select.addEventListener('change', () => {
    const id = Number(select.value.slice(1));
    state.sum = select.value.startsWith('p');
    if (state.sum) state.pid = id;
    else Object.assign(state, { thread: id, pid: timeline.threads[id].pid });
    changed();
  });
  show();
  return { node, show };
}

function stateLayers(state, digest, kept) {
  const sums = state.sum ? digest.sum(state.pid) : null;
  return STATES.map((one, index) => ({
    key: one.key, label: one.label, note: one.note, colour: `s-${one.key}`,
    column: sums ? sums[index] : kept(one.key, () => stateColumn(timeline.threads[state.thread], one)),
  }));
}

// Iterations of a loop, queues and memory: each is there where the report has it.
function morePlots(box, axis, state, kept) {
  const made = [];
  const add = (absent, options) => made.push(Object.assign(plot(box, axis, options), { absent }));
  const loopOf = () => (state.thread >= 0 && !state.sum ? timeline.threads[state.thread].loop : null);
  if (timeline.threads.some((thread) => thread.loop)) {
    const known = () => list(report.loops).find((loop) => state.thread >= 0 && loop.pid === state.pid && loop.tid === timeline.threads[state.thread].tid) || {};
    const about = el('span', null);
    add(() => !loopOf(), {
      title: 'Loop iterations', note: about, unit: 's', stacked: false,
      show: duration, empty: 'no iteration in view', height: 118,
      layers() {
        about.textContent = `busy time between two waits${known().mode === 'blocked' ? ', at most: polls that find something at once are not seen' : ''}; dashed: late`;
        return loopOf() ? [['max_s', 'longest', 'i-max'], ['p99_s', 'p99', 'i-p99'], ['p50_s', 'p50', 'i-p50']]
        .map(([key, label, shade]) => ({ key, label, colour: shade, column: kept(key, () => column(timeline.threads[state.thread], key, 'loop')) })) : [];
      },
      line: () => known().threshold_s || 0,
    });
  }
  if (timeline.sockets.length) {
    const turn = el('button', { type: 'button', id: 'timeline-queue', title: 'receive queues or send queues', onclick: () => {
      state.queue = state.queue === 'receive' ? 'send' : 'receive';
      turn.textContent = `show ${state.queue === 'receive' ? 'send' : 'receive'} queues`;
      kind.textContent = state.queue;
      made.find((one) => one.queues).redraw();
    } }, 'show send queues');
    const kind = el('span', null, 'receive');
    add(() => !timeline.sockets.some((socket) => socket.pid === state.pid), {
      title: 'Socket queues', note: el('span', null, kind, ' queues of the process, the deepest apart'), unit: 'bytes', extra: turn, peaks: true, binary: true,
      show: bytes, height: 160, empty: 'all queues empty', layers: () => queueLayers(state, kept),
    });
    made[made.length - 1].queues = true;
  }
  if (timeline.processes.length) {
    const process = () => timeline.processes.find((one) => one.pid === state.pid);
    add(() => !process(), {
      title: 'Memory', note: 'resident memory of the process by kind', unit: 'bytes', binary: true, show: bytes, height: 118,
      layers: () => (process() ? ['anon', 'file', 'shmem', 'swap'].map((key) => ({
        key, label: key, colour: `m-${key}`, column: kept(`m ${key}`, () => column(process(), `${key}_bytes`)) })) : []),
    });
  }
  return made;
}

// The deepest queues of the chosen process each for itself, the others as one.
function queueLayers(state, kept) {
  return kept(`queues ${state.queue}`, () => {
    const name = `${state.queue}_queue_bytes`;
    const all = timeline.sockets.filter((socket) => socket.pid === state.pid).map((socket) => {
      const one = column(socket, name);
      return { socket, column: one, peak: one.values.reduce((most, value) => (value > most ? value : most), 0) };
    }).filter((one) => one.peak > 0).sort((a, b) => b.peak - a.peak);
    const rest = { first: 0, values: new Float64Array(timeline.size) };
    for (const one of all.slice(SOCKETS_SHOWN)) {
      one.column.values.forEach((value, index) => { if (value > 0) rest.values[one.column.first + index] += value; });
    }
    const layers = all.slice(0, SOCKETS_SHOWN).map((one, index) => ({
      key: `${one.socket.fd} ${one.socket.inode}`, label: socketName(one.socket), colour: `q-${index}`, column: one.column }));
    if (all.length > SOCKETS_SHOWN) layers.push({ key: 'rest', label: plural(all.length - SOCKETS_SHOWN, 'other'), colour: 'q-rest', column: rest });
    return layers;
  });
}

function socketName(socket) {
  const known = list(report.sockets).find((one) => one.pid === socket.pid && one.fd === socket.fd && one.inode === socket.inode);
  return `fd ${socket.fd} ${(known && (known.peer || known.local)) || ''}`;
}

// The page from top to bottom. What the report does not have is not shown.

const page = document.getElementById('page');
const contents = el('nav', { 'aria-label': 'sections' });

// A part of the page with its entry in the contents.
function section(id, title, note, fill) {
  const part = el('section', { id }, el('h2', null, title, note ? el('small', null, note) : null));
  page.append(part);
  contents.append(el('a', { href: `#${id}` }, title));
  fill(part);
  return part;
}

function header() {
  const targets = list(report.targets);
  const { capture = {} } = report;
  const first = targets[0] ? processName(targets[0].pid) : 'no process';
  const title = targets.length > 1 ? `${first} and ${plural(targets.length - 1, 'other process', 'other processes')}` : first;
  document.title = `${title} · remora`;
  page.append(el('h1', { 'data-pid': targets[0] ? targets[0].pid : null }, title));
  const ends = { elapsed: '', interrupted: ' (interrupted)', targets_exited: ' (until its targets exited)' };
  const about = [
    `${duration(capture.duration_s || 0)} from ${moment(capture.started_unix_s || 0)}${ends[capture.end] ?? ''}`,
    targets.length === 1 && targets[0].exe ? plain(targets[0].exe) : null,
    targets.length === 1 && targets[0].python ? `Python ${plain(targets[0].python.version)}` : null,
    `kernel ${plain(capture.kernel)}`, `${count(capture.freq_hz || 0)} Hz`,
    `stacks of waits from ${duration((capture.min_block_ns || 0) / 1e9)}`, `remora ${plain(capture.agent_version)}`,
  ];
  page.append(el('p', { className: 'about', title: `${capture.duration_s} s from ${capture.started_unix_s} s since 1970` }, about.filter(Boolean).join(' · ')));
  const found = list(report.findings).length > 0;
  page.append(el('p', { className: found ? 'verdict found' : 'verdict', id: 'verdict' }, el('b', null, plain(report.verdict || '').replaceAll('_', ' ')), el('span', null, plain(report.verdict_note || ''))));
}

// A finding as the contract has it; members that are not known to this page are shown as they are.
function finding(one, drawn) {
  const { summary, kind, severity, confidence, next, evidence, pid, tid, thread, since_s: since, since_is_lower_bound: atLeast, incident, role, about, because_of: because, ...rest } = one;
  const follows = role === 'consequence';
  const place = [thread ? plain(thread) : null, tid || pid ? `${tid ?? pid}` : null].filter(Boolean).join(' ');
  const lasts = since === null || since === undefined ? null : `for ${atLeast ? '≥ ' : ''}${duration(since)}`;
  return el('div', { className: follows ? 'finding follows' : 'finding', 'data-kind': plain(kind || '') }, el('h3', null, `${follows ? 'effect: ' : ''}${plain(summary || kind || 'finding')}`),
    el('p', { className: 'soft' }, [...[kind, severity, confidence].filter(Boolean).map(plain), place, lasts].filter(Boolean).join(' · ')),
    evidence ? el('dl', null, list(evidence).flatMap((item) => [el('dt', { className: 'soft' }, plain(item.label || (item.what ?? ''))), el('dd', null, tree(item.value ?? null))])) : null,
    drawn,
    next ? el('p', null, el('b', null, 'Next: '), plain(next)) : null,
    Object.keys(rest).length ? el('details', null, el('summary', null, 'more'), tree(rest)) : null);
}

function figure(id, label, value, text, note, title) {
  return el('div', { className: 'figure', id: `figure-${id}` }, el('span', null, label),
    el('b', { 'data-value': value, title: title || exact(id, value) }, text), el('span', null, note || '\u00a0'));
}

const sum = (rows, key) => list(rows).reduce((all, row) => all + (row[key] || 0), 0);

function figures() {
  const box = el('div', { className: 'cards', id: 'figures' });
  const { stacks, overhead, capture } = report;
  const threads = list(report.threads);
  const losses = Object.values(report.loss || {});
  const kinds = losses.filter((value) => value > 0).length;
  const onCpu = sum(threads, 'on_cpu_ns');
  const length = (capture || {}).duration_s || 0;
  box.append(figure('on_cpu_ns', 'CPUs busy', onCpu, length ? (onCpu / 1e9 / length).toFixed(2) : '–', `${plural(threads.length, 'thread')} in ${plural(list(report.targets).length, 'process', 'processes')}`));
  if (list(report.loops).length) {
    const late = sum(report.loops, 'late');
    const worst = Math.max(0, ...list(report.loops).map((one) => one.max_s || 0));
    const most = list(report.loops).some((one) => one.mode === 'blocked') ? 'at the most; ' : '';
    box.append(figure('late', 'Late loop iterations', late, count(late), worst ? `${most}longest ${duration(worst)}` : ''));
  }
  if (list(report.sockets).length) {
    const unread = report.sockets.reduce((all, row) => all + (row.open === false ? 0 : depth('receive', 'bytes')(row) || 0), 0);
    box.append(figure('receive_queue_bytes', 'Unread in sockets', unread, bytes(unread), plural(report.sockets.length, 'socket')));
  }
  if (list(report.locks).length) {
    const waits = threads.flatMap((thread) => list(thread.blocked)).filter((one) => one.reason === 'futex');
    const time = waits.reduce((all, one) => all + one.total_ns - one.idle_ns, 0);
    box.append(figure('locks_ns', 'Blocked in locks', time, duration(time / 1e9), 'idle workers left out'));
  }
  if (list(report.memory).length) box.append(figure('growth_bytes', 'Memory growth', sum(report.memory, 'growth_bytes'), bytes(sum(report.memory, 'growth_bytes')), `to ${bytes(list(report.memory).reduce((all, one) => all + Object.values(one.end || {}).reduce((a, b) => a + b, 0), 0))}`));
  if (stacks) box.append(figure('complete_pct', 'Stacks complete', stacks.complete_pct, stacks.complete_pct === null ? '–' : percent(stacks.complete_pct), `of ${count(stacks.taken)} taken`));
  box.append(figure('loss', 'Lost', losses.reduce((all, one) => all + one, 0), count(losses.reduce((all, one) => all + one, 0)), kinds ? `in ${plural(kinds, 'kind')}, at the foot` : 'nothing'));
  if (overhead) {
    const cost = overhead.bpf_cpu_pct + overhead.agent_cpu_pct;
    box.append(figure('cost_pct', 'Cost of the capture', cost, finePercent(cost), `of a CPU · agent ${bytes(overhead.agent_rss_bytes)}`, `kernel side ${overhead.bpf_cpu_pct} %, agent ${overhead.agent_cpu_pct} % of one CPU`));
  }
  // Not one alone in a second row.
  const cards = box.children.length;
  box.style.setProperty('--across', cards > 6 ? Math.ceil(cards / 2) : cards);
  page.append(box);
}

function tables(chosen) {
  const simple = (id, title, note, columns, rows, sort, more) => {
    if (list(rows).length) section(id, title, note || count(rows.length), (part) => table(part, { name: id, columns, rows, sort, ...more }));
  };
  simple('threads', 'Threads', `${count(list(report.threads).length)}; choose a row for its stack and wakers`, threadColumns, report.threads, 'on_cpu_ns', { open: chosen, filter: list(report.threads).length > 5 });
  simple('loops', 'Event loops', null, loopColumns, report.loops, 'max_s');
  const { socket_counts: counts } = report;
  simple('sockets', 'Sockets', counts ? `${count(list(report.sockets).length)}; ${count(counts.opened)} opened, ${count(counts.closed)} closed during the capture` : null, socketColumns, report.sockets, 'receive_queue_bytes');
  simple('locks', 'Locks', null, lockColumns, report.locks, 'total_ns');
  if (list(report.memory).length) memory();
  const tasks = list(report.asyncio).flatMap((one) => list(one.tasks).map((task) => ({ pid: one.pid, ...task })));
  simple('tasks', 'Asyncio tasks', `${count(tasks.length)}, at the end`, taskColumns, tasks, null);
  if (list(report.targets).length > 1) simple('targets', 'Processes', null, targetColumns, report.targets, null);
  const signals = Object.entries(report.signals || {}).map(([key, one]) => ({ name: key, ...one }));
  simple('signals', 'Signals', 'which hook serves each', signalColumns, signals, null);
}

function memory() {
  section('memory', 'Memory', plural(report.memory.length, 'process', 'processes'), (part) => {
    table(part, { name: 'memory', columns: memoryColumns, rows: report.memory, sort: 'growth_bytes' });
    const inner = (key, title, columns, sort) => {
      const rows = report.memory.flatMap((one) => list(one[key]).map((row) => ({ pid: one.pid, ...row })));
      if (rows.length) { const box = el('div', { style: { marginTop: '16px' } }, el('h2', null, title)); part.append(box); table(box, { name: `memory-${key}`, columns, rows, sort }); }
    };
    inner('stacks', 'Growth by stack', growthColumns, 'bytes');
    inner('mappings', 'Growth by mapping', mappingColumns, 'change_bytes');
    const objects = list(report.python_objects).flatMap((one) => list(one.types).map((row) => ({ pid: one.pid, ...row })));
    if (objects.length) { const box = el('div', { style: { marginTop: '16px' } }, el('h2', null, 'Python objects by type')); part.append(box); table(box, { name: 'python-objects', columns: objectColumns, rows: objects, sort: 'growth' }); }
    const sizes = list(report.heap_sizes).flatMap((one) => list(one.sizes).map((row) => ({ pid: one.pid, ...row })));
    if (sizes.length) { const box = el('div', { style: { marginTop: '16px' } }, el('h2', null, 'Blocks of malloc by size')); part.append(box); table(box, { name: 'heap-sizes', columns: blockColumns, rows: sizes, sort: 'growth_bytes' }); }
  });
}

function hottest(part) {
  const two = el('div', { className: 'two', style: { marginTop: '18px' } });
  const half = (title, id, columns, rows, sort) => {
    if (!list(rows).length) return;
    const box = el('div', null, el('h2', null, title));
    two.append(box);
    table(box, { name: id, columns, rows, sort, filter: false });
  };
  half('Hottest stacks', 'top-on-cpu', onCpuColumns, (report.top || {}).on_cpu, 'samples');
  half('Longest waits', 'top-off-cpu', offCpuColumns, (report.top || {}).off_cpu, 'total_ns');
  part.append(two);
}

function foot() {
  const losses = Object.entries(report.loss || {}).map(([key, times]) => ({ name: key, count: times }));
  section('loss', 'Loss', 'data loss, by counter; docs/report-json.md explains each', (part) => {
    if (report.stacks && Object.keys(report.stacks.incomplete || {}).length) {
      part.append(el('p', null, 'incomplete stacks: ', Object.entries(report.stacks.incomplete).flatMap(([cause, times], index) => [index ? ', ' : '', el('span', { 'data-cause': cause, 'data-value': times }, `${plain(cause).replaceAll('_', ' ')} ${count(times)}`)])));
    }
    table(part, { name: 'loss', columns: lossColumns, rows: losses, sort: 'count' });
  });
  if (!report.overhead) return;
  section('overhead', 'Overhead', 'overhead of the capture itself', (part) => {
    const { programs, ...plainly } = report.overhead;
    part.append(el('div', { className: 'cards', style: { margin: '0 0 12px' } }, Object.entries(plainly).map(([key, value]) =>
      el('div', { className: 'figure', id: `overhead-${key}` }, el('span', null, words(key)), el('b', { 'data-value': value, title: exact(key, value), style: { fontSize: '17px' } }, key.endsWith('_pct') ? finePercent(value) : shown(key, value))))));
    if (list(programs).length) table(part, { name: 'programs', columns: programColumns, rows: programs, sort: 'run_ns' });
  });
}

function build() {
  header();
  let chart = null;
  const lead = (track, moment, from) => { if (chart) chart.lead(track, moment, from); };
  if (list(report.findings).length) {
    section('findings', 'Findings', count(report.findings.length), (part) =>
      part.append(...report.findings.map((one, index) => finding(one, index < STRIPS ? strip(one, lead) : null))));
  }
  figures();
  page.append(contents);
  if (timeline) section('timeline', 'Timeline', 'point for exact figures, drag to zoom, double-click for all', (part) => { chart = timelineSection(part); });
  if (Object.keys(pictures).length) section('flamegraphs', 'leak.svg' in pictures ? 'Flamegraphs and leaks' : 'Flamegraphs', null, (part) => { picturesSection(part); hottest(part); });
  tables((row) => chart && chart.choose(row.pid, row.tid));
  foot();
  page.dataset.ready = 'yes';
}

try {
  build();
} catch (error) {
  page.prepend(el('p', { className: 'fault' }, `This page could not be drawn (${plain(error)}). The figures are in report.json beside it.`));
  throw error;
}

// The tables: what their columns are.

const time = (key, head, more) => ({ key, head, unit: 'time', width: 92, ...more });
const size = (key, head, more) => ({ key, head, unit: 'size', width: 92, ...more });
const number = (key, head, more) => ({ key, head, unit: 'count', width: 78, ...more });
const name = (key, head, width, more) => ({ key, head, text: true, width, ...more });
const of = (group, key) => (row) => (row[group] ? row[group][key] : null);

// Whose it is, where there is more than one.
const processColumns = list(report.targets).length < 2 ? [] : [{ key: 'pid', head: 'process', unit: 'name (pid)', text: true, width: 140, value: (row) => row.pid,
  cell: (row) => processName(row.pid), title: (row) => processName(row.pid), find: (row) => processName(row.pid) }];
const tidColumn = { key: 'tid', head: 'tid', width: 66 };

const stackLine = (stack) => list(stack).map(plain).join(' ← ') || '–';
const stackColumn = (key, head, width) => ({ key, head, text: true, width, value: (row) => stackLine(row[key]),
  title: (row) => list(row[key]).map(plain).join('\n') });

// A time of a thread with its share of the thread's life.
function lifeTime(key, head, value, note) {
  return { key, head, unit: 'time · % of its life', width: 134, note, value,
    title: (row) => `${NUMBER.format(value(row))} ns of ${NUMBER.format(row.observed_ns)} ns`,
    cell: (row) => [duration(value(row) / 1e9), ' ', el('small', null, row.observed_ns ? percent((100 * value(row)) / row.observed_ns) : '')] };
}

const queued = (row) => (row.run_queue ? row.run_queue.after_wake_ns + row.run_queue.preempted_ns : 0);
const blockedBusy = (row) => list(row.blocked).reduce((sum, one) => sum + one.total_ns - one.idle_ns, 0);

// Where a thread's time went, as a bar; idle in the same colours, lighter.
function sharesOf(row) {
  const parts = [['on_cpu', row.on_cpu_ns, 'on CPU'], ['run_queue', queued(row), 'run queue']];
  for (const one of list(row.blocked)) parts.push([stateOf(one.reason), one.total_ns - one.idle_ns, one.reason]);
  // Event waits and locks have a colour of their own for what is idle.
  for (const one of list(row.blocked)) {
    const state = one.reason === 'futex' ? 'lock_idle' : stateOf(one.reason);
    parts.push([state, one.idle_ns, `${one.reason} (idle)`, state !== 'lock_idle' && state !== 'event_wait']);
  }
  const whole = Math.max(1, row.observed_ns);
  return el('div', { className: 'shares' }, parts.filter(([, value]) => value > 0).map(([state, value, label, idle]) =>
    el('i', { className: idle ? 'idle' : null, title: `${plain(label)}: ${duration(value / 1e9)}`,
      style: { width: `${(100 * value) / whole}%`, background: `var(--s-${state})` } })));
}

function blockedOf(row) {
  return list(row.blocked).flatMap((one, index) => [index ? ', ' : '', el('span', {
    'data-reason': one.reason, 'data-value': one.total_ns,
  }, `${plain(one.reason)} ${duration(one.total_ns / 1e9)}`)]);
}

const blockedTitle = (row) => list(row.blocked).map((one) =>
  `${plain(one.reason)}: ${NUMBER.format(one.total_ns)} ns in ${count(one.count)}, idle ${NUMBER.format(one.idle_ns)} ns`).join('\n');

const nowOf = ({ now }) => (now ? `${now.state === 'blocked' ? plain(now.reason || 'blocked') : now.state} ${now.since_inferred ? '~' : ''}${duration(now.since_s)}` : '–');

const threadColumns = [
  ...processColumns, tidColumn, name('comm', 'name', 128),
  { key: 'shares', head: 'its time', unit: 'light: idle', text: true, width: 124, value: (row) => (row.observed_ns ? row.on_cpu_ns / row.observed_ns : 0), cell: sharesOf, title: () => null, find: () => '' },
  lifeTime('on_cpu_ns', 'on CPU', (row) => row.on_cpu_ns),
  lifeTime('run_queue_ns', 'run queue', queued, 'ready to run, waiting for a CPU'),
  lifeTime('blocked_ns', 'blocked', blockedBusy, 'waiting, its normal idle left out'),
  { ...lifeTime('idle_ns', 'idle', (row) => row.idle_ns, '~: partly inferred'), unit: '~ partly inferred',
    cell: (row) => [`${row.idle_inferred ? '~' : ''}${duration(row.idle_ns / 1e9)}`, ' ', el('small', null, row.observed_ns ? percent((100 * row.idle_ns) / row.observed_ns) : '')] },
  number('migrations', 'moves', { note: 'moves to another CPU' }),
  { key: 'blocked', head: 'blocked in', unit: 'reason, time', text: true, width: 200, value: (row) => list(row.blocked).map((one) => one.reason).join(' '), cell: blockedOf, title: blockedTitle },
  { key: 'now', head: 'now', unit: 'state, since', text: true, width: 124, value: nowOf, title: (row) => (row.now ? stackLine(row.now.stack) : '') },
];

const loopColumns = [
  ...processColumns, tidColumn, name('comm', 'name', 120), name('kind', 'kind', 60), { key: 'epoll_fd', head: 'epoll', unit: 'fd', width: 60 }, name('mode', 'mode', 80),
  number('iterations', 'iterations'), number('late', 'late', { note: 'iterations over the threshold' }),
  time('threshold_s', 'threshold'), time('mean_s', 'mean'), time('p50_s', 'p50'), time('p95_s', 'p95'), time('p99_s', 'p99'), time('max_s', 'longest'),
  time('busy_now_s', 'busy now'), number('waits', 'waits'), time('blocked_ns', 'blocked'), time('busy_ns', 'busy'), number('events', 'events'), number('timeouts', 'timeouts'),
];

// A socket's queues and what TCP counts are objects of their own; a report may also have them flat.
const depth = (side, which) => (row) => (row[`${side}_queue`] ? row[`${side}_queue`][which] : which === 'bytes' ? row[`${side}_queue_bytes`] : null) ?? null;
const tcp = (key) => (row) => (row.tcp || row)[key] ?? null;
const unreadFor = (row, key) => (row[key] === null || row[key] === undefined ? '–' : `${row.oldest_unread_inferred ? '~' : ''}${duration(row[key])}`);
const watchers = (row) => list(row.watched_by).map((one) => `${list(one.tids || [one.tid]).join(' ') || `epoll ${one.epoll_fd}`} (${list(one.events).map(plain).join(' ')}${one.armed ? '' : ', not armed'})`).join(', ');
const socketColumns = [
  ...processColumns, { key: 'fd', head: 'fd', width: 60 }, name('family', 'family', 66), name('type', 'type', 76, { value: (row) => row.kind ?? row.type }),
  name('state', 'state', 104), { key: 'open', head: 'at the end', text: true, width: 88, value: (row) => (row.open === undefined ? null : row.open ? 'open' : 'closed') }, name('local', 'local', 160), name('peer', 'peer', 160),
  size('receive_queue_bytes', 'unread', { value: depth('receive', 'bytes') }), size('receive_queue_max_bytes', 'unread', { unit: 'most', value: depth('receive', 'max_bytes') }),
  time('oldest_unread_min_s', 'unread for', { unit: 'at least', note: 'age of the oldest unread byte', cell: (row) => unreadFor(row, 'oldest_unread_min_s') }),
  time('oldest_unread_max_s', 'unread for', { unit: 'at most', note: 'age of the oldest unread byte', cell: (row) => unreadFor(row, 'oldest_unread_max_s') }),
  size('send_queue_bytes', 'unsent', { value: depth('send', 'bytes') }), size('send_queue_max_bytes', 'unsent', { unit: 'most', value: depth('send', 'max_bytes') }),
  { key: 'zero_window', head: 'window', unit: 'zero', text: true, width: 66, value: tcp('zero_window'), cell: (row) => (tcp('zero_window')(row) ? 'yes' : '–') },
  time('silence_s', 'silent', { value: (row) => tcp('silence_s')(row) ?? row.silent_s }),
  number('accept_backlog', 'backlog'), number('accept_backlog_max', 'backlog', { unit: 'most' }), number('accept_backlog_limit', 'backlog', { unit: 'limit' }),
  { key: 'watched_by', head: 'watched by', unit: 'tid (events)', text: true, width: 160, value: watchers, title: watchers },
  { key: 'peer_process', head: 'peer process', unit: 'name (pid)', text: true, width: 150, value: peerOf, title: peerOf },
  size('bytes_received', 'received', { value: tcp('bytes_received'), width: 96 }), size('bytes_sent', 'sent', { value: tcp('bytes_sent'), width: 96 }),
  number('retransmits', 'resent', { note: 'retransmits', value: tcp('retransmits') }), number('drops', 'drops'),
];

function peerOf({ peer_process: peer }) { return peer ? `${plain(peer.comm)} (${peer.pid})` : ''; }

const ownerOf = ({ owner }) => (owner ? `${plain(owner.comm)} ${owner.tid} (${plain(owner.certainty)})` : '');
const lockColumns = [
  ...processColumns, name('address', 'address', 140), name('place', 'place', 170), name('kind', 'kind', 180, { value: (row) => `${row.kind_inferred ? '~' : ''}${row.kind}`, unit: '~ inferred' }),
  number('waits', 'waits'), time('total_ns', 'blocked'), time('worst_ns', 'worst'),
  { key: 'waiters', head: 'waiters', unit: 'threads', width: 78, value: (row) => list(row.waiters).length },
  { key: 'owner', head: 'held by', unit: 'thread', text: true, width: 190, value: ownerOf, title: ({ owner }) => (owner ? plain(owner.how || '') : '') },
  { key: 'last_waker', head: 'woken by', unit: 'mostly', text: true, width: 150, value: ({ last_waker: one }) => (one ? one.tid ? `${plain(one.comm)} ${one.tid}` : 'an interrupt' : '') },
  { key: 'operations', head: 'operations', text: true, width: 120, value: (row) => list(row.operations).join(' ') },
  { key: 'shared', head: 'shared', text: true, width: 70, cell: (row) => (row.shared ? 'yes' : '–') },
];

const resident = (row, when, kind) => (row[when] ? row[when][kind] : null);
const memoryColumns = [
  ...processColumns, size('growth_bytes', 'growth'),
  ...['anon', 'file', 'shmem', 'swap'].flatMap((kind) => [
    { key: `start_${kind}_bytes`, head: kind, unit: 'size, start', width: 92, value: (row) => resident(row, 'start', `${kind}_bytes`) },
    { key: `end_${kind}_bytes`, head: kind, unit: 'size, end', width: 92, value: (row) => resident(row, 'end', `${kind}_bytes`) }]),
  { key: 'trend_form', head: 'trend', text: true, width: 90, value: ({ trend }) => (trend ? plain(trend.form).replaceAll('_', ' ') : '') },
  { key: 'trend_slope', head: 'pace', unit: 'size a second', width: 100, value: of('trend', 'slope_bytes_per_s'), cell: ({ trend }) => (trend ? `${bytes(trend.slope_bytes_per_s)}/s` : ''),
    title: ({ trend }) => (trend ? `95 % interval ${list(trend.interval_bytes_per_s).map((end) => `${bytes(end)}/s`).join(' to ')}, over ${trend.span_s} s` : '') },
  { key: 'trend_level', head: 'leak', text: true, width: 90, value: ({ trend }) => (trend && trend.level ? plain(trend.level) : '') },
  { key: 'trend_reached', head: 'limit in', unit: 'time', width: 92, value: ({ trend }) => (trend && trend.reached ? trend.reached.after_s : null),
    cell: ({ trend }) => (trend && trend.reached ? duration(trend.reached.after_s) : '') },
  size('huge_page_bytes', 'huge pages'), size('returned_bytes', 'given back'), number('faults', 'page faults', { width: 92 }),
  { key: 'sampled_one_in', head: 'sampled', unit: 'one in', width: 78 },
];
const growthColumns = [...processColumns, size('bytes', 'growth'), number('count', 'faults'), stackColumn('stack', 'stack, leaf first', 900)];
const mappingColumns = [...processColumns, name('name', 'mapping', 460), name('kind', 'kind', 120), size('start_bytes', 'at the start', { width: 110 }), size('end_bytes', 'at the end', { width: 110 }),
  size('change_bytes', 'change', { value: (row) => row.end_bytes - row.start_bytes })];

const objectColumns = [...processColumns, name('name', 'type', 360), number('start_count', 'at the start', { width: 110 }), number('end_count', 'at the end', { width: 110 }), number('growth', 'growth', { width: 100 })];
const blockColumns = [...processColumns, size('size_bytes', 'block', { width: 110 }), number('start_count', 'at the start', { width: 110 }), number('end_count', 'at the end', { width: 110 }), number('growth', 'growth', { width: 100 }),
  size('growth_bytes', 'growth', { width: 110, value: (row) => row.growth * row.size_bytes })];

const taskColumns = [
  ...processColumns, name('name', 'task', 180), name('state', 'state', 90),
  { key: 'awaits', head: 'awaits', text: true, width: 220, value: ({ awaits }) => (awaits ? `${plain(awaits.kind)} ${plain(awaits.call)}` : '') },
  { key: 'left_s', head: 'left', unit: 'time', width: 84, value: of('awaits', 'left_s') },
  { key: 'stack', head: 'stack, outermost first', text: true, width: 520,
    value: (row) => list(row.stack).map((one) => `${plain(one.function)} (${plain(one.file).split('/').pop()}:${one.line ?? '?'})`).join(' → ') },
  { key: 'torn', head: 'torn', text: true, width: 60, cell: (row) => (row.torn ? 'yes' : '–') },
];

// Takes what room is left.
const filler = { key: 'filler', head: '', text: true, keep: true, value: () => null, cell: () => '' };
const signalColumns = [name('name', 'signal', 150), name('state', 'state', 100), name('hook', 'hook', 300), name('why', 'why', 520)];
const lossColumns = [name('name', 'what was lost', 300), number('count', 'times', { width: 110 }), filler];
const programColumns = [name('name', 'kernel program', 220), number('runs', 'runs', { width: 100 }), time('run_ns', 'time while measured', { width: 150 }),
  { key: 'each_ns', head: 'a run', unit: 'time', width: 92, value: (row) => (row.runs ? row.run_ns / row.runs : null), title: () => 'time / runs' }, filler];
const targetColumns = [{ key: 'pid', head: 'pid', width: 80 }, name('comm', 'name', 160), name('exe', 'executable', 420), number('threads', 'threads'),
  { key: 'exited', head: 'exited', text: true, width: 80, cell: (row) => (row.exited ? 'yes' : '–') },
  { key: 'parent_pid', head: 'parent', unit: 'pid', width: 80 },
  { key: 'python', head: 'Python', text: true, width: 120, value: ({ python }) => (python ? python.version : ''), find: ({ python }) => (python ? python.version : '') }];
const onCpuColumns = [number('samples', 'samples', { width: 90 }), { key: 'share', head: 'share', unit: '% of samples', width: 96, value: (row) => (report.top.samples ? (100 * row.samples) / report.top.samples : 0), cell: (row) => percent((100 * row.samples) / Math.max(1, report.top.samples)) }, stackColumn('stack', 'stack, leaf first')];
const offCpuColumns = [time('total_ns', 'blocked'), number('count', 'times'), name('reason', 'reason', 110), name('idle', 'idle', 84),
  { key: 'stack', head: 'stack, leaf first', text: true, value: (row) => (row.site === 'stack' ? stackLine(row.stack) : `[${String(row.site).replaceAll('_', ' ')}]`), title: (row) => list(row.stack).map(plain).join('\n') }];

// All threads at a glance: a row each, a column a window, the colour the state that it was in most. Only the
// rows in sight are drawn.

const LANE = 16;

function overview(parent, axis, digest, { order, chosen, choose }) {
  const canvas = el('canvas');
  const depth = el('div', { style: { position: 'relative' } }, canvas);
  const area = el('div', { className: 'many', tabindex: 0, role: 'group', 'aria-label': 'all threads: up and down choose a thread, left and right move through the windows' }, depth);
  const read = el('div', { className: 'read', 'aria-live': 'polite', id: 'overview-read' });
  const heading = el('h3', null, 'All threads', el('small', null, 'the state that each was in most, in the colours above'));
  parent.append(el('div', { className: 'row' }, heading, el('div', null, area, read)));
  let under = -1;
  let planned = false;
  const high = () => Math.min(208, Math.max(1, order().length) * LANE);

  function plan() {
    if (planned) return;
    planned = true;
    requestAnimationFrame(() => { planned = false; draw(); });
  }

  function draw() {
    const rows = order();
    depth.style.height = `${rows.length * LANE}px`;
    area.style.height = `${high()}px`;
    area.classList.toggle('few', rows.length * LANE <= 208);
    Object.assign(canvas.style, { width: `${GUTTER + axis.width}px`, height: `${high()}px` });
    const pen = prepare(canvas, GUTTER + axis.width, high());
    const cells = axis.split();
    const paints = STATES.map((state) => colour(`s-${state.key}`));
    const [ink, soft, mark] = [colour('ink'), colour('soft'), colour('mark')];
    const first = Math.floor(area.scrollTop / LANE);
    pen.textBaseline = 'middle';
    for (let row = first; row < rows.length && (row - first) * LANE < high() + LANE; row++) {
      const y = row * LANE - area.scrollTop;
      const thread = timeline.threads[rows[row]];
      if (rows[row] === chosen()) { pen.fillStyle = mark; pen.fillRect(0, y, GUTTER, LANE); }
      pen.fillStyle = rows[row] === chosen() ? ink : soft;
      pen.fillText(fitted(pen, `${plain(thread.comm)} ${thread.tid}`, GUTTER - 12), 4, y + LANE / 2);
      lane(pen, cells, digest.of(rows[row]), y, paints);
      if (rows[row] === chosen()) { pen.strokeStyle = ink; pen.strokeRect(GUTTER + 0.5, y + 0.5, axis.width - 1, LANE - 1); }
    }
    if (axis.cursor >= 0) {
      const x = GUTTER + axis.x(timeline.start[axis.cursor] + timeline.length[axis.cursor] / 2);
      if (x >= GUTTER) { pen.fillStyle = colour('cursor'); pen.globalAlpha = 0.55; pen.fillRect(x, 0, 1, high()); pen.globalAlpha = 1; }
    }
    tell(rows);
  }

  function lane(pen, cells, states, y, paints) {
    let cell = 0;
    while (cell < cells.size) {
      const state = commonest(states, cells.groups[cell], cells.groups[cell + 1]);
      const from = cell++;
      while (cell < cells.size && commonest(states, cells.groups[cell], cells.groups[cell + 1]) === state) cell++;
      if (state === NOWHERE) continue;
      pen.fillStyle = paints[state];
      pen.fillRect(GUTTER + cells.edges[from], y + 1, cells.edges[cell] - cells.edges[from], LANE - 2);
    }
  }

  // The row and window under the pointer, else the chosen one, in words.
  function tell(rows) {
    const row = under >= 0 ? under : rows.indexOf(chosen());
    if (row < 0 || row >= rows.length) { read.textContent = plural(rows.length, 'thread'); return; }
    const thread = timeline.threads[rows[row]];
    const name = thread.tid === thread.pid ? processName(thread.pid) : `${plain(thread.comm)} (${thread.tid}) of ${processName(thread.pid)}`;
    const state = axis.cursor < 0 ? NOWHERE : digest.of(rows[row])[axis.cursor];
    if (axis.cursor < 0) { read.textContent = name; return; }
    if (state === NOWHERE) { read.textContent = `${name}: not there at ${clock(timeline.start[axis.cursor])}`; return; }
    const share = valueAt(stateColumn(thread, STATES[state]), axis.cursor);
    read.textContent = `${name} at ${clock(timeline.start[axis.cursor])}: ${STATES[state].label} ${percent(share)}`;
  }

  const rowAt = (event) => Math.floor((event.clientY - area.getBoundingClientRect().top + area.scrollTop) / LANE);
  area.addEventListener('pointermove', (event) => { under = rowAt(event); plan(); });
  area.addEventListener('pointerleave', () => { under = -1; plan(); });
  area.addEventListener('click', (event) => { const row = rowAt(event); if (row < order().length) choose(order()[row]); });
  area.addEventListener('scroll', plan, { passive: true });
  pointing(area, axis, null, GUTTER, (event) => {
    const steps = { ArrowDown: 1, ArrowUp: -1, PageDown: 12, PageUp: -12, Home: -Infinity, End: Infinity };
    if (!(event.key in steps)) return false;
    const rows = order();
    const next = Math.max(0, Math.min(rows.length - 1, rows.indexOf(chosen()) + steps[event.key]));
    if (rows.length) { choose(rows[next]); reveal(next); }
    return true;
  });
  function reveal(row) {
    const top = row * LANE;
    if (top < area.scrollTop) area.scrollTop = top;
    else if (top + LANE > area.scrollTop + high()) area.scrollTop = top + LANE - high();
  }
  axis.listen({ view: plan, cursor: plan });
  return { draw: plan, width: () => area.clientWidth - GUTTER, area, home() { area.scrollTop = 0; plan(); } };
}

// The state that most of these windows have.
function commonest(states, from, to) {
  if (to - from === 1) return states[from];
  const counts = new Uint32Array(STATES.length);
  let [best, found] = [0, NOWHERE];
  for (let window = from; window < to; window++) {
    const state = states[window];
    if (state !== NOWHERE && ++counts[state] > best) [best, found] = [counts[state], state];
  }
  return found;
}

// As much of a text as fits.
function fitted(pen, text, room) {
  if (pen.measureText(text).width <= room) return text;
  let [low, high] = [0, text.length];
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (pen.measureText(`${text.slice(0, middle)}…`).width <= room) low = middle; else high = middle - 1;
  }
  return `${text.slice(0, low)}…`;
}

// Plots over time that share one axis: the part of the capture in view, and the window under the cursor.

const GUTTER = 150;
const AXIS = 18;

// The shared axis. `cells` are what one plot draws side by side: windows, or where these are narrower than a
// pixel, pixels, each with the windows that fall into it.
function makeAxis() {
  const listeners = [];
  const axis = {
    from: timeline.begin, to: timeline.end, cursor: -1, width: 0, cells: null, drag: null,
    listen(what) { listeners.push(what); },
    changed() { axis.cells = null; listeners.forEach((one) => one.view && one.view()); },
    point(window) {
      if (window === axis.cursor) return;
      axis.cursor = window;
      listeners.forEach((one) => one.cursor && one.cursor());
    },
    resize(width) { if (width !== axis.width && width > 0) { axis.width = width; axis.changed(); } },
    show(from, to) {
      const least = Math.min(timeline.end - timeline.begin, 2 * Math.max(1e-3, timeline.length[timeline.at(from)]));
      const middle = (from + to) / 2;
      const half = Math.max(least, to - from) / 2;
      axis.from = Math.max(timeline.begin, Math.min(middle - half, timeline.end - 2 * half));
      axis.to = Math.min(timeline.end, axis.from + 2 * half);
      axis.changed();
    },
    x: (moment) => ((moment - axis.from) / (axis.to - axis.from)) * axis.width,
    moment: (x) => axis.from + (x / axis.width) * (axis.to - axis.from),
    split() { if (!axis.cells) axis.cells = cellsOf(axis); return axis.cells; },
  };
  return axis;
}

function cellsOf(axis) {
  const first = timeline.at(axis.from);
  const last = timeline.at(axis.to - 1e-9);
  const edges = [];
  const groups = [];
  let at = first;
  while (at <= last) {
    const left = Math.max(0, axis.x(timeline.start[at]));
    let next = at + 1;
    while (next <= last && axis.x(timeline.start[next]) < left + 1) next++;
    edges.push(left);
    groups.push(at);
    at = next;
  }
  groups.push(last + 1);
  edges.push(Math.min(axis.width, axis.x(timeline.start[last] + timeline.length[last])));
  return { edges, groups, size: edges.length - 1 };
}

// The values of a column by cell: the mean over its time, or the largest. NaN where nothing was there.
function byCell(cells, one, largest) {
  const out = new Float64Array(cells.size);
  for (let cell = 0; cell < cells.size; cell++) {
    let [sum, time, most] = [0, 0, NaN];
    for (let window = cells.groups[cell]; window < cells.groups[cell + 1]; window++) {
      const value = valueAt(one, window);
      if (Number.isNaN(value)) continue;
      sum += value * timeline.length[window];
      time += timeline.length[window];
      if (!(value <= most)) most = value;
    }
    out[cell] = largest ? most : time > 0 ? sum / time : NaN;
  }
  return out;
}

// A plot. `layers()` gives those to draw: `key`, `label`, `colour`, `column`; stacked upon each other, or each
// from the ground up (`stacked: false`, the highest first).
function plot(parent, axis, { title, note, layers, show, stacked = true, peaks = !stacked, top, height = 132, binary, unit, empty, extra, line }) {
  const canvas = el('canvas', { style: { height: `${height}px` } });
  const cursor = el('div', { className: 'cursor', hidden: true });
  const chosen = el('div', { className: 'chosen', hidden: true });
  const area = el('div', { className: 'plot', tabindex: 0, role: 'img', 'aria-label': `${title}: arrow keys move through the windows, + and - zoom, Escape shows all` }, canvas, chosen, cursor);
  const at = el('li', { className: 'at', 'aria-live': 'polite' });
  const legend = el('ul', { className: 'legend' });
  const heading = el('h3', null, title, note ? el('small', null, note) : null, extra || null);
  parent.append(el('div', { className: 'row' }, heading, area, legend));
  const hidden = new Set();
  let current = [];

  function redraw() {
    current = layers();
    paint(canvas, axis, height, current.filter((one) => !hidden.has(one.key)), { stacked, peaks, top, binary, show, empty, line: line && line() });
    rows();
    mark();
  }
  function rows() {
    const lines = (stacked ? [...current].reverse() : current).map((one) => {
      const swatch = el('i', { style: { background: colour(one.colour) } });
      const button = el('button', { type: 'button', 'aria-pressed': hidden.has(one.key) ? 'false' : 'true', title: one.note || one.label },
        swatch, el('span', null, plain(one.label)), el('b', { style: { fontWeight: 500 } }));
      button.addEventListener('click', () => {
        if (!hidden.delete(one.key)) hidden.add(one.key);
        redraw();
        legend.querySelectorAll('button')[lines.indexOf(button.parentNode)].focus();
      });
      return el('li', null, button);
    });
    legend.replaceChildren(at, ...lines);
  }
  // Figures of the window under the cursor; without one, of all that is in view.
  function mark() {
    const window = axis.cursor;
    cursor.hidden = window < 0 || window >= timeline.size;
    if (!cursor.hidden) {
      const middle = timeline.start[window] + timeline.length[window] / 2;
      const x = axis.x(middle);
      cursor.hidden = x < 0 || x > axis.width;
      cursor.style.left = `${GUTTER + x}px`;
    }
    at.textContent = window < 0 ? `${peaks ? 'largest' : 'mean'} of what is in view` : `window at ${clock(timeline.start[window])}, ${duration(timeline.length[window])} long`;
    const figures = legend.querySelectorAll('b');
    const order = stacked ? [...current].reverse() : current;
    order.forEach((one, index) => {
      const value = window < 0 ? overView(axis, one.column, peaks) : valueAt(one.column, window);
      figures[index].textContent = Number.isNaN(value) ? '–' : show(value);
      figures[index].title = Number.isNaN(value) ? '' : `${NUMBER.format(value)} ${unit}`;
      if (window >= 0 && !Number.isNaN(value)) figures[index].dataset.value = value;
      else delete figures[index].dataset.value;
    });
  }
  pointing(area, axis, chosen, GUTTER);
  axis.listen({ view: redraw, cursor: mark });
  return { redraw, hide(keys) { keys.forEach((key) => hidden.add(key)); }, heading };
}

// The mean or the largest value of a column over the time in view.
function overView(axis, one, largest) {
  const first = timeline.at(axis.from);
  const last = timeline.at(axis.to - 1e-9);
  return byCell({ size: 1, groups: [first, last + 1] }, one, largest)[0];
}

// A canvas as fine as the screen is.
function prepare(canvas, width, height) {
  const fine = window.devicePixelRatio || 1;
  canvas.width = Math.max(1, Math.round(width * fine));
  canvas.height = Math.max(1, Math.round(height * fine));
  const pen = canvas.getContext('2d');
  pen.setTransform(fine, 0, 0, fine, 0, 0);
  pen.font = '11.5px system-ui, "Segoe UI", Roboto, "DejaVu Sans", sans-serif';
  return pen;
}

function paint(canvas, axis, height, layers, { stacked, peaks, top, binary, show, empty, line }) {
  const pen = prepare(canvas, GUTTER + axis.width, height);
  const cells = axis.split();
  const values = layers.map((one) => byCell(cells, one.column, peaks));
  let most = 0;
  for (let cell = 0; cell < cells.size; cell++) {
    let sum = 0;
    for (const one of values) sum = stacked ? sum + (one[cell] || 0) : Math.max(sum, one[cell] || 0);
    most = Math.max(most, sum);
  }
  const ceiling = (top && top()) || nice(most, binary);
  const ground = height - AXIS;
  const y = (value) => ground - (value / ceiling) * (ground - 6);
  grid(pen, axis, ceiling, y, ground, show);
  if (layers.length === 0 || most === 0) {
    pen.fillStyle = colour('soft');
    pen.fillText(empty || 'nothing in view', GUTTER + 12, ground - 12);
  }
  const below = new Float64Array(cells.size);
  layers.forEach((one, index) => {
    pen.fillStyle = colour(one.colour);
    steps(pen, cells, values[index], below, y);
    if (stacked) for (let cell = 0; cell < cells.size; cell++) below[cell] += values[index][cell] || 0;
  });
  if (line && line <= ceiling) {
    pen.strokeStyle = colour('bad');
    pen.setLineDash([4, 4]);
    pen.beginPath();
    pen.moveTo(GUTTER, y(line));
    pen.lineTo(GUTTER + axis.width, y(line));
    pen.stroke();
    pen.setLineDash([]);
  }
}

// One layer as steps: a window has one value from its start to its end.
function steps(pen, cells, values, below, y) {
  pen.beginPath();
  let cell = 0;
  while (cell < cells.size) {
    if (!(values[cell] > 0)) { cell++; continue; }
    const from = cell;
    pen.moveTo(GUTTER + cells.edges[cell], y(below[cell]));
    while (cell < cells.size && values[cell] > 0) {
      const height = y(below[cell] + values[cell]);
      pen.lineTo(GUTTER + cells.edges[cell], height);
      pen.lineTo(GUTTER + cells.edges[cell + 1], height);
      cell++;
    }
    for (let back = cell - 1; back >= from; back--) {
      pen.lineTo(GUTTER + cells.edges[back + 1], y(below[back]));
      pen.lineTo(GUTTER + cells.edges[back], y(below[back]));
    }
  }
  pen.fill();
}

function grid(pen, axis, ceiling, y, ground, show) {
  pen.strokeStyle = colour('grid');
  pen.fillStyle = colour('soft');
  pen.lineWidth = 1;
  pen.textBaseline = 'middle';
  pen.textAlign = 'right';
  for (const part of [0, 0.5, 1]) {
    const height = Math.round(y(ceiling * part)) + 0.5;
    pen.beginPath();
    pen.moveTo(GUTTER, height);
    pen.lineTo(GUTTER + axis.width, height);
    pen.stroke();
    pen.fillText(show(ceiling * part).replace(/\.0+ /, ' '), GUTTER - 8, Math.max(8, height));
  }
  pen.textAlign = 'center';
  pen.textBaseline = 'alphabetic';
  for (const moment of ticks(axis.from, axis.to, Math.max(2, axis.width / 110))) {
    const x = Math.round(axis.x(moment)) + 0.5;
    pen.beginPath();
    pen.moveTo(GUTTER + x, ground);
    pen.lineTo(GUTTER + x, ground + 4);
    pen.stroke();
    pen.textAlign = x < 12 ? 'left' : x > axis.width - 16 ? 'right' : 'center';
    pen.fillText(clock(moment), GUTTER + x, ground + 15);
  }
}

// A time inside the capture: seconds in a short one, as a clock in a long one.
function clock(moment) {
  const whole = Math.floor(moment + 1e-6);
  const rest = Math.round((moment - whole) * 1000) / 1000;
  if (timeline.end < 180) return `${Number((whole + rest).toFixed(3))} s`;
  const two = (value) => String(value).padStart(2, '0');
  const hours = Math.floor(whole / 3600);
  const minutes = Math.floor(whole / 60) % 60;
  return `${hours ? `${hours}:${two(minutes)}` : minutes}:${two(whole % 60)}${rest > 0 ? String(rest).slice(1) : ''}`;
}

const TICKS = [0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 43200, 86400];

function ticks(from, to, most) {
  const step = TICKS.find((one) => (to - from) / one <= most) || 172800;
  const out = [];
  for (let at = Math.ceil(from / step - 1e-9); at * step <= to + 1e-9; at++) out.push(at * step);
  return out;
}

// The next round number; of bytes, one that is round in its unit.
function nice(value, binary) {
  if (!(value > 0)) return 1;
  if (binary && value >= 1024) {
    const unit = 1024 ** Math.floor(Math.log2(value) / 10);
    return nice(value / unit) * unit;
  }
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10].find((one) => one * power >= value * 0.999) * power;
}

// Pointer and keys on a plot: point at a window, drag over a stretch, go back to all.
function pointing(area, axis, chosen, gutter, extra) {
  const place = (event) => event.clientX - area.getBoundingClientRect().left - gutter;
  area.addEventListener('pointermove', (event) => {
    const x = place(event);
    if (x < 0 || x > axis.width) return axis.point(-1);
    axis.point(timeline.at(axis.moment(x)));
    if (axis.drag === null || !chosen) return undefined;
    chosen.hidden = false;
    chosen.style.left = `${gutter + Math.min(axis.drag, x)}px`;
    chosen.style.width = `${Math.abs(x - axis.drag)}px`;
    return undefined;
  });
  area.addEventListener('pointerleave', () => { if (axis.drag === null) axis.point(-1); });
  if (chosen) {
    area.addEventListener('pointerdown', (event) => {
      if (event.button !== 0 || place(event) < 0) return;
      axis.drag = place(event);
      area.setPointerCapture(event.pointerId);
    });
    area.addEventListener('pointerup', (event) => {
      const [from, to] = [axis.drag, Math.max(0, Math.min(axis.width, place(event)))];
      axis.drag = null;
      chosen.hidden = true;
      if (from !== null && Math.abs(to - from) > 5) axis.show(axis.moment(Math.min(from, to)), axis.moment(Math.max(from, to)));
    });
    area.addEventListener('pointercancel', () => { axis.drag = null; chosen.hidden = true; });
    area.addEventListener('dblclick', () => axis.show(timeline.begin, timeline.end));
  }
  area.addEventListener('keydown', (event) => {
    if (extra && extra(event)) return event.preventDefault();
    const steps = { ArrowLeft: -1, ArrowRight: 1, PageUp: -30, PageDown: 30 };
    const middle = axis.cursor < 0 ? (axis.from + axis.to) / 2 : timeline.start[axis.cursor];
    const quarter = (axis.to - axis.from) / 4;
    if (event.key in steps && !(extra && event.key.startsWith('Page'))) {
      const now = axis.cursor < 0 ? timeline.at(axis.from) - Math.min(0, steps[event.key]) - 1 : axis.cursor;
      const next = Math.max(0, Math.min(timeline.size - 1, now + steps[event.key]));
      const moment = timeline.start[next];
      if (moment < axis.from || moment >= axis.to) axis.show(moment - 2 * quarter, moment + 2 * quarter);
      axis.point(next);
    } else if (event.key === '+' || event.key === '=') axis.show(middle - quarter, middle + quarter);
    else if (event.key === '-') axis.show(middle - 4 * quarter, middle + 4 * quarter);
    else if (event.key === 'Escape') { axis.show(timeline.begin, timeline.end); axis.point(-1); }
    else return undefined;
    return event.preventDefault();
  });
}

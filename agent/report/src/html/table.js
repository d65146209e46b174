// Tables of any length: sorted by their heads, filtered by words, and only the rows in sight are in the page.

// The height of a row, until one can be measured.
const ROW = 28;
// Up to here all rows are in the page, so that the browser's own search finds them.
const WHOLE = 200;
// The height of the longest table on the page, as the style has it.
const SIGHT = 520;

// A table. Columns: `key` (of the row, its unit in the name), `head`, `unit`, `width` in pixels, and where the
// row's member is not what is shown: `value` (to sort by and compare with), `cell` (what is shown), `title`.
function table(parent, { name, columns: all, rows, sort, open, detail, filter }) {
  const valueOf = (one, row) => (one.value ? one.value(row) : row[one.key]);
  // Columns that say nothing of any row are left out.
  const columns = all.filter((one) => one.keep || rows.some((row) => (valueOf(one, row) ?? '') !== ''));
  const state = { sort: sort || null, down: true, words: [], view: [], active: -1 };
  const body = el('tbody');
  const heads = columns.map((one) => head(one));
  const scroll = el('div', { className: 'table', tabindex: 0, role: 'group', 'aria-label': `${name}: arrow keys move, Enter opens` },
    el('table', { id: `table-${name}`, 'aria-rowcount': rows.length, style: { minWidth: `${columns.reduce((sum, one) => sum + (one.width || 100), 0)}px` } },
      el('colgroup', null, columns.map((one) => el('col', { style: { width: one.width ? `${one.width}px` : 'auto' } }))),
      el('thead', null, el('tr', null, heads)), body));
  const below = el('div');
  const found = el('span', { className: 'soft', 'aria-live': 'polite' });
  if (filter ?? rows.length > 12) {
    const box = el('input', { type: 'search', placeholder: 'filter by words', 'aria-label': `filter ${name}`, id: `filter-${name}` });
    box.addEventListener('input', () => { state.words = box.value.toLowerCase().split(/\s+/).filter(Boolean); arrange(); });
    parent.append(el('div', { className: 'bar' }, box, found));
  }
  parent.append(scroll, below);

  function head(one) {
    const button = el('button', { type: 'button', title: one.note || null }, one.head, el('small', null, one.unit || ''));
    button.addEventListener('click', () => {
      state.down = state.sort === one ? !state.down : firstDown(one);
      state.sort = one;
      arrange();
    });
    return el('th', { scope: 'col', className: one.text ? null : 'n', 'aria-sort': 'none', 'data-key': one.key }, button);
  }

  const firstDown = (one) => !one.text;

  let texts = null;
  function matches(index) {
    texts = texts || new Array(rows.length);
    if (texts[index] === undefined) {
      texts[index] = columns.map((one) => words1(one, rows[index])).join(' ').toLowerCase();
    }
    return state.words.every((word) => texts[index].includes(word));
  }
  function words1(one, row) {
    if (one.find) return one.find(row);
    const value = valueOf(one, row);
    return one.text || isIdentity(one.key) ? plain(value ?? '') : '';
  }

  // Puts the rows in order: nothing sorts last in either direction, and equals stay as they were.
  function arrange() {
    const every = rows.map((_, index) => index);
    const kept = state.words.length ? every.filter(matches) : every;
    if (state.sort) {
      const keys = rows.map((row) => valueOf(state.sort, row));
      const sign = state.down ? -1 : 1;
      const nothing = (value) => value === null || value === undefined || Number.isNaN(value);
      kept.sort((a, b) => {
        const [x, y] = [keys[a], keys[b]];
        if (nothing(x) || nothing(y)) return nothing(x) - nothing(y) || a - b;
        const order = typeof x === 'number' && typeof y === 'number' ? x - y : compare(String(x), String(y));
        return order ? sign * order : a - b;
      });
    }
    columns.forEach((one, index) => heads[index].setAttribute('aria-sort',
      one === state.sort ? (state.down ? 'descending' : 'ascending') : 'none'));
    state.view = kept;
    found.textContent = state.words.length ? `${count(kept.length)} of ${count(rows.length)}` : '';
    shownRange = '';
    draw();
  }

  // The rows in sight, between two spaces that stand for the others.
  let shownRange = '';
  let high = ROW;
  function draw() {
    const total = state.view.length;
    let [from, to] = [0, total];
    if (total > WHOLE) {
      const first = Math.floor(scroll.scrollTop / high);
      from = Math.max(0, first - 8);
      to = Math.min(total, first + Math.ceil(SIGHT / high) + 8);
    }
    const range = `${from} ${to} ${state.active}`;
    if (range === shownRange) return;
    shownRange = range;
    const made = [];
    if (from > 0) made.push(space(from));
    for (let index = from; index < to; index++) made.push(line(index));
    if (to < total) made.push(space(total - to));
    body.replaceChildren(...made);
    const row = body.querySelector('.row-of');
    const measured = row ? row.getBoundingClientRect().height : 0;
    if (measured > 0 && Math.abs(measured - high) > 0.01) {
      high = measured;
      shownRange = '';
      draw();
    }
  }

  const space = (missing) => el('tr', { className: 'space', 'aria-hidden': 'true' },
    el('td', { colspan: columns.length, style: { height: `${missing * high}px` } }));

  function line(index) {
    const row = rows[state.view[index]];
    const active = state.view[index] === state.active;
    const cells = columns.map((one) => cell(one, row));
    const line = el('tr', { className: active ? 'row-of open' : 'row-of', 'aria-rowindex': index + 2, 'aria-selected': active ? 'true' : null }, cells);
    line.addEventListener('click', () => choose(index));
    return line;
  }

  function cell(one, row) {
    const value = valueOf(one, row);
    const content = one.cell ? one.cell(row) : shown(one.key, value);
    return el('td', {
      className: one.text ? null : 'n', 'data-key': one.key,
      'data-value': value === null || value === undefined ? null : typeof value === 'object' ? null : value,
      title: one.title ? one.title(row) : exact(one.key, value),
    }, content);
  }

  // Opens a row below the table, or closes it when it is open.
  function choose(index) {
    const place = state.view[index];
    const again = place === state.active;
    state.active = again ? -1 : place;
    draw();
    below.replaceChildren();
    if (again) return;
    if (open) open(rows[place]);
    const close = el('button', { type: 'button', className: 'close' }, 'close');
    close.addEventListener('click', () => { choose(state.view.indexOf(state.active)); scroll.focus(); });
    below.append(el('div', { className: 'detail' }, close, detail ? detail(rows[place]) : tree(rows[place])));
  }

  scroll.addEventListener('scroll', draw, { passive: true });
  scroll.addEventListener('keydown', (event) => {
    if (event.target !== scroll) return;
    const steps = { ArrowDown: 1, ArrowUp: -1, PageDown: 15, PageUp: -15, Home: -Infinity, End: Infinity };
    const now = state.view.indexOf(state.active);
    if (event.key === 'Escape' && now >= 0) choose(now);
    else if (event.key === 'Enter') { if (now < 0 && state.view.length) choose(0); else if (now >= 0) choose(now); }
    else if (event.key in steps) {
      const next = Math.max(0, Math.min(state.view.length - 1, (now < 0 ? -1 : now) + steps[event.key]));
      const top = next * high;
      const room = scroll.clientHeight - 60;
      if (top < scroll.scrollTop) scroll.scrollTop = top;
      else if (top + high > scroll.scrollTop + room) scroll.scrollTop = top + high - room;
      if (next !== now && state.view.length) choose(next);
    } else return;
    event.preventDefault();
  });
  state.sort = columns.find((one) => one.key === sort) || null;
  state.down = state.sort ? firstDown(state.sort) : true;
  arrange();
  return { rows: () => state.view.map((index) => rows[index]) };
}

// Text by code units: as fast as it gets, and the same everywhere.
const compare = (a, b) => (a < b ? -1 : a > b ? 1 : 0);

// An object whose members are plain values.
const flat = (value) => value !== null && typeof value === 'object' && !Array.isArray(value)
  && Object.values(value).every((one) => one === null || typeof one !== 'object');

// A list of such objects, side by side.
function sideBySide(rows) {
  const keys = [...new Set(rows.flatMap(Object.keys))];
  const side = (key) => (rows.some((row) => typeof row[key] === 'number') ? 'n' : null);
  return el('table', { className: 'mini' },
    el('thead', null, el('tr', null, keys.map((key) => el('th', { className: side(key) }, words(key))))),
    el('tbody', null, rows.slice(0, 600).map((row) => el('tr', null, keys.map((key) =>
      el('td', { className: side(key), title: exact(key, row[key]) }, shown(key, row[key])))))));
}

// Anything of the report with all that it holds.
function tree(value, key = '', depth = 0) {
  if (depth > 12) return '…';
  if (Array.isArray(value)) {
    if (value.length === 0) return '–';
    const simple = value.every((one) => one === null || typeof one !== 'object');
    if (simple && value.every((one) => typeof one === 'number')) return value.map((one) => shown(key, one)).join(', ');
    if (!simple && value.every(flat)) return sideBySide(value);
    return el('ol', { className: simple ? 'code' : null }, value.slice(0, 600).map((one) => el('li', null, tree(one, key, depth + 1))),
      value.length > 600 ? el('li', { className: 'soft' }, `and ${count(value.length - 600)} more`) : null);
  }
  if (value !== null && typeof value === 'object') {
    const members = Object.entries(value);
    if (members.length === 0) return '–';
    return el('dl', null, members.flatMap(([name, member]) => [
      el('dt', null, words(name)), el('dd', null, tree(member, name, depth + 1))]));
  }
  const text = shown(key, value);
  const title = exact(key, value);
  return typeof value === 'number' && title !== text ? el('span', { title, 'data-value': value }, text) : text;
}

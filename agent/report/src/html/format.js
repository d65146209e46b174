// Figures in words: short for the eye, exact in the title.

// An element. Words from the report become text nodes and nothing else: names are hostile.
function el(tag, properties, ...children) {
  const node = document.createElement(tag);
  for (const [key, value] of Object.entries(properties || {})) {
    if (value === null || value === undefined || value === false) continue;
    if (key.startsWith('on')) node.addEventListener(key.slice(2), value);
    else if (key === 'style') Object.assign(node.style, value);
    else node.setAttribute(key === 'className' ? 'class' : key, value === true ? '' : String(value));
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

const NUMBER = new Intl.NumberFormat('en-US', { maximumFractionDigits: 20 });

// Control characters and those that change the direction of text show as a dot; a name never ends its line.
function plain(text) {
  return String(text).replace(/[\u0000-\u001f\u007f-\u009f\u200e\u200f\u2028-\u202e\u2066-\u2069]/g, '·');
}

// Three digits that count.
function digits(value) {
  const size = Math.abs(value);
  if (size >= 99.95) return NUMBER.format(Math.round(value));
  return value.toFixed(size >= 9.995 ? 1 : 2);
}

// Picks the largest unit in which a value is at least one.
function scaled(value, units) {
  const size = Math.abs(value);
  let pick = units[0];
  for (const unit of units) if (size >= unit[0] * 0.9995) pick = unit;
  return `${pick[0] === units[0][0] && Number.isInteger(value / pick[0]) ? NUMBER.format(value / pick[0])
    : digits(value / pick[0])} ${pick[1]}`;
}

const TIMES = [[1e-9, 'ns'], [1e-6, 'µs'], [1e-3, 'ms'], [1, 's'], [120, 'min', 60], [7200, 'h', 3600]];

function duration(seconds) {
  if (seconds === 0) return '0';
  const size = Math.abs(seconds);
  let [, name, by] = [0, 'ns', 1e-9];
  for (const [from, unit, per] of TIMES) if (size >= from * 0.9995) [name, by] = [unit, per || from];
  return `${name === 'ns' ? Math.round(seconds / by) : digits(seconds / by)} ${name}`;
}

const SIZES = [[1, 'B'], [1024, 'KiB'], [1024 ** 2, 'MiB'], [1024 ** 3, 'GiB'], [1024 ** 4, 'TiB'], [1024 ** 5, 'PiB']];

const bytes = (value) => (value === 0 ? '0' : scaled(value, SIZES));

function percent(value) {
  if (value > 0 && value < 0.05) return '<0.1 %';
  if (value < 100 && value >= 99.95) return '>99.9 %';
  return `${value.toFixed(1)} %`;
}

// A cost, which is small where all is well.
const finePercent = (value) => `${Number(value.toPrecision(2))} %`;

const count = (value) => NUMBER.format(value);

// What a member's name says of its unit: how to show it, and what to call it.
const UNITS = [
  ['_bytes_per_s', (value) => `${bytes(value)}/s`, 'bytes a second'],
  ['_ns', (value) => duration(value / 1e9), 'ns'],
  ['_bytes', bytes, 'bytes'],
  ['_pct', percent, '%'],
  ['_hz', (value) => `${count(value)} Hz`, 'Hz'],
  ['_unix_s', (value) => moment(value), 's since 1970'],
  ['_s', duration, 's'],
];

function unitOf(key) {
  return UNITS.find(([suffix]) => key.endsWith(suffix)) || (/^bytes(_|$)/.test(key) ? UNITS.find(([suffix]) => suffix === '_bytes') : undefined);
}

// The short form of a member's value.
function shown(key, value) {
  if (value === null || value === undefined) return '–';
  if (typeof value === 'boolean') return value ? 'yes' : 'no';
  if (typeof value !== 'number') return plain(value);
  const unit = unitOf(key);
  if (unit) return unit[1](value);
  return isIdentity(key) ? String(value) : count(value);
}

// The exact form, for the title.
function exact(key, value) {
  if (typeof value !== 'number') return value === null || value === undefined ? '' : plain(value);
  const unit = unitOf(key);
  return `${isIdentity(key) ? value : NUMBER.format(value)}${unit ? ` ${unit[2]}` : ''}`;
}

// Numbers that name something, and count nothing.
const isIdentity = (key) => /(^|_)(pid|tid|fd|inode|line|schema)$/.test(key);

// A member's name for people: without its unit, which stands in the value.
function words(key) {
  const unit = unitOf(key);
  return plain(unit && key.endsWith(unit[0]) ? key.slice(0, -unit[0].length) : key).replaceAll('_', ' ');
}

// A moment of the wall clock, as all files of the report have it: in UTC.
function moment(unix) {
  const date = new Date(unix * 1000);
  return Number.isNaN(date.getTime()) ? '?' : `${date.toISOString().slice(0, 19).replace('T', ' ')} UTC`;
}

const plural = (number, one, many) => `${count(number)} ${number === 1 ? one : many || `${one}s`}`;

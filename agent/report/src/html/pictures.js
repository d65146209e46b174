// The flamegraphs and the plot of memory, each in a frame of its own: their scripts run there, and reach nothing of this page.

const CAPTIONS = {
  'cpu.svg': ['CPU', 'on the CPU; width = samples'],
  'offcpu.svg': ['off CPU', 'waits, by reason; width = time'],
  'futex.svg': ['futex', 'time blocked in locks, by lock; the holder beside it'],
  'epoll.svg': ['late iterations', 'what late iterations of loops did'],
  'memory.svg': ['memory', 'bytes of growth, by stack'],
  'leak.svg': ['leaks', 'memory of each process over the capture, and whether it comes back', 'picture'],
  'heap.svg': ['heap', 'bytes allocated and not freed, by stack'],
};

function picturesSection(parent) {
  const order = Object.keys(CAPTIONS);
  const place = (name) => (order.includes(name) ? order.indexOf(name) : order.length);
  const names = Object.keys(pictures).sort((a, b) => place(a) - place(b));
  const panel = el('div', { role: 'tabpanel', id: 'picture' });
  const tabs = names.map((name, index) => el('button', {
    type: 'button', role: 'tab', id: `tab-${name}`, 'aria-controls': 'picture', onclick: () => show(index),
  }, (CAPTIONS[name] || [name])[0]));
  const strip = el('div', { role: 'tablist', 'aria-label': 'pictures' }, tabs);
  strip.addEventListener('keydown', (event) => {
    const now = tabs.indexOf(document.activeElement);
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (now < 0 || !step) return;
    const next = (now + step + tabs.length) % tabs.length;
    show(next);
    tabs[next].focus();
  });
  parent.append(strip, panel);
  const frames = new Map();

  function show(index) {
    const name = names[index];
    tabs.forEach((tab, one) => { tab.setAttribute('aria-selected', String(one === index)); tab.tabIndex = one === index ? 0 : -1; });
    if (!frames.has(name)) frames.set(name, picture(name, pictures[name]));
    for (const [one, node] of frames) {
      if (!node.parentNode) panel.append(node);
      // Not `display: none`: a picture that has no width works out a negative one.
      node.classList.toggle('away', one !== name);
      node.inert = one !== name;
    }
    panel.setAttribute('aria-labelledby', `tab-${name}`);
  }
  if (names.length) show(0);
}

function picture(name, { svg, bytes: size }) {
  const link = el('a', { href: name, target: '_blank', rel: 'noopener' }, name);
  const [, about, sort = 'flamegraph'] = CAPTIONS[name] || ['', ''];
  if (svg === null) {
    return el('p', { 'data-linked': name }, `${about ? `${about}. ` : ''}${bytes(size)}, too large to embed: see `, link, '.');
  }
  const frame = el('iframe', { title: `${sort} ${name}`, sandbox: 'allow-scripts allow-modals', 'data-picture': name });
  const height = /<svg[^>]*\sheight="(\d+)"/.exec(svg);
  frame.style.height = `${Math.min(1600, Math.max(110, height ? Number(height[1]) : 600)) + 2}px`;
  const source = URL.createObjectURL(new Blob([embedded(svg)], { type: 'image/svg+xml' }));
  // Once it has its place: a picture asks for its width as it loads.
  new ResizeObserver((_, observer) => { if (frame.clientWidth > 0) { observer.disconnect(); frame.src = source; } }).observe(frame);
  return el('div', null, frame, el('p', { className: 'soft' }, `${about ? `${about}. ` : ''}${sort === 'flamegraph' ? 'Click to zoom, Search or Ctrl-F inside to search. ' : ''}Also in `, link, '.'));
}

// The picture with its notes of zoom and search in the address switched off: a frame has no address of its own.
function embedded(svg) {
  const open = /<svg[^>]*>/.exec(svg);
  if (!open) return svg;
  const at = open.index + open[0].length;
  return `${svg.slice(0, at)}<script>history.replaceState = function () {};</` + `script>${svg.slice(at)}`;
}

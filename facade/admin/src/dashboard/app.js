/* The live page: one stream of events in, a calm picture out.
 *
 * Reading order: requests and token, the stream, tiles, charts, caches, advice, health, settings, actions, theme,
 * start. No framework and no build step; elements and charts come from chart.js.
 */
'use strict';

/* Requests and token ----------------------------------------------------------------------------------------- */

let token = sessionStorage.getItem('trimtab-token') || '';

function headers(extra) {
  return { ...(token ? { Authorization: `Bearer ${token}` } : {}), ...extra };
}

/** Sends a request; answers the JSON body or throws an Error with the problem's own words. */
async function request(path, options = {}) {
  const response = await fetch(path, { cache: 'no-store', ...options, headers: headers(options.headers) });
  const kind = response.headers.get('content-type') || '';
  const body = kind.includes('json') ? await response.json() : null;
  if (response.ok) return body;
  const error = new Error((body && body.detail) || `the server answered ${response.status}`);
  error.status = response.status;
  throw error;
}

/* Dialog ----------------------------------------------------------------------------------------------------- */

/** Settles the question that is open; an event of an earlier one must not answer it, so each has its own. */
let settle = () => {};

/** Opens the dialog; resolves to true when it was confirmed. */
function ask({ title, body, confirm, danger = false, cancel = true }) {
  const dialog = $('ask');
  settle(false);
  text($('ask-title'), title);
  $('ask-body').replaceChildren(...body);
  text($('ask-ok'), confirm);
  $('ask-ok').className = danger ? 'danger' : 'primary';
  $('ask-cancel').hidden = !cancel;
  dialog.showModal();
  (dialog.querySelector('input') || $(danger ? 'ask-cancel' : 'ask-ok')).focus();
  return new Promise((resolve) => {
    settle = (answer) => {
      settle = () => {};
      dialog.close();
      resolve(answer);
    };
  });
}

const say = (title, message) => ask({ title, body: [el('p', {}, message)], confirm: 'Close', cancel: false });

async function askToken(reason) {
  const input = el('input', { type: 'password', autocomplete: 'off', 'aria-label': 'Token', spellcheck: 'false' });
  const ok = await ask({
    title: 'Token needed',
    body: [el('p', {}, `${reason} Enter the value of server.token; it is kept until this tab closes.`), input],
    confirm: 'Use token',
  });
  if (!ok || !input.value) return false;
  token = input.value.trim();
  sessionStorage.setItem('trimtab-token', token);
  return true;
}

/** Runs a write and asks for the token when the server wants one; null when it was not done. */
async function write(path, options, failed = (message) => say('That did not work', message)) {
  for (;;) {
    try {
      return await request(path, options);
    } catch (error) {
      if (error.status === 401) {
        if (await askToken(token ? 'The token was not accepted.' : 'Writes to this server need a token.')) continue;
        return null;
      }
      await failed(error.message);
      return null;
    }
  }
}

/** A form in the dialog that stays, with the reason, until it is accepted or cancelled. */
async function edit({ title, body, confirm, path, options }) {
  for (let fault = null; ;) {
    const reason = fault ? [el('p', { class: 'fault', role: 'alert' }, fault)] : [];
    if (!(await ask({ title, body: [...body, ...reason], confirm }))) return null;
    fault = null;
    const answer = await write(path, options(), (message) => { fault = message; });
    if (answer || !fault) return answer;
  }
}

const json = (method, body) => ({ method, body: JSON.stringify(body), headers: { 'Content-Type': 'application/json' } });

/* The stream ------------------------------------------------------------------------------------------------- */

/* fetch instead of EventSource: it can carry the token, and tells why it was refused. */
const SILENCE = 40000;
let waking = null;

function connection(state, label) {
  $('connection').dataset.state = state;
  text($('connection').lastElementChild, label);
  document.body.toggleAttribute('data-stale', state === 'lost');
}

async function listen() {
  for (let failures = 0; ;) {
    try {
      await receive(() => { failures = 0; });
      throw new Error('the stream ended');
    } catch (error) {
      if (error.status === 401) {
        connection('lost', 'Token needed');
        if (await askToken('Reading this server needs a token.')) continue;
        $('token-button').hidden = false;
        await new Promise((resolve) => { waking = resolve; });
        continue;
      }
      failures += 1;
      let wait = Math.min(30, 2 ** Math.min(failures - 1, 5));
      for (; wait > 0; wait -= 1) {
        connection('lost', `Reconnecting in ${wait} s`);
        await new Promise((resolve) => { waking = resolve; setTimeout(resolve, 1000); });
      }
      connection('connecting', 'Connecting');
    }
  }
}

async function receive(alive) {
  const abort = new AbortController();
  let guard = setTimeout(() => abort.abort(), SILENCE);
  try {
    const response = await fetch('events', { headers: headers({ Accept: 'text/event-stream' }), signal: abort.signal, cache: 'no-store' });
    if (!response.ok) throw Object.assign(new Error(`status ${response.status}`), { status: response.status });
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    let rest = '';
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      clearTimeout(guard);
      guard = setTimeout(() => abort.abort(), SILENCE);
      rest += value;
      for (let end = rest.indexOf('\n\n'); end >= 0; end = rest.indexOf('\n\n')) {
        dispatch(rest.slice(0, end), alive);
        rest = rest.slice(end + 2);
      }
    }
  } finally {
    clearTimeout(guard);
    abort.abort();
  }
}

function dispatch(block, alive) {
  let event = 'message';
  let data = '';
  for (const line of block.split('\n')) {
    if (line.startsWith('event:')) event = line.slice(6).trim();
    else if (line.startsWith('data:')) data += line.slice(5).trim();
  }
  if (!data) return;
  alive();
  connection('live', 'Live');
  if (event === 'hello') hello(JSON.parse(data));
  else if (event === 'tick') tick(JSON.parse(data));
}

/* State ------------------------------------------------------------------------------------------------------ */

/* Columns, as uPlot wants them. A point is [at, …numbers]; see `stream` in the server for their order. */
const SYSTEM = { at: 0, used: 1, limit: 2, rss: 3, cpu: 4 };
const POINT = { at: 0, hits: 1, misses: 2, entries: 3, bytes: 4, capacity: 5, size: 6, expired: 7, explicit: 8, replaced: 9, shrunk: 10 };
const CAUSES = [['capacity', 'for entries', '--c1'], ['size', 'for bytes', '--c2'], ['expired', 'expired', '--c3'], ['explicit', 'removed', '--c4'], ['replaced', 'replaced', '--c5'], ['shrunk', 'shrunk', '--c6']];

const state = { points: 300, system: [], caches: new Map(), lanes: new Map(), frame: null, chosen: null, scale: null, filter: '' };

function hello(message) {
  state.points = message.history.points;
  state.system = message.history.system;
  state.caches = new Map(Object.entries(message.history.caches));
  state.lanes = new Map(Object.entries(message.history.lanes || {}));
  text($('profile'), message.info.profile);
  text($('environment'), message.info.environment);
  text($('version'), message.info.version);
  $('token-button').hidden = !message.access.token_required;
  text($('token-button'), token ? 'Change token' : 'Enter token');
  show(message.frame);
  loadSettings();
  loadAdvice();
  document.body.dataset.ready = 'true';
}

function tick(frame) {
  keep(state.system, frame.system);
  for (const cache of frame.caches) {
    if (!cache.point) continue;
    if (!state.caches.has(cache.name)) state.caches.set(cache.name, []);
    keep(state.caches.get(cache.name), cache.point);
  }
  for (const lane of frame.lanes || []) {
    if (!lane.point) continue;
    if (!state.lanes.has(lane.name)) state.lanes.set(lane.name, []);
    keep(state.lanes.get(lane.name), lane.point);
  }
  const present = new Set(frame.caches.map((cache) => cache.name));
  for (const name of state.caches.keys()) if (!present.has(name)) state.caches.delete(name);
  show(frame);
}

function keep(series, point) {
  if (!point || (series.length && series[series.length - 1][0] >= point[0])) return;
  series.push(point);
  if (series.length > state.points) series.splice(0, series.length - state.points);
}

function show(frame) {
  state.frame = frame;
  if (document.hidden) return;
  showTiles(frame);
  showSystem(frame);
  showCaches(frame);
  showDetail(frame);
  showHealth(frame.health);
  showBudget(request, frame.uptime_seconds);
}

/* Tiles ------------------------------------------------------------------------------------------------------ */

function figure(node, main, small) {
  node.replaceChildren(main, small ? el('small', {}, ` ${small}`) : '');
}

function showTiles(frame) {
  const { memory, process, machine, pressure } = frame;
  text($('uptime'), span(Math.floor(frame.uptime_seconds)));

  figure($('memory-used'), bytes(memory.used), known(memory.limit) ? `of ${bytes(memory.limit)}` : '');
  meter($('memory-meter'), memory.share, `${percent(memory.share)} of the limit`);
  text($('memory-note'), known(memory.share) ? `${percent(memory.share)} of the limit (${memory.limit_source})` : memory.limit_source);

  const cpus = machine.cpus;
  figure($('cpu-used'), known(process.cpu_share) ? process.cpu_share.toFixed(2) : '–', `of ${Number(cpus.toFixed(2))} cores`);
  meter($('cpu-meter'), process.cpu_quota_share, percent(process.cpu_quota_share));
  const parts = [];
  if (known(machine.cpu_share)) parts.push(`machine ${percent(machine.cpu_share)} busy`);
  if (machine.load) parts.push(`load ${machine.load.one.toFixed(2)}`);
  if (known(process.threads)) parts.push(`${process.threads} threads`);
  if (known(process.open_files)) parts.push(`${process.open_files} open files`);
  text($('cpu-note'), parts.join(' · '));

  const level = pressure.level;
  text($('pressure'), level);
  $('pressure').dataset.level = level;
  const steps = $('pressure-steps');
  steps.dataset.level = level;
  const reached = ['low', 'moderate', 'high', 'critical'].indexOf(level);
  [...steps.children].forEach((step, at) => step.classList.toggle('on', at <= reached));
  const calm = [`for ${span(Math.max(0, Math.floor((frame.at - pressure.since) / 1000)))}`];
  if (known(pressure.stall)) calm.push(`tasks stalled ${percent(pressure.stall)}`);
  if (known(pressure.machine_available)) calm.push(`${bytes(pressure.machine_available)} free on the machine`);
  text($('pressure-note'), level === 'low' ? calm.join(' · ') : pressure.explanation.replace(/^memory pressure is \w+: /, ''));

  const totals = frame.totals;
  const lookups = totals.hits + totals.misses;
  figure($('hit-ratio'), lookups ? percent(totals.hits / lookups) : '–', lookups ? `of ${count(lookups)} gets` : 'no gets yet');
  meter($('hit-meter'), lookups ? totals.hits / lookups : 0, lookups ? percent(totals.hits / lookups) : 'no gets yet');
  const caches = frame.caches.length;
  text($('hit-note'), caches === 0 ? 'No cache yet' : `${caches} ${caches === 1 ? 'cache' : 'caches'} · ${count(totals.entries)} entries · ${bytes(totals.bytes)}`);
}

/* System charts ---------------------------------------------------------------------------------------------- */

const column = (points, at) => points.map((point) => point[at]);
const times = (points) => points.map((point) => point[0] / 1000);
const above = (least) => (high) => [0, Math.max(least, (high || 0) * 1.12)];

function showSystem(frame) {
  if (!charts.has('chart-memory')) {
    new Chart('chart-memory', {
      height: 218, format: bytes,
      range: (high) => scaleOf(state.frame) === 'limit' && known(state.frame.memory.limit)
        ? [0, Math.max(state.frame.memory.limit, high || 0) * 1.06] : [0, Math.max(1 << 20, (high || 0) * 1.3)],
      series: [
        { label: 'used', color: '--accent', fill: '--accent-fill' },
        { label: 'resident', color: '--c2' },
        { label: 'limit', color: '--bad', dash: [6, 5] },
      ],
    });
    new Chart('chart-cpu', {
      height: 218, format: (value) => (known(value) ? `${value.toFixed(2)}` : '–'), range: above(0.1),
      series: [{ label: 'cores used', color: '--blue', fill: '--blue-fill' }],
    });
  }
  const points = state.system;
  const scale = scaleOf(frame);
  for (const [id, name] of [['scale-fit', 'fit'], ['scale-limit', 'limit']]) $(id).setAttribute('aria-pressed', String(scale === name));
  // Out of the picture while fitting, the limit must not stretch it.
  const limit = scale === 'limit' ? column(points, SYSTEM.limit) : points.map(() => null);
  const memory = charts.get('chart-memory');
  memory.set([times(points), column(points, SYSTEM.used), column(points, SYSTEM.rss), limit]);
  if (scale === 'fit') text(memory.values[2].value, bytes(frame.memory.limit));
  charts.get('chart-cpu').set([times(points), column(points, SYSTEM.cpu)]);
}

/** Far below the limit, a line on the floor says little: fit then, unless the reader chose. */
const scaleOf = (frame) => state.scale || (frame.memory.share > 0.12 ? 'limit' : 'fit');

/* Caches ----------------------------------------------------------------------------------------------------- */

const SVG = 'http://www.w3.org/2000/svg';

function sparkline() {
  const svg = document.createElementNS(SVG, 'svg');
  svg.setAttribute('viewBox', '0 0 92 26');
  svg.setAttribute('preserveAspectRatio', 'none');
  svg.setAttribute('aria-hidden', 'true');
  const area = document.createElementNS(SVG, 'path');
  area.setAttribute('class', 'area');
  svg.append(area, document.createElementNS(SVG, 'path'));
  return svg;
}

function drawSpark(svg, points) {
  const shown = points.slice(-60);
  const last = Math.max(1, shown.length - 1);
  let line = '';
  let start = null;
  let end = null;
  shown.forEach((point, at) => {
    const lookups = point[POINT.hits] + point[POINT.misses];
    if (!(lookups > 0)) return;
    const x = (at / last) * 92;
    line += `${line ? 'L' : 'M'}${x.toFixed(1)} ${(24 - (point[POINT.hits] / lookups) * 22).toFixed(1)}`;
    if (start === null) start = x;
    end = x;
  });
  svg.lastElementChild.setAttribute('d', line);
  svg.firstElementChild.setAttribute('d', line ? `${line}L${end.toFixed(1)} 26L${start.toFixed(1)} 26Z` : '');
}

const rows = new Map();

function row(cache) {
  const cells = {
    name: el('button', { class: 'link', type: 'button', onclick: () => choose(cache.name) }, cache.name),
    about: el('small'), spark: sparkline(), ratio: el('b'), gets: el('td', { class: 'num' }),
    entries: el('span'), entriesMeter: el('div', { class: 'meter small', role: 'meter', 'aria-label': `Entries of ${cache.name}` }, el('i')),
    bytes: el('span'), bytesMeter: el('div', { class: 'meter small', role: 'meter', 'aria-label': `Bytes of ${cache.name}` }, el('i')),
    evictions: el('td', { class: 'num' }),
  };
  const tr = el('tr', {},
    el('td', {}, cells.name, el('br'), cells.about),
    el('td', {}, el('span', { class: 'spark' }, cells.ratio, cells.spark)),
    cells.gets,
    el('td', {}, cells.entries, cells.entriesMeter),
    el('td', {}, cells.bytes, cells.bytesMeter),
    cells.evictions,
    el('td', { class: 'num' }, el('button', { type: 'button', onclick: () => clearCache(cache.name), 'aria-label': `Clear ${cache.name}` }, 'Clear')));
  return { tr, cells };
}

function fillRow({ tr, cells }, cache) {
  const points = state.caches.get(cache.name) || [];
  const point = cache.point || points[points.length - 1];
  const lookups = cache.hits + cache.misses;
  const kind = cache.kind === 'bytes' ? 'JSON over HTTP' : 'Rust values';
  text(cells.about, `${cache.policy} · ${kind}${known(cache.ttl_seconds) ? ` · ttl ${span(cache.ttl_seconds)}` : ''}`);
  text(cells.ratio, lookups ? percent(cache.hits / lookups) : '–');
  drawSpark(cells.spark, points);
  const getsNow = point ? point[POINT.hits] + point[POINT.misses] : null;
  cells.gets.replaceChildren(count(lookups), el('br'), el('small', {}, rate(getsNow)));
  text(cells.entries, known(cache.max_entries) ? `${count(cache.entries)} of ${count(cache.max_entries)}` : count(cache.entries));
  fillMeter(cells.entriesMeter, cache.entries, cache.max_entries);
  text(cells.bytes, known(cache.max_bytes) ? `${bytes(cache.bytes)} of ${bytes(cache.max_bytes)}` : bytes(cache.bytes));
  fillMeter(cells.bytesMeter, cache.bytes, cache.max_bytes);
  const evicted = cache.evictions.capacity + cache.evictions.size + cache.evictions.expired;
  const evictedNow = point ? point[POINT.capacity] + point[POINT.size] + point[POINT.expired] : null;
  cells.evictions.replaceChildren(count(evicted), el('br'), el('small', {}, rate(evictedNow)));
  tr.classList.toggle('chosen', cache.name === state.chosen);
  cells.name.setAttribute('aria-pressed', String(cache.name === state.chosen));
  tr.hidden = !cache.name.includes(state.filter);
}

function fillMeter(node, value, max) {
  node.hidden = !known(max) || max === 0;
  if (!node.hidden) meter(node, value / max, percent(value / max));
}

function showCaches(frame) {
  const caches = frame.caches;
  text($('caches-count'), caches.length ? String(caches.length) : '');
  $('caches-empty').hidden = caches.length > 0;
  $('caches-scroll').hidden = caches.length === 0;
  $('caches-filter').hidden = caches.length < 6;
  const present = new Set(caches.map((cache) => cache.name));
  for (const [name, one] of rows) if (!present.has(name)) { one.tr.remove(); rows.delete(name); }
  const body = $('caches-table').tBodies[0];
  caches.forEach((cache, at) => {
    if (!rows.has(cache.name)) rows.set(cache.name, row(cache));
    const one = rows.get(cache.name);
    fillRow(one, cache);
    if (body.children[at] !== one.tr) body.insertBefore(one.tr, body.children[at] || null);
  });
  if (!present.has(state.chosen)) {
    const busiest = caches.reduce((best, cache) => (!best || cache.hits + cache.misses > best.hits + best.misses ? cache : best), null);
    state.chosen = busiest ? busiest.name : null;
    if (busiest) fillRow(rows.get(busiest.name), busiest);
  }
}

function choose(name) {
  state.chosen = name;
  show(state.frame);
}

function showDetail(frame) {
  const cache = frame.caches.find((one) => one.name === state.chosen);
  $('cache-detail').hidden = !cache;
  if (!cache) return;
  if (!charts.has('chart-hits')) {
    new Chart('chart-hits', { height: 164, format: percent, range: () => [0, 1.02], series: [{ label: 'hits of gets', color: '--accent', fill: '--accent-fill' }] });
    new Chart('chart-bytes', { height: 164, format: bytes, range: above(1024), series: [{ label: 'held', color: '--blue', fill: '--blue-fill' }] });
    new Chart('chart-evictions', { height: 164, format: rate, range: above(1), stacked: true, series: CAUSES.map(([, label, color]) => ({ label, color, fill: color })) });
  }
  const points = state.caches.get(cache.name) || [];
  text($('detail-name'), cache.name);
  showWorth(cache.name, request);
  const notes = [`${count(cache.inserts)} inserted`, `${count(cache.updates)} replaced`];
  if (cache.rejected) notes.push(`${count(cache.rejected)} refused`);
  if (cache.loads) notes.push(`${count(cache.loads)} loads${known(cache.load_mean_seconds) ? ` of ${(cache.load_mean_seconds * 1000).toFixed(1)} ms` : ''}`);
  if (cache.load_failures) notes.push(`${count(cache.load_failures)} failed loads`);
  text($('detail-note'), cache.point || points.length ? notes.join(' · ') : `${notes.join(' · ')} · no history: only the first 128 caches have one`);
  const at = times(points);
  charts.get('chart-hits').set([at, points.map((point) => {
    const lookups = point[POINT.hits] + point[POINT.misses];
    return lookups > 0 ? point[POINT.hits] / lookups : null;
  })]);
  charts.get('chart-bytes').set([at, column(points, POINT.bytes)]);
  charts.get('chart-evictions').set([at, ...CAUSES.map(([cause]) => column(points, POINT[cause]))]);
}

/* Advice ----------------------------------------------------------------------------------------------------- */

async function loadAdvice() {
  let answer;
  try { answer = await request('api/memory/analysis/recommendations'); } catch { return; }
  const grade = { critical: 'bad', warning: 'warn' };
  const items = answer.recommendations.map((one) => el('li', {},
    el('div', { class: 'line' }, el('strong', {}, one.finding), el('span', { class: `chip ${grade[one.severity] || ''}` }, `${one.subject} · ${one.severity}`)),
    el('p', {}, one.advice, ...(one.setting ? [' Setting: ', el('code', {}, one.setting)] : []))));
  if (!items.length) items.push(el('li', {}, el('span', { class: 'calm' }, 'Nothing to recommend: what was measured so far is in order.')));
  $('advice').replaceChildren(...items);
}

/* Health ----------------------------------------------------------------------------------------------------- */

function showHealth(health) {
  const grade = { up: 'ok', degraded: 'warn', starting: 'warn', down: 'bad' };
  const chip = $('health-state');
  text(chip, health.status);
  chip.className = `chip ${grade[health.status] || ''}`;
  const items = health.components.map((one) => el('li', {},
    el('div', { class: 'line' }, el('strong', {}, one.name), el('span', { class: `chip ${grade[one.state] || ''}` }, one.state)),
    one.reason ? el('p', { class: 'note' }, one.reason) : null));
  if (!items.length) items.push(el('li', {}, el('span', { class: 'calm' }, health.ready.ok ? 'Ready. No component reports anything.' : 'Not ready.')));
  // Rebuilt only when it changed: a screen reader's place in the list survives.
  const key = JSON.stringify(health);
  if ($('health').dataset.key !== key) {
    $('health').dataset.key = key;
    $('health').replaceChildren(...items);
  }
}

/* Settings --------------------------------------------------------------------------------------------------- */

let settings = [];

async function loadSettings() {
  let answer;
  try { answer = await request('api/config'); } catch { return; }
  settings = answer.settings;
  text($('profile'), answer.profile);
  text($('environment'), answer.environment);
  showSettings();
}

const shown = (value) => (typeof value === 'string' ? value : JSON.stringify(value));

function showSettings() {
  const words = $('settings-filter').value.toLowerCase().split(/\s+/).filter(Boolean);
  const matches = settings.filter((one) => {
    const haystack = `${one.path} ${shown(one.value)} ${one.origin.text}`.toLowerCase();
    return words.every((word) => haystack.includes(word));
  });
  text($('settings-count'), matches.length === settings.length ? String(settings.length || '') : `${matches.length} of ${settings.length}`);
  $('settings').tBodies[0].replaceChildren(...matches.map((one) => {
    const quiet = one.origin.kind === 'default' || one.origin.kind === 'profile';
    const path = el('button', { class: 'link', type: 'button', 'aria-expanded': 'false' }, one.path);
    const tr = el('tr', {}, el('td', {}, path), el('td', {}, el('code', {}, shown(one.value))),
      el('td', {}, el('span', { class: `chip ${quiet ? '' : 'set'}` }, one.origin.text)),
      el('td', { class: 'num acts' }, ...settingActions(one)));
    path.addEventListener('click', () => explain(one.path, path, tr));
    return tr;
  }));
  $('settings-empty').hidden = matches.length > 0;
  text($('settings-empty'), settings.length ? 'No setting matches.' : 'No settings are published.');
}

/** A masked secret cannot be edited: its value is not here to begin with. Quoted names have no plain path. */
function settingActions(one) {
  const masked = typeof one.value === 'string' && /^\*{3,}$/.test(one.value);
  const act = (label, action) => el('button', { class: 'act', type: 'button', 'aria-label': `${label} ${one.path}`, onclick: action }, label);
  const undo = one.origin.kind === 'patch' ? [act('Undo', () => undoSetting(one))] : [];
  return masked || one.path.includes('"') ? undo : [...undo, act('Edit', () => editSetting(one))];
}

/** What was typed, as a value: texts stay texts, everything else is read as JSON where it is JSON. */
function typed(input, old) {
  if (input === '') return null;
  if (typeof old === 'string') return input;
  try { return JSON.parse(input); } catch { return input; }
}

async function editSetting(one) {
  const input = el('input', { type: 'text', value: one.value === null ? '' : shown(one.value), autocomplete: 'off', spellcheck: 'false', 'aria-label': `New value of ${one.path}` });
  const answer = await edit({
    title: `Change ${one.path}`,
    body: [el('p', {}, `Now from: ${one.origin.text}. The change lasts until you undo it or the program ends; no file is written. Leave it empty for none.`), input],
    confirm: 'Change',
    path: 'api/config',
    options: () => json('PATCH', one.path.split('.').reduceRight((value, name) => ({ [name]: value }), typed(input.value.trim(), one.value))),
  });
  if (!answer) return;
  await loadSettings();
  if (answer.restart_needed) {
    await say('Without effect for now', `${one.path} is read only when the program starts, and a run-time patch ends with it. To keep the change, write it to the settings file or a variable; undo it here.`);
  }
}

async function undoSetting(one) {
  const ok = await ask({
    title: `Undo the change of ${one.path}?`,
    body: [el('p', {}, `${shown(one.value)} is taken back, and the other sources decide again.`)],
    confirm: 'Undo',
  });
  if (ok && await write(`api/config/patch?path=${encodeURIComponent(one.path)}`, { method: 'DELETE' })) await loadSettings();
}

async function explain(path, button, tr) {
  const cell = tr.children[1];
  const open = cell.querySelector('.layers');
  button.setAttribute('aria-expanded', String(!open));
  if (open) { open.remove(); return; }
  try {
    const answer = await request(`api/config/explain?path=${encodeURIComponent(path)}`);
    const layers = answer.layers.map((layer) => el('li', { class: layer.wins ? 'wins' : '' },
      `${layer.origin.text}: `, el('code', {}, shown(layer.value))));
    cell.append(el('ol', { class: 'layers' }, ...layers));
  } catch (error) {
    cell.append(el('p', { class: 'note layers' }, error.message));
  }
}

/* Actions ---------------------------------------------------------------------------------------------------- */

async function optimize() {
  const ok = await ask({
    title: 'Optimise memory now?',
    body: [el('p', {}, 'Expired entries are removed from every cache, and free memory of the allocator goes back to the system. No live entry is lost.')],
    confirm: 'Optimise',
  });
  if (!ok) return;
  $('optimize').disabled = true;
  const report = await write('api/memory/optimization/trigger', { method: 'POST' });
  $('optimize').disabled = false;
  if (!report) return;
  const steps = report.steps.map((step) => el('tr', {}, el('td', {}, step.step),
    el('td', {}, step.detail), el('td', { class: 'num' }, bytes(step.freed_bytes)), el('td', { class: 'num' }, `${(step.took_seconds * 1000).toFixed(1)} ms`)));
  await ask({
    title: `${bytes(report.returned_bytes)} went back to the system`,
    body: [el('table', {}, el('thead', {}, el('tr', {}, el('th', { scope: 'col' }, 'Step'), el('th', { scope: 'col' }, 'What'),
      el('th', { scope: 'col', class: 'num' }, 'Freed'), el('th', { scope: 'col', class: 'num' }, 'Took'))), el('tbody', {}, ...steps))],
    confirm: 'Close', cancel: false,
  });
  loadAdvice();
}

async function clearCache(name) {
  const cache = state.frame.caches.find((one) => one.name === name);
  const ok = await ask({
    title: `Clear ${name}?`,
    body: [el('p', {}, `All ${count(cache ? cache.entries : 0)} entries are removed at once; the next reads will miss. The cache itself stays.`)],
    confirm: 'Clear', danger: true,
  });
  if (ok) await write(`api/memory/cache/${encodeURIComponent(name)}/entries`, { method: 'DELETE' });
}

/** As `PolicyKind::ALL` has them. */
const POLICIES = ['adaptive', 'lru', 'lfu', 'fifo', 'ttl', 'arc'];

async function changeLimits(name) {
  const cache = state.frame.caches.find((one) => one.name === name);
  if (!cache) return;
  const plain = (value) => (known(value) ? String(Number(value.toFixed(6))) : '');
  const fields = [
    ['max_size', 'Entries', plain(cache.max_entries)],
    ['memory_limit_mb', 'Memory in MiB', plain(known(cache.max_bytes) ? cache.max_bytes / 1048576 : null)],
    ['ttl_seconds', 'Time to live in seconds', plain(cache.ttl_seconds)],
  ].map(([field, label, before]) => {
    const input = el('input', { type: 'text', inputmode: 'decimal', value: before, placeholder: 'no limit', autocomplete: 'off', 'data-field': field });
    return { field, before, input, node: el('label', { class: 'field' }, el('span', {}, label), input) };
  });
  const policy = el('select', { 'data-field': 'policy' }, ...POLICIES.map((kind) => el('option', { value: kind }, kind)));
  policy.value = cache.policy;
  fields.push({ field: 'policy', before: cache.policy, input: policy, node: el('label', { class: 'field' }, el('span', {}, 'Policy'), policy) });
  const changed = () => {
    const body = {};
    for (const { field, before, input } of fields) {
      const now = input.value.trim();
      if (now !== before) body[field] = now === '' ? null : Number.isFinite(Number(now)) ? Number(now) : now;
    }
    return body;
  };
  const answer = await edit({
    title: `Limits of ${name}`,
    body: [el('p', {}, 'What is too much leaves at once. A new time to live counts for values stored from now on. Empty means no limit. Another policy keeps all entries.'),
      el('div', { class: 'fields' }, ...fields.map((one) => one.node))],
    confirm: 'Change',
    path: `api/memory/cache/${encodeURIComponent(name)}`,
    options: () => json('PATCH', changed()),
  });
  if (answer && answer.left_entries) {
    const left = answer.left_entries;
    await say('Limits changed', `${count(left)} ${left === 1 ? 'entry' : 'entries'} (${bytes(answer.left_mb * 1048576)}) had to leave ${name}.`);
  }
}

async function shrink(name) {
  const input = el('input', { type: 'text', inputmode: 'decimal', value: '50', autocomplete: 'off', 'data-field': 'share' });
  const answer = await edit({
    title: `Shrink ${name}`,
    body: [el('p', {}, 'Gives up what is worth least until this share of it is left, and gives the memory back to the system. Limits stay, so it may fill again.'),
      el('div', { class: 'fields' }, el('label', { class: 'field' }, el('span', {}, 'Percent to keep'), input))],
    confirm: 'Shrink',
    path: `api/caches/${encodeURIComponent(name)}/shrink`,
    options: () => json('POST', { share: Number.isFinite(Number(input.value)) ? Number(input.value) / 100 : input.value }),
  });
  if (answer) {
    await say('Shrunk', `${name} gave up ${count(answer.freed_entries)} ${answer.freed_entries === 1 ? 'entry' : 'entries'} (${bytes(answer.freed_bytes)}). ${answer.reclaim}.`);
  }
}

async function copy(button, value) {
  try {
    await navigator.clipboard.writeText(value);
    text(button, 'Copied');
  } catch {
    getSelection().selectAllChildren($('caches-curl'));
    text(button, 'Press Ctrl+C');
  }
  setTimeout(() => text(button, 'Copy'), 2000);
}

/* Theme ------------------------------------------------------------------------------------------------------ */

const dark = matchMedia('(prefers-color-scheme: dark)');
const THEMES = { auto: ['◐', 'as the system'], light: ['☀', 'light'], dark: ['☾', 'dark'] };

function theme(choice) {
  const [sign, words] = THEMES[choice];
  document.documentElement.dataset.theme = choice === 'auto' ? (dark.matches ? 'dark' : 'light') : choice;
  text($('theme'), sign);
  $('theme').title = `Colours: ${words}`;
  $('theme').setAttribute('aria-label', `Colours: ${words}`);
  localStorage.setItem('trimtab-theme', choice);
  for (const chart of charts.values()) chart.build();
  if (state.frame) show(state.frame);
}

const chosenTheme = () => (Object.hasOwn(THEMES, localStorage.getItem('trimtab-theme') || '') ? localStorage.getItem('trimtab-theme') : 'auto');

/* Start ------------------------------------------------------------------------------------------------------ */

theme(chosenTheme());
dark.addEventListener('change', () => theme(chosenTheme()));
$('theme').addEventListener('click', () => theme({ auto: 'light', light: 'dark', dark: 'auto' }[chosenTheme()]));
$('scale-fit').addEventListener('click', () => { state.scale = 'fit'; if (state.frame) showSystem(state.frame); });
$('scale-limit').addEventListener('click', () => { state.scale = 'limit'; if (state.frame) showSystem(state.frame); });
$('caches-filter').addEventListener('input', (event) => { state.filter = event.target.value.trim().toLowerCase(); showCaches(state.frame); });
$('settings-filter').addEventListener('input', showSettings);
$('optimize').addEventListener('click', optimize);
$('detail-limits').addEventListener('click', () => changeLimits(state.chosen));
$('detail-shrink').addEventListener('click', () => shrink(state.chosen));
$('ask-form').addEventListener('submit', (event) => { event.preventDefault(); settle(true); });
$('ask-cancel').addEventListener('click', () => settle(false));
$('ask').addEventListener('cancel', (event) => { event.preventDefault(); settle(false); });
$('token-button').addEventListener('click', async () => {
  if (await askToken('Writes to this server need a token.')) text($('token-button'), 'Change token');
  if (waking) waking();
});
$('copy-curl').addEventListener('click', () => copy($('copy-curl'), $('caches-curl').textContent));
text($('caches-curl'), `curl -X POST ${document.baseURI}api/memory/cache/my_cache/create \\
  -H 'Content-Type: application/json' \\
  -d '{"max_size": 1000, "ttl_seconds": 3600, "memory_limit_mb": 100}'`);
document.addEventListener('visibilitychange', () => { if (!document.hidden && state.frame) show(state.frame); });
setInterval(() => { if (!document.hidden && $('connection').dataset.state === 'live') loadAdvice(); }, 15000);
listen();

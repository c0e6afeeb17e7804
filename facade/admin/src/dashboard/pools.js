/* The panel of pools; loaded after chart.js and app.js: asks every two seconds while the page is seen; hidden while there is no pool. */
'use strict';

(() => {
  const MARK = { resources: 'Resources', objects: 'Objects', buffers: 'Buffers', words: 'Words' };

  function pool(one) {
    const waits = one.kind === 'resources';
    const leases = one.leases.map((site) => el('li', {},
      el('code', {}, site.location),
      ` ${site.open} open, oldest for ${short(site.oldest_seconds)}`,
      site.leaked ? el('b', {}, ` · ${site.leaked} held too long`) : ''));
    const max = one.kind === 'buffers' ? bytes(one.max_size) : count(one.max_size);
    const row = el('tr', {},
      el('td', {}, one.name, el('br'), el('small', {}, MARK[one.kind] || one.kind)),
      el('td', { class: 'num' }, count(one.in_use)),
      el('td', { class: 'num' }, one.max_size ? `${count(one.idle)}, at most ${max}` : count(one.idle)),
      el('td', { class: 'num' }, waits ? count(one.waiting) : '–'),
      el('td', { class: 'num' }, waits ? `${short(one.wait_p50_seconds)} / ${short(one.wait_p99_seconds)}` : '–'),
      el('td', { class: 'num' }, percent(one.reuse_ratio)),
      el('td', {}, leases.length ? el('ul', {}, ...leases) : el('small', {}, 'none')));
    row.dataset.pool = one.name;
    return row;
  }

  async function look() {
    if (document.hidden) return;
    try {
      const { pools } = await request('api/pools');
      $('pools').hidden = pools.length === 0;
      text($('pools-count'), pools.length ? String(pools.length) : '');
      $('pools-table').tBodies[0].replaceChildren(...pools.map(pool));
    } catch {
      // The stream tells that the server is away.
    }
  }

  look();
  setInterval(look, 2000);
})();

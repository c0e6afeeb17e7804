/* The panel of limits: what is allowed and what was refused; hidden while there is none. */
'use strict';

(() => {
  const KIND = { all: 'one for all callers', keyed: 'one for each key', shared: 'shared over a server' };

  async function keys(limit) {
    const { usage } = await request(`api/limits/${encodeURIComponent(limit.name)}?top=20`);
    const rows = (usage || []).map((used) => el('li', {}, el('code', {}, used.key), ` ${count(used.permits)} passed, ${count(used.refused)} refused`));
    const none = usage ? 'No key is remembered.' : 'Its keys are no text, or it has none.';
    await ask({ title: `Busiest keys of ${limit.name}`, body: [rows.length ? el('ol', { id: 'limit-keys' }, ...rows) : el('p', {}, none)], confirm: 'Close', cancel: false });
  }

  panel('limits', ['api/limits'], ({ limits }) => {
    $('limits').hidden = !limits.length;
    text($('limits-count'), limits.length ? String(limits.length) : '');
    fill('limits-table', limits, (limit) => limit.name, (limit) => [
      el('td', {}, limit.name, el('br'), el('small', {}, KIND[limit.kind] || limit.kind)),
      el('td', {}, el('code', {}, limit.rate)),
      cell(count(limit.refused)),
      limit.kind === 'all' ? cell('–') : el('td', { class: 'num acts' }, `${count(limit.keys)}, at most ${count(limit.keys_max)} `, act('Keys', `of ${limit.name}`, () => keys(limit))),
      el('td', {}, limit.server
        ? el('small', {}, `${limit.server.kind}: ${count(limit.server.questions)} questions, away for ${count(limit.server.away)} (fallback ${limit.server.fallback})`)
        : el('small', {}, 'this process')),
    ]);
  });
})();

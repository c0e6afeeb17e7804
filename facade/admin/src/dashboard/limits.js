/* The panel of limits: what is allowed and what was refused; hidden while there is none. */
'use strict';

(() => {
  const KIND = { all: 'one for all callers', keyed: 'one for each key', shared: 'shared over a server' };

  panel('limits', ['api/limits'], ({ limits }) => {
    $('limits').hidden = !limits.length;
    text($('limits-count'), limits.length ? String(limits.length) : '');
    fill('limits-table', limits, (limit) => limit.name, (limit) => [
      el('td', {}, limit.name, el('br'), el('small', {}, KIND[limit.kind] || limit.kind)),
      el('td', {}, el('code', {}, limit.rate)),
      cell(count(limit.refused)),
      cell(limit.kind === 'all' ? '–' : `${count(limit.keys)}, at most ${count(limit.keys_max)}`),
      el('td', {}, limit.server
        ? el('small', {}, `${limit.server.kind}: ${count(limit.server.questions)} questions, away for ${count(limit.server.away)} (fallback ${limit.server.fallback})`)
        : el('small', {}, 'this process')),
    ]);
  });
})();

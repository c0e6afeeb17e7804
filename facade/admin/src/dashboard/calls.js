/* The panel of calls: the state of each breaker, with the hand on it, and what other manners did; hidden while there is none. */
'use strict';

(() => {
  const GRADE = { closed: 'ok', half_open: 'warn', open: 'bad', forced_open: 'bad', forced_closed: 'warn' };
  const WORDS = { open: 'Every call is refused until you choose automatic.', closed: 'Every call is let in and none is counted, until you choose automatic.', automatic: 'It is closed with an empty window, and watches again.' };

  async function force(name, wish) {
    const ok = await ask({
      title: wish === 'automatic' ? `Let the breaker of ${name} decide?` : `Force the breaker of ${name} ${wish}?`,
      body: [el('p', {}, WORDS[wish])],
      confirm: wish === 'automatic' ? 'Automatic' : `Force ${wish}`, danger: wish === 'open',
    });
    if (ok && await write(`api/calls/${encodeURIComponent(name)}/breaker`, json('POST', { state: wish }))) look();
  }

  function manners({ retry, timeout, pace, bulkhead }) {
    const words = [];
    if (retry) words.push(`${count(retry.retries)} retries, ${count(retry.recovered)} helped`);
    if (timeout) words.push(`${count(timeout.expired)} beyond ${short(timeout.limit_seconds)}`);
    if (pace) words.push(`${pace.rate}: ${count(pace.waited)} waited, ${count(pace.refused)} refused`);
    if (bulkhead) words.push(`${count(bulkhead.in_use)} of ${count(bulkhead.max)} inside, ${count(bulkhead.waiting)} wait, ${count(bulkhead.refused)} refused`);
    return words.join(' · ') || 'none';
  }

  const look = panel('lanes', ['api/calls'], ({ calls }) => {
    $('calls').hidden = !calls.length;
    text($('calls-count'), calls.length ? String(calls.length) : '');
    fill('calls-table', calls, (call) => call.name, (call) => {
      const { name, breaker } = call;
      const words = (state) => state.replace('_', ' ');
      const about = breaker && (known(breaker.probes_in_seconds) ? `probes in ${short(breaker.probes_in_seconds)}` : `${count(breaker.window_failed)} of the last ${count(breaker.window_calls)} failed`);
      return [
        el('td', {}, name),
        breaker
          ? el('td', {}, el('span', { class: `chip ${GRADE[breaker.state] || ''}` }, words(breaker.state)), el('br'), el('small', {}, about))
          : el('td', {}, el('small', {}, 'none')),
        cell(breaker ? count(breaker.calls) : '–'),
        cell(breaker ? count(breaker.failed) : '–'),
        cell(breaker ? count(breaker.refused) : '–'),
        el('td', {}, el('small', {}, manners(call))),
        el('td', { class: 'num acts' }, ...(breaker ? [
          breaker.state === 'forced_open' ? null : act('Open', `breaker ${name}`, () => force(name, 'open')),
          breaker.state === 'forced_closed' ? null : act('Close', `breaker ${name}`, () => force(name, 'closed')),
          breaker.state === 'closed' ? null : act('Automatic', `breaker ${name}`, () => force(name, 'automatic')),
        ].filter(Boolean) : [])),
      ];
    });
  });
})();

/* The memory budget: who has what, and the latest moves of bytes with what they were expected to bring.
 *
 * Loaded after chart.js and before app.js. Hidden where there is no budget. Decisions are seconds apart at least, so it is
 * asked for every five seconds.
 */
'use strict';

const budget = { at: 0, asking: false };

/** Asks for the budget if what is shown is old; `ask` sends the request, `uptime` is that of the program in seconds. */
async function showBudget(ask, uptime) {
  if (budget.asking || Date.now() - budget.at < 5000) return;
  budget.asking = true;
  try {
    drawBudget((await ask('api/budget')).budget, uptime);
  } catch {
    // Told by the connection already; the next frame tries again.
  } finally {
    budget.at = Date.now();
    budget.asking = false;
  }
}

function drawBudget(state, uptime) {
  $('budget').hidden = !state;
  if (!state) return;
  const shares = state.members.map((one) => `${one.name} ${bytes(one.limit_bytes)}`);
  const left = Object.entries(state.left_out).map(([name, why]) => `${name} takes no part: ${why}`);
  text($('budget-total'), `${bytes(state.total_bytes)} in all`);
  text($('budget-shares'), [shares.join(' \u00b7 '), `${bytes(state.free_bytes)} free`, ...left].filter(Boolean).join(' \u00b7 '));
  const points = (value, error) => `${value.toFixed(1)} \u00b1${error.toFixed(1)}`;
  const rows = state.decisions.slice(0, 6).map((one) => el('tr', {},
    el('td', {}, known(uptime) ? `${span(Math.max(0, uptime - one.at_seconds))} ago` : ''),
    el('td', { class: 'num' }, bytes(one.bytes)),
    el('td', {}, one.from || 'unused'),
    el('td', {}, one.to),
    el('td', { class: 'num' }, points(one.gain_points, one.gain_error)),
    el('td', { class: 'num' }, one.from ? points(one.loss_points, one.loss_error) : '\u2013')));
  $('budget-empty').hidden = rows.length > 0;
  $('budget-scroll').hidden = !rows.length;
  document.querySelector('#budget-table tbody').replaceChildren(...rows);
}

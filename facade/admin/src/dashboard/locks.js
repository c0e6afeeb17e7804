/* The panel of locks: what this process holds and waits for, and taking a lock from a holder that hangs; hidden without a group. */
'use strict';

(() => {
  async function take(group, lock) {
    const input = el('input', { type: 'text', autocomplete: 'off', placeholder: 'Why', 'data-field': 'reason' });
    const says = lock.held
      ? 'The holder in this process is told that its lease is lost'
      : 'The holder is another process. Over PostgreSQL its session ends with all locks on it; over Redis it learns of it at its next renewal; over files it is refused. Its lease is lost';
    const answer = await edit({
      title: `Take ${lock.name} from its holder?`,
      body: [el('p', {}, `${says}, and the lock goes to the next who waits. Work that does not check its token may go on for a while. The reason goes to the log.`), input],
      confirm: 'Take',
      path: `api/locks/${encodeURIComponent(group)}/release`,
      options: () => json('POST', { lock: lock.name, semaphore: lock.semaphore, everywhere: !lock.held, reason: input.value }),
    });
    if (answer) look();
  }

  const look = panel('locks', ['api/locks'], ({ groups }) => {
    $('locks').hidden = !groups.length;
    text($('locks-count'), groups.length ? `${groups.length} ${groups.length === 1 ? 'group' : 'groups'}` : '');
    text($('locks-groups'), groups.map((group) => `${group.name} in ${group.store}: ${count(group.acquired)} leases, ${count(group.lost)} lost, ${count(group.timeouts)} time-outs`).join(' · '));
    const rows = groups.flatMap((group) => group.locks.map((lock) => ({ group: group.name, lock })));
    $('locks-empty').hidden = rows.length > 0;
    $('locks-scroll').hidden = !rows.length;
    fill('locks-table', rows, ({ group, lock }) => `${lock.semaphore ? 'semaphore:' : ''}${group}/${lock.name}`, ({ group, lock }) => [
      el('td', {}, lock.name, el('br'), el('small', {}, lock.semaphore ? `${group}, semaphore` : group)),
      el('td', {}, lock.held ? el('code', {}, lock.holders > 1 ? `${lock.location} and ${lock.holders - 1} more` : lock.location) : el('small', {}, 'another process')),
      cell(lock.held ? short(lock.held_seconds) : '–'),
      cell(known(lock.token) ? String(lock.token) : '–'),
      cell(count(lock.waiting)),
      el('td', { class: 'num acts' }, act('Take', `${lock.semaphore ? 'semaphore' : 'lock'} ${lock.name}`, () => take(group, lock))),
    ]);
  });
})();

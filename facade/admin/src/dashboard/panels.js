/* What the panels of parts share: asked every two seconds while the page is seen, where the program has the part.
 *
 * Loaded after chart.js and app.js. `panel` asks for each path of a part and hands the answers to what draws it.
 */
'use strict';

const PARTS = new Set(document.body.dataset.parts.split(' '));

/** Draws `paths` of a part again and again; answers a function that does it now. */
function panel(part, paths, draw) {
  if (!PARTS.has(part)) return async () => {};
  let asking = false;
  const look = async () => {
    if (document.hidden || asking) return;
    asking = true;
    try {
      draw(...await Promise.all(paths.map((path) => request(path))));
    } catch {
      // The stream tells that the server is away.
    } finally {
      asking = false;
    }
  };
  look();
  setInterval(look, 2000);
  return look;
}

/** Puts rows into a table; a row whose key is there is filled again and keeps the reader's focus. */
function fill(table, items, key, cells) {
  const body = $(table).tBodies[0];
  const before = new Map([...body.rows].map((row) => [row.dataset.key, row]));
  body.replaceChildren(...items.map((item) => {
    const [id, made] = [key(item), cells(item)];
    const row = before.get(id) || el('tr', { 'data-key': id });
    const focused = row.contains(document.activeElement) ? document.activeElement.getAttribute('aria-label') : null;
    row.replaceChildren(...made);
    if (focused) setTimeout(() => row.querySelector(`[aria-label="${CSS.escape(focused)}"]`)?.focus(), 0);
    return row;
  }));
}

const cell = (value, ...more) => el('td', { class: 'num' }, value, ...more);
const act = (label, what, action) => el('button', { class: 'act', type: 'button', 'aria-label': `${label} ${what}`, onclick: action }, label);

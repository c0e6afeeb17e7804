/* What memory buys: the live miss-ratio curve of the chosen cache, with its error band, and what it says in words.
 *
 * Loaded after chart.js and before app.js. The curve is asked for when another cache is chosen, and then every five
 * seconds: it rests on many thousands of lookups and moves slowly.
 */
'use strict';

const worth = { name: null, at: 0, asking: false };

/** Builds an SVG element with attributes. */
function shape(tag, attributes, ...children) {
  const node = document.createElementNS('http://www.w3.org/2000/svg', tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

/** Asks for the curve of a cache if the one shown is of another or old; `ask` sends the request. */
async function showWorth(name, ask) {
  if (worth.asking || (worth.name === name && Date.now() - worth.at < 5000)) return;
  if (worth.name !== name) clearWorth();
  worth.asking = true;
  try {
    const answer = await ask(`api/caches/${encodeURIComponent(name)}/curve`);
    [worth.name, worth.at] = [name, Date.now()];
    drawWorth(answer);
  } catch {
    // The cache may have gone meanwhile; the next frame says so.
    [worth.name, worth.at] = [name, Date.now()];
  } finally {
    worth.asking = false;
  }
}

function clearWorth() {
  $('worth-plot').setAttribute('hidden', '');
  for (const id of ['worth-twice', 'worth-half', 'worth-policy', 'worth-basis']) text($(id), '');
}

function drawWorth(answer) {
  const { curve } = answer;
  text($('worth-policy'), `Policy: ${answer.policy}${answer.choice ? ` \u2013 at present ${answer.choice}` : ''}`);
  $('worth-plot').toggleAttribute('hidden', !curve);
  if (!curve) {
    text($('worth-twice'), '');
    text($('worth-half'), `No curve: ${answer.missing}.`);
    text($('worth-basis'), '');
    return;
  }
  text($('worth-twice'), answer.sentences[0] || '');
  text($('worth-half'), answer.sentences[1] || '');
  const others = curve.policies.map((one) => `${one.policy} ${percent(one.hit_ratio)} (\u00b1${(one.error * 100).toFixed(1)})`);
  const rest = others.length ? ` At this size: ${others.join(', ')}.` : '';
  text($('worth-basis'), `From ${count(curve.lookups)} lookups of late, ${percent(curve.sampled)} of the keys simulated; the band is two standard errors.${rest}`);
  plotWorth(curve.points);
}

function plotWorth(points) {
  const [left, right, top, bottom] = [44, 410, 10, 160];
  const [first, last] = [Math.log(points[0].factor), Math.log(points[points.length - 1].factor)];
  const x = (factor) => left + ((Math.log(factor) - first) / (last - first)) * (right - left);
  const y = (ratio) => bottom - Math.min(1, Math.max(0, ratio)) * (bottom - top);
  const place = (factor, ratio) => `${x(factor).toFixed(1)} ${y(ratio).toFixed(1)}`;
  const nodes = [0, 0.25, 0.5, 0.75, 1].flatMap((ratio) => [
    shape('line', { class: 'grid', x1: left, x2: right, y1: y(ratio), y2: y(ratio) }),
    shape('text', { x: left - 8, y: y(ratio) + 4, 'text-anchor': 'end' }, `${ratio * 100} %`),
  ]);
  const upper = points.map((one) => place(one.factor, one.hit_ratio + 2 * one.error));
  const lower = points.map((one) => place(one.factor, one.hit_ratio - 2 * one.error)).reverse();
  nodes.push(shape('path', { class: 'band', d: `M${upper.concat(lower).join('L')}Z` }));
  nodes.push(shape('path', { class: 'line', d: `M${points.map((one) => place(one.factor, one.hit_ratio)).join('L')}` }));
  for (const one of points) {
    const own = one.factor === 1;
    const told = `${one.factor}\u00d7 (${count(one.entries)} entries, ${bytes(one.bytes)}): ${percent(one.hit_ratio)} \u00b1${(one.error * 100).toFixed(1)}`;
    nodes.push(shape('circle', { class: own ? 'own' : 'dot', cx: x(one.factor), cy: y(one.hit_ratio), r: own ? 5 : 3 }, shape('title', {}, told)));
    if ([0.25, 0.5, 1, 2, 4].includes(one.factor)) {
      nodes.push(shape('text', { x: x(one.factor), y: bottom + 18, 'text-anchor': 'middle' }, own ? 'now' : `${one.factor}\u00d7`));
    }
  }
  $('worth-plot').replaceChildren(...nodes);
}

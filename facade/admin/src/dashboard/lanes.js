/* The panel of lanes: charts of what runs and waits from the stream, numbers and jobs asked for; hidden before the first job. */
'use strict';

(() => {
  const LANE = { at: 0, running: 1, queued: 2, ceiling: 3, ended: 4, refused: 5 };
  const whole = (value) => (known(value) ? count(value) : '–');

  function chart(name) {
    const id = `chart-lane-${name}`;
    if (charts.has(id)) return charts.get(id);
    $('lanes-charts').append(el('figure', {}, el('figcaption', {}, name),
      el('div', { class: 'chart small', id, role: 'img', 'aria-label': `Jobs of the lane ${name} over time` })));
    return new Chart(id, {
      height: 132, format: whole, range: above(4),
      series: [
        { label: 'running', color: '--accent', fill: '--accent-fill' },
        { label: 'queued', color: '--c3' },
        { label: 'ceiling', color: '--bad', dash: [6, 5] },
      ],
    });
  }

  function draw(name) {
    const points = state.lanes.get(name) || [];
    const most = Math.max(4, ...points.map((point) => Math.max(point[LANE.running], point[LANE.queued])));
    // Far above what happens, the ceiling must not flatten it; the legend tells it all the same.
    const near = points.map((point) => (point[LANE.ceiling] <= most * 3 ? point[LANE.ceiling] : null));
    const one = chart(name);
    one.set([times(points), column(points, LANE.running), column(points, LANE.queued), near]);
    if (points.length) text(one.values[2].value, whole(points[points.length - 1][LANE.ceiling]));
  }

  async function setCeiling(lane) {
    const input = el('input', { type: 'text', inputmode: 'numeric', value: String(lane.ceiling), autocomplete: 'off', 'data-field': 'ceiling' });
    const answer = await edit({
      title: `Ceiling of the lane ${lane.name}`,
      body: [el('p', {}, 'How many jobs may run at the same time, within the bounds of the settings. Jobs that run go on. It lasts until the settings change or the program ends.'),
        el('div', { class: 'fields' }, el('label', { class: 'field' }, el('span', {}, 'Jobs'), input))],
      confirm: 'Set',
      path: `api/lanes/${lane.name}`,
      options: () => json('PATCH', { ceiling: Number.isFinite(Number(input.value)) && input.value.trim() ? Number(input.value) : input.value }),
    });
    if (answer) look();
  }

  async function cancelJob(job) {
    const ok = await ask({
      title: `Cancel ${job.kind}?`,
      body: [el('p', {}, `Job ${job.id} of the lane ${job.lane}. One that waits ends at once, a future at its next await; a closure is told, and decides.`)],
      confirm: 'Cancel the job', danger: true,
    });
    if (ok && await write(`api/jobs/${job.id}`, { method: 'DELETE' })) look();
  }

  const look = panel('lanes', ['api/lanes', 'api/jobs?limit=20'], ({ lanes, kinds, workers }, { jobs, open }) => {
    const used = lanes.some((lane) => lane.jobs.submitted > 0);
    $('lanes').hidden = !used;
    if (!used) return;
    const runs = kinds.slice(0, 6).map((kind) => `${kind.name} ${count(kind.ended)} × ${short(kind.run_seconds)}`);
    text($('lanes-count'), String(lanes.length));
    text($('lanes-kinds'), runs.join(' · '));
    fill('lanes-table', lanes, (lane) => lane.name, (lane) => {
      const { wait_seconds: wait, run_seconds: run, jobs: books } = lane;
      return [
        el('td', {}, lane.name, el('br'), el('small', {}, [
          lane.rule === 'fixed' ? 'fixed ceiling' : lane.rule,
          ...(workers && lane.name === 'process' ? [`${count(workers.alive)} workers, ${count(workers.crashed)} crashed`] : []),
        ].join(' · '))),
        cell(`${count(lane.running)} of ${count(lane.ceiling)}`),
        cell(count(lane.queued)),
        cell(`${short(wait.p50)} / ${short(wait.p99)}`),
        cell(`${short(run.p50)} / ${short(run.p99)}`),
        cell(count(books.done)),
        cell(count(books.failed + books.panicked + books.cancelled)),
        cell(count(books.rejected + books.shed + books.expired)),
        el('td', { class: 'num acts' }, act('Ceiling', `of ${lane.name}`, () => setCeiling(lane))),
      ];
    });
    lanes.forEach((lane) => draw(lane.name));
    $('jobs').hidden = !jobs.length;
    text($('jobs-count'), open > jobs.length ? `${jobs.length} of ${count(open)}` : String(jobs.length));
    fill('jobs-table', jobs, (job) => job.id, (job) => [
      el('td', {}, job.kind, el('br'), el('small', {}, [`number ${job.id}`, ...Object.entries(job.tags).map(([key, value]) => `${key} ${value}`)].join(' · '))),
      el('td', {}, job.lane),
      el('td', {}, job.priority),
      el('td', {}, el('span', { class: `chip ${job.state === 'running' ? 'ok' : ''}` }, known(job.progress) ? `${job.state} ${percent(job.progress)}` : job.state)),
      cell(short(job.waited_seconds)),
      cell(job.state === 'running' ? short(job.ran_seconds) : '–'),
      el('td', { class: 'num acts' }, act('Cancel', `job ${job.id}`, () => cancelJob(job))),
    ]);
  });
})();

//! The panels of lanes, calls, locks and limits in the browser: real parts behind them, and their buttons pressed.

use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Runtime;
use tokio::sync::Notify;
use trimtab_admin::{CallView, Console, LimitView, Usage};
use trimtab_limit::KeyedLimit;
use trimtab_lock::{Locks, Loss};
use trimtab_scheduler::{
    BreakerSettings, BreakerState, CallSettings, Chain, Job, JobError, LaneKind, Priority, Scheduler, Standard,
};

use crate::Browser;

/// What the panels show.
pub(crate) struct Parts {
    scheduler: Scheduler,
    orders: Standard,
    settings: CallSettings,
    locks: Locks,
    logins: KeyedLimit<String>,
}

impl Parts {
    /// To be called inside of a runtime.
    pub(crate) fn new() -> Self {
        let breaker = BreakerSettings { min_calls: 5, ..BreakerSettings::default() };
        let settings = CallSettings {
            timeout: Some(Duration::from_millis(250).into()),
            breaker: Some(breaker),
            ..CallSettings::default()
        };
        Self {
            scheduler: Scheduler::new("app").expect("a scheduler"),
            orders: Chain::from_settings("orders", &settings).expect("a chain"),
            settings,
            locks: Locks::memory("jobs").expect("locks"),
            logins: KeyedLimit::new("logins", "5/m burst 2".parse().expect("a rate")).expect("a limit"),
        }
    }

    pub(crate) fn show(&self, console: Console) -> Console {
        let call = CallView { name: "orders".to_owned(), settings: self.settings.clone(), chain: self.orders.clone() };
        let (locks, logins) = (self.locks.clone(), self.logins.clone());
        let limits = move || {
            let (settings, stats) = (logins.settings().clone(), logins.stats());
            let counted = logins.clone();
            let usage: Option<Usage> = Some(Arc::new(move |top| counted.usage(top)));
            vec![LimitView { name: "logins".to_owned(), kind: "keyed", settings, stats, usage }]
        };
        let console = console.with_scheduler(self.scheduler.clone()).with_calls(move || vec![call.clone()]);
        console.with_locks(move || vec![locks.clone()]).with_limits(limits)
    }
}

fn cell(browser: &Browser, table: &str, key: &str, at: usize) -> String {
    let script = format!("return document.querySelector('#{table} tr[data-key=\"{key}\"]').cells[{at}].textContent");
    browser.run(&script).as_str().unwrap_or_default().to_owned()
}

fn press(browser: &Browser, label: &str) {
    browser.until(label, &format!("document.querySelector('[aria-label=\"{label}\"]')"));
    browser.run(&format!("document.querySelector('[aria-label=\"{label}\"]').click()"));
    browser.until("the question is asked", "document.getElementById('ask').open");
}

fn confirm(browser: &Browser) {
    browser.run("document.getElementById('ask-ok').click()");
    browser.until("the dialog is closed", "!document.getElementById('ask').open");
}

/// Not there before the first job; then running, queued and ceiling over time, jobs by number, and the two buttons.
pub(crate) fn lanes_show_their_life_and_obey(browser: &Browser, runtime: &Runtime, parts: &Parts) {
    browser.errors();
    assert_eq!(browser.run("return document.getElementById('lanes').hidden"), true, "no job, no panel");
    let scheduler = &parts.scheduler;
    scheduler.set_ceiling(LaneKind::Io, 3);
    let go = Arc::new(Notify::new());
    let wait = || {
        let go = Arc::clone(&go);
        async move { go.notified().await }
    };
    let submit = |_: i32| scheduler.submit(Job::io(wait()).name("fetch").tag("shop", "7"));
    let mut jobs: Vec<_> = (0..5).map(submit).collect();
    let urgent = scheduler.submit(Job::cpu(|| 7).name("render").priority(Priority::High));
    assert_eq!(runtime.block_on(urgent).expect("a result"), 7);

    browser.until("the lanes show", "!document.getElementById('lanes').hidden");
    browser.until(
        "three run and two wait",
        "(() => { const row = document.querySelector('#lanes-table tr[data-key=io]');
            return row?.cells[1].textContent === '3 of 3' && row.cells[2].textContent === '2'; })()",
    );
    browser.until("five jobs are listed", "document.querySelectorAll('#jobs-table tbody tr').length === 5");
    browser.until(
        "the lane's life is drawn",
        "charts.has('chart-lane-io') && charts.get('chart-lane-io').data[0].length > 5 && charts.get('chart-lane-io').raw[1].at(-1) === 3",
    );
    let kinds = browser.run("return document.getElementById('lanes-kinds').textContent");
    assert!(kinds.as_str().is_some_and(|kinds| kinds.contains("render 1 ×")), "{kinds}");
    let last = jobs.pop().expect("five");
    assert_eq!(cell(browser, "jobs-table", &last.id().to_string(), 3), "queued");
    assert!(cell(browser, "jobs-table", &last.id().to_string(), 0).contains("shop 7"));
    browser.run("document.getElementById('lanes').scrollIntoView()");
    browser.screenshot("lanes");

    press(browser, &format!("Cancel job {}", last.id()));
    confirm(browser);
    assert!(matches!(runtime.block_on(last), Err(JobError::Cancelled(..))));
    browser.until("it has left the list", "document.querySelectorAll('#jobs-table tbody tr').length === 4");
    press(browser, "Ceiling of io");
    browser.run("document.querySelector('[data-field=ceiling]').value = '9'");
    confirm(browser);
    browser.until(
        "the waiting one has started",
        "document.querySelector('#lanes-table tr[data-key=io]').cells[1].textContent === '4 of 9'",
    );
    assert_eq!(scheduler.lane_stats(LaneKind::Io).ceiling, 9);
    for job in jobs {
        go.notify_waiters();
        go.notify_one();
        runtime.block_on(job).expect("a result");
    }
    browser.until("no job is left", "document.getElementById('jobs').hidden");
    browser.until(
        "the books are kept",
        "document.querySelector('#lanes-table tr[data-key=io]').cells[5].textContent === '4'",
    );
    browser.view(400, 900, true);
    // The tables follow the view in the next frame.
    std::thread::sleep(Duration::from_millis(500));
    browser.screenshot("lanes-narrow");
    browser.until("the page does not scroll sideways", "document.documentElement.scrollWidth <= 400");
    browser.view(1400, 1000, false);
    let errors = browser.errors();
    assert!(errors.is_empty(), "the console is clean: {errors:#?}");
}

/// A breaker that opened by itself, forced by hand, and let go.
pub(crate) fn breakers_are_forced_and_let_go(browser: &Browser, runtime: &Runtime, parts: &Parts) {
    browser.until("the call is listed", "document.querySelector('#calls-table tr[data-key=orders]')");
    for _ in 0..5 {
        let failed = runtime.block_on(parts.orders.call(|| async { Err::<(), _>("down") }));
        assert!(failed.is_err());
    }
    let (_, _, breaker, ..) = parts.orders.parts();
    let breaker = breaker.expect("a breaker");
    let state = |what: &str, chip: &str| {
        browser.until(
            what,
            &format!("document.querySelector('#calls-table tr[data-key=orders] .chip')?.textContent === '{chip}'"),
        );
    };
    state("it has opened", "open");
    assert!(cell(browser, "calls-table", "orders", 1).contains("probes in "));
    assert_eq!(cell(browser, "calls-table", "orders", 3), "5");
    browser.run("document.getElementById('calls').scrollIntoView()");
    browser.screenshot("calls");
    press(browser, "Close breaker orders");
    confirm(browser);
    state("it lets everything in", "forced closed");
    assert_eq!(breaker.state(), BreakerState::ForcedClosed);
    press(browser, "Automatic breaker orders");
    confirm(browser);
    state("it decides again", "closed");
    assert_eq!(breaker.state(), BreakerState::Closed);
    let errors = browser.errors();
    assert!(errors.is_empty(), "the console is clean: {errors:#?}");
}

/// A lock with its line and its waiter, taken from the page; a limit that refused.
pub(crate) fn locks_are_taken_and_limits_shown(browser: &Browser, runtime: &Runtime, parts: &Parts) {
    browser.until("the group is there, and holds nothing", "!document.getElementById('locks-empty').hidden");
    let lease = runtime.block_on(parts.locks.acquire("nightly", Duration::ZERO)).expect("a lease");
    let line = line!() - 1;
    let waiting = runtime.spawn(parts.locks.acquire("nightly", Duration::from_secs(60)));
    browser.until(
        "one waits",
        "document.querySelector('#locks-table tr[data-key=\"jobs/nightly\"]')?.cells[4].textContent === '1'",
    );
    let holder = cell(browser, "locks-table", "jobs/nightly", 1);
    assert!(holder.contains(&format!("dashboard_parts/mod.rs:{line}:")), "{holder}");
    browser.run("document.getElementById('locks').scrollIntoView()");
    browser.screenshot("locks");
    press(browser, "Take lock nightly");
    browser.run("document.querySelector('[data-field=reason]').value = 'the holder hangs'");
    confirm(browser);
    assert_eq!(runtime.block_on(lease.lost()), Loss::Forced, "its holder is told");
    let next = runtime.block_on(waiting).expect("no panic").expect("the next has it");
    runtime.block_on(next.release()).expect("in time");
    browser.until("nothing is held", "!document.getElementById('locks-empty').hidden");

    for _ in 0..5 {
        let _ = parts.logins.check(&"ada".to_owned());
    }
    browser.until(
        "three were refused",
        "document.querySelector('#limits-table tr[data-key=logins]')?.cells[2].textContent === '3'",
    );
    assert!(cell(browser, "limits-table", "logins", 3).starts_with("1, at most "));
    press(browser, "Keys of logins");
    browser.until("its busiest key", "document.querySelector('#limit-keys li code')?.textContent === 'ada'");
    browser.run("document.querySelector('dialog[open]').close()");
    browser.run("document.getElementById('limits').scrollIntoView()");
    browser.screenshot("limits");
    let errors = browser.errors();
    assert!(errors.is_empty(), "the console is clean: {errors:#?}");
}

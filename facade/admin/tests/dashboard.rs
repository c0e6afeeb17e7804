//! The page in a real browser: live data arrive, actions work, nothing is logged as an error.
//!
//! Needs `XTASK_CHROMEDRIVER`, the path of a chromedriver (and `XTASK_CHROMIUM`, if the browser is not
//! where the driver looks). Without it the test notes that it was skipped. Screenshots go to the target's tmp folder.

#![cfg(all(feature = "scheduler", feature = "lock", feature = "limit"))]

mod common;
mod dashboard_parts;

use dashboard_parts as parts;

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use trimtab_admin::AdminSettings;
use trimtab_cache::{CacheSettings, Caches, MemoryBudget};
use trimtab_config::ByteSize;
use trimtab_pool::{Manager, Never, Pools};

/// A browser behind its driver: the few `WebDriver` commands that this test needs.
struct Browser {
    driver: Child,
    agent: ureq::Agent,
    session: String,
    _profile: PathBuf,
}

impl Browser {
    fn start(driver: &str) -> Self {
        let port = free_port();
        let mut command = Command::new(driver);
        command.arg(format!("--port={port}")).stdout(Stdio::null()).stderr(Stdio::null());
        let driver = command.spawn().expect("the driver of XTASK_CHROMEDRIVER starts");
        let config = ureq::Agent::config_builder().timeout_global(Some(Duration::from_secs(60))).proxy(None);
        let agent: ureq::Agent = config.http_status_as_error(false).build().into();
        let base = format!("http://127.0.0.1:{port}");
        wait("the driver answers", || agent.get(format!("{base}/status")).call().is_ok().then_some(()));
        let profile = tmp().join(format!("chromium-{port}"));
        let mut arguments: Vec<String> = [
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--disable-dev-shm-usage",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--no-proxy-server",
            "--window-size=1400,1000",
        ]
        .map(str::to_owned)
        .into();
        arguments.push(format!("--user-data-dir={}", profile.display()));
        let mut options = json!({ "args": arguments });
        if let Ok(browser) = std::env::var("XTASK_CHROMIUM") {
            options["binary"] = browser.into();
        }
        let wanted = json!({"capabilities": {"alwaysMatch": {
            "browserName": "chrome", "goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}
        }}});
        let mut browser = Self { driver, agent, session: format!("{base}/session"), _profile: profile };
        let session = browser.command("", &wanted);
        let id = session["sessionId"].as_str().unwrap_or_else(|| panic!("no session: {session}")).to_owned();
        browser.session = format!("{base}/session/{id}");
        browser
    }

    /// Sends a command; answers its `value`.
    fn command(&self, path: &str, body: &Value) -> Value {
        let url = format!("{}{path}", self.session);
        let mut response = self.agent.post(&url).send_json(body).unwrap_or_else(|error| panic!("{url}: {error}"));
        let mut answer: Value = response.body_mut().with_config().limit(64 << 20).read_json().expect("JSON");
        answer["value"].take()
    }

    fn open(&self, url: &str) {
        self.command("/url", &json!({ "url": url }));
    }

    /// Runs the body of a function in the page; answers what it returns.
    fn run(&self, script: &str) -> Value {
        let answer = self.command("/execute/sync", &json!({"script": script, "args": []}));
        assert!(answer.get("error").is_none(), "{script}: {answer}");
        answer
    }

    fn until(&self, what: &str, condition: &str) {
        wait(what, || (self.run(&format!("return Boolean({condition})")) == true).then_some(()));
    }

    /// Resizes the view itself; a headless window cannot be made narrow.
    fn view(&self, width: u32, height: u32, dark: bool) {
        let scheme = if dark { "dark" } else { "light" };
        let tell = |cmd: &str, params: Value| self.command("/goog/cdp/execute", &json!({"cmd": cmd, "params": params}));
        tell(
            "Emulation.setDeviceMetricsOverride",
            json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 700}),
        );
        tell("Emulation.setEmulatedMedia", json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]}));
    }

    fn screenshot(&self, name: &str) {
        let params =
            json!({"cmd": "Page.captureScreenshot", "params": {"format": "png", "captureBeyondViewport": true}});
        let data = self.command("/goog/cdp/execute", &params)["data"].as_str().expect("a picture").to_owned();
        let path = tmp().join(format!("dashboard-{name}.png"));
        std::fs::write(&path, base64(&data)).expect("a file");
        assert!(path.metadata().expect("a file").len() > 10_000, "a picture with something on it");
    }

    /// Everything that the page or the browser logged as an error since the last call.
    fn errors(&self) -> Vec<String> {
        let log = self.command("/se/log", &json!({"type": "browser"}));
        let entries = log.as_array().unwrap_or_else(|| panic!("no log: {log}")).clone();
        let severe = entries.into_iter().filter(|entry| entry["level"] == "SEVERE" || entry["level"] == "WARNING");
        severe.map(|entry| entry["message"].to_string()).collect()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Ends the browser with its session; then the driver itself.
        let _ = self.agent.delete(&self.session).call();
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}

fn tmp() -> &'static Path {
    Path::new(env!("CARGO_TARGET_TMPDIR"))
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port").port()
}

fn wait<T>(what: &str, mut attempt: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(done) = attempt() {
            return done;
        }
        assert!(started.elapsed() < Duration::from_secs(30), "waited 30 s until {what}");
        // The browser is another process: nothing here could be told when it is done.
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn base64(text: &str) -> Vec<u8> {
    let digit = |byte: u8| match byte {
        b'A'..=b'Z' => Some(u32::from(byte - b'A')),
        b'a'..=b'z' => Some(u32::from(byte - b'a') + 26),
        b'0'..=b'9' => Some(u32::from(byte - b'0') + 52),
        b'+' => Some(62),
        b'/' => Some(63),
        _ => None,
    };
    let digits: Vec<u32> = text.bytes().filter_map(digit).collect();
    let mut out = Vec::with_capacity(digits.len() * 3 / 4);
    for group in digits.chunks(4) {
        let bits = group.iter().fold(0, |bits, digit| bits << 6 | digit) << (6 * (4 - group.len()));
        out.extend_from_slice(&bits.to_be_bytes()[1..group.len()]);
    }
    out
}

/// A server on a port of its own, in a runtime of its own.
fn serve(pools: &Pools) -> (tokio::runtime::Runtime, SocketAddr, Caches, Arc<MemoryBudget>, parts::Parts) {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.set_nonblocking(true).expect("a listener");
    let address = listener.local_addr().expect("an address");
    let settings =
        AdminSettings { address, events_interval: Duration::from_millis(100).into(), ..AdminSettings::default() };
    let budget = Arc::new(MemoryBudget::new(ByteSize::mib(5)));
    budget.set_interval(Duration::from_secs(1));
    let shown = Arc::clone(&budget);
    let (caches, parts) = runtime.block_on(async {
        let parts = parts::Parts::new();
        let console = parts.show(common::console().with_budget(shown).with_pools(pools.clone()));
        let caches = console.caches().clone();
        let app = trimtab_admin::standalone(console, settings);
        let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
        tokio::spawn(async move { axum::serve(listener, app).await });
        (caches, parts)
    });
    (runtime, address, caches, budget, parts)
}

/// Three caches with different lives: a warm one, one that is too small, one whose entries expire.
fn traffic(caches: &Caches, budget: &MemoryBudget, stop: impl Fn() -> bool) {
    let mut settings = CacheSettings::default();
    settings.max_entries = Some(4000);
    settings.max_bytes = Some(ByteSize::mib(8));
    let pages = caches.create("app_cache", settings.clone()).expect("a cache");
    settings.max_entries = Some(400);
    let small = caches.create("search-results", settings.clone()).expect("a cache");
    settings.max_entries = Some(20_000);
    settings.ttl = Some(Duration::from_millis(1500).into());
    let sessions = caches.create("session_cache", settings).expect("a cache");
    let value = "x".repeat(900);
    let mut state = 7_u64;
    let mut random = |below: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    };
    let begun = Instant::now();
    while !stop() {
        budget.tick(&caches.list(), begun.elapsed());
        for _ in 0..300 {
            for (cache, range) in [(&pages, 4500), (&small, 1200), (&sessions, 3000)] {
                // The product of two draws favours small numbers: a few keys are asked for often.
                let key = format!("k{}", random(range) * random(range) / range);
                if cache.get(&key).is_none() {
                    cache.put(&key, value.clone(), None).expect("fits");
                }
            }
        }
        // Real traffic takes its time; the page shows rates.
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn dashboard_shows_live_data_without_console_errors() {
    let Ok(driver) = std::env::var("XTASK_CHROMEDRIVER") else {
        skipped("admin::dashboard: skipped: no chromedriver (cargo xtask test installs it)");
        return;
    };
    let pools = Pools::new();
    let (runtime, address, caches, budget, parts) = serve(&pools);
    let browser = Browser::start(&driver);

    // Empty: the page says how to begin.
    browser.open(&format!("http://{address}/"));
    browser.view(1400, 1000, false);
    browser.until(
        "the page is live",
        "document.body.dataset.ready && document.getElementById('connection').dataset.state === 'live'",
    );
    browser.until("the empty state shows", "!document.getElementById('caches-empty').hidden");
    browser.screenshot("empty");
    let curl = browser.run("return document.getElementById('caches-curl').textContent");
    assert!(
        curl.as_str().is_some_and(|curl| curl.contains(&format!("http://{address}/api/memory/cache/my_cache/create"))),
        "{curl}"
    );

    // Traffic: rows, charts and figures come to life.
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| traffic(&caches, &budget, || stop.load(std::sync::atomic::Ordering::Relaxed)));
        let stopper = Stopper(&stop);
        browser.until("three caches are listed", "document.querySelectorAll('#caches-table tbody tr').length === 3");
        browser.until(
            "evictions are drawn",
            "charts.has('chart-evictions') && charts.get('chart-evictions').data[0].length > 60",
        );
        let ratio = browser.run("return document.getElementById('hit-ratio').textContent");
        assert!(ratio.as_str().is_some_and(|ratio| ratio.contains('%')), "{ratio}");
        let used = browser.run("return document.getElementById('memory-used').textContent");
        assert!(used.as_str().is_some_and(|used| used.contains("iB")), "{used}");
        what_memory_buys_is_drawn_and_said(&browser);
        what_the_budget_moved_is_listed(&browser, &budget);
        let settings = browser.run("return document.querySelectorAll('#settings tbody tr').length");
        assert_eq!(settings, 12);
        browser.screenshot("light");
        browser.view(1400, 1000, true);
        browser.until("the page is dark", "document.documentElement.dataset.theme === 'dark'");
        browser.screenshot("dark");
        browser.view(400, 900, false);
        // The charts follow the view in the next frame.
        std::thread::sleep(Duration::from_millis(500));
        browser.screenshot("narrow");
        let wide = browser.run(
            "return [...document.querySelectorAll('body *')].filter((one) => one.getBoundingClientRect().right > 401 && !one.closest('.scroll'))
                .map((one) => `${one.tagName}#${one.id}.${one.getAttribute('class')}`)",
        );
        assert_eq!(wide, json!([]), "nothing is wider than the view");
        browser.until("the page does not scroll sideways", "document.documentElement.scrollWidth <= 400");
        browser.view(1400, 1000, false);
        drop(stopper);
    });

    // Search, explanation, another cache.
    browser.run("const box = document.getElementById('settings-filter'); box.value = 'variable ttl'; box.dispatchEvent(new Event('input')); box.value = 'sessions ttl'; box.dispatchEvent(new Event('input'));");
    browser.until("one setting is left", "document.querySelectorAll('#settings tbody tr').length === 1");
    browser.run("document.querySelector('#settings tbody button').click()");
    browser.until("its layers show", "document.querySelector('.layers li.wins')");
    browser.run("[...document.querySelectorAll('#caches-table .link')].find((link) => link.textContent === 'search-results').click()");
    browser.until("its charts show", "document.getElementById('detail-name').textContent === 'search-results'");

    // Writes happen only after a confirmation.
    browser.run("document.querySelector('[aria-label=\"Clear search-results\"]').click()");
    browser.until("the question is asked", "document.getElementById('ask').open");
    browser.screenshot("confirm");
    browser.run("document.getElementById('ask-cancel').click()");
    let held = || caches.get("search-results").expect("the cache").len();
    assert!(held() > 0, "cancelled");
    browser.until("the question is gone", "!document.getElementById('ask').open");
    browser.run("document.querySelector('[aria-label=\"Clear search-results\"]').click()");
    browser.run("document.getElementById('ask-ok').click()");
    browser.until("the dialog is closed", "!document.getElementById('ask').open");
    wait("the cache is cleared", || (held() == 0).then_some(()));
    browser.run("document.getElementById('optimize').click()");
    browser.run("document.getElementById('ask-ok').click()");
    browser.until("the report shows", "document.querySelectorAll('#ask tbody tr').length === 4");
    browser.screenshot("report");
    browser.run("document.getElementById('ask-ok').click()");

    limits_and_settings_are_changed(&browser, &caches);
    pools_show_who_holds_what(&browser, &runtime, &pools);
    parts::lanes_show_their_life_and_obey(&browser, &runtime, &parts);
    parts::breakers_are_forced_and_let_go(&browser, &runtime, &parts);
    parts::locks_are_taken_and_limits_shown(&browser, &runtime, &parts);
}

struct Numbers;

impl Manager for Numbers {
    type Resource = u64;
    type Error = Never;

    async fn create(&self) -> Result<u64, Never> {
        Ok(7)
    }
}

/// The panel of pools: not there without one; then numbers by kind, who waits, and the line that holds a lease.
fn pools_show_who_holds_what(browser: &Browser, runtime: &tokio::runtime::Runtime, pools: &Pools) {
    browser.errors();
    assert_eq!(browser.run("return document.getElementById('pools').hidden"), true, "no pool, no panel");
    let _inside = runtime.enter();
    let orders = pools.resource_pool_with("orders", Numbers, |builder| builder.min(0).max(2)).expect("a pool");
    let held = runtime.block_on(async { [orders.acquire().await, orders.acquire().await] });
    let line = line!() - 1;
    let waiting: Vec<_> = (0..3)
        .map(|_| {
            let orders = orders.clone();
            runtime.spawn(async move { orders.acquire().await.map(drop) })
        })
        .collect();
    let frames = pools.buffer_pool("frames").expect("a pool");
    drop((frames.acquire(4_096), frames.acquire(4_096)));
    let hosts = pools.interner("hosts", |name| trimtab_pool::Interner::bounded(name, 100)).expect("an interner");
    drop((0..4).map(|_| hosts.intern("example.org")).collect::<Vec<_>>());

    let cell = |pool: &str, at: usize| {
        let script =
            format!("return document.querySelector('#pools-table tr[data-pool={pool}]').cells[{at}].textContent");
        browser.run(&script).as_str().unwrap_or_default().to_owned()
    };
    browser.until(
        "three callers wait",
        "document.querySelector('#pools-table tr[data-pool=orders]')?.cells[3].textContent === '3'",
    );
    browser.until("all pools are listed", "document.querySelectorAll('#pools-table tbody tr').length === 3");
    assert_eq!(browser.run("return document.getElementById('pools-count').textContent"), "3");
    assert_eq!((cell("orders", 0), cell("orders", 1)), ("ordersResources".to_owned(), "2".to_owned()));
    let leases = cell("orders", 6);
    assert!(leases.contains(&format!("dashboard.rs:{line}:")) && leases.contains(" open, oldest for "), "{leases}");
    assert_eq!((cell("frames", 0), cell("frames", 3)), ("framesBuffers".to_owned(), "–".to_owned()));
    assert!(cell("frames", 2).starts_with("2, at most ") && cell("frames", 2).ends_with("iB"), "{}", cell("frames", 2));
    assert_eq!((cell("hosts", 5), cell("hosts", 6)), ("75.0 %".to_owned(), "none".to_owned()));
    browser.run("document.getElementById('pools').scrollIntoView()");
    browser.screenshot("pools");

    drop(held);
    runtime.block_on(async {
        for task in waiting {
            task.await.expect("no panic").expect("a resource");
        }
    });
    browser.until(
        "the resources are back, and the waits are known",
        "(() => { const cells = document.querySelector('#pools-table tr[data-pool=orders]').cells;
            return cells[1].textContent === '0' && cells[3].textContent === '0' && !cells[4].textContent.startsWith('0 '); })()",
    );
    browser.view(400, 900, true);
    // The table follows the view in the next frame.
    std::thread::sleep(Duration::from_millis(500));
    browser.screenshot("pools-narrow");
    browser.until("the page does not scroll sideways", "document.documentElement.scrollWidth <= 400");
    browser.view(1400, 1000, false);
    let errors = browser.errors();
    assert!(errors.is_empty(), "the console is clean: {errors:#?}");
}

/// The curve of the chosen cache, with its band, and the sentence about twice the memory.
fn what_memory_buys_is_drawn_and_said(browser: &Browser) {
    browser.run("[...document.querySelectorAll('#caches-table .link')].find((link) => link.textContent === 'search-results').click()");
    browser.until("the curve is drawn", "document.querySelectorAll('#worth-plot circle').length === 7");
    browser.until(
        "the sentence is about this cache",
        "/2× would (raise hits from \\d+ % to \\d+ %|change hits by no more)/.test(document.getElementById('worth-twice').textContent)",
    );
    let policy = browser.run("return document.getElementById('worth-policy').textContent");
    assert!(policy.as_str().is_some_and(|policy| policy.starts_with("Policy: adaptive – at present ")), "{policy}");
    let band = browser.run("return document.querySelector('#worth-plot .band').getAttribute('d')");
    assert!(band.as_str().is_some_and(|band| band.split('L').count() == 14 && !band.contains("NaN")), "{band}");
}

/// The table of moves, as soon as there is one, and what each cache has.
fn what_the_budget_moved_is_listed(browser: &Browser, budget: &MemoryBudget) {
    browser.until("a move is listed", "document.querySelectorAll('#budget-table tbody tr').length > 0");
    let decisions = budget.state().decisions;
    let first = browser.run(
        "return [...document.querySelectorAll('#budget-table tbody tr:last-child td')].map((one) => one.textContent)",
    );
    let first: Vec<&str> = first.as_array().expect("cells").iter().filter_map(Value::as_str).collect();
    assert_eq!(first.len(), 6, "{first:?}");
    assert!(first[0].ends_with(" ago") && first[1].ends_with('B') && first[4].contains('±'), "{first:?}");
    assert!(decisions.iter().any(|one| one.to == first[3]), "{first:?} in {decisions:?}");
    let shares = browser.run("return document.getElementById('budget-shares').textContent");
    assert!(shares.as_str().is_some_and(|shares| shares.contains("app_cache ") && shares.contains("free")), "{shares}");
}

/// The forms: a change is made, shown and taken back; a refusal stays in the form with its reason.
fn limits_and_settings_are_changed(browser: &Browser, caches: &Caches) {
    let closed = || browser.until("the dialog is closed", "!document.getElementById('ask').open");
    let open = |what: &str| browser.until(what, "document.getElementById('ask').open");
    let ok = || browser.run("document.getElementById('ask-ok').click()");
    let row = "[...document.querySelectorAll('#settings tbody tr')].find((tr) => tr.textContent.includes('monitor.interval'))";
    closed();
    // Whatever the budget has left it.
    let max_bytes = caches.get("app_cache").expect("the cache").settings().max_bytes;
    browser.run("[...document.querySelectorAll('#caches-table .link')].find((link) => link.textContent === 'app_cache').click()");
    browser.until("its charts show", "document.getElementById('detail-name').textContent === 'app_cache'");
    browser.run("document.getElementById('detail-limits').click()");
    open("the limits are asked for");
    browser.run("document.querySelector('[data-field=max_size]').value = '50'; document.querySelector('[data-field=ttl_seconds]').value = '90'; document.querySelector('[data-field=policy]').value = 'arc'");
    browser.screenshot("limits");
    ok();
    browser.until("it tells what left", "document.getElementById('ask-title').textContent === 'Limits changed'");
    ok();
    closed();
    let settings = caches.get("app_cache").expect("the cache").settings();
    assert_eq!((settings.max_entries, settings.max_bytes), (Some(50), max_bytes), "untouched stays");
    assert_eq!(settings.ttl.map(Duration::from), Some(Duration::from_secs(90)));
    assert_eq!(settings.policy.as_str(), "arc");

    browser.run(
        "const box = document.getElementById('settings-filter'); box.value = ''; box.dispatchEvent(new Event('input'))",
    );
    assert_eq!(
        browser.run("return document.querySelectorAll('[aria-label=\"Edit server.token\"]').length"),
        0,
        "masked"
    );
    browser.run("document.querySelector('[aria-label=\"Edit monitor.interval\"]').click()");
    open("the value is asked for");
    browser.run("document.querySelector('#ask input').value = '2s'");
    browser.screenshot("setting");
    ok();
    browser.until(
        "the origin is a patch",
        &format!("{row}.textContent.includes('run-time patch') && {row}.textContent.includes('2s')"),
    );
    browser.run("document.getElementById('settings').scrollIntoView()");
    browser.screenshot("patched");
    browser.run("document.querySelector('[aria-label=\"Undo monitor.interval\"]').click()");
    open("the undo is asked for");
    ok();
    browser.until(
        "the profile decides again",
        &format!("{row}.textContent.includes('profile') && {row}.textContent.includes('1s')"),
    );
    let errors = browser.errors();
    assert!(errors.is_empty(), "the console is clean: {errors:#?}");

    // From here on the browser itself logs the refused request.
    browser.run("document.getElementById('detail-limits').click()");
    open("the limits are asked for");
    browser.run("document.querySelector('[data-field=max_size]').value = 'many'");
    ok();
    browser.until("the reason shows", "document.querySelector('#ask .fault')?.textContent.includes('whole number')");
    assert_eq!(
        browser.run("return document.querySelector('[data-field=max_size]').value"),
        "many",
        "what was typed stays"
    );
    browser.screenshot("refused");
    browser.run("document.getElementById('ask-cancel').click()");
    closed();
    assert_eq!(caches.get("app_cache").expect("the cache").settings().max_entries, Some(50));
}

/// Ends the traffic also when an assertion fails, so that the scope can end.
struct Stopper<'a>(&'a std::sync::atomic::AtomicBool);

impl Drop for Stopper<'_> {
    fn drop(&mut self) {
        self.0.store(true, std::sync::atomic::Ordering::Relaxed);
    }
}

/// Says that a test could not run: on standard error, and in the file that collects such lines.
#[expect(clippy::print_stderr, reason = "a skipped test must be seen")]
fn skipped(line: &str) {
    use std::io::Write;
    eprintln!("{line}");
    if let Ok(path) = std::env::var("XTASK_SKIPS") {
        let file = std::fs::OpenOptions::new().create(true).append(true).open(&path);
        let written = file.and_then(|mut file| writeln!(file, "{line}"));
        written.unwrap_or_else(|error| panic!("XTASK_SKIPS={path}: {error}"));
    }
}

//! The installed recorder. A program of its own: a recorder is installed once for each program.
#![cfg(feature = "prometheus")]

use trimtab_monitor::{Monitor, Timer, meter, prometheus};

#[tokio::test(start_paused = true)]
async fn one_install_serves_all_and_the_monitor_fills_it() {
    assert!(prometheus::installed().is_none());
    let first = prometheus::install().expect("no other recorder");
    let second = prometheus::install().expect("the same again");
    meter::counter("orders_created_total", &[("kind", "web")]).increment(3);
    assert_eq!(Timer::new("render_seconds", &[]).time(|| 1), 1);

    let monitor = Monitor::builder().start().expect("started");
    for _ in 0..6 {
        monitor.sampled().await;
    }
    monitor.shutdown().await;
    let text = second.render();
    for line in [
        "orders_created_total{kind=\"web\"} 3",
        "render_seconds_count 1",
        "# TYPE trimtab_monitor_sample_seconds histogram",
        "trimtab_monitor_sample_seconds_count 7",
        "trimtab_monitor_tick_seconds_count 7",
        "# TYPE trimtab_monitor_pressure_level gauge",
        "# HELP trimtab_monitor_memory_used_bytes Memory that counts against the limit.",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is missing in\n{text}");
    }
    assert!(first.render().contains("orders_created_total"));

    // Each name has one type and one help, and every line is a comment, a sample or empty.
    let mut typed: Vec<&str> =
        text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect();
    let all = typed.len();
    typed.sort_unstable();
    typed.dedup();
    assert_eq!(typed.len(), all);
    for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let value = line.rsplit(' ').next().expect("not empty");
        assert!(value.parse::<f64>().is_ok(), "{line}");
    }
}

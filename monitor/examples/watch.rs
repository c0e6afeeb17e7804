//! Shows what the monitor sees, once a second for ten seconds, and what it would change.
//!
//! `cargo run -p trimtab-monitor --example watch`
#![allow(clippy::print_stdout, reason = "an example talks to its reader")]

use std::time::Duration;

use trimtab_config::ByteSize;
use trimtab_monitor::{Evidence, Monitor, advise, series};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let monitor = Monitor::builder().start()?;
    println!("{}", monitor.pressure().explain());
    for gap in monitor.sample().gaps.iter() {
        println!("unknown: {} ({})", gap.value, gap.reason);
    }
    for _ in 0..10 {
        monitor.sampled().await;
        let sample = monitor.sample();
        println!(
            "process {:.2} cores, {} resident | machine {:.0} % of {} cores | memory {:.1} % of its limit | sampled in {:?}",
            sample.process.cpu_share.unwrap_or(f64::NAN),
            ByteSize::b(sample.process.rss.unwrap_or(0)).rounded(),
            sample.machine.cpu_share.unwrap_or(f64::NAN) * 100.0,
            sample.machine.cpus,
            sample.memory.share.unwrap_or(f64::NAN) * 100.0,
            sample.took,
        );
    }
    if let Some(cpu) = monitor.summary(series::MACHINE_CPU, Duration::from_secs(5)) {
        println!(
            "machine over the last 5 s: {:.0} % on average, {:.0} % at most",
            cpu.average * 100.0,
            cpu.maximum * 100.0
        );
    }
    for advice in advise(&Evidence { caches: Vec::new(), memory: Some(monitor.memory_evidence()) }) {
        println!("{}: {} -> {}", advice.severity.as_str(), advice.finding, advice.advice);
    }
    monitor.shutdown().await;
    Ok(())
}

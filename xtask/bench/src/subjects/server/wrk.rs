//! The load generator `wrk`: found or installed, run, and its report read.

use std::process::{Command, Stdio};

/// What one run of `wrk` found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Load {
    pub(super) requests: f64,
    pub(super) p50_ms: f64,
    pub(super) p99_ms: f64,
}

/// Makes sure that `wrk` is there.
pub(super) fn find_or_install() -> Result<(), String> {
    if present() {
        return Ok(());
    }
    let root = Command::new("id").arg("-u").output().is_ok_and(|output| output.stdout == b"0\n");
    let mut command = if root {
        Command::new("apt-get")
    } else {
        let mut sudo = Command::new("sudo");
        sudo.args(["-n", "apt-get"]);
        sudo
    };
    let installed = command
        .args(["install", "--yes", "--no-install-recommends", "wrk"])
        .env("DEBIAN_FRONTEND", "noninteractive")
        .stdin(Stdio::null())
        .output();
    if installed.as_ref().is_ok_and(|output| output.status.success()) && present() {
        return Ok(());
    }
    let reason = match installed {
        Ok(output) => String::from_utf8_lossy(&output.stderr).lines().last().unwrap_or("no reason given").to_owned(),
        Err(error) => error.to_string(),
    };
    Err(format!(
        "the server bench needs wrk, and installing it did not succeed ({reason}); install it by hand: apt-get install wrk"
    ))
}

fn present() -> bool {
    // It prints its version and ends with 1.
    Command::new("wrk").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok()
}

/// Puts 64 connections on `url` for `seconds`.
pub(super) fn run(url: &str, seconds: u32) -> Result<Load, String> {
    let duration = format!("-d{seconds}s");
    let output = Command::new("wrk")
        .args(["-t1", "-c64", &duration, "--latency", url])
        .output()
        .map_err(|error| format!("cannot run wrk: {error}"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() {
        return Err(format!("wrk failed on {url}: {}", String::from_utf8_lossy(&output.stderr).trim()));
    }
    read(&text)
}

/// Reads the report. Answers other than 2xx and broken connections fail it: a fast error page is no result.
fn read(text: &str) -> Result<Load, String> {
    if let Some(line) = text.lines().find(|line| line.contains("Non-2xx") || line.contains("Socket errors")) {
        return Err(format!("wrk saw failures: {}", line.trim()));
    }
    let after = |label: &str| text.lines().find_map(|line| line.trim().strip_prefix(label)).map(str::trim);
    let missing = |what: &str| format!("wrk's report has no {what}: {text}");
    Ok(Load {
        requests: after("Requests/sec:")
            .and_then(|number| number.parse().ok())
            .ok_or_else(|| missing("Requests/sec"))?,
        p50_ms: after("50%").and_then(milliseconds).ok_or_else(|| missing("50%"))?,
        p99_ms: after("99%").and_then(milliseconds).ok_or_else(|| missing("99%"))?,
    })
}

/// `1.23ms`, `456.00us` or `1.20s` in milliseconds.
fn milliseconds(text: &str) -> Option<f64> {
    let (number, factor) = if let Some(number) = text.strip_suffix("us") {
        (number, 0.001)
    } else if let Some(number) = text.strip_suffix("ms") {
        (number, 1.0)
    } else {
        (text.strip_suffix('s')?, 1_000.0)
    };
    number.parse::<f64>().ok().map(|number| number * factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    const REPORT: &str = "Running 2s test @ http://127.0.0.1:1/\n  1 threads and 64 connections\n  Latency Distribution\n     50%  601.00us\n     75%    0.90ms\n     90%    1.20ms\n     99%    2.50ms\n  200000 requests in 2.00s, 30.00MB read\nRequests/sec: 100000.50\nTransfer/sec:     15.00MB\n";

    #[test]
    fn report_is_read() {
        let load = read(REPORT).unwrap();
        assert!((load.requests - 100_000.5).abs() < 1e-9);
        assert!((load.p50_ms - 0.601).abs() < 1e-9 && (load.p99_ms - 2.5).abs() < 1e-9);
    }

    #[test]
    fn errors_are_no_result() {
        assert!(read(&format!("{REPORT}  Non-2xx or 3xx responses: 17\n")).unwrap_err().contains("17"));
        assert!(read(&format!("{REPORT}  Socket errors: connect 0, read 3, write 0, timeout 0\n")).is_err());
        assert!(read("nothing").unwrap_err().contains("Requests/sec"));
    }

    #[test]
    fn units_of_latency() {
        assert_eq!(milliseconds("1.5s"), Some(1_500.0));
        assert_eq!(milliseconds("2.5ms"), Some(2.5));
        assert_eq!(milliseconds("fast"), None);
    }
}

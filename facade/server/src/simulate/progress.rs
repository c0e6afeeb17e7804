//! Progress on standard error: a steady bar on a terminal, a line every ten per cent elsewhere.

use std::io::{IsTerminal, Write};
use std::time::Instant;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// How far a run is.
pub(super) enum Progress {
    /// A bar that is redrawn in place.
    Bar(ProgressBar),
    /// Plain lines, for logs.
    Lines { title: String, total: u64, told: u64, started: Instant },
    /// Nothing.
    Quiet,
}

impl Progress {
    /// Starts reporting on `total` steps.
    pub(super) fn start(title: &str, total: u64, quiet: bool) -> Self {
        if quiet {
            return Self::Quiet;
        }
        if !std::io::stderr().is_terminal() {
            return Self::Lines { title: title.to_owned(), total: total.max(1), told: 0, started: Instant::now() };
        }
        let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr_with_hz(10));
        // The template is a constant; were it wrong, the default bar is shown.
        if let Ok(style) = ProgressStyle::with_template(
            "{prefix} {wide_bar:.cyan/dim} {percent:>3} %  {human_pos} of {human_len} requests  {elapsed}, {eta} left",
        ) {
            bar.set_style(style.progress_chars("━╸─"));
        }
        bar.set_prefix(title.to_owned());
        bar.enable_steady_tick(std::time::Duration::from_millis(200));
        Self::Bar(bar)
    }

    /// `done` of the steps are done.
    pub(super) fn at(&mut self, done: u64) {
        match self {
            Self::Bar(bar) => bar.set_position(done),
            Self::Lines { title, total, told, started } => {
                let percent = done.saturating_mul(100) / *total;
                if percent >= *told + 10 {
                    *told = percent - percent % 10;
                    // Progress that nobody can read is no reason to stop.
                    let _ =
                        writeln!(std::io::stderr(), "{title}: {told} % after {:.1} s", started.elapsed().as_secs_f64());
                }
            }
            Self::Quiet => {}
        }
    }

    /// Removes the bar.
    pub(super) fn finish(self) {
        if let Self::Bar(bar) = self {
            bar.finish_and_clear();
        }
    }
}

/// A spinner while a trace is read, whose length is not known before.
pub(super) fn reading(argument: &str, quiet: bool) -> Option<ProgressBar> {
    if quiet || !std::io::stderr().is_terminal() {
        return None;
    }
    let spinner = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(10));
    if let Ok(style) = ProgressStyle::with_template("{spinner} {msg}  {elapsed}") {
        spinner.set_style(style);
    }
    spinner.set_message(format!("reading {argument}"));
    spinner.enable_steady_tick(std::time::Duration::from_millis(100));
    Some(spinner)
}

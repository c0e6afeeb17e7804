//! Processes that hold a lock or contend for one: this program again, spoken to line by line.

use std::io::{BufRead, BufReader, Lines, Write};
use std::process::{ChildStdin, ChildStdout, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use super::single::text;
use crate::subjects::without_settings;

/// One process; killed when it is dropped.
pub(super) struct Child {
    process: std::process::Child,
    orders: ChildStdin,
    words: Lines<BufReader<ChildStdout>>,
}

impl Child {
    /// Starts `bench __child lock …`.
    pub(super) fn start(arguments: &[&str]) -> Result<Self, String> {
        let mut command = Command::new(std::env::current_exe().map_err(text)?);
        without_settings(&mut command);
        command.args(["__child", "lock"]).args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = command.spawn().map_err(|error| format!("cannot start the child {arguments:?}: {error}"))?;
        let (orders, words) = (process.stdin.take(), process.stdout.take());
        let (orders, words) = orders.zip(words).ok_or("a child without pipes")?;
        Ok(Self { process, orders, words: BufReader::new(words).lines() })
    }

    /// Its next line.
    pub(super) fn hear(&mut self) -> Result<String, String> {
        match self.words.next() {
            Some(line) => line.map_err(text),
            None => Err(format!("a child ended early: {:?}", self.process.wait())),
        }
    }

    /// Waits for this line.
    pub(super) fn hear_that(&mut self, wanted: &str) -> Result<(), String> {
        let line = self.hear()?;
        if line == wanted { Ok(()) } else { Err(format!("a child said {line:?} instead of {wanted:?}")) }
    }

    /// Sends it a line.
    pub(super) fn tell(&mut self, order: &str) -> Result<(), String> {
        writeln!(self.orders, "{order}").map_err(text)
    }

    pub(super) fn signal(&self, signal: Signal) -> Result<(), String> {
        let pid = Pid::from_raw(self.process.id().cast_signed()).ok_or("a child without a number")?;
        kill_process(pid, signal).map_err(text)
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// In a child: says a line to who started it.
pub(super) fn say(line: &str) -> Result<(), String> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}").and_then(|()| out.flush()).map_err(text)
}

/// In a child: waits for an order; none when who started it is gone.
pub(super) fn order() -> Result<Option<String>, String> {
    std::io::stdin().lines().next().transpose().map_err(text)
}

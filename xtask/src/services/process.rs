//! Processes that another process started: seen, signalled and stopped by number.
//!
//! A number alone is not an identity, since the system hands it out again. So a [`Process`] also remembers the tick at
//! which it was born, and one that was born at another time counts as gone. A service has a *family*: PostgreSQL's
//! backends leave the process group of their parent, so pausing or killing a group would miss them; the family is
//! gathered from the parent numbers in `/proc`. Without `/proc` (not Linux) the family is the process alone.

use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use serde::{Deserialize, Serialize};

/// How often a waiting function looks.
const LOOK: Duration = Duration::from_millis(10);

/// One process, told apart from a later one with the same number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Process {
    /// The number of the process.
    pub(crate) pid: i32,
    /// Clock tick since boot at which it was born; none where the system does not tell.
    born: Option<u64>,
}

/// What a process is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Activity {
    Running,
    /// Stopped by a signal; it keeps its sockets open and answers nothing.
    Paused,
    /// Ended, or never there.
    Gone,
}

impl Process {
    /// Takes note of a process that runs now.
    pub(crate) fn of(pid: u32) -> Self {
        let pid = i32::try_from(pid).unwrap_or(i32::MAX);
        Self { pid, born: stat(pid).map(|stat| stat.born) }
    }

    /// Every process whose working folder is this one or lies in it.
    pub(crate) fn working_below(folder: &Path) -> Vec<Process> {
        let works = |pid: &i32| std::fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|cwd| cwd.starts_with(folder));
        numbers().filter(works).filter_map(|pid| u32::try_from(pid).ok()).map(Process::of).collect()
    }

    /// What it is doing. One that ended but was not collected by its parent counts as gone.
    pub(crate) fn activity(self) -> Activity {
        if !Path::new("/proc/self/stat").exists() {
            let there = Pid::from_raw(self.pid).is_some_and(|pid| test_kill_process(pid).is_ok());
            return if there { Activity::Running } else { Activity::Gone };
        }
        match stat(self.pid) {
            Some(stat) if self.born.is_some_and(|born| born != stat.born) => Activity::Gone,
            // The first thread is listed as a zombie from its own end on, while others of the process may still hold
            // its sockets open.
            Some(Stat { letter: 'Z' | 'X', .. }) if threads(self.pid) > 1 => Activity::Running,
            None | Some(Stat { letter: 'Z' | 'X', .. }) => Activity::Gone,
            Some(Stat { letter: 'T' | 't', .. }) => Activity::Paused,
            Some(_) => Activity::Running,
        }
    }

    /// Sends a signal to it, if it still is who it was.
    pub(crate) fn signal(self, signal: Signal) {
        if self.activity() != Activity::Gone
            && let Some(pid) = Pid::from_raw(self.pid)
        {
            // It may end between the look and the signal: then there is nothing left to tell it.
            let _ = kill_process(pid, signal);
        }
    }

    /// The process and all its descendants, parents first.
    pub(crate) fn family(self) -> Vec<Process> {
        if self.activity() == Activity::Gone {
            return Vec::new();
        }
        let all: Vec<(i32, Stat)> = numbers().filter_map(|pid| Some((pid, stat(pid)?))).collect();
        let mut family = vec![self];
        let mut next = 0;
        while next < family.len() {
            let parent = family[next].pid;
            let children = all.iter().filter(|(_, stat)| stat.parent == parent);
            family.extend(children.map(|&(pid, stat)| Process { pid, born: Some(stat.born) }));
            next += 1;
        }
        family
    }

    /// Freezes the whole family; returns when all stand still, for a signal takes its time on a busy machine.
    pub(crate) fn pause(self) {
        let family = self.family();
        for process in &family {
            process.signal(Signal::STOP);
        }
        wait_until(&family, Duration::from_secs(10), |activity| activity != Activity::Running);
    }

    /// Lets a paused family go on, children first so that no parent finds them silent.
    pub(crate) fn resume(self) {
        for process in self.family().into_iter().rev() {
            process.signal(Signal::CONT);
        }
    }

    /// Kills the whole family at once, as a crash would; returns when all are gone.
    pub(crate) fn kill(self) {
        let family = self.family();
        for process in &family {
            process.signal(Signal::KILL);
        }
        wait_until_gone(&family, Duration::from_secs(10));
    }

    /// Asks politely with `signal`, waits up to `patience`, then kills what is left of the family.
    pub(crate) fn stop(self, signal: Signal, patience: Duration) {
        let family = self.family();
        self.resume();
        self.signal(signal);
        if !wait_until_gone(&family, patience) {
            for process in &family {
                process.signal(Signal::KILL);
            }
            // Children born since the first look.
            self.kill();
            wait_until_gone(&family, Duration::from_secs(10));
        }
    }
}

/// Waits for the end of all of them; false when time ran out first.
fn wait_until_gone(family: &[Process], patience: Duration) -> bool {
    wait_until(family, patience, |activity| activity == Activity::Gone)
}

/// Waits until all of them are as wanted; false when time ran out first.
fn wait_until(family: &[Process], patience: Duration, wanted: impl Fn(Activity) -> bool) -> bool {
    let deadline = Instant::now() + patience;
    while family.iter().any(|process| !wanted(process.activity())) {
        if Instant::now() >= deadline {
            return false;
        }
        std::thread::sleep(LOOK);
    }
    true
}

/// The numbers of all processes of this machine.
fn numbers() -> impl Iterator<Item = i32> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten();
    entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
}

/// How many threads of a process the system still knows.
fn threads(pid: i32) -> usize {
    std::fs::read_dir(format!("/proc/{pid}/task")).map_or(0, Iterator::count)
}

/// The three fields of `/proc/<pid>/stat` that matter here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stat {
    letter: char,
    parent: i32,
    born: u64,
}

fn stat(pid: i32) -> Option<Stat> {
    parse_stat(&std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// The second field is the program's name in brackets and may itself hold spaces and brackets: count from its end.
fn parse_stat(line: &str) -> Option<Stat> {
    let mut fields = line.rsplit_once(')')?.1.split_ascii_whitespace();
    let letter = fields.next()?.chars().next()?;
    let parent = fields.next()?.parse().ok()?;
    // Field 22 of the whole line, 19 after the state and counted from the one behind the parent.
    let born = fields.nth(17)?.parse().ok()?;
    Some(Stat { letter, parent, born })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    #[test]
    fn a_name_with_brackets_does_not_shift_the_fields() {
        let line =
            "4242 (a) b (c)) T 17 4242 4242 0 -1 4194560 1 0 0 0 1 2 0 0 20 0 1 0 987654 10 20 18446744073709551615";
        assert_eq!(parse_stat(line), Some(Stat { letter: 'T', parent: 17, born: 987_654 }));
        assert_eq!(parse_stat("4242 (cut"), None);
    }

    #[test]
    fn this_process_runs_and_a_number_reborn_is_gone() {
        let me = Process::of(std::process::id());
        assert_eq!(me.activity(), Activity::Running);
        if let Some(born) = me.born {
            let other = Process { pid: me.pid, born: Some(born + 1) };
            assert_eq!(other.activity(), Activity::Gone);
            assert_eq!(other.family(), []);
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_process_is_gone_with_its_last_thread() {
        let end = std::sync::Barrier::new(2);
        std::thread::scope(|scope| {
            scope.spawn(|| end.wait());
            assert!(threads(Process::of(std::process::id()).pid) > 1);
            end.wait();
        });
        let mut child = Command::new("true").stdin(Stdio::null()).spawn().unwrap();
        let process = Process::of(child.id());
        // Not collected yet: a zombie with no thread but its first.
        assert!(wait_until_gone(&[process], Duration::from_secs(10)));
        child.wait().unwrap();
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_family_is_paused_resumed_and_stopped_whole() {
        // A shell with a child of its own, which would outlive a plain kill of the shell.
        let mut shell = Command::new("sh").args(["-c", "sleep 60 & wait"]).stdin(Stdio::null()).spawn().unwrap();
        let parent = Process::of(shell.id());
        let deadline = Instant::now() + Duration::from_secs(10);
        while parent.family().len() < 2 && Instant::now() < deadline {
            std::thread::yield_now();
        }
        let family = parent.family();
        assert_eq!(family.len(), 2, "{family:?}");

        parent.pause();
        let all = |wanted| {
            let deadline = Instant::now() + Duration::from_secs(10);
            while family.iter().any(|p| p.activity() != wanted) {
                assert!(Instant::now() < deadline, "{wanted:?}: {family:?}");
                std::thread::yield_now();
            }
        };
        all(Activity::Paused);
        parent.resume();
        all(Activity::Running);
        parent.stop(Signal::TERM, Duration::from_millis(50));
        all(Activity::Gone);
        shell.wait().unwrap();
    }
}

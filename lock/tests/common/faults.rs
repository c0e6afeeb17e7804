//! What the tests of faults share: holders that are processes, the store that they write to, and a proxy that cuts.
//!
//! Holders are the test binary started again as a worker. What they protect remembers the highest token and refuses lower ones, as
//! the page on what a lock can promise asks for. The machine may stand still at any moment, and leases then end that were meant
//! to last. So nothing counts on one that lasts; a lease that ended is only held against the store if its time was not over.

#![allow(clippy::print_stdout, reason = "a worker speaks to its test through its output")]

use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use trimtab_lock::{Lease, Locks};

use super::{PATIENCE as LONG, settings};

/// Of those who are to lose it.
pub(crate) const LEASE: Duration = Duration::from_millis(700);
/// Of those who are not.
pub(crate) const SAFE: Duration = Duration::from_secs(600);

/// How often a fault is done: so often, or as often as `XTASK_ROUNDS` says.
pub(crate) fn rounds(few: usize) -> usize {
    std::env::var("XTASK_ROUNDS").map_or(few, |rounds| rounds.parse().expect("XTASK_ROUNDS is a number"))
}

/// Until when this lease must hold, if nothing is done to it.
pub(crate) fn certain(lease: &Lease) -> Instant {
    let now = Instant::now();
    now + lease.remaining().unwrap_or(if lease.is_lost() { Duration::ZERO } else { LONG })
}

/// Gives it back; it may have ended before, but not within its time.
pub(crate) async fn give_back(lease: Lease, certain: Instant) {
    if let Err(error) = lease.release().await {
        assert!(Instant::now() >= certain, "{error}");
    }
}

/// Accepts a write if its token is not lower than any before.
#[derive(Default)]
pub(crate) struct Protected {
    pub(crate) highest: u64,
    pub(crate) refused: u64,
}

impl Protected {
    pub(crate) fn write(&mut self, token: u64) -> bool {
        let accepted = token >= self.highest;
        if accepted {
            self.highest = token;
        } else {
            self.refused += 1;
        }
        accepted
    }
}

/// How a holder holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Alone,
    Reader,
    /// The only permit of a semaphore.
    Permit,
}

impl Kind {
    fn of(word: &str) -> Self {
        [Self::Alone, Self::Reader, Self::Permit].into_iter().find(|kind| kind.word() == word).expect("a kind")
    }

    fn word(self) -> &'static str {
        match self {
            Self::Alone => "alone",
            Self::Reader => "reader",
            Self::Permit => "permit",
        }
    }

    pub(crate) async fn ask(self, locks: &Locks, name: &str) -> Lease {
        match self {
            Self::Alone => locks.acquire(name, LONG).await,
            Self::Reader => locks.read(name, LONG).await,
            Self::Permit => locks.semaphore(name, 1).unwrap().acquire(LONG).await,
        }
        .unwrap()
    }

    /// Whoever cannot hold it at the same time: a writer, or another one with the permit.
    pub(crate) fn rival(self) -> Self {
        if self == Self::Reader { Self::Alone } else { self }
    }
}

/// A process that holds a lock.
pub(crate) struct Worker {
    child: Child,
    orders: ChildStdin,
    words: Lines<BufReader<ChildStdout>>,
}

impl Worker {
    /// Each file with workers has the test that they are.
    pub(crate) fn start(url: &str, name: &str, kind: Kind) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["a_worker_holds_a_lock_and_tells_of_its_loss", "--exact", "--nocapture", "--test-threads=1"])
            .env("XTASK_LOCK_WORKER", format!("{url}\n{name}\n{}", kind.word()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let (orders, words) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        Self { child, orders, words: BufReader::new(words).lines() }
    }

    pub(crate) async fn order(&mut self, order: &str) {
        self.orders.write_all(format!("{order}\n").as_bytes()).await.unwrap();
    }

    /// The next word of the worker that starts so; what the test harness prints is passed over.
    pub(crate) async fn hears(&mut self, start: &str) -> String {
        loop {
            let line = self.words.next_line().await.unwrap().expect("the worker lives");
            if let Some(at) = line.find(start) {
                return line[at + start.len()..].trim().to_owned();
            }
        }
    }

    pub(crate) async fn token(&mut self) -> u64 {
        self.hears("token:").await.parse().unwrap()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.child.id().unwrap().cast_signed()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    /// Wakes a worker that was stopped past its lease, which then writes without looking: it is told of its loss, and its token
    /// comes late, in whichever order the two come. The token.
    pub(crate) async fn wakes_and_writes(&mut self) -> u64 {
        self.order("write").await;
        self.signal(Signal::CONT);
        let (mut told, mut wrote) = (false, None);
        while !told || wrote.is_none() {
            let line = self.hears(":").await;
            if let Ok(token) = line.parse::<u64>() {
                wrote = Some(token);
            } else {
                assert!(["Expired", "Disconnected", "Gone"].contains(&line.as_str()), "{line}");
                told = true;
            }
        }
        wrote.unwrap()
    }
}

/// What a worker does, by the orders in its environment; without them it holds a lock of its own, once.
pub(crate) async fn work() {
    let folder = tempfile::tempdir().unwrap();
    let orders = std::env::var("XTASK_LOCK_WORKER");
    let alone = orders.is_err();
    let orders = orders.unwrap_or_else(|_| format!("file:{}\nalone\nalone", folder.path().display()));
    let mut orders = orders.split('\n');
    let (url, name, kind) = (orders.next().unwrap(), orders.next().unwrap(), Kind::of(orders.next().unwrap()));
    let locks = Locks::with_settings("worker", settings(url, LEASE)).await.unwrap();
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    loop {
        let lease = kind.ask(&locks, name).await;
        println!("token:{}", lease.token());
        if alone {
            assert!(lease.token() > 0);
            lease.release().await.unwrap();
            return;
        }
        let mut told = false;
        loop {
            let order = tokio::select! {
                loss = lease.lost(), if !told => {
                    told = true;
                    println!("lost:{loss:?}");
                    continue;
                }
                order = lines.next_line() => order.unwrap(),
            };
            match order.as_deref() {
                // A write that does not look at the lease first.
                Some("write") => println!("wrote:{}", lease.token()),
                Some("again") | None => break,
                Some(other) => unreachable!("{other}"),
            }
        }
        if lines.next_line().await.unwrap().is_none() {
            return;
        }
    }
}

/// Passes bytes on until it is told to cut or to swallow them.
pub(crate) struct Proxy {
    pub(crate) url: String,
    pub(crate) mode: tokio::sync::watch::Sender<Mode>,
    /// Connections that go through it: each holds one more of this.
    pub(crate) open: Arc<()>,
}

#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Mode {
    Open,
    /// Connections are ended.
    Cut,
    /// Nothing arrives any more, and nobody is told: a partition.
    Silent,
}

impl Proxy {
    pub(crate) async fn before(url: &str) -> Self {
        let address = url.rsplit_once('@').unwrap().1;
        let (address, rest) = address.split_once('/').unwrap();
        let (address, listener) = (address.to_owned(), TcpListener::bind("127.0.0.1:0").await.unwrap());
        let port = listener.local_addr().unwrap().port();
        let url = format!("{}@127.0.0.1:{port}/{rest}", url.rsplit_once('@').unwrap().0);
        let mode = tokio::sync::watch::Sender::new(Mode::Open);
        let (modes, open) = (mode.clone(), Arc::new(()));
        let count = Arc::downgrade(&open);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let Ok(server) = TcpStream::connect(&address).await else { continue };
                let (mut mode, counted) = (modes.subscribe(), count.upgrade());
                tokio::spawn(async move {
                    let (mut client, mut server, _counted) = (client, server, counted);
                    loop {
                        let now = *mode.borrow_and_update();
                        match now {
                            Mode::Cut => return,
                            // Kept open, and nothing read.
                            Mode::Silent => {
                                if mode.changed().await.is_err() {
                                    return;
                                }
                            }
                            Mode::Open => tokio::select! {
                                _ = tokio::io::copy_bidirectional(&mut client, &mut server) => return,
                                changed = mode.changed() => if changed.is_err() { return },
                            },
                        }
                    }
                });
            }
        });
        Self { url, mode, open }
    }
}

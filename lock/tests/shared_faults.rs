//! Readers and holders of permits that die, stop or lose their connection, and servers that come back with their data and without.
//!
//! As `faults.rs` for locks held alone.

#![cfg(all(unix, feature = "file", feature = "postgres", feature = "redis"))]

mod common;

use std::io::{BufRead, BufReader, Write};
use std::time::Instant;

use rustix::process::Signal;
use trimtab_lock::{Lease, Locks, Loss};

use common::faults::{Kind, LEASE, Mode, Protected, Proxy, SAFE, Worker, certain, give_back, rounds, work};
use common::{PATIENCE as LONG, Server, fresh, settings, until};

/// Started by the tests below; by itself it holds a lock of its own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_holds_a_lock_and_tells_of_its_loss() {
    work().await;
}

async fn group(url: &str) -> Locks {
    Locks::with_settings("observer", settings(url, SAFE)).await.unwrap()
}

/// What can be held over each server otherwise than alone.
const SHARED: [(&str, &[Kind]); 2] =
    [("XTASK_POSTGRES_URL", &[Kind::Reader]), ("XTASK_REDIS_URL", &[Kind::Reader, Kind::Permit])];

/// One that waits, in a task, and is known to.
async fn waits(locks: &Locks, name: &str, kind: Kind) -> tokio::task::JoinHandle<Lease> {
    let waits = tokio::spawn({
        let (locks, name) = (locks.clone(), name.to_owned());
        async move { kind.ask(&locks, &name).await }
    });
    until("a waiter", || locks.stats().waiting > 0 || waits.is_finished()).await;
    waits
}

/// Holders die one after the other; each time whoever waits gets the lock, a writer under a higher token.
async fn a_dead_holder_makes_room(url: &str, kind: Kind) {
    let locks = group(url).await;
    let name = fresh("dead");
    let mut store = Protected::default();
    for _ in 0..rounds(2) {
        let mut worker = Worker::start(url, &name, kind);
        let token = worker.token().await;
        let waits = waits(&locks, &name, kind.rival()).await;
        worker.signal(Signal::KILL);
        let next = waits.await.unwrap();
        let until_then = certain(&next);
        if kind == Kind::Reader {
            assert!(next.token() > token && store.write(next.token()));
        }
        give_back(next, until_then).await;
    }
    assert_eq!(store.refused, 0);
}

/// Two readers, and one of them dies: the writer waits for the other.
async fn a_writer_waits_for_the_last_reader(url: &str) {
    let (locks, other) = (group(url).await, group(url).await);
    for _ in 0..rounds(1) {
        let name = fresh("last");
        let reader = Kind::Reader.ask(&other, &name).await;
        let until_then = certain(&reader);
        let mut worker = Worker::start(url, &name, Kind::Reader);
        worker.token().await;
        let waits = waits(&locks, &name, Kind::Alone).await;
        worker.signal(Signal::KILL);
        // Long enough for the dead one's lease to end, unless the machine stands still.
        tokio::time::sleep(LEASE + LEASE / 2).await;
        assert!(!waits.is_finished() || Instant::now() >= until_then, "a writer beside a reader");
        let read = reader.token();
        give_back(reader, until_then).await;
        let next = waits.await.unwrap();
        assert!(next.token() > read);
        let until_then = certain(&next);
        give_back(next, until_then).await;
    }
}

/// A writer dies, and all readers who wait have the lock together.
async fn a_dead_writer_lets_all_readers_in(url: &str) {
    let (one, two) = (group(url).await, group(url).await);
    for _ in 0..rounds(1) {
        let name = fresh("writer");
        let mut worker = Worker::start(url, &name, Kind::Alone);
        let written = worker.token().await;
        let (first, second) = (waits(&one, &name, Kind::Reader).await, waits(&two, &name, Kind::Reader).await);
        worker.signal(Signal::KILL);
        let (first, second) = (first.await.unwrap(), second.await.unwrap());
        let until_then = certain(&first).min(certain(&second));
        assert!(first.token() >= written && second.token() >= written);
        assert!(!(first.is_lost() || second.is_lost()) || Instant::now() >= until_then);
        give_back(first, until_then).await;
        give_back(second, until_then).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_reader_or_writer_makes_room_over_files() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("file:{}", folder.path().display());
    a_dead_holder_makes_room(&url, Kind::Reader).await;
    a_writer_waits_for_the_last_reader(&url).await;
    a_dead_writer_lets_all_readers_in(&url).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_reader_or_writer_makes_room_over_servers() {
    let test = "a_dead_reader_or_writer_makes_room_over_servers";
    for (variable, kinds) in SHARED {
        let Some(url) = common::variable(test, variable) else { return };
        for kind in kinds {
            a_dead_holder_makes_room(&url, *kind).await;
        }
        a_writer_waits_for_the_last_reader(&url).await;
        a_dead_writer_lets_all_readers_in(&url).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_or_permit_stopped_past_its_lease_makes_room_and_is_told_on_waking() {
    let test = "a_reader_or_permit_stopped_past_its_lease_makes_room_and_is_told_on_waking";
    for (variable, kinds) in SHARED {
        let Some(url) = common::variable(test, variable) else { return };
        let locks = group(&url).await;
        for kind in kinds {
            let name = fresh("stopped");
            let mut worker = Worker::start(&url, &name, *kind);
            for _ in 0..rounds(1) {
                let token = worker.token().await;
                worker.signal(Signal::STOP);
                let next = kind.rival().ask(&locks, &name).await;
                let until_then = certain(&next);
                let mut store = Protected { highest: next.token(), refused: 0 };
                let late = worker.wakes_and_writes().await;
                assert_eq!(late, token);
                // A writer came between: what the reader does with what it read comes too late. Permits have no order.
                assert!(*kind == Kind::Permit || !store.write(late));
                assert!(!next.is_lost() || Instant::now() >= until_then);
                give_back(next, until_then).await;
                worker.order("again").await;
                worker.order("go").await;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_or_permit_behind_a_cut_or_partition_is_told() {
    let test = "a_reader_or_permit_behind_a_cut_or_partition_is_told";
    for (variable, kinds) in SHARED {
        let Some(url) = common::variable(test, variable) else { return };
        let near = group(&url).await;
        // Redis keeps a lease through a cut, and its holder renews it over the next connection.
        let modes: &[Mode] = if variable == "XTASK_REDIS_URL" { &[Mode::Silent] } else { &[Mode::Cut, Mode::Silent] };
        for (kind, mode) in kinds.iter().flat_map(|kind| modes.iter().map(move |mode| (*kind, *mode))) {
            let proxy = Proxy::before(&url).await;
            for _ in 0..rounds(1) {
                proxy.mode.send_replace(Mode::Open);
                let far = Locks::with_settings("far", settings(&proxy.url, LEASE)).await.unwrap();
                let name = fresh("partition");
                let lease = kind.ask(&far, &name).await;
                proxy.mode.send_replace(mode);
                let told = tokio::spawn({
                    let watch = lease.watch();
                    async move { watch.lost().await }
                });
                let next = kind.rival().ask(&near, &name).await;
                let until_then = certain(&next);
                assert!(kind == Kind::Permit || next.token() > lease.token());
                // In silence the holder's own clock speaks before the store's.
                assert!(mode == Mode::Cut || lease.is_lost(), "told when the next one holds");
                let loss = told.await.unwrap();
                assert!([Loss::Expired, Loss::Disconnected, Loss::Gone].contains(&loss), "{loss:?}");
                give_back(next, until_then).await;
            }
        }
    }
}

/// Lets a Redis write its data to the disk, from where it starts again.
fn save(url: &str) {
    let (user, address) = url.trim_start_matches("redis://").rsplit_once('@').unwrap();
    let mut stream = std::net::TcpStream::connect(address.trim_end_matches('/')).unwrap();
    write!(stream, "AUTH {}\r\nSAVE\r\n", user.split_once(':').unwrap().1).unwrap();
    let answers: Vec<String> = BufReader::new(stream).lines().take(2).map(Result::unwrap).collect();
    assert_eq!(answers, ["+OK", "+OK"]);
}

/// One lease of each kind that this store has, each under a name of its own.
async fn one_of_each(locks: &Locks, kinds: &[Kind]) -> Vec<(Kind, String, Lease)> {
    let mut leases = Vec::new();
    for kind in kinds {
        let name = fresh("each");
        leases.push((*kind, name.clone(), kind.ask(locks, &name).await));
    }
    leases
}

/// A server that was killed and comes back without its data, or one that ends all sessions: every holder is told, and whoever
/// comes next has a higher token.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_holder_is_told_when_its_server_loses_the_locks() {
    let test = "every_holder_is_told_when_its_server_loses_the_locks";
    for (kind, kinds) in
        [("postgres", &[Kind::Alone, Kind::Reader][..]), ("redis", &[Kind::Alone, Kind::Reader, Kind::Permit][..])]
    {
        let Some(server) = Server::start(test, kind) else { return };
        let locks = Locks::with_settings("locks", settings(&server.url, LEASE * 4)).await.unwrap();
        for _ in 0..rounds(1) {
            let leases = one_of_each(&locks, kinds).await;
            server.does("kill");
            server.does("restart");
            for (kind, name, lease) in leases {
                let loss = lease.lost().await;
                assert!([Loss::Expired, Loss::Disconnected, Loss::Gone].contains(&loss), "{loss:?}");
                let next = kind.rival().ask(&locks, &name).await;
                assert!(next.token() > lease.token(), "{kind:?}");
                let until_then = certain(&next);
                give_back(next, until_then).await;
                assert!(lease.release().await.is_err());
            }
        }
    }
}

/// A Redis that was killed and comes back with its data has kept the locks, and their holders renew them. Where the machine stood
/// still for longer than the lease, a longer one has to show it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leases_survive_a_server_that_comes_back_with_its_data() {
    let Some(server) = Server::start("leases_survive_a_server_that_comes_back_with_its_data", "redis") else { return };
    'rounds: for _ in 0..rounds(1) {
        for length in [4, 20, 100].map(|times| LEASE * times) {
            let locks = Locks::with_settings("locks", settings(&server.url, length)).await.unwrap();
            let leases = one_of_each(&locks, &[Kind::Alone, Kind::Reader, Kind::Permit]).await;
            save(&server.url);
            let until_then = leases.iter().map(|(_, _, lease)| certain(lease)).min().unwrap();
            server.does("kill");
            server.does("restart");
            let strangers = group(&server.url).await;
            let mut kept = true;
            for (_, _, lease) in &leases {
                let mut last = lease.remaining();
                let renewed_or_lost = || {
                    let now = lease.remaining();
                    let risen = now > last;
                    last = now;
                    risen || lease.is_lost()
                };
                until("a renewal", renewed_or_lost).await;
                kept &= !lease.is_lost();
            }
            if !kept {
                assert!(Instant::now() >= until_then, "lost within its time");
                continue;
            }
            for (kind, name, lease) in leases {
                let until_then = certain(&lease);
                let rival = match kind {
                    Kind::Permit => strangers.semaphore(&name, 1).unwrap().try_acquire().await,
                    Kind::Alone | Kind::Reader => strangers.try_acquire(&name).await,
                };
                assert!(rival.unwrap().is_none() || Instant::now() >= until_then, "two hold {kind:?}");
                give_back(lease, until_then).await;
                let next = kind.rival().ask(&strangers, &name).await;
                give_back(next, Instant::now() + LONG / 2).await;
            }
            continue 'rounds;
        }
        panic!("no lease survived a restart");
    }
}

//! Holders that stop, die or lose their connection, and servers that are killed, restarted and paused.
//!
//! What is killed and how it is seen stands in `common/faults.rs`. Every write that the protected store accepts comes from a
//! holder that was alone, and every holder whose lease was lost is told.

#![cfg(all(unix, feature = "file", feature = "postgres", feature = "redis"))]

mod common;

use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tokio::process::{Child, Command};
use trimtab_lock::{Locks, Loss};

use common::faults::{Kind, LEASE, Mode, Protected, Proxy, SAFE, Worker, certain, give_back, rounds, work};
use common::{PATIENCE as LONG, Server, fresh, settings, until};

/// Started by the tests below with the address and name of a lock; by itself it holds one of its own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_holds_a_lock_and_tells_of_its_loss() {
    work().await;
}

/// A holder is stopped past its lease, another writes, and the first comes back and writes too.
async fn a_stopped_holder_is_fenced_and_told(url: &str) {
    let locks = Locks::with_settings("observer", settings(url, SAFE)).await.unwrap();
    let name = fresh("stopped");
    let mut worker = Worker::start(url, &name, Kind::Alone);
    let mut store = Protected::default();
    for _ in 0..rounds(3) {
        let token = worker.token().await;
        assert!(store.write(token));
        worker.signal(Signal::STOP);
        let next = locks.acquire(&name, LONG).await.unwrap();
        let until_then = certain(&next);
        assert!(store.write(next.token()), "token {} after {token}", next.token());
        let refused = store.refused;
        let late = worker.wakes_and_writes().await;
        assert!(!store.write(late));
        assert_eq!(store.refused, refused + 1);
        assert!(!next.is_lost() || Instant::now() >= until_then);
        give_back(next, until_then).await;
        worker.order("again").await;
        worker.order("go").await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_holder_stopped_past_its_lease_is_fenced_and_told_on_waking_over_postgres() {
    let test = "a_holder_stopped_past_its_lease_is_fenced_and_told_on_waking_over_postgres";
    let Some(url) = common::variable(test, "XTASK_POSTGRES_URL") else { return };
    a_stopped_holder_is_fenced_and_told(&url).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_holder_stopped_past_its_lease_is_fenced_and_told_on_waking_over_redis() {
    let test = "a_holder_stopped_past_its_lease_is_fenced_and_told_on_waking_over_redis";
    let Some(url) = common::variable(test, "XTASK_REDIS_URL") else { return };
    a_stopped_holder_is_fenced_and_told(&url).await;
}

/// Holders die one after the other; each time the next waiter gets the lock under a higher token.
async fn a_killed_holder_frees_the_lock(url: &str) {
    let locks = Locks::with_settings("observer", settings(url, SAFE)).await.unwrap();
    let name = fresh("killed");
    let mut store = Protected::default();
    for _ in 0..rounds(3) {
        let mut worker = Worker::start(url, &name, Kind::Alone);
        assert!(store.write(worker.token().await));
        let waits = tokio::spawn({
            let (locks, name) = (locks.clone(), name.clone());
            async move { locks.acquire(&name, LONG).await.unwrap() }
        });
        // It has the lock already if the worker stood still for longer than its lease.
        until("a waiter", || locks.stats().waiting == 1 || waits.is_finished()).await;
        worker.signal(Signal::KILL);
        let before = store.highest;
        let next = waits.await.unwrap();
        let until_then = certain(&next);
        assert!(next.token() > before && store.write(next.token()));
        give_back(next, until_then).await;
    }
    assert_eq!(store.refused, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_holder_frees_its_lock_on_every_store() {
    let test = "a_killed_holder_frees_its_lock_on_every_store";
    let folder = tempfile::tempdir().unwrap();
    a_killed_holder_frees_the_lock(&format!("file:{}", folder.path().display())).await;
    for variable in ["XTASK_POSTGRES_URL", "XTASK_REDIS_URL"] {
        let Some(url) = common::variable(test, variable) else { return };
        a_killed_holder_frees_the_lock(&url).await;
    }
}

/// A waiter that died in the queue is passed over.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_waiter_killed_in_the_queue_delays_nobody_for_ever() {
    let test = "a_waiter_killed_in_the_queue_delays_nobody_for_ever";
    for variable in ["XTASK_POSTGRES_URL", "XTASK_REDIS_URL"] {
        let Some(url) = common::variable(test, variable) else { return };
        let one = Locks::with_settings("one", settings(&url, SAFE)).await.unwrap();
        let two = Locks::with_settings("two", settings(&url, SAFE)).await.unwrap();
        let name = fresh("queue");
        let lease = one.acquire(&name, LONG).await.unwrap();
        let until_then = certain(&lease);
        let worker = Worker::start(&url, &name, Kind::Alone);
        // It queues within its start; whether it had is no matter for what must follow.
        tokio::time::sleep(Duration::from_millis(300)).await;
        let waits = tokio::spawn({
            let (two, name) = (two.clone(), name.clone());
            async move { two.acquire(&name, LONG).await.unwrap() }
        });
        until("a waiter", || two.stats().waiting == 1 || waits.is_finished()).await;
        worker.signal(Signal::KILL);
        give_back(lease, until_then).await;
        let next = waits.await.unwrap();
        let until_then = certain(&next);
        give_back(next, until_then).await;
    }
}

/// Redis keeps a lease through a cut, and its holder comes back in time and renews it. Where the machine stood still for longer
/// than the lease, a longer one has to show it.
async fn a_lease_survives_a_cut(proxy: &Proxy) {
    for length in [4, 20, 100].map(|times| LEASE * times) {
        proxy.mode.send_replace(Mode::Open);
        let far = Locks::with_settings("far", settings(&proxy.url, length)).await.unwrap();
        let lease = far.acquire(&fresh("cut"), LONG).await.unwrap();
        let until_then = certain(&lease);
        proxy.mode.send_replace(Mode::Cut);
        until("the cut", || Arc::strong_count(&proxy.open) == 1).await;
        proxy.mode.send_replace(Mode::Open);
        let mut last = lease.remaining();
        let renewed_or_lost = || {
            let now = lease.remaining();
            let risen = now > last;
            last = now;
            risen || lease.is_lost()
        };
        until("a renewal", renewed_or_lost).await;
        if !lease.is_lost() {
            return give_back(lease, until_then).await;
        }
        assert!(Instant::now() >= until_then, "lost within its time");
    }
    panic!("no lease survived a cut");
}

/// The holder's connection is cut or swallowed: it is told, and the next holder has a higher token.
async fn a_holder_is_told_and_fenced(near: &Locks, proxy: &Proxy, mode: Mode) {
    proxy.mode.send_replace(Mode::Open);
    let far = Locks::with_settings("far", settings(&proxy.url, LEASE)).await.unwrap();
    let name = fresh("partition");
    let lease = far.acquire(&name, LONG).await.unwrap();
    proxy.mode.send_replace(mode);
    let told = tokio::spawn({
        let watch = lease.watch();
        async move { watch.lost().await }
    });
    let next = near.acquire(&name, LONG).await.unwrap();
    let until_then = certain(&next);
    assert!(next.token() > lease.token());
    // In silence the holder's own clock speaks before the store's. A cut reaches both sides in the same moment, and only the
    // token knows an order.
    assert!(mode == Mode::Cut || lease.is_lost(), "told when the next one holds");
    let loss = told.await.unwrap();
    assert!([Loss::Expired, Loss::Disconnected, Loss::Gone].contains(&loss), "{loss:?}");
    give_back(next, until_then).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_holder_behind_a_cut_or_partition_is_told_and_fenced() {
    let test = "a_holder_behind_a_cut_or_partition_is_told_and_fenced";
    for variable in ["XTASK_POSTGRES_URL", "XTASK_REDIS_URL"] {
        let Some(url) = common::variable(test, variable) else { return };
        let near = Locks::with_settings("near", settings(&url, SAFE)).await.unwrap();
        for mode in [Mode::Cut, Mode::Silent] {
            let proxy = Proxy::before(&url).await;
            for _ in 0..rounds(3) {
                if mode == Mode::Cut && variable == "XTASK_REDIS_URL" {
                    a_lease_survives_a_cut(&proxy).await;
                } else {
                    a_holder_is_told_and_fenced(&near, &proxy, mode).await;
                }
            }
        }
    }
}

/// The server is killed and comes back: holders are told, and tokens go on above what was given out.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_server_is_told_to_holders_and_tokens_go_on() {
    let test = "a_killed_server_is_told_to_holders_and_tokens_go_on";
    for kind in ["postgres", "redis"] {
        let Some(server) = Server::start(test, kind) else { return };
        let locks = Locks::with_settings("locks", settings(&server.url, LEASE * 4)).await.unwrap();
        let name = fresh("server");
        let mut highest = 0;
        for _ in 0..rounds(2) {
            let lease = locks.acquire(&name, LONG).await.unwrap();
            assert!(lease.token() > highest, "{} after {highest}", lease.token());
            highest = lease.token();
            server.does("kill");
            let loss = lease.lost().await;
            assert!([Loss::Expired, Loss::Disconnected, Loss::Gone].contains(&loss), "{loss:?}");
            assert!(lease.release().await.is_err());
            // Nobody hangs while it is away, and somebody who waits gets the lock when it is back.
            let waits = tokio::spawn({
                let (locks, name) = (locks.clone(), name.clone());
                async move { locks.acquire(&name, LONG).await.unwrap() }
            });
            let error = locks.try_acquire(&fresh("away")).await.unwrap_err().to_string();
            assert!(error.contains("cannot be asked for"), "{error}");
            server.does("restart");
            let next = waits.await.unwrap();
            let until_then = certain(&next);
            assert!(next.token() > highest);
            highest = next.token();
            give_back(next, until_then).await;
        }
        // A server that stands still longer than the lease.
        let lease = locks.acquire(&name, LONG).await.unwrap();
        let until_then = certain(&lease);
        server.does("pause");
        // Unless the server had ended it before it was made to stand still.
        let in_time = Instant::now() < until_then;
        let loss = lease.lost().await;
        assert!(loss == Loss::Expired || !in_time, "{loss:?}");
        server.does("resume");
        let next = locks.acquire(&name, LONG).await.unwrap();
        let until_then = certain(&next);
        assert!(next.token() > lease.token());
        give_back(next, until_then).await;
    }
}

/// Sixteen processes, one file: a counter that is read and written in two steps comes out exact.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_counter_under_a_file_lock_is_exact_over_processes() {
    // 1,000 with the usual 20 rounds of a whole proof.
    let turns = 50 * rounds(2);
    if let Ok(orders) = std::env::var("XTASK_LOCK_COUNTER") {
        let (url, file) = orders.split_once('\n').unwrap();
        let locks = Locks::with_settings("counter", settings(url, LEASE)).await.unwrap();
        for _ in 0..turns {
            let lease = locks.acquire("counter", LONG).await.unwrap();
            let count: u64 = std::fs::read_to_string(file).unwrap().parse().unwrap();
            std::fs::write(file, (count + 1).to_string()).unwrap();
            lease.release().await.unwrap();
        }
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("count");
    std::fs::write(&file, "0").unwrap();
    let url = format!("file:{}/locks", folder.path().display());
    let children: Vec<Child> = (0..16)
        .map(|_| {
            Command::new(std::env::current_exe().unwrap())
                .args(["a_counter_under_a_file_lock_is_exact_over_processes", "--exact"])
                .env("XTASK_LOCK_COUNTER", format!("{url}\n{}", file.display()))
                .stdout(Stdio::null())
                .kill_on_drop(true)
                .spawn()
                .unwrap()
        })
        .collect();
    for mut child in children {
        assert!(child.wait().await.unwrap().success());
    }
    assert_eq!(std::fs::read_to_string(&file).unwrap(), (16 * turns).to_string());
    let locks = Locks::connect("after", &url).await.unwrap();
    let token = locks.acquire("counter", LONG).await.unwrap().token();
    assert_eq!(token, 16 * turns as u64 + 1, "one token for each lease");
}

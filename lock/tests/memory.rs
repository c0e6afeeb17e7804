//! The rules of one name in one process, on locks in memory: order, leaving, re-entrance, loss.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use proptest::prelude::*;
use trimtab_lock::{AcquireError, Lease, LeaseMode, LockError, Locks, Loss, ReleaseError};

const LONG: Duration = Duration::from_secs(3600);

#[tokio::test(start_paused = true)]
async fn waiters_are_served_in_the_order_they_came_and_tokens_grow() {
    let locks = Locks::memory("jobs").unwrap();
    let first = locks.acquire("a", LONG).await.unwrap();
    let mut last = first.token();
    let (told, mut order) = tokio::sync::mpsc::unbounded_channel();
    for number in 0..10 {
        let (locks, told) = (locks.clone(), told.clone());
        tokio::spawn(async move {
            let lease = locks.acquire("a", LONG).await.unwrap();
            told.send((number, lease.token())).unwrap();
            tokio::time::sleep(Duration::from_millis(1)).await;
        });
        // Each queues before the next comes.
        tokio::task::yield_now().await;
    }
    first.release().await.unwrap();
    for expected in 0..10 {
        let (number, token) = order.recv().await.unwrap();
        assert_eq!(number, expected);
        assert!(token > last);
        last = token;
    }
    let stats = locks.stats();
    assert_eq!((stats.acquired, stats.lost, stats.waiting), (11, 0, 0));
    assert_eq!(stats.hand_overs, 10);
}

#[tokio::test(start_paused = true)]
async fn a_time_out_names_the_line_that_holds_the_lock() {
    let locks = Locks::memory("jobs").unwrap();
    // Only what runs in a task of its own is known as one.
    let asks = locks.clone();
    let asked = tokio::spawn(async move {
        let lease = asks.acquire("a", LONG).await.unwrap();
        (lease, asks.acquire("a", Duration::from_millis(250)).await.unwrap_err())
    });
    let (lease, error) = asked.await.unwrap();
    let text = error.to_string();
    assert!(error.is_timeout() && text.contains("was not free within 250ms") && text.contains("memory.rs"), "{text}");
    assert!(text.contains("the same task"), "{text}");
    let locks2 = locks.clone();
    let text = tokio::spawn(async move { locks2.acquire("a", Duration::ZERO).await.unwrap_err().to_string() });
    assert!(!text.await.unwrap().contains("the same task"));
    assert!(locks.try_acquire("a").await.unwrap().is_none());
    assert!(locks.try_acquire("b").await.unwrap().is_some(), "another name is another lock");
    drop(lease);
    assert!(locks.try_acquire("a").await.unwrap().is_some());
    assert_eq!(locks.stats().timeouts, 2);
    assert!(locks.report().is_empty(), "a name that nobody uses is forgotten");
}

#[tokio::test(start_paused = true)]
async fn a_lock_asked_for_under_itself_is_refused_at_once_and_others_are_not() {
    let locks = Locks::memory("jobs").unwrap();
    let inner = locks.clone();
    let outcome = locks.with_lock("a", LONG, |_| async move {
        let again = inner.acquire("a", LONG).await.unwrap_err();
        assert!(matches!(again, AcquireError::Reentrant { .. }), "{again}");
        assert!(again.to_string().contains("pass the lease on instead"));
        let deeper = inner.clone();
        let nested = inner.with_lock("b", LONG, |_| async move {
            assert!(matches!(deeper.try_acquire("a").await, Err(AcquireError::Reentrant { .. })));
            7
        });
        nested.await.unwrap()
    });
    assert_eq!(outcome.await.unwrap(), 7);
    assert_eq!(locks.stats().held, 0);
}

#[tokio::test(start_paused = true)]
async fn readers_work_together_and_none_becomes_a_writer_under_its_own_lock() {
    let locks = Locks::memory("jobs").unwrap();
    let (one, two) = (locks.clone(), locks.clone());
    let outcome = locks.with_read("a", LONG, |lease| async move {
        assert!(!lease.is_lost());
        let together = one.read("a", Duration::ZERO).await;
        assert!(matches!(together, Err(AcquireError::Reentrant { .. })), "under the same lock");
        let together = tokio::spawn(async move { one.with_read("a", Duration::ZERO, |_| async { 3 }).await });
        let alone = two.acquire("a", LONG).await.unwrap_err();
        assert!(matches!(alone, AcquireError::Reentrant { .. }), "{alone}");
        together.await.unwrap().unwrap()
    });
    assert_eq!(outcome.await.unwrap(), 3);
    let reads = tokio::spawn({
        let locks = locks.clone();
        async move { locks.with_read("a", LONG, |_| std::future::pending::<()>()).await }
    });
    tokio::task::yield_now().await;
    assert!(locks.try_read("a").await.unwrap().is_some() && locks.force_release("a", "stuck"));
    let error = reads.await.unwrap().unwrap_err();
    assert!(matches!(error, LockError::Lost { loss: Loss::Forced, finished: false, .. }), "{error}");
}

#[tokio::test(start_paused = true)]
async fn work_stops_when_its_lease_is_taken_away_and_the_next_waiter_gets_the_lock() {
    struct Dropped(std::sync::Arc<std::sync::atomic::AtomicBool>);
    impl Drop for Dropped {
        fn drop(&mut self) {
            self.0.store(true, std::sync::atomic::Ordering::SeqCst);
        }
    }
    let locks = Locks::memory("jobs").unwrap();
    let stopped = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let work = {
        let (locks, dropped) = (locks.clone(), Dropped(stopped.clone()));
        tokio::spawn(async move {
            locks
                .with_lock("a", LONG, |_| async move {
                    let _dropped = dropped;
                    std::future::pending::<()>().await;
                })
                .await
        })
    };
    tokio::task::yield_now().await;
    let waiter = tokio::spawn({
        let locks = locks.clone();
        async move { locks.acquire("a", LONG).await.unwrap() }
    });
    tokio::task::yield_now().await;
    assert!(locks.force_release("a", "stuck"));
    let error = work.await.unwrap().unwrap_err();
    assert!(matches!(error, LockError::Lost { loss: Loss::Forced, finished: false, .. }), "{error}");
    assert!(stopped.load(std::sync::atomic::Ordering::SeqCst));
    let lease = waiter.await.unwrap();
    assert!(!lease.is_lost());
    assert!(!locks.force_release("b", "nobody holds it"));
    assert_eq!(locks.stats().lost, 1);
    let watch = lease.watch();
    lease.release().await.unwrap();
    assert!(watch.is_lost());
}

#[tokio::test(start_paused = true)]
async fn a_release_after_a_loss_says_so() {
    let locks = Locks::memory("jobs").unwrap();
    let lease = locks.acquire("a", LONG).await.unwrap();
    assert!(locks.force_release("a", "test"));
    assert_eq!(lease.lost().await, Loss::Forced);
    let other = locks.acquire("a", LONG).await.unwrap();
    let error = lease.release().await.unwrap_err();
    assert!(matches!(error, ReleaseError::Lost { loss: Loss::Forced, .. }), "{error}");
    assert!(!other.is_lost(), "a late release takes nothing from the next holder");
}

#[tokio::test]
async fn names_and_crowds_have_limits() {
    let mut settings = trimtab_lock::LockSettings::default();
    settings.waiters_max = 1;
    let locks = Locks::with_settings("jobs", settings).await.unwrap();
    assert!(matches!(locks.acquire("", LONG).await, Err(AcquireError::Name { length: 0, .. })));
    assert!(matches!(locks.acquire(&"x".repeat(4097), LONG).await, Err(AcquireError::Name { .. })));
    let _lease = locks.acquire("any text: ä\0\n/..", LONG).await.unwrap();
    let mut waits = Box::pin(locks.acquire("any text: ä\0\n/..", LONG));
    assert!(poll(&mut waits).is_pending());
    let error = locks.acquire("any text: ä\0\n/..", LONG).await.unwrap_err();
    assert!(error.to_string().contains("raise lock.jobs.waiters_max"), "{error}");
    assert!(Locks::memory("Jobs").is_err());
    let error = Locks::connect("jobs", "etcd://host").await.unwrap_err().to_string();
    assert!(error.contains("a store \"etcd\" is not known here"), "{error}");
}

#[test]
fn outside_of_a_runtime_a_free_lock_is_given_and_waiting_is_refused() {
    let locks = Locks::memory("jobs").unwrap();
    let mut asks = Box::pin(locks.acquire("a", LONG));
    let Poll::Ready(Ok(_lease)) = poll(&mut asks) else { panic!("free") };
    let mut asks = Box::pin(locks.acquire("a", LONG));
    let Poll::Ready(Err(error)) = poll(&mut asks) else { panic!("refused") };
    assert!(error.to_string().contains("needs a tokio runtime"), "{error}");
    assert_eq!(locks.stats().waiting, 0);
}

type Waits = Pin<Box<dyn Future<Output = Result<Lease, AcquireError>> + Send>>;

fn poll<F: Future + ?Sized>(future: &mut Pin<Box<F>>) -> Poll<F::Output> {
    future.as_mut().poll(&mut Context::from_waker(Waker::noop()))
}

#[derive(Debug, Clone)]
enum Step {
    Ask,
    Poll(usize),
    Leave(usize),
    Release,
    Force,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => Just(Step::Ask),
        4 => (0_usize..6).prop_map(Step::Poll),
        2 => (0_usize..6).prop_map(Step::Leave),
        3 => Just(Step::Release),
        1 => Just(Step::Force),
    ];
    proptest::collection::vec(step, 0..60)
}

proptest! {
    /// Against a list of numbers: one holder at most, in order, nothing lost when callers leave at any moment.
    #[test]
    fn a_name_behaves_like_a_list(steps in steps()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let _inside = runtime.enter();
        let locks = Locks::memory("model").unwrap();
        let mut waits: Vec<(u32, Waits)> = Vec::new();
        // Who was served: the first has the lock, in hand or on its way.
        let mut queue: VecDeque<u32> = VecDeque::new();
        let mut held: Option<(u32, Lease)> = None;
        let (mut number, mut last) = (0, 0);
        for step in steps {
            match step {
                Step::Ask => {
                    let mut asks: Waits = Box::pin(locks.acquire("a", LONG));
                    queue.push_back(number);
                    match poll(&mut asks) {
                        Poll::Ready(lease) => {
                            prop_assert_eq!(queue.len(), 1);
                            held = Some((number, lease.unwrap()));
                        }
                        Poll::Pending => waits.push((number, asks)),
                    }
                    number += 1;
                }
                Step::Poll(at) if at < waits.len() => {
                    let answer = poll(&mut waits[at].1);
                    let first = queue.front() == Some(&waits[at].0);
                    prop_assert_eq!(answer.is_ready(), first);
                    if let Poll::Ready(lease) = answer {
                        held = Some((waits.remove(at).0, lease.unwrap()));
                    }
                }
                Step::Leave(at) if at < waits.len() => {
                    let (number, asks) = waits.remove(at);
                    drop(asks);
                    queue.retain(|waiting| *waiting != number);
                }
                Step::Release => if let Some((number, lease)) = held.take() {
                    prop_assert_eq!(queue.pop_front(), Some(number));
                    prop_assert!(lease.token() > last && !lease.is_lost());
                    last = lease.token();
                    drop(lease);
                },
                Step::Force => {
                    // Who has it in hand; one on its way would be told when it arrives.
                    if let Some((_, lease)) = held.take() {
                        prop_assert!(locks.force_release("a", "model"));
                        prop_assert!(lease.is_lost());
                        queue.pop_front();
                    }
                }
                Step::Poll(_) | Step::Leave(_) => {}
            }
            let report = locks.report().into_iter().next();
            let (holder, waiting) = report.map_or((false, 0), |r| (r.holder.is_some(), r.waiting));
            prop_assert_eq!(holder, !queue.is_empty());
            prop_assert_eq!(waiting, queue.len().saturating_sub(1));
        }
    }
}

/// Naive: who is inside, and who stands in the queue, each with its mode.
#[derive(Default)]
struct Model {
    inside: Vec<(u32, LeaseMode)>,
    queue: VecDeque<(u32, LeaseMode)>,
}

impl Model {
    fn fits(&self, mode: LeaseMode) -> bool {
        let alone = self.inside.iter().any(|(_, mode)| *mode == LeaseMode::Exclusive);
        match mode {
            LeaseMode::Permit { of } => self.inside.len() < of as usize,
            LeaseMode::Shared => !alone,
            _ => self.inside.is_empty(),
        }
    }

    /// From the head of the queue, in order, as long as they go together with those inside.
    fn settle(&mut self) {
        while let Some((_, mode)) = self.queue.front()
            && self.fits(*mode)
        {
            self.inside.extend(self.queue.pop_front());
        }
    }
}

#[derive(Debug, Clone)]
enum Turn {
    Ask(LeaseMode),
    Poll(usize),
    Leave(usize),
    Release(usize),
    Force,
}

fn turns(modes: &'static [LeaseMode]) -> impl Strategy<Value = Vec<Turn>> {
    let turn = prop_oneof![
        5 => (0..modes.len()).prop_map(|at| Turn::Ask(modes[at])),
        5 => (0_usize..6).prop_map(Turn::Poll),
        3 => (0_usize..6).prop_map(Turn::Leave),
        5 => (0_usize..4).prop_map(Turn::Release),
        1 => Just(Turn::Force),
    ];
    proptest::collection::vec(turn, 0..80)
}

fn ask(locks: &Locks, mode: LeaseMode) -> Waits {
    match mode {
        LeaseMode::Shared => Box::pin(locks.read("a", LONG)),
        LeaseMode::Permit { of } => Box::pin(locks.semaphore("a", of).unwrap().acquire(LONG)),
        _ => Box::pin(locks.acquire("a", LONG)),
    }
}

/// Plays the turns on real locks and on the model: who is served and when, with callers who leave at any moment.
fn played(turns: Vec<Turn>) -> Result<(), TestCaseError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let _inside = runtime.enter();
    let locks = Locks::memory("model").unwrap();
    let (mut model, mut waits, mut held) = (Model::default(), Vec::<(u32, Waits)>::new(), Vec::<(u32, Lease)>::new());
    // Served, and taken away before the caller looked.
    let mut taken: Vec<u32> = Vec::new();
    for (number, turn) in (0_u32..).zip(turns) {
        match turn {
            Turn::Ask(mode) => {
                let mut asks = ask(&locks, mode);
                model.queue.push_back((number, mode));
                model.settle();
                let served = model.inside.iter().any(|(inside, _)| *inside == number);
                match poll(&mut asks) {
                    Poll::Ready(lease) => {
                        prop_assert!(served);
                        held.push((number, lease.unwrap()));
                    }
                    Poll::Pending => {
                        prop_assert!(!served);
                        waits.push((number, asks));
                    }
                }
            }
            Turn::Poll(at) if at < waits.len() => {
                let number = waits[at].0;
                let served = model.inside.iter().any(|(inside, _)| *inside == number) || taken.contains(&number);
                let answer = poll(&mut waits[at].1);
                prop_assert_eq!(answer.is_ready(), served);
                if let Poll::Ready(lease) = answer {
                    let lease = lease.unwrap();
                    prop_assert_eq!(lease.is_lost(), taken.contains(&number));
                    drop(waits.remove(at));
                    if !lease.is_lost() {
                        held.push((number, lease));
                    }
                }
            }
            Turn::Leave(at) if at < waits.len() => {
                let (number, asks) = waits.remove(at);
                drop(asks);
                model.inside.retain(|(inside, _)| *inside != number);
                model.queue.retain(|(queued, _)| *queued != number);
                model.settle();
            }
            Turn::Release(at) if at < held.len() => {
                let (number, lease) = held.remove(at);
                prop_assert!(!lease.is_lost());
                drop(lease);
                model.inside.retain(|(inside, _)| *inside != number);
                model.settle();
            }
            Turn::Force => {
                let counted = model.inside.iter().any(|(_, mode)| matches!(mode, LeaseMode::Permit { .. }));
                let forced = if counted {
                    locks.semaphore("a", 1).unwrap().force_release("model")
                } else {
                    locks.force_release("a", "model")
                };
                prop_assert_eq!(forced, !model.inside.is_empty());
                prop_assert!(held.drain(..).all(|(_, lease)| lease.is_lost()));
                taken.extend(model.inside.drain(..).map(|(number, _)| number));
                model.settle();
            }
            Turn::Poll(_) | Turn::Leave(_) | Turn::Release(_) => {}
        }
        let (holders, waiting) =
            locks.listing().first().map_or((0, 0), |listing| (listing.holders.len(), listing.waiters.len()));
        prop_assert_eq!((holders, waiting), (model.inside.len(), model.queue.len()));
        prop_assert_eq!(locks.stats().waiting, model.queue.len());
    }
    Ok(())
}

proptest! {
    /// Readers together, writers alone, nobody past anybody, whoever leaves or is taken from.
    #[test]
    fn a_queue_of_readers_and_writers_behaves_like_a_list(
        turns in turns(&[LeaseMode::Shared, LeaseMode::Shared, LeaseMode::Exclusive]),
    ) {
        played(turns)?;
    }

    /// As many inside as each says itself, in the order they came.
    #[test]
    fn a_semaphore_behaves_like_a_list(turns in turns(&[LeaseMode::Permit { of: 3 }, LeaseMode::Permit { of: 2 }])) {
        played(turns)?;
    }
}

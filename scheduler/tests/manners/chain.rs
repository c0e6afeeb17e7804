//! Chains: order, cancellation at every await, panics, settings, and futures that may be sent.

use std::pin::Pin;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;
use trimtab_config::{Backoff, Share};
use trimtab_scheduler::{
    Breaker, BreakerSettings, BreakerState, Bulkhead, BulkheadSettings, CallError, CallOutcome, CallSettings, Chain,
    Gate, Hedge, HedgeSettings, Manner, Pace, Pass, Reason, Refusal, Retry, RetrySettings, Semaphore, Timeout,
};

use crate::{ms, poll};

fn retry(retries: u32) -> Retry {
    let backoff = Backoff { jitter: Share::NONE, max_retries: retries, ..Backoff::default() };
    Retry::new("far", RetrySettings { backoff, ..RetrySettings::default() }).unwrap()
}

async fn fail() -> Result<(), u8> {
    tokio::task::yield_now().await;
    panic!("on purpose")
}

/// Tells when a call passes by.
struct Tell<'a>(&'static str, &'a Mutex<Vec<&'static str>>);

impl<T: Send, E: Send> Manner<T, E> for Tell<'_> {
    async fn around<F, Fut>(&self, call: F) -> Result<T, CallError<E>>
    where
        F: Fn() -> Fut + Copy + Send + Sync,
        Fut: Future<Output = Result<T, CallError<E>>> + Send,
    {
        self.1.lock().push(self.0);
        call().await
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_named_first_stands_outermost() {
    let told = Mutex::new(Vec::new());
    let chain = Chain::new().with(Tell("a", &told)).retry(retry(1)).with(Tell("b", &told)).with(Tell("c", &told));
    let _ = chain.call(|| async { Err::<(), _>(()) }).await;
    assert_eq!(*told.lock(), ["a", "b", "c", "b", "c"]);
}

#[tokio::test(start_paused = true)]
async fn a_time_out_outside_limits_all_tries_and_one_inside_each() {
    let timeout = || Timeout::new("far", ms(100)).unwrap();
    let hang = || std::future::pending::<Result<(), ()>>();

    let start = Instant::now();
    let outside = Chain::new().timeout(timeout()).retry(retry(3)).call(hang).await;
    assert!(matches!(outside, Err(CallError::TimedOut(_))));
    assert_eq!(start.elapsed(), ms(100));

    let start = Instant::now();
    let inside = Chain::new().retry(retry(3)).timeout(timeout()).call(hang).await;
    assert!(matches!(inside, Err(CallError::TimedOut(_))));
    assert_eq!(start.elapsed(), ms(4 * 100 + 10 + 20 + 40));
}

#[tokio::test(start_paused = true)]
async fn a_breaker_inside_of_a_time_out_learns_of_calls_that_hang() {
    let settings = BreakerSettings { min_calls: 5, ..BreakerSettings::default() };
    let breaker = Breaker::with_settings("far", settings).unwrap();
    let chain = Chain::new().timeout(Timeout::new("far", ms(10)).unwrap()).breaker(breaker.clone());
    for _ in 0..5 {
        let _ = chain.call(std::future::pending::<Result<(), ()>>).await;
    }
    assert_eq!(breaker.state(), BreakerState::Open);
}

#[tokio::test(start_paused = true)]
async fn a_retry_waits_until_the_breaker_lets_probes_in() {
    let settings = BreakerSettings { min_calls: 1, open_for: ms(800).into(), probes: 1, ..BreakerSettings::default() };
    let breaker = Breaker::with_settings("far", settings).unwrap();
    let chain = Chain::new().retry(retry(3)).breaker(breaker.clone());
    let (start, calls) = (Instant::now(), AtomicU32::new(0));
    let result =
        chain.call(|| async { if calls.fetch_add(1, Relaxed) == 0 { Err(()) } else { Ok(start.elapsed()) } }).await;
    // It opened with the first call; the second try was refused and told when to come back.
    assert_eq!(result, Ok(ms(800)));
    assert_eq!((breaker.stats().refused, breaker.state()), (1, BreakerState::Closed));
}

/// Everything at once, around a call of three awaits.
#[tokio::test(start_paused = true)]
async fn a_call_may_be_dropped_at_every_await() {
    let breaker = Breaker::new("far").unwrap();
    let semaphore = Semaphore::new("far", 1).unwrap();
    let bulkhead = Bulkhead::with_settings("far", BulkheadSettings { max: 1, ..BulkheadSettings::default() }).unwrap();
    let pace = Pace::new("far", "1/s burst 1".parse().unwrap()).unwrap();
    let chain = Chain::new()
        .fallback(async |error: CallError<u32>| {
            tokio::task::yield_now().await;
            Err::<u32, _>(error)
        })
        .retry(retry(2))
        .timeout(Timeout::new("far", Duration::from_secs(3)).unwrap())
        .hedge(Hedge::new("far", HedgeSettings::default()).unwrap())
        .limit(semaphore.clone())
        .pace(pace.clone())
        .breaker(breaker.clone())
        .bulkhead(bulkhead.clone());
    let mut finished = false;
    let mut awaits = 0;
    while !finished {
        let call = || async {
            tokio::task::yield_now().await;
            tokio::time::sleep(ms(50)).await;
            tokio::task::yield_now().await;
            Err::<u32, _>(1_u32)
        };
        let mut future = Box::pin(chain.call(call));
        for _ in 0..awaits {
            if poll(&mut future).is_ready() {
                finished = true;
                break;
            }
            // To the next timer, if nothing else moves it.
            tokio::time::advance(ms(25)).await;
        }
        drop(future);
        assert_eq!((semaphore.stats().in_use, semaphore.stats().waiting), (0, 0), "after {awaits} awaits");
        assert_eq!((bulkhead.stats().in_use, bulkhead.stats().waiting), (0, 0), "after {awaits} awaits");
        assert_eq!(pace.stats().waiting, 0, "after {awaits} awaits");
        breaker.automatic();
        awaits += 1;
        assert!(awaits < 2_000, "it never ends");
    }
    assert!(awaits > 20, "only {awaits} awaits were seen");
}

#[tokio::test(start_paused = true)]
async fn a_panic_passes_through_and_everything_is_given_back() {
    let breaker = Breaker::new("far").unwrap();
    let bulkhead = Bulkhead::new("far", 2).unwrap();
    let chain = Chain::new()
        .retry(retry(3))
        .timeout(Timeout::new("far", ms(10)).unwrap())
        .breaker(breaker.clone())
        .bulkhead(bulkhead.clone());
    for _ in 0..3 {
        let chain = chain.clone();
        // A chain's future may be sent: it runs in a task.
        let panicked = tokio::spawn(async move { chain.call(fail).await });
        assert!(panicked.await.unwrap_err().is_panic());
    }
    assert_eq!((bulkhead.stats().in_use, bulkhead.stats().acquired), (0, 3));
    assert_eq!((breaker.stats().failed, breaker.stats().dropped), (3, 3));
}

#[tokio::test(start_paused = true)]
async fn a_fallback_may_panic_or_give_the_error_back() {
    let chain = Chain::new().fallback(async |error: CallError<u8>| match error {
        CallError::Failed(1) => panic!("on purpose"),
        CallError::Failed(2) => Ok(7),
        error => Err(error),
    });
    let other = chain;
    assert!(tokio::spawn(async move { other.call(|| async { Err::<u8, _>(1) }).await }).await.unwrap_err().is_panic());
    assert_eq!(chain.call(|| async { Err(2) }).await, Ok(7));
    assert_eq!(chain.call(|| async { Err(3) }).await, Err(CallError::Failed(3)));
}

/// A gate of somebody else's.
struct Quota(AtomicU32);

struct Used<'a>(&'a Mutex<Vec<CallOutcome>>);

static OUTCOMES: Mutex<Vec<CallOutcome>> = Mutex::new(Vec::new());

impl Gate for Quota {
    type Permit<'a> = Used<'a>;

    async fn enter(&self) -> Result<Used<'_>, Refusal> {
        self.try_enter()
    }

    fn try_enter(&self) -> Result<Used<'_>, Refusal> {
        let left = self.0.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1));
        left.map(|_| Used(&OUTCOMES)).map_err(|_| Refusal::new("quota", Reason::Other("used up".into()), Some(ms(1))))
    }
}

impl Pass for Used<'_> {
    fn settle(self, outcome: CallOutcome) {
        self.0.lock().push(outcome);
    }
}

#[tokio::test(start_paused = true)]
async fn a_gate_of_your_own_fits_in_and_hears_how_calls_went() {
    let chain = Chain::new().gate(Quota(AtomicU32::new(2)));
    assert_eq!(chain.call(|| async { Ok::<_, ()>(1) }).await, Ok(1));
    assert_eq!(chain.call(|| async { Err::<u8, _>(()) }).await, Err(CallError::Failed(())));
    let refused = chain.call(|| async { Ok::<_, ()>(1) }).await.unwrap_err();
    assert_eq!(refused.retry_after(), Some(ms(1)));
    assert_eq!(*OUTCOMES.lock(), [CallOutcome::Success, CallOutcome::Failure]);
}

#[tokio::test(start_paused = true)]
async fn settings_build_the_chain_they_describe() {
    let settings: CallSettings = serde_json::from_str(
        r#"{"retry": {"backoff": {"max_retries": 1, "jitter": "0%"}}, "timeout": "20ms", "bulkhead": {"max": 3},
            "breaker": {"min_calls": 2}, "pace": "1000/s"}"#,
    )
    .unwrap();
    let chain = Chain::from_settings("orders", &settings).unwrap();
    let hang = chain.call(std::future::pending::<Result<(), ()>>).await;
    assert!(matches!(hang, Err(CallError::TimedOut(late)) if late.name() == "orders"));
    let (retry, timeout, breaker, pace, bulkhead) = chain.parts();
    assert_eq!(retry.unwrap().stats().retries, 1);
    assert_eq!(timeout.unwrap().stats().expired, 2);
    assert_eq!(breaker.unwrap().state(), BreakerState::Open);
    assert_eq!(pace.unwrap().stats().passed, 2);
    assert_eq!(bulkhead.unwrap().stats().limit, 3);

    let bare = Chain::from_settings("orders", &CallSettings::default()).unwrap();
    assert_eq!(bare.call(|| async { Ok::<_, ()>(5) }).await, Ok(5));
    assert!(Chain::from_settings("Orders!", &CallSettings::default()).is_err());
}

#[tokio::test(start_paused = true)]
async fn a_time_out_ends_a_call_that_never_lets_go_of_its_turn() {
    // Ready again at once, for ever: it uses up what a task may do in one turn.
    let busy = async {
        let semaphore = tokio::sync::Semaphore::new(1);
        loop {
            drop(semaphore.acquire().await);
            if tokio::task::coop::has_budget_remaining() {
                continue;
            }
            tokio::time::advance(ms(1)).await;
        }
    };
    let call: Pin<Box<dyn Future<Output = Result<(), ()>> + Send>> = Box::pin(busy);
    let late = Timeout::new("far", ms(10)).unwrap().call(call).await;
    assert!(matches!(late, Err(CallError::TimedOut(_))));
}

//! Refresh-ahead, stale answers, time-outs and remembered errors, on tokio's paused clock.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use trimtab_cache::loading::{BoxFuture, LoadingBuilder, Runtime};
use trimtab_cache::{BuildError, Cache, CacheBuilder, Clock, LoadError, Loaded, LoadingCache, weigher};

const SECOND: Duration = Duration::from_secs(1);

struct TestRuntime;

impl Runtime for TestRuntime {
    fn spawn(&self, task: BoxFuture<()>) {
        drop(tokio::spawn(task));
    }
    fn sleep(&self, time: Duration) -> BoxFuture<()> {
        Box::pin(tokio::time::sleep(time))
    }
}

/// A source that tests steer: it counts calls, takes a time, and may fail. The value is the number of the call.
#[derive(Clone, Default)]
struct Source {
    calls: Arc<AtomicU32>,
    takes: Arc<AtomicU64>,
    fails: Arc<AtomicU32>,
}

const DOWN: u32 = 1;
const PANICS: u32 = 2;
const ABSENT: u32 = 3;

impl Source {
    fn load(&self) -> impl Future<Output = Result<u32, &'static str>> + Send + use<> {
        let this = self.clone();
        async move {
            let call = this.calls.fetch_add(1, Ordering::SeqCst) + 1;
            tokio::time::sleep(Duration::from_secs(this.takes.load(Ordering::SeqCst))).await;
            match this.fails.load(Ordering::SeqCst) {
                DOWN => Err("down"),
                PANICS => panic!("loader"),
                ABSENT => Err("absent"),
                _ => Ok(call),
            }
        }
    }
    fn calls(&self) -> u32 {
        self.calls.load(Ordering::SeqCst)
    }
    fn set(&self, takes: u64, fails: u32) {
        self.takes.store(takes, Ordering::SeqCst);
        self.fails.store(fails, Ordering::SeqCst);
    }
}

type Building = LoadingBuilder<u8, u32, &'static str>;

fn base() -> CacheBuilder<u8, Loaded<u32, &'static str>> {
    let start = tokio::time::Instant::now();
    Cache::builder().max_entries(100).clock(Clock::from_fn(move || start.elapsed()))
}

fn cache(describe: impl FnOnce(Building) -> Building) -> (LoadingCache<u8, u32, &'static str>, Source) {
    let source = Source::default();
    let loader = source.clone();
    let builder = LoadingCache::builder(base(), move |_| loader.load());
    (describe(builder).build().unwrap(), source)
}

async fn pass(seconds: u64) {
    tokio::time::sleep(SECOND * seconds as u32).await;
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_ageing_value_is_answered_at_once_and_reloaded_once_behind() {
    let (cache, source) = cache(|b| b.ttl(10 * SECOND).refresh_after(5 * SECOND).runtime(TestRuntime));
    assert_eq!(cache.get(1).await.unwrap(), 1);
    pass(5).await;
    source.set(2, 0);
    let now = tokio::time::Instant::now();
    for _ in 0..100 {
        assert_eq!(cache.get(1).await.unwrap(), 1);
    }
    assert_eq!(now.elapsed(), Duration::ZERO, "nobody waits");
    pass(3).await;
    assert_eq!(cache.get(1).await.unwrap(), 2);
    assert_eq!((source.calls(), cache.stats().refreshes), (2, 1));
    pass(4).await;
    assert_eq!(cache.get(1).await.unwrap(), 2, "the new value has an age of its own");
    cache.cache().validate();
}

#[tokio::test(start_paused = true)]
async fn a_value_that_goes_out_of_date_during_its_refresh_is_waited_for() {
    let (cache, source) = cache(|b| {
        b.ttl(10 * SECOND)
            .refresh_after(9 * SECOND)
            .stale_for(60 * SECOND)
            .retry_after(30 * SECOND)
            .runtime(TestRuntime)
    });
    cache.get(1).await.unwrap();
    pass(9).await;
    source.set(3, 0);
    assert_eq!(cache.get(1).await.unwrap(), 1);
    pass(1).await;
    let now = tokio::time::Instant::now();
    assert_eq!(cache.get(1).await.unwrap(), 2);
    assert_eq!((now.elapsed(), source.calls()), (2 * SECOND, 2), "by joining the refresh");
    assert_eq!(cache.stats().stale_on_error, 0);
}

#[tokio::test(start_paused = true)]
async fn without_a_runtime_one_caller_reloads_and_the_others_go_on() {
    let (cache, source) = cache(|b| b.refresh_after(5 * SECOND));
    cache.get(1).await.unwrap();
    pass(5).await;
    source.set(2, 0);
    let first = tokio::spawn({
        let cache = cache.clone();
        async move { cache.get(1).await.unwrap() }
    });
    pass(0).await;
    let now = tokio::time::Instant::now();
    assert_eq!(cache.get(1).await.unwrap(), 1);
    assert_eq!(now.elapsed(), Duration::ZERO);
    assert_eq!(first.await.unwrap(), 2);
    assert_eq!(source.calls(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_source_that_is_down_is_asked_again_only_after_a_while() {
    let (cache, source) = cache(|b| b.ttl(10 * SECOND).stale_for(100 * SECOND).retry_after(7 * SECOND));
    cache.get(1).await.unwrap();
    source.set(0, DOWN);
    pass(10).await;
    for _ in 0..50 {
        assert_eq!(cache.get(1).await.unwrap(), 1, "out of date is better than nothing");
    }
    assert_eq!((source.calls(), cache.stats().stale_on_error), (2, 50));
    assert_eq!(cache.get_if_present(&1), None, "but never without a try");
    pass(7).await;
    cache.get(1).await.unwrap();
    assert_eq!(source.calls(), 3);
    source.set(0, 0);
    pass(7).await;
    assert_eq!(cache.get(1).await.unwrap(), 4);
    source.set(0, DOWN);
    pass(110).await;
    let error = cache.get(1).await.unwrap_err();
    assert_eq!(error.cause().map(|cause| **cause), Some("down"), "there is an end to it");
}

#[tokio::test(start_paused = true)]
async fn a_failed_refresh_leaves_the_old_value_until_its_time() {
    let (cache, source) =
        cache(|b| b.ttl(10 * SECOND).refresh_after(5 * SECOND).retry_after(SECOND).runtime(TestRuntime));
    cache.get(1).await.unwrap();
    source.set(0, DOWN);
    for second in 0..9 {
        assert_eq!(cache.get(1).await.unwrap(), 1, "second {second}");
        pass(1).await;
    }
    pass(1).await;
    assert!(cache.get(1).await.is_err());
    let stats = cache.stats();
    assert_eq!((stats.refreshes, stats.refresh_failures), (4, 4));
}

#[tokio::test(start_paused = true)]
async fn a_slow_source_costs_no_more_than_the_soft_time_out() {
    let (cache, source) = cache(|b| {
        b.ttl(10 * SECOND).stale_for(100 * SECOND).soft_timeout(SECOND).hard_timeout(3 * SECOND).runtime(TestRuntime)
    });
    cache.get(1).await.unwrap();
    pass(10).await;
    source.set(5, 0);
    let now = tokio::time::Instant::now();
    assert_eq!(cache.get(1).await.unwrap(), 1);
    assert_eq!(now.elapsed(), SECOND);
    pass(5).await;
    assert_eq!(cache.get(1).await.unwrap(), 2, "the load went on");
    let now = tokio::time::Instant::now();
    let error = cache.get(2).await.unwrap_err();
    assert!(matches!(error, LoadError::TimedOut { after, .. } if after == 3 * SECOND && now.elapsed() == after));
    assert!(error.to_string().contains("no value came within 3s"), "{error}");
    pass(3).await;
    assert_eq!(cache.get_if_present(&2), Some(3));
    let stats = cache.stats();
    assert_eq!((stats.stale_on_timeout, stats.timeouts, source.calls()), (1, 1, 3));
    cache.cache().validate();
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_gives_up_leaves_the_load_running() {
    let (cache, source) = cache(|b| b.runtime(TestRuntime));
    source.set(5, 0);
    let caller = tokio::spawn({
        let cache = cache.clone();
        async move { cache.get(1).await }
    });
    pass(1).await;
    caller.abort();
    let others: Vec<_> = (0..100)
        .map(|_| {
            tokio::spawn({
                let cache = cache.clone();
                async move { cache.get(1).await }
            })
        })
        .collect();
    for other in others {
        assert_eq!(other.await.unwrap().unwrap(), 1);
    }
    assert_eq!(source.calls(), 1);
    assert_eq!(cache.stats().cache.load_joins, 100);
}

#[tokio::test(start_paused = true)]
async fn without_a_runtime_a_waiter_takes_over() {
    let (cache, source) = cache(|b| b);
    source.set(5, 0);
    let caller = tokio::spawn({
        let cache = cache.clone();
        async move { cache.get(1).await }
    });
    pass(1).await;
    let waiter = tokio::spawn({
        let cache = cache.clone();
        async move { cache.get(1).await }
    });
    pass(1).await;
    caller.abort();
    assert_eq!(waiter.await.unwrap().unwrap(), 2);
    assert_eq!(cache.stats().cache.load_aborts, 1);
    cache.cache().validate();
}

#[tokio::test(start_paused = true)]
async fn a_panicking_loader_is_told_and_not_repeated_for_ever() {
    let (cache, source) = cache(|b| b.ttl(SECOND).stale_for(9 * SECOND).runtime(TestRuntime));
    source.set(0, PANICS);
    assert!(matches!(cache.get(1).await, Err(LoadError::GivenUp { .. })));
    assert_eq!(source.calls(), 1);
    source.set(0, 0);
    assert_eq!(cache.get(1).await.unwrap(), 2);
    source.set(0, PANICS);
    pass(1).await;
    for _ in 0..5 {
        assert_eq!(cache.get(1).await.unwrap(), 2, "the old value covers a panic too");
    }
    assert_eq!(source.calls(), 3);
}

#[tokio::test(start_paused = true)]
async fn an_error_worth_remembering_is_not_asked_for_again() {
    let (cache, source) = cache(|b| b.ttl(60 * SECOND).remember_errors(|e| (*e == "absent").then_some(5 * SECOND)));
    source.set(0, ABSENT);
    for _ in 0..10 {
        assert_eq!(cache.get(1).await.unwrap_err().cause().map(|cause| **cause), Some("absent"));
    }
    assert_eq!(source.calls(), 1);
    source.set(0, DOWN);
    pass(5).await;
    for _ in 0..3 {
        assert_eq!(cache.get(1).await.unwrap_err().cause().map(|cause| **cause), Some("down"));
    }
    assert_eq!(source.calls(), 4, "being down is not remembered");
}

#[tokio::test(start_paused = true)]
async fn an_invalidation_or_insertion_during_a_refresh_wins() {
    let (cache, source) = cache(|b| b.refresh_after(5 * SECOND).runtime(TestRuntime));
    cache.insert(1, 100);
    cache.insert(2, 200);
    pass(5).await;
    source.set(2, 0);
    assert_eq!((cache.get(1).await.unwrap(), cache.get(2).await.unwrap()), (100, 200));
    pass(1).await;
    assert!(cache.invalidate(&1));
    cache.insert(2, 222);
    pass(3).await;
    assert_eq!((cache.get_if_present(&1), cache.get_if_present(&2)), (None, Some(222)));
    assert_eq!(source.calls(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_forced_refresh_brings_the_new_value_or_the_error() {
    let (cache, source) = cache(|b| b);
    assert_eq!(cache.get(1).await.unwrap(), 1);
    assert_eq!(cache.refresh(1).await.unwrap(), 2);
    source.set(0, DOWN);
    assert!(cache.refresh(1).await.is_err());
    assert_eq!(cache.get(1).await.unwrap(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_loader_that_asks_for_its_own_key_is_told() {
    let cache: Arc<std::sync::OnceLock<LoadingCache<u8, u32, bool>>> = Arc::default();
    let inner = Arc::downgrade(&cache);
    let built = LoadingCache::builder(Cache::builder().max_entries(10), move |key| {
        let cache = inner.upgrade().and_then(|cache| cache.get().cloned()).expect("set before use");
        async move { Err(matches!(cache.get(key).await, Err(LoadError::Recursive { .. }))) }
    })
    .runtime(TestRuntime)
    .build()
    .unwrap();
    let error = cache.get_or_init(|| built).get(1).await.unwrap_err();
    assert_eq!(error.cause().map(|cause| **cause), Some(true));
}

#[tokio::test]
async fn settings_without_effect_are_refused() {
    let refused = |describe: fn(Building) -> Building| {
        let builder = LoadingCache::builder(base(), |_| async { Ok(1) });
        describe(builder).build().unwrap_err().to_string()
    };
    for (message, part) in [
        (refused(|b| b.ttl(SECOND).refresh_after(SECOND)), "refresh_after would have no effect"),
        (refused(|b| b.stale_for(SECOND)), "set ttl"),
        (refused(|b| b.soft_timeout(SECOND).runtime(TestRuntime)), "set stale_for"),
        (refused(|b| b.hard_timeout(SECOND)), "set runtime"),
        (refused(|b| b.ttl(Duration::ZERO)), "ttl is 0"),
        (
            refused(|b| b.ttl(SECOND).stale_for(SECOND).soft_timeout(SECOND).hard_timeout(SECOND).runtime(TestRuntime)),
            "not below hard_timeout",
        ),
    ] {
        assert!(message.contains(part), "{message}");
    }
}

#[tokio::test]
async fn a_weigher_sees_through_to_the_value() {
    let builder = Cache::builder().max_bytes(trimtab_config::ByteSize::mib(1)).weigher(weigher::heap);
    let cache = LoadingCache::builder(builder, |key: u64| async move { Ok::<_, ()>("x".repeat(key as usize)) })
        .build()
        .unwrap();
    cache.get(10_000).await.unwrap();
    assert!((10_000..11_000).contains(&cache.cache().weight()));
    let error = BuildError::NoEffect { name: "x".into(), field: "f", fault: "why" };
    assert_eq!(error.to_string(), "cache \"x\": f would have no effect: why");
}

#[cfg(feature = "tokio")]
#[tokio::test(start_paused = true)]
async fn the_runtime_of_the_feature_does_the_same() {
    use trimtab_cache::loading::TokioRuntime;
    let (cache, source) = cache(|b| b.refresh_after(SECOND).hard_timeout(3 * SECOND).runtime(TokioRuntime::current()));
    assert_eq!(cache.get(1).await.unwrap(), 1);
    pass(1).await;
    assert_eq!(cache.get(1).await.unwrap(), 1);
    pass(0).await;
    assert_eq!(cache.get(1).await.unwrap(), 2);
    source.set(9, 0);
    assert!(matches!(cache.get(2).await, Err(LoadError::TimedOut { .. })));
}

//! Loads whose futures are dropped at every await point, in every way to load: no key stays claimed, and who waits goes on.
//!
//! Each way is started, polled so many times, and dropped; for every number of polls until it would have ended. A waiter that
//! came meanwhile, and one that comes later, must get a value all the same.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use trimtab_cache::{Cache, LoadingCache};

/// Awaits as many times as it is told, and wakes itself each time.
struct Steps(usize);

impl Future for Steps {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if self.0 == 0 {
            return Poll::Ready(());
        }
        self.0 -= 1;
        context.waker().wake_by_ref();
        Poll::Pending
    }
}

/// Counts how often it was woken.
#[derive(Default)]
struct Bell(AtomicUsize);

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

type Load<'a, T> = Pin<Box<dyn Future<Output = T> + 'a>>;

/// Polls until the end as an executor does: only after it was woken.
fn finish<T>(mut load: Load<'_, T>, bell: &Arc<Bell>, mut rung: usize) -> T {
    let waker = Waker::from(Arc::clone(bell));
    loop {
        if let Poll::Ready(value) = load.as_mut().poll(&mut Context::from_waker(&waker)) {
            return value;
        }
        let now = bell.0.load(Ordering::SeqCst);
        assert!(now > rung, "it waits, and nobody will wake it");
        rung = now;
    }
}

/// Drops what `start` makes after each number of polls, with another beside it that waits.
#[allow(clippy::needless_pass_by_value, reason = "the calls read better without a reference to a number")]
fn drop_everywhere<'a, T: PartialEq + std::fmt::Debug>(
    way: &str,
    start: impl Fn() -> Load<'a, T>,
    forget: impl Fn(),
    expected: T,
) {
    for polls in 0..100 {
        forget();
        let (mut first, waker) = (start(), Waker::from(Arc::new(Bell::default())));
        let mut ended = false;
        for _ in 0..polls {
            if let Poll::Ready(value) = first.as_mut().poll(&mut Context::from_waker(&waker)) {
                assert_eq!(value, expected, "{way}");
                ended = true;
                break;
            }
        }
        let (mut second, bell) = (start(), Arc::new(Bell::default()));
        let waits = second.as_mut().poll(&mut Context::from_waker(&Waker::from(Arc::clone(&bell)))).is_pending();
        drop(first);
        if waits {
            // Rung by the drop if it waited for the first, by itself if it loads.
            assert!(bell.0.load(Ordering::SeqCst) > 0, "{way}: the waiter was not woken after {polls} polls");
            assert_eq!(finish(second, &bell, 0), expected, "{way}: the waiter, after {polls} polls");
        }
        assert_eq!(finish(start(), &Arc::default(), 0), expected, "{way}: who comes later, after {polls} polls");
        if ended {
            assert!(polls > 3, "{way}: there were await points to drop at");
            return;
        }
    }
    panic!("{way}: never ends");
}

#[test]
fn get_with_and_try_get_with_leave_nothing_claimed() {
    let cache: Cache<u8, u8> = Cache::new(10);
    let get = || -> Load<'_, u8> {
        Box::pin(cache.get_with(1, || async {
            Steps(4).await;
            7
        }))
    };
    drop_everywhere("get_with", get, || cache.clear(), 7);
    let get = || -> Load<'_, u8> {
        Box::pin(async {
            let loaded = cache.try_get_with(1, || async {
                Steps(4).await;
                Ok::<u8, Infallible>(8)
            });
            loaded.await.expect("it cannot fail")
        })
    };
    drop_everywhere("try_get_with", get, || cache.clear(), 8);
    cache.validate();
}

#[test]
fn a_failing_load_hands_over_as_well() {
    let cache: Cache<u8, u8> = Cache::new(10);
    let get = || -> Load<'_, bool> {
        Box::pin(async {
            let loaded = cache.try_get_with(1, || async {
                Steps(4).await;
                Err::<u8, &str>("down")
            });
            loaded.await.is_err()
        })
    };
    drop_everywhere("a failing try_get_with", get, || cache.clear(), true);
    assert!(cache.is_empty());
    cache.validate();
}

#[test]
fn bulk_loads_leave_none_of_their_keys_claimed() {
    let cache: Cache<u8, u8> = Cache::new(10);
    let get = || -> Load<'_, Vec<Option<u8>>> {
        Box::pin(cache.get_many_with([1, 2, 3], |missing: Vec<u8>| async move {
            Steps(4).await;
            // The last one does not exist.
            missing.into_iter().filter(|key| *key != 3).map(|key| (key, key * 10)).collect::<Vec<_>>()
        }))
    };
    drop_everywhere("get_many_with", get, || cache.clear(), vec![Some(10), Some(20), None]);
    for key in 1..=3 {
        assert_eq!(cache.get_or_insert_with(key, || key), if key == 3 { 3 } else { key * 10 });
    }
    cache.validate();
}

#[test]
fn a_single_load_goes_on_when_the_bulk_load_it_waits_for_is_dropped() {
    let cache: Cache<u8, u8> = Cache::new(10);
    let turn = AtomicUsize::new(0);
    let get = || -> Load<'_, u8> {
        // By turns a bulk load and a single one, for the same key.
        if turn.fetch_add(1, Ordering::Relaxed).is_multiple_of(2) {
            Box::pin(async {
                let many = cache.get_many_with([1, 2], |missing: Vec<u8>| async move {
                    Steps(4).await;
                    missing.into_iter().map(|key| (key, 7)).collect::<Vec<_>>()
                });
                many.await[0].expect("loaded")
            })
        } else {
            Box::pin(cache.get_with(1, || async {
                Steps(4).await;
                7
            }))
        }
    };
    drop_everywhere("bulk and single", get, || cache.clear(), 7);
    cache.validate();
}

#[test]
fn loading_caches_leave_nothing_claimed() {
    let builder = Cache::builder().max_entries(10);
    let cache = LoadingCache::builder(builder, |key: u8| async move {
        Steps(4).await;
        Ok::<u8, &'static str>(key * 2)
    })
    .build()
    .expect("a cache");
    let get = || -> Load<'_, u8> { Box::pin(async { cache.get(4).await.expect("loaded") }) };
    drop_everywhere(
        "LoadingCache::get",
        get,
        || {
            cache.invalidate(&4);
        },
        8,
    );
    let refresh = || -> Load<'_, u8> { Box::pin(async { cache.refresh(4).await.expect("loaded") }) };
    drop_everywhere(
        "LoadingCache::refresh",
        refresh,
        || {
            cache.invalidate(&4);
        },
        8,
    );
}

#[test]
fn computations_of_an_entry_leave_nothing_claimed() {
    let cache: Cache<u8, u8> = Cache::new(10);
    let load = || -> Load<'_, u8> {
        Box::pin(cache.entry(1).or_load(|| async {
            Steps(4).await;
            5
        }))
    };
    drop_everywhere("or_load", load, || cache.clear(), 5);
    let upsert = || -> Load<'_, bool> {
        Box::pin(async {
            let new = cache.entry(1).and_upsert_async(|old| async move {
                Steps(4).await;
                old.unwrap_or(0) + 1
            });
            new.await > 0
        })
    };
    drop_everywhere("and_upsert_async", upsert, || cache.clear(), true);
    cache.validate();
}

//! The account of allocations, with the allocator installed.

#![cfg(feature = "account")]

use trimtab_pool::Scopes;
use trimtab_pool::account::{Account, CountingAllocator, is_counting, metered};

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator::system();

#[test]
fn an_account_counts_its_own_thread_only() {
    assert!(is_counting());
    let account = Account::open();
    std::thread::spawn(|| drop(vec![0_u8; 1 << 20])).join().unwrap();
    let between = account.so_far().bytes;
    assert!(between < 100_000, "{between}");
    let page = vec![0_u8; 1 << 16];
    let after = account.so_far();
    assert!(after.bytes - between >= 1 << 16 && after.count > 0);
    drop(page);
    assert!(account.so_far().freed >= 1 << 16);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn work_that_moves_between_threads_is_charged_what_it_allocates() {
    let others: Vec<_> = (0..4)
        .map(|_| {
            tokio::spawn(async {
                for _ in 0..1_000 {
                    drop(vec![0_u8; 1 << 16]);
                    tokio::task::yield_now().await;
                }
            })
        })
        .collect();
    let work = metered(async {
        let mut kept = Vec::new();
        for _ in 0..10 {
            kept.push(vec![0_u8; 1_000]);
            tokio::task::yield_now().await;
        }
        kept.len()
    });
    let (count, allocated) = tokio::spawn(work).await.unwrap();
    assert_eq!(count, 10);
    assert!((10_000..30_000).contains(&allocated.bytes), "{allocated:?}");
    for other in others {
        other.await.unwrap();
    }
}

#[test]
fn a_warm_scope_allocates_nothing() {
    let scopes = Scopes::new("requests").unwrap();
    let work = || {
        let scope = scopes.enter();
        (0..100).map(|n| scope.alloc_str("some text").len() + n).sum::<usize>()
    };
    work();
    work();
    let account = Account::open();
    let sum = work();
    assert_eq!((sum, account.so_far().count), (900 + 4_950, 0));
}

//! Memory really goes back to the system. A program of its own: other tests would allocate meanwhile.
#![cfg(all(target_os = "linux", target_env = "gnu"))]

use std::time::Duration;

use trimtab_monitor::{Probe, ReclaimError, Reclaimer};

const MIB: u64 = 1 << 20;

#[test]
fn freed_small_blocks_leave_the_resident_set() {
    let mut probe = Probe::new();
    // Blocks too small to be mapped one by one. What is left of them pins the heap in many places, so
    // that freeing alone returns nothing: the state a churning cache leaves behind.
    let mut blocks: Vec<Vec<u8>> = (0..64 * 1024).map(|_| vec![1_u8; 1024]).collect();
    let full = probe.sample().process.rss.expect("Linux tells");
    blocks = blocks.into_iter().enumerate().filter_map(|(index, block)| (index % 64 == 0).then_some(block)).collect();
    let freed = probe.sample().process.rss.expect("Linux tells");
    assert!(freed + 8 * MIB > full, "the allocator kept the pages: {full} {freed}");

    let reclaimer = Reclaimer::new(Duration::from_secs(60));
    let done = reclaimer.reclaim().expect("the first");
    assert!(done.released, "{done:?}");
    assert!(done.freed > 40 * MIB, "{done:?}");
    assert_eq!(done.freed, done.rss_before - done.rss_after);
    let after = probe.sample().process.rss.expect("Linux tells");
    assert!(after + 40 * MIB < full, "{full} {after}");
    assert_eq!(blocks.iter().map(Vec::len).sum::<usize>(), 1 << 20);

    let error = reclaimer.reclaim().expect_err("too soon");
    assert!(
        matches!(error, ReclaimError::TooSoon { retry_after, .. } if retry_after <= Duration::from_secs(60)),
        "{error}"
    );
}

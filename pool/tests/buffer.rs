//! The buffer pool as its callers see it.
//!
//! One test reads the byte behind the length of a buffer, to see what a careless program could see: that takes `unsafe`, and
//! relies on the test having written that byte before.

#![allow(unsafe_code, reason = "see above")]

use trimtab_config::{ByteSize, Share};
use trimtab_pool::BufferPool;

fn pool(max: ByteSize, zero: bool) -> BufferPool {
    BufferPool::builder("buffers").min(0).max_bytes(max).zero_on_return(zero).build().unwrap()
}

#[test]
fn capacities_are_rounded_up_to_their_class() {
    let pool = pool(ByteSize::mib(64), false);
    for (asked, given) in [
        (0, 1 << 10),
        (1, 1 << 10),
        (1 << 10, 1 << 10),
        (1025, 2 << 10),
        (4096, 4096),
        (65_536, 65_536),
        (1 << 20, 1 << 20),
    ] {
        assert_eq!(pool.acquire(asked).capacity(), given, "{asked}");
    }
    let stats = pool.stats();
    assert_eq!((stats.oversize, stats.bytes_idle), (0, stats.bytes_owned));
    drop(pool.acquire((1 << 20) + 1));
    assert_eq!((pool.stats().oversize, pool.stats().bytes_owned), (1, stats.bytes_owned));
}

#[test]
fn a_buffer_that_grew_gives_its_growth_back() {
    let pool = pool(ByteSize::mib(1), false);
    pool.acquire(1_000).extend_from_slice(&vec![1; 100_000]);
    let stats = pool.stats();
    assert_eq!((stats.shrunk, stats.bytes_owned, stats.bytes_idle), (1, 1 << 10, 1 << 10));
    assert_eq!(pool.acquire(1_000).capacity(), 1 << 10);
}

#[test]
fn a_buffer_whose_parts_are_used_elsewhere_is_replaced() {
    let pool = pool(ByteSize::mib(1), false);
    let mut buffer = pool.acquire(4_096);
    buffer.extend_from_slice(b"head and rest");
    let head = buffer.split_to(4).freeze();
    drop(buffer);
    let mut again = pool.acquire(4_096);
    assert_eq!(again.capacity(), 4_096);
    again.extend_from_slice(&[9; 4_096]);
    assert_eq!(&head[..], b"head");
}

#[test]
fn all_buffers_together_keep_to_their_bytes() {
    let pool = pool(ByteSize::kib(64), false);
    let held: Vec<_> = (0..40).map(|n| pool.acquire_owned(if n % 2 == 0 { 4_096 } else { 8_192 })).collect();
    assert!(pool.stats().bytes_owned <= 64 << 10);
    drop(held);
    let stats = pool.stats();
    assert!(stats.bytes_idle <= 64 << 10 && stats.bytes_idle > 56 << 10, "{stats:?}");
    assert_eq!(stats.in_use, 0);
    let freed = pool.trim_idle(Share::ALL);
    assert_eq!((freed.bytes, pool.stats().bytes_owned), (stats.bytes_idle, 0));
}

#[test]
fn zeroed_buffers_show_nothing_of_their_last_user() {
    for (zero, expected) in [(true, 0x00), (false, 0xAA)] {
        let pool = pool(ByteSize::mib(1), zero);
        let address = {
            let mut buffer = pool.acquire(1_024);
            buffer.extend_from_slice(&[0xAA; 1_024]);
            buffer.as_ptr().addr()
        };
        let mut buffer = pool.acquire(1_024);
        assert_eq!(buffer.as_ptr().addr(), address, "the same memory");
        assert_eq!(behind_the_length(&mut buffer), expected);
    }
}

#[test]
fn zeroing_is_a_setting_that_can_be_switched_on_while_the_pool_runs() {
    let pool = pool(ByteSize::mib(1), false);
    pool.acquire(1_024).extend_from_slice(&[0xAA; 1_024]);
    let mut settings = pool.settings();
    settings.zero_on_return = true;
    pool.apply(settings.clone()).unwrap();
    assert_eq!(pool.stats().idle, 0, "what was not overwritten is not given out again");
    let filled = |mut buffer: trimtab_pool::Buffer<'_>| buffer.extend_from_slice(&[0xAA; 1_024]);
    filled(pool.acquire(1_024));
    assert_eq!(behind_the_length(&mut pool.acquire(1_024)), 0);
    settings.zero_on_return = false;
    pool.apply(settings).unwrap();
    assert_eq!(pool.stats().idle, 1, "nothing is dropped when it is switched off");
    filled(pool.acquire(1_024));
    assert_eq!(behind_the_length(&mut pool.acquire(1_024)), 0xAA);
}

#[test]
fn the_least_of_each_class_stays() {
    let pool = BufferPool::builder("buffers").min(2).max_bytes(ByteSize::mib(1)).build().unwrap();
    for capacity in [1_024, 4_096] {
        drop((0..5).map(|_| pool.acquire(capacity)).collect::<Vec<_>>());
    }
    let freed = pool.trim_idle(Share::ALL);
    assert_eq!((freed.objects, freed.bytes), (6, 3 * 1_024 + 3 * 4_096));
    assert_eq!(pool.trim_idle(Share::ALL).objects, 0);
    assert_eq!((pool.stats().idle, pool.stats().bytes_idle), (4, 2 * 1_024 + 2 * 4_096));
    let mut settings = pool.settings();
    settings.max_bytes = ByteSize::kib(4);
    pool.apply(settings).unwrap();
    assert_eq!(pool.stats().bytes_owned, 0, "the budget of bytes comes before the least");
}

/// The first byte behind the length of a buffer that was filled once.
fn behind_the_length(buffer: &mut bytes::BytesMut) -> u8 {
    let byte = buffer.spare_capacity_mut().as_ptr().cast::<u8>();
    // SAFETY: every byte of this buffer was written by the caller before.
    unsafe { byte.read() }
}

#[test]
fn frozen_bytes_bring_the_buffer_back_when_the_last_is_dropped() {
    let pool = pool(ByteSize::mib(1), false);
    let mut buffer = pool.acquire_owned(2_048);
    buffer.extend_from_slice(b"answer");
    let bytes = buffer.freeze();
    let copies: Vec<_> = (0..10).map(|n| bytes.slice(n % 6..)).collect();
    drop(bytes);
    assert_eq!(pool.stats().in_use, 1);
    drop(copies);
    assert_eq!((pool.stats().in_use, pool.stats().bytes_idle), (0, 2_048));
}

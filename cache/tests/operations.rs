//! Sequences of operations over the whole public surface, decoded from random bytes; see `operations/play.rs`.
//!
//! The fuzz target in `fuzz/` plays the same. A string that it found wanting becomes a row of [`FOUND`], with its story.

#![cfg(feature = "snapshot")]

#[path = "operations/play.rs"]
mod play;

use proptest::prelude::*;

/// Strings that once failed.
const FOUND: &[&[u8]] = &[];

#[test]
fn strings_that_once_failed_pass() {
    for bytes in FOUND {
        play::play(bytes);
    }
}

#[test]
fn every_length_of_a_string_is_a_play() {
    let bytes: Vec<u8> = (0..2_000_u32).map(|at| (at.wrapping_mul(0x9E37_79B1) >> 24) as u8).collect();
    for length in (0..64).chain([500, 2_000]) {
        play::play(&bytes[..length]);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, ..ProptestConfig::default() })]

    #[test]
    fn whatever_the_operations_the_cache_never_lies(bytes in prop::collection::vec(any::<u8>(), 0..1_500)) {
        play::play(&bytes);
    }
}

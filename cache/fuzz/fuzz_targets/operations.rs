//! Plays every string of the fuzzer as operations on a cache; see `tests/operations/play.rs`.

#![no_main]

#[path = "../../tests/operations/play.rs"]
mod play;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| play::play(bytes));

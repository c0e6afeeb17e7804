//! A look at the clock that costs a fifth of reading it: whether the time has moved on at all.
//!
//! Reading the exact time takes as long as half of all else that an idle resource costs. What the time is needed for there
//! (whether the resource is fresh, since when it is leased) is a matter of half a second and more. So the pool keeps its last
//! exact reading, and takes it again as long as the system's tick stands still, which is 1 to 10 ms.
//!
//! # What the unsafe code relies on
//!
//! `clock_gettime` writes one `timespec` where its second argument points, and reads no memory of the program.

#![allow(unsafe_code, reason = "a call into the C library; see above")]

/// The system's tick: the same number means that no more than a tick has passed. `None` where the system has none to read.
#[inline]
#[cfg(target_os = "linux")]
pub(crate) fn tick() -> Option<i64> {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: a pointer to a `timespec` of our own.
    let read = unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC_COARSE, &raw mut now) };
    (read == 0).then(|| now.tv_sec.wrapping_mul(1_000_000_000).wrapping_add(now.tv_nsec))
}

/// As above.
#[cfg(not(target_os = "linux"))]
pub(crate) fn tick() -> Option<i64> {
    None
}

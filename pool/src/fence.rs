//! Fences that one thread puts into all others, so that the others need none on their way.
//!
//! Two threads that each write a flag and then read the other's need a full fence between the two on both sides. Where one
//! side comes a million times as often as the other, Linux lets the rare side pay for both (`membarrier`, Desnoyers 2015):
//! the call returns after every running thread of the program has passed a fence, and those that do not run have passed one.
//! Where the system refuses, [`prepare`] answers so, and its caller goes the way that every thread pays for.
//!
//! # What the unsafe code relies on
//!
//! The system call takes three numbers, reads and writes no memory of the program, and answers a number. It is made by hand
//! since libc, which is in the tree anyway, has no function for it.

#![allow(unsafe_code, reason = "a system call without a function in the C library; see above")]

use std::sync::OnceLock;
use std::sync::atomic::{Ordering, compiler_fence, fence};

/// Asks the system, once; answers whether [`everywhere`] reaches other threads.
pub(crate) fn prepare() -> bool {
    static GRANTED: OnceLock<bool> = OnceLock::new();
    *GRANTED.get_or_init(granted)
}

/// Commands of `linux/membarrier.h`.
#[cfg(target_os = "linux")]
mod command {
    pub(super) const PRIVATE_EXPEDITED: libc::c_long = 1 << 3;
    pub(super) const REGISTER_PRIVATE_EXPEDITED: libc::c_long = 1 << 4;
}

/// Answers whether the system did it.
#[cfg(target_os = "linux")]
fn membarrier(command: libc::c_long) -> bool {
    // SAFETY: three numbers, and no memory that the program could see.
    unsafe { libc::syscall(libc::SYS_membarrier, command, 0 as libc::c_long, 0 as libc::c_long) == 0 }
}

#[cfg(target_os = "linux")]
fn granted() -> bool {
    membarrier(command::REGISTER_PRIVATE_EXPEDITED) && membarrier(command::PRIVATE_EXPEDITED)
}

#[cfg(not(target_os = "linux"))]
fn granted() -> bool {
    false
}

/// The frequent side: keeps the compiler from moving anything across; the processor is kept by [`everywhere`].
#[inline]
pub(crate) fn lightly() {
    compiler_fence(Ordering::SeqCst);
}

/// The rare side: a fence in every thread of the program, if [`prepare`] answered yes; in this one anyway.
pub(crate) fn everywhere() {
    fence(Ordering::SeqCst);
    #[cfg(target_os = "linux")]
    if prepare() {
        assert!(membarrier(command::PRIVATE_EXPEDITED), "the system granted this fence before");
    }
    fence(Ordering::SeqCst);
}

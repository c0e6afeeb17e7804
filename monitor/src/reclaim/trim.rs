//! The one foreign call of this crate: glibc's `malloc_trim`.
#![allow(unsafe_code, reason = "malloc_trim is reachable only through the C interface; no other file needs unsafe")]

/// Returns free pages of every arena to the system, keeping no slack; whether any were returned.
pub(super) fn malloc_trim() -> bool {
    // SAFETY: `malloc_trim` is declared `int malloc_trim(size_t)`, takes no pointer, may be called
    // from any thread (it takes the arenas' own locks), and leaves live allocations where they are.
    unsafe { libc::malloc_trim(0) == 1 }
}

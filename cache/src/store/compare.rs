//! Sixteen bytes compared with one: the inner step of a search in the [index](super::table).
//!
//! One instruction of SSE2 where there is one, arithmetic on words elsewhere; a test holds the two against each other.
//!
//! # Invariant
//!
//! None beyond the processor's: nothing here touches memory.

#![allow(unsafe_code, reason = "the instructions of one processor need a promise that it has them")]

/// Which of the sixteen bytes of two words are equal to `byte`, one bit each.
#[cfg(target_arch = "x86_64")]
#[inline]
pub(super) fn equal_bytes(words: [u64; 2], byte: u8) -> u32 {
    use std::arch::x86_64::{_mm_cmpeq_epi8, _mm_movemask_epi8, _mm_set_epi64x, _mm_set1_epi8};
    // SAFETY: every x86-64 processor has SSE2, and the instructions touch registers only.
    unsafe {
        let equal = _mm_cmpeq_epi8(_mm_set_epi64x(words[1] as i64, words[0] as i64), _mm_set1_epi8(byte as i8));
        _mm_movemask_epi8(equal) as u32
    }
}

#[cfg(not(target_arch = "x86_64"))]
#[inline]
pub(super) fn equal_bytes(words: [u64; 2], byte: u8) -> u32 {
    equal_bytes_by_arithmetic(words, byte)
}

/// [`equal_bytes`] where there is no instruction for it.
#[cfg_attr(target_arch = "x86_64", allow(dead_code, reason = "the test compares the two"))]
#[inline]
fn equal_bytes_by_arithmetic(words: [u64; 2], byte: u8) -> u32 {
    const LOW: u64 = 0x0101_0101_0101_0101;
    const REST: u64 = 0x7F7F_7F7F_7F7F_7F7F;
    let bits = |word: u64| {
        let other = word ^ (u64::from(byte) * LOW);
        // The high bit of each byte that is zero; without carries from one byte to the next.
        let zero = !(((other & REST) + REST) | other | REST);
        // The high bits, gathered in the highest byte.
        ((zero >> 7).wrapping_mul(0x0102_0408_1020_4080) >> 56) as u32
    };
    bits(words[0]) | bits(words[1]) << 8
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn comparing_all_bytes_at_once_is_comparing_each(bytes in proptest::array::uniform16(0_u8..4), byte in 0_u8..4) {
            let spread = |byte: u8| [0, 1, 0x80, 0xFF][usize::from(byte)];
            let (bytes, byte) = (bytes.map(spread), spread(byte));
            let word = |at: usize| u64::from_le_bytes(std::array::from_fn(|offset| bytes[at + offset]));
            let wanted = (0..16).filter(|at| bytes[*at] == byte).map(|at| 1 << at).sum::<u32>();
            prop_assert_eq!(equal_bytes([word(0), word(8)], byte), wanted);
            prop_assert_eq!(equal_bytes_by_arithmetic([word(0), word(8)], byte), wanted);
        }
    }
}

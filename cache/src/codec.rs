//! How a byte cache keeps a value: as it came, or as lz4 when that is smaller.
//!
//! The inflated length is kept outside the compressed bytes, so inflation never writes beyond it.

use bytes::Bytes;

use crate::config::Compression;

/// A value as it lies in memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Packed {
    /// As it came.
    Plain(Bytes),
    /// An lz4 block, and the length it inflates to.
    #[cfg(feature = "compress")]
    Lz4 {
        /// The compressed block.
        block: Bytes,
        /// Length of the value, in bytes.
        length: usize,
    },
}

/// Longer values are kept as they come: the codec's own lengths have 32 bits.
#[cfg(feature = "compress")]
const COMPRESS_MAX: usize = 1 << 30;

/// How many bytes one byte of a block can stand for at most.
#[cfg(all(feature = "compress", feature = "snapshot"))]
const RATIO_MAX: usize = 256;

impl Packed {
    /// Packs a value of at least `above` bytes, if that makes it smaller.
    pub(crate) fn pack(value: Bytes, compression: Compression, above: u64) -> Self {
        #[cfg(feature = "compress")]
        if compression == Compression::Lz4 && value.len() as u64 >= above && value.len() <= COMPRESS_MAX {
            let block = lz4_flex::block::compress(&value);
            if block.len() < value.len() {
                // Exact size: the buffer of the compressor was allocated for the worst case.
                return Self::Lz4 { block: Bytes::from(block.into_boxed_slice()), length: value.len() };
            }
        }
        #[cfg(not(feature = "compress"))]
        let _ = (compression, above);
        Self::Plain(value)
    }

    /// The value; `None` if the kept bytes are damaged.
    #[cfg_attr(
        not(feature = "compress"),
        allow(clippy::unnecessary_wraps, reason = "without compression nothing can be damaged")
    )]
    pub(crate) fn unpack(self) -> Option<Bytes> {
        match self {
            Self::Plain(value) => Some(value),
            #[cfg(feature = "compress")]
            Self::Lz4 { block, length } => {
                let value = lz4_flex::block::decompress(&block, length).ok()?;
                (value.len() == length).then(|| value.into())
            }
        }
    }

    /// The length that it inflates to, if it is compressed, and the bytes held.
    #[cfg(feature = "snapshot")]
    pub(crate) fn parts(&self) -> (Option<u64>, Bytes) {
        match self {
            Self::Plain(value) => (None, value.clone()),
            #[cfg(feature = "compress")]
            Self::Lz4 { block, length } => (Some(*length as u64), block.clone()),
        }
    }

    /// The reverse of [`parts`](Self::parts); an error for what cannot have come from it.
    #[cfg(feature = "snapshot")]
    pub(crate) fn from_parts(inflated: Option<u64>, bytes: Bytes) -> Result<Self, &'static str> {
        match inflated {
            None => Ok(Self::Plain(bytes)),
            #[cfg(feature = "compress")]
            Some(length) => {
                let length = usize::try_from(length).unwrap_or(usize::MAX);
                if length > COMPRESS_MAX || length > bytes.len().saturating_mul(RATIO_MAX) {
                    return Err("a compressed value claims a length that its block cannot inflate to");
                }
                Ok(Self::Lz4 { block: bytes, length })
            }
            #[cfg(not(feature = "compress"))]
            Some(_) => Err("a value is compressed, and this program was built without the feature \"compress\""),
        }
    }

    /// Bytes held.
    pub(crate) fn stored(&self) -> usize {
        match self {
            Self::Plain(value) => value.len(),
            #[cfg(feature = "compress")]
            Self::Lz4 { block, .. } => block.len(),
        }
    }

    /// Bytes of the value itself.
    pub(crate) fn length(&self) -> usize {
        match self {
            Self::Plain(value) => value.len(),
            #[cfg(feature = "compress")]
            Self::Lz4 { length, .. } => *length,
        }
    }

    /// Whether it is kept compressed.
    pub(crate) fn is_compressed(&self) -> bool {
        !matches!(self, Self::Plain(_))
    }
}

#[cfg(all(test, feature = "compress"))]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_value_comes_back(value in proptest::collection::vec(0..4_u8, 0..5000), above in 0..3000_u64) {
            let packed = Packed::pack(Bytes::from(value.clone()), Compression::Lz4, above);
            prop_assert!(packed.stored() <= value.len());
            prop_assert_eq!(packed.length(), value.len());
            prop_assert_eq!(packed.unpack(), Some(Bytes::from(value)));
        }

        #[test]
        fn damaged_blocks_are_noticed_or_stay_within_the_length(
            block in proptest::collection::vec(any::<u8>(), 0..200),
            length in 0..2000_usize,
        ) {
            let value = Packed::Lz4 { block: block.into(), length }.unpack();
            prop_assert!(value.is_none_or(|value| value.len() == length));
        }
    }

    #[test]
    fn only_large_values_that_shrink_are_compressed() {
        let text = Bytes::from(vec![b'a'; 1000]);
        assert!(Packed::pack(text.clone(), Compression::Lz4, 1000).is_compressed());
        assert!(!Packed::pack(text.clone(), Compression::Lz4, 1001).is_compressed());
        assert!(!Packed::pack(text, Compression::Off, 0).is_compressed());
        let mut noise = 88_172_645_463_325_252_u64;
        let noise: Bytes = std::iter::repeat_with(|| {
            noise ^= noise << 13;
            noise ^= noise >> 7;
            noise ^= noise << 17;
            noise as u8
        })
        .take(1000)
        .collect();
        assert!(!Packed::pack(noise, Compression::Lz4, 0).is_compressed());
    }
}

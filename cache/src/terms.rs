//! What a value is stored with, besides itself: a time to live of its own, and tags.

use std::time::Duration;

use crate::expiry::rule::Span;
use crate::tags::Tags;

/// What the caller asked for.
#[derive(Debug, Clone, Default)]
pub(crate) struct Terms {
    pub(crate) ttl: Option<Duration>,
    pub(crate) tags: Tags,
}

/// What the caller's terms and the cache's rules make of one value.
#[derive(Debug, Clone)]
pub(crate) struct Appraisal {
    /// Bytes, overhead and tags included.
    pub(crate) weight: u64,
    /// Nanoseconds on the cache's clock, or [`NEVER`](crate::expiry::NEVER).
    pub(crate) deadline: u64,
    pub(crate) span: Span,
    pub(crate) tags: Tags,
}

//! What has left an arena and waits for its destructors.

/// Keys and values on their way out, dropped after the lock: a destructor may take long or use the cache.
pub(crate) struct Garbage<K, V> {
    /// Most operations free one entry, which then costs no allocation.
    first: Option<(K, V)>,
    rest: Vec<(K, V)>,
}

impl<K, V> Garbage<K, V> {
    pub(crate) fn new() -> Self {
        Self { first: None, rest: Vec::new() }
    }

    pub(super) fn push(&mut self, pair: (K, V)) {
        if self.first.is_none() {
            self.first = Some(pair);
        } else {
            self.rest.push(pair);
        }
    }
}

//! Entries by token: a vector with a free list. A token stays valid, and its entry stays put, until it is removed.

use crate::entry::Entry;

/// The most entries of one shard; the tokens above mean "none" in the policies' lists.
pub(crate) const TOKENS_MAX: usize = u32::MAX as usize - 1;

/// The entries of one shard.
pub(crate) struct Slab<K, V> {
    slots: Vec<Option<Entry<K, V>>>,
    free: Vec<u32>,
}

impl<K, V> Default for Slab<K, V> {
    fn default() -> Self {
        Self { slots: Vec::new(), free: Vec::new() }
    }
}

impl<K, V> Slab<K, V> {
    pub(crate) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Stores an entry and answers its token. The caller makes sure that there are fewer than [`TOKENS_MAX`].
    pub(crate) fn insert(&mut self, entry: Entry<K, V>) -> u32 {
        if let Some(token) = self.free.pop() {
            self.slots[token as usize] = Some(entry);
            return token;
        }
        debug_assert!(self.slots.len() < TOKENS_MAX);
        self.slots.push(Some(entry));
        (self.slots.len() - 1) as u32
    }

    /// The entry under a token of this slab.
    pub(crate) fn get(&self, token: u32) -> &Entry<K, V> {
        self.slots[token as usize].as_ref().expect("a token in the index names an entry")
    }

    pub(crate) fn get_mut(&mut self, token: u32) -> &mut Entry<K, V> {
        self.slots[token as usize].as_mut().expect("a token in the index names an entry")
    }

    /// Whether a token names an entry; for the validator.
    pub(crate) fn contains(&self, token: u32) -> bool {
        self.slots.get(token as usize).is_some_and(Option::is_some)
    }

    pub(crate) fn remove(&mut self, token: u32) -> Entry<K, V> {
        let entry = self.slots[token as usize].take().expect("a token in the index names an entry");
        self.free.push(token);
        entry
    }

    /// Entries from a token on, in order of their tokens.
    pub(crate) fn iter_from(&self, token: u32) -> impl Iterator<Item = (u32, &Entry<K, V>)> {
        let start = (token as usize).min(self.slots.len());
        self.slots[start..]
            .iter()
            .enumerate()
            .filter_map(move |(offset, slot)| slot.as_ref().map(|entry| ((start + offset) as u32, entry)))
    }
}

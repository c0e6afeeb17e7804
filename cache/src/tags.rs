//! Tags: invalidate everything that belongs together, whatever its keys.
//!
//! Each shard keeps an index from tags to its own entries, under its own lock, so an entry and its tags come and go in
//! one step: the index never names an entry that has left, and is empty when the cache is. A load that was started with
//! tags is watched too: invalidating one of them while it runs means that its result is not stored.
//!
//! Where entries are weighed, their tags count into the weight. Entries without tags cost nothing.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash};
use std::sync::Arc;

use crate::cache::{Cache, DefaultHasher};
use crate::error::{Rejected, RejectedReason};
use crate::terms::Terms;

/// The most tags of one entry.
pub const TAGS_MAX: usize = 64;
/// The longest tag, in bytes.
pub const TAG_LENGTH_MAX: usize = 256;
/// What the index keeps for one tag of one entry, besides the text.
const TAG_OVERHEAD: u64 = 64;

/// The tags of one entry, sorted and without repetition; `None` for none.
pub(crate) type Tags = Option<Arc<[Arc<str>]>>;

/// Sorted tags, each once.
pub(crate) fn collect<T: AsRef<str>>(tags: impl IntoIterator<Item = T>) -> Tags {
    let mut tags: Vec<Arc<str>> = tags.into_iter().map(|tag| Arc::from(tag.as_ref())).collect();
    tags.sort_unstable();
    tags.dedup();
    (!tags.is_empty()).then(|| tags.into())
}

/// What tags add to the weight of their entry, or why they are refused.
#[inline]
pub(crate) fn weigh(tags: &Tags) -> Result<u64, RejectedReason> {
    tags.as_ref().map_or(Ok(0), |tags| weigh_some(tags))
}

fn weigh_some(tags: &[Arc<str>]) -> Result<u64, RejectedReason> {
    if tags.len() > TAGS_MAX {
        return Err(RejectedReason::TooManyTags { count: tags.len(), limit: TAGS_MAX });
    }
    if let Some(long) = tags.iter().find(|tag| tag.len() > TAG_LENGTH_MAX) {
        return Err(RejectedReason::TagTooLong { length: long.len(), limit: TAG_LENGTH_MAX });
    }
    Ok(tags.iter().map(|tag| tag.len() as u64 + TAG_OVERHEAD).sum())
}

/// The tags of one shard's entries.
#[derive(Debug, Default)]
pub(crate) struct TagIndex {
    by_token: HashMap<u32, Arc<[Arc<str>]>, DefaultHasher>,
    by_tag: HashMap<Arc<str>, hashbrown::HashSet<u32, DefaultHasher>, DefaultHasher>,
}

impl TagIndex {
    /// Replaces the tags of an entry.
    #[inline]
    pub(crate) fn set(&mut self, token: u32, tags: &Tags) {
        self.unset(token);
        if let Some(tags) = tags {
            self.add(token, tags);
        }
    }

    fn add(&mut self, token: u32, tags: &Arc<[Arc<str>]>) {
        for tag in tags.iter() {
            self.by_tag.entry(Arc::clone(tag)).or_default().insert(token);
        }
        self.by_token.insert(token, Arc::clone(tags));
    }

    /// Forgets an entry.
    #[inline]
    pub(crate) fn unset(&mut self, token: u32) {
        if !self.by_token.is_empty() {
            self.forget(token);
        }
    }

    fn forget(&mut self, token: u32) {
        let Some(tags) = self.by_token.remove(&token) else { return };
        for tag in tags.iter() {
            if let Some(tokens) = self.by_tag.get_mut(tag) {
                tokens.remove(&token);
                if tokens.is_empty() {
                    self.by_tag.remove(tag);
                }
            }
        }
        if self.by_token.is_empty() {
            // The tables gave nothing back while they shrank.
            *self = Self::default();
        }
    }

    /// Lets an entry go by another token.
    pub(crate) fn rename(&mut self, old: u32, new: u32) {
        if !self.by_token.is_empty() && self.by_token.contains_key(&old) {
            let tags = self.of(old);
            self.set(new, &tags);
            self.unset(old);
        }
    }

    /// Gives back the memory of entries that left.
    pub(crate) fn trim(&mut self) {
        self.by_token.shrink_to_fit();
        self.by_tag.values_mut().for_each(hashbrown::HashSet::shrink_to_fit);
        self.by_tag.shrink_to_fit();
    }

    /// The entries that have a tag.
    pub(crate) fn tokens(&self, tag: &str) -> Vec<u32> {
        self.by_tag.get(tag).map_or_else(Vec::new, |tokens| tokens.iter().copied().collect())
    }

    /// The tags of an entry.
    pub(crate) fn of(&self, token: u32) -> Tags {
        self.by_token.get(&token).cloned()
    }

    /// Compares both directions; answers the entries that have tags.
    pub(crate) fn validate(&self) -> impl Iterator<Item = u32> + use<'_> {
        let pairs: usize = self.by_tag.values().map(hashbrown::HashSet::len).sum();
        assert_eq!(pairs, self.by_token.values().map(|tags| tags.len()).sum::<usize>(), "tags noted both ways");
        for (token, tags) in &self.by_token {
            assert!(tags.iter().all(|tag| self.by_tag[tag].contains(token)), "tags of token {token}");
        }
        self.by_token.keys().copied()
    }
}

impl<K, V, S> Cache<K, V, S>
where
    K: Hash + Eq,
    S: BuildHasher,
{
    /// Stores a value under a key and gives the entry tags, in place of an older value and its tags.
    ///
    /// A value that the cache cannot hold is dropped, and so is the older one; [`try_insert_with_tags`] tells.
    ///
    /// ```
    /// let cache = trimtab_cache::Cache::new(100);
    /// cache.insert_with_tags("/users/1", "Ada", ["users", "user:1"]);
    /// cache.insert_with_tags("/users", "all of them", ["users"]);
    /// assert_eq!(cache.invalidate_tag("user:1"), 1);
    /// assert_eq!(cache.invalidate_tag("users"), 1);
    /// assert!(cache.is_empty());
    /// ```
    ///
    /// [`try_insert_with_tags`]: Self::try_insert_with_tags
    pub fn insert_with_tags<T: AsRef<str>>(&self, key: K, value: V, tags: impl IntoIterator<Item = T>) {
        let _ = self.try_insert_with_tags(key, value, None, tags);
    }

    /// Stores a value with tags and, unless `ttl` is `None`, a time to live of its own; or gives it back.
    ///
    /// # Errors
    ///
    /// As [`try_insert_with_ttl`](Self::try_insert_with_ttl), and for more than [`TAGS_MAX`] tags or one longer than
    /// [`TAG_LENGTH_MAX`] bytes.
    pub fn try_insert_with_tags<T: AsRef<str>>(
        &self,
        key: K,
        value: V,
        ttl: Option<std::time::Duration>,
        tags: impl IntoIterator<Item = T>,
    ) -> Result<(), Rejected<V>> {
        self.store_or_reject(key, value, &Terms { ttl, tags: collect(tags) })
    }
}

impl<K, V, S> Cache<K, V, S> {
    /// Drops all entries that have a tag, and answers how many. Loads started with this tag will not be stored.
    ///
    /// # Complexity
    ///
    /// One lock after the other, and nothing but the entries that have the tag. Entries that are stored meanwhile may
    /// stay.
    pub fn invalidate_tag(&self, tag: &str) -> usize {
        self.store.invalidate_tag(tag)
    }

    /// The tags of a key, in order. Counts nothing.
    pub fn tags<Q>(&self, key: &Q) -> Vec<Arc<str>>
    where
        K: Hash + Eq + std::borrow::Borrow<Q>,
        Q: Hash + Eq + ?Sized,
        S: BuildHasher,
    {
        self.store.tags(key).map_or_else(Vec::new, |tags| tags.to_vec())
    }

    /// Drops all entries that `leaves` picks, and answers how many. Loads that are under way will not be stored, since
    /// nobody can tell what they would have been.
    ///
    /// Locks one shard at a time while `leaves` runs: keep it short, and do not use this cache in it. A panic in it reaches
    /// the caller; of the shard that was being looked at, nothing is removed then.
    ///
    /// # Complexity
    ///
    /// O(n). Use tags where the same question is asked often.
    ///
    /// ```
    /// let cache = trimtab_cache::Cache::new(100);
    /// (0..10).for_each(|key| cache.insert(key, key * key));
    /// assert_eq!(cache.invalidate_if(|key, _| key % 2 == 0), 5);
    /// assert_eq!((cache.get(&2), cache.get(&3)), (None, Some(9)));
    /// ```
    pub fn invalidate_if(&self, leaves: impl FnMut(&K, &V) -> bool) -> usize {
        self.store.invalidate_if(leaves)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_index_is_empty_when_its_last_entry_leaves() {
        let mut index = TagIndex::default();
        index.set(1, &collect(["a", "b", "a"]));
        index.set(2, &collect(["b"]));
        assert_eq!(index.tokens("a"), [1]);
        assert_eq!(index.of(1).unwrap().len(), 2, "a repeated tag counts once");
        index.set(1, &None);
        assert_eq!(index.tokens("b"), [2]);
        assert_eq!(index.validate().collect::<Vec<_>>(), [2]);
        index.unset(2);
        assert!(index.by_tag.is_empty() && index.by_tag.capacity() == 0 && index.by_token.capacity() == 0);
    }
}

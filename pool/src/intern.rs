//! One copy of each word: names, labels, hosts, whatever comes again and again.
//!
//! ustr is the model for words that stay. Here they are found without a lock, and beside them there are words that go again,
//! since a service that interns what its users send must not grow for ever. Which kind an interner is, is said where it is
//! made; the words are of one type.

mod counted;
mod words;

use std::cmp::Ordering;
use std::fmt;
use std::hash::{BuildHasher, Hash, Hasher};
use std::ops::Deref;
use std::sync::{Arc, LazyLock};

use foldhash::fast::RandomState;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use trimtab_config::Share;

use crate::metrics::{Meters, ObjectNumbers};
use crate::stats::{InternerStats, Trimmed};
use crate::tally::Tally;

const SHARDS: usize = 16;

/// An interned word. Comparing two is comparing pointers, and so is hashing.
///
/// Words of *one* interner are equal when their text is. Words of different interners never are; compare their text.
#[derive(Clone)]
pub struct Istr(Repr);

#[derive(Clone)]
enum Repr {
    Stays(words::Word),
    Counted(Arc<counted::Word>),
}

impl Istr {
    /// The text.
    #[inline]
    pub fn as_str(&self) -> &str {
        match &self.0 {
            Repr::Stays(word) => word.text(),
            Repr::Counted(word) => &word.text,
        }
    }

    #[inline]
    fn address(&self) -> usize {
        match &self.0 {
            Repr::Stays(word) => word.address(),
            Repr::Counted(word) => word.address(),
        }
    }
}

/// One copy of each word. Clones are cheap and speak of the same interner.
///
/// ```
/// use trimtab_pool::Interner;
///
/// let hosts = Interner::bounded("hosts", 10_000);
/// let (a, b) = (hosts.intern("example.org"), hosts.intern("example.org"));
/// assert_eq!(a, b); // one comparison of pointers
/// assert_eq!(&*a, "example.org");
/// assert_eq!(hosts.stats().saved_bytes, 11);
/// ```
#[derive(Clone)]
pub struct Interner {
    inner: Arc<Inner>,
}

struct Inner {
    name: Arc<str>,
    hasher: RandomState,
    shards: Shards,
    /// Hits, and bytes saved.
    hits: Tally,
    /// Misses.
    misses: Tally,
    meters: Meters,
}

enum Shards {
    Stay(Box<[words::Shard]>),
    Counted(Box<[counted::Shard]>),
}

impl Interner {
    fn new(name: &str, shards: Shards) -> Self {
        let (hits, misses) = (Tally::new(), Tally::new());
        let (hasher, meters) = (RandomState::default(), Meters::default());
        Self { inner: Arc::new(Inner { name: name.into(), hasher, shards, hits, misses, meters }) }
    }

    /// Words stay to the end of the process, even when the interner is dropped. The fastest kind, for closed sets: field
    /// names, routes, labels. Not for what comes from outside.
    pub fn permanent(name: &str) -> Self {
        Self::new(name, Shards::Stay((0..SHARDS).map(|_| words::Shard::new()).collect()))
    }

    /// A word lives as long as somebody uses it, and the last `keep` words stay for the next who asks.
    pub fn bounded(name: &str, keep: usize) -> Self {
        let shards = SHARDS.min(keep.max(1));
        Self::new(name, Shards::Counted((0..shards).map(|_| counted::Shard::new(keep / shards)).collect()))
    }

    /// A word lives as long as somebody uses it.
    pub fn weak(name: &str) -> Self {
        Self::new(name, Shards::Counted((0..SHARDS).map(|_| counted::Shard::new(0)).collect()))
    }

    /// The interner into which words are deserialised: a weak one, since they come from outside.
    pub fn global() -> &'static Self {
        static GLOBAL: LazyLock<Interner> = LazyLock::new(|| Interner::weak("global"));
        &GLOBAL
    }

    /// The name.
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// The one copy of `text`.
    ///
    /// # Panics
    ///
    /// A permanent interner, when `text` has 4 GiB or more.
    ///
    /// # Complexity
    ///
    /// Hashes the text once. A known word of a permanent interner is found without a lock.
    #[inline]
    pub fn intern(&self, text: &str) -> Istr {
        let inner = &*self.inner;
        let hash = {
            let mut hasher = inner.hasher.build_hasher();
            hasher.write(text.as_bytes());
            hasher.finish()
        };
        let at = (hash >> 32) as usize;
        match &inner.shards {
            Shards::Stay(shards) => {
                let shard = &shards[at % SHARDS];
                if let Some(word) = shard.get(hash as u32, text) {
                    inner.hits.add(1, text.len() as u64);
                    return Istr(Repr::Stays(word));
                }
                let (word, new) = shard.insert(hash as u32, text);
                inner.count(new, text);
                Istr(Repr::Stays(word))
            }
            Shards::Counted(shards) => {
                let (word, new) = shards[at % shards.len()].intern(hash, text);
                inner.count(new, text);
                Istr(Repr::Counted(word))
            }
        }
    }

    /// Lets go of a share of the words that are kept although nobody uses them; answers how many, and their bytes.
    /// A permanent interner keeps all.
    pub fn trim_idle(&self, share: Share) -> Trimmed {
        match &self.inner.shards {
            Shards::Stay(_) => Trimmed::default(),
            Shards::Counted(shards) => shards.iter().fold(Trimmed::default(), |sum, shard| {
                let (objects, bytes) = shard.trim(share.get());
                sum + Trimmed { objects, bytes }
            }),
        }
    }

    /// What it holds now, and what happened since it was made. Walks all words of a weak or bounded interner.
    pub fn stats(&self) -> InternerStats {
        let sizes: Vec<(usize, usize)> = match &self.inner.shards {
            Shards::Stay(shards) => shards.iter().map(words::Shard::size).collect(),
            Shards::Counted(shards) => shards.iter().map(counted::Shard::size).collect(),
        };
        let (words, bytes) = sizes.iter().fold((0, 0), |(w, b), (words, bytes)| (w + words, b + bytes));
        let (hits, saved_bytes) = self.inner.hits.sums();
        InternerStats { words, bytes, hits, misses: self.inner.misses.sums().0, saved_bytes }
    }

    /// Publishes the statistics as metrics. Call it before each scrape.
    pub fn publish_metrics(&self) {
        let stats = self.stats();
        let numbers = ObjectNumbers {
            idle: stats.words,
            bytes: stats.bytes,
            acquired: stats.hits + stats.misses,
            created: stats.misses,
            saved_bytes: stats.saved_bytes,
            ..ObjectNumbers::default()
        };
        self.inner.meters.publish_objects(&self.inner.name, &numbers);
    }
}

impl Inner {
    fn count(&self, new: bool, text: &str) {
        if new {
            self.misses.add(1, 0);
        } else {
            self.hits.add(1, text.len() as u64);
        }
    }
}

impl fmt::Debug for Interner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Interner").field("name", &self.inner.name).field("stats", &self.stats()).finish()
    }
}

impl Deref for Istr {
    type Target = str;

    #[inline]
    fn deref(&self) -> &str {
        self.as_str()
    }
}

impl AsRef<str> for Istr {
    fn as_ref(&self) -> &str {
        self
    }
}

impl PartialEq for Istr {
    #[inline]
    fn eq(&self, other: &Self) -> bool {
        self.address() == other.address()
    }
}

impl Eq for Istr {}

impl PartialEq<str> for Istr {
    fn eq(&self, other: &str) -> bool {
        self.as_str() == other
    }
}

impl Hash for Istr {
    #[inline]
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_usize(self.address());
    }
}

impl PartialOrd for Istr {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Istr {
    /// By text; equal text of different interners is ordered by address, to agree with `==`.
    fn cmp(&self, other: &Self) -> Ordering {
        self.as_str().cmp(other.as_str()).then_with(|| self.address().cmp(&other.address()))
    }
}

impl fmt::Display for Istr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self)
    }
}

impl fmt::Debug for Istr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_str().fmt(f)
    }
}

impl Serialize for Istr {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self)
    }
}

impl<'de> Deserialize<'de> for Istr {
    /// Into [`Interner::global`].
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl serde::de::Visitor<'_> for Visitor {
            type Value = Istr;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_str<E>(self, text: &str) -> Result<Istr, E> {
                Ok(Interner::global().intern(text))
            }
        }
        deserializer.deserialize_str(Visitor)
    }
}

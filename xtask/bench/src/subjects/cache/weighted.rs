//! Hit ratios of caches limited by bytes: streams whose objects have sizes, through the weighers of the peers that have one.
//!
//! The capacity is a share of the bytes of all distinct objects, and each object weighs its size and the overhead that trimtab
//! counts for an entry, in every contender, so that all have the same room. A peer that cuts its capacity into shards
//! refuses what is heavier than a shard; foyer is given one shard, the others decide that for themselves.

use std::cell::OnceCell;
use std::collections::HashMap;
use std::path::PathBuf;
use std::rc::Rc;

use foyer_memory::{EvictionConfig, LfuConfig, LruConfig, S3FifoConfig};

use crate::frame::{Case, Contender, Measure, Options, Role, Rounds, Row};
use crate::load::sizes::{self, SizedStream};

/// Shares of the distinct bytes that are capacities.
const SHARES: [(&str, f64); 5] = [("0.3 %", 0.003), ("1 %", 0.01), ("3 %", 0.03), ("10 %", 0.1), ("30 %", 0.3)];
const RATIO: Measure = Measure::higher("hit ratio", "%");

/// A cache limited by bytes; the value of a key is its weight.
trait Weighing: Sized {
    const NAME: &'static str;
    const ROLE: Role = Role::Peer;

    /// A cache for so many bytes; peers that ask for a number of entries are told about how many that is.
    fn with_bytes(bytes: u64, entries: usize) -> Self;
    fn hits(&self, key: u64) -> bool;
    fn insert(&mut self, key: u64, weight: u32);
    fn settle(&self) {}
    fn weight(&self) -> u64;
}

macro_rules! ours {
    ($store:ident, $name:literal, $policy:expr) => {
        struct $store(trimtab_cache::Cache<u64, u32>);

        impl Weighing for $store {
            const NAME: &'static str = $name;
            const ROLE: Role = Role::Ours;

            fn with_bytes(bytes: u64, _entries: usize) -> Self {
                let overhead = overhead();
                let cache = trimtab_cache::Cache::builder()
                    .max_bytes(trimtab::config::ByteSize::b(bytes))
                    .weigher(move |_: &u64, weight: &u32| u64::from(*weight).saturating_sub(overhead))
                    .policy($policy)
                    .build();
                Self(cache.expect("a positive number of bytes is all a cache needs"))
            }
            fn hits(&self, key: u64) -> bool {
                self.0.get(&key).is_some()
            }
            fn insert(&mut self, key: u64, weight: u32) {
                self.0.insert(key, weight);
            }
            fn weight(&self) -> u64 {
                self.0.weight()
            }
        }
    };
}

ours!(Trimtab, "trimtab", trimtab_cache::PolicyKind::Adaptive);
ours!(TrimtabLru, "trimtab lru", trimtab_cache::PolicyKind::Lru);

#[derive(Clone)]
struct Weight;

impl quick_cache::Weighter<u64, u32> for Weight {
    fn weight(&self, _key: &u64, weight: &u32) -> u64 {
        u64::from(*weight)
    }
}

struct Quick(quick_cache::sync::Cache<u64, u32, Weight>);

impl Weighing for Quick {
    const NAME: &'static str = "quick_cache";

    fn with_bytes(bytes: u64, entries: usize) -> Self {
        Self(quick_cache::sync::Cache::with_weighter(entries, bytes, Weight))
    }
    fn hits(&self, key: u64) -> bool {
        self.0.get(&key).is_some()
    }
    fn insert(&mut self, key: u64, weight: u32) {
        self.0.insert(key, weight);
    }
    fn weight(&self) -> u64 {
        self.0.weight()
    }
}

struct Moka(moka::sync::Cache<u64, u32>);

impl Weighing for Moka {
    const NAME: &'static str = "moka";

    fn with_bytes(bytes: u64, _entries: usize) -> Self {
        Self(moka::sync::Cache::builder().max_capacity(bytes).weigher(|_: &u64, weight: &u32| *weight).build())
    }
    fn hits(&self, key: u64) -> bool {
        self.0.get(&key).is_some()
    }
    fn insert(&mut self, key: u64, weight: u32) {
        self.0.insert(key, weight);
    }
    fn settle(&self) {
        self.0.run_pending_tasks();
    }
    fn weight(&self) -> u64 {
        self.0.weighted_size()
    }
}

macro_rules! foyer {
    ($store:ident, $name:literal, $config:expr) => {
        struct $store(foyer_memory::Cache<u64, u32>);

        impl Weighing for $store {
            const NAME: &'static str = $name;

            fn with_bytes(bytes: u64, _entries: usize) -> Self {
                let config: EvictionConfig = $config.into();
                let builder = foyer_memory::Cache::builder(bytes as usize).with_shards(1);
                Self(
                    builder
                        .with_eviction_config(config)
                        .with_weighter(|_: &u64, weight: &u32| *weight as usize)
                        .build(),
                )
            }
            fn hits(&self, key: u64) -> bool {
                self.0.get(&key).is_some()
            }
            fn insert(&mut self, key: u64, weight: u32) {
                self.0.insert(key, weight);
            }
            fn weight(&self) -> u64 {
                self.0.usage() as u64
            }
        }
    };
}

foyer!(FoyerLru, "foyer lru", LruConfig::default());
foyer!(FoyerLfu, "foyer lfu", LfuConfig::default());
foyer!(FoyerS3Fifo, "foyer s3fifo", S3FifoConfig::default());

/// Exact LRU by bytes.
struct Lru {
    entries: lru::LruCache<u64, u32>,
    held: u64,
    most: u64,
}

impl Weighing for Lru {
    const NAME: &'static str = "mutex lru";

    fn with_bytes(bytes: u64, _entries: usize) -> Self {
        Self { entries: lru::LruCache::unbounded(), held: 0, most: bytes }
    }
    fn hits(&self, key: u64) -> bool {
        self.entries.contains(&key)
    }
    fn insert(&mut self, key: u64, weight: u32) {
        // `hits` cannot move an entry behind a shared reference, so every request ends here.
        if self.entries.get(&key).is_some() || u64::from(weight) > self.most {
            return;
        }
        self.held += u64::from(weight);
        self.entries.put(key, weight);
        while self.held > self.most
            && let Some((_, weight)) = self.entries.pop_lru()
        {
            self.held -= u64::from(weight);
        }
    }
    fn weight(&self) -> u64 {
        self.held
    }
}

/// What trimtab counts for an entry besides what its weigher says.
fn overhead() -> u64 {
    trimtab_cache::Cache::<u64, u32>::entry_overhead()
}

/// A stream with sizes, read or made when its first cell is run.
#[derive(Debug)]
struct Source {
    name: String,
    folder: Option<PathBuf>,
    requests: usize,
    stream: OnceCell<Result<(SizedStream, u64, usize), String>>,
}

impl Source {
    /// The stream with its overheads, the weight of all distinct objects, and their number.
    fn ready(&self) -> Result<&(SizedStream, u64, usize), String> {
        let made = self.stream.get_or_init(|| {
            let mut stream = match &self.folder {
                Some(folder) => sizes::read(folder, &self.name, self.requests)?,
                None => sizes::cdn(self.requests.min(crate::load::families::REQUESTS)),
            };
            for size in &mut stream.sizes {
                *size = size.saturating_add(overhead() as u32);
            }
            let objects: HashMap<u64, u32> = stream.keys.iter().copied().zip(stream.sizes.iter().copied()).collect();
            let bytes = objects.values().map(|size| u64::from(*size)).sum();
            Ok((stream, bytes, objects.len()))
        });
        made.as_ref().map_err(Clone::clone)
    }
}

/// A case for each stream with sizes and each capacity.
///
/// # Errors
///
/// When the folder of traces cannot be read.
pub(super) fn cases(options: &Options) -> Result<Vec<Case>, String> {
    let requests = if options.quick { 250_000 } else { usize::MAX / 8 };
    let recorded = options.traces.as_deref().map(sizes::names).transpose()?.unwrap_or_default();
    let source = |name: String, folder| Rc::new(Source { name, folder, requests, stream: OnceCell::new() });
    let recorded = recorded.into_iter().map(|name| source(name, options.traces.clone()));
    let mut cases = Vec::new();
    for source in recorded.chain([source("syn-cdn".to_owned(), None)]) {
        for (size, share) in SHARES {
            let name = &source.name;
            cases.push(Case {
                name: format!("bytes/{name} {size}"),
                what: format!("objects of {name} with their sizes, capacity {size} of the bytes of all of them"),
                threads: 1,
                measures: vec![RATIO],
                contenders: vec![
                    contender::<Trimtab>(&source, share),
                    contender::<TrimtabLru>(&source, share),
                    contender::<Quick>(&source, share),
                    contender::<Moka>(&source, share),
                    contender::<FoyerLru>(&source, share),
                    contender::<FoyerLfu>(&source, share),
                    contender::<FoyerS3Fifo>(&source, share),
                    contender::<Lru>(&source, share),
                ],
                rounds: Rounds::Exact(options.rounds_or(3, 1)),
            });
        }
    }
    Ok(cases)
}

fn contender<S: Weighing>(source: &Rc<Source>, share: f64) -> Contender {
    let source = Rc::clone(source);
    Contender::new(S::NAME, S::ROLE, move |_| {
        let (stream, bytes, objects) = source.ready()?;
        let capacity = ((*bytes as f64 * share) as u64).max(1);
        let hits = replay::<S>(stream, capacity, ((*objects as f64 * share) as usize).max(1))?;
        if hits > stream.keys.len() - objects {
            return Err(format!("{hits} hits where an endless cache has {}", stream.keys.len() - objects));
        }
        Ok(vec![hits as f64 * 100.0 / stream.keys.len() as f64])
    })
}

fn replay<S: Weighing>(stream: &SizedStream, capacity: u64, entries: usize) -> Result<usize, String> {
    let mut store = S::with_bytes(capacity, entries);
    let mut hits = 0;
    for (key, size) in stream.keys.iter().zip(&stream.sizes) {
        if store.hits(*key) {
            hits += 1;
            if S::NAME == Lru::NAME {
                store.insert(*key, *size);
            }
        } else {
            store.insert(*key, *size);
            store.settle();
        }
    }
    store.settle();
    let held = store.weight();
    if held > capacity + capacity / 100 + 4096 {
        return Err(format!("holds {held} bytes at a capacity of {capacity}"));
    }
    Ok(hits)
}

/// The largest shortfall of ours against LRU and `quick_cache` in a cell.
pub(super) fn derive(rows: &[Row]) -> Option<Row> {
    let cells: Vec<&Row> = rows.iter().filter(|row| row.group() == "bytes").collect();
    let lack = |row: &&Row| {
        let of = |name: &str| row.figure(name).map(|figure| figure.summary.median);
        let mine = of(Trimtab::NAME)?;
        let peers = [Lru::NAME, Quick::NAME].into_iter().filter_map(of);
        Some(peers.map(|peer| peer - mine).fold(0.0, f64::max))
    };
    let lacks: Vec<f64> = cells.iter().map(lack).collect::<Option<_>>()?;
    let largest = lacks.iter().copied().fold(0.0, f64::max);
    let what = format!("largest shortfall against LRU and quick_cache over {} cells limited by bytes", cells.len());
    let samples = vec![(Trimtab::NAME, Role::Ours, vec![largest])];
    (!cells.is_empty())
        .then(|| Row::new("summary/bytes", what, 1, Measure::lower("largest shortfall", "points"), samples))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream() -> SizedStream {
        let keys: Vec<u64> = (0..4_000).map(|at| at * at % 211).collect();
        let sizes = keys.iter().map(|key| 100 + (*key as u32 % 7) * 50).collect();
        SizedStream { keys, sizes }
    }

    #[test]
    fn lru_by_bytes_is_a_naive_one() {
        let stream = stream();
        let (mut order, mut hits) = (Vec::<(u64, u64)>::new(), 0);
        for (key, size) in stream.keys.iter().zip(&stream.sizes) {
            if let Some(at) = order.iter().position(|(other, _)| other == key) {
                let entry = order.remove(at);
                order.push(entry);
                hits += 1;
            } else {
                order.push((*key, u64::from(*size)));
                while order.iter().map(|(_, size)| size).sum::<u64>() > 9_000 {
                    order.remove(0);
                }
            }
        }
        assert_eq!(replay::<Lru>(&stream, 9_000, 30).unwrap(), hits);
        assert!(hits > 0);
    }

    #[test]
    fn every_contender_keeps_to_its_bytes_and_hits_when_all_fits() {
        fn check<S: Weighing>(stream: &SizedStream) {
            replay::<S>(stream, 20_000, 80).unwrap_or_else(|message| panic!("{} {message}", S::NAME));
            let most = stream.keys.len() - stream.keys.iter().collect::<std::collections::HashSet<_>>().len();
            assert_eq!(replay::<S>(stream, 1 << 30, 1_000).unwrap(), most, "{}", S::NAME);
        }
        let stream = stream();
        check::<Trimtab>(&stream);
        check::<TrimtabLru>(&stream);
        check::<Quick>(&stream);
        check::<Moka>(&stream);
        check::<FoyerLru>(&stream);
        check::<FoyerLfu>(&stream);
        check::<FoyerS3Fifo>(&stream);
        check::<Lru>(&stream);
    }
}

//! A byte string, read as operations over the public surface of a cache, beside a map that never forgets.
//!
//! The first bytes choose limits, shards, policy and expiry, each further operation takes a few; at the end of the string the play
//! ends, so every string is one. The cache may forget, but it must never lie: what it returns is what was stored last, its time
//! is not over, limits hold after every step, and whatever leaves is told once with its cause. The structural validator
//! runs now and then and at the end. Driven by random strings in the tests and by a fuzzer's in `fuzz/`.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use trimtab_cache::{Cache, Cause, ManualClock, Op, PolicyKind};
use trimtab_config::ByteSize;

/// A number that tells the value apart from every other, and bytes to weigh.
type Value = (u64, Vec<u8>);

/// A key, its value, the time that it has left, and its tags.
type Content = (u8, Value, Option<Duration>, Vec<Arc<str>>);

/// Keys are few, so that operations meet.
const KEYS: u8 = 48;
/// A structural check in so many operations.
const VALIDATE_EVERY: usize = 64;

/// What was stored last under each key, and when it ends at the latest.
#[derive(Default)]
struct Model {
    stored: BTreeMap<u8, (Value, Option<Duration>)>,
    next: u64,
}

/// The bytes not read yet.
struct Script<'a>(&'a [u8]);

impl Script<'_> {
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    /// For the plan, which a short string leaves at zero.
    fn choice(&mut self, below: u8) -> u8 {
        self.byte().unwrap_or(0) % below
    }

    fn key(&mut self) -> Option<u8> {
        self.byte().map(|byte| byte % KEYS)
    }

    fn policy(&mut self) -> Option<PolicyKind> {
        self.byte().map(|byte| PolicyKind::ALL[usize::from(byte) % PolicyKind::ALL.len()])
    }
}

/// A cache, the map beside it, and its time.
struct Play {
    cache: Cache<u8, Value>,
    model: Rc<RefCell<Model>>,
    clock: ManualClock,
    now: Duration,
    told: Arc<[AtomicU64; Cause::ALL.len()]>,
    max_entries: Option<u64>,
    max_bytes: Option<u64>,
    ttl: Option<Duration>,
    shards: usize,
}

/// Plays a byte string; panics where the cache does wrong.
pub(crate) fn play(bytes: &[u8]) {
    let mut script = Script(bytes);
    let mut play = Play::plan(&mut script);
    let mut steps = 0;
    while play.step(&mut script).is_some() {
        steps += 1;
        play.check_limits();
        if steps % VALIDATE_EVERY == 0 {
            play.cache.validate();
        }
    }
    play.end();
}

impl Play {
    fn plan(script: &mut Script<'_>) -> Self {
        let (clock, told) = (ManualClock::new(), Arc::new(std::array::from_fn(|_| AtomicU64::new(0))));
        let max_entries = u64::from(script.choice(40)) + 1;
        let policy = script.policy().unwrap_or_default();
        let shards = 1 << script.choice(4);
        let expiry = script.choice(8);
        let max_bytes = (expiry & 4 != 0).then(|| 256 + 64 * u64::from(script.choice(60)));
        let mut builder = Cache::builder()
            .max_entries(max_entries)
            .weigher(|_: &u8, (_, bytes): &Value| bytes.len() as u64)
            .policy(policy)
            .shards(shards)
            .clock(clock.clone())
            .metrics(false);
        if let Some(max_bytes) = max_bytes {
            builder = builder.max_bytes(ByteSize::b(max_bytes));
        }
        if expiry & 1 != 0 {
            builder = builder.time_to_idle(Duration::from_secs(40));
        }
        if expiry & 2 != 0 {
            builder = builder.adaptive_ttl(Duration::from_secs(10)..=Duration::from_secs(80));
        }
        let listener = {
            let told: Arc<[AtomicU64; Cause::ALL.len()]> = Arc::clone(&told);
            move |_: &u8, _: &Value, cause| {
                let index = Cause::ALL.iter().position(|other| *other == cause).expect("a cause that is listed");
                told[index].fetch_add(1, Ordering::Relaxed);
            }
        };
        let cache = builder.listener(listener).build().expect("a plan within the limits");
        let model = Rc::default();
        Self {
            cache,
            model,
            clock,
            now: Duration::ZERO,
            told,
            max_entries: Some(max_entries),
            max_bytes,
            ttl: None,
            shards,
        }
    }

    /// A value that was never stored before.
    fn fresh(&self, size: u8) -> Value {
        let mut model = self.model.borrow_mut();
        model.next += 1;
        (model.next, vec![size; usize::from(size)])
    }

    /// Notes what was stored; with a time to live of zero, nothing was.
    fn note(&self, key: u8, value: Value, ttl: Option<Duration>) {
        let ends = ttl.map(|ttl| self.now + ttl);
        self.model.borrow_mut().stored.insert(key, (value, ends));
    }

    fn forget(&self, key: u8) {
        self.model.borrow_mut().stored.remove(&key);
    }

    /// Holds an answer of the cache against the map.
    fn judge(&self, key: u8, found: Option<&Value>) {
        let Some(found) = found else { return };
        let model = self.model.borrow();
        let (stored, ends) =
            model.stored.get(&key).unwrap_or_else(|| panic!("{found:?} under {key}, which was removed"));
        assert_eq!(found, stored, "the value of {key}");
        assert!(ends.is_none_or(|ends| self.now < ends), "{key} is returned after its time");
    }

    fn insert(&self, key: u8, value: Value, ttl: Option<Duration>) {
        let stored = match ttl {
            Some(ttl) => self.cache.try_insert_with_ttl(key, value.clone(), ttl),
            None => self.cache.try_insert(key, value.clone()),
        };
        match stored {
            Ok(()) => {
                self.note(key, value.clone(), ttl.or(self.ttl));
                assert_eq!(self.cache.peek(&key), Some(value), "what was just stored under {key}");
            }
            Err(rejected) => {
                assert_eq!(rejected.value, value, "a refused value comes back");
                self.forget(key);
                assert!(!self.cache.contains(&key), "{key} was to be replaced");
            }
        }
    }

    /// One operation; `None` at the end of the script.
    fn step(&mut self, script: &mut Script<'_>) -> Option<()> {
        match script.byte()? % 32 {
            0..=5 => {
                let (key, size) = (script.key()?, script.byte()?);
                self.insert(key, self.fresh(size % 64), None);
            }
            6..=10 => {
                let key = script.key()?;
                self.judge(key, self.cache.get(&key).as_ref());
            }
            11 => {
                let (key, ttl) = (script.key()?, script.byte()?);
                self.insert(key, self.fresh(ttl), Some(Duration::from_secs(u64::from(ttl % 50))));
            }
            12 => {
                let key = script.key()?;
                self.judge(key, self.cache.remove(&key).as_ref());
                self.forget(key);
            }
            13 => {
                let key = script.key()?;
                self.cache.invalidate(&key);
                self.forget(key);
                assert!(!self.cache.contains(&key));
            }
            14 => {
                let (key, tag) = (script.key()?, script.byte()? % 4);
                let value = self.fresh(tag);
                match self.cache.try_insert_with_tags(key, value.clone(), None, [format!("tag {tag}"), "all".into()]) {
                    Ok(()) => self.note(key, value, self.ttl),
                    Err(_) => self.forget(key),
                }
            }
            15 => self.invalidate_tag(script.byte()? % 5),
            16 => {
                let part = u64::from(script.byte()? % 7) + 2;
                self.cache.invalidate_if(|_, value| value.0 % part == 0);
                self.model.borrow_mut().stored.retain(|_, (value, _)| value.0 % part != 0);
            }
            17 | 18 => self.change_policy(script.policy()?),
            19 => self.change_entries(script.byte()?),
            20 => self.change_bytes(script.byte()?),
            21 => {
                self.ttl = Some(u64::from(script.byte()? % 60)).filter(|ttl| *ttl > 0).map(Duration::from_secs);
                self.cache.set_ttl(self.ttl).expect("a time above zero, or none");
            }
            22 => {
                let by = Duration::from_secs(u64::from(script.byte()? % 16));
                self.clock.advance(by);
                self.now += by;
            }
            23 => drop(self.cache.expire()),
            24 => {
                let (key, size) = (script.key()?, script.byte()?);
                let value = self.fresh(size);
                let ttl = self.ttl;
                let before = self.cache.peek(&key);
                let after = self.cache.entry(key).and_upsert_with(|old| {
                    assert_eq!(old, before);
                    value.clone()
                });
                assert_eq!(after, value);
                self.note(key, value, ttl);
            }
            25 => {
                let key = script.key()?;
                let computed = self.cache.entry(key).and_compute_with(|_| Op::Remove);
                self.judge(key, computed.into_value().as_ref());
                self.forget(key);
            }
            26 => {
                let key = script.key()?;
                let value = self.fresh(key);
                let got = self.cache.get_or_insert_with(key, || value.clone());
                if got == value {
                    self.note(key, value, self.ttl);
                } else {
                    self.judge(key, Some(&got));
                }
            }
            27 => self.look(script.key()?),
            28 => self.page(script.byte()?),
            29 => self.nest(script.key()?),
            30 => self.round_trip(script.policy()?),
            _ => {
                if script.byte()? % 8 == 0 {
                    self.cache.clear();
                    self.model.borrow_mut().stored.clear();
                    assert!(self.cache.is_empty());
                } else {
                    let keys: Vec<u8> = (0..script.byte()? % KEYS).collect();
                    for (key, found) in keys.iter().zip(self.cache.get_many(&keys)) {
                        self.judge(*key, found.as_ref());
                    }
                }
            }
        }
        Some(())
    }

    fn invalidate_tag(&self, tag: u8) {
        let tag = if tag == 4 { "all".to_owned() } else { format!("tag {tag}") };
        let tagged: Vec<u8> =
            (0..KEYS).filter(|key| self.cache.tags(key).iter().any(|other| **other == *tag)).collect();
        let removed = self.cache.invalidate_tag(&tag);
        assert_eq!(removed, tagged.len(), "entries of {tag:?}");
        for key in tagged {
            self.forget(key);
            assert!(!self.cache.contains(&key));
        }
    }

    /// All that is held, with times and tags.
    fn contents(&self) -> Vec<Content> {
        let mut contents = Vec::new();
        self.cache.for_each(|key, value| {
            let ttl_left = self.cache.info(key).and_then(|info| info.ttl_left);
            contents.push((*key, value.clone(), ttl_left, self.cache.tags(key)));
        });
        contents.sort_by_key(|(key, ..)| *key);
        contents
    }

    fn change_policy(&self, policy: PolicyKind) {
        let (before, len) = (self.contents(), self.cache.len());
        self.cache.set_policy(policy);
        assert_eq!((self.cache.policy(), self.cache.len()), (policy, len));
        assert_eq!(self.contents(), before, "a change to {policy} keeps all entries");
        self.cache.validate();
    }

    fn change_entries(&mut self, byte: u8) {
        let max = Some(u64::from(byte % 50)).filter(|max| *max < 45);
        match self.cache.set_max_entries(max) {
            Ok(()) => self.max_entries = max,
            Err(_) => assert!(max == Some(0) || (max.is_none() && self.max_bytes.is_none())),
        }
    }

    fn change_bytes(&mut self, byte: u8) {
        let max = Some(u64::from(byte) * 24).filter(|_| byte < 250);
        match self.cache.set_max_bytes(max.map(ByteSize::b)) {
            Ok(()) => self.max_bytes = max,
            Err(_) => assert!(
                max.is_some_and(|max| max < Cache::<u8, Value>::entry_overhead())
                    || (max.is_none() && self.max_entries.is_none())
            ),
        }
    }

    /// Everything that only looks.
    fn look(&self, key: u8) {
        let held = self.cache.peek(&key);
        self.judge(key, held.as_ref());
        assert_eq!(self.cache.contains(&key), held.is_some());
        assert_eq!(self.cache.info(&key).is_some(), held.is_some());
        match self.cache.explain(&key) {
            Some(told) => assert!((0.0..=1.0).contains(&told.safer_than) && held.is_some(), "{told}"),
            None => assert!(held.is_none()),
        }
        let (hottest, coldest) = (self.cache.hottest(usize::MAX), self.cache.coldest(usize::MAX));
        assert_eq!(hottest.len(), coldest.len());
    }

    fn page(&self, byte: u8) {
        let (most, mut from, mut seen) = (usize::from(byte % 9) + 1, None, Vec::new());
        loop {
            let page = self.cache.keys(from, most);
            assert!(page.items.len() <= most);
            seen.extend(page.items);
            match page.next {
                Some(next) => from = Some(next),
                None => break,
            }
        }
        seen.sort_unstable();
        let held: Vec<u8> = self.contents().into_iter().map(|(key, ..)| key).collect();
        assert_eq!(seen, held, "pages of {most}");
    }

    /// Changes the cache while one of its values is read.
    fn nest(&self, key: u8) {
        let value = self.fresh(7);
        let stays = self.cache.view(&key, |seen| {
            self.judge(key, Some(seen));
            let before = seen.clone();
            self.cache.insert(key, value.clone());
            for other in 0..KEYS {
                if other % 3 == 0 {
                    self.cache.invalidate(&other);
                    self.forget(other);
                }
            }
            assert_eq!(*seen, before, "a value stays whole under its reader");
        });
        if stays.is_some() && !key.is_multiple_of(3) {
            // Too large for a limit of bytes it is removed; either way the old value is gone.
            self.note(key, value, self.ttl);
        }
    }

    /// Into a cache of another policy and back by way of a snapshot.
    fn round_trip(&self, policy: PolicyKind) {
        let mut bytes = Vec::new();
        let held = self.contents();
        let saved = self.cache.write_snapshot(&mut bytes).expect("memory takes everything");
        assert_eq!(saved.entries as usize, held.len());
        let other: Cache<u8, Value> = Cache::builder()
            .max_entries(60)
            .weigher(|_: &u8, (_, bytes): &Value| bytes.len() as u64)
            .policy(policy)
            .shards(self.shards)
            .clock(self.clock.clone())
            .metrics(false)
            .build()
            .expect("limits within bounds");
        other.read_snapshot(&bytes[..]).expect("what was just written");
        other.validate();
        // Time to live may end between writing and reading by the wall clock, but nothing else may be missing.
        for (key, value, ttl_left, _) in &held {
            match other.peek(key) {
                Some(found) => assert_eq!(found, *value),
                None => assert!(ttl_left.is_some(), "{key} is missing"),
            }
        }
        // The cache itself has a newer value for all of it.
        let restored = self.cache.read_snapshot(&bytes[..]).expect("what was just written");
        assert_eq!(restored.entries, 0, "nothing is put over what is held");
        if let Some(last) = bytes.last_mut() {
            *last ^= 1;
            assert!(other.read_snapshot(&bytes[..]).is_err(), "a damaged snapshot is refused");
        }
    }

    fn check_limits(&self) {
        let (entries, weight) = (self.cache.len(), self.cache.weight());
        assert!(self.max_entries.is_none_or(|max| entries <= max), "{entries} entries of {:?}", self.max_entries);
        assert!(self.max_bytes.is_none_or(|max| weight <= max), "{weight} bytes of {:?}", self.max_bytes);
    }

    fn end(self) {
        self.cache.validate();
        for key in 0..KEYS {
            self.judge(key, self.cache.peek(&key).as_ref());
        }
        self.cache.clear();
        self.cache.validate();
        assert_eq!((self.cache.len(), self.cache.weight()), (0, 0));
        let stats = self.cache.stats();
        for (index, cause) in Cause::ALL.into_iter().enumerate() {
            assert_eq!(self.told[index].load(Ordering::Relaxed), stats.evictions.by(cause), "told of as {cause:?}");
        }
        assert_eq!(stats.listener_panics, 0);
    }
}

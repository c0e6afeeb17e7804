//! Snapshots: a cache written to a file and read back after a restart, hottest entries first.
//!
//! ```text
//! "TRIMCACH" version:u16 saved_at:u64 (ms since 1970) types:u16+text  crc:u32
//! { length:u32 crc:u32 payload }*                 one for each entry, hottest first
//! 0xFFFFFFFF crc:u32 count:u64                    the end
//! ```
//!
//! Numbers are little-endian; each checksum is CRC-32 over what stands with it; a payload is postcard of times left,
//! frequency, tags, key and value. Deadlines are kept as time left, and the wall clock is kept so that the time in between counts.
//!
//! A file replaces an older one whole: it is written beside it, synchronised and renamed. Reading checks everything before anything
//! is stored; what is damaged, cut off, of another version or of other types is an error that says where, and
//! changes nothing. No length in a file makes the reader allocate more than the file holds.
//!
//! All of this blocks; in async code call it through the runtime's thread for blocking work.

use std::any::type_name;
use std::fs::{self, File};
use std::hash::{BuildHasher, Hash};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crc32fast::Hasher as Crc;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::cache::Cache;
use crate::expiry::NEVER;
use crate::load::Claim;
use crate::store::budget::UNLIMITED;
use crate::tags;
use crate::terms::Terms;

const MAGIC: &[u8; 8] = b"TRIMCACH";
const VERSION: u16 = 1;
/// The mark that stands where a length would, after the last entry.
const END: u32 = u32::MAX;
/// The most bytes of one entry.
pub const RECORD_MAX: u32 = 256 << 20;

/// Why a snapshot could not be written or read.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SnapshotError {
    /// A file could not be used.
    #[error("could not {action} the snapshot {}", .path.display())]
    File {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A reader or writer failed.
    #[error("could not {action} a snapshot")]
    Io {
        /// What was tried.
        action: &'static str,
        /// What it said.
        #[source]
        source: io::Error,
    },
    /// The data do not begin like a snapshot.
    #[error("this is no cache snapshot: it does not begin with \"TRIMCACH\"; check the path")]
    NotASnapshot,
    /// The snapshot is of another version.
    #[error("the snapshot has version {found}, this program reads version {known}; start cold and save anew")]
    Version {
        /// The version of the snapshot.
        found: u16,
        /// The version that this program reads.
        known: u16,
    },
    /// The snapshot was made of a cache with other types.
    #[error("the snapshot holds {found}, the cache holds {known}; start cold and save anew")]
    Types {
        /// The types in the snapshot.
        found: String,
        /// The types of the cache.
        known: String,
    },
    /// The data are cut off, altered or of another making.
    #[error("the snapshot is damaged at byte {offset}: {fault}; start cold and save anew")]
    Damaged {
        /// Where.
        offset: u64,
        /// What.
        fault: &'static str,
    },
    /// An entry cannot be written.
    #[error("an entry cannot be written: {fault}")]
    Encode {
        /// Why.
        fault: String,
    },
}

/// What was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Saved {
    /// Entries.
    pub entries: u64,
    /// Bytes of the snapshot.
    pub bytes: u64,
}

/// What became of a snapshot's entries.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Restored {
    /// Stored.
    pub entries: u64,
    /// Left out because they expired in between.
    pub expired: u64,
    /// Left out because the cache has something newer for their keys.
    pub newer: u64,
    /// Left out because there is no room; these are the coldest.
    pub no_room: u64,
}

/// One entry as it is written.
#[derive(Serialize, Deserialize)]
struct Record<K, V> {
    /// Nanoseconds until it ends unless it is used, and however much it is used.
    left: u64,
    limit: u64,
    frequency: u32,
    tags: Vec<String>,
    key: K,
    value: V,
}

impl<K, V, S> Cache<K, V, S>
where
    K: Hash + Eq + Clone,
    V: Clone,
    S: BuildHasher,
{
    /// Writes a snapshot to a file, in place of an older one. Answers how much was written.
    ///
    /// Entries are cloned one at a time and written outside of locks: the cache goes on meanwhile, and the snapshot holds
    /// each entry as it was when its turn came.
    ///
    /// # Errors
    ///
    /// [`SnapshotError::File`], [`SnapshotError::Encode`]. An older file is untouched then.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let path = dir.path().join("users.snapshot");
    /// use trimtab_cache::Cache;
    ///
    /// let cache: Cache<u64, String> = Cache::new(100);
    /// cache.insert(1, "Ada".to_string());
    /// assert_eq!(cache.save(&path)?.entries, 1);
    ///
    /// let after_restart: Cache<u64, String> = Cache::new(100);
    /// assert_eq!(after_restart.restore(&path)?.entries, 1);
    /// assert_eq!(after_restart.get(&1).as_deref(), Some("Ada"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn save(&self, path: impl AsRef<Path>) -> Result<Saved, SnapshotError>
    where
        K: Serialize,
        V: Serialize,
    {
        let path = path.as_ref();
        let beside = Beside::new(path);
        let failed = |action| move |source| SnapshotError::File { action, path: path.to_path_buf(), source };
        let mut file = BufWriter::new(File::create_new(&beside.0).map_err(failed("create"))?);
        let saved = self.write_snapshot(&mut file)?;
        let file = file.into_inner().map_err(|error| failed("write")(error.into_error()))?;
        file.sync_all().map_err(failed("synchronise"))?;
        drop(file);
        fs::rename(&beside.0, path).map_err(failed("rename"))?;
        sync_directory(path).map_err(failed("synchronise the directory of"))?;
        Ok(saved)
    }

    /// Writes a snapshot to a writer, which should be buffered. See [`save`](Self::save).
    ///
    /// # Errors
    ///
    /// [`SnapshotError::Io`], [`SnapshotError::Encode`].
    pub fn write_snapshot(&self, writer: impl Write) -> Result<Saved, SnapshotError>
    where
        K: Serialize,
        V: Serialize,
    {
        self.write_at(writer, SystemTime::now())
    }

    fn write_at(&self, writer: impl Write, now: SystemTime) -> Result<Saved, SnapshotError>
    where
        K: Serialize,
        V: Serialize,
    {
        let mut out = Counted { writer, bytes: 0 };
        out.put(&header::<K, V>(now))?;
        let (mut entries, mut payload) = (0_u64, Vec::new());
        for (_, key) in self.store.ranked(usize::MAX, true) {
            let Some(portrait) = self.store.portrait(&key, V::clone) else { continue };
            let tags = portrait.tags.iter().flat_map(|tags| tags.iter()).map(ToString::to_string).collect();
            let frequency = portrait.standing.frequency.unwrap_or(0);
            let record =
                Record { left: portrait.left, limit: portrait.limit, frequency, tags, key, value: portrait.value };
            payload.clear();
            payload = postcard::to_extend(&record, payload)
                .map_err(|error| SnapshotError::Encode { fault: error.to_string() })?;
            let length = u32::try_from(payload.len()).ok().filter(|length| *length <= RECORD_MAX);
            let length = length.ok_or_else(|| SnapshotError::Encode {
                fault: format!("it takes {} B, at most {RECORD_MAX} B are allowed", payload.len()),
            })?;
            out.put(&length.to_le_bytes())?;
            out.put(&checksum(&[&length.to_le_bytes(), &payload]))?;
            out.put(&payload)?;
            entries += 1;
        }
        out.put(&END.to_le_bytes())?;
        out.put(&checksum(&[&END.to_le_bytes(), &entries.to_le_bytes()]))?;
        out.put(&entries.to_le_bytes())?;
        out.writer.flush().map_err(|source| SnapshotError::Io { action: "write", source })?;
        Ok(Saved { entries, bytes: out.bytes })
    }

    /// Reads a snapshot from a file into the cache. Answers what became of its entries.
    ///
    /// The hottest entries that there is room for are stored, in such an order that the policy ranks them as before. Keys that
    /// the cache already has, or is loading, keep what they have. Deadlines go on as if the program had not stopped; a time to
    /// idle begins anew.
    ///
    /// # Errors
    ///
    /// Any [`SnapshotError`] but `Encode`; nothing is stored then. A missing file is [`SnapshotError::File`] with
    /// [`NotFound`](io::ErrorKind::NotFound).
    pub fn restore(&self, path: impl AsRef<Path>) -> Result<Restored, SnapshotError>
    where
        K: DeserializeOwned,
        V: DeserializeOwned,
    {
        let path = path.as_ref();
        let failed = |action| move |source| SnapshotError::File { action, path: path.to_path_buf(), source };
        let file = File::open(path).map_err(failed("open"))?;
        self.read_snapshot(BufReader::new(file)).map_err(|error| match error {
            SnapshotError::Io { action, source } => failed(action)(source),
            other => other,
        })
    }

    /// Reads a snapshot from a reader, which should be buffered. See [`restore`](Self::restore).
    ///
    /// # Errors
    ///
    /// As [`restore`](Self::restore).
    pub fn read_snapshot(&self, reader: impl Read) -> Result<Restored, SnapshotError>
    where
        K: DeserializeOwned,
        V: DeserializeOwned,
    {
        self.read_at(reader, SystemTime::now())
    }

    fn read_at(&self, reader: impl Read, now: SystemTime) -> Result<Restored, SnapshotError>
    where
        K: DeserializeOwned,
        V: DeserializeOwned,
    {
        let mut source = Source { reader, offset: 0 };
        let saved_at = source.header::<K, V>()?;
        // A wall clock that was set back in between must not lengthen a life beyond what was left.
        let away = now.duration_since(saved_at).unwrap_or_default();
        let away = u64::try_from(away.as_nanos()).unwrap_or(u64::MAX);
        let (mut restored, mut kept) = (Restored::default(), Vec::new());
        let (mut entries, mut weight) = (self.store.budget.entries(), self.store.budget.weight());
        let (max_entries, max_bytes) = (self.store.budget.max_entries(), self.store.budget.max_bytes());
        let (mut count, mut buffer, mut full) = (0_u64, Vec::new(), false);
        while let Some(record) = source.record::<K, V>(&mut buffer, count)? {
            count += 1;
            if record.left <= away {
                restored.expired += 1;
                continue;
            }
            let limit = if record.limit == NEVER { NEVER } else { record.limit.saturating_sub(away) };
            let ttl = if limit == NEVER { Duration::MAX } else { Duration::from_nanos(limit) };
            let terms = Terms { ttl: Some(ttl), tags: tags::collect(&record.tags) };
            if self.contains(&record.key) {
                restored.newer += 1;
                continue;
            }
            let Ok(appraisal) = self.store.appraise(&record.key, &record.value, &terms) else {
                restored.no_room += 1;
                continue;
            };
            // Once something did not fit, nothing colder may: the order would be lost.
            full |= entries >= max_entries
                || (max_bytes != UNLIMITED && weight.saturating_add(appraisal.weight) > max_bytes);
            if full {
                restored.no_room += 1;
                continue;
            }
            entries += 1;
            weight = weight.saturating_add(appraisal.weight);
            kept.push((record, terms));
        }
        for (record, terms) in kept.into_iter().rev() {
            if self.put_back(record, &terms) {
                restored.entries += 1;
            } else {
                restored.newer += 1;
            }
        }
        Ok(restored)
    }

    /// Stores an entry unless its key has a value or is being loaded.
    fn put_back(&self, record: Record<K, V>, terms: &Terms) -> bool {
        let hash = self.store.hash(&record.key);
        match self.claim(&*self.store, hash, &record.key, terms, false) {
            Claim::Lead(lead, None) => {
                lead.complete(record.key.clone(), record.value);
                self.store.recall(&record.key, record.frequency);
                true
            }
            Claim::Lead(lead, Some(_)) => {
                lead.leave();
                false
            }
            Claim::Wait(_) | Claim::Recursive => false,
        }
    }
}

fn types<K, V>() -> String {
    let mut types = format!("{} -> {}", type_name::<K>(), type_name::<V>());
    if types.len() > 1024 {
        let mut end = 1024;
        while !types.is_char_boundary(end) {
            end -= 1;
        }
        types.truncate(end);
    }
    types
}

fn header<K, V>(now: SystemTime) -> Vec<u8> {
    let types = types::<K, V>();
    let saved_at = now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64);
    let mut header = MAGIC.to_vec();
    header.extend(VERSION.to_le_bytes());
    header.extend(saved_at.to_le_bytes());
    header.extend((types.len() as u16).to_le_bytes());
    header.extend(types.as_bytes());
    let crc = checksum(&[&header]);
    header.extend(crc);
    header
}

fn checksum(parts: &[&[u8]]) -> [u8; 4] {
    let mut crc = Crc::new();
    for part in parts {
        crc.update(part);
    }
    crc.finalize().to_le_bytes()
}

/// A writer that counts.
struct Counted<W> {
    writer: W,
    bytes: u64,
}

impl<W: Write> Counted<W> {
    fn put(&mut self, bytes: &[u8]) -> Result<(), SnapshotError> {
        self.writer.write_all(bytes).map_err(|source| SnapshotError::Io { action: "write", source })?;
        self.bytes += bytes.len() as u64;
        Ok(())
    }
}

/// A reader that knows where it is.
struct Source<R> {
    reader: R,
    offset: u64,
}

impl<R: Read> Source<R> {
    fn damaged(&self, fault: &'static str) -> SnapshotError {
        SnapshotError::Damaged { offset: self.offset, fault }
    }

    /// Appends exactly `length` bytes; the buffer grows as they come, so a wrong length costs no more than the data.
    fn read(&mut self, length: u64, into: &mut Vec<u8>) -> Result<(), SnapshotError> {
        let got = self.reader.by_ref().take(length).read_to_end(into);
        let got = got.map_err(|source| SnapshotError::Io { action: "read", source })? as u64;
        if got < length {
            self.offset += got;
            return Err(self.damaged("it is cut off here"));
        }
        self.offset += length;
        Ok(())
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], SnapshotError> {
        let mut bytes = Vec::with_capacity(N);
        self.read(N as u64, &mut bytes)?;
        Ok(bytes.try_into().expect("exactly N bytes were read"))
    }

    /// Checks the header; answers when the snapshot was made.
    fn header<K, V>(&mut self) -> Result<SystemTime, SnapshotError> {
        let mut header = Vec::new();
        match self.read(MAGIC.len() as u64, &mut header) {
            Err(error @ SnapshotError::Io { .. }) => return Err(error),
            _ if header != MAGIC => return Err(SnapshotError::NotASnapshot),
            _ => {}
        }
        let version = self.array::<2>()?;
        let found = u16::from_le_bytes(version);
        if found != VERSION {
            return Err(SnapshotError::Version { found, known: VERSION });
        }
        let saved_at = self.array::<8>()?;
        let length = self.array::<2>()?;
        header.extend(version);
        header.extend(saved_at);
        header.extend(length);
        let text = header.len();
        self.read(u16::from_le_bytes(length).into(), &mut header)?;
        if self.array::<4>()? != checksum(&[&header]) {
            return Err(self.damaged("the checksum of the header is wrong"));
        }
        let known = types::<K, V>();
        if &header[text..] != known.as_bytes() {
            return Err(SnapshotError::Types { found: String::from_utf8_lossy(&header[text..]).into_owned(), known });
        }
        let since = Duration::from_millis(u64::from_le_bytes(saved_at));
        UNIX_EPOCH.checked_add(since).ok_or_else(|| self.damaged("its time is out of range"))
    }

    /// The next entry, or `None` after the last of `count`.
    fn record<K, V>(&mut self, buffer: &mut Vec<u8>, count: u64) -> Result<Option<Record<K, V>>, SnapshotError>
    where
        K: DeserializeOwned,
        V: DeserializeOwned,
    {
        let length = self.array::<4>()?;
        let crc = self.array::<4>()?;
        let bytes = u32::from_le_bytes(length);
        if bytes == END {
            let written = self.array::<8>()?;
            if crc != checksum(&[&length, &written]) {
                return Err(self.damaged("the checksum of the end is wrong"));
            }
            if u64::from_le_bytes(written) != count {
                return Err(self.damaged("the number of entries is not the one written at the end"));
            }
            return Ok(None);
        }
        if bytes > RECORD_MAX {
            return Err(self.damaged("the length of an entry is out of range"));
        }
        buffer.clear();
        self.read(bytes.into(), buffer)?;
        if crc != checksum(&[&length, buffer]) {
            return Err(self.damaged("the checksum of the entry before is wrong"));
        }
        match postcard::take_from_bytes(buffer) {
            Ok((record, [])) => Ok(Some(record)),
            _ => Err(self.damaged("the entry before does not fit the types")),
        }
    }
}

/// A file beside the one to be replaced; removed when dropped, unless it was renamed.
struct Beside(PathBuf);

impl Beside {
    fn new(path: &Path) -> Self {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let mut name = path.file_name().unwrap_or_default().to_os_string();
        name.push(format!(".{}-{}.tmp", process::id(), COUNT.fetch_add(1, Ordering::Relaxed)));
        Self(path.with_file_name(name))
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// Makes a rename last. Other systems than Unix do not open directories as files, and do without.
fn sync_directory(path: &Path) -> io::Result<()> {
    if cfg!(unix) {
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(parent)?.sync_all()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ManualClock;

    #[test]
    fn time_between_saving_and_reading_counts() {
        let second = Duration::from_secs(1);
        let then = UNIX_EPOCH + 1_000_000 * second;
        let clock = ManualClock::new();
        let cache = Cache::builder().max_entries(10).clock(clock.clone()).build().unwrap();
        cache.insert_with_ttl(1, 'a', 10 * second);
        cache.insert_with_ttl(2, 'b', 60 * second);
        cache.insert(3, 'c');
        let mut bytes = Vec::new();
        cache.write_at(&mut bytes, then).unwrap();
        let read = |away: SystemTime| {
            let cache: Cache<i32, char> =
                Cache::builder().max_entries(10).ttl(5 * second).clock(ManualClock::new()).build().unwrap();
            let restored = cache.read_at(&bytes[..], away).unwrap();
            let left = |key| cache.info(&key).map(|info| info.ttl_left);
            (restored.entries, restored.expired, left(1), left(2), left(3))
        };
        assert_eq!(read(then + 10 * second), (2, 1, None, Some(Some(50 * second)), Some(None)));
        assert_eq!(read(then - 10 * second).2, Some(Some(10 * second)), "a clock set back gives no time");
    }

    #[test]
    fn a_moving_deadline_keeps_its_limit_and_begins_a_new_idle_time() {
        let second = Duration::from_secs(1);
        let build = || {
            let clock = ManualClock::new();
            let builder = Cache::builder().max_entries(10).time_to_idle(10 * second).ttl(100 * second);
            (builder.clock(clock.clone()).build().unwrap(), clock)
        };
        let (cache, clock) = build();
        cache.insert(1, ());
        clock.advance(8 * second);
        let mut bytes = Vec::new();
        cache.write_at(&mut bytes, UNIX_EPOCH).unwrap();
        let (late, _) = build();
        assert_eq!(late.read_at(&bytes[..], UNIX_EPOCH + 2 * second).unwrap().expired, 1, "it idled away");
        let (cache, clock) = build();
        assert_eq!(cache.read_at(&bytes[..], UNIX_EPOCH + second).unwrap().entries, 1);
        for _ in 0..10 {
            clock.advance(9 * second);
            assert!(cache.get(&1).is_some());
        }
        clock.advance(second);
        assert!(cache.get(&1).is_none(), "100 s, of which 9 were over");
    }
}

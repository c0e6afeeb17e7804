//! Locks between the processes of one machine: one file for each name, locked by the kernel with `flock`.
//!
//! The kernel frees the lock the moment its process dies, however it dies, so there is no lease to renew and nothing to lose. A
//! stopped process holds on: no clock runs against it. The kernel queues and wakes waiters; since its blocking call cannot be
//! taken back, a thread waits in it, one for each contended name and process, and gives the lock back at once when nobody wants
//! it any more. Files are never removed: that would let two processes lock two files of one name.
//!
//! `flock` and not `fcntl`: its locks belong to the open file, so that another group in this process is kept out too, and a
//! file closed elsewhere in the process frees nothing. Over NFS its meaning depends on server and mount options, so a folder
//! there is refused.

mod record;

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use rustix::fs::FlockOperation;
use rustix::io::Errno;
use sha2::{Digest, Sha256};
use tokio::sync::oneshot;
use tokio::time::Instant;
use trimtab_config::Backoff;

use self::record::Record;
use super::pauses::Pauses;
use crate::config::LockSettings;
use crate::error::StoreError;
use crate::mode::LeaseMode;
use crate::named::Named;

/// The longest part of a name that stands in its file's name as it is.
const READABLE: usize = 120;

/// A folder of locks.
#[derive(Debug)]
pub(crate) struct Files {
    folder: PathBuf,
    boot: u64,
    waiting: Waiting,
    threads: Arc<AtomicUsize>,
    threads_max: usize,
    backoff: Backoff,
}

/// For each path with a thread in the kernel's queue, where its lock is to go.
type Waiting = Arc<Mutex<HashMap<PathBuf, oneshot::Sender<io::Result<File>>>>>;

/// A locked file; closing it frees the lock.
pub(crate) struct FileHold {
    file: File,
    boot: u64,
    token: u64,
    path: PathBuf,
}

impl Files {
    pub(crate) fn open(folder: &Path, settings: &LockSettings) -> Result<Self, StoreError> {
        let shown = folder.display();
        if folder.as_os_str().is_empty() {
            return Err(StoreError::plain("file: names no folder; write file:FOLDER"));
        }
        // Others of the machine could hold a lock for ever, or set a token back.
        let made = DirBuilder::new().recursive(true).mode(0o700).create(folder);
        made.map_err(|e| StoreError::new(format!("the folder {shown} cannot be made; choose another one"), e))?;
        let folder = folder.canonicalize();
        let folder = folder.map_err(|e| StoreError::new(format!("the folder {shown} cannot be entered"), e))?;
        if let Some(kind) = network(&folder) {
            return Err(StoreError::plain(format!(
                "{shown} lies on {kind}, where locks depend on server and mount options; use a folder of this machine, \
                 or keep the locks in PostgreSQL or Redis"
            )));
        }
        let threads_max = settings.sessions_max as usize;
        let (waiting, threads, backoff) = (Waiting::default(), Arc::default(), settings.backoff.clone());
        Ok(Self { folder, boot: record::boot(), waiting, threads, threads_max, backoff })
    }

    pub(crate) async fn take(&self, named: &Arc<Named>) -> Result<Option<FileHold>, StoreError> {
        let path = self.folder.join(file_name(&named.name));
        if named.mode == LeaseMode::Shared {
            return self.take_shared(named, path).await;
        }
        // A thread of ours may be next in the kernel's queue: going past it would be unfair, and it would hold the lock for us.
        if !self.waiting.lock().contains_key(&path) {
            let file = open(&path).map_err(|e| failed(&path, "opened", e))?;
            match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return self.held(file, path).map(Some),
                Err(Errno::WOULDBLOCK) => {}
                Err(error) => return Err(failed(&path, "locked", error.into())),
            }
        }
        if named.wanted_until().is_none_or(|until| until <= Instant::now()) {
            return Ok(None);
        }
        let Some(answer) = self.queue(&path)? else { return self.poll(named, path).await };
        let file = tokio::select! {
            file = answer => file,
            // What the thread gets now has nowhere to go and is freed.
            () = named.unwanted() => return Ok(None),
        };
        match file {
            Ok(Ok(file)) => self.held(file, path).map(Some),
            Ok(Err(error)) => Err(failed(&path, "locked", error)),
            Err(_) => Err(StoreError::plain(format!("the thread that waited for {} ended", path.display()))),
        }
    }

    /// Lets a thread wait in the kernel's queue, or redirects the one that does; none when there are enough.
    fn queue(&self, path: &Path) -> Result<Option<oneshot::Receiver<io::Result<File>>>, StoreError> {
        let (sender, answer) = oneshot::channel();
        let mut waiting = self.waiting.lock();
        if let Some(known) = waiting.get_mut(path) {
            *known = sender;
            return Ok(Some(answer));
        }
        if self.threads.fetch_add(1, Ordering::Relaxed) >= self.threads_max {
            self.threads.fetch_sub(1, Ordering::Relaxed);
            return Ok(None);
        }
        let opened = open(path).and_then(|file| Ok((file, open(&gate(path))?)));
        let (file, gate) = opened.map_err(|e| {
            self.threads.fetch_sub(1, Ordering::Relaxed);
            failed(path, "opened", e)
        })?;
        waiting.insert(path.to_owned(), sender);
        let (list, threads, own) = (self.waiting.clone(), self.threads.clone(), path.to_owned());
        // A plain thread: a runtime that ends would wait for a blocking task of its own until somebody else gives the lock back.
        let spawned = std::thread::Builder::new().name("trimtab-lock".into()).spawn(move || {
            let locked = wait(&gate, &file, FlockOperation::LockExclusive);
            let mut list = list.lock();
            if let Some(sender) = list.remove(&own) {
                // Nobody there: the file is closed, and the lock is free.
                let _ = sender.send(locked.map(|()| file).map_err(Into::into));
            }
            threads.fetch_sub(1, Ordering::Relaxed);
        });
        if spawned.is_err() {
            waiting.remove(path);
            self.threads.fetch_sub(1, Ordering::Relaxed);
            return Ok(None);
        }
        Ok(Some(answer))
    }

    /// Asks again and again, where no thread is left to wait.
    async fn poll(&self, named: &Named, path: PathBuf) -> Result<Option<FileHold>, StoreError> {
        let file = open(&path).map_err(|e| failed(&path, "opened", e))?;
        let mut pauses = Pauses::new(&self.backoff, named);
        while pauses.pass().await {
            match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return self.held(file, path).map(Some),
                Err(Errno::WOULDBLOCK) => {}
                Err(error) => return Err(failed(&path, "locked", error.into())),
            }
        }
        Ok(None)
    }

    /// Together with other readers, behind a writer who waits.
    async fn take_shared(&self, named: &Named, path: PathBuf) -> Result<Option<FileHold>, StoreError> {
        let opened = open(&path).and_then(|file| Ok((file, open(&gate(&path))?)));
        let (file, gate) = opened.map_err(|e| failed(&path, "opened", e))?;
        let looks = || {
            let free = [&gate, &file].map(|file| rustix::fs::flock(file, FlockOperation::NonBlockingLockShared));
            let closed = rustix::fs::flock(&gate, FlockOperation::Unlock);
            match (free, closed) {
                ([Ok(()), Ok(())], Ok(())) => Ok(true),
                ([Ok(()) | Err(Errno::WOULDBLOCK), Err(Errno::WOULDBLOCK)], Ok(())) => Ok(false),
                // Past a writer at the gate: given up again.
                ([Err(Errno::WOULDBLOCK), Ok(())], Ok(())) => {
                    rustix::fs::flock(&file, FlockOperation::Unlock).map(|()| false)
                }
                ([Err(error), _] | [_, Err(error)], _) | (_, Err(error)) => Err(error),
            }
            .map_err(|error| failed(&path, "locked", error.into()))
        };
        if looks()? {
            return self.read(file, path).map(Some);
        }
        if named.wanted_until().is_none_or(|until| until <= Instant::now()) {
            return Ok(None);
        }
        if self.threads.fetch_add(1, Ordering::Relaxed) >= self.threads_max {
            self.threads.fetch_sub(1, Ordering::Relaxed);
            let mut pauses = Pauses::new(&self.backoff, named);
            while pauses.pass().await {
                if looks()? {
                    return self.read(file, path).map(Some);
                }
            }
            return Ok(None);
        }
        let (sender, answer) = oneshot::channel();
        let threads = self.threads.clone();
        let spawned = std::thread::Builder::new().name("trimtab-lock".into()).spawn(move || {
            let locked = wait(&gate, &file, FlockOperation::LockShared);
            // Nobody there: the file is closed, and the lock is free.
            let _ = sender.send(locked.map(|()| file));
            threads.fetch_sub(1, Ordering::Relaxed);
        });
        if let Err(error) = spawned {
            self.threads.fetch_sub(1, Ordering::Relaxed);
            return Err(StoreError::new("the system gave no thread to wait in", error));
        }
        let file = tokio::select! {
            file = answer => file,
            () = named.unwanted() => return Ok(None),
        };
        match file {
            Ok(Ok(file)) => self.read(file, path).map(Some),
            Ok(Err(error)) => Err(failed(&path, "locked", error.into())),
            Err(_) => Err(StoreError::plain(format!("the thread that waited for {} ended", path.display()))),
        }
    }

    /// A reader has the token of the last writer: it writes nothing into the file.
    fn read(&self, file: File, path: PathBuf) -> Result<FileHold, StoreError> {
        let token = Record::last(&file, self.boot).map_err(|error| {
            let what = format!("the token in {} cannot be read; is the file damaged?", path.display());
            StoreError::new(what, error)
        })?;
        Ok(FileHold { file, boot: self.boot, token, path })
    }

    fn held(&self, file: File, path: PathBuf) -> Result<FileHold, StoreError> {
        let mut hold = FileHold { file, boot: self.boot, token: 0, path };
        hold.token = hold.next_token()?;
        Ok(hold)
    }
}

impl FileHold {
    pub(crate) fn token(&self) -> u64 {
        self.token
    }

    pub(crate) fn next_token(&self) -> Result<u64, StoreError> {
        Record::advance(&self.file, self.boot).map_err(|error| {
            let what = format!(
                "the token in {} cannot be advanced; if the file is damaged, stop all that use it, then write a higher \
                 token into it or remove it",
                self.path.display()
            );
            StoreError::new(what, error)
        })
    }

    pub(crate) fn release(self) -> Result<(), StoreError> {
        let unlocked = rustix::fs::flock(&self.file, FlockOperation::Unlock);
        unlocked.map_err(|error| failed(&self.path, "unlocked", error.into()))
    }
}

/// Waits in the kernel's queues: at the gate, and with that for the lock. `flock` alone lets readers in past a writer who
/// waits, for ever; whoever waits here keeps those behind it at the gate.
fn wait(gate: &File, file: &File, how: FlockOperation) -> rustix::io::Result<()> {
    let wait = |file: &File| loop {
        match rustix::fs::flock(file, how) {
            Err(Errno::INTR) => {}
            done => break done,
        }
    };
    wait(gate)?;
    wait(file)?;
    rustix::fs::flock(gate, FlockOperation::Unlock)
}

/// The file at which those who wait queue up. No name of a lock leads to it.
fn gate(path: &Path) -> PathBuf {
    path.with_extension("gate")
}

fn open(path: &Path) -> io::Result<File> {
    let no_link = rustix::fs::OFlags::NOFOLLOW.bits() as i32;
    OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).custom_flags(no_link).open(path)
}

fn failed(path: &Path, what: &str, error: io::Error) -> StoreError {
    StoreError::new(format!("{} cannot be {what}", path.display()), error)
}

/// The file of a name: readable where the name is short, unique for any text. What is no lower-case letter or digit is
/// written by its number, so that names differ on file systems that ignore case too.
fn file_name(name: &str) -> PathBuf {
    let mut file = Vec::with_capacity(name.len() + 5);
    for byte in name.bytes() {
        match byte {
            b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' => file.push(byte),
            _ => file.extend(format!("%{byte:02x}").bytes()),
        }
    }
    if file.len() > READABLE {
        file.truncate(40);
        file.extend(b"%%");
        for byte in Sha256::digest(name.as_bytes()) {
            file.extend(format!("{byte:02x}").bytes());
        }
    }
    file.extend(b".lock");
    OsString::from_vec(file).into()
}

/// What kind of network file system a folder lies on, if it does.
#[cfg(target_os = "linux")]
fn network(folder: &Path) -> Option<&'static str> {
    // From the kernel's `magic.h`.
    match rustix::fs::statfs(folder).ok()?.f_type as u32 {
        0x6969 => Some("NFS"),
        0x517b | 0xff53_4d42 | 0xfe53_4d42 => Some("SMB"),
        0x5346_414f => Some("AFS"),
        0x0102_1997 => Some("9P"),
        _ => None,
    }
}

/// Other systems number their file systems otherwise.
#[cfg(not(target_os = "linux"))]
fn network(_: &Path) -> Option<&'static str> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_any_text_have_files_of_their_own() {
        let long = "x".repeat(4000);
        let names = ["a", "A", "a/b", "a%2fb", "../a", "", "ä", "a b", "a\0b", &long, &long[1..]];
        let files: std::collections::HashSet<_> = names.iter().map(|name| file_name(name)).collect();
        assert_eq!(files.len(), names.len());
        assert!(files.iter().all(|file| file.as_os_str().len() < 200 && file.components().count() == 1));
    }
}

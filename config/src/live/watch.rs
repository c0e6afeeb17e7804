//! Follows a file through every way in which files are replaced.
//!
//! Editors and `mv` replace a file by renaming another over it; Kubernetes swaps a symbolic link *beside* the file
//! (`trimtab.toml -> ..data/trimtab.toml`, `..data -> ..2026_11_21`). A watch on the file itself sees neither, so the folders are
//! watched: the one that holds the name, and the one that holds the real file. Events only say "look": what counts is whether the
//! content differs, which also makes lost events (network file systems, exhausted inotify watches) harmless, since the content is
//! looked at regularly anyway.

use std::collections::hash_map::DefaultHasher;
use std::fs::File;
use std::hash::{Hash, Hasher};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use notify::{RecommendedWatcher, RecursiveMode, Watcher};

/// How eagerly a file is followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WatchOptions {
    /// How long it must be quiet before the file is read: writers often write in pieces. Default 100 ms.
    pub debounce: Duration,
    /// How often the content is looked at when no event comes. Default 30 s.
    pub poll: Duration,
    /// Whether to ask the system for notices of changes. Without them only `poll` counts: for file systems that give none.
    /// Default true.
    pub notices: bool,
}

impl Default for WatchOptions {
    fn default() -> Self {
        Self { debounce: Duration::from_millis(100), poll: Duration::from_secs(30), notices: true }
    }
}

/// Why a file cannot be followed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WatchError {
    /// The settings were told to read no file.
    #[error("no settings file to follow: the loader was told to read none; name one with Loader::file")]
    NoFile,
    /// The system gives no thread.
    #[error("cannot start the thread that follows the settings file; raise the limit on threads")]
    Thread(#[source] std::io::Error),
}

enum Signal {
    Look,
    Stop,
}

/// The thread that follows one file.
pub(super) struct Follower {
    signals: Sender<Signal>,
    thread: Option<JoinHandle<()>>,
}

impl Follower {
    /// Calls `reload` whenever the content is another than `known`, until it answers `false` or the follower is dropped.
    pub(super) fn start(
        path: PathBuf,
        known: Option<u64>,
        options: WatchOptions,
        reload: impl Fn() -> bool + Send + 'static,
    ) -> Result<Self, WatchError> {
        let (signals, received) = channel();
        let events = signals.clone();
        let body = move || {
            let mut folders = Folders::new(&path, events, options.notices);
            let mut known = known;
            loop {
                folders.follow();
                // Looking before waiting: the file may have changed since it was loaded.
                let seen = read(&path);
                if seen != known {
                    known = seen;
                    if !reload() {
                        return;
                    }
                }
                if wait(&received, options).is_break() {
                    return;
                }
            }
        };
        let thread =
            std::thread::Builder::new().name("trimtab-config".into()).spawn(body).map_err(WatchError::Thread)?;
        Ok(Self { signals, thread: Some(thread) })
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        // A send fails only when the thread has ended already.
        let _ = self.signals.send(Signal::Stop);
        let Some(thread) = self.thread.take() else { return };
        // The last handle may be dropped by a subscriber, on the very thread.
        if thread.thread().id() != std::thread::current().id() {
            let _ = thread.join();
        }
    }
}

/// Waits for something to look at, and then for quiet. A writer that never rests is not waited for beyond twenty such times.
fn wait(received: &Receiver<Signal>, options: WatchOptions) -> std::ops::ControlFlow<()> {
    use std::ops::ControlFlow::{Break, Continue};
    match received.recv_timeout(options.poll) {
        Ok(Signal::Look) => {}
        Err(RecvTimeoutError::Timeout) => return Continue(()),
        Ok(Signal::Stop) | Err(RecvTimeoutError::Disconnected) => return Break(()),
    }
    let first = Instant::now();
    while first.elapsed() < options.debounce * 20 {
        match received.recv_timeout(options.debounce) {
            Ok(Signal::Look) => {}
            Err(RecvTimeoutError::Timeout) => break,
            Ok(Signal::Stop) | Err(RecvTimeoutError::Disconnected) => return Break(()),
        }
    }
    Continue(())
}

/// The watches on the folders around one file.
struct Folders<'a> {
    path: &'a Path,
    watcher: Option<RecommendedWatcher>,
    watched: Vec<PathBuf>,
}

impl<'a> Folders<'a> {
    fn new(path: &'a Path, events: Sender<Signal>, notices: bool) -> Self {
        if !notices {
            return Self { path, watcher: None, watched: Vec::new() };
        }
        let handler = move |event: notify::Result<notify::Event>| {
            // Our own reading is reported too, and must not make us read again.
            if !event.is_ok_and(|event| event.kind.is_access()) {
                let _ = events.send(Signal::Look);
            }
        };
        let watcher = notify::recommended_watcher(handler);
        if let Err(error) = &watcher {
            tracing::warn!(%error, "no notice of file changes; the settings file is looked at regularly instead");
        }
        Self { path, watcher: watcher.ok(), watched: Vec::new() }
    }

    /// Watches the folders of this moment; a swapped link leads to another one.
    fn follow(&mut self) {
        let Some(watcher) = &mut self.watcher else { return };
        let named = folder(self.path);
        let real = self.path.canonicalize().ok().map(|real| folder(&real));
        let mut wished: Vec<PathBuf> = std::iter::once(named).chain(real).collect();
        wished.dedup();
        for old in self.watched.iter().filter(|old| !wished.contains(old)) {
            // Fails when the folder is gone, and the watch with it.
            let _ = watcher.unwatch(old);
        }
        // Watching again is harmless, and needed when a folder was deleted and made anew.
        wished.retain(|folder| match watcher.watch(folder, RecursiveMode::NonRecursive) {
            Ok(()) => true,
            Err(error) => {
                tracing::debug!(%error, folder = %folder.display(), "this folder cannot be watched; it is looked at regularly");
                false
            }
        });
        self.watched = wished;
    }
}

fn folder(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}

/// The fingerprint of the file's content; `None` when it cannot be read.
fn read(path: &Path) -> Option<u64> {
    let mut bytes = Vec::new();
    // One byte above the loader's limit is enough to differ from every acceptable file.
    File::open(path).ok()?.take((4 << 20) + 1).read_to_end(&mut bytes).ok()?;
    Some(fingerprint(&bytes))
}

pub(super) fn fingerprint(bytes: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    hasher.finish()
}

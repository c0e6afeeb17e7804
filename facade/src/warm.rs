//! Warm restarts: byte caches that are saved when the program stops and restored when it starts.
//!
//! Which ones is said by `snapshot = true` of their settings, and where by `server.snapshots`. What cannot be read is told
//! in the log, and the cache starts cold: a cache that does not start at all helps nobody.

use std::error::Error;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use trimtab_cache::{ByteCache, SnapshotError};

/// Brings back what the last run has saved of a cache.
pub(crate) fn restore(cache: &ByteCache, directory: &Path) {
    let path = directory.join(trimtab_admin::snapshot_file(cache.name()));
    match cache.cache().restore(&path) {
        Ok(restored) => tracing::info!(
            cache = cache.name(),
            entries = restored.entries,
            expired = restored.expired,
            no_room = restored.no_room,
            "restored from its snapshot"
        ),
        Err(SnapshotError::File { source, .. }) if source.kind() == ErrorKind::NotFound => {
            tracing::info!(cache = cache.name(), path = %path.display(), "starts cold: there is no snapshot yet");
        }
        Err(error) => {
            let cause = error.source().map(ToString::to_string);
            tracing::warn!(cache = cache.name(), path = %path.display(), %error, cause, "starts cold");
        }
    }
}

/// Saves caches; answers how many. An older file of one that fails is untouched.
pub(crate) fn save(caches: &[ByteCache], directory: &Path) -> usize {
    if !caches.is_empty()
        && let Err(error) = fs::create_dir_all(directory)
    {
        tracing::error!(directory = %directory.display(), %error, "the directory of server.snapshots cannot be made");
        return 0;
    }
    let saved = caches.iter().filter(|cache| {
        let path = directory.join(trimtab_admin::snapshot_file(cache.name()));
        match cache.cache().save(&path) {
            Ok(saved) => {
                tracing::info!(cache = cache.name(), entries = saved.entries, bytes = saved.bytes, "saved");
                true
            }
            Err(error) => {
                let cause = error.source().map(ToString::to_string);
                tracing::error!(cache = cache.name(), path = %path.display(), %error, cause, "was not saved");
                false
            }
        }
    });
    saved.count()
}

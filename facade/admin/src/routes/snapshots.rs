//! Saving a cache to a file and restoring it, in the directory of the settings and nowhere else.
//!
//! A request names at most a file in it, by a plain name that ends in `.snapshot`; without one the file is called like the
//! cache, which is also the one that a restart reads. Files are replaced whole.

use std::error::Error;
use std::fs;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::Uri;
use serde::Serialize;
use trimtab_cache::SnapshotError;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::byte_cache;
use crate::params::{Name, query};
use crate::problem::{Problem, ProblemKind, shorten};
use crate::router::{Answer, App, Routes};
use crate::schema::ProblemBody;
use crate::work::{files, heavy};

/// How names of snapshots end.
const SUFFIX: &str = ".snapshot";
/// The longest name of a snapshot, in bytes.
const FILE_MAX: usize = 128;

pub(crate) fn routes() -> Routes {
    OpenApiRouter::new().routes(routes!(save)).routes(routes!(restore))
}

/// The file in which a restart looks for a cache.
pub fn file_name(cache: &str) -> String {
    format!("{cache}{SUFFIX}")
}

/// What was saved.
#[derive(Debug, Serialize, ToSchema)]
struct SavedBody {
    /// Name of the cache.
    cache: String,
    /// Name of the file, in the directory of `server.snapshots`.
    file: String,
    /// Entries that it holds, hottest first.
    entries: u64,
    /// Its length in bytes.
    bytes: u64,
}

/// What became of the entries of a snapshot.
#[derive(Debug, Serialize, ToSchema)]
struct RestoredBody {
    /// Name of the cache.
    cache: String,
    /// Name of the file, in the directory of `server.snapshots`.
    file: String,
    /// Stored.
    entries: u64,
    /// Left out because they expired in between.
    expired: u64,
    /// Left out because the cache has something newer for their keys.
    newer: u64,
    /// Left out because there is no room; these are the coldest.
    no_room: u64,
}

/// Save a cache
///
/// Writes all entries with what is left of their time to a file, which replaces an older one whole. The cache goes on
/// meanwhile. Needs `server.snapshots`.
#[utoipa::path(
    post,
    path = "/api/caches/{name}/snapshot",
    tag = "caches",
    params(
        ("name" = String, Path, description = "Name of the cache"),
        ("file" = Option<String>, Query, description = "Name of the file, ending in .snapshot; NAME.snapshot if absent")
    ),
    responses(
        (status = 200, description = "Saved", body = SavedBody),
        (status = "4XX", description = "No such cache, a cache of Rust values, or snapshots are off", body = ProblemBody, content_type = "application/problem+json"),
        (status = "5XX", description = "The system refused, or is left alone after it did; an older file is untouched", body = ProblemBody, content_type = "application/problem+json")
    )
)]
async fn save(State(app): State<Arc<App>>, Name(name): Name, uri: Uri) -> Answer<Json<SavedBody>> {
    let work = {
        let (app, uri) = (Arc::clone(&app), uri.clone());
        move || {
            let cache = byte_cache(&app, &name)?;
            let (file, path) = place(&app, &name, &uri)?;
            let write = || {
                if let Some(directory) = path.parent() {
                    fs::create_dir_all(directory).map_err(|error| {
                        let detail =
                            format!("cannot make the directory of server.snapshots, {}: {error}", directory.display());
                        Problem::new(ProblemKind::SnapshotFailed, detail)
                    })?;
                }
                cache.cache().save(&path).map_err(|error| refused(&name, &file, &error))
            };
            let saved = files(&app, write, broken)?;
            tracing::info!(cache = name, file, entries = saved.entries, bytes = saved.bytes, "cache saved over HTTP");
            Ok(SavedBody { cache: name, file, entries: saved.entries, bytes: saved.bytes })
        }
    };
    let saved = heavy(&app, "snapshot", work).await.and_then(std::convert::identity);
    saved.map(Json).map_err(|problem: Problem| problem.at(&uri))
}

/// Restore a cache
///
/// Reads a file that was saved before: the hottest entries that there is room for. Keys that the cache has keep what they have.
/// A file that is damaged changes nothing. Needs `server.snapshots`.
#[utoipa::path(
    post,
    path = "/api/caches/{name}/restore",
    tag = "caches",
    params(
        ("name" = String, Path, description = "Name of the cache"),
        ("file" = Option<String>, Query, description = "Name of the file, ending in .snapshot; NAME.snapshot if absent")
    ),
    responses(
        (status = 200, description = "Restored", body = RestoredBody),
        (status = "4XX", description = "No such cache or file, an unusable file, a cache of Rust values, or snapshots are off", body = ProblemBody, content_type = "application/problem+json"),
        (status = "5XX", description = "The system refused, or is left alone after it did", body = ProblemBody, content_type = "application/problem+json")
    )
)]
async fn restore(State(app): State<Arc<App>>, Name(name): Name, uri: Uri) -> Answer<Json<RestoredBody>> {
    let work = {
        let (app, uri) = (Arc::clone(&app), uri.clone());
        move || {
            let cache = byte_cache(&app, &name)?;
            let (file, path) = place(&app, &name, &uri)?;
            let read = || cache.cache().restore(&path).map_err(|error| refused(&name, &file, &error));
            let restored = files(&app, read, broken)?;
            tracing::info!(cache = name, file, entries = restored.entries, "cache restored over HTTP");
            Ok(RestoredBody {
                cache: name,
                file,
                entries: restored.entries,
                expired: restored.expired,
                newer: restored.newer,
                no_room: restored.no_room,
            })
        }
    };
    let restored = heavy(&app, "restore", work).await.and_then(std::convert::identity);
    restored.map(Json).map_err(|problem: Problem| problem.at(&uri))
}

/// Whether the file system is to blame.
fn broken(problem: &Problem) -> bool {
    problem.kind() == ProblemKind::SnapshotFailed
}

/// The file that a request means: its name, and where it is.
fn place(app: &App, cache: &str, uri: &Uri) -> Result<(String, PathBuf), Problem> {
    let file = query(uri, &["file"])?.pop().map_or_else(|| file_name(cache), |(_, file)| file);
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    if file.len() > FILE_MAX || file.starts_with('.') || !file.bytes().all(plain) || !file.ends_with(SUFFIX) {
        let detail = format!(
            "`{}` is not the name of a snapshot: use up to {FILE_MAX} of letters, digits, '.', '_' and '-', not beginning with '.' and ending in {SUFFIX}; the directory is that of server.snapshots",
            shorten(&file)
        );
        return Err(Problem::new(ProblemKind::BadQuery, detail));
    }
    let Some(directory) = &app.settings.snapshots else {
        let detail = "there is no directory for snapshots; set server.snapshots to one and restart";
        return Err(Problem::new(ProblemKind::SnapshotsOff, detail));
    };
    let path = directory.join(&file);
    Ok((file, path))
}

/// What the cache refuses, as a problem.
fn refused(cache: &str, file: &str, error: &SnapshotError) -> Problem {
    let kind = match error {
        SnapshotError::File { source, .. } if source.kind() == ErrorKind::NotFound => {
            let detail =
                format!("there is no `{file}` in server.snapshots; save `{cache}` first, or name another file");
            return Problem::new(ProblemKind::UnknownSnapshot, detail);
        }
        SnapshotError::File { .. } | SnapshotError::Io { .. } | SnapshotError::Encode { .. } => {
            ProblemKind::SnapshotFailed
        }
        _ => ProblemKind::UnusableSnapshot,
    };
    let cause = error.source().map(|cause| format!(": {cause}")).unwrap_or_default();
    Problem::new(kind, format_args!("cache `{cache}`, file `{file}`: {error}{cause}"))
}

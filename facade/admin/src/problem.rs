//! Errors as `application/problem+json` (RFC 9457): one table of kinds, one builder, one way out.
//!
//! Every refusal of this API, those of the router included, has the same shape: `type` (a link to the kind's
//! description, served under `/problems`), `title`, `status`, `detail` (what was tried, on what, against which
//! limit, what to do next) and, where they help a program, further members such as `errors` or `allowed`.

use std::fmt::Display;

use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use axum::http::{Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::{Map, Value};

/// The media type of every error body.
pub(crate) const PROBLEM_JSON: HeaderValue = HeaderValue::from_static("application/problem+json");

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident = $status:ident, $code:literal, $title:literal;)*) => {
        /// What went wrong, from a closed set; see `GET /problems`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[non_exhaustive]
        pub enum ProblemKind {
            $($(#[$doc])* $name,)*
        }

        impl ProblemKind {
            /// Every kind, in the order of their statuses.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The status that this kind is answered with.
            pub fn status(self) -> StatusCode {
                match self { $(Self::$name => StatusCode::$status,)* }
            }

            /// The last part of `type`, stable across versions.
            pub fn code(self) -> &'static str {
                match self { $(Self::$name => $code,)* }
            }

            /// The same sentence for every occurrence.
            pub fn title(self) -> &'static str {
                match self { $(Self::$name => $title,)* }
            }
        }
    };
}

kinds! {
    /// The path cannot be percent-decoded to UTF-8.
    BadPath = BAD_REQUEST, "bad-path", "The path cannot be read";
    /// The cache name breaks the naming rule.
    BadName = BAD_REQUEST, "bad-name", "The name is not a cache name";
    /// The key is empty or too long.
    BadKey = BAD_REQUEST, "bad-key", "The key is not usable";
    /// The query string has an unknown or unusable parameter.
    BadQuery = BAD_REQUEST, "bad-query", "The query cannot be read";
    /// The body broke off or could not be read.
    BadBody = BAD_REQUEST, "bad-body", "The body could not be read";
    /// The body is not JSON.
    MalformedJson = BAD_REQUEST, "malformed-json", "The body is not valid JSON";
    /// A write without a valid token.
    Unauthorized = UNAUTHORIZED, "unauthorized", "A valid bearer token is required";
    /// The `Host` is not one this server answers for.
    ForbiddenHost = FORBIDDEN, "forbidden-host", "This host name is not served";
    /// A write that a page of another site asked the browser for.
    CrossSite = FORBIDDEN, "cross-site", "Writes from other sites are refused";
    /// A write from an unknown or remote peer while no token is set.
    RemoteWrite = FORBIDDEN, "remote-write", "Writes from elsewhere need a token";
    /// No such path.
    NoSuchRoute = NOT_FOUND, "no-such-route", "There is nothing at this path";
    /// No cache of this name.
    UnknownCache = NOT_FOUND, "unknown-cache", "There is no cache of this name";
    /// The cache has no live entry under this key.
    UnknownEntry = NOT_FOUND, "unknown-entry", "There is no entry under this key";
    /// No open pool of this name.
    UnknownPool = NOT_FOUND, "unknown-pool", "There is no open pool of this name";
    /// No lane of this name.
    UnknownLane = NOT_FOUND, "unknown-lane", "There is no lane of this name";
    /// No job of this number is queued, running or kept.
    UnknownJob = NOT_FOUND, "unknown-job", "There is no job of this number";
    /// No open call of this name, or none with a breaker.
    UnknownCall = NOT_FOUND, "unknown-call", "There is no such call";
    /// No open group of locks of this name.
    UnknownLockGroup = NOT_FOUND, "unknown-lock-group", "There is no open group of locks of this name";
    /// No open limit of this name.
    UnknownLimit = NOT_FOUND, "unknown-limit", "There is no open limit of this name";
    /// No snapshot of this name.
    UnknownSnapshot = NOT_FOUND, "unknown-snapshot", "There is no snapshot of this name";
    /// No setting at this path.
    UnknownSetting = NOT_FOUND, "unknown-setting", "There is no setting at this path";
    /// No problem kind of this code.
    UnknownProblem = NOT_FOUND, "unknown-problem", "There is no problem kind of this code";
    /// The path exists, the method does not.
    MethodNotAllowed = METHOD_NOT_ALLOWED, "method-not-allowed", "This path does not take this method";
    /// The body did not arrive in time.
    BodyTimeout = REQUEST_TIMEOUT, "body-timeout", "The body did not arrive in time";
    /// A cache of this name exists.
    CacheExists = CONFLICT, "cache-exists", "A cache of this name exists";
    /// The cache holds Rust values, which HTTP cannot read.
    TypedCache = CONFLICT, "typed-cache", "This cache holds typed values";
    /// The cache is declared in the settings, and not opened yet.
    UnopenedCache = CONFLICT, "unopened-cache", "The program has not opened this cache yet";
    /// No more caches may be created.
    TooManyCaches = CONFLICT, "too-many-caches", "The limit on caches is reached";
    /// No directory for snapshots is set.
    SnapshotsOff = CONFLICT, "snapshots-off", "Snapshots are off";
    /// The job has ended.
    JobEnded = CONFLICT, "job-ended", "The job has ended";
    /// Nobody in this process holds the lock.
    LockFree = CONFLICT, "lock-free", "Nobody here holds the lock";
    /// The store takes locks from no other process.
    LockKept = CONFLICT, "lock-kept", "Only its process can give the lock back";
    /// An optimisation is running.
    OptimizationRunning = CONFLICT, "optimization-running", "An optimisation is already running";
    /// The body is larger than the limit.
    BodyTooLarge = PAYLOAD_TOO_LARGE, "body-too-large", "The body is too large";
    /// The entry is heavier than its cache allows.
    EntryTooLarge = PAYLOAD_TOO_LARGE, "entry-too-large", "The entry does not fit its cache";
    /// The body is not announced as JSON.
    UnsupportedMediaType = UNSUPPORTED_MEDIA_TYPE, "unsupported-media-type", "The body must be JSON";
    /// Fields are missing, unknown or out of range; `errors` lists them all.
    InvalidFields = UNPROCESSABLE_ENTITY, "invalid-fields", "Some fields are not usable";
    /// The settings would be wrong; `problems` lists why.
    InvalidSettings = UNPROCESSABLE_ENTITY, "invalid-settings", "The settings cannot be changed like this";
    /// The snapshot is damaged, or of another version or other types.
    UnusableSnapshot = UNPROCESSABLE_ENTITY, "unusable-snapshot", "The snapshot cannot be used";
    /// Too many failed tokens from this peer.
    TooManyAttempts = TOO_MANY_REQUESTS, "too-many-attempts", "Too many failed attempts";
    /// This peer asks for more than it may.
    TooManyRequests = TOO_MANY_REQUESTS, "too-many-requests", "Too many requests";
    /// The limit on event streams is reached.
    TooManyStreams = TOO_MANY_REQUESTS, "too-many-streams", "Too many event streams are open";
    /// The system refused to write or read a snapshot.
    SnapshotFailed = INTERNAL_SERVER_ERROR, "snapshot-failed", "The snapshot could not be written or read";
    /// The request's own work panicked.
    WorkFailed = INTERNAL_SERVER_ERROR, "work-failed", "The work for this request failed";
    /// The store of the locks failed.
    LockStoreAway = SERVICE_UNAVAILABLE, "lock-store-away", "The store of the locks did not answer";
    /// The lane on which the request's work is done takes no more.
    LaneRefused = SERVICE_UNAVAILABLE, "lane-refused", "The work for this request was refused";
    /// The breaker in front of files is open.
    FilesRefused = SERVICE_UNAVAILABLE, "files-refused", "Files are not touched for now";
}

/// One refusal, ready to be answered.
///
/// ```
/// use trimtab_admin::{Problem, ProblemKind};
///
/// let problem = Problem::new(ProblemKind::UnknownCache, "there is no cache `user`").with("suggestion", "users");
/// assert_eq!(problem.status(), 404);
/// assert!(problem.to_string().contains("no cache `user`"));
/// ```
#[derive(Clone, Debug, thiserror::Error)]
#[error("{}: {}", .0.kind.title(), .0.detail)]
pub struct Problem(Box<Inner>);

#[derive(Clone, Debug)]
struct Inner {
    kind: ProblemKind,
    detail: String,
    instance: Option<String>,
    members: Map<String, Value>,
    headers: HeaderMap,
}

impl Problem {
    /// A problem of `kind`; `detail` says what was tried, on what, against which limit, and what to do next.
    pub fn new(kind: ProblemKind, detail: impl Display) -> Self {
        Self(Box::new(Inner {
            kind,
            detail: detail.to_string(),
            instance: None,
            members: Map::new(),
            headers: HeaderMap::new(),
        }))
    }

    /// Adds a member for programs to read.
    #[must_use]
    pub fn with(mut self, member: &str, value: impl Into<Value>) -> Self {
        self.0.members.insert(member.to_owned(), value.into());
        self
    }

    /// Adds a header to the answer.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.0.headers.insert(name, value);
        self
    }

    /// Says when to come back, in whole seconds, as header and as member.
    #[must_use]
    pub fn retry_after(self, seconds: u64) -> Self {
        let seconds = seconds.max(1);
        self.header(RETRY_AFTER, HeaderValue::from(seconds)).with("retry_after_seconds", seconds)
    }

    /// The path on which it happened.
    #[must_use]
    pub fn at(mut self, uri: &Uri) -> Self {
        self.0.instance = Some(uri.path().to_owned());
        self
    }

    /// What went wrong.
    pub fn kind(&self) -> ProblemKind {
        self.0.kind
    }

    /// The status of the answer.
    pub fn status(&self) -> StatusCode {
        self.0.kind.status()
    }

    /// The explanation of this occurrence.
    pub fn detail(&self) -> &str {
        &self.0.detail
    }
}

#[derive(Serialize)]
struct Body<'a> {
    r#type: String,
    title: &'a str,
    status: u16,
    detail: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    instance: Option<&'a str>,
    #[serde(flatten)]
    members: &'a Map<String, Value>,
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let inner = *self.0;
        let body = Body {
            r#type: format!("/problems/{}", inner.kind.code()),
            title: inner.kind.title(),
            status: inner.kind.status().as_u16(),
            detail: &inner.detail,
            instance: inner.instance.as_deref(),
            members: &inner.members,
        };
        // Strings, numbers and maps with string keys: this cannot fail, and an empty body would still be honest.
        let text = serde_json::to_vec(&body).unwrap_or_default();
        let mut response = (inner.kind.status(), text).into_response();
        response.headers_mut().extend(inner.headers);
        response.headers_mut().insert(CONTENT_TYPE, PROBLEM_JSON);
        response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response
    }
}

/// The answer to a path that does not exist.
pub(crate) fn no_such_route(uri: &Uri) -> Problem {
    Problem::new(
        ProblemKind::NoSuchRoute,
        format_args!("nothing is served at `{}`; the list of routes is at /openapi.json", shorten(uri.path())),
    )
    .at(uri)
}

/// The answer to a method that a path does not take; the router adds the header `Allow`.
pub(crate) fn method_not_allowed(method: &Method, uri: &Uri) -> Problem {
    Problem::new(
        ProblemKind::MethodNotAllowed,
        format_args!(
            "`{}` does not take {}; the header Allow names the methods that it takes",
            shorten(uri.path()),
            shorten(method.as_str())
        ),
    )
    .at(uri)
}

/// Client text for a message: at most 80 characters, control characters escaped.
pub(crate) fn shorten(text: &str) -> String {
    shorten_to(text, 80)
}

/// As [`shorten`], with another number of characters.
pub(crate) fn shorten_to(text: &str, max: usize) -> String {
    let mut out = String::with_capacity(text.len().min(max));
    for c in text.chars().take(max) {
        // Only what a terminal would act on; JSON escapes the rest where it has to.
        if c.is_control() { out.extend(c.escape_debug()) } else { out.push(c) }
    }
    if text.chars().nth(max).is_some() {
        out.push('…');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_unique_and_statuses_are_errors() {
        let mut codes: Vec<_> = ProblemKind::ALL.iter().map(|kind| kind.code()).collect();
        codes.sort_unstable();
        codes.dedup();
        assert_eq!(codes.len(), ProblemKind::ALL.len());
        assert!(ProblemKind::ALL.iter().all(|kind| kind.status().is_client_error() || kind.status().is_server_error()));
        assert!(ProblemKind::ALL.is_sorted_by_key(|kind| kind.status()), "in the order of their statuses");
    }

    #[test]
    fn retry_after_is_header_and_member() {
        let response = Problem::new(ProblemKind::TooManyAttempts, "wait").retry_after(0).into_response();
        assert_eq!(response.headers()[RETRY_AFTER], "1");
        assert_eq!(response.headers()[CONTENT_TYPE], "application/problem+json");
    }

    #[test]
    fn long_client_text_is_cut_and_escaped() {
        assert_eq!(shorten("a\nb"), "a\\nb");
        assert!(shorten(&"x".repeat(5000)).chars().count() <= 81);
    }
}

//! Names of the meters of this API, and their handles.
//!
//! | name | kind | labels |
//! |---|---|---|
//! | `trimtab_admin_requests_total` | counter | `route`, `class` |
//! | `trimtab_admin_request_duration_seconds` | histogram | `route` |
//! | `trimtab_admin_event_streams` | gauge | |
//! | `trimtab_admin_event_frames_total` | counter | |
//!
//! Handles are resolved once, when the router is built: install the recorder before. Reading an entry takes well
//! under a microsecond of our own time, so its latency is taken from one request in 64; counters count every one.

use std::cell::Cell;
use std::time::{Duration, Instant};

use axum::http::StatusCode;
use metrics::{Counter, Gauge, Histogram, Unit};

/// Requests that were answered, by group of routes and class of status.
pub const REQUESTS: &str = "trimtab_admin_requests_total";
/// Time from the request's head to the answer's head, in seconds.
pub const REQUEST_DURATION: &str = "trimtab_admin_request_duration_seconds";
/// Event streams that are open.
pub const EVENT_STREAMS: &str = "trimtab_admin_event_streams";
/// Frames that were encoded for event streams, each once for all of them.
pub const EVENT_FRAMES: &str = "trimtab_admin_event_frames_total";

/// One reading of an entry in this many is timed.
const SAMPLE_EVERY: u32 = 64;

/// Routes that are counted together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Group {
    /// The page and its files, the OpenAPI document, problem kinds.
    Page,
    /// Health.
    Health,
    /// Creating, listing, describing and removing caches.
    Caches,
    /// Listing, writing and removing entries.
    Entries,
    /// Reading one entry.
    Entry,
    /// Numbers, recommendations, optimisation.
    System,
    /// Lanes, jobs, calls.
    Lanes,
    /// Locks.
    Locks,
    /// Rate limits.
    Limits,
    /// Settings.
    Config,
    /// Event streams; the duration is that of opening one.
    Events,
    /// Paths that do not exist and methods that a path does not take.
    Unmatched,
}

impl Group {
    const ALL: [(Self, &'static str); 12] = [
        (Self::Page, "page"),
        (Self::Health, "health"),
        (Self::Caches, "caches"),
        (Self::Entries, "entries"),
        (Self::Entry, "entry"),
        (Self::System, "system"),
        (Self::Lanes, "lanes"),
        (Self::Locks, "locks"),
        (Self::Limits, "limits"),
        (Self::Config, "config"),
        (Self::Events, "events"),
        (Self::Unmatched, "unmatched"),
    ];
}

const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

struct Route {
    classes: [Counter; CLASSES.len()],
    duration: Histogram,
}

/// The handles of one router.
pub(crate) struct Handles {
    routes: [Route; Group::ALL.len()],
    pub(crate) streams: Gauge,
    pub(crate) frames: Counter,
}

impl std::fmt::Debug for Handles {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Handles").finish_non_exhaustive()
    }
}

impl Handles {
    pub(crate) fn new() -> Self {
        metrics::describe_counter!(REQUESTS, Unit::Count, "Requests answered by the HTTP API");
        metrics::describe_histogram!(REQUEST_DURATION, Unit::Seconds, "Time to answer a request of the HTTP API");
        metrics::describe_gauge!(EVENT_STREAMS, Unit::Count, "Open event streams of the dashboard");
        metrics::describe_counter!(EVENT_FRAMES, Unit::Count, "Frames encoded for event streams");
        Self {
            routes: Group::ALL.map(|(_, route)| Route {
                classes: CLASSES.map(|class| metrics::counter!(REQUESTS, "route" => route, "class" => class)),
                duration: metrics::histogram!(REQUEST_DURATION, "route" => route),
            }),
            streams: metrics::gauge!(EVENT_STREAMS),
            frames: metrics::counter!(EVENT_FRAMES),
        }
    }

    /// Counts an answer.
    pub(crate) fn count(&self, group: Group, status: StatusCode) {
        let class = usize::from(status.as_u16() / 100).clamp(1, CLASSES.len()) - 1;
        self.routes[group as usize].classes[class].increment(1);
    }

    /// Counts an answer and records its time.
    pub(crate) fn observe(&self, group: Group, status: StatusCode, took: Duration) {
        self.count(group, status);
        self.routes[group as usize].duration.record(took.as_secs_f64());
    }

    /// Records the time of a sampled reading.
    pub(crate) fn time(&self, group: Group, started: Option<Instant>) {
        if let Some(started) = started {
            self.routes[group as usize].duration.record(started.elapsed().as_secs_f64());
        }
    }
}

/// The time now, for one call in 64 on each thread: the clock costs more than the lookup that it would measure.
pub(crate) fn sampled_start() -> Option<Instant> {
    thread_local!(static CALLS: Cell<u32> = const { Cell::new(0) });
    CALLS.with(|calls| {
        let call = calls.get().wrapping_add(1);
        calls.set(call);
        call.is_multiple_of(SAMPLE_EVERY).then(Instant::now)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_index_their_own_handles() {
        for (at, (group, _)) in Group::ALL.iter().enumerate() {
            assert_eq!(*group as usize, at);
        }
    }

    #[test]
    fn one_call_in_sixty_four_is_timed() {
        let timed = std::thread::spawn(|| (0..640).filter(|_| sampled_start().is_some()).count());
        assert_eq!(timed.join().expect("no panic"), 10);
    }
}

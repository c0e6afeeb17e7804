//! Live events: one encoder for every page that listens.
//!
//! A task takes a reading each tick and keeps the history. Only while somebody listens does it also encode a frame,
//! once, and hand the same bytes to all; a client that cannot keep up misses frames instead of slowing the others
//! or growing a queue. A new stream is first told the past (`hello`), then each `tick`; silence is broken by a
//! comment every 15 s, so that proxies and clients can tell a quiet stream from a dead one.

use std::convert::Infallible;
use std::sync::{Arc, Weak};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::body::Body;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue};
use axum::response::Response;
use bytes::Bytes;
use metrics::Gauge;
use parking_lot::Mutex;
use serde::Serialize;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, broadcast, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior};

use crate::frame::{self, Frame};
use crate::history::{History, Snapshot};
use crate::problem::{Problem, ProblemKind};
use crate::router::App;

/// Frames that a slow client may lag behind before it misses some.
const LAG_MAX: usize = 4;
/// Longest silence on a stream.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// The streams of one router.
#[derive(Debug)]
pub(crate) struct Events {
    frames: broadcast::Sender<Bytes>,
    history: Mutex<History>,
    room: Arc<Semaphore>,
    room_max: usize,
    interval: Duration,
    recorder: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Serialize)]
struct Hello<'a> {
    info: Info<'a>,
    access: AccessInfo,
    history: Snapshot,
    frame: Frame,
}

#[derive(Serialize)]
struct Info<'a> {
    program: &'a str,
    version: &'a str,
    profile: &'static str,
    environment: String,
}

#[derive(Serialize)]
struct AccessInfo {
    token_required: bool,
    reads_protected: bool,
}

impl Events {
    pub(crate) fn new(streams_max: usize, interval: Duration, history: usize) -> Self {
        let (frames, _) = broadcast::channel(LAG_MAX);
        Self {
            frames,
            history: Mutex::new(History::new(history)),
            room: Arc::new(Semaphore::new(streams_max)),
            room_max: streams_max,
            interval,
            recorder: Mutex::new(None),
        }
    }

    /// Starts the recorder if it does not run and a runtime is there to run it.
    ///
    /// Called when the router is built, and again by each stream: a router built outside of a runtime starts late.
    pub(crate) fn start(app: &Arc<App>) {
        let mut recorder = app.events.recorder.lock();
        if recorder.as_ref().is_none_or(JoinHandle::is_finished)
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            *recorder = Some(runtime.spawn(record(Arc::downgrade(app), app.events.interval)));
        }
    }

    /// Opens a stream.
    ///
    /// # Errors
    /// [`ProblemKind::TooManyStreams`] when `events_max` are open, or the console was closed.
    pub(crate) fn open(app: &Arc<App>) -> Result<Response, Problem> {
        let closed = app.console.closed();
        if *closed.borrow() {
            let detail = "the server is shutting down and opens no event stream; connect again in a moment";
            return Err(Problem::new(ProblemKind::TooManyStreams, detail).retry_after(5));
        }
        let events = &app.events;
        let Ok(permit) = Arc::clone(&events.room).try_acquire_owned() else {
            let detail = format!(
                "{} event streams are open, the most that server.events_max allows; close one",
                events.room_max
            );
            return Err(Problem::new(ProblemKind::TooManyStreams, detail).retry_after(10));
        };
        Self::start(app);
        let gauge = app.metrics.streams.clone();
        gauge.increment(1.0);
        // Subscribed under the lock under which frames are sent: the first tick is the one after the history.
        let (frames, history) = {
            let history = events.history.lock();
            (events.frames.subscribe(), history.snapshot())
        };
        let listener = Listener { first: Some(hello(app, history)), frames, closed, gauge, _permit: permit };
        let mut response = Response::new(Body::from_stream(futures_util::stream::unfold(listener, Listener::next)));
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache, no-transform"));
        headers.insert(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
        Ok(response)
    }

    /// How long a cache of this name has been read; zero before the first tick that saw it.
    pub(crate) fn age(&self, name: &str) -> Duration {
        let born = self.history.lock().born(name);
        born.map_or(Duration::ZERO, |born| Duration::from_millis(millis(SystemTime::now()).saturating_sub(born)))
    }

    /// Takes one reading, and encodes it if somebody listens.
    fn tick(&self, app: &App) {
        let mut history = self.history.lock();
        let frame = frame::record(&app.console, &mut history);
        if self.frames.receiver_count() > 0 {
            // Fails only when the last listener has just gone.
            let _ = self.frames.send(event("tick", &frame));
            app.metrics.frames.increment(1);
        }
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        if let Some(recorder) = self.recorder.get_mut().take() {
            recorder.abort();
        }
    }
}

/// Reads on every tick until the router is gone.
async fn record(app: Weak<App>, interval: Duration) {
    let mut ticks = tokio::time::interval(interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let Some(app) = app.upgrade() else { return };
        app.events.tick(&app);
    }
}

fn hello(app: &App, history: Snapshot) -> Bytes {
    let console = &app.console;
    let settings = console.settings();
    event(
        "hello",
        &Hello {
            info: Info {
                program: console.program(),
                version: console.version(),
                profile: settings.profile().name(),
                environment: settings.environment(),
            },
            access: AccessInfo { token_required: app.guard.needs_token(), reads_protected: app.guard.protects_reads() },
            history,
            frame: frame::now(console),
        },
    )
}

/// One event of the stream. JSON holds no line break outside of strings and escapes those inside.
fn event(name: &str, data: &impl Serialize) -> Bytes {
    let mut out = format!("event: {name}\ndata: ").into_bytes();
    if let Err(error) = serde_json::to_writer(&mut out, data) {
        tracing::error!(%error, event = name, "an event could not be encoded");
        return Bytes::from_static(b": an event could not be encoded\n\n");
    }
    out.extend_from_slice(b"\n\n");
    out.into()
}

/// Milliseconds since 1970.
pub(crate) fn millis(at: SystemTime) -> u64 {
    at.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

/// One client.
struct Listener {
    first: Option<Bytes>,
    frames: broadcast::Receiver<Bytes>,
    closed: watch::Receiver<bool>,
    gauge: Gauge,
    _permit: OwnedSemaphorePermit,
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.gauge.decrement(1.0);
    }
}

impl Listener {
    /// The next bytes, or the end. Polled only when the client has taken the bytes before.
    async fn next(mut self) -> Option<(Result<Bytes, Infallible>, Self)> {
        if let Some(first) = self.first.take() {
            return Some((Ok(first), self));
        }
        let silence = Instant::now() + KEEP_ALIVE;
        let bytes = loop {
            tokio::select! {
                _ = self.closed.wait_for(|closed| *closed) => return None,
                frame = self.frames.recv() => match frame {
                    Ok(frame) => break frame,
                    Err(RecvError::Lagged(_)) => {}
                    Err(RecvError::Closed) => return None,
                },
                () = tokio::time::sleep_until(silence) => break Bytes::from_static(b": alive\n\n"),
            }
        };
        Some((Ok(bytes), self))
    }
}

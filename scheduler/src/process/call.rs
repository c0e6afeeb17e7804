//! A job that a worker does, as its lane sees it: a future that hands over, waits, and reads the answer.
//!
//! A lane's result is a value or an error of the lane. Where a worker gives no value, this future does not end: it leaves word
//! how the job ended, and the job's cell ends it with that (`job/cell.rs`).

use std::borrow::Cow;
use std::fmt;
use std::future::Ready;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use parking_lot::Mutex;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::oneshot;
use trimtab_config::ByteSize;

use super::pool::{Answer, Leash, Pool};
use super::wire::{self, HEAD, Kind};
use super::{Message, ProcessFailure, ProcessFault, Signature};
use crate::error::{JobError, JobSite, Panic};
use crate::job::head::Head;
use crate::job::{Extra, Job, Outcome};
use crate::lane::LaneKind;

/// How a job ended that has no value.
#[derive(Debug)]
enum Ending {
    /// The function panicked, and said this.
    Panicked(String),
    /// Something else.
    Fault(ProcessFault),
}

impl Ending {
    fn into_error(self, head: &Head) -> (Outcome, JobError) {
        let site = JobSite::of(head);
        match self {
            Self::Panicked(message) => (Outcome::Panicked, JobError::Panicked(Box::new(Panic { site, message }))),
            Self::Fault(fault) => (fault.outcome(), JobError::Process(Box::new(ProcessFailure { site, fault }))),
        }
    }
}

/// What a job of the process lane shares with its lane: where the workers are, how it ended, what it took.
#[derive(Debug, Default)]
pub(crate) struct Link {
    pool: OnceLock<Arc<Pool>>,
    ending: Mutex<Option<Ending>>,
    spent: AtomicU64,
}

impl Link {
    /// Says who has the workers, as the job is submitted.
    pub(crate) fn bind(&self, pool: &Arc<Pool>) {
        // A job is submitted once.
        let _ = self.pool.set(Arc::clone(pool));
    }

    /// How the job ended, if it will give no value.
    fn ending(&self) -> Option<Ending> {
        self.ending.lock().take()
    }

    /// Nanoseconds on a processor, in the worker.
    fn spent(&self) -> u64 {
        self.spent.load(Relaxed)
    }
}

impl Head {
    /// How the job ended, if its work has left word that it will give no value.
    pub(crate) fn ending(&self) -> Option<(Outcome, JobError)> {
        let link = self.extra.as_ref()?.process.as_ref()?;
        link.ending().map(|ending| ending.into_error(self))
    }

    /// Nanoseconds on a processor in the worker.
    pub(crate) fn spent_elsewhere(&self) -> u64 {
        self.extra.as_ref().and_then(|extra| extra.process.as_ref()).map_or(0, |link| link.spent())
    }
}

enum Step {
    /// The argument is coded, or is not, and why.
    Asked {
        frame: Result<Vec<u8>, String>,
    },
    Running {
        answer: oneshot::Receiver<Answer>,
        leash: Leash,
    },
    Over,
}

/// A call of a registered function. See [`Job::process`].
pub struct ProcessCall<R> {
    function: Cow<'static, str>,
    signature: Signature,
    timeout: Option<Duration>,
    step: Step,
    extra: Arc<Extra>,
    result: PhantomData<fn() -> R>,
}

impl<R> fmt::Debug for ProcessCall<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProcessCall").field("function", &self.function).finish_non_exhaustive()
    }
}

impl<R> ProcessCall<R> {
    fn link(&self) -> Option<&Link> {
        self.extra.process.as_deref()
    }

    /// Gives the job to a worker.
    fn hand_over(&mut self, frame: Result<Vec<u8>, String>) -> Result<Step, ProcessFault> {
        let pool = self.link().and_then(|link| link.pool.get()).ok_or(ProcessFault::NoWorkers)?;
        let mut frame = frame.map_err(|reason| ProcessFault::Codec { message: Message::Argument, reason })?;
        pool.check(&self.function, self.signature, frame.len())?;
        // Within the limit, a frame is shorter than its length can say.
        wire::finish(&mut frame);
        let (sender, answer) = oneshot::channel();
        let leash = pool.hand_over(frame, self.timeout, sender)?;
        Ok(Step::Running { answer, leash })
    }

    /// Leaves word how the job ended.
    fn end(&self, ending: Ending) -> Poll<R> {
        // Where the lane has ended, it ends its jobs itself.
        if let Some(link) = self.link()
            && !matches!(ending, Ending::Fault(ProcessFault::Closed))
        {
            *link.ending.lock() = Some(ending);
        }
        Poll::Pending
    }
}

impl<R: DeserializeOwned> ProcessCall<R> {
    fn read(&self, kind: Kind, frame: &[u8]) -> Result<R, Ending> {
        let (spent, body) = wire::parse_answer(&frame[HEAD..]).unwrap_or_default();
        if let Some(link) = self.link() {
            link.spent.store(spent, Relaxed);
        }
        let text = || String::from_utf8_lossy(body).into_owned();
        let uncoded = |message, reason| Ending::Fault(ProcessFault::Codec { message, reason });
        match kind {
            Kind::Done => postcard::from_bytes(body).map_err(|error| uncoded(Message::Result, error.to_string())),
            Kind::Panicked => Err(Ending::Panicked(text())),
            Kind::Oversize => {
                let number = |at| {
                    let bytes = body.get(at..).and_then(<[u8]>::first_chunk::<8>);
                    ByteSize::b(u64::from_le_bytes(bytes.copied().unwrap_or_default()))
                };
                let (size, limit) = (number(0), number(8));
                Err(Ending::Fault(ProcessFault::TooLarge { message: Message::Result, size, limit }))
            }
            Kind::Argument => Err(uncoded(Message::Argument, text())),
            _ => Err(uncoded(Message::Result, text())),
        }
    }
}

// Nothing of it is pinned.
impl<R> Unpin for ProcessCall<R> {}

impl<R: DeserializeOwned> Future for ProcessCall<R> {
    type Output = R;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<R> {
        let this = &mut *self;
        if let Step::Asked { frame } = &mut this.step {
            let frame = std::mem::replace(frame, Ok(Vec::new()));
            this.step = Step::Over;
            match this.hand_over(frame) {
                Ok(running) => this.step = running,
                Err(fault) => return this.end(Ending::Fault(fault)),
            }
        }
        let Step::Running { answer, .. } = &mut this.step else { return Poll::Pending };
        let answer = ready!(Pin::new(answer).poll(context));
        this.step = Step::Over;
        let ending = match answer {
            Ok(Ok((kind, frame))) => match this.read(kind, &frame) {
                Ok(value) => return Poll::Ready(value),
                Err(ending) => ending,
            },
            Ok(Err(fault)) => Ending::Fault(fault),
            Err(_) => Ending::Fault(ProcessFault::Garbled { pid: 0, reason: "its keeper has ended".into() }),
        };
        this.end(ending)
    }
}

impl<R> Drop for ProcessCall<R> {
    fn drop(&mut self) {
        if let Step::Running { leash, .. } = &self.step {
            leash.cancel();
        }
    }
}

impl<R: DeserializeOwned> Job<ProcessCall<R>> {
    /// Says how long it may run, instead of what `scheduler.workers.timeout` says; then its worker is killed. Counted from
    /// the moment a worker has it.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.work.timeout = Some(timeout);
        self
    }
}

impl Job<Ready<()>> {
    /// A call of a function that was [registered](crate::process::Workers::register) under this name, in a worker process. The
    /// result's type is the one that whoever awaits the job wants; both types must be those of the function.
    ///
    /// The job is of the kind `function` unless it is [named](Job::name). Cancelling it kills its worker, and so does its
    /// time limit. What else can go wrong is a [`ProcessFault`] in [`JobError::Process`]; a panic of
    /// the function is a panic of the job.
    ///
    /// # Cost
    ///
    /// The argument is coded here, in the caller, and counts against the bytes that the lane's queue may hold; the result is
    /// decoded by whoever polls the job. Without a declared cost a job takes one processor.
    ///
    /// ```
    /// use std::time::Duration;
    /// use trimtab_scheduler::Job;
    /// use trimtab_scheduler::process::ProcessCall;
    ///
    /// let job: Job<ProcessCall<Vec<u8>>> =
    ///     Job::process("resize", ("cat.png".to_owned(), 640_u32)).timeout(Duration::from_secs(5));
    /// # let _ = job;
    /// ```
    pub fn process<A, R>(function: impl Into<Cow<'static, str>>, argument: A) -> Job<ProcessCall<R>>
    where
        A: Serialize + 'static,
        R: DeserializeOwned + 'static,
    {
        let function = function.into();
        let frame = postcard::to_extend(&argument, wire::begin_call(&function)).map_err(|error| error.to_string());
        let holds = frame.as_ref().map_or(0, Vec::len);
        let extra = Arc::new(Extra::for_process());
        let call = ProcessCall {
            function: function.clone(),
            signature: Signature::of::<A, R>(),
            timeout: None,
            step: Step::Asked { frame },
            extra: Arc::clone(&extra),
            result: PhantomData,
        };
        Job::on(LaneKind::Process, call, Some(extra)).name(function).holds(ByteSize::b(holds as u64))
    }
}

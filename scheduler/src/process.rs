//! The process lane: registered functions that run in worker processes of the same program.
//!
//! For work that may crash, leak, hang or take too much memory: image and document formats, foreign libraries, plug-ins. What
//! happens to a worker is the error of the one job it had. A worker is this program started once more; it is told apart by the
//! socket that it inherits, finds [`Workers::serve`] at the start of `main`, and serves there until the program ends. Why it is
//! not forked: docs/decisions/worker-processes.md.
//!
//! ```standalone_crate
//! use trimtab_scheduler::process::Workers;
//! use trimtab_scheduler::{Job, Priority, Scheduler};
//!
//! fn shout(text: String) -> String {
//!     text.to_uppercase()
//! }
//!
//! fn workers() -> Workers {
//!     Workers::new().register("shout", shout).register("crash", |_: ()| -> () { std::process::abort() })
//! }
//!
//! fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     workers().serve(); // in a worker this never returns; in the program it does at once
//!
//!     let runtime = tokio::runtime::Builder::new_current_thread().build()?;
//!     runtime.block_on(async {
//!         let scheduler = Scheduler::builder("app").workers(workers()).build()?;
//!         let job = Job::process("shout", "hello".to_owned()).priority(Priority::High);
//!         let loud: String = scheduler.submit(job).await?;
//!         assert_eq!(loud, "HELLO");
//!
//!         // A crash is the error of its job, and of nothing else.
//!         let crash = scheduler.submit(Job::process::<_, ()>("crash", ())).await;
//!         assert!(crash.unwrap_err().to_string().contains("SIGABRT"));
//!         Ok(())
//!     })
//! }
//! ```
//!
//! | module | idea |
//! |---|---|
//! | `call` | a job that a worker does: [`Job::process`](crate::Job::process) |
//! | `pool` | which worker gets a job, and when another one is started |
//! | `keeper` | a thread that starts one worker, speaks with it, and ends it |
//! | `channel` | the socket, with a time limit and a bell |
//! | `child` | the worker's side: its limits, its loop |
//! | `wire` | what goes over the socket |
//! | `config`, `fault`, `metrics` | settings, what can go wrong, numbers |
//!
//! # What a function sees
//!
//! Standard input is empty; what is printed goes to the program's standard error. Ctrl-C at a terminal reaches the program only,
//! since workers have a process group of their own; when one is killed, so is what it has started. Globals are those of a
//! program whose `main` came as far as `serve`, and they stay from job to job until the worker is replaced.
//!
//! # In tests
//!
//! The harness has a `main` of its own. Let workers enter by a test, and name it in [`Workers::arguments`]:
//!
//! ```
//! use trimtab_scheduler::process::Workers;
//!
//! fn workers() -> Workers {
//!     Workers::new()
//!         .register("double", |n: u32| 2 * n)
//!         .arguments(["--exact", "worker", "--nocapture", "--test-threads=1"])
//! }
//!
//! // With the attribute #[test]. In the test program itself it does nothing.
//! fn worker() {
//!     workers().serve();
//! }
//! ```

mod call;
mod channel;
mod child;
pub mod config;
mod fault;
mod keeper;
pub mod metrics;
mod pool;
mod wire;

use std::any::{TypeId, type_name};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::ffi::OsString;
use std::fmt;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;
use trimtab_config::check_name;

pub(crate) use call::Link;
pub use call::ProcessCall;
pub use fault::{Death, Message, ProcessFailure, ProcessFault};
pub(crate) use pool::Pool;
pub use pool::WorkerStats;

/// Types as the registry compares them.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Signature {
    argument: (TypeId, &'static str),
    result: (TypeId, &'static str),
}

impl Signature {
    fn of<A: 'static, R: 'static>() -> Self {
        Self { argument: (TypeId::of::<A>(), type_name::<A>()), result: (TypeId::of::<R>(), type_name::<R>()) }
    }
}

impl fmt::Display for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "fn({}) -> {}", self.argument.1, self.result.1)
    }
}

/// Why a worker could not code a message.
struct Uncoded {
    message: Message,
    reason: String,
}

/// Decodes the argument, calls, and adds the result to a frame.
type Run = dyn Fn(&[u8], Vec<u8>) -> Result<Vec<u8>, Uncoded> + Send + Sync;

#[derive(Clone)]
struct Function {
    signature: Signature,
    run: Arc<Run>,
}

/// The functions that workers know, and how a worker is started. Build the same one for [`serve`](Self::serve) and for the
/// scheduler.
#[derive(Clone, Default)]
#[must_use = "functions are called by nobody before a scheduler has them"]
pub struct Workers {
    functions: BTreeMap<Cow<'static, str>, Function>,
    arguments: Vec<OsString>,
    silent: bool,
    problems: Vec<String>,
}

impl fmt::Debug for Workers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let functions: Vec<_> =
            self.functions.iter().map(|(name, function)| (name, function.signature.to_string())).collect();
        f.debug_struct("Workers").field("functions", &functions).finish_non_exhaustive()
    }
}

impl Workers {
    /// No functions yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Registers a function under a name. It takes one argument (a tuple for several) and returns one result, both of which go
    /// through serde and [postcard](https://docs.rs/postcard). Wrap long byte strings as `serde_bytes` does: they are then copied
    /// as a whole instead of byte by byte.
    ///
    /// A name that cannot be a label, or comes twice, is reported where the scheduler is built.
    pub fn register<A, R>(
        mut self,
        name: impl Into<Cow<'static, str>>,
        function: impl Fn(A) -> R + Send + Sync + 'static,
    ) -> Self
    where
        A: Serialize + DeserializeOwned + 'static,
        R: Serialize + DeserializeOwned + 'static,
    {
        let name = name.into();
        if let Err(error) = check_name("function", &name) {
            self.problems.push(error.to_string());
        }
        let run = move |argument: &[u8], frame: Vec<u8>| {
            let uncoded = |message, error: postcard::Error| Uncoded { message, reason: error.to_string() };
            let argument = postcard::from_bytes(argument).map_err(|error| uncoded(Message::Argument, error))?;
            postcard::to_extend(&function(argument), frame).map_err(|error| uncoded(Message::Result, error))
        };
        let function = Function { signature: Signature::of::<A, R>(), run: Arc::new(run) };
        match self.functions.entry(name) {
            Entry::Vacant(place) => drop(place.insert(function)),
            Entry::Occupied(place) => {
                let name = place.key();
                self.problems.push(format!("function \"{name}\" is registered twice; give each function its own name"));
            }
        }
        self
    }

    /// Arguments that a worker is started with. Default: none. For a program whose `main` does not come as far as `serve`
    /// without, such as a test.
    pub fn arguments(mut self, arguments: impl IntoIterator<Item = impl Into<OsString>>) -> Self {
        self.arguments = arguments.into_iter().map(Into::into).collect();
        self
    }

    /// Lets what workers print go nowhere, instead of to the program's standard error: panics and last words as well.
    pub fn silent(mut self) -> Self {
        self.silent = true;
        self
    }

    /// In a worker process, serves until the program ends, and then ends the process; in the program itself, returns at once.
    ///
    /// To be called first in `main`, before threads, runtimes, files and arguments: a worker does everything that comes before
    /// it, and nothing of what comes after. It costs one look at the environment.
    pub fn serve(&self) {
        child::serve(self);
    }

    /// What is wrong with the functions.
    pub(crate) fn check(&self) -> Result<(), String> {
        child::check()?;
        if self.problems.is_empty() { Ok(()) } else { Err(self.problems.join("; ")) }
    }

    fn names(&self) -> Vec<String> {
        self.functions.keys().map(ToString::to_string).collect()
    }

    fn table(&self) -> Vec<(String, String)> {
        self.functions.iter().map(|(name, function)| (name.to_string(), function.signature.to_string())).collect()
    }
}

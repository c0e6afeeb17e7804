//! The scheduler of the assembled system: one for the program, with the lanes of `[scheduler]`.
//!
//! It starts nothing before its first job. What jobs may plan with is half of the one memory number, `memory.limit`, unless
//! `scheduler.machine.memory` says otherwise.

use trimtab_config::{ByteSize, Change, Loaded};
use trimtab_scheduler::{Scheduler, SchedulerSettings};

use crate::error::StartError;
use crate::parts::Given;
use crate::settings::TrimtabSettings;
use crate::system::Trimtab;

/// How the metrics of its lanes are labelled.
const NAME: &str = "trimtab";

/// The scheduler, and the memory that its jobs may plan with.
#[derive(Clone, Debug)]
pub(crate) struct Lanes {
    pub(crate) scheduler: Scheduler,
    memory: Option<ByteSize>,
}

impl Lanes {
    #[cfg_attr(
        not(feature = "process"),
        allow(clippy::needless_pass_by_value, reason = "nothing is given where no part takes it")
    )]
    pub(crate) fn start(loaded: &Loaded<TrimtabSettings>, given: Given) -> Result<Self, StartError> {
        let limit = loaded.settings.memory.limit.resolve(&loaded.machine);
        let memory = limit.map(|limit| ByteSize::b((limit.value.as_u64() / 2).max(1)));
        let settings = tuned(&loaded.settings.scheduler, memory);
        let builder = Scheduler::builder(NAME).settings(settings).machine(loaded.machine.clone());
        #[cfg(feature = "process")]
        let builder = match given.workers {
            Some(workers) => builder.workers(workers),
            None => builder,
        };
        #[cfg(not(feature = "process"))]
        let _ = given;
        let scheduler = builder.build()?;
        Ok(Self { scheduler, memory })
    }

    /// Carries a changed section to the lanes, where jobs go on.
    pub(crate) fn follow(&self, change: &Change<TrimtabSettings>) {
        let (old, new) = (&change.old.scheduler, &change.new.scheduler);
        if old != new
            && let Err(error) = self.scheduler.apply(&tuned(new, self.memory))
        {
            tracing::error!(%error, "the scheduler keeps its old settings");
        }
    }
}

fn tuned(settings: &SchedulerSettings, memory: Option<ByteSize>) -> SchedulerSettings {
    let mut tuned = settings.clone();
    tuned.machine.memory = tuned.machine.memory.or(memory);
    tuned
}

impl Trimtab {
    /// The scheduler: submit jobs to its lanes. Its settings are those of `[scheduler]`, and may change while jobs run.
    ///
    /// [`shutdown`](Self::shutdown) gives jobs ten seconds to finish, cancels the rest, and reports what became of each.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use trimtab::Trimtab;
    /// use trimtab::scheduler::{Job, Priority};
    ///
    /// let tt = Trimtab::builder().no_file().set("scheduler.cpu.ceiling", 2).start().await?;
    /// let page = tt.scheduler().submit(Job::cpu(|| "rendered").name("render").priority(Priority::High));
    /// assert_eq!(page.await?, "rendered");
    /// let stopped = tt.shutdown().await;
    /// assert!(stopped.jobs.is_clean());
    /// # Ok(())
    /// # }
    /// ```
    pub fn scheduler(&self) -> &Scheduler {
        &self.parts().lanes.scheduler
    }
}

//! Where the heavy work of a request is done: on a lane if the console has one, else on tokio's blocking threads.
//!
//! On the lane it is a job with a name: seen at `/api/jobs`, bounded by the ceiling, measured by kind. Either way it goes on
//! when the client leaves. Work that touches files asks the breaker first, if there is one.

use crate::problem::Problem;
use crate::router::App;

/// Does work that other requests should not wait for; `name` says what kind it is.
///
/// # Errors
/// [`LaneRefused`](crate::ProblemKind::LaneRefused) when the lane takes no more.
pub(crate) async fn heavy<T: Send + 'static>(
    app: &App,
    name: &'static str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Problem> {
    #[cfg(feature = "scheduler")]
    if let Some(scheduler) = app.console.parts().work_on.get() {
        use trimtab_scheduler::{Job, Priority};
        // Somebody waits for it.
        return scheduler
            .submit(Job::cpu(work).name(name).priority(Priority::High))
            .await
            .map_err(|error| refused(&error));
    }
    let _ = (app, name);
    Ok(blocking(work).await)
}

/// Runs what may take long on a thread that answers no requests; it goes on when the client leaves.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // Lost only when the runtime is shutting down, and then so is the answer.
            Err(_) => std::future::pending().await,
        },
    }
}

#[cfg(feature = "scheduler")]
fn refused(error: &trimtab_scheduler::JobError) -> Problem {
    use crate::problem::ProblemKind;
    if let trimtab_scheduler::JobError::Panicked(_) = error {
        return Problem::new(ProblemKind::WorkFailed, format!("{error}; the log has the place"));
    }
    let problem = Problem::new(ProblemKind::LaneRefused, error);
    // Cancelled by an operator, or at the stop: nothing says when to come back.
    match error.retry_after() {
        Some(after) => problem.retry_after(after.as_secs() + 1),
        None => problem,
    }
}

/// Touches files, if the breaker lets it. `broken` says of an error whether the file system is to blame.
///
/// # Errors
/// Those of `work`, or [`FilesRefused`](crate::ProblemKind::FilesRefused).
pub(crate) fn files<T>(
    app: &App,
    work: impl FnOnce() -> Result<T, Problem>,
    broken: impl Fn(&Problem) -> bool,
) -> Result<T, Problem> {
    #[cfg(feature = "scheduler")]
    if let Some(breaker) = app.console.file_breaker() {
        use crate::problem::ProblemKind;
        let permit = breaker.try_acquire().map_err(|refusal| {
            let problem = Problem::new(ProblemKind::FilesRefused, &refusal);
            match refusal.retry_after() {
                Some(after) => problem.retry_after(after.as_secs() + 1),
                None => problem,
            }
        })?;
        let result = work();
        match &result {
            Ok(_) => permit.success(),
            Err(problem) if broken(problem) => permit.failure(),
            Err(_) => permit.ignore(),
        }
        return result;
    }
    let _ = (app, broken);
    work()
}

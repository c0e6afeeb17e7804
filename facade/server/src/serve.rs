//! `trimtab serve`: the system with its HTTP API and dashboard, until it is told to stop.

use std::io::{self, Write};

use trimtab::cache::CachesError;
use trimtab::{ServeError, StartError, Trimtab};

use crate::cli::{Choice, ServeArgs};
use crate::failure::Failure;

pub(crate) fn run(args: ServeArgs, mut choice: Choice) -> Result<(), Failure> {
    choice.address = args.address;
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("trimtab")
        .build()
        .map_err(|error| Failure::machine(format!("cannot start the threads of the runtime: {error}")))?
        .block_on(serve(&choice))
}

async fn serve(choice: &Choice) -> Result<(), Failure> {
    let system = Trimtab::builder().loader(choice.loader()).start().await?;
    trimtab::log::init(&system.settings().log);
    // Every cache of the settings exists from the start: this program has no code that would open them later.
    for name in system.caches().names() {
        system.byte_cache(&name)?;
    }
    system.shutdown_on_signal();
    let server = system.bind().await?;
    announce(&system, &server)?;
    server.run().await;
    // After the last request was answered, so that what it stored is in the file.
    system.save_snapshots().await;
    system.shutdown().await;
    tracing::info!("stopped");
    Ok(())
}

/// What a person wants to see after typing the command.
fn announce(system: &Trimtab, server: &trimtab::Server) -> Result<(), Failure> {
    let loaded = system.loaded();
    let memory = &system.monitor().sample().memory;
    let limit = match memory.limit {
        Some(limit) => format!("{} ({})", trimtab::config::ByteSize::b(limit).rounded(), memory.limit_source),
        None => "unknown".to_owned(),
    };
    let file = loaded
        .file
        .as_ref()
        .map_or_else(|| "none (trimtab.toml is read when it exists)".to_owned(), |file| file.display().to_string());
    let mut out = io::stdout().lock();
    writeln!(out, "trimtab {} serves http://{}", env!("CARGO_PKG_VERSION"), server.local_addr())?;
    writeln!(out, "  profile       {} ({})", loaded.profile, loaded.profile_origin)?;
    writeln!(out, "  environment   {} ({})", loaded.environment, loaded.environment_origin)?;
    writeln!(out, "  memory limit  {limit}")?;
    writeln!(out, "  settings      {file}")?;
    writeln!(out, "  stop          ctrl-C")?;
    out.flush()?;
    Ok(())
}

impl From<StartError> for Failure {
    fn from(error: StartError) -> Self {
        match error {
            StartError::Settings(_) | StartError::Cache(_) => Self::input(error),
            _ => Self::machine(error),
        }
    }
}

impl From<CachesError> for Failure {
    fn from(error: CachesError) -> Self {
        Self::input(error)
    }
}

impl From<ServeError> for Failure {
    fn from(error: ServeError) -> Self {
        Self::input(error)
    }
}

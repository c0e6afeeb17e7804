//! `trimtab serve`: the system with its HTTP API and dashboard, until it is told to stop.

use std::error::Error;
use std::io::{self, Write};

use trimtab::cache::CachesError;
use trimtab::lock::Lease;
use trimtab::scheduler::{Job, Priority};
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
    // This program is its HTTP API, and nothing else is in its lanes: heavy requests are jobs, peers have a limit.
    let system = Trimtab::builder().loader(choice.loader()).guarded_admin(true).start().await?;
    trimtab::log::init(&system.settings().log);
    let serving = system.serving();
    let directory = own_directory(&system).await;
    open_caches(&system).await?;
    system.shutdown_on_signal();
    let server = system.bind().await?;
    announce(&system, &server)?;
    server.run().await;
    // After the last request was answered, so that what it stored is in the file.
    system.save_snapshots().await;
    drop((serving, directory));
    let stopped = system.shutdown().await;
    tracing::info!("{stopped}");
    Ok(())
}

/// Every cache of the settings exists from the start: this program has no code that would open them later. Those that read
/// back a snapshot do so at the same time.
async fn open_caches(system: &Trimtab) -> Result<(), Failure> {
    let open = |name: String| {
        let system = system.clone();
        let scheduler = system.scheduler().clone();
        scheduler.submit(Job::cpu(move || system.byte_cache(&name).map(drop)).name("open").priority(Priority::High))
    };
    let opening: Vec<_> = system.caches().names().into_iter().map(open).collect();
    for cache in opening {
        cache.await.map_err(Failure::machine)??;
    }
    Ok(())
}

/// Two programs that save to the same directory overwrite each other's snapshots: the second is warned. The lock is the
/// kernel's, so that it is free whatever happens to the first.
async fn own_directory(system: &Trimtab) -> Option<Lease> {
    let directory = system.settings().server.snapshots.clone()?;
    let url = format!("file:{}", directory.join(".locks").display());
    let taken =
        async { Ok::<_, Box<dyn Error>>(system.locks_at("snapshots", &url).await?.try_acquire("directory").await?) };
    match taken.await {
        Ok(Some(lease)) => return Some(lease),
        Ok(None) => {
            tracing::warn!(directory = %directory.display(), "another program saves its snapshots here too: the last one to stop overwrites the other's");
        }
        Err(error) => {
            tracing::warn!(directory = %directory.display(), %error, "whether other programs save their snapshots here is not known");
        }
    }
    None
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

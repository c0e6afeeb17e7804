//! `cargo xtask services`: real Redis and PostgreSQL for tests, by hand or around a command.
//!
//! Reading order: [`need`] says what there is to have, [`find`] and [`install`] get hold of the programs, [`launch`]
//! brings a server up, [`redis`] and [`postgres`] know their servers, [`state`] remembers what runs, [`process`] sends
//! the signals, and [`session`] ties services to the life of one command.
//!
//! Each set of services has a state file. The one started by hand is in the target folder; `run` and `test` have a
//! private one each, named in `XTASK_SERVICES_STATE`, so that several runs on one machine never meet.

pub(crate) mod find;
mod install;
mod launch;
pub(crate) mod need;
mod postgres;
mod process;
mod redis;
pub(crate) mod session;
mod state;

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use clap::{Args, Subcommand};

use self::install::say;
use self::launch::User;
use self::need::{Found, Need};
use self::process::Activity;
use self::session::{STATE_VARIABLE, Session};
use self::state::{Kind, State};
use crate::error::{ABSENT, Context, FAILED, Failure, Result, USAGE};
use crate::interrupt::Interrupt;
use crate::workspace;

/// What to do with the services.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The set of services to work on [default: services.json in the target folder]
    #[arg(long, global = true, value_name = "FILE", env = STATE_VARIABLE)]
    state: Option<PathBuf>,
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Start servers that stay until `stop`, and print their addresses
    Start {
        /// Which ones [default: all]
        services: Vec<Kind>,
        /// Use only what is on this machine
        #[arg(long)]
        no_install: bool,
    },
    /// Stop them and remove their data
    Stop,
    /// Say which run, where, and whether they answer
    Status,
    /// Print the variables that tests read, for `eval "$(cargo xtask services env)"`
    Env,
    /// Start a private set, run a command with it, stop the set
    Run {
        /// Use only what is on this machine
        #[arg(long)]
        no_install: bool,
        /// The command, after `--`
        #[arg(last = true, required = true, value_name = "CMD")]
        command: Vec<String>,
    },
    /// Kill one as a crash would (SIGKILL to all of its processes); its data stays
    Kill { service: Kind },
    /// Freeze one: its connections stay open and nothing answers (SIGSTOP)
    Pause { service: Kind },
    /// Let a frozen one go on (SIGCONT)
    Resume { service: Kind },
    /// Start one again on the same port and data, stopping it first if it runs
    Restart { service: Kind },
    /// Wait until the pipe on stdin closes, then stop everything; used by `run` and `test`
    #[command(hide = true)]
    Guard,
}

/// `cargo xtask services`.
///
/// # Errors
/// With exit code 3 when a program is not on this machine, 2 when a service was not started, 1 when it does not run;
/// `run` passes on the code of its command.
pub(crate) fn run(root: &Path, arguments: &Arguments) -> Result {
    let file = arguments.state.clone().unwrap_or_else(|| workspace::target(root).join("services.json"));
    match &arguments.action {
        Action::Start { services, no_install } => {
            let services = if services.is_empty() { &Kind::ALL[..] } else { services };
            start(&file, services, !no_install)
        }
        Action::Stop => {
            let names = State::read(&file)?.map(|state| names(&state)).unwrap_or_default();
            state::stop(&file);
            say(&if names.is_empty() { "none were started".into() } else { format!("stopped {names}") });
            Ok(())
        }
        Action::Status => status(&file),
        Action::Env => {
            for (name, value) in started(&file)?.variables() {
                println!("export {name}='{value}'");
            }
            println!("export {STATE_VARIABLE}='{}'", file.display());
            Ok(())
        }
        Action::Run { no_install, command } => around(command, !no_install),
        Action::Kill { service } => with(&file, *service, |s| s.process.kill()),
        Action::Pause { service } => with(&file, *service, |s| s.process.pause()),
        Action::Resume { service } => with(&file, *service, |s| s.process.resume()),
        Action::Restart { service } => try_with(&file, *service, state::Service::restart),
        Action::Guard => session::stand_guard(&file),
    }
}

/// Starts what does not run yet, into the state of this file.
fn start(file: &Path, services: &[Kind], install: bool) -> Result {
    let user = User::unprivileged()?;
    // What a reboot left behind names processes and a folder that are no more.
    if State::read(file)?.is_some_and(|state| !state.any_alive()) {
        state::stop(file);
    }
    let mut state = match State::read(file)? {
        Some(state) => state,
        None => State { folder: session::folder(user)?, services: Vec::new() },
    };
    let (known, new): (Vec<Kind>, Vec<Kind>) =
        services.iter().partition(|kind| state.services.iter().any(|service| service.kind == **kind));
    for kind in known {
        let service = state.service(kind)?;
        if service.process.activity() == Activity::Gone {
            service.restart()?;
        }
        say(&format!("{} runs already, on 127.0.0.1:{}", kind.name(), service.port));
    }
    let needs: Vec<_> = new.iter().map(|kind| Need::Service(*kind)).collect();
    let found = Found::provide(&needs, install);
    for kind in new {
        match session::start(kind, &found, &state.folder, user) {
            Ok(service) => state.services.extend(service),
            Err(error) => {
                state.stop(file);
                return Err(error);
            }
        }
    }
    if state.services.is_empty() {
        state.stop(file);
    } else {
        state.write(file)?;
        for (name, value) in state.variables() {
            println!("{name}={value}");
        }
    }
    if found.absent.is_empty() { Ok(()) } else { Err(Failure::new(found.absent.join("\n")).with_code(ABSENT)) }
}

fn status(file: &Path) -> Result {
    let state = started(file)?;
    let mut well = true;
    println!("{:<10} {:<10} {:<10} {:<18} {:>8}  address of tests", "service", "is", "version", "listens on", "pid");
    for service in &state.services {
        let word = match service.process.activity() {
            Activity::Running if service.answers() => "answering",
            Activity::Running => "silent",
            Activity::Paused => "paused",
            Activity::Gone => "gone",
        };
        well &= word == "answering";
        println!(
            "{:<10} {word:<10} {:<10} {:<18} {:>8}  {}",
            service.kind.name(),
            service.version,
            format!("127.0.0.1:{}", service.port),
            service.process.pid,
            service.url
        );
    }
    println!("data and logs: {}", state.folder.display());
    if well { Ok(()) } else { Err(Failure::new("not every service answers").with_code(FAILED)) }
}

/// Runs a command with a private set of services.
fn around(command: &[String], install: bool) -> Result {
    let interrupt = Interrupt::listen()?;
    let needs: Vec<_> = Kind::ALL.iter().map(|kind| Need::Service(*kind)).collect();
    let session = Session::open(&needs, install, &interrupt)?;
    if !session.absent.is_empty() {
        return Err(Failure::new(session.absent.join("\n")).with_code(ABSENT));
    }
    let mut program = Command::new(&command[0]);
    program.args(&command[1..]).envs(session.variables().iter().cloned());
    let terminal = std::io::stdin().is_terminal();
    if !terminal {
        // Without a terminal nobody else sends ctrl-C to the command, so it gets a group to send signals to.
        std::os::unix::process::CommandExt::process_group(&mut program, 0);
        program.stdin(Stdio::inherit());
    }
    let mut session = session;
    let mut child =
        program.spawn().while_trying(|| format!("start {}", command[0])).map_err(|failure| failure.with_code(USAGE))?;
    if terminal {
        interrupt.forward_to_process(child.id());
    } else {
        session.guard_group(Some(child.id()));
        interrupt.forward_to_group(child.id());
    }
    let ended = child.wait().while_trying(|| format!("wait for {}", command[0]))?;
    interrupt.forward_to_nobody();
    session.guard_group(None);
    drop(session);
    interrupt.check()?;
    match ended.code() {
        Some(0) => Ok(()),
        Some(code) => Err(Failure::new(format!("{}: {ended}", command[0])).with_code(u8::try_from(code).unwrap_or(1))),
        None => Err(Failure::new(format!("{}: {ended}", command[0]))),
    }
}

/// Does something with one service.
fn with(file: &Path, kind: Kind, act: impl FnOnce(&mut state::Service)) -> Result {
    try_with(file, kind, |service| {
        act(service);
        Ok(())
    })
}

/// Does something with one service and writes down what became of it.
fn try_with(file: &Path, kind: Kind, act: impl FnOnce(&mut state::Service) -> Result) -> Result {
    let mut state = started(file)?;
    act(state.service(kind)?)?;
    state.write(file)
}

fn started(file: &Path) -> Result<State> {
    State::read(file)?.ok_or_else(|| {
        Failure::new(format!(
            "no services were started ({} does not exist); see `cargo xtask services start`",
            file.display()
        ))
        .with_code(USAGE)
    })
}

fn names(state: &State) -> String {
    state.services.iter().map(|service| service.kind.name()).collect::<Vec<_>>().join(", ")
}

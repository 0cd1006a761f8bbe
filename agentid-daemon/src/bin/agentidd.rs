//! The service: arguments, settings, and who is connected to whom.

use std::{
    fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
    process::ExitCode,
};

use agentid_daemon::{
    control::server::Server as Control,
    kernel::{self, Options},
    metrics::http::Server as Metrics,
    names::{self, server::Server as Resolver, upstream::Upstream},
    settings::{self, Settings},
    supervisor::{
        command, folder,
        run::{Inbox, Supervisor},
        store::Store,
    },
};
use clap::{Parser, Subcommand};
use sd_notify::NotifyState;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::mpsc::{self, error::TrySendError},
};
use tracing::{error, info};

/// Something that stops the start.
type Failure = Box<dyn std::error::Error>;

/// Scrapes that may wait.
const SCRAPES: usize = 4;

/// Holds every run of an AI agent to its policy, in the kernel.
#[derive(Debug, Parser)]
#[command(name = "agentidd", version)]
struct Arguments {
    /// The configuration; every setting has a default
    #[arg(long, value_name = "FILE", default_value = "/etc/agentid/agentid.toml", global = true)]
    config: PathBuf,
    /// Validate the configuration and all policies, and touch nothing
    #[arg(long)]
    check: bool,
    /// Load and attach the kernel programs anew, even when those of this same version are still attached
    #[arg(long)]
    replace_programs: bool,
    #[command(subcommand)]
    verb: Option<Verb>,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// End enforcement: remove the programs and tables that outlive the service. Refused while a run lives
    Unload,
    /// The task that proves the enforcement; started by the daemon itself
    #[command(hide = true)]
    Canary,
    /// Load every program, attach none, and print how many instructions the verifier went through for each
    #[command(hide = true)]
    Verify {
        /// Where maps are pinned meanwhile, in a bpffs; nothing may be there
        folder: PathBuf,
    },
    /// Print how the kernel calls each LSM hook that there is a program for
    #[command(hide = true)]
    Hooks,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if let Some(Verb::Canary) = arguments.verb {
        return kernel::canary_main();
    }
    if let Some(Verb::Hooks) = arguments.verb {
        return report(hooks());
    }
    if let Some(Verb::Verify { folder }) = &arguments.verb {
        return report(verify(folder));
    }
    let done =
        settings::read(&arguments.config).map_err(Failure::from).and_then(
            |settings| match arguments.verb {
                Some(Verb::Unload) => unload(&settings),
                _ if arguments.check => check(&settings),
                _ => {
                    let anew = arguments.replace_programs;
                    serve(&settings, &Options { anew, ..options(&settings) })
                }
            },
        );
    report(done)
}

fn report(done: Result<(), Failure>) -> ExitCode {
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("agentidd: {}", chain(failure.as_ref()));
            ExitCode::FAILURE
        }
    }
}

/// Reads all policies; every mistake in any of them is printed.
fn policies(settings: &Settings) -> Result<Vec<folder::Text>, Failure> {
    folder::load(&settings.policies).map_err(|errors| {
        for error in &errors {
            eprintln!("{}", chain(error));
        }
        format!("{} mistakes in {}", errors.len(), settings.policies.display()).into()
    })
}

fn check(settings: &Settings) -> Result<(), Failure> {
    let policies = policies(settings)?;
    operators(settings)?;
    eprintln!("agentidd: the configuration and {} policies are valid", policies.len());
    Ok(())
}

fn unload(settings: &Settings) -> Result<(), Failure> {
    // With the lock held no daemon can be at work.
    let _store = Store::open(&settings.state)?;
    Ok(kernel::unload(&options(settings))?)
}

/// Prints TOML, one program in each line.
fn verify(folder: &Path) -> Result<(), Failure> {
    let mut counts = kernel::verify(folder)?;
    counts.sort();
    let mut out = std::io::stdout().lock();
    for (name, count) in counts {
        writeln!(out, "{name} = {count}")?;
    }
    Ok(out.flush()?)
}

/// Prints one prototype in each line, in the order of the hooks' names; nothing of a hook that the kernel does not have.
fn hooks() -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    for prototype in kernel::prototypes()?.into_iter().filter_map(|(_, prototype)| prototype) {
        writeln!(out, "{prototype}")?;
    }
    Ok(out.flush()?)
}

fn options(settings: &Settings) -> Options {
    Options {
        bpffs: settings.bpffs.clone(),
        anew: false,
        arguments: settings.record_arguments.most(),
    }
}

fn serve(settings: &Settings, options: &Options) -> Result<(), Failure> {
    log();
    let policies = policies(settings)?;
    let operators = operators(settings)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let (commands, waiting) = command::queues();
        let (scrapes, waiting_scrapes) = mpsc::channel(SCRAPES);
        // What another daemon or service may have is taken first, so that a refusal leaves all as it was.
        let store = Store::open(&settings.state)?;
        let metrics = match settings.metrics {
            Some(address) => Some(Metrics::bind(address, scrapes.clone()).await?),
            None => None,
        };
        let mut supervisor = Supervisor::start(settings, options, store, policies)?;
        let resolver = Resolver::bind(supervisor.resolver()?).await.map_err(no_port)?;
        supervisor.set_resolver(resolver.port())?;
        let (requests, names) = mpsc::channel(names::QUEUE);
        let control = Control::bind(&settings.control, operators, commands.clone())?;
        let mut servers = tokio::task::JoinSet::new();
        servers.spawn(control.serve(supervisor.tells_runs()?));
        let upstream = Upstream::new(settings.name_servers.clone());
        servers.spawn(resolver.serve(upstream, requests, supervisor.asking()?));
        if let Some(metrics) = metrics {
            servers.spawn(metrics.serve());
        }
        let stop = stop_requested()?;
        notify(&[NotifyState::Ready]);
        info!(control = %settings.control.display(), "serving");
        let reloads = reloads()?;
        let inbox = Inbox { commands: waiting, scrapes: waiting_scrapes, reloads, names };
        // Who has not asked for a sign of life may not be reading either, and a full socket would hold the daemon up.
        let watched = sd_notify::watchdog_enabled().is_some();
        let sign_of_life = || {
            if watched {
                notify(&[NotifyState::Watchdog]);
            }
        };
        supervisor.run(inbox, sign_of_life, stop).await?;
        notify(&[NotifyState::Stopping]);
        info!("stopping; what runs stays held to its policy");
        Ok(())
    })
}

fn no_port(source: io::Error) -> Failure {
    format!("listen for the names that runs ask for, at a port from 1002 to 1009: {source}").into()
}

/// Ready when the service manager or an operator wants the daemon to go.
fn stop_requested() -> Result<impl Future<Output = ()>, Failure> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

/// Has an element for each time that the policies are to be read again; several requests at once are one.
fn reloads() -> Result<mpsc::Receiver<()>, Failure> {
    let mut hangup = signal(SignalKind::hangup())?;
    let (request, reloads) = mpsc::channel(1);
    drop(tokio::spawn(async move {
        while hangup.recv().await.is_some() {
            match request.try_send(()) {
                Ok(()) | Err(TrySendError::Full(())) => {}
                Err(TrySendError::Closed(())) => return,
            }
        }
    }));
    Ok(reloads)
}

/// Number of the operators' group, as `/etc/group` has it.
fn operators(settings: &Settings) -> Result<Option<u32>, Failure> {
    let Some(name) = &settings.operators_group else { return Ok(None) };
    let groups = fs::read_to_string("/etc/group")?;
    let number = groups.lines().find_map(|line| {
        let mut fields = line.split(':');
        let found = fields.next() == Some(name);
        fields.nth(1).filter(|_| found)?.parse().ok()
    });
    match number {
        Some(number) => Ok(Some(number)),
        None => Err(format!("group {name:?} of operators_group is not in /etc/group").into()),
    }
}

fn notify(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        error!(%error, "the service manager cannot be told");
    }
}

fn log() {
    let filter = tracing_subscriber::EnvFilter::try_from_env("AGENTID_LOG");
    let filter =
        filter.unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info,hickory_net=error"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .without_time()
        .with_ansi(false)
        .init();
}

/// An error with its causes, on one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text += &format!(": {cause}");
        source = cause.source();
    }
    text
}

//! `tidewatch-collector`: reads what its configuration names and sends it to a Tidewatch server.

use std::{path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand};
use collector::{Clock, Config, config::Engine};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::mpsc,
};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

/// Reads hosts, databases and their logs, and sends what it read to a Tidewatch server.
#[derive(Debug, Parser)]
#[command(name = "tidewatch-collector", version)]
struct Arguments {
    /// Configuration file (YAML).
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// What is logged: error, warn, info, debug, or filters like collector=debug.
    #[arg(long, global = true, value_name = "FILTER", default_value = "info", env = "TIDEWATCH_LOG")]
    log: String,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Tries the server and every target, and says what works, what is missing and how to grant it.
    Check,
    /// Prints the statements that make a least-privilege account for the collector.
    Grants {
        /// postgresql, mysql or mariadb.
        #[arg(long, value_parser = ["postgresql", "mysql", "mariadb"])]
        engine: String,
        /// The account's name.
        #[arg(long, default_value = "tidewatch")]
        user: String,
    },
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if let Some(Command::Grants { engine, user }) = &arguments.command {
        let engines = [Engine::Postgresql, Engine::Mysql, Engine::Mariadb];
        let engine = engines.into_iter().find(|e| e.as_str() == engine).unwrap_or(Engine::Postgresql);
        print!("{}", collector::databases::grants(engine, user));
        return ExitCode::SUCCESS;
    }
    let Some(path) = &arguments.config else {
        eprintln!("tidewatch-collector: --config FILE is needed");
        return ExitCode::from(2);
    };
    let filter = match EnvFilter::try_new(&arguments.log) {
        Ok(filter) => filter,
        Err(e) => {
            eprintln!("tidewatch-collector: --log {:?}: {e}", arguments.log);
            return ExitCode::from(2);
        }
    };
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    let config = match Config::load(path) {
        Ok(config) => config,
        Err(e) => {
            eprintln!("{e}");
            return ExitCode::from(2);
        }
    };
    // One thread: a collector must stay a guest on the machine of its database.
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(e) => {
            eprintln!("tidewatch-collector: runtime: {e}");
            return ExitCode::FAILURE;
        }
    };
    runtime.block_on(async {
        match arguments.command {
            Some(Command::Check) => check(config).await,
            Some(Command::Grants { .. }) | None => run(config, path.clone()).await, // grants returned above
        }
    })
}

async fn run(config: Config, file: PathBuf) -> ExitCode {
    let shutdown = CancellationToken::new();
    tokio::spawn(cancel_on_signal(shutdown.clone()));
    let (ask, asked) = mpsc::channel(1);
    tokio::spawn(ask_on_hangup(ask));
    match collector::run_reloading(config, Some(file), asked, Clock::system(), shutdown).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            tracing::error!(error = %e, "collector could not run");
            ExitCode::FAILURE
        }
    }
}

async fn check(config: Config) -> ExitCode {
    let report = collector::check::check(&config).await;
    print!("{report}");
    if report.works() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// SIGHUP: the configuration is read anew.
async fn ask_on_hangup(ask: mpsc::Sender<()>) {
    match signal(SignalKind::hangup()) {
        Ok(mut hangups) => {
            while hangups.recv().await.is_some() {
                let _ = ask.try_send(()); // one that waits will read the newest file
            }
        }
        Err(e) => tracing::error!(error = %e, "SIGHUP can't be caught"),
    }
}

async fn cancel_on_signal(shutdown: CancellationToken) {
    let (terminate, interrupt) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()));
    match (terminate, interrupt) {
        (Ok(mut terminate), Ok(mut interrupt)) => {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            shutdown.cancel();
        }
        (Err(e), _) | (_, Err(e)) => tracing::error!(error = %e, "signals can't be caught"),
    }
}

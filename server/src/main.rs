//! `tidewatch`: reads the command line, the clock and the signals; everything else is the library's.

use std::{
    io::{IsTerminal, Write},
    process::ExitCode,
    time::Duration,
};

use clap::Parser;
use server::{
    ask,
    cli::{Check, Cli, Command, Notify, StorageWhat, Test},
    config::{Config, Overrides},
    notify,
    rule_commands::{self, TestOptions},
    serve, storage_commands, up, why,
};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

/// Gives memory back that questions and merges have left; why: `docs/decisions/allocator.md`.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let filter = match EnvFilter::try_new(&cli.log) {
        Ok(filter) => filter,
        Err(error) => {
            eprintln!("tidewatch: --log {:?}: {error}", cli.log);
            return ExitCode::from(2);
        }
    };
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    if cli.log_json {
        log.json().init()
    } else {
        log.init()
    }
    // One provider for every TLS connection; an error only says that it is installed already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("tidewatch: {error}");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(run(cli.command)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("tidewatch: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Serve { config, ports } => {
            let config = Config::load(&config)?.with(ports.into());
            let server = serve::start(config, host_name(), now_ms).await?;
            until_told_to_stop(&server).await?;
            server.stop().await;
        }
        Command::Up { config, statements_every, ports } => {
            let config = config.as_deref().map_or_else(Config::defaults, Config::load)?;
            run_up(config, statements_every.map(Duration::from_secs), ports.into()).await?;
        }
        Command::Check { what: Check::Config { file } } => {
            let config = Config::load(&file)?;
            let rules = &config.alerting;
            let groups = alerting::rule_file::load(&rules.rules, &rules.base, rules.evaluation_interval_ms)?;
            alerting::trees::load(rules)?;
            let rules: usize = groups.iter().map(|group| group.rules.len()).sum();
            let data_dir = config.store.data_dir.display();
            println!(
                "{}: correct; {rules} rules in {} groups of its own; data in {data_dir}",
                file.display(),
                groups.len()
            );
        }
        Command::Check { what: Check::Rules { files } } => tell(rule_commands::check(&files))?,
        Command::Test { what: Test::Rules { files, run, diff, junit } } => {
            tell(rule_commands::test(&files, &TestOptions { only: run, diff, junit }).await?)?;
        }
        Command::Notify { what: Notify::Test { receiver, config } } => {
            notify::test(&Config::load(&config)?.alerting, &receiver, now_ms).await?;
        }
        Command::Storage { what: StorageWhat::Verify { at } } => tell(storage_commands::verify(&at).await?)?,
        Command::Storage { what: StorageWhat::Inspect { parts } } => tell(storage_commands::inspect(&parts).await?)?,
        Command::Snapshot { server } => print!("{}", storage_commands::snapshot(&server).await?),
        Command::Restore { from, to } => print!("{}", storage_commands::restore(&from, &to).await?),
        Command::Why { alert, server, zh } => print!("{}", why::why(&server, &alert, zh).await?),
        Command::Query { language, server, output } => {
            say(&ask::ask(&server, &language, output, now_ms()).await?)?;
        }
    }
    Ok(())
}

/// Prints an answer; a reader that has seen enough, as `head` has, is no failure.
fn say(text: &str) -> anyhow::Result<()> {
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        written => Ok(written?),
    }
}

/// Prints a verdict; one that is not good ends the program with 1.
fn tell((text, good): rule_commands::Verdict) -> anyhow::Result<()> {
    print!("{text}");
    if good { Ok(()) } else { anyhow::bail!("not all is well") }
}

async fn run_up(config: Config, statements_every: Option<Duration>, mut overrides: Overrides) -> anyhow::Result<()> {
    if config.grpc_tls.is_some() {
        anyhow::bail!("grpc.tls: not with `up`, whose own collector connects in plain text over loopback; use `serve`");
    }
    if config.file.is_none() {
        overrides.data_dir.get_or_insert_with(|| up::DATA_DIR_DEFAULT.into());
    }
    let config = config.with(overrides);
    let data_dir = config.store.data_dir.clone();
    let server = serve::start(config, host_name(), now_ms).await?;
    println!("looking for databases on this host …");
    let mut found = up::look_around().await;
    if let Some(every) = statements_every {
        found.iter_mut().for_each(|one| one.config.intervals.statements = every);
    }
    print!("{}", up::describe(&found));
    println!("pages and API: http://{}", server.http);
    println!("collectors of other hosts connect to: http://{}", server.grpc);
    println!("data: {}; Ctrl-C stops", data_dir.display());
    let collector_stop = CancellationToken::new();
    let collector = up::collector_config(found, &data_dir, server.grpc);
    let collector = collector::run(collector, up::collector_clock(now_ms), collector_stop.clone());
    let mut collector = tokio::spawn(collector);
    tokio::select! {
        told = until_told_to_stop(&server) => told?,
        ended = &mut collector => {
            server.stop().await;
            ended??;
            anyhow::bail!("the collector ended");
        }
    }
    collector_stop.cancel(); // first, so that its last batches are still taken
    collector.await??;
    server.stop().await;
    Ok(())
}

/// Meanwhile SIGHUP reloads; how that went stands in the log and the metrics.
async fn until_told_to_stop(server: &serve::Server) -> anyhow::Result<()> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let mut hangup = signal(SignalKind::hangup())?;
    loop {
        tokio::select! {
            _ = terminate.recv() => break tracing::info!("SIGTERM: stopping"),
            _ = interrupt.recv() => break tracing::info!("SIGINT: stopping"),
            _ = hangup.recv() => drop(server.reloader.reload().await),
        }
    }
    Ok(())
}

/// The program's clock.
#[allow(clippy::disallowed_methods)] // the edge: everything below gets times as arguments
fn now_ms() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |d| i64::try_from(d.as_millis()).unwrap_or(i64::MAX))
}

/// This host's name, as the kernel knows it.
fn host_name() -> String {
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    if name.is_empty() { "localhost".into() } else { name }
}

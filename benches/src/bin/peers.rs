//! Ours beside Debian's VictoriaMetrics and Prometheus, fed the same bytes, asked the same questions.
//!
//! `cargo run --release --bin peers -- [--sizes small|middle|all] [--write benches/README.md]`; `--only sizes,memory,logs` leaves the
//! rest out; `--soak MINUTES` is the long run alone. `tidewatch` must be built in the same profile.

use std::path::PathBuf;

use anyhow::{Result, bail, ensure};
use benches::{
    measure::machine,
    server::Maker,
    size::{Length, Size},
    stage_logs, stage_memory, stage_sizes, stage_soak,
    table::put_between,
};
use clap::{Parser, ValueEnum};

/// Bytes of log lines unless said otherwise.
const LOG_MEGABYTES: u64 = 300;
/// Memory is measured after so many scrapes, when labels and series are most of it …
const FEW_SCRAPES: usize = 4;
/// … and after an hour of a scrape a minute, when the log is as long as restarts should expect.
const HOUR_SCRAPES: usize = 60;

#[derive(Parser)]
struct Arguments {
    /// How much.
    #[arg(long, value_enum, default_value_t = Sizes::Middle)]
    sizes: Sizes,
    /// Only these parts: sizes, memory, logs.
    #[arg(long, value_delimiter = ',', default_value = "sizes,memory,logs")]
    only: Vec<Stage>,
    /// Log lines, megabytes.
    #[arg(long, default_value_t = LOG_MEGABYTES)]
    log_megabytes: u64,
    /// Scrapes before memory is measured and the server killed, each a run of its own; 4 unless told, with all sizes also 60.
    #[arg(long, value_delimiter = ',')]
    memory_scrapes: Vec<usize>,
    /// Memory of these servers only; all unless told.
    #[arg(long, value_enum, value_delimiter = ',')]
    memory_servers: Vec<Maker>,
    /// Only the long run: this many minutes at a million series.
    #[arg(long)]
    soak: Option<u64>,
    /// Series of the long run.
    #[arg(long, default_value_t = 1_000_000)]
    soak_series: usize,
    /// Puts the report into a document, between `<!-- peers -->` or `<!-- soak -->` and its end mark.
    #[arg(long)]
    write: Option<PathBuf>,
    /// Where the servers' data goes; a temporary directory if not given. It must be empty.
    #[arg(long)]
    dir: Option<PathBuf>,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Stage {
    Sizes,
    Memory,
    Logs,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Sizes {
    /// 1 k series.
    Small,
    /// 1 k series for an hour, 10 k for each length: fits ten minutes.
    Middle,
    /// 1 k, 10 k, 100 k series, each 1 h, 6 h, 7 d.
    All,
}

impl Sizes {
    fn list(self) -> Vec<Size> {
        let mut list = Vec::new();
        for series in [1_000, 10_000, 100_000] {
            for length in [Length::Hour, Length::Hours, Length::Week] {
                let is_in = match self {
                    Sizes::Small => series == 1_000,
                    Sizes::Middle => series == 10_000 || series == 1_000 && length == Length::Hour,
                    Sizes::All => true,
                };
                if is_in {
                    list.push(Size { series, length });
                }
            }
        }
        list
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let dir = arguments
        .dir
        .clone()
        .unwrap_or_else(|| std::env::temp_dir().join(format!("tidewatch-peers-{}", std::process::id())));
    ensure!(!dir.exists() || dir.read_dir()?.next().is_none(), "{}: not empty", dir.display());
    std::fs::create_dir_all(&dir)?;
    let outcome = run(&arguments, &dir).await;
    let _ = std::fs::remove_dir_all(&dir); // what is left there is of no use
    outcome
}

async fn run(arguments: &Arguments, dir: &std::path::Path) -> Result<()> {
    let now_ms = now_ms();
    let date = chrono::DateTime::from_timestamp_millis(now_ms).unwrap_or_default().format("%Y-%m-%d %H:%M UTC");
    let mut report = format!("Last run {date}; {}.\n\n", machine());
    if let Some(minutes) = arguments.soak {
        let outcome = stage_soak::run(&dir.join("soak"), arguments.soak_series, minutes, self::now_ms).await?;
        finish(arguments, "soak", &(report + &outcome.report))?;
        ensure!(outcome.failures.is_empty(), "{}", outcome.failures.join("\n"));
        return Ok(());
    }
    for maker in Maker::ALL {
        report += &format!("- {}: {}\n", maker.name(), maker.version()?);
    }
    report.push('\n');
    let mut differ = 0;
    if arguments.only.contains(&Stage::Sizes) {
        let mut measured = Vec::new();
        for size in arguments.sizes.list() {
            eprintln!("{}: feeding and asking", size.name());
            let fresh = size.length == Length::Hour && size.series < 100_000;
            measured.push(stage_sizes::run(&dir.join("sizes"), size, now_ms, fresh).await?);
        }
        differ = measured.iter().map(stage_sizes::Measured::different).sum();
        report += &stage_sizes::report(&measured);
    }
    if arguments.only.contains(&Stage::Memory) {
        let mut measured = Vec::new();
        let all: &[usize] = if arguments.sizes == Sizes::Small { &[100_000] } else { &[100_000, 1_000_000] };
        let scrapes: &[usize] = match (&arguments.memory_scrapes[..], arguments.sizes) {
            ([], Sizes::All) => &[FEW_SCRAPES, HOUR_SCRAPES],
            ([], _) => &[FEW_SCRAPES],
            (told, _) => told,
        };
        let makers = if arguments.memory_servers.is_empty() { &Maker::ALL } else { &arguments.memory_servers[..] };
        for (scrapes, series) in scrapes.iter().flat_map(|scrapes| all.iter().map(|series| (*scrapes, *series))) {
            for maker in makers {
                eprintln!("memory of {} at {series} series, {scrapes} scrapes", maker.name());
                measured.push(stage_memory::run(&dir.join("memory"), *maker, series, scrapes, now_ms).await?);
            }
        }
        report += &stage_memory::report(&measured);
    }
    if arguments.only.contains(&Stage::Logs) {
        eprintln!("logs");
        report += &stage_logs::run(&dir.join("logs"), arguments.log_megabytes * 1_000_000, now_ms).await?;
    }
    finish(arguments, "peers", &report)?;
    if differ > 0 {
        bail!("{differ} answers of ours are not Prometheus'");
    }
    Ok(())
}

fn finish(arguments: &Arguments, mark: &str, report: &str) -> Result<()> {
    println!("{report}");
    arguments.write.as_ref().map_or(Ok(()), |path| put_between(path, mark, report))
}

/// The clock: data must be as young as stores demand, and the report bears its date.
#[allow(clippy::disallowed_methods, reason = "a bench reads the clock: it is what it measures")]
fn now_ms() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |d| i64::try_from(d.as_millis()).unwrap_or(i64::MAX))
}

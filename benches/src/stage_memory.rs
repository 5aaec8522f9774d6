//! Memory per active series, and the time from a kill to the first answer: one server at a time.

use std::path::Path;

use anyhow::{Result, ensure};
use tokio::time::Instant;

use crate::{
    feeding::feed,
    fleet::{Fleet, Rhythm},
    measure::memory_bytes,
    server::{Maker, Server, Settings},
    size::thousands,
    table::{Table, short},
};

/// Time between scrapes, milliseconds.
const STEP_MS: i64 = 15_000;

/// What was measured of one server.
pub struct Measured {
    maker: Maker,
    series: usize,
    scrapes: usize,
    label_bytes: usize,
    /// Resident, beyond what an empty server takes, bytes; the most of it.
    rss_bytes: u64,
    peak_bytes: u64,
    cpu_s: f64,
    restart_s: f64,
    restart_cpu_s: f64,
}

/// Feeds `scrapes` scrapes of so many series, kills the server, and waits for an answer.
pub async fn run(dir: &Path, maker: Maker, series: usize, scrapes: usize, now_ms: i64) -> Result<Measured> {
    let fleet = Fleet::new(series / crate::fleet::SERIES_PER_HOST);
    let (hosts, label_bytes) = (fleet.hosts(), fleet.label_bytes());
    let mut server = Server::start(maker, &dir.join(format!("{maker:?}")), Settings::default()).await?;
    let empty = memory_bytes(&server.pid(), "VmRSS:")?;
    let start_ms = (now_ms - STEP_MS * scrapes as i64).div_euclid(60_000) * 60_000 - 60_000;
    let rhythm = Rhythm { start_ms, step_ms: STEP_MS, scrapes };
    let fed = feed(std::slice::from_ref(&server), fleet, rhythm).await?;
    let rss_bytes = memory_bytes(&server.pid(), "VmRSS:")?.saturating_sub(empty);
    let peak_bytes = memory_bytes(&server.pid(), "VmHWM:")?;
    let begin = Instant::now();
    server.kill_and_start(Settings::default()).await?;
    let count = server.number(r#"count(up{job=~"node|postgres"})"#, rhythm.end_ms()).await?;
    let restart_s = begin.elapsed().as_secs_f64();
    // VictoriaMetrics promises what is older than a second or so; we and Prometheus what was acknowledged
    ensure!(maker == Maker::VictoriaMetrics || count == Some(hosts as f64), "{}: {count:?} of {hosts}", maker.name());
    let restart_cpu_s = crate::measure::cpu_s(&server.pid())?;
    server.remove()?;
    Ok(Measured {
        maker,
        series,
        scrapes,
        label_bytes,
        rss_bytes,
        peak_bytes,
        cpu_s: fed.iter().map(|f| f.cpu_s).sum(),
        restart_s,
        restart_cpu_s,
    })
}

/// The report, Markdown.
pub fn report(all: &[Measured]) -> String {
    let mut table = Table::new(&[
        "series",
        "scrapes",
        "server",
        "RSS, B/series",
        "of VM",
        "most, MiB",
        "ingest, CPU-s per M samples",
        "kill to first answer, s",
        "its CPU, s",
    ]);
    for m in all {
        let theirs =
            all.iter().find(|t| t.maker == Maker::VictoriaMetrics && t.series == m.series && t.scrapes == m.scrapes);
        let per_series = |m: &Measured| m.rss_bytes as f64 / m.series as f64;
        table.row(vec![
            thousands(m.series),
            m.scrapes.to_string(),
            m.maker.name().into(),
            short(per_series(m)),
            theirs.map_or("–".into(), |t| short(per_series(m) / per_series(t))),
            short(m.peak_bytes as f64 / 1_048_576.0),
            short(m.cpu_s / (m.series * m.scrapes) as f64 * 1e6),
            short(m.restart_s),
            short(m.restart_cpu_s),
        ]);
    }
    let labels = all.first().map_or(0.0, |m| m.label_bytes as f64 / m.series as f64);
    format!(
        "\n### Memory and restart\n\nResident memory after the last scrape beyond an empty server's; a series' labels are {labels:.0} bytes of text. \
         New series all come with the first scrape: its cost is in the CPU.\n\n{}",
        table.text()
    )
}

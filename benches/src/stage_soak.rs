//! A long run at many active series: scrapes in real time, flushes, merges and questions meanwhile; memory must end flat.

use std::{path::Path, time::Duration};

use anyhow::{Result, ensure};
use tokio::time::Instant;

use crate::{
    asking::ask_at,
    feeding::scrapes,
    fleet::{Fleet, Rhythm, SERIES_PER_HOST},
    measure::{median, memory_bytes},
    questions::QUESTIONS,
    server::{Maker, Server, Settings},
    size::{Length, Size, thousands},
    table::{Table, short},
};

/// Time between scrapes, milliseconds.
const STEP_MS: i64 = 15_000;
/// Parts are flushed this often, so that there is something to merge, milliseconds.
const FLUSH_AGE_MS: i64 = 60_000;
/// Most memory, bytes.
const MEMORY_BYTES_MAX: u64 = 24 << 30;
/// The last third may take so much more than the one before it.
const GROWTH_MAX: f64 = 1.10;

/// Feeds `series` for `minutes` in real time; gives the report, Markdown. `now_ms` is the clock.
pub async fn run(dir: &Path, series: usize, minutes: u64, now_ms: fn() -> i64) -> Result<String> {
    let settings = Settings { flush_age_ms: Some(FLUSH_AGE_MS), ..Settings::default() };
    let server = Server::start(Maker::Tidewatch, &dir.join("Tidewatch"), settings).await?;
    let fleet = Fleet::new(series / SERIES_PER_HOST);
    let start_ms = now_ms().div_euclid(60_000) * 60_000 - 60_000;
    let count = (minutes * 60_000) as usize / STEP_MS as usize;
    let rhythm = Rhythm { start_ms, step_ms: STEP_MS, scrapes: count };
    let mut made = scrapes(fleet, rhythm);
    let size = Size { series, length: Length::Hour };
    let began = Instant::now();
    let (mut resident, mut late, mut times, mut refused) = (Vec::new(), 0usize, Vec::new(), 0usize);
    let before = server.cpu_s()?;
    for n in 0..count {
        let Some(requests) = made.recv().await else { break };
        let due = began + Duration::from_millis(STEP_MS as u64 * n as u64);
        if Instant::now() > due + Duration::from_millis(STEP_MS as u64) {
            late += 1;
        }
        tokio::time::sleep_until(due).await;
        let end_ms = start_ms + STEP_MS * (n as i64 + 1);
        let question = &QUESTIONS[n % QUESTIONS.len()];
        let asking = async {
            let begin = Instant::now();
            let answer = ask_at(&server, question, &size, (end_ms - 600_000, end_ms)).await;
            (begin.elapsed().as_secs_f64(), answer.is_ok())
        };
        let (sent, (seconds, is_answered)) = tokio::join!(server.write(&requests), asking);
        sent?;
        times.push(seconds);
        refused += usize::from(!is_answered);
        resident.push(memory_bytes(&server.pid(), "VmRSS:")? as f64);
    }
    let cpu_s = server.cpu_s()? - before;
    let peak = memory_bytes(&server.pid(), "VmHWM:")?;
    let (flushes, merges) = (
        server.own_metric("tidewatch_storage_flushes_total").await?,
        server.own_metric("tidewatch_storage_compactions_total").await?,
    );
    let third = resident.len() / 3;
    let mean = |part: &[f64]| part.iter().sum::<f64>() / part.len().max(1) as f64;
    let (middle, last) = (mean(&resident[third..2 * third]), mean(&resident[2 * third..]));
    let count_up = server.number(r#"count(up{job=~"node|postgres"})"#, rhythm.end_ms()).await?;
    ensure!(count_up == Some((series / SERIES_PER_HOST) as f64), "{count_up:?} hosts are up at the end");
    server.remove()?;
    let mib = |bytes: f64| format!("{} MiB", short(bytes / 1_048_576.0));
    let mut table = Table::new(&["what", "measured"]);
    let mut row = |what: &str, measured: String| table.row(vec![what.into(), measured]);
    row(
        "samples",
        format!(
            "{:.1} M in {:.0} s; {late} of {count} scrapes late",
            (series * count) as f64 / 1e6,
            began.elapsed().as_secs_f64()
        ),
    );
    row(
        "CPU",
        format!(
            "{} CPU-s per M samples, questions and merges included",
            short(cpu_s / ((series * count) as f64 / 1e6))
        ),
    );
    row("flushes, merges", format!("{flushes:.0}, {merges:.0}"));
    row(
        "questions",
        format!("{} asked, {refused} not answered, median {} ms", times.len(), short(median(&mut times) * 1e3)),
    );
    row("resident, middle third", mib(middle));
    row("resident, last third", format!("{} = {} of the middle", mib(last), short(last / middle)));
    row("most", mib(peak as f64));
    row(
        "each minute",
        resident.iter().step_by(4).map(|r| format!("{:.0}", r / 1_048_576.0)).collect::<Vec<_>>().join(" "),
    );
    let report = format!("\n### {} active series for {minutes} minutes\n\n{}", thousands(series), table.text());
    ensure!(peak <= MEMORY_BYTES_MAX, "more memory than {MEMORY_BYTES_MAX}:\n{report}");
    ensure!(last <= middle * GROWTH_MAX, "memory still grows:\n{report}");
    ensure!(refused == 0, "questions went unanswered:\n{report}");
    Ok(report)
}

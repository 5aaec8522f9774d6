//! A long run at many active series: scrapes in real time, flushes, merges and questions meanwhile; memory must end flat.

use std::{path::Path, time::Duration};

use anyhow::Result;
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
/// Questions are about so long a time before the last scrape, milliseconds.
const ASKED_MS: i64 = 600_000;
/// Memory of so many scrapes is one number of the report; not as many as there are in a minute, when flushes are.
const TOLD_EVERY: usize = 3;
/// Questions are asked in an order that spreads those about everything, which stand at the list's end, over the whole run.
const QUESTION_STRIDE: usize = 27;
/// Memory and CPU are said after every so many scrapes.
const SAID_EVERY: usize = 4;
/// Most memory, bytes.
const MEMORY_BYTES_MAX: u64 = 24 << 30;
/// The last third may take so much more than the one before it.
const GROWTH_MAX: f64 = 1.10;

/// What a run has shown.
pub struct Outcome {
    /// Markdown.
    pub report: String,
    /// What was promised and not kept, one line each.
    pub failures: Vec<String>,
}

/// What was seen while it ran.
#[derive(Default)]
struct Seen {
    /// Before each scrape, when what the question before it needed has been given back, bytes.
    resident: Vec<f64>,
    /// After each scrape and its question, bytes.
    busy: Vec<f64>,
    /// Scrapes that came later than the next was due.
    late: usize,
    /// Of each question, seconds.
    times: Vec<f64>,
    /// The question that took longest, seconds.
    slowest: (f64, &'static str),
    /// Questions without an answer, and what was said instead.
    unanswered: Vec<String>,
}

/// Feeds `series` for `minutes` in real time. `now_ms` is the clock.
pub async fn run(dir: &Path, series: usize, minutes: u64, now_ms: fn() -> i64) -> Result<Outcome> {
    let settings = Settings { flush_age_ms: Some(FLUSH_AGE_MS), ..Settings::default() };
    let server = Server::start(Maker::Tidewatch, &dir.join("Tidewatch"), settings).await?;
    let fleet = Fleet::new(series / SERIES_PER_HOST);
    // samples are as young as a scraper's: rules that watch for hosts that went silent are on
    let start_ms = (now_ms() - STEP_MS).div_euclid(1000) * 1000;
    let count = (minutes * 60_000) as usize / STEP_MS as usize;
    let rhythm = Rhythm { start_ms, step_ms: STEP_MS, scrapes: count };
    let mut made = scrapes(fleet, rhythm);
    let size = Size { series, length: Length::Hour };
    let began = Instant::now();
    let mut seen = Seen::default();
    let before = server.cpu_s()?;
    for n in 0..count {
        let Some(requests) = made.recv().await else { break };
        let due = began + Duration::from_millis(STEP_MS as u64 * n as u64);
        if Instant::now() > due + Duration::from_millis(STEP_MS as u64) {
            seen.late += 1;
        }
        tokio::time::sleep_until(due).await;
        seen.resident.push(memory_bytes(&server.pid(), "VmRSS:")? as f64);
        let end_ms = start_ms + STEP_MS * (n as i64 + 1);
        let question = &QUESTIONS[n * QUESTION_STRIDE % QUESTIONS.len()];
        let asking = async {
            let begin = Instant::now();
            let answer = ask_at(&server, question, &size, (end_ms - ASKED_MS, end_ms)).await;
            (begin.elapsed().as_secs_f64(), answer)
        };
        let (sent, (seconds, answer)) = tokio::join!(server.write(&requests), asking);
        sent?;
        seen.times.push(seconds);
        if seconds > seen.slowest.0 {
            seen.slowest = (seconds, question.name);
        }
        if let Err(error) = answer {
            seen.unanswered.push(format!("{:?} after {} s: {error:#}", question.name, short(seconds)));
        }
        seen.busy.push(memory_bytes(&server.pid(), "VmRSS:")? as f64);
        if n % SAID_EVERY == 0 {
            let mib = |bytes: f64| bytes / 1_048_576.0;
            let (seconds, cpu_s) = (began.elapsed().as_secs(), server.cpu_s()? - before);
            eprintln!("{seconds:>4} s: {:.0}, {:.0} MiB, {cpu_s:.0} CPU-s", mib(seen.resident[n]), mib(seen.busy[n]));
        }
    }
    let took_s = began.elapsed().as_secs_f64();
    let cpu_s = server.cpu_s()? - before;
    let outcome = seen.judge(&server, rhythm, series, minutes, (took_s, cpu_s)).await?;
    server.remove()?;
    Ok(outcome)
}

impl Seen {
    /// The report, and what of it is not as promised.
    async fn judge(
        mut self,
        server: &Server,
        rhythm: Rhythm,
        series: usize,
        minutes: u64,
        (took_s, cpu_s): (f64, f64),
    ) -> Result<Outcome> {
        let peak = memory_bytes(&server.pid(), "VmHWM:")?;
        let own = async |name: &str| server.own_metric(&format!("tidewatch_storage_{name}")).await;
        let allocated = server.own_metric("tidewatch_memory_allocated_bytes").await?;
        let (flushes, flushed) = (own("flushes_total").await?, own("flushed_bytes_total").await?);
        let (merges, merged) = (own("compactions_total").await?, own("compacted_bytes_total").await?);
        let (head, cache) = (own("head_bytes").await?, own("read_cache_bytes").await?);
        let parts = own("parts").await?;
        let third = self.resident.len() / 3;
        // the median: a flush or a merge that has just begun is no growth, but it is in the most
        let (middle, last) = (self.resident[third..2 * third].to_vec(), self.resident[2 * third..].to_vec());
        let [middle, last] = [middle, last].map(|mut part| median(&mut part));
        let up = server.number(r#"count(up{job=~"node|postgres"})"#, rhythm.end_ms()).await?;
        let mib = |bytes: f64| format!("{} MiB", short(bytes / 1_048_576.0));
        let millions = (series * rhythm.scrapes) as f64 / 1e6;
        let mut table = Table::new(&["what", "measured"]);
        let mut row = |what: &str, measured: String| table.row(vec![what.into(), measured]);
        let late = format!("{} of {} scrapes late", self.late, rhythm.scrapes);
        row("samples", format!("{millions:.1} M in {took_s:.0} s; {late}"));
        let per_million = short(cpu_s / millions);
        row("CPU", format!("{per_million} CPU-s per M samples; questions, rules, flushes and merges included"));
        row("flushes, merges", format!("{flushes:.0} ({}), {merges:.0} ({})", mib(flushed), mib(merged)));
        let (asked, slowest) = (self.times.len(), format!("slowest {:?} {} s", self.slowest.1, short(self.slowest.0)));
        let middle_ms = short(median(&mut self.times) * 1e3);
        let unanswered = self.unanswered.len();
        row("questions", format!("{asked} asked, {unanswered} not answered, median {middle_ms} ms, {slowest}"));
        self.unanswered.iter().for_each(|what| row("not answered", what.replace(['|', '\n'], " ")));
        row("resident before a scrape, middle third, median", mib(middle));
        row("the same, last third", format!("{} = {} of the middle", mib(last), short(last / middle)));
        row("most", mib(peak as f64));
        let each = |all: &[f64]| {
            all.iter().step_by(TOLD_EVERY).map(|r| format!("{:.0}", r / 1_048_576.0)).collect::<Vec<_>>().join(" ")
        };
        row("every third scrape, before it, MiB", each(&self.resident));
        row("after its question, MiB", each(&self.busy));
        let of_it = format!("{} in the head, {} of parts in the read cache", mib(head), mib(cache));
        let held = format!("{} allocated, of it {of_it}; {parts:.0} parts", mib(allocated));
        row("at the end", held);
        let mut failures = Vec::new();
        if peak > MEMORY_BYTES_MAX {
            failures.push(format!("{} of memory, more than {}", mib(peak as f64), mib(MEMORY_BYTES_MAX as f64)));
        }
        if last > middle * GROWTH_MAX {
            failures.push(format!("memory grew by {} at the end, {GROWTH_MAX} may be", short(last / middle)));
        }
        failures.extend(self.unanswered.into_iter().map(|what| format!("a question was not answered: {what}")));
        let hosts = (series / SERIES_PER_HOST) as f64;
        if up != Some(hosts) {
            failures.push(format!("{up:?} of {hosts} hosts are up at the end"));
        }
        if flushes < 1.0 || merges < 1.0 {
            failures.push(format!("{flushes:.0} flushes and {merges:.0} merges: there was to be one of each"));
        }
        let verdict = match failures.len() {
            0 => "Everything was as promised.".to_owned(),
            _ => format!("**Failed**: {}.", failures.join("; ")),
        };
        let title = format!("{} active series for {minutes} minutes", thousands(series));
        Ok(Outcome { report: format!("\n### {title}\n\n{verdict}\n\n{}", table.text()), failures })
    }
}

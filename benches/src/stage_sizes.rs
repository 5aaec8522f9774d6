//! Ingest, disk and questions at each size: all three servers side by side, fed together, asked in turn.

use std::{path::Path, time::Duration};

use anyhow::Result;
use tokio::time::Instant;

use crate::{
    asking::{Asking, ask},
    feeding::{Fed, feed},
    fleet::Fleet,
    server::{Maker, Server},
    size::{Length, Size},
    table::{Table, short},
};

/// The size whose questions are shown one by one: the last of these that was asked.
const SHOWN: [Size; 3] = [
    Size { series: 10_000, length: Length::Hour },
    Size { series: 10_000, length: Length::Hours },
    Size { series: 100_000, length: Length::Hour },
];
/// How long what was taken may stay hidden from questions.
const SHOWN_WITHIN: Duration = Duration::from_secs(30);
/// Time between two looks.
const LOOK_INTERVAL: Duration = Duration::from_millis(200);
/// Where our own and VictoriaMetrics' numbers stand in lists.
const OURS: usize = 0;
const THEIRS: usize = 1;
const RIGHT: usize = 2;

/// What was measured at one size; lists have a place for each of [`Maker::ALL`].
pub struct Measured {
    size: Size,
    fed: Vec<Fed>,
    /// Settling: CPU, seconds.
    settle_cpu_s: Vec<f64>,
    disk_bytes: Vec<u64>,
    /// Answers from what has just come, and from what is settled.
    fresh: Option<Asking>,
    settled: Asking,
}

/// Feeds and asks one size; `fresh` asks before things are settled as well.
pub async fn run(dir: &Path, size: Size, now_ms: i64, fresh: bool) -> Result<Measured> {
    let mut servers = Vec::new();
    for maker in Maker::ALL {
        servers.push(Server::start(maker, &dir.join(format!("{maker:?}")), size.settings()).await?);
    }
    let rhythm = size.rhythm(now_ms);
    let fed = feed(&servers, Fleet::new(size.hosts()), rhythm).await?;
    for server in &servers {
        until_shown(server, &size, rhythm.end_ms()).await?;
    }
    let fresh = if fresh { Some(ask(&servers, &size, now_ms).await?) } else { None };
    let (mut settle_cpu_s, mut disk_bytes) = (Vec::new(), Vec::new());
    for server in &mut servers {
        let before = server.cpu_s()?;
        disk_bytes.push(server.settle(size.settings()).await?);
        settle_cpu_s.push(server.cpu_s()? - before);
    }
    let settled = ask(&servers, &size, now_ms).await?;
    for server in servers {
        server.remove()?;
    }
    Ok(Measured { size, fed, settle_cpu_s, disk_bytes, fresh, settled })
}

/// Waits until a server shows all hosts at `at_ms`: on a busy machine VictoriaMetrics may not, just after it was told to.
async fn until_shown(server: &Server, size: &Size, at_ms: i64) -> Result<()> {
    let query = format!("count(count_over_time(up[{}ms]))", size.settings().lookback_ms);
    let end = Instant::now() + SHOWN_WITHIN;
    loop {
        server.show().await?;
        let count = server.number(&query, at_ms).await?;
        if count == Some(size.hosts() as f64) {
            return Ok(());
        }
        anyhow::ensure!(Instant::now() < end, "{} has {count:?} hosts", server.maker.name());
        tokio::time::sleep(LOOK_INTERVAL).await;
    }
}

fn ratio(ours: f64, theirs: f64) -> String {
    if theirs > 0.0 { short(ours / theirs) } else { "–".into() }
}

/// `a / b / c` of the three servers.
fn three(of: impl Fn(usize) -> f64) -> String {
    (0..Maker::ALL.len()).map(|i| short(of(i))).collect::<Vec<_>>().join(" / ")
}

/// The report of all sizes, Markdown.
pub fn report(all: &[Measured]) -> String {
    let mut out = String::from(
        "### Ingest by remote write, and disk\n\nTidewatch / VictoriaMetrics / Prometheus; ratios: ours to theirs.\n\n",
    );
    let mut table = Table::new(&[
        "series × time",
        "samples, M",
        "ingest, CPU-s per M",
        "of VM",
        "of Prom",
        "settling, CPU-s per M",
        "wall, s",
        "disk, B/sample",
        "of VM",
        "of Prom",
    ]);
    for m in all {
        let millions = m.size.samples() as f64 / 1e6;
        let cpu = |i: usize| m.fed[i].cpu_s / millions;
        let disk = |i: usize| m.disk_bytes[i] as f64 / m.size.samples() as f64;
        table.row(vec![
            m.size.name(),
            short(millions),
            three(cpu),
            ratio(cpu(OURS), cpu(THEIRS)),
            ratio(cpu(OURS), cpu(RIGHT)),
            three(|i| m.settle_cpu_s[i] / millions),
            three(|i| m.fed[i].wall_s),
            three(disk),
            ratio(disk(OURS), disk(THEIRS)),
            ratio(disk(OURS), disk(RIGHT)),
        ]);
    }
    out += &table.text();
    out += "\n### Questions\n\nSums over all questions: medians of the wall clock, and CPU; memory at its peak while asked.\n\n";
    let mut table = Table::new(&[
        "series × time",
        "from",
        "medians, ms",
        "of VM",
        "of Prom",
        "CPU, ms",
        "of VM",
        "of Prom",
        "peak, MiB",
        "not equal to Prometheus': ours",
        "VM's",
    ]);
    for m in all {
        for (from, asking) in [("fresh", m.fresh.as_ref()), ("settled", Some(&m.settled))] {
            let Some(asking) = asking else { continue };
            table.row(vec![
                m.size.name(),
                from.into(),
                three(|i| asking.sum_s(i) * 1e3),
                ratio(asking.sum_s(OURS), asking.sum_s(THEIRS)),
                ratio(asking.sum_s(OURS), asking.sum_s(RIGHT)),
                three(|i| asking.cpu_s(i) * 1e3),
                ratio(asking.cpu_s(OURS), asking.cpu_s(THEIRS)),
                ratio(asking.cpu_s(OURS), asking.cpu_s(RIGHT)),
                three(|i| asking.peaks[i] as f64 / 1_048_576.0),
                format!("{} of {}", asking.different(OURS), asking.rows.len()),
                format!("{} of {}", asking.different(THEIRS), asking.rows.len()),
            ]);
        }
    }
    out += &table.text();
    out += &linear(all);
    if let Some(m) = all.iter().rev().find(|m| SHOWN.iter().any(|s| s.name() == m.size.name())) {
        out += &one_by_one(m);
    }
    out += &of_theirs(all);
    for m in all {
        for (from, asking) in [("fresh", m.fresh.as_ref()), ("settled", Some(&m.settled))] {
            for row in asking.into_iter().flat_map(|a| &a.rows) {
                if let Some(difference) = &row.differences[OURS] {
                    out += &format!("\nNot equal, {} {from}, {}: {difference}\n", m.size.name(), row.question.name);
                }
            }
        }
    }
    out
}

/// Cost against samples: it grows as they do.
fn linear(all: &[Measured]) -> String {
    let mut table =
        Table::new(&["series × time", "samples, M", "all questions, CPU-ms", "CPU-ms per M samples stored"]);
    for m in all {
        let (cpu_ms, millions) = (m.settled.cpu_s(OURS) * 1e3, m.size.samples() as f64 / 1e6);
        table.row(vec![m.size.name(), short(millions), short(cpu_ms), short(cpu_ms / millions)]);
    }
    format!("\n### Our cost against samples\n\n{}", table.text())
}

/// Each question at each size: our median, and how much of VictoriaMetrics' that is.
fn of_theirs(all: &[Measured]) -> String {
    let names: Vec<String> = all.iter().map(|m| m.size.name()).collect();
    let header: Vec<&str> = std::iter::once("question").chain(names.iter().map(String::as_str)).collect();
    let mut table = Table::new(&header);
    let rows = all.first().map_or(&[][..], |m| &m.settled.rows);
    for (at, row) in rows.iter().enumerate() {
        let cell = |m: &Measured| {
            let asked = &m.settled.rows[at].asked;
            let (ours, theirs) = (asked[OURS].median_s, asked[THEIRS].median_s);
            format!("{} ({})", short(ours * 1e3), ratio(ours, theirs))
        };
        table.row(std::iter::once(row.question.name.to_owned()).chain(all.iter().map(cell)).collect());
    }
    format!("\n### Each question at each size, settled: ours, ms (of VM)\n\n{}", table.text())
}

fn one_by_one(m: &Measured) -> String {
    let mut table = Table::new(&["question", "points", "medians, ms", "of VM", "of Prom", "equal: ours", "VM's"]);
    for row in &m.settled.rows {
        let yes = |i: usize| if row.differences[i].is_none() { "yes" } else { "**no**" }.to_owned();
        let median = |i: usize| row.asked[i].median_s;
        table.row(vec![
            row.question.name.into(),
            row.points.to_string(),
            three(|i| median(i) * 1e3),
            ratio(median(OURS), median(THEIRS)),
            ratio(median(OURS), median(RIGHT)),
            yes(OURS),
            yes(THEIRS),
        ]);
    }
    format!("\n### Each question, {}, settled\n\n{}", m.size.name(), table.text())
}

impl Measured {
    /// How many of our answers are not Prometheus'.
    pub fn different(&self) -> usize {
        self.settled.different(OURS) + self.fresh.as_ref().map_or(0, |fresh| fresh.different(OURS))
    }
}

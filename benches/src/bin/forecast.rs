//! How well forecasts foresee: every series' end is hidden, the rest is foreseen, and both are compared.
//!
//! `cargo run --release -p benches --bin forecast -- [CAPTURE.jsonl.zst]` prints one row a family of generated series and, given a
//! capture of real exporters, one row a kind of its series: MASE on the back-test (what the choice saw) and on the hidden end (what
//! it did not), both beside seasonal-naive's; how much of the end lay in the 80 % interval; what was said and what came of a limit
//! in the end; models chosen; CPU a series. Ends with an error if a chosen model was worse than the baseline on its back-test.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};
use benches::families::{Chance, FAMILIES, FUTURE, PAST, STEP_MS};
use clap::Parser;
use diagnosis::forecast::{BASELINE, Direction, Forecast, Question, Threshold, forecast};

/// Share of values the intervals shall hold.
const CONFIDENCE: f64 = 0.8;
/// Distance of values of the capture, milliseconds.
const CAPTURE_STEP_MS: i64 = 2_000;
/// Steps of the capture's end that are hidden.
const CAPTURE_FUTURE: usize = 90;

/// Neighbours on either side whose median with a value is its level.
const LEVEL_REACH: usize = 3;

#[derive(Parser)]
struct Arguments {
    /// A capture: `{"metric": {labels}, "values": [...], "timestamps": [ms...]}` a line, zstd.
    capture: Option<PathBuf>,
    /// Series of each family.
    #[arg(long, default_value_t = 40)]
    series: u64,
    /// Only families and kinds whose name holds this text.
    #[arg(long, default_value = "")]
    only: String,
    /// Prints every series.
    #[arg(long)]
    each: bool,
}

/// Sums over the series of a family.
#[derive(Default)]
struct Row {
    series: usize,
    refused: usize,
    worse: usize,
    better: usize,
    ratio_backtest: Vec<f64>,
    ratio_hidden: Vec<f64>,
    mase: Vec<f64>,
    mase_hidden: Vec<f64>,
    inside: usize,
    hidden: usize,
    coverage: f64,
    models: BTreeMap<&'static str, usize>,
    /// Limits that were reached in the end: said so, of which in the interval; and times said over times taken.
    reached: usize,
    said: usize,
    in_time: usize,
    off: Vec<f64>,
    /// Limits that were not reached, and how many were said to be.
    spared: usize,
    false_alarms: usize,
    cpu_s: f64,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let mut worse = 0;
    header("generated families, 1 h steps: 28 days seen, 4 days hidden");
    for (number, family) in FAMILIES.iter().enumerate().filter(|(_, f)| f.name.contains(&arguments.only)) {
        let mut row = Row::default();
        for seed in 0..arguments.series {
            let values = (family.make)(&mut Chance::new(1 + seed + 1_000 * number as u64));
            let samples: Vec<(i64, f64)> = (0..).map(|i| i * STEP_MS).zip(values).collect();
            row.add(&samples, PAST, FUTURE, STEP_MS, arguments.each)?;
        }
        worse += row.print(family.name);
    }
    if let Some(capture) = &arguments.capture {
        header("capture of real exporters, 2 s steps: half an hour seen, the last 3 minutes hidden");
        for (kind, all) in read(capture)?.into_iter().filter(|(kind, _)| kind.contains(&arguments.only)) {
            let mut row = Row::default();
            for samples in all {
                let seen = samples.len() - CAPTURE_FUTURE;
                row.add(&samples, seen, CAPTURE_FUTURE, CAPTURE_STEP_MS, arguments.each)?;
            }
            worse += row.print(kind);
        }
    }
    println!("\nchosen models worse than seasonal-naive on their own back-test: {worse}");
    ensure!(worse == 0, "the promise that no chosen model is worse than the baseline on its back-test is broken");
    Ok(())
}

fn header(title: &str) {
    println!("\n{title}\n");
    println!(
        "| series | n | MASE back-test | of naive's | MASE hidden | of naive's | in 80 % band (back-test) | limits reached: told, in band, off | not reached: false | chosen | CPU ms |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|---|");
}

impl Row {
    /// Foresees one series from its first `seen` samples and compares with the `hidden` that follow.
    fn add(&mut self, samples: &[(i64, f64)], seen: usize, hidden: usize, step_ms: i64, each: bool) -> Result<()> {
        let (past, end) = samples.split_at(seen);
        // limits are about the level, not about single values that stick out of it
        let level = smoothed(samples);
        let (past_level, end_level) = level.split_at(seen);
        let high = |part: &[(i64, f64)]| part.iter().map(|s| s.1).fold(f64::NEG_INFINITY, f64::max);
        let low = past_level.iter().map(|s| s.1).fold(f64::INFINITY, f64::min);
        let (before, after) = (high(past), high(end_level));
        // half way to the new high, or a tenth of the range beyond the old one: reached or spared; neither: not counted
        let is_reached = after > before + 0.02 * (before - low);
        let value = if is_reached { before + 0.5 * (after - before) } else { before + 0.1 * (before - low) };
        let is_spared = !is_reached && high(end) < value;
        let threshold =
            (before > low && (is_reached || is_spared)).then_some(Threshold { direction: Direction::Above, value });
        let question = Question {
            end_ms: past.last().map_or(0, |s| s.0),
            step_ms,
            horizon_ms: hidden as i64 * step_ms,
            confidence: CONFIDENCE,
            threshold,
        };
        let began = cpu_s()?;
        let found = forecast(past, &question);
        self.cpu_s += cpu_s()? - began;
        self.series += 1;
        let Ok(found) = found else {
            self.refused += 1;
            return Ok(());
        };
        *self.models.entry(found.model).or_default() += 1;
        let (mase, naive) = (found.quality.mase, found.quality.mase_baseline);
        if let (Some(mase), Some(naive)) = (mase, naive) {
            self.worse += usize::from(mase > naive);
            self.better += usize::from(mase < naive);
            self.mase.push(mase);
            self.ratio_backtest.push(if naive > 0.0 { mase / naive } else { 1.0 });
        }
        self.coverage += found.quality.coverage;
        let (error, naive_error) = hidden_errors(&found, end, step_ms);
        if naive_error > 0.0 {
            self.ratio_hidden.push(error / naive_error);
        }
        if mase.is_some_and(|m| m > 0.0) {
            self.mase_hidden.push(error / mae_scale(&found));
        }
        for (point, came) in found.future.iter().zip(end) {
            self.hidden += 1;
            self.inside += usize::from((point.low..=point.high).contains(&came.1));
        }
        if threshold.is_some() {
            self.limit(&found, end_level, value, is_reached, question.end_ms);
        }
        if each {
            println!("{} {:?} hidden {error:.3} naive {naive_error:.3}", found.model, found.quality);
        }
        Ok(())
    }

    fn limit(&mut self, found: &Forecast, end: &[(i64, f64)], limit: f64, is_reached: bool, now_ms: i64) {
        let crossing = found.crossing.unwrap_or_default();
        if !is_reached {
            self.spared += 1;
            self.false_alarms += usize::from(crossing.at_ms.is_some());
            return;
        }
        self.reached += 1;
        let Some(came) = end.iter().find(|s| s.1 >= limit).map(|s| s.0) else { return };
        let Some(said) = crossing.at_ms else { return };
        self.said += 1;
        let within = crossing.from_ms.is_some_and(|f| f <= came) && crossing.to_ms.is_none_or(|t| came <= t);
        self.in_time += usize::from(within);
        self.off.push((said - came).abs() as f64 / (came - now_ms).max(1) as f64);
    }

    /// Prints the row; gives how many series break the promise.
    fn print(&mut self, name: &str) -> usize {
        let answered = (self.series - self.refused).max(1) as f64;
        let models = {
            let mut all: Vec<_> = self.models.iter().collect();
            all.sort_by_key(|(_, n)| std::cmp::Reverse(**n));
            all.iter().map(|(m, n)| format!("{m} {n}")).collect::<Vec<_>>().join(", ")
        };
        let refused = if self.refused > 0 { format!(" ({} refused)", self.refused) } else { String::new() };
        let limits = match self.reached {
            0 => "–".into(),
            n if self.off.is_empty() => format!("{n}: {}, {}, –", self.said, self.in_time),
            n => format!("{n}: {}, {}, {:.0} %", self.said, self.in_time, 100.0 * median(&mut self.off)),
        };
        println!(
            "| {name} | {}{refused} | {} | {} | {} | {} | {:.0} % ({:.0} %) | {limits} | {}: {} | {models} | {:.1} |",
            self.series,
            typical(&mut self.mase),
            typical(&mut self.ratio_backtest),
            typical(&mut self.mase_hidden),
            typical(&mut self.ratio_hidden),
            100.0 * self.inside as f64 / self.hidden.max(1) as f64,
            100.0 * self.coverage / answered,
            self.spared,
            self.false_alarms,
            1000.0 * self.cpu_s / self.series.max(1) as f64,
        );
        self.worse
    }
}

/// Mean absolute errors on the hidden end: of the forecast and of seasonal-naive.
fn hidden_errors(found: &Forecast, end: &[(i64, f64)], step_ms: i64) -> (f64, f64) {
    let steps = found.future.len().min(end.len());
    let past: Vec<f64> = found.history.iter().filter(|p| p.0 >= found.since_ms).map(|p| p.1).collect();
    let seasons: Vec<usize> = found.seasons_ms.iter().map(|ms| (ms / step_ms) as usize).collect();
    let naive = (BASELINE.predict)(&past, &seasons, steps).unwrap_or_default();
    let mean =
        |of: &dyn Fn(usize) -> f64| (0..steps).map(|i| (end[i].1 - of(i)).abs()).sum::<f64>() / steps.max(1) as f64;
    (mean(&|i| found.future[i].mid), mean(&|i| naive.get(i).copied().unwrap_or(f64::NAN)))
}

/// What a MASE was scaled by: the mean error of looking one season back over the past that counts.
fn mae_scale(found: &Forecast) -> f64 {
    let past: Vec<f64> = found.history.iter().filter(|p| p.0 >= found.since_ms).map(|p| p.1).collect();
    let step_ms = found.history.windows(2).map(|w| w[1].0 - w[0].0).next().unwrap_or(1);
    let lag = found.seasons_ms.iter().map(|ms| (ms / step_ms) as usize).filter(|p| *p <= past.len() / 2).max();
    let lag = lag.unwrap_or(1);
    let pairs = past.len().saturating_sub(lag).max(1);
    past.iter().skip(lag).zip(&past).map(|(a, b)| (a - b).abs()).sum::<f64>() / pairs as f64
}

/// The median of each value and its neighbours.
fn smoothed(samples: &[(i64, f64)]) -> Samples {
    let around = |i: usize| {
        let part = &samples[i.saturating_sub(LEVEL_REACH)..(i + LEVEL_REACH + 1).min(samples.len())];
        median(&mut part.iter().map(|s| s.1).collect::<Vec<_>>())
    };
    samples.iter().enumerate().map(|(i, s)| (s.0, around(i))).collect()
}

/// The median as text; a dash where there is nothing to take it of.
fn typical(values: &mut [f64]) -> String {
    if values.is_empty() { "–".into() } else { format!("{:.2}", median(values)) }
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// CPU seconds of this process.
fn cpu_s() -> Result<f64> {
    let text = std::fs::read_to_string("/proc/self/schedstat").context("/proc/self/schedstat")?;
    Ok(text.split(' ').next().unwrap_or("0").parse::<f64>()? / 1e9)
}

type Samples = Vec<(i64, f64)>;

/// The capture's series by kind, thinned to the bench's step.
fn read(path: &Path) -> Result<BTreeMap<&'static str, Vec<Samples>>> {
    #[derive(serde::Deserialize)]
    struct Line {
        metric: BTreeMap<String, String>,
        values: Vec<Option<f64>>,
        timestamps: Vec<i64>,
    }
    let file = std::fs::File::open(path).with_context(|| path.display().to_string())?;
    let mut kinds: BTreeMap<&'static str, Vec<Samples>> = BTreeMap::new();
    for line in BufReader::new(zstd::Decoder::new(file)?).lines() {
        let line: Line = serde_json::from_str(&line?)?;
        let mut samples: Samples = Vec::new();
        for (ts, value) in line.timestamps.iter().zip(&line.values) {
            let Some(value) = value.filter(|v| v.is_finite()) else { continue };
            let ts_ms = ts / CAPTURE_STEP_MS * CAPTURE_STEP_MS;
            match samples.last_mut() {
                Some(last) if last.0 == ts_ms => last.1 = value,
                _ => samples.push((ts_ms, value)),
            }
        }
        if samples.len() < 4 * CAPTURE_FUTURE {
            continue;
        }
        let name = line.metric.get("__name__").map_or("", String::as_str);
        let still = samples.iter().all(|s| s.1 == samples[0].1);
        let grows = samples.windows(2).all(|w| w[1].1 >= w[0].1);
        let kind = match (still, grows) {
            (true, _) => "constant",
            (false, true) if name.ends_with("_total") || name.ends_with("_count") || name.ends_with("_sum") => {
                "counters"
            }
            (false, true) => "other that only grow",
            (false, false) => "gauges",
        };
        kinds.entry(kind).or_default().push(samples);
    }
    Ok(kinds)
}

//! What is computed a column at a time has the bits of what is computed window by window.

use futures::executor::block_on;
use proto::Labels;

use super::{AnswerValue, Engine, Features, MemorySource, Options, Point, STALE_NAN_BITS, never_stop};

const FUNCTIONS: &[&str] = &[
    "rate(m[W])",
    "increase(m[W])",
    "delta(m[W])",
    "irate(m[W])",
    "idelta(m[W])",
    "sum_over_time(m[W])",
    "avg_over_time(m[W])",
    "min_over_time(m[W])",
    "max_over_time(m[W])",
    "count_over_time(m[W])",
    "present_over_time(m[W])",
    "first_over_time(m[W])",
    "last_over_time(m[W])",
    "stddev_over_time(m[W])",
    "stdvar_over_time(m[W])",
    "quantile_over_time(0.95, m[W])",
    "quantile_over_time(scalar(m{n=\"0\"}) % 3 / 2, m[W])",
    "changes(m[W])",
    "resets(m[W])",
    "deriv(m[W])",
    "predict_linear(m[W], 3600)",
    "rate(m[W] offset 3m)",
    "rate(m[W] @ 1000)",
    "sum_over_time(rate(m[W])[10m:1m])",
];

/// What series of databases look like: counters that are reset, gauges, constants, numbers that are none; regular and late
/// scrapes `step` ms apart, gaps, ends.
fn series(rng: &mut fastrand::Rng, step: i64) -> Vec<(i64, f64)> {
    let kind = rng.usize(0..6);
    let jitter = if rng.bool() { 1 } else { step / 3 + 1 };
    let (mut t, mut v) = (rng.i64(0..100_000), if rng.bool() { 0.0 } else { rng.f64() * 1e9 });
    let mut out = Vec::new();
    for _ in 0..rng.usize(0..400) {
        t += step;
        if rng.u32(0..60) == 0 {
            t += step * rng.i64(1..40);
        }
        v = match kind {
            0 if rng.u32(0..30) == 0 => rng.f64(),
            0 => v + rng.f64() * 10.0,
            1 => (v + f64::from(rng.u32(0..3))).floor(),
            2 => (rng.f64() - 0.5) * 1e3,
            3 => 42.0,
            4 => *rng.choice(&[f64::NAN, f64::INFINITY, -f64::INFINITY, 1.0, 1e308, -1e308]).unwrap_or(&0.0),
            _ => (rng.f64() * 8.0).floor(),
        };
        let stale = rng.u32(0..80) == 0;
        out.push((t + rng.i64(0..jitter), if stale { f64::from_bits(STALE_NAN_BITS) } else { v }));
    }
    out
}

fn options() -> Options {
    Options { features: Features::all(), threads_max: 1, ..Options::default() }
}

/// Every number of an answer: labels, time, bits.
fn bits(value: AnswerValue) -> Vec<(String, i64, u64)> {
    let AnswerValue::Matrix(series) = value else { return Vec::new() };
    let of = |s: super::MatrixSeries| {
        let labels = s.labels.to_string();
        s.floats.into_iter().map(move |(t, v)| (labels.clone(), t, if v.is_nan() { u64::MAX } else { v.to_bits() }))
    };
    series.into_iter().flat_map(of).collect()
}

#[test]
#[allow(clippy::unwrap_used)]
fn columns_equal_windows() {
    let windows = Engine::new(Options { per_step_stats: true, ..options() });
    let columns = Engine::new(options());
    let mut numbers = 0;
    for seed in 0..120 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut source = MemorySource::new();
        let scraped = rng.i64(1..40) * 1000;
        for n in 0..rng.usize(1..6) {
            let every = if rng.bool() { scraped } else { rng.i64(1..40) * 1000 };
            let samples = series(&mut rng, every);
            for copy in 0..rng.usize(1..3) {
                let labels = [("__name__", "m"), ("n", &n.to_string()), ("copy", &copy.to_string())];
                let labels = Labels::from_pairs(labels);
                samples.iter().for_each(|(t, v)| source.insert(&labels, *t, Point::Float(*v), 0));
            }
        }
        let range = format!("[{}s]", rng.u32(1..900));
        // graphs often have a point for each scrape, and windows that each begin one sample after the one before
        let (start, step) = (rng.i64(-100_000..500_000), if rng.bool() { scraped } else { rng.i64(1..120_000) });
        let end = start + step * rng.i64(0..200);
        for function in FUNCTIONS {
            let text = function.replace("[W]", &range);
            let ask = |engine: &Engine| {
                block_on(engine.evaluate_range(&source, &text, (start, end, step), &never_stop)).unwrap()
            };
            let (expected, found) = (ask(&windows), ask(&columns));
            assert_eq!(expected.stats.queried, found.stats.queried, "seed {seed}: {text}: samples looked at");
            let (expected, found) = (bits(expected.value), bits(found.value));
            numbers += expected.len();
            let different = expected.iter().zip(&found).find(|(e, f)| e != f);
            assert_eq!(different, None, "seed {seed}: {text} from {start} to {end} every {step}");
            assert_eq!(expected.len(), found.len(), "seed {seed}: {text}: numbers");
        }
    }
    assert!(numbers > 100_000, "{numbers} numbers compared");
}

#[test]
#[allow(clippy::unwrap_used)]
fn threads_hand_on_in_order() {
    let mut source = MemorySource::new();
    for n in 0..1500 {
        let labels = Labels::from_pairs([("__name__", "m"), ("n", &format!("{n:05}"))]);
        (0..100).for_each(|t| source.insert(&labels, t * 10_000, Point::Float((t * n) as f64 / 7.0), 0));
    }
    let ask = |threads_max, text: &str| {
        let engine = Engine::new(Options { threads_max, ..Options::default() });
        bits(block_on(engine.evaluate_range(&source, text, (0, 990_000, 10_000), &never_stop)).unwrap().value)
    };
    for text in ["sum(m)", "sum(rate(m[1m]))", "avg(m)", "m", "max_over_time(m[1m])"] {
        assert_eq!(ask(1, text), ask(3, text), "{text}");
    }
    let failing = Engine::new(Options { threads_max: 3, ..Options::default() });
    let failed = block_on(failing.evaluate_range(
        &source,
        "label_replace(sum_over_time(m[1m]), \"n\", \"\", \"n\", \".*\")",
        (0, 990_000, 10_000),
        &never_stop,
    ));
    assert!(failed.is_err(), "series that became the same are an error on every thread");
}

//! What both are fed: the capture of real exporters that `CAPTURE_FILE` names, and always a shop of our own with what a quiet
//! machine doesn't show: resets, gaps, ends, infinities, NaN, negative numbers, ties. Times are moved so that the last sample
//! stands two minutes before [`NOW_MS`]; what they are below the second stays, and is never [`OFF_EDGE_MS`].

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader},
};

/// The only time there is for our server, milliseconds.
pub const NOW_MS: i64 = 1_790_000_000_000;
/// Where the samples begin and end.
pub const FIRST_MS: i64 = LAST_MS - 1_560_000;
const LAST_MS: i64 = NOW_MS - 120_000;
/// The part below the second of every time a query is evaluated at. No sample has it, so none lies on the edge of a window of
/// whole seconds, where Prometheus 2 and 3 differ.
pub const OFF_EDGE_MS: i64 = 500;
/// Prometheus' marker of a series that ended.
const STALE: u64 = 0x7ff0_0000_0000_0002;

/// One series.
pub struct Series {
    /// Its labels, the metric's name among them.
    pub labels: BTreeMap<String, String>,
    /// Times (milliseconds) and values.
    pub samples: Vec<(i64, f64)>,
    /// Times and native histograms.
    pub histograms: Vec<(i64, proto::Histogram)>,
}

#[derive(serde::Deserialize)]
struct Line {
    metric: BTreeMap<String, String>,
    values: Vec<Option<f64>>,
    timestamps: Vec<i64>,
}

/// The capture, of each series every `every`th sample.
pub fn capture(path: &str, every: usize) -> Vec<Series> {
    let file = std::fs::File::open(path).unwrap_or_else(|e| panic!("{path}: {e}"));
    let lines = BufReader::new(zstd::Decoder::new(file).unwrap()).lines();
    let mut all: Vec<Series> = lines
        .map(|line| {
            let line: Line = serde_json::from_str(&line.unwrap()).unwrap();
            let values = line.values.into_iter().map(|v| v.unwrap_or(f64::NAN));
            let samples = line.timestamps.into_iter().zip(values).collect();
            Series { labels: line.metric, samples, histograms: Vec::new() }
        })
        .collect();
    let last_ms = all.iter().filter_map(|s| s.samples.last()).map(|s| s.0).max().unwrap_or(0);
    let later_ms = (LAST_MS - last_ms).div_euclid(1000) * 1000;
    for series in &mut all {
        series.samples = series.samples.iter().step_by(every).map(|(at, v)| (at + later_ms, *v)).collect();
        let first = series.samples.first().map_or(0, |s| s.0);
        assert!(first.rem_euclid(1000) != OFF_EDGE_MS, "a sample of the capture may lie on the edge of a window");
    }
    all
}

/// The shop: one sample every five seconds.
pub fn shop() -> Vec<Series> {
    let mut dice = fastrand::Rng::with_seed(5);
    let mut out = Vec::new();
    let times = |ms: i64| (0..=312).map(move |i| FIRST_MS + i * 5_000 + ms);
    let mut add = |name: &str, labels: &[(&str, &str)], samples: Vec<(i64, f64)>| {
        let pairs = labels.iter().map(|(n, v)| (n.to_string(), v.to_string()));
        let labels = pairs.chain([("__name__".to_owned(), name.to_owned()), ("job".into(), "shop".into())]).collect();
        out.push(Series { labels, samples, histograms: Vec::new() });
    };
    for (shop, ms) in [("north", 101), ("south", 202), ("west", 303)] {
        add("shop_info", &[("shop", shop), ("version", &format!("1.{ms}"))], times(ms).map(|t| (t, 1.0)).collect());
        for (kind, most) in [("book", 3), ("card", 40), ("gift", 1), ("toy", 1000)] {
            let (mut total, labels) = (f64::from(most) * 7.0, [("shop", shop), ("kind", kind)]);
            let counter = |t| {
                total = if dice.u32(..90) == 0 { 0.0 } else { total + f64::from(dice.i32(0..=most)) };
                (t, total)
            };
            add("shop_orders_total", &labels, times(ms).map(counter).collect());
            let stock = times(ms).map(|t| (t, f64::from(dice.i32(-3..=3)))).collect();
            add("shop_stock", &labels, stock);
        }
        let (mut warm, mut gone) = (f64::from(ms as i32) / 7.0 - 30.0, 0);
        let mut gauge = Vec::new();
        for t in times(ms) {
            warm += dice.f64() - 0.5;
            match (gone, dice.u32(..40)) {
                (0, 0) => {
                    gauge.push((t, f64::from_bits(STALE)));
                    gone = dice.u32(1..20);
                }
                (0, 1) => gone = dice.u32(1..80),
                (0, _) => gauge.push((t, warm)),
                _ => gone -= 1,
            }
        }
        add("shop_temperature_celsius", &[("shop", shop)], gauge);
        let bounds = ["0.005", "0.05", "0.5", "5", "+Inf"];
        let mut counts = [0.0; 5];
        let mut buckets: [Vec<(i64, f64)>; 5] = Default::default();
        let (mut sum, mut sums) = (0.0, Vec::new());
        for t in times(ms) {
            for _ in 0..dice.u32(..9) {
                let seconds = 0.001 * 10f64.powf(dice.f64() * 4.2);
                sum += seconds;
                let fits = bounds.iter().map(|b| b.parse().unwrap_or(f64::INFINITY)).position(|b: f64| seconds <= b);
                counts[fits.unwrap_or(4)..].iter_mut().for_each(|c| *c += 1.0);
            }
            buckets.iter_mut().zip(counts).for_each(|(b, c)| b.push((t, c)));
            sums.push((t, sum));
        }
        let observed = buckets[4].clone();
        for (bound, samples) in bounds.iter().zip(buckets) {
            add("shop_wait_seconds_bucket", &[("shop", shop), ("le", bound)], samples);
        }
        add("shop_wait_seconds_sum", &[("shop", shop)], sums);
        add("shop_wait_seconds_count", &[("shop", shop)], observed);
    }
    let odd = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 0.0, -0.0, 1e300, -1e300, 1e-300, 4.9e-324, 0.1, -7.5];
    for (i, value) in odd.iter().enumerate() {
        let kind = format!("k{i}");
        add("shop_odd", &[("kind", &kind)], times(404).map(|t| (t, *value)).collect());
    }
    let mixed = times(404).map(|t| (t, odd[dice.usize(..odd.len())])).collect();
    add("shop_odd", &[("kind", "mixed")], mixed);
    add("shop_late", &[("shop", "new")], times(404).skip(150).map(|t| (t, 5.0)).collect());
    add("shop_early", &[("shop", "old")], times(404).take(100).map(|t| (t, 5.0)).collect());
    out
}

/// Appends a number as protobuf does.
pub fn put_varint(out: &mut Vec<u8>, mut rest: u64) {
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

/// Appends a field of bytes.
pub fn put_bytes(out: &mut Vec<u8>, number: u8, bytes: &[u8]) {
    out.push(number << 3 | 2);
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// A write request of Prometheus' remote write 1.0, compressed.
pub fn write_request(series: &[Series]) -> Vec<u8> {
    let (mut request, mut one, mut part) = (Vec::new(), Vec::new(), Vec::new());
    for s in series {
        one.clear();
        for (name, value) in &s.labels {
            part.clear();
            put_bytes(&mut part, 1, name.as_bytes());
            put_bytes(&mut part, 2, value.as_bytes());
            put_bytes(&mut one, 1, &part);
        }
        for (at_ms, value) in &s.samples {
            part.clear();
            part.push(0x09);
            part.extend_from_slice(&value.to_le_bytes());
            part.push(0x10);
            put_varint(&mut part, *at_ms as u64);
            put_bytes(&mut one, 2, &part);
        }
        for (at_ms, histogram) in &s.histograms {
            put_bytes(&mut one, 4, &super::native::message(*at_ms, histogram));
        }
        put_bytes(&mut request, 1, &one);
    }
    snap::raw::Encoder::new().compress_vec(&request).unwrap()
}

//! Native histograms beside Debian's Prometheus 2.42: sent to both, asked of both. Custom buckets, which 2.42 does not know, are
//! asked of ours and compared with what Prometheus makes of the same observations in classic buckets.

use std::sync::Arc;

use collector::Clock;
use proto::histogram::{Counts, Histogram, Layout, ResetHint, SCHEMA_CUSTOM, Shape, Span};
use serde_json::Value;

use tests::wait::until;

use super::{
    peers::{Peers, When, difference, same},
    samples::{FIRST_MS, NOW_MS, Series},
    skipped, whens,
};

/// How many samples a series has, and how far apart.
const SAMPLES: i64 = 312;
const STEP_MS: i64 = 5_000;
/// Until Prometheus has sent on what it was sent.
pub const ARRIVAL: std::time::Duration = std::time::Duration::from_secs(60);
/// Bounds of the custom buckets, and of the classic ones beside them.
const BOUNDS: [f64; 4] = [0.005, 0.05, 0.5, 5.0];

/// Observations in buckets of any index, as a client counts them.
#[derive(Clone, Default)]
struct Counted {
    sum: f64,
    zero: u64,
    positive: std::collections::BTreeMap<i32, u64>,
    negative: std::collections::BTreeMap<i32, u64>,
}

impl Counted {
    fn observe(&mut self, value: f64, schema: i32) {
        self.sum += value;
        let side = match value {
            v if v.abs() <= ZERO_THRESHOLD => return self.zero += 1,
            v if v < 0.0 => &mut self.negative,
            _ => &mut self.positive,
        };
        let index = (value.abs().log2() * 2f64.powi(schema)).ceil() as i32;
        *side.entry(index).or_default() += 1;
    }

    fn histogram(&self, schema: i32, hint: ResetHint, is_float: bool) -> Histogram {
        let shape = Shape {
            hint,
            schema,
            zero_threshold: ZERO_THRESHOLD,
            positive: spans(self.positive.keys()),
            negative: spans(self.negative.keys()),
            bounds: Vec::new(),
        };
        let buckets: Vec<u64> = self.positive.values().chain(self.negative.values()).copied().collect();
        let all = self.zero + buckets.iter().sum::<u64>();
        build(shape, self.sum, [all, self.zero].into_iter().chain(buckets).collect(), is_float)
    }
}

const ZERO_THRESHOLD: f64 = 0.001;

fn build(shape: Shape, sum: f64, counts: Vec<u64>, is_float: bool) -> Histogram {
    let counts = match is_float {
        true => Counts::Floats(counts.iter().map(|n| *n as f64 / 4.0).collect()),
        false => Counts::Integers(counts),
    };
    Histogram::new(Arc::new(Layout::new(shape).unwrap()), sum, counts).unwrap()
}

fn spans<'a>(indices: impl Iterator<Item = &'a i32>) -> Vec<Span> {
    let (mut spans, mut next) = (Vec::<Span>::new(), 0);
    for index in indices {
        match spans.last_mut() {
            Some(span) if *index == next => span.length += 1,
            _ => spans.push(Span { offset: index - next, length: 1 }),
        }
        next = index + 1;
    }
    spans
}

fn stale() -> Histogram {
    build(Shape::default(), f64::from_bits(proto::samples::STALE_MARKER_BITS), vec![0, 0], false)
}

fn series(name: &str, shop: &str, histograms: Vec<(i64, Histogram)>) -> Series {
    let labels = [("__name__", name), ("job", "shop"), ("shop", shop)];
    let labels = labels.into_iter().map(|(n, v)| (n.to_owned(), v.to_owned())).collect();
    Series { labels, samples: Vec::new(), histograms }
}

fn times() -> impl Iterator<Item = i64> {
    (0..=SAMPLES).map(|i| FIRST_MS + i * STEP_MS + 101)
}

/// Counters of four shops, one of them coarser than the others, one that begins anew, one that is away for a while, of integers and of
/// floats (a quarter of the integers); a counter that ended; a gauge with negative observations.
fn shops() -> Vec<Series> {
    let mut dice = fastrand::Rng::with_seed(11);
    let mut out = Vec::new();
    for (shop, schema) in [("north", 3), ("south", 3), ("west", 0), ("east", 2)] {
        let mut counted = Counted::default();
        (0..4_000).for_each(|_| counted.observe(0.002 * 10f64.powf(dice.f64() * 2.0), schema));
        let (mut integers, mut floats) = (Vec::new(), Vec::new());
        for (at, time) in times().enumerate() {
            if (shop, at) == ("north", 200) {
                counted = Counted::default();
            }
            for _ in 0..dice.u32(..30) {
                let rare = if dice.u8(..60) == 0 { 3.0 } else { 0.0 };
                counted.observe(0.0005 * 10f64.powf(dice.f64() * 3.0 + rare), schema);
            }
            if shop != "south" || !(120..140).contains(&at) {
                integers.push((time, counted.histogram(schema, ResetHint::Unknown, false)));
                floats.push((time, counted.histogram(schema, ResetHint::Unknown, true)));
            }
        }
        if shop == "east" {
            let mut ended = integers[..200].to_vec();
            ended.push((integers[200].0, stale()));
            out.push(series("shop_native_ended", shop, ended));
        }
        out.push(series("shop_native_seconds", shop, integers));
        out.push(series("shop_native_float_seconds", shop, floats));
    }
    let gauge = times().map(|time| {
        let mut counted = Counted::default();
        (0..50).for_each(|_| counted.observe(dice.f64() * 8.0 - 4.0, 1));
        (time, counted.histogram(1, ResetHint::Gauge, true))
    });
    let gauge = series("shop_native_balance", "north", gauge.collect());
    out.push(gauge);
    out
}

/// The same observations as a native histogram with custom buckets, and as a classic one.
fn custom_and_classic() -> (Series, Vec<Series>) {
    let mut dice = fastrand::Rng::with_seed(12);
    let (mut counts, mut sum) = (vec![0u64; BOUNDS.len() + 1], 0.0);
    let mut classic = vec![Vec::new(); BOUNDS.len() + 1];
    let mut custom = Vec::new();
    for time in times() {
        for _ in 0..1 + dice.u32(..20) {
            let value = 0.001 * 10f64.powf(dice.f64() * 4.2);
            counts[BOUNDS.iter().position(|bound| value <= *bound).unwrap_or(BOUNDS.len())] += 1;
            sum += value;
        }
        let mut below = 0;
        for (count, samples) in counts.iter().zip(&mut classic) {
            below += count;
            samples.push((time, below as f64));
        }
        let positive = vec![Span { offset: 0, length: BOUNDS.len() as u32 + 1 }];
        let shape = Shape { schema: SCHEMA_CUSTOM, positive, bounds: BOUNDS.to_vec(), ..Shape::default() };
        let all = [below, 0].into_iter().chain(counts.iter().copied()).collect();
        custom.push((time, build(shape, sum, all, false)));
    }
    let classic = classic.into_iter().enumerate().map(|(at, samples)| {
        let mut of = series("shop_classic_seconds_bucket", "north", Vec::new());
        of.labels.insert("le".into(), BOUNDS.get(at).map_or("+Inf".into(), f64::to_string));
        Series { samples, ..of }
    });
    (series("shop_custom_seconds", "north", custom), classic.collect())
}

/// Asked of both, and answered alike to 1e-9. Windows are of floats: of integers 2.42 makes windows of zeros.
const EQUAL: &[&str] = &[
    "shop_native_seconds",
    "shop_native_seconds{shop=\"west\"}",
    "shop_native_seconds offset 2m",
    "shop_native_float_seconds",
    "shop_native_ended",
    "shop_native_balance",
    "histogram_count(shop_native_seconds)",
    "histogram_sum(shop_native_seconds)",
    "histogram_count(shop_native_balance)",
    "histogram_sum(shop_native_balance)",
    "rate(shop_native_float_seconds[2m])",
    "increase(shop_native_float_seconds[37s])",
    "histogram_count(rate(shop_native_float_seconds[2m]))",
    "histogram_sum(increase(shop_native_float_seconds[3m]))",
    "histogram_sum(delta(shop_native_balance[1m]))",
    "sum(shop_native_seconds)",
    "sum by (job) (shop_native_seconds{shop!=\"east\"})",
    "sum(rate(shop_native_float_seconds[2m]))",
    "histogram_count(sum(rate(shop_native_float_seconds[2m])))",
    "histogram_sum(sum by (shop) (rate(shop_native_float_seconds[2m])))",
    "count(shop_native_seconds)",
    "count by (shop) (shop_native_seconds)",
    "group(shop_native_seconds)",
    "shop_native_seconds + on (job, shop) shop_native_float_seconds",
    "histogram_count(shop_native_seconds) / on (shop) histogram_sum(shop_native_seconds)",
    "shop_native_seconds and on (shop) shop_native_balance",
    "shop_native_seconds unless on (shop) shop_native_balance",
    "count_over_time(shop_native_seconds[1m])",
    "present_over_time(shop_native_seconds[1m])",
    "absent(shop_native_seconds)",
    "absent_over_time(shop_native_seconds[1m])",
    "timestamp(shop_native_seconds)",
    // bounds of buckets of all these schemas: nothing is interpolated
    "histogram_fraction(0.0625, 0.5, shop_native_seconds)",
    "histogram_fraction(-Inf, 1, rate(shop_native_float_seconds[2m]))",
    "histogram_fraction(-2, 0.5, shop_native_balance)",
];

/// Windows of integers asked of ours, and of the quarters of them asked of Prometheus.
const QUARTERED: &[(&str, &str)] = &[
    ("histogram_count(rate(shop_native_seconds[2m]))", "4 * histogram_count(rate(shop_native_float_seconds[2m]))"),
    (
        "histogram_count(increase(shop_native_seconds[37s]))",
        "4 * histogram_count(increase(shop_native_float_seconds[37s]))",
    ),
    ("histogram_sum(rate(shop_native_seconds[3m]))", "histogram_sum(rate(shop_native_float_seconds[3m]))"),
    (
        "histogram_fraction(0.125, 1, sum(rate(shop_native_seconds[2m])))",
        "histogram_fraction(0.125, 1, sum(rate(shop_native_float_seconds[2m])))",
    ),
];

/// Asked of both, and answered with a number of the same bucket: Prometheus 3 interpolates within it exponentially, 2.42 linearly.
const SAME_BUCKET: &[(&str, &str)] = &[
    ("0.5", "shop_native_seconds"),
    ("0.9", "shop_native_seconds{shop=\"west\"}"),
    ("0.99", "rate(shop_native_float_seconds[2m])"),
    ("0.75", "sum(rate(shop_native_float_seconds[2m]))"),
    ("0.3", "shop_native_balance"),
    ("0.95", "shop_native_balance"),
];

#[tokio::test(flavor = "multi_thread")]
async fn native_histograms_are_answered_as_prometheus_does() {
    if skipped() {
        return;
    }
    let peers = Peers::start(&shops()).await;
    let mut wrong = Vec::new();
    for query in EQUAL {
        for when in whens() {
            let [ours, theirs] = peers.ask(query, when).await;
            let may_be_empty = query.starts_with("absent") || *query == "shop_native_ended";
            let is_told = ours.error == theirs.error && (may_be_empty || result(&ours.data) > 0);
            if !is_told || !same_json(&sorted(&ours.data), &sorted(&theirs.data)) {
                wrong
                    .push(format!("{query} {when:?}:\n    {:.600}\n  instead of\n    {:.600}", ours.data, theirs.data));
            }
        }
    }
    for (of_ours, of_theirs) in QUARTERED {
        for when in whens() {
            let ([ours, _], [_, theirs]) = (peers.ask(of_ours, when).await, peers.ask(of_theirs, when).await);
            let words = difference(&[ours.clone(), theirs], false);
            if let Some(words) = words.or_else(|| ours.rows().is_empty().then(|| "no answer".into())) {
                wrong.push(format!("{of_ours} {when:?}: {words}"));
            }
        }
    }
    for (quantile, of) in SAME_BUCKET {
        for when in whens() {
            if let Some(words) = other_bucket(&peers, quantile, of, when).await {
                wrong.push(format!("histogram_quantile({quantile}, {of}) {when:?}: {words}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{} answers are not Prometheus':\n{}", wrong.len(), wrong.join("\n"));
    peers.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn custom_buckets_are_answered_as_classic_ones() {
    if skipped() {
        return;
    }
    let (custom, classic) = custom_and_classic();
    let peers = Peers::start(&classic).await;
    peers.write_ours(&[custom]).await;
    let sum_rate = |range: &str| format!("sum by (job, shop, le) (rate(shop_classic_seconds_bucket[{range}]))");
    for (native, classic) in [
        (
            "histogram_quantile(0.5, shop_custom_seconds)".into(),
            "histogram_quantile(0.5, shop_classic_seconds_bucket)".into(),
        ),
        (
            "histogram_quantile(0.01, shop_custom_seconds)".into(),
            "histogram_quantile(0.01, shop_classic_seconds_bucket)".into(),
        ),
        (
            "histogram_quantile(0.9, rate(shop_custom_seconds[2m]))".into(),
            format!("histogram_quantile(0.9, {})", sum_rate("2m")),
        ),
        (
            "histogram_count(shop_custom_seconds)".to_owned(),
            "sum without (le) (shop_classic_seconds_bucket{le=\"+Inf\"})".to_owned(),
        ),
        (
            "histogram_count(increase(shop_custom_seconds[3m]))".into(),
            "sum without (le) (increase(shop_classic_seconds_bucket{le=\"+Inf\"}[3m]))".into(),
        ),
    ] {
        for when in whens() {
            let ([ours, _], [_, theirs]) = (peers.ask(&native, when).await, peers.ask(&classic, when).await);
            assert!(!ours.rows().is_empty(), "{native} {when:?}: {}", ours.data);
            let words = difference(&[ours.without_names(), theirs.without_names()], false);
            assert_eq!(words, None, "{native} {when:?} beside {classic}");
        }
    }
    peers.stop().await;
}

/// A day ahead: Prometheus sends on only what is later than its start, and we take what is not far in the future.
pub fn tomorrow_ms() -> i64 {
    Clock::system().now_ms() + 86_400_000
}

/// What Prometheus' own sender makes of histograms is what we read.
#[tokio::test(flavor = "multi_thread")]
async fn native_histograms_arrive_from_prometheus() {
    if skipped() {
        return;
    }
    let peers = Peers::start_forwarding(tomorrow_ms).await;
    let later_ms = (tomorrow_ms() - 86_400_000 / 2 - FIRST_MS) / 1000 * 1000;
    let mut series = shops();
    series.iter_mut().flat_map(|of| &mut of.histograms).for_each(|(time, _)| *time += later_ms);
    let end = FIRST_MS + later_ms + SAMPLES * STEP_MS;
    peers.write_theirs(&series).await;
    let all = When::At((end + 1_000) as f64 / 1000.0);
    let arrived = until(ARRIVAL, async || {
        for of in &series {
            let (name, shop) = (&of.labels["__name__"], &of.labels["shop"]);
            let said = peers.ask(&format!("count_over_time({name}{{shop=\"{shop}\"}}[1h])"), all).await;
            let ours = said[0].rows().first().map(|row| row.1[0].1 as usize);
            if ours != Some(of.histograms.iter().filter(|(_, histogram)| !histogram.is_stale()).count()) {
                return None;
            }
        }
        Some(())
    });
    arrived.await.expect("all histograms come by Prometheus' remote write");
    let start = (FIRST_MS + later_ms) as f64 / 1000.0 + 0.5;
    for query in ["shop_native_seconds", "shop_native_balance", "rate(shop_native_float_seconds[2m])"] {
        let [ours, theirs] = peers.ask(query, When::Range(start, end as f64 / 1000.0, 45)).await;
        assert!(ours.good() && result(&ours.data) > 0, "{query}: {:.300}", ours.data);
        assert!(
            same_json(&sorted(&ours.data), &sorted(&theirs.data)),
            "{query}: {:.900} instead of {:.900}",
            ours.data,
            theirs.data
        );
    }
    peers.stop().await;
}

/// How many series a result has.
pub fn result(data: &Value) -> usize {
    data["result"].as_array().map_or(0, Vec::len)
}

/// With the series in order of their labels.
pub fn sorted(data: &Value) -> Value {
    let mut data = data.clone();
    if let Some(result) = data["result"].as_array_mut() {
        result.sort_by_key(|series| series["metric"].to_string());
    }
    data
}

/// Equal, but for the last digits of numbers, which JSON holds as text.
pub fn same_json(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same_json(a, b)),
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| same_json(a, b)))
        }
        (Value::String(a), Value::String(b)) => {
            a == b || matches!((a.parse::<f64>(), b.parse::<f64>()), (Ok(a), Ok(b)) if same(a, b))
        }
        (a, b) => a == b,
    }
}

/// Why the quantiles of both do not lie in one bucket of what they are of; `None` if they do.
async fn other_bucket(peers: &Peers, quantile: &str, of: &str, when: When) -> Option<String> {
    let said = peers.ask(&format!("histogram_quantile({quantile}, {of})"), when).await;
    let [ours, theirs] = said.map(|said| said.rows_by_labels());
    let histograms = sorted(&peers.ask(of, when).await[1].without_names().data);
    if ours.is_empty() || ours.len() != theirs.len() || ours.len() != result(&histograms) {
        return Some(format!("{} series instead of {}", ours.len(), theirs.len()));
    }
    for ((labels, a), (other, b)) in ours.iter().zip(&theirs) {
        let metric = |series: &&Value| {
            let of: std::collections::BTreeMap<String, String> =
                serde_json::from_value(series["metric"].clone()).unwrap();
            format!("{of:?}") == *labels
        };
        let Some(series) = histograms["result"].as_array()?.iter().find(metric) else {
            return Some(format!("{labels}: no histograms"));
        };
        let one = series.get("histogram").map(|pair| vec![pair.clone()]);
        let pairs = one.or_else(|| series["histograms"].as_array().cloned()).unwrap_or_default();
        if labels != other || a.len() != b.len() || a.len() != pairs.len() {
            return Some(format!("{labels}: {} points instead of {}, of {}", a.len(), b.len(), pairs.len()));
        }
        for (((at, x), (_, y)), pair) in a.iter().zip(b).zip(&pairs) {
            let edge = |bucket: &Value, end: usize| bucket[end].as_str().and_then(|v| v.parse::<f64>().ok());
            let holds = |bucket: &Value| {
                let (Some(low), Some(high)) = (edge(bucket, 1), edge(bucket, 2)) else { return false };
                let width = (high - low) * 1e-9;
                [x, y].iter().all(|v| (low - width..=high + width).contains(*v))
            };
            if !pair[1]["buckets"].as_array().is_some_and(|buckets| buckets.iter().any(holds)) {
                return Some(format!("{labels}: {x} at {at} instead of {y}, which no bucket of {pair} holds both"));
            }
        }
    }
    None
}

/// A write request's `Histogram`, as prompb has it.
pub fn message(at_ms: i64, histogram: &Histogram) -> Vec<u8> {
    let (layout, shape) = (histogram.layout(), histogram.layout().shape());
    let mut out = Vec::new();
    let float = |number: u8, value: f64, out: &mut Vec<u8>| {
        out.push(number << 3 | 1);
        out.extend_from_slice(&value.to_le_bytes());
    };
    let integer = |number: u8, value: u64, out: &mut Vec<u8>| {
        super::samples::put_varint(out, u64::from(number) << 3);
        super::samples::put_varint(out, value);
    };
    let zigzag = |n: i64| ((n << 1) ^ (n >> 63)) as u64;
    float(3, histogram.sum(), &mut out);
    integer(4, zigzag(shape.schema.into()), &mut out);
    float(5, shape.zero_threshold, &mut out);
    for (number, spans) in [(8, &shape.negative), (11, &shape.positive)] {
        for span in spans {
            let mut part = Vec::new();
            integer(1, zigzag(span.offset.into()), &mut part);
            integer(2, span.length.into(), &mut part);
            super::samples::put_bytes(&mut out, number, &part);
        }
    }
    let positive_end = proto::histogram::TOTALS + layout.positive_buckets();
    match histogram.counts() {
        Counts::Integers(counts) => {
            integer(1, counts[0], &mut out);
            integer(6, counts[1], &mut out);
            for (number, counts) in [(9, &counts[positive_end..]), (12, &counts[2..positive_end])] {
                let (mut part, mut last) = (Vec::new(), 0i64);
                for count in counts {
                    super::samples::put_varint(&mut part, zigzag(*count as i64 - last));
                    last = *count as i64;
                }
                super::samples::put_bytes(&mut out, number, &part);
            }
        }
        Counts::Floats(counts) => {
            float(2, counts[0], &mut out);
            float(7, counts[1], &mut out);
            for (number, counts) in [(10, &counts[positive_end..]), (13, &counts[2..positive_end])] {
                let part: Vec<u8> = counts.iter().flat_map(|count| count.to_le_bytes()).collect();
                super::samples::put_bytes(&mut out, number, &part);
            }
        }
    }
    integer(14, shape.hint as u64, &mut out);
    integer(15, at_ms as u64, &mut out);
    let bounds: Vec<u8> = shape.bounds.iter().flat_map(|bound| bound.to_le_bytes()).collect();
    if !bounds.is_empty() {
        super::samples::put_varint(&mut out, 16 << 3 | 2);
        super::samples::put_varint(&mut out, bounds.len() as u64);
        out.extend_from_slice(&bounds);
    }
    out
}

const _: () = assert!(FIRST_MS + SAMPLES * STEP_MS < NOW_MS);

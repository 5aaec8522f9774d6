//! Exemplars beside Debian's Prometheus 2.42: the same bytes written to both, and `/api/v1/query_exemplars` answered alike to the
//! byte: which series, in what order, in what form, with what errors. Then rings that are too small for what comes.

use fastrand::Rng;
use tests::wait::until;

use super::{
    native::{ARRIVAL, tomorrow_ms},
    peers::Peers,
    samples::{FIRST_MS, put_bytes, put_varint},
    skipped,
};

/// Room for all that these tests write.
const ENOUGH: usize = 100_000;
/// Longest labels of an exemplar, characters.
const CHARS_MAX: usize = 128;

/// An exemplar as it is sent.
#[derive(Clone)]
pub struct Exemplar {
    at_ms: i64,
    value: f64,
    labels: Vec<(String, String)>,
}

impl Exemplar {
    /// One with these labels, in this order.
    pub fn new(at_ms: i64, value: f64, labels: &[(&str, &str)]) -> Exemplar {
        let labels = labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Exemplar { at_ms, value, labels }
    }
}

/// Labels, times and values of samples, exemplars.
pub type Part<'a> = (&'a [(&'a str, &'a str)], &'a [(i64, f64)], &'a [Exemplar]);

/// A write request of remote write 1.0, compressed.
pub fn write_request(series: &[Part<'_>]) -> Vec<u8> {
    let mut request = Vec::new();
    let label = |name: &str, value: &str, out: &mut Vec<u8>| {
        let mut part = Vec::new();
        put_bytes(&mut part, 1, name.as_bytes());
        put_bytes(&mut part, 2, value.as_bytes());
        put_bytes(out, 1, &part);
    };
    let number = |tag: u8, value: f64, out: &mut Vec<u8>| {
        out.push(tag << 3 | 1);
        out.extend_from_slice(&value.to_le_bytes());
    };
    for (labels, samples, exemplars) in series {
        let mut one = Vec::new();
        labels.iter().for_each(|(name, value)| label(name, value, &mut one));
        for (at_ms, value) in *samples {
            let mut part = Vec::new();
            number(1, *value, &mut part);
            part.push(2 << 3);
            put_varint(&mut part, *at_ms as u64);
            put_bytes(&mut one, 2, &part);
        }
        for exemplar in *exemplars {
            let mut part = Vec::new();
            exemplar.labels.iter().for_each(|(name, value)| label(name, value, &mut part));
            number(2, exemplar.value, &mut part);
            part.push(3 << 3);
            put_varint(&mut part, exemplar.at_ms as u64);
            put_bytes(&mut one, 3, &part);
        }
        put_bytes(&mut request, 1, &one);
    }
    snap::raw::Encoder::new().compress_vec(&request).unwrap()
}

fn at(second: i64) -> i64 {
    FIRST_MS + second * 1_000
}

const NORTH: &[(&str, &str)] =
    &[("__name__", "shop_seconds_bucket"), ("job", "shop"), ("le", "0.5"), ("shop", "north")];
const SOUTH: &[(&str, &str)] =
    &[("__name__", "shop_seconds_bucket"), ("job", "shop"), ("le", "0.5"), ("shop", "south")];
const ORDERS: &[(&str, &str)] = &[("__name__", "shop_orders_total"), ("job", "shop"), ("shop", "北京 \"x\"\\")];
const SHORT: &[(&str, &str)] = &[("__name__", "shop_orders_total"), ("job", "shop")];
const UNKNOWN: &[(&str, &str)] = &[("__name__", "shop_unknown_total"), ("job", "shop")];

/// The requests, in their order.
fn requests() -> Vec<Vec<u8>> {
    let trace = |second, value, trace: &str| Exemplar::new(at(second), value, &[("trace_id", trace)]);
    let of_chars = |second, chars: usize| trace(second, 1.0, &"ü".repeat(chars - "trace_id".len()));
    let sample = |second| [(at(second), 1.0)];
    vec![
        // with their samples, and in parts of their own as Prometheus sends them
        write_request(&[
            (SOUTH, &sample(10), &[trace(9, 0.25, "s1")]),
            (NORTH, &sample(10), &[]),
            (ORDERS, &sample(10), &[Exemplar::new(at(8) + 7, 1e21, &[("z", "1"), ("a", "line\nbreak"), ("none", "")])]),
            (SHORT, &sample(10), &[Exemplar::new(at(8), -0.0, &[])]),
            (NORTH, &[], &[trace(5, 0.5, "n1"), trace(6, 0.125, "n2")]),
            (NORTH, &[], &[trace(9, f64::INFINITY, "n3")]),
            // of a series that has no samples
            (UNKNOWN, &[], &[trace(9, 1.0, "u1")]),
        ]),
        // again; late; too long, and just not
        write_request(&[
            (NORTH, &sample(20), &[trace(9, f64::INFINITY, "n3"), trace(8, 1.0, "late"), trace(19, f64::NAN, "n4")]),
            (SOUTH, &sample(20), &[trace(9, 0.25, "s1"), of_chars(18, CHARS_MAX), of_chars(19, CHARS_MAX + 1)]),
            (ORDERS, &sample(20), &[trace(7, 1.0, "late"), trace(-3, 1.0, "later")]),
        ]),
        // one without a time is of 1970
        write_request(&[(SHORT, &sample(30), &[Exemplar::new(0, 5.0, &[("trace_id", "old")]), trace(29, 5.0, "new")])]),
    ]
}

/// Queries, and whether series are expected.
const QUERIES: &[(&str, bool)] = &[
    ("shop_seconds_bucket", true),
    ("histogram_quantile(0.9, sum by (le) (rate(shop_seconds_bucket{shop=\"north\"}[5m])))", true),
    ("shop_seconds_bucket{shop=\"north\"} / on () group_left shop_orders_total{shop!=\"\"}", true),
    ("{job=\"shop\"}", true),
    ("{__name__=~\"shop_.*\",shop=~\"n.*|\"}", true),
    ("shop_orders_total{shop=\"\"}", true),
    ("max_over_time(rate(shop_orders_total[1m])[10m:1m] offset 5m)", true),
    ("absent(shop_orders_total{shop=~\"北.*\"}) or vector(1)", true),
    ("shop_seconds_bucket or shop_seconds_bucket{shop=\"south\"}", true),
    ("shop_unknown_total", false),
    ("shop_orders_total{shop=\"none\"}", false),
    ("up", false),
    ("1 + 1", false),
    ("\"text\"", false),
    ("time()", false),
    ("sum(", false),
    ("{}", false),
    ("{shop=~\".*\"}", false),
];

/// Whether an answer has series.
fn has_series(text: &str) -> bool {
    text.contains("\"seriesLabels\"")
}

#[tokio::test(flavor = "multi_thread")]
async fn exemplars_are_answered_as_prometheus_does() {
    if skipped() {
        return;
    }
    let peers = Peers::start_with_exemplars(ENOUGH).await;
    for request in requests() {
        peers.write_both(&request).await;
    }
    let second = |n: i64| (at(n) as f64 / 1000.0).to_string();
    let times = [
        vec![],
        vec![("start", second(0)), ("end", second(1_000))],
        vec![("start", second(6)), ("end", second(9))],
        vec![("start", second(9))],
        vec![("end", second(8))],
        vec![("start", "2026-09-21T00:00:00Z".to_owned())],
    ];
    for (query, expected) in QUERIES {
        for (i, within) in times.iter().enumerate() {
            let form: Vec<_> =
                [("query", *query)].into_iter().chain(within.iter().map(|(n, v)| (*n, v.as_str()))).collect();
            let [ours, theirs] = peers.texts("/api/v1/query_exemplars", &form).await;
            assert_eq!(ours, theirs, "{form:?}");
            assert_eq!(peers.posted_texts("/api/v1/query_exemplars", &form).await, [ours.clone(), theirs], "{form:?}");
            assert!(i > 0 || has_series(&ours.1) == *expected, "{form:?}: {ours:?}");
        }
    }
    for form in [
        [("query", "up"), ("start", "2"), ("end", "1")],
        [("query", "up"), ("start", "1"), ("end", "1")],
        [("query", ""), ("start", "2"), ("end", "1")],
    ] {
        let [ours, theirs] = peers.texts("/api/v1/query_exemplars", &form).await;
        assert_eq!(ours, theirs, "{form:?}");
    }
    let refused = async |reason: &str| {
        peers.own_number(&format!("tidewatch_exemplars_refused_total{{reason=\"{reason}\"}}")).await
    };
    assert_eq!(peers.own_number("tidewatch_exemplars_appended_total").await, 9.0);
    assert_eq!(peers.own_number("tidewatch_exemplars_series").await, 4.0);
    assert_eq!(refused("duplicate").await, 2.0);
    assert_eq!(refused("out_of_order").await, 4.0);
    assert_eq!(refused("labels_too_long").await, 1.0);
    assert_eq!(refused("unknown_series").await, 1.0);
    peers.stop().await;
}

/// More come than there is room for, of series that come and go: what is left is the same in both, after every request.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_ring_forgets_what_prometheus_forgets() {
    if skipped() {
        return;
    }
    const ROOM: usize = 17;
    let peers = Peers::start_with_exemplars(ROOM).await;
    let mut dice = Rng::with_seed(5);
    let mut last: Vec<Option<Exemplar>> = vec![None; 6];
    for second in 0..60 {
        let names: Vec<String> = (0..last.len()).map(|i| format!("ring_{i}_total")).collect();
        let labels: Vec<[(&str, &str); 1]> = names.iter().map(|name| [("__name__", name.as_str())]).collect();
        let mut parts = Vec::new();
        for _ in 0..dice.usize(1..5) {
            let most = dice.usize(..last.len());
            let of = dice.usize(..=most);
            let next = match (dice.u8(..8), &last[of]) {
                (0, Some(same)) => same.clone(),
                (1, Some(newer)) => Exemplar { at_ms: newer.at_ms - dice.i64(1..9_000), ..newer.clone() },
                _ => Exemplar::new(at(second) + parts.len() as i64, dice.f64(), &[("trace_id", &second.to_string())]),
            };
            if last[of].as_ref().is_none_or(|newest| newest.at_ms < next.at_ms) {
                last[of] = Some(next.clone());
            }
            parts.push((of, [next]));
        }
        let samples = [(at(second), 1.0)];
        let request: Vec<Part<'_>> =
            parts.iter().map(|(of, exemplars)| (&labels[*of][..], &samples[..], &exemplars[..])).collect();
        peers.write_both(&write_request(&request)).await;
        let [ours, theirs] = peers.texts("/api/v1/query_exemplars", &[("query", "{__name__=~\"ring_.*\"}")]).await;
        assert_eq!(ours, theirs, "second {second}");
        assert!(has_series(&ours.1), "second {second}");
    }
    assert_eq!(peers.own_number("tidewatch_exemplars").await, ROOM as f64);
    assert!(peers.own_number("tidewatch_exemplars_evicted_total").await > 40.0);
    peers.stop().await;
}

/// Where the versions differ: of one time Prometheus 3 keeps several, of ascending value, 2.42 the first.
#[tokio::test(flavor = "multi_thread")]
async fn several_of_one_time_are_kept_as_prometheus_3_does() {
    if skipped() {
        return;
    }
    let peers = Peers::start_with_exemplars(ENOUGH).await;
    let of = |value, trace| Exemplar::new(at(5), value, &[("trace_id", trace)]);
    let exemplars = [of(0.25, "a"), of(0.5, "b"), of(0.125, "c")];
    peers.write_both(&write_request(&[(SHORT, &[(at(5), 1.0)], &exemplars)])).await;
    let [ours, theirs] = peers.texts("/api/v1/query_exemplars", &[("query", "shop_orders_total")]).await;
    let traces = |text: &str| ["a", "b", "c"].map(|trace| text.contains(&format!("{{\"trace_id\":\"{trace}\"}}")));
    assert_eq!(traces(&ours.1), [true, true, false], "{ours:?}");
    assert_eq!(traces(&theirs.1), [true, false, false], "{theirs:?}");
    peers.stop().await;
}

/// What Prometheus' own sender makes of exemplars is what we keep.
#[tokio::test(flavor = "multi_thread")]
async fn exemplars_arrive_from_prometheus() {
    if skipped() {
        return;
    }
    const EACH: i64 = 20;
    let peers = Peers::start_forwarding(tomorrow_ms).await;
    let begin_ms = tomorrow_ms() - 86_400_000 / 2;
    for i in 0..EACH {
        let at_ms = begin_ms + i * 1_000;
        let (samples, trace) = ([(at_ms, i as f64)], format!("trace {i}"));
        let exemplars = [Exemplar::new(at_ms - 3, i as f64 / 8.0, &[("trace_id", &trace)])];
        let series: Vec<Part<'_>> =
            [NORTH, SOUTH, ORDERS].map(|labels| (labels, &samples[..], &exemplars[..])).to_vec();
        peers.write_theirs_bytes(&write_request(&series)).await;
    }
    let mut last = None;
    let arrived = until(ARRIVAL, async || {
        let [ours, theirs] = peers.texts("/api/v1/query_exemplars", &[("query", "{job=\"shop\"}")]).await;
        let is_all = theirs.1.matches("trace_id").count() == 3 * EACH as usize && ours == theirs;
        last = Some((ours, theirs));
        is_all.then_some(())
    });
    let arrived = arrived.await;
    assert!(arrived.is_some(), "not all exemplars come by Prometheus' remote write: {last:?}");
    peers.stop().await;
}

//! Remote write over HTTP: what is taken, what is answered to the rest, and that 1.0 and 2.0 of the same data are the same.

use serde_json::{Value, json};

use super::{NOW_MS, Running};

const ONE: &str = "application/x-protobuf";
const TWO: &str = "application/x-protobuf;proto=io.prometheus.write.v2.Request";
const NOW: u64 = NOW_MS as u64;
const OLD: u64 = 1_000;

/// Labels as pairs of name and value.
type Pairs = Vec<(&'static str, &'static str)>;

/// A series as both versions can send it.
#[derive(Clone, Default)]
struct Sent {
    labels: Pairs,
    samples: Vec<(u64, f64)>,
    /// Time, count, observations in the bucket from 1 to 2.
    histograms: Vec<(u64, u8, u8)>,
    exemplars: Vec<(u64, f64, Pairs)>,
    /// Number of the kind, metric, help, unit.
    metadata: Option<(u8, &'static str, &'static str, &'static str)>,
}

fn varint(mut rest: u64) -> Vec<u8> {
    let mut varint = Vec::new();
    while rest >= 0x80 {
        varint.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    varint.push(rest as u8);
    varint
}

fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    [&[number << 3 | 2][..], &varint(bytes.len() as u64), bytes].concat()
}

fn integer(number: u8, value: u64) -> Vec<u8> {
    [&[number << 3][..], &varint(value)].concat()
}

fn float(number: u8, value: f64) -> Vec<u8> {
    [&[number << 3 | 1][..], &value.to_le_bytes()].concat()
}

fn samples(of: &Sent) -> Vec<u8> {
    of.samples.iter().flat_map(|(at, value)| field(2, &[float(1, *value), integer(2, *at)].concat())).collect()
}

fn histogram((at, count, found): &(u64, u8, u8)) -> Vec<u8> {
    let span = field(11, &[integer(1, 2), integer(2, 1)].concat()); // offset 1, length 1
    [integer(1, u64::from(*count)), float(3, 4.5), span, field(12, &[found * 2]), integer(15, *at)].concat()
}

/// `prometheus.WriteRequest`.
fn one(series: &[Sent]) -> Vec<u8> {
    let label =
        |(name, value): &(&str, &str)| field(1, &[field(1, name.as_bytes()), field(2, value.as_bytes())].concat());
    let mut out = Vec::new();
    for of in series {
        let mut message: Vec<u8> = of.labels.iter().flat_map(label).collect();
        message.extend(samples(of));
        for (at, value, labels) in &of.exemplars {
            let labels: Vec<u8> = labels.iter().flat_map(label).collect();
            message.extend(field(3, &[labels, float(2, *value), integer(3, *at)].concat()));
        }
        of.histograms.iter().for_each(|one| message.extend(field(4, &histogram(one))));
        out.extend(field(1, &message));
        if let Some((kind, metric, help, unit)) = of.metadata {
            let texts = [field(2, metric.as_bytes()), field(4, help.as_bytes()), field(5, unit.as_bytes())];
            out.extend(field(3, &[integer(1, u64::from(kind)), texts.concat()].concat()));
        }
    }
    out
}

/// `io.prometheus.write.v2.Request`.
fn two(series: &[Sent]) -> Vec<u8> {
    let mut symbols = vec![""];
    let mut refer = |text: &'static str| {
        let found = symbols.iter().position(|known| *known == text);
        found.unwrap_or_else(|| {
            symbols.push(text);
            symbols.len() - 1
        }) as u64
    };
    let mut out = Vec::new();
    for of in series {
        let mut references = |labels: &[(&'static str, &'static str)]| {
            let packed = labels.iter().flat_map(|&(name, value)| [varint(refer(name)), varint(refer(value))].concat());
            field(1, &packed.collect::<Vec<u8>>())
        };
        let mut message = references(&of.labels);
        message.extend(samples(of));
        of.histograms.iter().for_each(|one| message.extend(field(3, &histogram(one))));
        for (at, value, labels) in &of.exemplars {
            message.extend(field(4, &[references(labels), float(2, *value), integer(3, *at)].concat()));
        }
        if let Some((kind, _, help, unit)) = of.metadata {
            let references = [integer(3, refer(help)), integer(4, refer(unit))];
            message.extend(field(5, &[integer(1, u64::from(kind)), references.concat()].concat()));
        }
        out.extend(field(5, &message));
    }
    symbols.iter().flat_map(|text| field(4, text.as_bytes())).chain(out).collect()
}

/// Status, text, and how many samples, histograms and exemplars the answer says were written.
type Answer = (u16, String, Option<[u64; 3]>);

async fn write(running: &Running, kind: &str, message: &[u8]) -> Answer {
    let body = snap::raw::Encoder::new().compress_vec(message).unwrap();
    write_body(running, kind, body).await
}

async fn write_body(running: &Running, kind: &str, body: Vec<u8>) -> Answer {
    let request = running.client.post(running.url("/api/v1/write")).header("content-type", kind).body(body);
    let response = request.header("content-encoding", "snappy").send().await.unwrap();
    let number = |what: &str| {
        let header = response.headers().get(format!("x-prometheus-remote-write-{what}-written"))?;
        header.to_str().unwrap().parse().ok()
    };
    let written: Vec<u64> = ["samples", "histograms", "exemplars"].into_iter().filter_map(number).collect();
    (response.status().as_u16(), response.text().await.unwrap(), written.try_into().ok())
}

fn named(name: &'static str) -> Sent {
    Sent { labels: vec![("__name__", name)], ..Sent::default() }
}

fn with_sample(name: &'static str, at: u64, value: f64) -> Sent {
    Sent { samples: vec![(at, value)], ..named(name) }
}

fn with_exemplar(name: &'static str, at: u64, trace: &'static str) -> Sent {
    Sent { samples: vec![(NOW, 1.0)], exemplars: vec![(at, 0.5, vec![("trace_id", trace)])], ..named(name) }
}

#[tokio::test]
async fn remote_write_is_taken_and_what_it_can_not_be_is_answered_as_prometheus_expects() {
    let running = Running::start().await;
    let good = one(&[with_sample("written", NOW, 3.5)]);
    let native = |count| Sent { histograms: vec![(NOW, count, 3)], ..named("native") };
    for (kind, message, status, words) in [
        (ONE, good.clone(), 204, ""),
        (ONE, one(&[with_sample("written", OLD, 3.5)]), 400, "too_old: 1 samples too_old"),
        (ONE, one(&[native(3)]), 204, ""),
        (
            ONE,
            one(&[native(4), with_sample("beside", NOW, 1.0)]),
            400,
            "bad_histogram: 1 histograms that are none, the first of {__name__=\"native\"}: its buckets hold 3 observations, its \
             count is 4; the others were stored",
        ),
        (ONE, b"\x0a\x7f".to_vec(), 400, "malformed: protobuf: damaged at byte 0"),
        // nothing that becomes of exemplars is an error of 1.0
        (ONE, one(&[with_exemplar("written", NOW, "b"), with_exemplar("written", NOW - 9, "late")]), 204, ""),
        ("application/x-protobuf;proto=io.prometheus.write.v3.Request", good.clone(), 415, "is not taken"),
        ("text/plain", good.clone(), 415, "is not taken"),
    ] {
        let (found, text, written) = write(&running, kind, &message).await;
        assert!(found == status && text.contains(words), "{found} {text:?}, expected {status} {words:?}");
        assert_eq!(written, None, "{kind}: only 2.0 is told what was written");
    }
    let (status, text, _) = write_body(&running, ONE, b"not snappy".to_vec()).await;
    assert!(status == 400 && text.contains("malformed: snappy"), "{status} {text}");
    let now = NOW_MS / 1000;
    let (_, answer) = running.get(&format!("/api/v1/query?query=native&time={now}")).await;
    let histogram = json!({"count": "3", "sum": "4.5", "buckets": [[0, "1", "2", "3"]]});
    assert_eq!(answer["data"]["result"][0]["histogram"], json!([now, histogram]), "{answer}");
    for (metric, value) in [("written", "1"), ("beside", "1")] {
        let (_, answer) = running.get(&format!("/api/v1/query?query={metric}&time={now}")).await;
        assert_eq!(answer["data"]["result"][0]["value"][1], value, "{answer}");
    }
    let (_, answer) =
        running.get("/api/v1/sql?q=SELECT%20value,%20histogram%20FROM%20metrics%20WHERE%20metric='native'").await;
    let text = answer["data"]["rows"][0][1].as_str().unwrap_or("");
    assert!(answer["data"]["rows"][0][0].is_null() && text.starts_with("{\"count\":3,\"sum\":4.5,"), "{answer}");
    running.server.stop().await;
}

/// What 2.0 is answered: status, words, and what was written.
#[tokio::test]
async fn remote_write_2_is_told_what_was_written() {
    let running = Running::empty("").await;
    let native = |at, count| Sent { histograms: vec![(at, count, 3)], ..named("native") };
    let exemplars = |list: Vec<(u64, f64, Pairs)>| Sent { exemplars: list, ..named("up") };
    let beyond = || {
        vec![(
            "trace_id",
            "a trace of more than 128 characters, as it goes on and on and on and on, and then further still, until it is too long to be kept.",
        )]
    };
    let bad_reference = [field(4, b""), field(4, b"up"), field(5, &field(1, &[1, 7]))].concat();
    for (message, status, words, written) in [
        (two(&[with_sample("up", NOW, 1.0), native(NOW, 3)]), 204, "", [1, 1, 0]),
        // samples and histograms are counted apart, those that are refused too
        (
            two(&[with_sample("up", OLD, 1.0), with_sample("up", NOW, 1.0), native(OLD, 3), native(NOW, 3)]),
            400,
            "too_old: 1 samples too_old, 1 histograms too_old; the others were stored",
            [1, 1, 0],
        ),
        (two(&[native(NOW, 4), native(NOW, 3)]), 400, "bad_histogram: 1 histograms that are none", [0, 1, 0]),
        (
            two(&[with_sample("none", NOW, 1.0), Sent { labels: vec![("a", "b")], ..with_sample("", NOW, 1.0) }]),
            400,
            "bad_labels: 1 samples bad_labels",
            [1, 0, 0],
        ),
        // exemplars: one is new, the next a resend, which is written already
        (two(&[exemplars(vec![(NOW - 9, 0.5, vec![("trace_id", "a")])])]), 204, "", [0, 0, 1]),
        (two(&[exemplars(vec![(NOW - 9, 0.5, vec![("trace_id", "a")]), (NOW - 8, 0.5, vec![])])]), 204, "", [0, 0, 2]),
        (
            two(&[
                exemplars(vec![(NOW - 20, 0.5, vec![]), (NOW - 7, 0.5, beyond()), (NOW - 6, 0.5, vec![])]),
                Sent { exemplars: vec![(NOW, 0.5, vec![])], ..named("unknown") },
            ]),
            400,
            "1 exemplars out_of_order, 1 exemplars labels_too_long, 1 exemplars unknown_series; the others were stored",
            [0, 0, 1],
        ),
        (bad_reference, 400, "malformed: series 0: labels_refs: 7 is past the 2 symbols", [0, 0, 0]),
        // 1.0 that is said to be 2.0
        (one(&[with_sample("up", NOW, 1.0)]), 400, "malformed: symbols: 0: there are none", [0, 0, 0]),
        (b"\x2a\x7f".to_vec(), 400, "malformed: protobuf: damaged at byte 0", [0, 0, 0]),
    ] {
        let (found, text, counts) = write(&running, TWO, &message).await;
        assert!(found == status && text.contains(words), "{found} {text:?}, expected {status} {words:?}");
        assert_eq!(counts, Some(written), "{status} {words}");
    }
    let metrics = running.text("/metrics").await;
    for line in [
        "tidewatch_exemplars 3.0",
        "tidewatch_exemplars_max 100000.0",
        "tidewatch_exemplars_appended_total 3.0",
        "tidewatch_exemplars_evicted_total 0.0",
        "tidewatch_exemplars_refused_total{reason=\"duplicate\"} 1.0",
        "tidewatch_exemplars_refused_total{reason=\"unknown_series\"} 1.0",
    ] {
        assert!(metrics.lines().any(|found| found == line), "{line} is not in:\n{metrics}");
    }
    running.server.stop().await;
}

#[tokio::test]
async fn what_is_to_be_sent_again_was_not_written() {
    let running = Running::empty("storage: {head_bytes_max: 1B}").await;
    let message = two(&[with_exemplar("up", NOW, "a")]);
    write(&running, TWO, &message).await; // fills the head, unless the server's own numbers have
    let (status, text, written) = write(&running, TWO, &message).await;
    assert!(status == 503 && text.starts_with("full: "), "{status} {text}");
    assert_eq!(written, Some([0, 0, 0]));
    running.server.stop().await;
}

#[tokio::test]
async fn exemplars_that_are_not_to_be_kept_are_no_error() {
    let running = Running::empty("storage: {exemplars_max: 0}").await;
    let message = two(&[with_exemplar("up", NOW, "a")]);
    assert_eq!(write(&running, TWO, &message).await, (204, String::new(), Some([1, 0, 0])));
    let (_, answer) = running.get("/api/v1/query_exemplars?query=up").await;
    assert_eq!(answer["data"], json!([]));
    let metrics = running.text("/metrics").await;
    assert!(metrics.contains("tidewatch_exemplars_refused_total{reason=\"disabled\"} 1.0\n"), "{metrics}");
    running.server.stop().await;
}

#[tokio::test]
async fn both_versions_of_the_same_data_are_stored_alike() {
    let stale = f64::from_bits(proto::samples::STALE_MARKER_BITS);
    let series = [
        Sent {
            labels: vec![("__name__", "orders_total"), ("shop", "北京")],
            samples: vec![(NOW - 30_000, 1.0), (NOW - 15_000, f64::INFINITY), (NOW, 3.0)],
            exemplars: vec![(NOW - 5, 0.5, vec![("trace_id", "ab"), ("span_id", "c")]), (NOW, -0.0, vec![])],
            metadata: Some((1, "orders_total", "Orders.", "orders")),
            ..Sent::default()
        },
        Sent {
            labels: vec![("__name__", "orders_total"), ("shop", "x")],
            samples: vec![(NOW - 30_000, 1.0), (NOW, stale)],
            ..Sent::default()
        },
        Sent {
            labels: vec![("__name__", "seconds_bucket"), ("le", "0.5")],
            samples: vec![(NOW, 7.0)],
            exemplars: vec![(NOW, 0.25, vec![("trace_id", "de")])],
            metadata: Some((3, "seconds", "How long.", "")),
            ..Sent::default()
        },
        Sent {
            histograms: vec![(NOW - 1_000, 3, 3), (NOW, 4, 4)],
            metadata: Some((2, "native", "", "")),
            ..named("native")
        },
    ];
    let mut answers = Vec::new();
    for (kind, message) in [(ONE, one(&series)), (TWO, two(&series))] {
        let running = Running::empty("").await;
        let (status, text, _) = write(&running, kind, &message).await;
        assert_eq!(status, 204, "{kind}: {text}");
        let now = NOW_MS / 1000;
        let mut found: Vec<Value> = Vec::new();
        for path in [
            "/api/v1/series?match[]={shop!=\"\"}&match[]=native&match[]={le!=\"\"}".to_owned(),
            format!(
                "/api/v1/query_range?query={{__name__=~\"orders_total|seconds_bucket|native\"}}&start={}&end={now}&step=1",
                now - 30
            ),
            "/api/v1/metadata?metric=orders_total".into(),
            "/api/v1/metadata?metric=seconds".into(),
            "/api/v1/metadata?metric=native".into(),
            "/api/v1/query_exemplars?query=orders_total%20or%20seconds_bucket".into(),
        ] {
            let (status, mut answer) = running.get(&path).await;
            assert_eq!(status, 200, "{path}: {answer}");
            let data = answer["data"].take();
            let is_empty =
                data.as_array().is_some_and(Vec::is_empty) || data.as_object().is_some_and(serde_json::Map::is_empty);
            assert!(!is_empty, "{path}");
            found.push(data);
        }
        answers.push(found);
        running.server.stop().await;
    }
    for (of_one, of_two) in answers[0].iter().zip(&answers[1]) {
        assert_eq!(of_one, of_two);
    }
    let expected = json!({"orders_total": [{"type": "counter", "help": "Orders.", "unit": "orders"}]});
    assert_eq!(answers[1][2], expected);
    assert_eq!(answers[1][5][0]["exemplars"][0]["labels"], json!({"span_id": "c", "trace_id": "ab"}));
}

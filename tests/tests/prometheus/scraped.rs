//! Native histograms of one page, scraped by our collector and by Debian's Prometheus 2.42 alike, asked of both. The page was recorded
//! from Prometheus' own Go client (`collector/testdata/native_histograms/record.go`), which tells its classic parts as text too.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use axum::{
    Router,
    http::{HeaderMap, StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
    routing::get,
};
use collector::{Clock, Config, Context, scrape};
use tests::{road::Road, surroundings, wait::until};

use super::{
    native::{result, same_json, sorted},
    peers::{Peers, When, difference},
    skipped,
};

const PROTOBUF: &[u8] = include_bytes!("../../../collector/testdata/native_histograms/page.pb");
const TEXT: &str = include_str!("../../../collector/testdata/native_histograms/page.txt");
/// Until a page has come through.
const ARRIVAL: std::time::Duration = std::time::Duration::from_secs(60);
/// What both are asked, of the job that both have; how many series it is. Not of the histogram that has observed nothing: its client
/// marks it as native by an empty span, which Prometheus 2.42 does not look at.
const ASKED: [(&str, usize); 9] = [
    ("shop_request_seconds{job='shop'}", 2),
    ("shop_balance{job='shop'}", 1),
    ("shop_weighted_seconds{job='shop'}", 1),
    ("sum(shop_request_seconds{job='shop'})", 1),
    ("histogram_sum(shop_request_seconds{job='shop'})", 2),
    ("histogram_count(shop_weighted_seconds{job='shop'})", 1),
    ("shop_orders_total{job='shop'}", 1),
    ("shop_size_bytes_bucket{job='shop'}", 3),
    ("{__name__=~'shop_(request|balance|weighted).*_(bucket|count|sum)',job='shop'}", 0),
];
/// Our jobs, by their fields.
const JOBS: [(&str, &str); 4] = [
    ("shop", "scrape_native_histograms: true"),
    ("both", "scrape_native_histograms: true, always_scrape_classic_histograms: true"),
    ("unasked", "scrape_protocols: [PrometheusProto]"),
    ("text", "scrape_protocols: [PrometheusText0.0.4], scrape_native_histograms: true"),
];

/// The page in protobuf for who asks for it, in text for others, until it is closed.
async fn page(closed: Arc<AtomicBool>, headers: HeaderMap) -> Response {
    let wants = |text: &str| headers.get("accept").is_some_and(|v| v.to_str().is_ok_and(|v| v.contains(text)));
    match closed.load(Ordering::Relaxed) {
        true => StatusCode::SERVICE_UNAVAILABLE.into_response(),
        false if wants("application/vnd.google.protobuf") => {
            let content_type =
                "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited";
            ([(CONTENT_TYPE, content_type)], PROTOBUF).into_response()
        }
        false => ([(CONTENT_TYPE, "text/plain; version=0.0.4")], TEXT).into_response(),
    }
}

fn now() -> When {
    When::At(Clock::system().now_ms() as f64 / 1000.0)
}

/// Of each classic series whose name ends so: the name without its ending, the labels after a comma, the value.
fn classic(ending: &str) -> Vec<(String, String, f64)> {
    let of = |line: &str| {
        let (series, value) = line.rsplit_once(' ')?;
        let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
        let labels = labels.strip_suffix('}').filter(|labels| !labels.is_empty()).map(|labels| format!(",{labels}"));
        Some((name.strip_suffix(ending)?.to_owned(), labels.unwrap_or_default(), value.parse().ok()?))
    };
    TEXT.lines().filter(|line| !line.starts_with('#')).filter_map(of).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn native_histograms_are_scraped_as_prometheus_does() {
    if skipped() {
        return;
    }
    let closed = Arc::new(AtomicBool::new(false));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target = listener.local_addr().unwrap();
    let told = closed.clone();
    let router = Router::new().route("/metrics", get(move |headers: HeaderMap| page(told.clone(), headers)));
    let peer = tokio::spawn(axum::serve(listener, router).into_future());
    let theirs = format!(
        "scrape_configs: [{{job_name: shop, scrape_interval: 1s, static_configs: [{{targets: ['{target}']}}]}}]\n"
    );
    let peers = Peers::start_empty(&theirs, || Clock::system().now_ms()).await;

    let folder = tempfile::tempdir().unwrap();
    let road = Road::start(folder.path(), peers.grpc()).unwrap();
    let jobs = JOBS.map(|(name, more)| {
        format!("  - {{job_name: {name}, scrape_interval: 1s, static_configs: [{{targets: ['{target}']}}], {more}}}\n")
    });
    let text = format!(
        "server: {{address: 'http://127.0.0.1:1'}}\ndata_dir: {}\nscrape_configs:\n{}",
        folder.path().display(),
        jobs.concat()
    );
    let (context, _, _) = surroundings::captured();
    let context = Context { outlet: road.outlet.clone(), ..context };
    let running: Vec<_> = Config::parse("c.yaml", &text)
        .unwrap()
        .scrapes
        .into_iter()
        .map(|job| tokio::spawn(scrape::watch(job, context.clone())))
        .collect();

    for (query, series) in ASKED {
        let equal = until(ARRIVAL, async || {
            let [ours, theirs] = peers.ask(query, now()).await;
            assert!(ours.good() && theirs.good(), "{query}: {ours:?} {theirs:?}");
            let all = result(&ours.data) == series && result(&theirs.data) == series;
            (all && same_json(&sorted(&ours.data), &sorted(&theirs.data))).then_some(())
        });
        if equal.await.is_none() {
            let [ours, theirs] = peers.ask(query, now()).await;
            panic!("{query}: {:.900} instead of {:.900}", ours.data, theirs.data);
        }
    }
    peers_tell_what_text_tells(&peers).await;

    // what is no longer there ends at once, in both
    closed.store(true, Ordering::Relaxed);
    for query in ["shop_request_seconds{job='shop'}", "shop_weighted_seconds{job='shop'}"] {
        let over = until(ARRIVAL, async || {
            let said = peers.ask(query, now()).await;
            said.iter().all(|said| said.good() && result(&said.data) == 0).then_some(())
        });
        over.await.unwrap_or_else(|| panic!("{query} goes on"));
        let [ours, theirs] = peers.ask(&format!("count_over_time({query}[1m]) > bool 0"), now()).await;
        assert!(result(&ours.data) > 0, "{query} was there");
        assert_eq!(difference(&[ours, theirs], false), None, "{query}");
    }
    context.shutdown.cancel();
    for job in running {
        job.await.unwrap();
    }
    road.stop();
    peer.abort();
    peers.stop().await;
}

/// Counts and sums of native histograms are those of the same registry's text; so are classic parts, where they are kept.
async fn peers_tell_what_text_tells(peers: &Peers) {
    let value = async |query: &str| {
        let one = until(ARRIVAL, async || peers.ask(query, now()).await[0].rows().first().map(|row| row.1[0].1)).await;
        one.unwrap_or_else(|| panic!("{query}: no answer"))
    };
    for (ending, function) in [("_count", "histogram_count"), ("_sum", "histogram_sum"), ("_bucket", "")] {
        let mut native = 0;
        for (name, labels, told) in classic(ending) {
            let of = |job: &str, ending: &str| format!("{name}{ending}{{job='{job}'{labels}}}");
            // the client's text does not tell of floats
            if name == "shop_weighted_seconds" {
                continue;
            }
            assert_eq!(value(&of("text", ending)).await, told, "{name}{ending} {labels}");
            // in protobuf a bound is written as OpenMetrics does
            let labels = labels.replace("\"1\"", "\"1.0\"").replace("\"100\"", "\"100.0\"");
            let of = |job: &str, ending: &str| format!("{name}{ending}{{job='{job}'{labels}}}");
            assert_eq!(value(&of("unasked", ending)).await, told, "{name}{ending} {labels}");
            let is_native = name != "shop_size_bytes";
            if !is_native || name == "shop_request_seconds" {
                assert_eq!(value(&of("both", ending)).await, told, "{name}{ending} {labels}");
            }
            if is_native && !function.is_empty() {
                native += 1;
                for job in ["shop", "both"] {
                    assert_eq!(value(&format!("{function}({})", of(job, ""))).await, told, "{job} {name} {ending}");
                }
            }
        }
        assert!(native == 4 || function.is_empty(), "two paths, the balance, the unused one: {native}");
    }
    let left_out = [("shop", "not_asked_for", 0.0), ("both", "broken", 0.0), ("unasked", "not_asked_for", 5.0)];
    for (job, reason, count) in left_out {
        let query = format!("scrape_native_histograms_left_out{{job='{job}',reason='{reason}'}}");
        assert_eq!(value(&query).await, count, "{query}");
    }
}

//! A query over everything ends within its budget with an error that names it, and one whose time is over, or whose client has
//! left, ends while it still reads; others are answered meanwhile.

use std::time::Duration;

use serde_json::Value;
use tests::wait::until;
use tokio::time::Instant;

use super::{
    own::Own,
    samples::{NOW_MS, Series},
};

const SERIES: usize = 3_000;
const SAMPLES: i64 = 500;
/// Between two samples, milliseconds.
const INTERVAL_MS: i64 = 2_000;
/// Questions asked while large ones are under way.
const SMALL: usize = 20;
const PATIENCE: Duration = Duration::from_secs(60);

/// Everything, over and over: far more than may be loaded.
const EVERYTHING: &str = "sum_over_time({__name__=~\".+\"}[20m]) + sum_over_time({__name__=~\".+\"}[20m] offset 1s)";

async fn start(samples_max: usize) -> Own {
    let config = format!(
        "query: {{samples_max: {samples_max}, log_file: queries.log, concurrency_max: 4}}\nalerting: {{builtin_rules: false}}\n"
    );
    let own = Own::start(tempfile::tempdir().unwrap(), &config, || NOW_MS).await;
    let series: Vec<Series> = (0..SERIES)
        .map(|n| {
            let labels = [("__name__", format!("load_{}", n % 10)), ("n", n.to_string())];
            let labels = labels.map(|(name, value)| (name.to_owned(), value)).into();
            let value = |i: i64| ((i * 7919 + n as i64 * 104_729) % 100_003) as f64 / 7.0;
            let at = |i: i64| NOW_MS - 1_000 - i * INTERVAL_MS;
            let samples = (0..SAMPLES).rev().map(|i| (at(i), value(i))).collect();
            Series { labels, samples, histograms: Vec::new() }
        })
        .collect();
    for part in series.chunks(200) {
        own.write(part).await;
    }
    own.server.store.flush(NOW_MS).await.unwrap();
    own
}

fn log(own: &Own) -> Vec<Value> {
    let text = std::fs::read_to_string(own.folder.path().join("queries.log")).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_is_too_much_and_others_keep_answering() {
    let own = start(500_000).await;
    let large = async {
        for _ in 0..5 {
            let (status, answer) = own.post("/api/v1/query", &[("query", EVERYTHING)]).await;
            assert_eq!((status, answer["errorType"].as_str()), (422, Some("execution")), "{answer}");
            let words = "query processing would load too many samples into memory in query execution";
            assert_eq!(answer["error"], words);
        }
    };
    let small = async {
        for n in 0..SMALL {
            let query = format!("load_{}{{n=\"{n}\"}}", n % 10);
            let (status, answer) = own.post("/api/v1/query", &[("query", &query)]).await;
            assert_eq!(
                (status, answer["data"]["result"].as_array().map(Vec::len)),
                (200, Some(1)),
                "{query}: {answer}"
            );
        }
    };
    tokio::time::timeout(PATIENCE, async { tokio::join!(large, small) }).await.expect("all are answered in time");
    own.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn reads_end_when_time_is_over_or_the_client_has_left() {
    let own = start(50_000_000).await;
    let query = "count({__name__=~\"load.+\"} offset 1m) + count(last_over_time({__name__=~\"load.+\"}[16m]))";
    let whole = Instant::now();
    let data = own.data("/api/v1/query", &[("query", query)]).await;
    assert_eq!(data["result"][0]["value"][1], (2 * SERIES).to_string(), "{data}");
    let whole = whole.elapsed();

    let began = Instant::now();
    let (status, answer) = own.post("/api/v1/query", &[("query", query), ("timeout", "1ms")]).await;
    assert_eq!((status, answer["errorType"].as_str()), (503, Some("timeout")), "{answer}");
    assert!(answer["error"].as_str().unwrap().contains("query timed out"), "{answer}");
    assert!(began.elapsed() < whole, "it took {:?} to end after 1 ms, and {whole:?} to answer", began.elapsed());

    // clients that leave: the log tells how their queries ended
    let left = (0..4).map(|_| {
        let request = own.client.post(format!("{}/api/v1/query", own.url)).form(&[("query", query)]);
        tokio::time::timeout(whole / 20, request.send())
    });
    assert!(futures::future::join_all(left).await.iter().any(Result::is_err), "all were answered at once");
    let canceled = until(PATIENCE, async || log(&own).into_iter().find(|line| line["error"] == "query was canceled"));
    let canceled = canceled.await.unwrap_or_else(|| panic!("no query was canceled: {:#?}", log(&own)));
    let took = canceled["stats"]["timings"]["execTotalTime"].as_f64().unwrap();
    assert!(took < whole.as_secs_f64() * 4.0, "it ran for {took} s after its client had left");
    own.stop().await;
}

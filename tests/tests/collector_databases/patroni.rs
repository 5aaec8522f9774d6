//! Nodes of Patroni, asked through the collector's own road: a peer that gives what a real one said and then ends, and, where
//! `TIDEWATCH_PATRONI` names one (`127.0.0.1:8008`), a real one beside its own page of metrics.

use axum::{Router, routing::get};
use collector::{Config, outlet::Captured, scrape};
use proto::samples::is_stale;
use tokio_util::sync::CancellationToken;

use super::{scrape::Newest, *};

const LEADER: &str = include_str!("../../../collector/testdata/patroni/leader.json");
const CLUSTER: &str = include_str!("../../../collector/testdata/patroni/cluster.json");

fn config(dir: &std::path::Path, jobs: &str) -> Config {
    let text = format!("server: {{address: 'http://127.0.0.1:1'}}\ndata_dir: {}\n{jobs}", dir.display());
    Config::parse("c", &text).unwrap()
}

/// Scrapes every job of a configuration until the token is cancelled.
fn start(config: &Config) -> (Captured, CancellationToken) {
    let (context, captured, _) = surroundings::captured();
    for job in &config.scrapes {
        tokio::spawn(scrape::watch(job.clone(), context.clone()));
    }
    (captured, context.shutdown)
}

fn job(kind: &str, address: &str) -> String {
    format!(
        "{kind}:\n  - job_name: {kind}\n    scrape_interval: 1s\n    static_configs: [{{targets: ['{address}'], labels: {{cluster: shop}}}}]\n"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_is_read_until_it_is_gone() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let app = Router::new().route("/patroni", get(|| async { LEADER })).route("/cluster", get(|| async { CLUSTER }));
    let end = CancellationToken::new();
    let ended = end.clone();
    let peer = tokio::spawn(axum::serve(listener, app).with_graceful_shutdown(ended.cancelled_owned()).into_future());
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path(), &job("patroni_configs", &address));
    let tried = scrape::attempt(&config.scrapes[0]).await;
    assert!(tried[0].1.as_ref().is_ok_and(|said| said.ends_with("samples")), "{tried:?}");
    let (captured, shutdown) = start(&config);
    let mut newest = Newest::default();
    let primary = until(LIMIT, async || {
        newest.take(&captured);
        newest.one("\"patroni_primary\"")
    });
    assert_eq!(primary.await, Some(1.0));
    let lag = r#"{__name__="patroni_cluster_member_lag_bytes", cluster="shop""#;
    assert_eq!((newest.one(lag), newest.one(r#"{__name__="up""#)), (Some(0.0), Some(1.0)), "{:#?}", newest.values);
    end.cancel();
    peer.abort();
    let gone = until(LIMIT, async || {
        newest.take(&captured);
        (newest.one(r#"{__name__="up""#) == Some(0.0)).then_some(())
    });
    gone.await.expect("up is 0");
    assert!(newest.one(lag).is_some_and(is_stale), "its series end");
    shutdown.cancel();
}

#[test]
fn patronis_paths_are_fixed() {
    let dir = tempfile::tempdir().unwrap();
    let text = format!(
        "server: {{address: 'http://127.0.0.1:1'}}\ndata_dir: {}\n{}    metrics_path: /metrics\n",
        dir.path().display(),
        job("patroni_configs", "h:1")
    );
    let error = Config::parse("c", &text).unwrap_err().to_string();
    assert!(error.contains("patroni_configs[0].metrics_path"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_node_says_what_its_own_page_says() {
    let Ok(address) = std::env::var("TIDEWATCH_PATRONI") else {
        return println!("skipped: TIDEWATCH_PATRONI names no node of Patroni");
    };
    let dir = tempfile::tempdir().unwrap();
    let jobs = job("patroni_configs", &address) + &job("scrape_configs", &address);
    let (captured, shutdown) = start(&config(dir.path(), &jobs));
    let mut newest = Newest::default();
    let both = until(LIMIT, async || {
        newest.take(&captured);
        let there = |job: &str| newest.values.keys().any(|l| l.contains("\"patroni_primary\"") && l.contains(job));
        (there("job=\"patroni_configs\"") && there("job=\"scrape_configs\"")).then_some(())
    });
    both.await.expect("both jobs are read");
    shutdown.cancel();
    let mut compared = 0;
    for (labels, ours) in newest.values.iter().filter(|(l, _)| l.contains("job=\"patroni_configs\"")) {
        if let Some(own) = newest.values.get(&labels.replace("patroni_configs", "scrape_configs")) {
            // It was seen a little earlier or later.
            let slack = if labels.contains("dcs_last_seen") { 10.0 } else { 0.0 };
            if labels.contains("__name__=\"patroni_") {
                compared += 1;
                println!("{labels} {ours} {own}");
                assert!((ours - own).abs() <= slack, "{labels}: {ours}, on its own page {own}");
            }
        }
    }
    assert!(compared >= 15, "{compared} metrics compared: {:#?}", newest.values);
}

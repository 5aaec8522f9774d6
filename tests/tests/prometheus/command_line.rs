//! `tidewatch query promql` against a running server: tables, JSON and CSV, at a time and over a range, its notes and errors.

use std::process::Output;

use super::{
    own::Own,
    samples::{NOW_MS, Series},
};

async fn tidewatch(arguments: &[&str]) -> Output {
    let mut command = std::process::Command::new(tests::program::path("tidewatch").unwrap());
    command.args(arguments).env_remove("TIDEWATCH_SERVER");
    tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap()
}

fn texts(output: &Output) -> (Option<i32>, String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

#[tokio::test(flavor = "multi_thread")]
async fn queries_from_the_command_line() {
    let own = Own::start(tempfile::tempdir().unwrap(), "alerting: {builtin_rules: false}", || NOW_MS).await;
    let series = [("订单库", 1.5), ("db2", 20.0)].map(|(name, value)| {
        let labels = [("__name__", "pg_size"), ("库", name)];
        let labels = labels.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let samples = (0..=4).rev().map(|i| (NOW_MS - i * 15_000, value + i as f64)).collect();
        Series { labels, samples, histograms: Vec::new() }
    });
    own.write(&series).await;
    let (server, time) = (format!("--server={}", own.url), format!("--time={}", NOW_MS / 1000));
    let ask = async |more: &[&str]| texts(&tidewatch(&[&["query", "promql", &server, &time], more].concat()).await);
    for (arguments, expected) in [
        (
            &["pg_size"][..],
            "metric                  time                      value\n\
             pg_size{\"库\"=\"db2\"}     2026-09-21T14:13:20.000Z  20\n\
             pg_size{\"库\"=\"订单库\"}  2026-09-21T14:13:20.000Z  1.5\n",
        ),
        (
            &["max by (\"库\") (pg_size)", "--range", "30s", "-o", "csv"],
            "metric,time,value\n\
             \"{\"\"库\"\"=\"\"db2\"\"}\",2026-09-21T14:12:50.000Z,22\n\
             \"{\"\"库\"\"=\"\"db2\"\"}\",2026-09-21T14:13:05.000Z,21\n\
             \"{\"\"库\"\"=\"\"db2\"\"}\",2026-09-21T14:13:20.000Z,20\n\
             \"{\"\"库\"\"=\"\"订单库\"\"}\",2026-09-21T14:12:50.000Z,3.5\n\
             \"{\"\"库\"\"=\"\"订单库\"\"}\",2026-09-21T14:13:05.000Z,2.5\n\
             \"{\"\"库\"\"=\"\"订单库\"\"}\",2026-09-21T14:13:20.000Z,1.5\n",
        ),
        (
            &["sum(pg_size)", "--range=1m", "--step=1m", "-o", "csv"],
            "metric,time,value\n{},2026-09-21T14:12:20.000Z,29.5\n{},2026-09-21T14:13:20.000Z,21.5\n",
        ),
        (&["1 + 1", "-o", "table"], "metric  time                      value\n        2026-09-21T14:13:20.000Z  2\n"),
        (&["'观潮'", "-o", "csv"], "metric,time,value\n,2026-09-21T14:13:20.000Z,观潮\n"),
        (&["no_such_metric"], "metric  time  value\n"),
        (
            &["sum(pg_size)", "-o", "json"],
            "{\"status\":\"success\",\"data\":{\"resultType\":\"vector\",\"result\":[{\"metric\":{},\"value\":[1790000000,\"21.5\"]}]}}\n",
        ),
    ] {
        assert_eq!(ask(arguments).await, (Some(0), expected.to_owned(), String::new()), "{arguments:?}");
    }
    // notes go beside the answer, errors end with 1 and say where, a wrong command line ends with 2
    let (code, out, err) = ask(&["rate(pg_size[1m])"]).await;
    assert_eq!((code, out.lines().count()), (Some(0), 3), "{out}{err}");
    assert!(err.starts_with("info: PromQL info: metric might not be a counter"), "{err}");
    let (code, out, err) = ask(&["sum("]).await;
    assert_eq!((code, out.as_str()), (Some(1), ""), "{err}");
    assert!(err.starts_with("tidewatch: ") && err.contains("1:5: parse error: unclosed left parenthesis"), "{err}");
    let (code, _, err) = ask(&["up", "--range", "soon"]).await;
    assert_eq!(code, Some(1), "{err}");
    assert!(err.contains("--range"), "{err}");
    assert_eq!(ask(&["up", "-o", "xml"]).await.0, Some(2));
    let (code, _, err) = texts(&tidewatch(&["query", "promql", "up", "--server=http://127.0.0.1:1"]).await);
    assert_eq!(code, Some(1), "{err}");
    assert!(err.contains("no answer from http://127.0.0.1:1/api/v1/query"), "{err}");
    own.stop().await;
}

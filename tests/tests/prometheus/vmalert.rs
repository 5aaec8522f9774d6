//! Debian's vmalert evaluates rules on our server: it asks by our query API, writes what rules record by our remote-write door,
//! and posts what fires to our Alertmanager API.

use std::{process::Command, time::Duration};

use collector::Clock;
use rustix::process::Signal;
use tests::{
    process::{Guard, free_port},
    wait::until,
};

use super::{own::Own, samples};

const VMALERT: &str = "/usr/bin/vmalert";
const PATIENCE: Duration = Duration::from_secs(60);
const RULES: &str = "
groups:
- name: shop
  interval: 1s
  rules:
  - {record: 'shop:till:sum', expr: 'sum by (shop) (shop_till)'}
  - alert: TillOpen
    expr: shop:till:sum{shop=\"north\"} > 10
    labels: {severity: warning}
    annotations: {summary: '{{ $labels.shop }}: {{ $value }}'}
  - {alert: TillBroken, expr: 'shop_till < 0'}
";

fn now_ms() -> i64 {
    Clock::system().now_ms()
}

#[tokio::test(flavor = "multi_thread")]
async fn vmalert_evaluates_rules_on_us() {
    if !std::path::Path::new(VMALERT).exists() {
        println!("skipped: {VMALERT} is not installed (Debian package victoria-metrics)");
        return;
    }
    let own = Own::start(tempfile::tempdir().unwrap(), "alerting: {builtin_rules: false}", now_ms).await;
    // a sample of the next minutes too, so that it stays alive however slow the machine is
    let now = now_ms();
    let series = [("north", "a", 7.0), ("north", "b", 5.0), ("south", "a", 3.0)].map(|(shop, till, value)| {
        let labels = [("__name__", "shop_till"), ("shop", shop), ("till", till)];
        let labels = labels.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let samples = (-4..=8).map(|i| (now + i * 60_000, value)).collect();
        samples::Series { labels, samples, histograms: Vec::new() }
    });
    own.write(&series).await;
    let rules = own.folder.path().join("vmalert.yml");
    std::fs::write(&rules, RULES).unwrap();
    let output = own.folder.path().join("vmalert.log");
    let log = std::fs::File::create(&output).unwrap();
    let mut command = Command::new(VMALERT);
    command.args([
        format!("-rule={}", rules.display()),
        format!("-datasource.url={}", own.url),
        format!("-remoteWrite.url={}", own.url),
        format!("-remoteRead.url={}", own.url),
        format!("-notifier.url={}", own.url),
        format!("-httpListenAddr=127.0.0.1:{}", free_port().unwrap()),
        "-evaluationInterval=1s".into(),
        "-remoteWrite.flushInterval=200ms".into(),
    ]);
    command.stdout(log.try_clone().unwrap()).stderr(log);
    let mut vmalert = Guard::start(&mut command, Signal::TERM).unwrap();
    let said = || std::fs::read_to_string(&output).unwrap_or_default();

    let sum = until(PATIENCE, async || {
        let data = own.data("/api/v1/query", &[("query", "shop:till:sum{shop=\"north\"}")]).await;
        data["result"][0]["value"][1].as_str().map(str::to_owned)
    });
    assert_eq!(sum.await.unwrap_or_else(|| panic!("nothing was recorded:\n{}", said())), "12");
    let alert = until(PATIENCE, async || {
        let (_, alerts) = own.get("/api/v2/alerts", &[]).await;
        alerts.as_array()?.iter().find(|a| a["labels"]["alertname"] == "TillOpen").cloned()
    });
    let alert = alert.await.unwrap_or_else(|| panic!("nothing fires:\n{}", said()));
    assert_eq!((&alert["labels"]["shop"], &alert["annotations"]["summary"]), (&"north".into(), &"north: 12".into()));
    let (_, alerts) = own.get("/api/v2/alerts", &[]).await;
    assert!(alerts.as_array().unwrap().iter().all(|a| a["labels"]["alertname"] != "TillBroken"), "{alerts}");
    // its state is written to us as well, which is where it reads it from when it starts again
    let state = until(PATIENCE, async || {
        let query = "ALERTS{alertname=\"TillOpen\", alertstate=\"firing\"}";
        let data = own.data("/api/v1/query", &[("query", query)]).await;
        (!data["result"].as_array()?.is_empty()).then_some(())
    });
    state.await.unwrap_or_else(|| panic!("no state was written:\n{}", said()));
    let failures = said().lines().filter(|line| line.contains("error")).collect::<Vec<_>>().join("\n");
    assert!(failures.is_empty(), "{failures}");
    vmalert.stop();
    own.stop().await;
}

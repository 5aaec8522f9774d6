//! Rules on the real program: reloading it, its command line, and the same rules beside Debian's Prometheus, which scrapes a
//! page of this test and writes what it scraped to us.
#![allow(clippy::unwrap_used)]

use std::{
    collections::BTreeSet,
    path::Path,
    process::{Command, Stdio},
    sync::{Arc, Mutex},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tests::{
    process::{Guard, free_port},
    program::{self, Api, Program},
    wait,
};

/// Until both have said the same; on a busy machine slots and scrapes come late.
const PATIENCE: Duration = Duration::from_secs(60);
/// How far apart beginnings may lie, seconds: a scrape, a remote write and a slot of each lie between.
const APART_S: f64 = 10.0;

struct Site {
    folder: tempfile::TempDir,
    http: u16,
}

impl Site {
    fn new() -> Site {
        Site { folder: tempfile::tempdir().unwrap(), http: free_port().unwrap() }
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.folder.path().join(name), text).unwrap();
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    async fn start(&self) -> Program {
        let http = format!("127.0.0.1:{}", self.http);
        let (config, data) = (self.path("tidewatch.yaml"), self.path("data"));
        let words =
            ["serve", "--config", &config, "--data-dir", &data, "--http-listen", &http, "--grpc-listen", "127.0.0.1:0"];
        let log = self.folder.path().join("server.log");
        let mut program = Program::start("tidewatch", words, &[], &log).unwrap();
        program.ready(self.api().base()).await.unwrap();
        program
    }

    fn api(&self) -> Api {
        Api::new(format!("http://127.0.0.1:{}", self.http))
    }
}

/// Names of all rules, in order.
async fn names(api: &Api) -> Vec<String> {
    let data = api.get("/api/v1/rules", &[]).await.unwrap();
    let groups = data["groups"].as_array().unwrap();
    let rules = groups.iter().flat_map(|g| g["rules"].as_array().unwrap());
    rules.map(|r| r["name"].as_str().unwrap().to_string()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_server_reads_its_rules_again_or_says_why_not() {
    let site = Site::new();
    let rules = |name: &str| format!("groups:\n- name: g\n  rules:\n  - alert: {name}\n    expr: up == 0\n");
    site.write("tidewatch.yaml", "alerting: {rules: ['rules.yml'], builtin_rules: false}\n");
    site.write("rules.yml", &rules("One"));
    let program = site.start().await;
    let api = site.api();
    assert_eq!(names(&api).await, ["One"]);

    let client = reqwest::Client::new();
    let reload = async || {
        let answer = client.post(format!("{}/-/reload", api.base())).send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    };
    site.write("rules.yml", &rules("Two"));
    assert_eq!(reload().await, (200, String::new()));
    assert_eq!(names(&api).await, ["Two"]);

    site.write("rules.yml", &rules("Three").replace("== 0", "=="));
    let (status, words) = reload().await;
    assert_eq!(status, 500);
    assert!(words.contains("rules.yml:5: group \"g\", rule 1 \"Three\": field expr"), "{words}");
    assert_eq!(names(&api).await, ["Two"], "nothing has changed");
    let metrics = client.get(format!("{}/metrics", api.base())).send().await.unwrap().text().await.unwrap();
    assert!(metrics.contains("\ntidewatch_config_last_reload_successful 0"), "{metrics}");
    assert!(metrics.contains("tidewatch_rule_group_rules{rule_group=\"g;"), "{metrics}");
    assert!(metrics.contains("tidewatch_rules_blind{cause=\"never_matched\"}"), "{metrics}");

    // the config file itself is read again too
    site.write("rules.yml", &rules("Four"));
    site.write("more.yml", &rules("More"));
    site.write("tidewatch.yaml", "alerting: {rules: ['*.yml'], builtin_rules: false}\n");
    kill_process(Pid::from_raw(program.pid() as i32).unwrap(), Signal::HUP).unwrap();
    let both = wait::until(PATIENCE, async || (names(&api).await == ["More", "Four"]).then_some(())).await;
    assert!(both.is_some(), "{:?}\n{}", names(&api).await, program.output());
    site.write("tidewatch.yaml", "alerting: {rulez: []}\n");
    let (status, words) = reload().await;
    assert!(status == 500 && words.contains("tidewatch.yaml:1") && words.contains("rulez"), "{words}");
    assert_eq!(names(&api).await, ["More", "Four"]);
    program.stop();
}

/// What the program says and whether it is content.
fn tidewatch(words: &[&str], folder: &Path) -> (bool, String) {
    let out = Command::new(program::path("tidewatch").unwrap()).args(words).current_dir(folder).output().unwrap();
    (out.status.success(), String::from_utf8_lossy(&out.stdout).into_owned())
}

#[test]
fn rules_are_checked_and_tested_from_the_command_line() {
    let site = Site::new();
    site.write("good.yml", "groups:\n- name: g\n  rules:\n  - {alert: A, expr: t > 1}\n  - {alert: A, expr: t > 2}\n");
    site.write(
        "bad.yml",
        "groups:\n- name: g\n  rules:\n  - {alert: A, expr: t >}\n  - {record: b, expr: t, for: 1m}\n",
    );
    let test = |value: &str| {
        format!(
            "rule_files: [good.yml]\ntests:\n- interval: 1m\n  input_series: [{{series: t, values: '{value}'}}]\n  alert_rule_test: [{{eval_time: 0m, alertname: A, exp_alerts: [{{}}]}}]\n"
        )
    };
    site.write("test_good.yml", &test("1.5"));
    site.write("test_bad.yml", &test("1"));
    let folder = site.folder.path();
    let (good, words) = tidewatch(&["check", "rules", "good.yml", "builtin:hosts.yaml"], folder);
    assert!(good && words.contains("SUCCESS: 2 rules found") && words.contains("A{} is there 2 times"), "{words}");
    let (good, words) = tidewatch(&["check", "rules", "good.yml", "bad.yml", "nosuch.yml"], folder);
    assert!(!good);
    for part in ["bad.yml:4: ", "bad.yml:5: ", "nosuch.yml: can't be read"] {
        assert!(words.contains(part), "{part} is not in\n{words}");
    }
    let (good, words) = tidewatch(&["test", "rules", "test_good.yml"], folder);
    assert!(good && words == "Unit Testing:  test_good.yml\n  SUCCESS\n\n", "{words}");
    let junit = ["test", "rules", "--junit", "out.xml", "test_good.yml", "test_bad.yml"];
    let (good, words) = tidewatch(&junit, folder);
    assert!(!good && words.contains("alertname: A, time: 0s"), "{words}");
    let xml = std::fs::read_to_string(folder.join("out.xml")).unwrap();
    assert!(xml.contains("failures=\"1\"") && xml.contains("failures=\"0\""), "{xml}");
}

/// A page of metrics for Prometheus to scrape.
async fn page(text: Arc<Mutex<String>>) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let router = axum::Router::new().route("/metrics", axum::routing::get(async move || text.lock().unwrap().clone()));
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    address
}

const RULES: &str = r#"groups:
- name: plain
  interval: 1s
  rules:
  - {alert: HotNow, expr: temperature > 30, labels: {severity: page}, annotations: {a: "{{ $labels.room }} {{ $value }}"}}
  - {alert: Hot, expr: temperature > 30, for: 3s}
  - {alert: Waits, expr: temperature > 30, for: 1h, annotations: {a: "{{ $value | humanize }}"}}
  - {alert: Kept, expr: temperature > 30, keep_firing_for: 5s}
  - {alert: Nothing, expr: 'absent(nosuch{job="x"})'}
  - {alert: Infinite, expr: temperature / 0 > 0}
  - {alert: Large, expr: temperature * 1e7 + 1 > 0}
  - {alert: Small, expr: temperature / 1e9 > 0}
- name: chain
  interval: 1s
  rules:
  - {record: "room:temperature:sum", expr: sum without (room) (temperature), labels: {kind: sum}}
  - {alert: Sum, expr: "room:temperature:sum > 55", for: 2s}
  - {alert: Watches, expr: 'count by (alertname) (ALERTS{alertname="Sum", alertstate="firing"})', labels: {alertname: x}}
- name: errors
  interval: 1s
  limit: 1
  rules:
  - {alert: Limited, expr: temperature > 30}
  - {alert: Twins, expr: '{__name__=~"temperature|wetness"} > 0'}
  - {record: "twins:record", expr: 'label_replace(temperature, "room", "same", "", "")'}
"#;

/// A rules answer without what depends on the moment; messages of errors as far as both word them.
fn comparable(data: &Value) -> Value {
    let mut groups = Vec::new();
    for group in data["groups"].as_array().unwrap() {
        let mut rules = Vec::new();
        for rule in group["rules"].as_array().unwrap() {
            let mut alerts: Vec<Value> = rule["alerts"].as_array().cloned().unwrap_or_default();
            alerts.iter_mut().for_each(|a| a["activeAt"] = a["activeAt"].is_string().into());
            alerts.sort_by_key(|a| a["labels"].to_string());
            let fields =
                ["name", "type", "state", "health", "query", "duration", "keepFiringFor", "labels", "annotations"];
            let mut out: Value = fields.iter().map(|f| (f.to_string(), rule[f].clone())).collect();
            if out["labels"].is_null() {
                out["labels"] = json!({}); // 2.42 leaves out the labels of a recording rule that has none
            }
            let error = rule["lastError"].as_str().map(|e| e.split(": {").next().unwrap_or("").to_string());
            (out["alerts"], out["lastError"]) = (alerts.into(), error.into());
            rules.push(out);
        }
        groups.push(
            json!({ "name": group["name"], "interval": group["interval"], "limit": group["limit"], "rules": rules }),
        );
    }
    groups.into()
}

fn state(data: &Value, name: &str) -> String {
    let rules = data["groups"].as_array().unwrap().iter().flat_map(|g| g["rules"].as_array().unwrap());
    rules.filter(|r| r["name"] == name).map(|r| r["state"].as_str().unwrap_or("").to_string()).collect()
}

/// `activeAt` of every alert, in seconds, by rule and labels.
fn beginnings(data: &Value) -> Vec<(String, f64)> {
    let rules = data["groups"].as_array().unwrap().iter().flat_map(|g| g["rules"].as_array().unwrap());
    let alerts = rules.flat_map(|r| r["alerts"].as_array().into_iter().flatten());
    let mut found: Vec<(String, f64)> = alerts
        .map(|a| {
            let at = chrono::DateTime::parse_from_rfc3339(a["activeAt"].as_str().unwrap()).unwrap();
            (a["labels"].to_string(), at.timestamp_millis() as f64 / 1000.0)
        })
        .collect();
    found.sort_by(|a, b| a.0.cmp(&b.0));
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn prometheus_says_the_same_of_the_same_rules() {
    if Command::new("prometheus").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_err() {
        println!("skipped: prometheus is not installed (Debian package prometheus)");
        return;
    }
    let site = Site::new();
    site.write("rules.yml", RULES);
    site.write("tidewatch.yaml", "alerting: {rules: [rules.yml], builtin_rules: false}\n");
    let ours = site.start().await;

    let text = Arc::new(Mutex::new(String::new()));
    let target = page(text.clone()).await;
    let port = free_port().unwrap();
    let config = format!(
        "global: {{scrape_interval: 1s, evaluation_interval: 1s}}\nrule_files: [rules.yml]\n\
         scrape_configs: [{{job_name: page, static_configs: [{{targets: ['{target}']}}]}}]\n\
         remote_write:\n- url: http://127.0.0.1:{}/api/v1/write\n  queue_config: {{batch_send_deadline: 100ms}}\n\
         \x20 write_relabel_configs: [{{source_labels: [__name__], regex: 'temperature|wetness', action: keep}}]\n",
        site.http
    );
    site.write("prometheus.yml", &config);
    let log = std::fs::File::create(site.folder.path().join("prometheus.log")).unwrap();
    let mut command = Command::new("prometheus");
    command.args([
        format!("--config.file={}", site.path("prometheus.yml")),
        format!("--storage.tsdb.path={}", site.path("tsdb")),
        format!("--web.listen-address=127.0.0.1:{port}"),
    ]);
    let _prometheus = Guard::start(command.stdout(Stdio::null()).stderr(log), Signal::TERM).unwrap();
    let (ours_api, theirs_api) = (site.api(), Api::new(format!("http://127.0.0.1:{port}")));

    let both = async || {
        let theirs = theirs_api.get("/api/v1/rules", &[]).await.ok()?;
        Some((ours_api.get("/api/v1/rules", &[]).await.ok()?, theirs))
    };
    let room = |name: &str, value: f64| format!("temperature{{room=\"{name}\"}} {value}\n");
    // what the page shows, and which rule must be in which state before both are compared
    let phases: [(String, &[(&str, &str)]); 5] = [
        (room("a", 10.5), &[("Large", "firing"), ("Nothing", "firing"), ("HotNow", "inactive")]),
        (room("a", 31.25) + &room("b", 5.0), &[("Hot", "firing"), ("Waits", "pending"), ("Sum", "inactive")]),
        (room("a", 31.25) + &room("b", 40.0), &[("Sum", "firing"), ("Watches", "firing"), ("Limited", "inactive")]),
        (
            room("a", 1.0) + &room("b", 40.0) + "wetness{room=\"b\"} 1\n",
            &[("Hot", "firing"), ("Sum", "inactive"), ("Limited", "firing"), ("Kept", "firing")],
        ),
        (String::new(), &[("Hot", "inactive"), ("Kept", "inactive"), ("Nothing", "firing"), ("Large", "inactive")]),
    ];
    let mut rules_compared = 0;
    let mut kept: [BTreeSet<&str>; 2] = Default::default();
    for (number, (shown, wanted)) in phases.iter().enumerate() {
        text.lock().unwrap().clone_from(shown);
        let mut last = None;
        let equal = wait::until(PATIENCE, async || {
            let (a, b) = both().await?;
            for (i, data) in [&a, &b].into_iter().enumerate() {
                if state(data, "Kept") == "firing" && state(data, "HotNow") == "inactive" {
                    kept[i].insert("fires on");
                }
            }
            let there = wanted.iter().all(|(rule, wanted)| state(&a, rule) == *wanted && state(&b, rule) == *wanted);
            let same = there && comparable(&a) == comparable(&b);
            last = Some((a, b));
            same.then_some(())
        })
        .await;
        let (a, b) = last.expect("both answer");
        assert!(
            equal.is_some(),
            "phase {number}\nours:   {:#}\ntheirs: {:#}\n{}",
            comparable(&a),
            comparable(&b),
            ours.output()
        );
        rules_compared +=
            comparable(&a).as_array().unwrap().iter().map(|g| g["rules"].as_array().unwrap().len()).sum::<usize>();
        for ((labels, ours), (_, theirs)) in beginnings(&a).into_iter().zip(beginnings(&b)) {
            assert!((ours - theirs).abs() <= APART_S, "phase {number}: {labels} began at {ours} and {theirs}");
        }
        // alerts that a limit cleared: Prometheus leaves their series to the lookback, we mark them stale
        let query =
            "count by (alertname, alertstate) ({__name__=~\"ALERTS|ALERTS_FOR_STATE\", alertname!~\"Limited|Twins\"})";
        let mut last = (Value::Null, Value::Null);
        let equal = wait::until(PATIENCE, async || {
            let ask = async |api: &Api| {
                let mut rows: Vec<String> = api.get("/api/v1/query", &[("query", query)]).await.ok()?["result"]
                    .as_array()?
                    .iter()
                    .map(|r| format!("{} {}", r["metric"], r["value"][1]))
                    .collect();
                rows.sort();
                Some(json!(rows))
            };
            last = (ask(&ours_api).await?, ask(&theirs_api).await?);
            (last.0 == last.1).then_some(())
        })
        .await;
        assert!(equal.is_some(), "phase {number}\nours:   {:#}\ntheirs: {:#}", last.0, last.1);
    }
    assert_eq!(kept.map(|k| k.len()), [1, 1], "both were seen to keep firing");
    println!(
        "{} phases, {rules_compared} rules: state, alerts, values, errors and series equal Prometheus'",
        phases.len()
    );
    ours.stop();
}

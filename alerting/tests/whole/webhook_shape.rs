//! The webhook's body beside that of Debian's Alertmanager 0.25: the same fields, of the same types, for the same alert.

use std::process::{Child, Command, Stdio};

use serde_json::{Value as Json, json};

use super::provider::{Provider, check_nothing, reply};
use super::stage::Stage;

const PROGRAM: &str = "/usr/bin/prometheus-alertmanager";
/// What later versions than 0.25 have beside.
const LATER: [&str; 2] = ["notification_reason", "routeLabels"];

struct Alertmanager {
    child: Child,
    url: String,
}

impl Drop for Alertmanager {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Alertmanager {
    fn start(folder: &std::path::Path, hook: &str) -> Alertmanager {
        let config = folder.join("alertmanager.yml");
        let text = format!(
            "route: {{receiver: r, group_by: [alertname], group_wait: 0s, group_interval: 1s}}\n\
             receivers: [{{name: r, webhook_configs: [{{url: '{hook}'}}]}}]\n"
        );
        std::fs::write(&config, text).unwrap();
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let child = Command::new(PROGRAM)
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.path={}", folder.join("alertmanager").display()))
            .arg(format!("--web.listen-address={free}"))
            .args(["--cluster.listen-address=", "--web.external-url=http://watch"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Alertmanager { child, url: format!("http://{free}") }
    }
}

/// Paths of all fields with their types; lists by their first entry.
fn shape(value: &Json, at: &str, found: &mut Vec<String>) {
    let kind = match value {
        Json::Null => "null",
        Json::Bool(_) => "bool",
        Json::Number(_) => "number",
        Json::String(_) => "string",
        Json::Array(_) => "array",
        Json::Object(_) => "object",
    };
    found.push(format!("{at}: {kind}"));
    match value {
        Json::Object(fields) => fields.iter().for_each(|(name, v)| shape(v, &format!("{at}.{name}"), found)),
        Json::Array(entries) => entries.iter().take(1).for_each(|v| shape(v, &format!("{at}[]"), found)),
        _ => {}
    }
}

fn sorted_shape(body: &Json) -> Vec<String> {
    let mut body = body.clone();
    LATER.iter().for_each(|name| {
        body.as_object_mut().unwrap().remove(*name);
    });
    let mut found = Vec::new();
    shape(&body, "", &mut found);
    found.sort();
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn the_body_has_the_shape_of_alertmanagers() {
    if !std::path::Path::new(PROGRAM).exists() {
        println!("skipped: {PROGRAM} is not installed");
        return;
    }
    let stage = Stage::new().await;
    stage.write(
        "rules.yml",
        "groups:\n- name: g\n  interval: 5s\n  rules:\n  - alert: Hot\n    expr: t > 30\n    labels: {severity: critical}\n    \
         annotations: {summary: hot}\n",
    );
    let config = "builtin_rules: false\nrules: [rules.yml]\nexternal_url: 'http://watch'\n\
                  receivers: [{name: r, webhooks: [{url: '$peer'}]}]\nroute: {receiver: r, group_by: [alertname]}\n";
    let alerting = stage.start(config).await;
    let hot = async |_| stage.samples(&[("t{instance=\"x\"}", 31.0)]).await;
    stage.play(&alerting, 10, hot).await;
    let ours = stage.peer.got.lock()[0].body.clone();

    let hook = Provider::start(check_nothing, reply(200, "")).await;
    let theirs = Alertmanager::start(stage.folder.path(), &hook.url);
    let mut alert = ours["alerts"][0].clone();
    alert["startsAt"] = "2026-01-01T00:00:00Z".into();
    alert["endsAt"] = "2099-01-01T00:00:00Z".into();
    let client = reqwest::Client::new();
    let post = async || {
        let answer = client.post(format!("{}/api/v2/alerts", theirs.url)).json(&json!([alert])).send().await.ok()?;
        answer.status().is_success().then_some(())
    };
    stage.eventually("alertmanager", post).await;
    let body = stage.eventually("its webhook", async || hook.got().first().map(|r| r.json())).await;
    assert_eq!(sorted_shape(&ours), sorted_shape(&body), "ours: {ours}\ntheirs: {body}");
    for name in [
        "receiver",
        "status",
        "groupKey",
        "groupLabels",
        "commonLabels",
        "commonAnnotations",
        "version",
        "truncatedAlerts",
    ] {
        assert_eq!(ours[name], body[name], "{name}");
    }
    for name in ["labels", "annotations", "generatorURL", "fingerprint"] {
        assert_eq!(ours["alerts"][0][name], body["alerts"][0][name], "alerts[0].{name}");
    }
    assert_eq!((&ours["notification_reason"], &ours["routeLabels"]), (&"first notification".into(), &json!({})));
}

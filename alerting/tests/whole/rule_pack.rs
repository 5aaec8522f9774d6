//! The built-in rules against their unit tests, the files in `alerting/rules/tests`: each rule must be seen to fire and not to.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use alerting::unit_test::{self, Options};
use serde_json::Value;

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("rules/tests")
}

#[tokio::test(flavor = "multi_thread")]
async fn every_built_in_rule_fires_when_it_should_and_only_then() {
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder()).unwrap().map(|e| e.unwrap().path()).collect();
    files.sort();
    let mut wrong = Vec::new();
    // of each rule, whether a test expects it to fire, and not to
    let mut tested: BTreeMap<String, (bool, bool)> = BTreeMap::new();
    let reports =
        files.iter().cloned().map(|path| tokio::spawn(async move { unit_test::run(&path, &Options::default()).await }));
    let reports: Vec<_> = reports.collect();
    for (path, report) in files.iter().zip(reports) {
        let report = report.await.unwrap();
        if !report.passed() {
            wrong.push(report.text());
        }
        let file: Value = serde_saphyr::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        for check in file["tests"].as_array().unwrap().iter().flat_map(|t| t["alert_rule_test"].as_array().unwrap()) {
            let (fires, rests) = tested.entry(check["alertname"].as_str().unwrap().to_owned()).or_default();
            match check["exp_alerts"].as_array() {
                Some(alerts) if !alerts.is_empty() => *fires = true,
                _ => *rests = true,
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let groups = alerting::builtin::groups(15_000).unwrap();
    let names = files.iter().map(|f| format!("builtin:{}", f.file_name().unwrap().to_str().unwrap()));
    let names: BTreeSet<String> = names.collect();
    let rules = groups.iter().filter(|g| names.contains(&g.file)).flat_map(|g| &g.rules);
    let pack: BTreeSet<&str> = rules.filter(|r| r.alerting().is_some()).map(|r| r.name.as_str()).collect();
    assert!(pack.len() >= 70, "{} rules have unit tests", pack.len());
    let without: Vec<&&str> = pack.iter().filter(|name| tested.get(**name) != Some(&(true, true))).collect();
    println!("{} built-in rules, {} files of unit tests", pack.len(), files.len());
    assert!(without.is_empty(), "rules that no test sees fire and rest: {without:?}");
}

#[test]
fn documents_count_the_rules_there_are() {
    let groups = alerting::builtin::groups(15_000).unwrap();
    let count = groups.iter().flat_map(|g| &g.rules).filter(|r| r.alerting().is_some()).count();
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..");
    for (file, says) in [
        ("README.md", format!("{count} graded rules")),
        ("README.zh.md", format!("{count} 条分级规则")),
        ("docs/alerting.md", format!("holds {count} rules")),
        ("docs/status.md", format!("{count} rules, each with unit tests")),
    ] {
        let text = std::fs::read_to_string(root.join(file)).unwrap();
        assert!(text.contains(&says), "{file} does not say {says:?}");
    }
}

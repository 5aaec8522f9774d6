//! Unit tests of rules, the files in `alerting/tests/rule_tests`: what promtool says of each, we say too. Files named
//! `own_*` use what is ours alone or what Debian's promtool is too old for. `pass` and `fail` in a name is the verdict
//! expected of both.

use std::path::PathBuf;

use alerting::unit_test::{self, Options};

use crate::promtool::promtool;

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/rule_tests")
}

/// Test files by name, those of rules left out.
fn files() -> Vec<(String, PathBuf)> {
    let entries = std::fs::read_dir(folder()).unwrap().map(|e| e.unwrap().path());
    let name = |p: &PathBuf| p.file_name().unwrap().to_str().unwrap().to_string();
    let mut files: Vec<_> = entries.map(|p| (name(&p), p)).filter(|(n, _)| !n.starts_with("rules_")).collect();
    files.sort();
    files
}

#[tokio::test(flavor = "multi_thread")]
async fn the_verdict_is_promtools() {
    let (mut both, mut alone, mut wrong) = (0, 0, Vec::new());
    for (name, path) in files() {
        let report = unit_test::run(&path, &Options::default()).await;
        let expected = name.contains("pass_");
        assert!(expected || name.contains("fail_"), "{name} says no verdict");
        if report.passed() != expected {
            wrong.push(format!("{name}: ours is not what its name says\n{}", report.text()));
        }
        alone += 1;
        if name.starts_with("own_") {
            continue;
        }
        let Some((theirs, words)) = promtool(&["test", "rules", path.to_str().unwrap()]) else { continue };
        both += 1;
        if theirs != report.passed() {
            wrong.push(format!("{name}: promtool says {theirs}\n{words}\nours:\n{}", report.text()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    println!("{alone} files of unit tests as expected, {both} of them with promtool's verdict");
    assert!(alone >= 45, "{alone} files only");
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_say_what_differs() {
    let report = unit_test::run(&folder().join("own_fail_level.yaml"), &Options::default()).await;
    let text = report.text();
    for part in ["FAILED", "alertname: Sessions, time: 1m", "level=critical", "level=notice"] {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
    let diff = Options::new(&[], true).unwrap();
    let text = unit_test::run(&folder().join("fail_label_missing.yaml"), &diff).await.text();
    assert!(text.contains("\n        - labels=") && text.contains("\n        + labels="), "{text}");
    let only = Options::new(&["^down$".into()], false).unwrap();
    let report = unit_test::run(&folder().join("fail_second_test_group.yaml"), &only).await;
    assert!(report.passed() && report.groups.len() == 1, "{}", report.text());
    let junit = unit_test::junit(&[unit_test::run(&folder().join("fail_second_test_group.yaml"), &diff).await]);
    assert!(junit.contains("tests=\"2\" failures=\"1\" errors=\"0\"") && junit.contains("&quot;"), "{junit}");
    assert!(Options::new(&["(".into()], false).is_err());
    let wrong = unit_test::run(&folder().join("fail_unknown_field.yaml"), &Options::default()).await;
    assert!(wrong.error.as_deref().unwrap().contains("fail_unknown_field.yaml:3: "), "{:?}", wrong.error);
}

//! Runs PromQL test scripts (the language of Prometheus' own): every `.test` file of the folder `PROMQLTEST_DIR` names,
//! and always our own in `testdata/`. One line a file; anything that fails and is not in [`KNOWN`] fails the run.

mod at_fixed;
mod expectation;
mod nhcb;
mod script;

use std::path::{Path, PathBuf};

/// Evaluations that may fail, each with its reason: (file, part of the query, reason). It is empty, and should stay so.
const KNOWN: &[(&str, &str, &str)] = &[];

fn scripts(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder)
        .unwrap_or_else(|e| panic!("{}: {e}", folder.display()))
        .filter_map(|entry| entry.ok().map(|e| e.path()))
        .filter(|path| path.extension().is_some_and(|e| e == "test"))
        .collect();
    files.sort();
    files
}

/// Runs all scripts of a folder and returns the failures that are not known.
fn run_folder(folder: &Path) -> Vec<String> {
    let mut failures = Vec::new();
    let files = scripts(folder);
    assert!(!files.is_empty(), "{} holds no .test file", folder.display());
    for file in files {
        let name = file.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        let text = std::fs::read_to_string(&file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
        let report = script::run(&text);
        let (known, new): (Vec<_>, Vec<_>) = report
            .failures
            .into_iter()
            .partition(|failure| KNOWN.iter().any(|(file, query, _)| *file == name && failure.contains(query)));
        println!("{name:<28} passed {:>4}  failed {:>3}  unsupported {:>3}", report.passed, new.len(), known.len());
        failures.extend(new.into_iter().map(|failure| format!("{name}:{failure}")));
    }
    failures
}

fn expect_none(failures: &[String]) {
    /// Failures shown in full.
    const SHOWN_MAX: usize = 40;
    let shown: Vec<&str> = failures.iter().take(SHOWN_MAX).map(String::as_str).collect();
    assert!(failures.is_empty(), "{} evaluations failed:\n{}", failures.len(), shown.join("\n"));
}

/// A runner that cannot fail proves nothing: each of these evaluations is wrong in one way.
#[test]
fn wrong_expectations_are_reported() {
    for (expectation, why) in [
        ("  {a=\"1\"} 6", "expected Some(Float(6.0))"),
        ("  {a=\"2\"} 5", "is missing"),
        ("", "expected 0 series, got 1"),
        ("  {a=\"1\"} 5\n  {a=\"2\"} 5", "is missing"),
        ("  expect fail\n", "expected a failure"),
        ("  expect warn\n  {a=\"1\"} 5", "expected warnings, got none"),
        ("  expect no_info\n  {a=\"1\"} 5", "unexpected infos"),
        ("  expect info msg: other\n  {a=\"1\"} 5", "other infos than expected"),
        ("  5", "expected no vector"),
        ("  expect range vector from 0 step 1m\n", "cannot read"),
    ] {
        let script = format!("load 1m\n  m{{a=\"1\"}} 0+5x1\n\neval instant at 1m increase(m[2m])\n{expectation}\n");
        let report = script::run(&script);
        assert_eq!((report.passed, report.failures.len()), (0, 1), "{expectation:?}");
        assert!(report.failures[0].contains(why), "{expectation:?}: {}", report.failures[0]);
    }
}

#[test]
fn our_scripts_pass() {
    expect_none(&run_folder(&Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata")));
}

#[test]
fn scripts_of_prometheus_pass() {
    match std::env::var_os("PROMQLTEST_DIR") {
        None => println!("skipped: PROMQLTEST_DIR is not set"),
        Some(folder) => expect_none(&run_folder(Path::new(&folder))),
    }
}

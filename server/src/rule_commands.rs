//! `tidewatch check rules` and `tidewatch test rules`: rule files and their unit tests, without a server.

use std::{
    collections::BTreeMap,
    fmt::Write,
    path::{Path, PathBuf},
};

use alerting::{
    builtin,
    rule::RuleGroup,
    rule_file::{self, RuleFileError},
    unit_test,
};
use anyhow::Context;

/// Interval of groups that name none, milliseconds; of no consequence for a check.
const INTERVAL_MS: i64 = 60_000;

/// How `test rules` runs.
#[derive(Debug, Default)]
pub struct TestOptions {
    /// Only test groups whose name one of these finds something in.
    pub only: Vec<String>,
    /// Show the lines that differ.
    pub diff: bool,
    /// Write a JUnit report here.
    pub junit: Option<PathBuf>,
}

/// What is to be printed, and whether all is well.
pub type Verdict = (String, bool);

/// Checks rule files: every error is told. `builtin:NAME` is a file of the program's own.
pub fn check(files: &[String]) -> Verdict {
    let (mut out, mut good) = (String::new(), true);
    for file in files {
        let _ = writeln!(out, "Checking {file}");
        match read(file) {
            Ok(groups) => {
                let _ = writeln!(out, "  SUCCESS: {} rules found", groups.iter().map(|g| g.rules.len()).sum::<usize>());
                for (rule, times) in duplicates(&groups) {
                    let _ = writeln!(out, "  WARNING: {rule} is there {times} times");
                }
            }
            Err(errors) => {
                good = false;
                out.push_str("  FAILED:\n");
                for error in errors {
                    let _ = writeln!(out, "  {error}");
                }
            }
        }
    }
    (out, good)
}

fn read(file: &str) -> Result<Vec<RuleGroup>, Vec<RuleFileError>> {
    if !file.starts_with("builtin:") {
        let text = rule_file::text(Path::new(file)).map_err(|e| vec![e])?;
        return rule_file::parse_all(file, &text, INTERVAL_MS);
    }
    let Some((name, text)) = builtin::FILES.iter().find(|(name, _)| *name == file) else {
        let names: Vec<&str> = builtin::FILES.iter().map(|(name, _)| *name).collect();
        let message = format!("there is none of that name; allowed are {}", names.join(", "));
        return Err(vec![RuleFileError { file: file.into(), line: None, message }]);
    };
    rule_file::parse_all(name, text, INTERVAL_MS)
}

/// Rules with one name and the same labels: their series would overwrite each other.
fn duplicates(groups: &[RuleGroup]) -> Vec<(String, usize)> {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for rule in groups.iter().flat_map(|g| &g.rules) {
        let labels: Vec<String> = rule.labels.iter().map(|(n, t)| format!("{n}={:?}", t.source())).collect();
        *counts.entry(format!("{}{{{}}}", rule.name, labels.join(", "))).or_default() += 1;
    }
    counts.into_iter().filter(|(_, times)| *times > 1).collect()
}

/// Runs files of unit tests.
pub async fn test(files: &[PathBuf], options: &TestOptions) -> anyhow::Result<Verdict> {
    let run = unit_test::Options::new(&options.only, options.diff).map_err(anyhow::Error::msg).context("--run")?;
    let mut reports = Vec::new();
    for file in files {
        reports.push(unit_test::run(file, &run).await);
    }
    if let Some(path) = &options.junit {
        std::fs::write(path, unit_test::junit(&reports)).with_context(|| path.display().to_string())?;
    }
    let out = reports.iter().map(|r| r.text() + "\n").collect();
    Ok((out, reports.iter().all(unit_test::FileReport::passed)))
}

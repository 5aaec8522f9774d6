//! Unit tests of rules: promtool's YAML, unchanged, with levels, pending alerts, blindness and rows of tables beside it.
//!
//! A test group gets a store of its own in a private folder, samples up to each moment of a virtual clock, and the same
//! groups and state machine as a server. Groups are evaluated at every `evaluation_interval`, whatever their own; what is
//! expected is compared with the evaluation at or before its time (prometheus/prometheus, cmd/promtool/unittest.go).

use std::path::{Path, PathBuf};

use regex::Regex;

use crate::builtin;
use crate::rule::RuleGroup;
use crate::rule_file;

mod compare;
mod expect;
mod file;
mod input;
mod report;
mod stage;

pub use report::junit;

/// How tests are run.
#[derive(Clone, Debug, Default)]
pub struct Options {
    only: Vec<Regex>,
    diff: bool,
}

impl Options {
    /// Only test groups whose name one of the regular expressions finds something in (none: all); `diff`: failed expectations
    /// are shown as the lines that differ.
    pub fn new(only: &[String], diff: bool) -> Result<Options, String> {
        let only = only.iter().map(|r| Regex::new(r).map_err(|e| e.to_string())).collect::<Result<_, _>>()?;
        Ok(Options { only, diff })
    }
}

/// What came of one file.
#[derive(Clone, Debug)]
pub struct FileReport {
    /// The file as it was named.
    pub file: String,
    /// What is worth knowing and no failure.
    pub warnings: Vec<String>,
    /// The file itself can't be used.
    pub error: Option<String>,
    /// Its test groups, those run.
    pub groups: Vec<GroupReport>,
}

/// What came of one test group.
#[derive(Clone, Debug)]
pub struct GroupReport {
    /// `name` of the group, else its number, from one.
    pub name: String,
    /// What is not as expected; empty: all is.
    pub failures: Vec<String>,
}

impl FileReport {
    /// Whether everything is as expected.
    pub fn passed(&self) -> bool {
        self.error.is_none() && self.groups.iter().all(|g| g.failures.is_empty())
    }

    /// In promtool's shape, for people.
    pub fn text(&self) -> String {
        report::text(self)
    }
}

/// Runs one file of tests.
pub async fn run(path: &Path, options: &Options) -> FileReport {
    let file = path.display().to_string();
    let mut report = FileReport { file: file.clone(), warnings: Vec::new(), error: None, groups: Vec::new() };
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(e) => {
            report.error = Some(format!("{file}: {e}"));
            return report;
        }
    };
    let tests = match file::parse(&file, &text) {
        Ok(tests) => tests,
        Err(e) => {
            report.error = Some(e.to_string());
            return report;
        }
    };
    let rules = find_rules(&tests.rule_files, path.parent().unwrap_or(Path::new(".")), &mut report.warnings);
    for (number, test) in tests.groups.iter().enumerate() {
        let name = if test.name.is_empty() { format!("test group {}", number + 1) } else { test.name.clone() };
        if !options.only.is_empty() && !options.only.iter().any(|r| r.is_match(&test.name)) {
            continue;
        }
        let failures = match load_rules(&rules, test.interval_ms) {
            Ok(groups) => stage::play(&tests, test, groups, options.diff).await,
            Err(e) => vec![e],
        };
        report.groups.push(GroupReport { name, failures });
    }
    report
}

/// A rule file of ours or of the user's.
enum RuleText {
    Builtin(&'static str, &'static str),
    File(PathBuf),
}

/// The files behind `rule_files`: `builtin:NAME` (or `builtin:*`), else paths with `*` and `?`, from the test file's folder.
fn find_rules(patterns: &[String], base: &Path, warnings: &mut Vec<String>) -> Vec<RuleText> {
    let mut found = Vec::new();
    for pattern in patterns {
        let before = found.len();
        if pattern.starts_with("builtin:") {
            let fits = |name: &str| rule_file::matches_pattern(pattern, name);
            found.extend(builtin::FILES.iter().filter(|(n, _)| fits(n)).map(|(n, t)| RuleText::Builtin(n, t)));
        } else {
            let paths = rule_file::find(std::slice::from_ref(pattern), base).unwrap_or_else(|e| {
                warnings.push(e.to_string());
                Vec::new()
            });
            found.extend(paths.into_iter().filter(|p| p.exists()).map(RuleText::File));
        }
        if found.len() == before {
            warnings.push(format!("no file matches {pattern}"));
        }
    }
    found
}

fn load_rules(rules: &[RuleText], interval_ms: i64) -> Result<Vec<RuleGroup>, String> {
    let mut groups = Vec::new();
    for rule in rules {
        groups.extend(match rule {
            RuleText::Builtin(name, text) => rule_file::parse(name, text, interval_ms).map_err(|e| e.to_string())?,
            RuleText::File(path) => rule_file::read(path, interval_ms).map_err(|e| e.to_string())?,
        });
    }
    Ok(groups)
}

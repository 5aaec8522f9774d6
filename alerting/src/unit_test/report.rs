//! Reports of test runs: for people, in promtool's shape, and as JUnit's XML for CI.

use std::fmt::Write;

use super::FileReport;

/// What one file gave.
pub(super) fn text(report: &FileReport) -> String {
    let mut out = format!("Unit Testing:  {}\n", report.file);
    for warning in &report.warnings {
        let _ = writeln!(out, "  WARNING: {warning}");
    }
    if report.passed() {
        out.push_str("  SUCCESS\n");
        return out;
    }
    out.push_str("  FAILED:\n");
    if let Some(error) = &report.error {
        let _ = writeln!(out, "    {error}");
    }
    for group in &report.groups {
        for failure in &group.failures {
            let _ = writeln!(out, "    {}: {}", group.name, failure.replace('\n', "\n    "));
        }
    }
    out
}

/// All files as one JUnit document: a suite per file, a case per test group.
pub fn junit(reports: &[FileReport]) -> String {
    let mut out = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n");
    for report in reports {
        let failures = report.groups.iter().filter(|g| !g.failures.is_empty()).count();
        let errors = usize::from(report.error.is_some());
        let (name, tests) = (escaped(&report.file), report.groups.len());
        let _ = writeln!(
            out,
            "  <testsuite name=\"{name}\" tests=\"{tests}\" failures=\"{failures}\" errors=\"{errors}\">"
        );
        if let Some(error) = &report.error {
            let error = escaped(error);
            let _ = writeln!(out, "    <testcase name=\"{name}\"><error message=\"{error}\"/></testcase>");
        }
        for group in &report.groups {
            let _ = write!(out, "    <testcase name=\"{}\">", escaped(&group.name));
            for failure in &group.failures {
                let head = escaped(failure.lines().next().unwrap_or(""));
                let _ = write!(out, "<failure message=\"{head}\">{}</failure>", escaped(failure));
            }
            out.push_str("</testcase>\n");
        }
        out.push_str("  </testsuite>\n");
    }
    out + "</testsuites>\n"
}

fn escaped(text: &str) -> String {
    let allowed = |c: &char| !c.is_control() || matches!(c, '\n' | '\t');
    text.chars().filter(allowed).fold(String::with_capacity(text.len()), |mut out, c| {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            c => out.push(c),
        }
        out
    })
}

//! Whose line it is: group and rule around a line of a rule file that can't be read, so that the error can name them.

use serde::Deserialize;
use serde_saphyr::Spanned;

use super::or_empty;

#[derive(Deserialize)]
struct LooseFile {
    #[serde(default, deserialize_with = "or_empty")]
    groups: Vec<Spanned<LooseGroup>>,
}

#[derive(Deserialize)]
struct LooseGroup {
    name: Option<String>,
    #[serde(default, deserialize_with = "or_empty")]
    rules: Vec<Spanned<LooseRule>>,
}

#[derive(Deserialize)]
struct LooseRule {
    alert: Option<String>,
    record: Option<String>,
}

/// `group "g", rule 1 "A": ` of a line, as much of it as can be found; empty: nothing.
pub(super) fn place(text: &str, line: u64) -> String {
    let mut bytes = text.as_bytes();
    let Some(Ok(file)) = serde_saphyr::read::<_, LooseFile>(&mut bytes).next() else { return String::new() };
    let Some(group) = file.groups.iter().rfind(|g| g.referenced.line() <= line) else { return String::new() };
    let name = group.value.name.as_deref().unwrap_or("");
    let rule = group.value.rules.iter().enumerate().rfind(|(_, r)| r.referenced.line() <= line);
    match rule {
        Some((i, rule)) => {
            let rule_name = rule.value.alert.as_deref().or(rule.value.record.as_deref()).unwrap_or("");
            format!("group {name:?}, rule {} {rule_name:?}: ", i + 1)
        }
        None => format!("group {name:?}: "),
    }
}

//! Rewrites label sets by rules, as Prometheus does (its configuration documentation, `relabel_config`). Pure.

use std::collections::BTreeMap;

use md5::{Digest, Md5};
use regex::Regex;

/// Labels while they are rewritten; a label with an empty value is not there.
pub type LabelMap = BTreeMap<String, String>;

/// What a rule does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Writes `replacement` into `target_label` where the source matches.
    Replace,
    /// Leaves what does not match.
    Keep,
    /// Leaves what matches.
    Drop,
    /// Leaves what differs from `target_label`.
    KeepEqual,
    /// Leaves what equals `target_label`.
    DropEqual,
    /// Copies labels whose name matches to the name `replacement` makes.
    LabelMap,
    /// Takes labels away whose name matches.
    LabelDrop,
    /// Takes labels away whose name does not match.
    LabelKeep,
    /// Writes the source in small letters.
    Lowercase,
    /// Writes the source in capitals.
    Uppercase,
    /// Writes the remainder of the source's hash by `modulus`: shares targets among collectors.
    HashMod,
}

/// Every action by its word in the configuration.
pub const ACTIONS: [(&str, Action); 11] = [
    ("replace", Action::Replace),
    ("keep", Action::Keep),
    ("drop", Action::Drop),
    ("keepequal", Action::KeepEqual),
    ("dropequal", Action::DropEqual),
    ("labelmap", Action::LabelMap),
    ("labeldrop", Action::LabelDrop),
    ("labelkeep", Action::LabelKeep),
    ("lowercase", Action::Lowercase),
    ("uppercase", Action::Uppercase),
    ("hashmod", Action::HashMod),
];

/// One rule.
#[derive(Clone, Debug)]
pub struct Rule {
    /// Labels whose values are joined.
    pub source_labels: Vec<String>,
    /// Between them.
    pub separator: String,
    /// Must match the whole of it.
    pub regex: Regex,
    /// Label that is written; may hold `$1`.
    pub target_label: String,
    /// What is written; may hold `$1`.
    pub replacement: String,
    /// What it does.
    pub action: Action,
    /// Of [`Action::HashMod`]; at least 1.
    pub modulus: u64,
}

/// A regular expression that must match the whole text.
pub fn anchored(pattern: &str) -> Result<Regex, regex::Error> {
    Regex::new(&format!("^(?s:{pattern})$"))
}

/// Applies rules one after another; false: the set is to be left out.
pub fn apply(rules: &[Rule], labels: &mut LabelMap) -> bool {
    rules.iter().all(|rule| rule.apply(labels))
}

impl Rule {
    fn apply(&self, labels: &mut LabelMap) -> bool {
        let source = self
            .source_labels
            .iter()
            .map(|name| labels.get(name).map_or("", String::as_str))
            .collect::<Vec<_>>()
            .join(&self.separator);
        let target = || labels.get(&self.target_label).map_or("", String::as_str);
        match self.action {
            Action::Keep => return self.regex.is_match(&source),
            Action::Drop => return !self.regex.is_match(&source),
            Action::KeepEqual => return source == target(),
            Action::DropEqual => return source != target(),
            Action::Lowercase => put(labels, &self.target_label, source.to_lowercase()),
            Action::Uppercase => put(labels, &self.target_label, source.to_uppercase()),
            Action::HashMod => put(labels, &self.target_label, (hash(&source) % self.modulus).to_string()),
            Action::LabelDrop => labels.retain(|name, _| !self.regex.is_match(name)),
            Action::LabelKeep => labels.retain(|name, _| self.regex.is_match(name)),
            Action::LabelMap => {
                let copies: Vec<(String, String)> = labels
                    .iter()
                    .filter_map(|(name, value)| Some((self.expanded(&self.replacement, name)?, value.clone())))
                    .collect();
                copies.into_iter().for_each(|(name, value)| put(labels, &name, value));
            }
            Action::Replace => {
                let written = self.expanded(&self.target_label, &source).zip(self.expanded(&self.replacement, &source));
                if let Some((name, value)) = written.filter(|(name, _)| is_label_name(name)) {
                    put(labels, &name, value);
                }
            }
        }
        true
    }

    /// A text with `$1` … filled in, if the expression matches.
    fn expanded(&self, template: &str, source: &str) -> Option<String> {
        let captures = self.regex.captures(source)?;
        let mut out = String::new();
        captures.expand(template, &mut out);
        Some(out)
    }
}

/// Prometheus' hash of a text: the last eight bytes of its MD5, the first of them counting most.
fn hash(text: &str) -> u64 {
    let digest = Md5::digest(text.as_bytes());
    digest[8..].iter().fold(0, |hash, byte| (hash << 8) | u64::from(*byte))
}

fn put(labels: &mut LabelMap, name: &str, value: String) {
    if value.is_empty() {
        labels.remove(name);
    } else {
        labels.insert(name.to_owned(), value);
    }
}

/// Letters, digits and `_`, not beginning with a digit.
pub fn is_label_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

//! Verdict trees: data that says under which facts which verdict holds, why, and what to do.
//!
//! A tree is a node with conditions; where they hold, its children refine it: the deepest node that holds is the verdict,
//! with the reasons of every node on the way. Trees are YAML: those in `verdicts/` are built in, users add their own files
//! (`docs/diagnosis.md`). Beside the facts of the evidence a tree can ask for facts of its own, in PromQL or SQL.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_saphyr::Spanned;

use crate::evidence::Evidence;
use crate::facts::{Fact, Facts, LABEL, VOCABULARY, facts};
use crate::question::{QUESTIONS_PER_TREE_MAX, Question};

/// The trees that come with the program: name and text of each file.
const BUILTIN: [(&str, &str); 5] = [
    ("builtin:sessions.yaml", include_str!("../verdicts/sessions.yaml")),
    ("builtin:statements.yaml", include_str!("../verdicts/statements.yaml")),
    ("builtin:writes.yaml", include_str!("../verdicts/writes.yaml")),
    ("builtin:replication.yaml", include_str!("../verdicts/replication.yaml")),
    ("builtin:logs.yaml", include_str!("../verdicts/logs.yaml")),
];
/// Deepest tree.
const DEPTH_MAX: usize = 8;
/// Most trees of all files together.
const TREES_MAX: usize = 1_000;

/// A verdict with its reasons.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    /// Name of the verdict.
    pub verdict: String,
    /// In words, English.
    pub title: String,
    /// In words, Chinese.
    pub title_zh: String,
    /// Why it holds, English.
    pub reasons: Vec<String>,
    /// Why it holds, Chinese.
    pub reasons_zh: Vec<String>,
    /// What to do, English.
    pub advice: String,
    /// What to do, Chinese.
    pub advice_zh: String,
}

/// A text in both languages; `{fact}` stands for a fact's words.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Words {
    en: Spanned<String>,
    zh: Spanned<String>,
}

/// A further reason: said where its conditions hold and every fact it names is known.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Also {
    #[serde(default)]
    when: Vec<Condition>,
    en: Spanned<String>,
    zh: Spanned<String>,
}

/// One condition on one fact.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Condition {
    fact: Spanned<String>,
    at_least: Option<f64>,
    below: Option<f64>,
    is: Option<String>,
    known: Option<bool>,
}

/// A node of a tree.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Node {
    verdict: Spanned<String>,
    title: Words,
    /// What the tree asks for; at its root only.
    #[serde(default)]
    facts: Vec<Question>,
    /// All must hold.
    when: Vec<Condition>,
    /// Names of alerts this verdict answers: such a finding comes first.
    #[serde(default)]
    alerts: Vec<String>,
    /// Other things equal, the greater weight comes first.
    #[serde(default)]
    weight: f64,
    reason: Words,
    #[serde(default)]
    also: Vec<Also>,
    advice: Words,
    /// The first that holds refines this node.
    #[serde(default)]
    refine: Vec<Node>,
}

impl Node {
    fn names(&self, alert: &str) -> bool {
        self.alerts.iter().any(|a| a == alert) || self.refine.iter().any(|n| n.names(alert))
    }

    fn names_any(&self) -> bool {
        !self.alerts.is_empty() || self.refine.iter().any(Node::names_any)
    }

    /// Whether its questions are asked for this alert: trees that name alerts ask for those only.
    fn asks_for(&self, alert: &str) -> bool {
        !self.facts.is_empty() && (self.names(alert) || !self.names_any())
    }
}

/// Trees that can't be used: where, and what is wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file}{}: {message}", .line.map(|l| format!(":{l}")).unwrap_or_default())]
pub struct TreeError {
    /// Which file.
    pub file: String,
    /// Which line, where known.
    pub line: Option<u64>,
    /// What is wrong, at which verdict and field, and what is allowed.
    pub message: String,
}

/// Verdict trees, checked.
#[derive(Clone, Debug)]
pub struct Trees(Vec<Node>);

impl Trees {
    /// Those that come with the program.
    pub fn builtin() -> Trees {
        let parse = |(file, text)| Trees::parse(file, text).unwrap_or_else(|e| unreachable!("{e}"));
        Trees(BUILTIN.into_iter().flat_map(|file| parse(file).0).collect())
    }

    /// Reads YAML: a list of trees. Facts that no condition can mean are errors.
    pub fn parse(file: &str, text: &str) -> Result<Trees, TreeError> {
        let error = |line, message| TreeError { file: file.into(), line, message };
        let nodes: Vec<Node> = serde_saphyr::from_str(text)
            .map_err(|e: serde_saphyr::Error| error(e.location().map(|l| l.line()), e.without_snippet().to_string()))?;
        for node in &nodes {
            check_root(node).map_err(|(line, message)| error(Some(line), message))?;
        }
        Ok(Trees(nodes))
    }

    /// Adds trees of another file. A verdict that is there already is replaced: so users change what is built in.
    pub fn add(&mut self, others: Trees) -> Result<(), TreeError> {
        for node in others.0 {
            self.0.retain(|n| n.verdict.value != node.verdict.value);
            self.0.push(node);
        }
        match self.0.len() > TREES_MAX {
            true => {
                Err(TreeError { file: "diagnosis".into(), line: None, message: format!("more than {TREES_MAX} trees") })
            }
            false => Ok(()),
        }
    }

    /// What is to be asked for an alert: verdict at the tree's root, and question.
    pub fn questions(&self, alert: &str) -> impl Iterator<Item = (&str, &Question)> {
        let asking = self.0.iter().filter(move |n| n.asks_for(alert));
        asking.flat_map(|n| n.facts.iter().map(|q| (n.verdict.value.as_str(), q)))
    }

    /// The verdicts that hold, most fitting first: those made for this alert, then by weight.
    pub fn judge(&self, alert: &str, evidence: &Evidence) -> Vec<Finding> {
        let common = facts(alert, evidence);
        let mut found: Vec<(bool, f64, Finding)> = Vec::new();
        for root in self.0.iter().filter(|n| n.facts.is_empty() || n.asks_for(alert)) {
            let mut facts = common.clone();
            facts.extend(evidence.facts.iter().filter(|f| f.tree == root.verdict.value).filter_map(|f| {
                let text = || f.text.clone().map(Fact::Text);
                Some((f.name.clone(), f.number.map(|n| Fact::Number(n, f.unit)).or_else(text)?))
            }));
            if !holds(&root.when, &facts) {
                continue;
            }
            let mut path = vec![root];
            while let Some(next) = path.last().and_then(|n| n.refine.iter().find(|c| holds(&c.when, &facts))) {
                path.push(next);
            }
            let Some(last) = path.last() else { continue };
            let words = |text: &Spanned<String>| fill(&text.value, &facts);
            let said = |also: &&Also| {
                let texts = [&also.en, &also.zh];
                holds(&also.when, &facts) && texts.iter().all(|t| placeholders(&t.value).all(|n| facts.contains_key(n)))
            };
            let also: Vec<&Also> = path.iter().flat_map(|n| n.also.iter().filter(said)).collect();
            let finding = Finding {
                verdict: last.verdict.value.clone(),
                title: words(&last.title.en),
                title_zh: words(&last.title.zh),
                reasons: path.iter().map(|n| &n.reason.en).chain(also.iter().map(|a| &a.en)).map(words).collect(),
                reasons_zh: path.iter().map(|n| &n.reason.zh).chain(also.iter().map(|a| &a.zh)).map(words).collect(),
                advice: words(&last.advice.en),
                advice_zh: words(&last.advice.zh),
            };
            let meant = path.iter().any(|n| n.alerts.iter().any(|a| a == alert));
            found.push((meant, path.iter().map(|n| n.weight).fold(0.0, f64::max), finding));
        }
        found.sort_by(|a, b| (b.0, b.1).partial_cmp(&(a.0, a.1)).unwrap_or(std::cmp::Ordering::Equal));
        found.into_iter().map(|(_, _, finding)| finding).collect()
    }
}

fn check_root(root: &Node) -> Result<(), (u64, String)> {
    let verdict = &root.verdict.value;
    if root.facts.len() > QUESTIONS_PER_TREE_MAX {
        let message = format!("verdict {verdict:?}, facts: at most {QUESTIONS_PER_TREE_MAX} are allowed");
        return Err((root.verdict.referenced.line(), message));
    }
    let mut own = BTreeSet::new();
    for question in &root.facts {
        let name = &question.name.value;
        question.check().map_err(|(line, e)| (line, format!("verdict {verdict:?}, fact {name:?}: {e}")))?;
        for fact in question.facts() {
            let taken = VOCABULARY.iter().any(|(n, _)| *n == fact) || fact.starts_with(LABEL);
            if taken || !own.insert(fact.clone()) {
                let message = format!("verdict {verdict:?}, facts: {fact:?} is there already");
                return Err((question.name.referenced.line(), message));
            }
        }
    }
    check(root, &own, 0)
}

fn check(node: &Node, own: &BTreeSet<String>, depth: usize) -> Result<(), (u64, String)> {
    let line = node.verdict.referenced.line();
    let wrong = |line: u64, message: String| Err((line, format!("verdict {:?}, {message}", node.verdict.value)));
    let known = |name: &str| {
        VOCABULARY.iter().any(|(n, _)| *n == name)
            || own.contains(name)
            || name.strip_prefix(LABEL).is_some_and(|l| !l.is_empty())
    };
    if depth > DEPTH_MAX {
        return wrong(line, format!("refine: deeper than {DEPTH_MAX} levels"));
    }
    if depth > 0 && !node.facts.is_empty() {
        return wrong(line, "facts: allowed at the root of a tree only".into());
    }
    if node.when.is_empty() {
        return wrong(line, "when: must have at least one condition".into());
    }
    for condition in node.when.iter().chain(node.also.iter().flat_map(|a| &a.when)) {
        let (name, line) = (&condition.fact.value, condition.fact.referenced.line());
        if !known(name) {
            let names: Vec<&str> = VOCABULARY.iter().map(|(n, _)| *n).chain(own.iter().map(String::as_str)).collect();
            let message = format!("when: {name:?} is not a fact; there are: {}, label.NAME", names.join(", "));
            return wrong(line, message);
        }
        let number = condition.at_least.is_some() || condition.below.is_some();
        if !number && condition.is.is_none() && condition.known.is_none() {
            return wrong(line, format!("when: condition on {name:?} must have at_least, below, is or known"));
        }
    }
    let also = node.also.iter().flat_map(|a| [("also", &a.en), ("also", &a.zh)]);
    let texts = [("title", &node.title), ("reason", &node.reason), ("advice", &node.advice)];
    let texts = texts.into_iter().flat_map(|(field, w)| [(field, &w.en), (field, &w.zh)]);
    for (field, text) in texts.chain(also) {
        if let Some(name) = placeholders(&text.value).find(|name| !known(name)) {
            return wrong(text.referenced.line(), format!("{field}: {{{name}}} is not a fact"));
        }
    }
    node.refine.iter().try_for_each(|n| check(n, own, depth + 1))
}

fn holds(conditions: &[Condition], facts: &Facts) -> bool {
    conditions.iter().all(|c| {
        let fact = facts.get(c.fact.value.as_str());
        let number = c.at_least.is_some() || c.below.is_some();
        let fits = match fact {
            Some(Fact::Number(v, _)) => {
                c.at_least.is_none_or(|t| *v >= t) && c.below.is_none_or(|t| *v < t) && c.is.is_none()
            }
            Some(Fact::Text(text)) => !number && c.is.as_ref().is_none_or(|is| is == text),
            None => !number && c.is.is_none(),
        };
        fits && c.known.is_none_or(|known| known == fact.is_some())
    })
}

fn placeholders(text: &str) -> impl Iterator<Item = &str> {
    text.split('{').skip(1).filter_map(|part| part.split_once('}').map(|(name, _)| name))
}

fn fill(text: &str, facts: &Facts) -> String {
    let mut parts = text.split('{');
    let mut out = parts.next().unwrap_or("").to_string();
    for part in parts {
        match part.split_once('}') {
            Some((name, rest)) => {
                out.push_str(&facts.get(name).map(Fact::words).unwrap_or_default());
                out.push_str(rest);
            }
            None => {
                out.push('{');
                out.push_str(part);
            }
        }
    }
    out
}

#[cfg(test)]
mod tests;

//! Verdict trees: data that says under which facts which verdict holds, why, and what to do.
//!
//! A tree is a node with conditions; where they hold, its children refine it: the deepest node that holds is the verdict,
//! with the reasons of every node on the way. Trees are YAML; `verdicts.yaml` is built in, users can add their own.

use serde::{Deserialize, Serialize};

use crate::evidence::Evidence;
use crate::facts::{Fact, Facts, VOCABULARY, facts};

const BUILTIN: &str = include_str!("../verdicts.yaml");
/// Deepest tree.
const DEPTH_MAX: usize = 8;

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
    en: String,
    zh: String,
}

/// One condition on one fact.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Condition {
    fact: String,
    at_least: Option<f64>,
    below: Option<f64>,
    is: Option<String>,
}

/// A node of a tree.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Node {
    verdict: String,
    title: Words,
    /// All must hold.
    when: Vec<Condition>,
    /// Names of alerts this verdict answers: such a finding comes first.
    #[serde(default)]
    alerts: Vec<String>,
    /// Other things equal, the greater weight comes first.
    #[serde(default)]
    weight: f64,
    reason: Words,
    advice: Words,
    /// The first that holds refines this node.
    #[serde(default)]
    refine: Vec<Node>,
}

/// Trees that can't be used: where, and what is wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct TreeError(String);

/// Verdict trees, checked.
#[derive(Clone, Debug)]
pub struct Trees(Vec<Node>);

impl Trees {
    /// Those that come with the program.
    pub fn builtin() -> Trees {
        Trees::parse(BUILTIN).unwrap_or_else(|e| unreachable!("verdicts.yaml: {e}"))
    }

    /// Reads YAML: a list of trees. Facts that no condition can mean are errors.
    pub fn parse(text: &str) -> Result<Trees, TreeError> {
        let nodes: Vec<Node> = serde_saphyr::from_str(text)
            .map_err(|e: serde_saphyr::Error| TreeError(e.without_snippet().to_string()))?;
        nodes.iter().try_for_each(|n| check(n, 0))?;
        Ok(Trees(nodes))
    }

    /// The verdicts that hold, most fitting first: those made for this alert, then by weight.
    pub fn judge(&self, alert: &str, evidence: &Evidence) -> Vec<Finding> {
        let facts = facts(alert, evidence);
        let mut found: Vec<(bool, f64, Finding)> = Vec::new();
        for root in self.0.iter().filter(|n| holds(n, &facts)) {
            let mut path = vec![root];
            while let Some(next) = path.last().and_then(|n| n.refine.iter().find(|c| holds(c, &facts))) {
                path.push(next);
            }
            let Some(last) = path.last() else { continue };
            let words = |text: &str| fill(text, &facts);
            let finding = Finding {
                verdict: last.verdict.clone(),
                title: words(&last.title.en),
                title_zh: words(&last.title.zh),
                reasons: path.iter().map(|n| words(&n.reason.en)).collect(),
                reasons_zh: path.iter().map(|n| words(&n.reason.zh)).collect(),
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

fn check(node: &Node, depth: usize) -> Result<(), TreeError> {
    let wrong = |message: String| Err(TreeError(format!("verdict {:?}: {message}", node.verdict)));
    let known = |name: &str| VOCABULARY.iter().any(|(n, _)| *n == name);
    if depth > DEPTH_MAX {
        return wrong(format!("deeper than {DEPTH_MAX} levels"));
    }
    if node.when.is_empty() {
        return wrong("when must have at least one condition".into());
    }
    for condition in &node.when {
        if !known(&condition.fact) {
            let names: Vec<&str> = VOCABULARY.iter().map(|(n, _)| *n).collect();
            return wrong(format!("{:?} is not a fact; there are: {}", condition.fact, names.join(", ")));
        }
        if condition.at_least.is_none() && condition.below.is_none() && condition.is.is_none() {
            return wrong(format!("condition on {:?} must have at_least, below or is", condition.fact));
        }
    }
    for words in [&node.title, &node.reason, &node.advice] {
        for text in [&words.en, &words.zh] {
            if let Some(name) = placeholders(text).find(|name| !known(name)) {
                return wrong(format!("{{{name}}} is not a fact"));
            }
        }
    }
    node.refine.iter().try_for_each(|n| check(n, depth + 1))
}

fn holds(node: &Node, facts: &Facts) -> bool {
    node.when.iter().all(|c| match facts.get(c.fact.as_str()) {
        Some(Fact::Number(v)) => c.at_least.is_none_or(|t| *v >= t) && c.below.is_none_or(|t| *v < t) && c.is.is_none(),
        Some(Fact::Text(text)) => {
            c.is.as_ref().is_some_and(|is| is == text) && c.at_least.is_none() && c.below.is_none()
        }
        None => false,
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

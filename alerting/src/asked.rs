//! Asks what the trees of an alert want to know, each question beside the others and all within the evidence's time. A
//! question that fails is named; its fact is then not known.

use std::time::Duration;

use diagnosis::evidence::{AskedFact, Evidence};
use diagnosis::question::{Asked, Question};
use futures::StreamExt;
use query::promql::{AnswerValue, Point};
use serde_json::Value;

use crate::evidence::{COLLECT_MS_MAX, Collector};
use crate::rows::rows;

/// Most questions asked for one alert.
const QUESTIONS_MAX: usize = 48;
/// Most questions under way at once for one alert.
const AT_ONCE_MAX: usize = 6;
/// Longest text of a fact, characters.
const TEXT_CHARS_MAX: usize = 4_000;

impl Collector {
    /// The facts of every tree that asks for this alert, and what could not be had.
    pub(crate) async fn facts(&self, alert: &str, about: &Evidence) -> (Vec<AskedFact>, Vec<String>) {
        let trees = self.trees();
        let mut questions: Vec<(String, Question)> =
            trees.questions(alert).map(|(tree, question)| (tree.to_string(), question.clone())).collect();
        let mut errors = Vec::new();
        if questions.len() > QUESTIONS_MAX {
            let left_out = questions.len() - QUESTIONS_MAX;
            errors.push(format!("facts: {left_out} not asked; at most {QUESTIONS_MAX} are for one alert"));
            questions.truncate(QUESTIONS_MAX);
        }
        let mut waiting: Vec<String> =
            questions.iter().map(|(tree, q)| format!("{} of {tree}", q.name.value)).collect();
        waiting.reverse();
        let asked = questions.into_iter().map(|(tree, question)| async move {
            let answer = self.answer(&question, about).await;
            (tree, question, answer)
        });
        let mut answers = futures::stream::iter(asked).buffered(AT_ONCE_MAX);
        let end = tokio::time::Instant::now() + Duration::from_millis(COLLECT_MS_MAX);
        let mut facts = Vec::new();
        while let Ok(Some((tree, question, answer))) = tokio::time::timeout_at(end, answers.next()).await {
            waiting.pop();
            match answer {
                Ok(values) => facts.extend(values.into_iter().map(|(name, value)| fact(&tree, name, &question, value))),
                Err(e) => errors.push(format!("fact {} of {tree}: {e}", question.name.value)),
            }
        }
        errors.extend(waiting.into_iter().map(|what| format!("fact {what}: no answer within {COLLECT_MS_MAX} ms")));
        (facts, errors)
    }

    async fn answer(&self, question: &Question, about: &Evidence) -> Result<Vec<(String, Value)>, String> {
        let name = &question.name.value;
        match question.about(about) {
            Asked::Promql(text) => {
                let answer = self.querier.instant(&self.tenant, &text, about.window.to_ms).await;
                let series = match answer.map_err(|e| e.to_string())?.value {
                    AnswerValue::Scalar(_, value) => return Ok(vec![(name.clone(), value.into())]),
                    AnswerValue::Vector(series) => series,
                    other => return Err(format!("gives a {}, not a vector or scalar", other.api_type())),
                };
                let numbers = series.iter().filter_map(|s| match s.value {
                    Point::Float(value) if value.is_finite() => Some((&s.labels, value)),
                    _ => None,
                });
                let Some((labels, value)) = numbers.max_by(|a, b| a.1.total_cmp(&b.1)) else { return Ok(Vec::new()) };
                // a label that is not there is an empty one
                let further = question
                    .further()
                    .map(|label| (format!("{name}.{label}"), Value::from(labels.get(label).unwrap_or(""))));
                Ok(std::iter::once((name.clone(), value.into())).chain(further).collect())
            }
            Asked::Sql(text) => {
                let answer = self.querier.sql(&self.tenant, &text).await.map_err(|e| e.to_string())?;
                let Some(mut row) = rows(&answer)?.into_iter().next() else { return Ok(Vec::new()) };
                let value = row.remove("value").map(|v| (name.clone(), v));
                let further = question.further().filter_map(|c| Some((format!("{name}.{c}"), row.remove(c.as_str())?)));
                Ok(value.into_iter().chain(further).collect())
            }
        }
    }
}

fn fact(tree: &str, name: String, question: &Question, value: Value) -> AskedFact {
    let number = value.as_f64().filter(|v| v.is_finite());
    let text = match (&value, number) {
        (_, Some(_)) => None,
        (Value::String(text), _) => Some(text.chars().take(TEXT_CHARS_MAX).collect()),
        (other, _) => Some(other.to_string()),
    };
    // the unit belongs to the value itself
    let unit = if name == question.name.value { question.unit } else { Default::default() };
    AskedFact { tree: tree.into(), name, number, text, unit }
}

//! A whole instance watched, with everything it sent.

use std::time::Duration;

use collector::{
    Context,
    config::{DatabaseConfig, Intervals, TIME_BUDGET_DEFAULT},
    outlet::Captured,
};
use proto::{Payload, Table, samples::is_stale};
use tests::{surroundings, wait::until};

/// Time for a state to come.
const LIMIT: Duration = Duration::from_secs(60);

/// A watch that runs.
pub struct Watching {
    captured: Captured,
    sent: Vec<Payload>,
    context: Context,
    task: tokio::task::JoinHandle<()>,
}

impl Watching {
    pub fn start(mut config: DatabaseConfig, name: &str) -> Watching {
        let second = Duration::from_secs(1);
        config.intervals = Intervals { metrics: second, activity: second, statements: second, objects: second };
        config.instance = Some(name.into());
        if config.time_budget == TIME_BUDGET_DEFAULT {
            config.time_budget = 1.0; // everything each second, on a machine that does much else
        }
        let (context, captured, _) = surroundings::captured();
        let task = tokio::spawn(collector::databases::watch(config, context.clone()));
        Watching { captured, sent: Vec::new(), context, task }
    }

    /// The newest value of each series whose labels hold every one of these texts; series that ended are left out.
    pub fn newest(&mut self, texts: &[&str]) -> Vec<(String, f64)> {
        self.sent.extend(self.captured.take());
        let mut newest: std::collections::BTreeMap<String, f64> = Default::default();
        for samples in self.sent.iter().filter_map(|p| match p {
            Payload::Samples(samples) => Some(samples),
            _ => None,
        }) {
            for (series, value) in samples.series.iter().zip(&samples.values) {
                let labels = samples.labels[*series as usize].to_string();
                if texts.iter().all(|t| labels.contains(t)) {
                    newest.insert(labels, *value);
                }
            }
        }
        newest.into_iter().filter(|(_, v)| !is_stale(*v)).collect()
    }

    /// The newest value of a metric of which there is one series.
    pub fn value(&mut self, metric: &str) -> Option<f64> {
        self.newest(&[&format!("__name__=\"{metric}\"")]).last().map(|(_, v)| *v)
    }

    /// Waits until a metric has a value that fits.
    pub async fn until_value(&mut self, metric: &str, fits: impl Fn(f64) -> bool) -> f64 {
        let found = until(LIMIT, async || self.value(metric).filter(|v| fits(*v))).await;
        found.unwrap_or_else(|| panic!("{metric} is {:?}; said: {:#?}", self.value(metric), self.said("")))
    }

    /// Level and text of what the collector said in log rows of a class; of every class if it is empty.
    pub fn said(&mut self, class: &str) -> Vec<(String, String)> {
        self.sent.extend(self.captured.take());
        let mut found = Vec::new();
        for payload in &self.sent {
            let Payload::Events(events) = payload else { continue };
            for row in (0..events.rows()).filter(|_| events.table == Table::Logs) {
                let text = |column: &str| match events.get(row, column) {
                    proto::Value::Text(text) => text.to_string(),
                    _ => String::new(),
                };
                if class.is_empty() || text("class") == class {
                    found.push((text("level"), text("body")));
                }
            }
        }
        found
    }

    /// Waits until something was said.
    pub async fn until_said(&mut self, class: &str, part: &str) -> String {
        let found =
            until(LIMIT, async || self.said(class).into_iter().map(|(_, body)| body).find(|body| body.contains(part)));
        found.await.unwrap_or_else(|| panic!("{class} {part:?} was not said: {:#?}", self.said("")))
    }

    /// The attributes of the newest row about the instance itself.
    pub fn target(&mut self) -> serde_json::Value {
        self.sent.extend(self.captured.take());
        let mut newest = serde_json::Value::Null;
        for payload in &self.sent {
            let Payload::Events(events) = payload else { continue };
            for row in (0..events.rows()).filter(|r| events.get(*r, "kind") == "target".into()) {
                if let proto::Value::Text(text) = events.get(row, "attributes") {
                    newest = serde_json::from_str(&text).unwrap_or_default();
                }
            }
        }
        newest
    }

    pub async fn stop(self) {
        self.context.shutdown.cancel();
        self.task.await.unwrap();
    }
}

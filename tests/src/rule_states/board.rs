//! What came of each state: when its rule's alert fired and when it was over, asked of `/api/v1/alerts` every second.

use std::{sync::Arc, time::Duration};

use serde_json::Value;
use tokio::{sync::Mutex, task::JoinHandle, time::Instant};

use crate::{program::Api, wait};

const LOOK_EVERY: Duration = Duration::from_secs(1);

/// One rule and the state made for it.
#[derive(Clone, Debug)]
pub struct Row {
    /// The rule.
    pub rule: &'static str,
    /// The state, in words.
    pub made: &'static str,
    /// Only alerts with this label value count, if set: an instance, or the end of a path.
    pub instance: Option<&'static str>,
    /// It fired before the state was made: other work on this machine had made it.
    pub before: bool,
    made_at: Instant,
    healed_at: Option<Instant>,
    /// Seconds from the state to the alert.
    pub fired_s: Option<f64>,
    /// Its level then.
    pub level: String,
    /// Seconds from the end of the state to the end of the alert.
    pub resolved_s: Option<f64>,
}

/// The rows, filled while their states come and go.
#[derive(Clone)]
pub struct Board {
    api: Api,
    rows: Arc<Mutex<Vec<Row>>>,
    looking: Arc<JoinHandle<()>>,
}

impl Drop for Board {
    fn drop(&mut self) {
        if Arc::strong_count(&self.looking) == 1 {
            self.looking.abort();
        }
    }
}

impl Board {
    /// Begins to look.
    pub fn new(api: Api) -> Board {
        let rows: Arc<Mutex<Vec<Row>>> = Arc::default();
        let (looker, asked) = (rows.clone(), api.clone());
        let looking = tokio::spawn(async move {
            loop {
                if let Some(firing) = firing(&asked).await {
                    looker.lock().await.iter_mut().for_each(|row| look(row, &firing));
                }
                tokio::time::sleep(LOOK_EVERY).await;
            }
        });
        Board { api, rows, looking: Arc::new(looking) }
    }

    /// Notes that a state was made just now.
    pub async fn made(&self, rule: &'static str, instance: Option<&'static str>, made: &'static str) {
        let row = Row {
            rule,
            made,
            instance,
            before: false,
            made_at: Instant::now(),
            healed_at: None,
            fired_s: None,
            level: String::new(),
            resolved_s: None,
        };
        println!("  made: {rule}: {made}");
        self.rows.lock().await.push(row);
    }

    /// What fires before any state is made.
    pub async fn firing(&self) -> Vec<Value> {
        wait::until(Duration::from_secs(20), async || firing(&self.api).await).await.unwrap_or_default()
    }

    /// Notes that a state is over.
    pub async fn healed(&self, rules: &[&str]) {
        for row in self.rows.lock().await.iter_mut().filter(|r| rules.contains(&r.rule) && r.healed_at.is_none()) {
            row.healed_at = Some(Instant::now());
        }
    }

    /// Waits until these fire; gives those that did not.
    pub async fn until_fired(&self, rules: &[&'static str], limit: Duration) -> Vec<&'static str> {
        self.until(rules, limit, |row| row.fired_s.is_some()).await
    }

    /// Waits until these are over; gives those that are not.
    pub async fn until_resolved(&self, rules: &[&'static str], limit: Duration) -> Vec<&'static str> {
        self.until(rules, limit, |row| row.fired_s.is_none() || row.resolved_s.is_some()).await
    }

    async fn until(&self, rules: &[&'static str], limit: Duration, done: fn(&Row) -> bool) -> Vec<&'static str> {
        let open = async || -> Vec<&'static str> {
            let rows = self.rows.lock().await;
            rows.iter().filter(|r| rules.contains(&r.rule) && !done(r)).map(|r| r.rule).collect()
        };
        let look = async || open().await.is_empty().then_some(());
        match wait::until(limit, look).await {
            Some(()) => Vec::new(),
            None => open().await,
        }
    }

    /// The rows so far.
    pub async fn rows(&self) -> Vec<Row> {
        self.rows.lock().await.clone()
    }

    /// Marks states whose alerts are among those that fired before.
    pub async fn mark_before(&self, firing: &[Value]) {
        for row in self.rows.lock().await.iter_mut() {
            row.before = firing.iter().any(|alert| is_of(row, alert));
        }
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or("")
}

fn labels_end(labels: &Value, end: &str) -> bool {
    let texts = labels.as_object().into_iter().flatten().filter_map(|(_, v)| v.as_str());
    texts.into_iter().any(|v| v == end || end.starts_with('/') && v.ends_with(end))
}

async fn firing(api: &Api) -> Option<Vec<Value>> {
    let data = api.get("/api/v1/alerts", &[]).await.ok()?;
    Some(data["alerts"].as_array()?.iter().filter(|a| a["state"] == "firing").cloned().collect())
}

fn is_of(row: &Row, alert: &Value) -> bool {
    let labels = &alert["labels"];
    text(&labels["alertname"]) == row.rule && row.instance.is_none_or(|i| labels_end(labels, i))
}

fn look(row: &mut Row, firing: &[Value]) {
    let found = firing.iter().find(|alert| is_of(row, alert));
    match (found, row.fired_s, row.healed_at) {
        (Some(alert), None, _) => {
            row.fired_s = Some(row.made_at.elapsed().as_secs_f64());
            row.level = text(&alert["labels"]["severity"]).to_owned();
            println!("  fired after {:>5.1} s: {} ({})", row.made_at.elapsed().as_secs_f64(), row.rule, row.level);
        }
        (None, Some(_), Some(healed_at)) if row.resolved_s.is_none() => {
            row.resolved_s = Some(healed_at.elapsed().as_secs_f64());
            println!("  over after {:>6.1} s: {}", healed_at.elapsed().as_secs_f64(), row.rule);
        }
        _ => {}
    }
}

//! Plays scenarios to one server: every step when its second has come, all scenarios side by side.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use chrono::{DateTime, SecondsFormat, Utc};
use collector::Clock;
use serde_json::{Value, json};
use tokio::{sync::Mutex, task::JoinSet, time::Instant};

use crate::{
    peer::Peer,
    scenario::{Scenario, Step, UNTIL_S, labels},
};

/// Scenarios begin so far apart, seconds, so that not all speak at once.
const APART_S: f64 = 0.1;
/// Time between two looks at which step is due.
const STEP: Duration = Duration::from_millis(10);
/// What fires without an end of its own ends in an hour, seconds.
const FAR_S: f64 = 3600.0;

/// When scenarios happen.
pub struct Times {
    /// A scenario second, in seconds.
    pace: f64,
    begin_ms: BTreeMap<String, i64>,
}

impl Times {
    /// The first begins at `first_ms`, the others soon after.
    pub fn new(scenarios: &[Scenario], first_ms: i64, pace: f64) -> Times {
        let at = |i: usize| first_ms + (i as f64 * APART_S * 1000.0) as i64;
        Times { pace, begin_ms: scenarios.iter().enumerate().map(|(i, s)| (s.name.clone(), at(i))).collect() }
    }

    /// The real time of a scenario's second, milliseconds.
    pub fn ms(&self, scenario: &str, seconds: f64) -> i64 {
        self.begin_ms[scenario] + (seconds * self.pace * 1000.0) as i64
    }

    /// The scenario's second of a real time.
    pub fn seconds(&self, scenario: &str, ms: i64) -> f64 {
        (ms - self.begin_ms[scenario]) as f64 / 1000.0 / self.pace
    }
}

/// Plays all of them; returns when the last is over. Gives what was refused, with the scenario's name.
pub async fn play(peer: &Peer, scenarios: &[Scenario], times: &Arc<Times>) -> Vec<(String, String)> {
    let (clock, now) = (Clock::system().now_ms(), Instant::now());
    let instant = |ms: i64| now + Duration::from_millis((ms - clock).max(0) as u64);
    let mut steps: Vec<(Instant, &Scenario, &Step)> = Vec::new();
    for scenario in scenarios {
        steps.extend(scenario.steps.iter().map(|s| (instant(times.ms(&scenario.name, s.at)), scenario, s)));
    }
    steps.sort_by_key(|(at, ..)| *at);
    let end = scenarios.iter().map(|s| instant(times.ms(&s.name, UNTIL_S))).max().unwrap();
    let mut steps = VecDeque::from(steps);
    let desks: BTreeMap<&str, Arc<Mutex<Desk>>> =
        scenarios.iter().map(|s| (s.name.as_str(), Arc::new(Mutex::new(Desk::new(peer, s, times.clone()))))).collect();
    let mut under_way = JoinSet::new();
    let mut ticks = tokio::time::interval(STEP);
    while Instant::now() < end {
        let now = ticks.tick().await;
        while let Some((_, scenario, step)) = steps.pop_front_if(|(at, ..)| *at <= now) {
            let (desk, step) = (desks[scenario.name.as_str()].clone(), step.clone());
            let name = scenario.name.clone();
            under_way.spawn(async move { desk.lock().await.take(&step).await.map_err(|e| (name, e)) });
        }
    }
    let refused = under_way.join_all().await.into_iter().filter_map(Result::err);
    refused.map(|(name, e)| (name, format!(" {} refused: {e}\n", peer.name))).collect()
}

/// What one scenario has said so far.
struct Desk {
    base: String,
    scenario: Scenario,
    times: Arc<Times>,
    client: reqwest::Client,
    /// When what fires began, seconds.
    began: BTreeMap<String, f64>,
    silences: BTreeMap<String, String>,
}

impl Desk {
    fn new(peer: &Peer, scenario: &Scenario, times: Arc<Times>) -> Desk {
        Desk {
            base: peer.base.clone(),
            scenario: scenario.clone(),
            times,
            client: peer.client.clone(),
            began: BTreeMap::new(),
            silences: BTreeMap::new(),
        }
    }

    fn time(&self, seconds: f64) -> String {
        let at: DateTime<Utc> = DateTime::from_timestamp_millis(self.times.ms(&self.scenario.name, seconds)).unwrap();
        at.to_rfc3339_opts(SecondsFormat::Millis, true)
    }

    async fn take(&mut self, step: &Step) -> Result<(), String> {
        let mut alerts = Vec::new();
        for text in &step.fire {
            let began = step.began.or(self.began.get(text).copied()).unwrap_or(step.at);
            self.began.insert(text.clone(), began);
            let ends = (!step.endless).then(|| self.time(step.ends.unwrap_or(step.at + FAR_S)));
            alerts.push(self.alert(text, step, Some(began), ends));
        }
        for text in &step.end {
            let began = self.began.remove(text);
            alerts.push(self.alert(text, step, began, Some(self.time(step.at))));
        }
        if !alerts.is_empty() {
            self.post("alerts", &alerts.into()).await?;
        }
        if let Some(name) = &step.silence {
            let silence = self.silence(name, step);
            let answer = self.post("silences", &silence).await?;
            let id = answer["silenceID"].as_str().ok_or(format!("no silenceID: {answer}"))?;
            self.silences.insert(name.clone(), id.into());
        }
        if let Some(name) = &step.expire {
            let url =
                format!("{}/api/v2/silence/{}", self.base, self.silences.get(name).ok_or("the silence is not there")?);
            self.answer(self.client.delete(url)).await?;
        }
        Ok(())
    }

    fn alert(&self, text: &str, step: &Step, began: Option<f64>, ends: Option<String>) -> Value {
        let mut alert = json!({ "labels": labels(text, &self.scenario.name), "annotations": step.annotations });
        alert["generatorURL"] = step.link.as_deref().unwrap_or("http://prometheus.example.org/graph").into();
        if let Some(began) = began {
            alert["startsAt"] = self.time(began).into();
        }
        if let Some(ends) = ends {
            alert["endsAt"] = ends.into();
        }
        alert
    }

    fn silence(&self, name: &str, step: &Step) -> Value {
        let texts = step.matchers.iter().cloned().chain([self.scenario.own()]);
        let matchers: Vec<Value> = texts.map(|t| matcher(&t)).collect();
        let mut silence = json!({
            "matchers": matchers, "startsAt": self.time(step.from.unwrap_or(step.at)), "endsAt": self.time(step.to),
            "createdBy": "test", "comment": name,
        });
        if let Some(id) = self.silences.get(name) {
            silence["id"] = id.as_str().into();
        }
        silence
    }

    async fn post(&self, what: &str, body: &Value) -> Result<Value, String> {
        self.answer(self.client.post(format!("{}/api/v2/{what}", self.base)).json(body)).await
    }

    async fn answer(&self, request: reqwest::RequestBuilder) -> Result<Value, String> {
        let answer = request.send().await.map_err(|e| e.to_string())?;
        let status = answer.status();
        let text = answer.text().await.map_err(|e| e.to_string())?;
        if !status.is_success() {
            return Err(format!("{status} {text}"));
        }
        Ok(serde_json::from_str(&text).unwrap_or_default())
    }
}

/// `a="b"` and the like as the API has it.
fn matcher(text: &str) -> Value {
    let at = text.find(['=', '!']).unwrap();
    let (name, rest) = text.split_at(at);
    let op = ["=~", "!~", "!=", "="].into_iter().find(|op| rest.starts_with(op)).unwrap();
    let value = rest[op.len()..].trim_matches('"');
    json!({ "name": name, "value": value, "isRegex": op.ends_with('~'), "isEqual": op.starts_with('=') })
}

//! A scenario as `scenarios.yaml` has it, and the configs of both servers made of all of them.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value, json};

/// A scenario is over after this long, seconds: between the ticks of its groups.
pub const UNTIL_S: f64 = 10.3;
/// Where links of messages lead, in both.
const EXTERNAL_URL: &str = "http://watch.example.org";
/// The label that keeps scenarios apart.
pub const SCENARIO: &str = "scenario";

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    pub name: String,
    #[serde(default)]
    route: Map<String, Value>,
    /// Name to options of its webhook.
    #[serde(default)]
    receivers: BTreeMap<String, Map<String, Value>>,
    #[serde(default)]
    inhibit: Vec<Inhibit>,
    pub steps: Vec<Step>,
    pub differs: Option<String>,
    pub differs_by_default: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Inhibit {
    source: Vec<String>,
    target: Vec<String>,
    #[serde(default)]
    equal: Vec<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Step {
    /// Seconds since the scenario began, as all times here.
    pub at: f64,
    pub fire: Vec<String>,
    pub end: Vec<String>,
    pub annotations: BTreeMap<String, String>,
    pub link: Option<String>,
    pub began: Option<f64>,
    pub ends: Option<f64>,
    pub endless: bool,
    pub silence: Option<String>,
    pub matchers: Vec<String>,
    pub from: Option<f64>,
    pub to: f64,
    pub expire: Option<String>,
}

/// The scenarios of the file.
pub fn all() -> Vec<Scenario> {
    serde_saphyr::from_str(include_str!("scenarios.yaml")).unwrap()
}

/// The labels of `alertname label=value …`.
pub fn labels(text: &str, scenario: &str) -> BTreeMap<String, String> {
    let mut words = text.split(' ');
    let mut labels = BTreeMap::from([(SCENARIO.to_string(), scenario.to_string())]);
    labels.insert("alertname".into(), words.next().unwrap().into());
    labels.extend(words.map(|w| w.split_once('=').unwrap()).map(|(n, v)| (n.into(), v.into())));
    labels
}

impl Scenario {
    /// What keeps its alerts from those of others.
    pub fn own(&self) -> String {
        format!("{SCENARIO}={:?}", self.name)
    }

    fn receiver(&self, name: &str) -> String {
        format!("{}/{name}", self.name)
    }

    /// A route of it, its receivers renamed, its times at the pace.
    fn route(&self, route: &Map<String, Value>, pace: f64) -> Map<String, Value> {
        let mut route = route.clone();
        for time in ["group_wait", "group_interval", "repeat_interval"] {
            if let Some(text) = route.get(time).and_then(Value::as_str) {
                let paced = paced(text, pace);
                route.insert(time.into(), paced.into());
            }
        }
        if let Some(name) = route.get("receiver").and_then(Value::as_str) {
            route.insert("receiver".into(), self.receiver(name).into());
        }
        if let Some(routes) = route.get("routes").and_then(Value::as_array) {
            let below = routes.iter().map(|r| self.route(r.as_object().unwrap(), pace)).collect::<Vec<_>>();
            route.insert("routes".into(), below.into());
        }
        route
    }

    fn top_route(&self, pace: f64) -> Value {
        let mut top = json!({
            "receiver": self.receiver("r"), "group_by": ["alertname"], "group_wait": paced("1s", pace),
            "group_interval": paced("2s", pace), "repeat_interval": "1h", "matchers": [self.own()],
        });
        top.as_object_mut().unwrap().extend(self.route(&self.route, pace));
        top
    }

    /// Names and webhook options.
    fn receivers(&self, url: &str) -> Vec<(String, Value)> {
        let mut all = self.receivers.clone();
        all.entry("r".into()).or_default();
        let one = |(name, mut webhook): (String, Map<String, Value>)| {
            webhook.insert("url".into(), url.into());
            (self.receiver(&name), webhook.into())
        };
        all.into_iter().map(one).collect()
    }

    fn inhibit_rules(&self) -> impl Iterator<Item = Value> {
        let with_own = |texts: &[String]| [texts, &[self.own()]].concat();
        self.inhibit.iter().map(move |rule| {
            json!({
                "source_matchers": with_own(&rule.source), "target_matchers": with_own(&rule.target), "equal": rule.equal,
            })
        })
    }
}

/// Scenario seconds as real time.
fn paced(text: &str, pace: f64) -> String {
    let seconds: f64 = text.strip_suffix('s').and_then(|s| s.parse().ok()).unwrap();
    format!("{}ms", (seconds * pace * 1000.0) as i64)
}

/// What both configs have: routes, inhibition, times.
fn shared(scenarios: &[Scenario], pace: f64) -> Value {
    json!({
        "route": {
            "receiver": "nobody", "routes": scenarios.iter().map(|s| s.top_route(pace)).collect::<Vec<_>>(),
        },
        "inhibit_rules": scenarios.iter().flat_map(Scenario::inhibit_rules).collect::<Vec<_>>(),
        "time_intervals": [
            { "name": "always", "time_intervals": [{
                "times": [{ "start_time": "00:00", "end_time": "24:00" }], "weekdays": ["sunday:saturday"],
                "days_of_month": ["1:-1"], "months": ["january:december"],
            }] },
            { "name": "never", "time_intervals": [{ "years": ["2000:2001"] }] },
        ],
    })
}

/// How long an alert without an end lives unless it is posted again.
const RESOLVE_TIMEOUT: &str = "4s";

/// Alertmanager's config. JSON is YAML.
pub fn of_alertmanager(scenarios: &[Scenario], url: &str, pace: f64) -> String {
    let mut config = shared(scenarios, pace);
    let mut receivers = vec![json!({ "name": "nobody" })];
    for (name, webhook) in scenarios.iter().flat_map(|s| s.receivers(url)) {
        receivers.push(json!({ "name": name, "webhook_configs": [webhook] }));
    }
    config["receivers"] = receivers.into();
    config["global"] = json!({ "resolve_timeout": paced(RESOLVE_TIMEOUT, pace) });
    config.to_string()
}

/// The address Alertmanager is told to be at.
pub fn external_url() -> &'static str {
    EXTERNAL_URL
}

/// Ours.
pub fn of_tidewatch(scenarios: &[Scenario], url: &str, pace: f64, as_alertmanager: bool) -> String {
    let mut config = shared(scenarios, pace);
    let mut receivers = vec![json!({ "name": "nobody" })];
    for (name, webhook) in scenarios.iter().flat_map(|s| s.receivers(url)) {
        receivers.push(json!({ "name": name, "webhooks": [webhook] }));
    }
    config["receivers"] = receivers.into();
    config["resolve_timeout"] = paced(RESOLVE_TIMEOUT, pace).into();
    config["builtin_rules"] = false.into();
    config["external_url"] = EXTERNAL_URL.into();
    config["as_alertmanager"] = as_alertmanager.into();
    json!({ "alerting": config }).to_string()
}

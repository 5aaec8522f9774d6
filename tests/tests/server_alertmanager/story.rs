//! What the receivers of a scenario heard, without what depends on the moment, and whether two servers told the same.

use std::{collections::BTreeMap, fmt::Write};

use chrono::DateTime;
use serde_json::{Value, json};
use tests::receiver::Heard;

use crate::{
    play::Times,
    scenario::{SCENARIO, Scenario, UNTIL_S},
};

/// How far apart the same moment may be in two servers, scenario seconds: less than a tick of a group, more than a busy machine's delays.
const APART_S: f64 = 0.9;

/// One message.
#[derive(Clone, Debug)]
pub struct Said {
    /// Seconds since the scenario began.
    at: f64,
    /// Everything of the body that must be equal.
    what: Value,
    /// Beginnings and ends of its alerts, seconds, NaN for none.
    times: Vec<f64>,
}

/// Messages in order, by receiver and group: between groups there is no order.
pub type Story = BTreeMap<(String, String), Vec<Said>>;

/// Sorts messages by scenario. Panics on one that is of none; what came after a scenario's end is left out.
pub fn stories(scenarios: &[Scenario], heard: &[Heard], times: &Times) -> BTreeMap<String, Story> {
    let mut all: BTreeMap<String, Story> = scenarios.iter().map(|s| (s.name.clone(), Story::new())).collect();
    for heard in heard {
        let scenario = heard.body["commonLabels"][SCENARIO].as_str().unwrap();
        let receiver = heard.body["receiver"].as_str().unwrap().strip_prefix(scenario).unwrap();
        let key = (receiver.to_string(), heard.body["groupKey"].as_str().unwrap().to_string());
        let said = said(heard, |ms| times.seconds(scenario, ms));
        if said.at <= UNTIL_S {
            all.get_mut(scenario).unwrap().entry(key).or_default().push(said);
        }
    }
    all
}

fn said(heard: &Heard, second: impl Fn(i64) -> f64) -> Said {
    let seconds = |text: &Value| {
        let at = DateTime::parse_from_rfc3339(text.as_str().unwrap()).unwrap();
        if at.timestamp() < 0 { f64::NAN } else { second(at.timestamp_millis()) }
    };
    let mut alerts = heard.body["alerts"].as_array().unwrap().clone();
    alerts.sort_by_key(|a| a["labels"].to_string());
    let mut times = Vec::new();
    for alert in &mut alerts {
        let alert = alert.as_object_mut().unwrap();
        alert.remove("diagnosis"); // ours alone
        times.extend(["startsAt", "endsAt"].map(|field| seconds(&alert.remove(field).unwrap())));
    }
    let fields =
        ["status", "groupLabels", "commonLabels", "commonAnnotations", "externalURL", "version", "truncatedAlerts"];
    let mut what: Value = fields.iter().map(|f| (f.to_string(), heard.body[f].clone())).collect();
    what["alerts"] = alerts.into();
    Said { at: second(heard.at_ms), what, times }
}

fn near(a: f64, b: f64) -> bool {
    a.is_nan() && b.is_nan() || (a - b).abs() <= APART_S
}

/// Whether both tell the same at the same moments.
pub fn same(a: &Story, b: &Story) -> bool {
    let one = |a: &Said, b: &Said| {
        a.what == b.what && near(a.at, b.at) && a.times.iter().zip(&b.times).all(|(a, b)| near(*a, *b))
    };
    a.keys().eq(b.keys()) && a.iter().all(|(k, a)| a.len() == b[k].len() && a.iter().zip(&b[k]).all(|(a, b)| one(a, b)))
}

/// A line a message; of bodies what differs in scenarios.
pub fn text(story: &Story) -> String {
    let mut out = String::new();
    for ((receiver, group), said) in story {
        let _ = writeln!(out, "  {receiver} {group}");
        for said in said {
            let _ = write!(out, "    {:5.2}", said.at);
            for (i, alert) in said.what["alerts"].as_array().unwrap().iter().enumerate() {
                let mut labels = alert["labels"].clone();
                labels.as_object_mut().unwrap().remove(SCENARIO);
                let (starts, ends) = (said.times[2 * i], said.times[2 * i + 1]);
                let _ = write!(out, " {} {labels} {starts:.2}..{ends:.2}", alert["status"].as_str().unwrap());
                let _ = write!(out, " {} {};", alert["annotations"], alert["fingerprint"].as_str().unwrap());
            }
            let mut rest = said.what.clone();
            rest.as_object_mut().unwrap().remove("alerts");
            let _ = writeln!(out, "\n          {}", json!(rest));
        }
    }
    out
}

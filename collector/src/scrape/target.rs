//! From a discovered address to a target: its labels rewritten, its URL made. Pure.

use std::{collections::BTreeMap, time::Duration};

use super::relabel::{LabelMap, apply};
use crate::config::ScrapeConfig;

/// One page to read.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Target {
    /// Where the page is.
    pub url: String,
    /// Put on each of its samples; `instance` and `job` among them.
    pub labels: LabelMap,
}

/// An address with what its discovery knows of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// `host:port`.
    pub address: String,
    /// Labels of its group; `__meta_…` among them.
    pub labels: BTreeMap<String, String>,
}

/// The target an address becomes; `None`: a rule leaves it out, or it has no address.
pub fn target(config: &ScrapeConfig, found: &Found) -> Option<Target> {
    let mut labels = LabelMap::new();
    for (name, values) in &config.params {
        if let Some(first) = values.first() {
            labels.insert(format!("__param_{name}"), first.clone());
        }
    }
    for (name, value) in [
        ("job", config.job_name.to_string()),
        ("__scheme__", config.scheme.to_owned()),
        ("__metrics_path__", config.metrics_path.clone()),
        ("__scrape_interval__", seconds(config.interval)),
        ("__scrape_timeout__", seconds(config.timeout)),
    ] {
        labels.insert(name.into(), value);
    }
    labels.extend(found.labels.iter().filter(|(_, v)| !v.is_empty()).map(|(n, v)| (n.clone(), v.clone())));
    labels.insert("__address__".into(), found.address.clone());
    if !apply(&config.relabel, &mut labels) {
        return None;
    }
    let of = |name: &str| labels.get(name).map_or("", String::as_str);
    let (address, scheme, path) = (of("__address__").to_owned(), of("__scheme__"), of("__metrics_path__"));
    if address.is_empty() || !matches!(scheme, "http" | "https") {
        return None;
    }
    let slash = if path.starts_with('/') { "" } else { "/" };
    let mut url = format!("{scheme}://{address}{slash}{path}");
    let mut between = '?';
    for (name, value) in parameters(config, &labels) {
        url += &format!("{between}{}={}", encoded(&name), encoded(&value));
        between = '&';
    }
    labels.retain(|name, _| !name.starts_with("__"));
    labels.entry("instance".into()).or_insert(address);
    Some(Target { url, labels })
}

/// The first value of a parameter is a label and may have been rewritten.
fn parameters(config: &ScrapeConfig, labels: &LabelMap) -> Vec<(String, String)> {
    let mut parameters: Vec<(String, String)> = labels
        .iter()
        .filter_map(|(name, value)| Some((name.strip_prefix("__param_")?.to_owned(), value.clone())))
        .collect();
    for (name, values) in &config.params {
        parameters.extend(values.iter().skip(1).map(|value| (name.clone(), value.clone())));
    }
    parameters
}

fn seconds(duration: Duration) -> String {
    format!("{}s", duration.as_secs_f64())
}

/// Percent-encoding of everything but letters, digits and `-._~`.
fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(char::from(byte)),
            _ => out += &format!("%{byte:02X}"),
        }
    }
    out
}

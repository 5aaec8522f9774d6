//! A node of Patroni, asked over its REST API: what it says of itself (`GET /patroni`) and of its cluster (`GET /cluster`), as
//! the samples of a page. What Patroni's own page of metrics has bears the same names here, so that both serve the same
//! rules; what only the cluster knows is `patroni_cluster_*`. Patroni's manual, "Patroni REST API".

use std::collections::BTreeMap;

use chrono::DateTime;
use serde::Deserialize;
use serde_json::Value;

use super::{
    exposition::{Page, Sample},
    fetch::Client,
};

/// Path of what a node says of itself.
pub const NODE_PATH: &str = "/patroni";
const CLUSTER_PATH: &str = "/cluster";
/// Most members told of.
const MEMBERS_MAX: usize = 100;

/// What a node says of itself. Nearly everything is missing while PostgreSQL does not run.
#[derive(Debug, Deserialize)]
struct Node {
    state: String,
    role: String,
    postmaster_start_time: Option<String>,
    server_version: Option<f64>,
    #[serde(default)]
    xlog: Xlog,
    timeline: Option<f64>,
    replication_state: Option<String>,
    dcs_last_seen: Option<f64>,
    #[serde(default)]
    pending_restart: bool,
    #[serde(default)]
    pause: bool,
    #[serde(default)]
    cluster_unlocked: bool,
    #[serde(default)]
    failsafe_mode_is_active: bool,
    patroni: About,
}

#[derive(Debug, Default, Deserialize)]
struct Xlog {
    location: Option<f64>,
    received_location: Option<f64>,
    replayed_location: Option<f64>,
    paused: Option<bool>,
}

#[derive(Debug, Deserialize)]
struct About {
    version: String,
    scope: String,
    name: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Cluster {
    #[serde(default)]
    members: Vec<Member>,
    #[serde(default)]
    pause: bool,
}

#[derive(Debug, Deserialize)]
struct Member {
    name: String,
    role: String,
    state: String,
    timeline: Option<f64>,
    /// Bytes, or `unknown`; the leader has none.
    lag: Option<Value>,
    #[serde(default)]
    pending_restart: bool,
}

/// Asks both; without an answer about the cluster there is still the node's own.
pub async fn get(client: &Client, url: &str) -> Result<Page, String> {
    let node = client.get(url).await?.text()?;
    let cluster = match url.strip_suffix(NODE_PATH) {
        Some(base) => client.get(&format!("{base}{CLUSTER_PATH}")).await.ok().and_then(|body| body.text().ok()),
        None => None,
    };
    page(&node, cluster.as_deref())
}

/// The samples of both answers.
pub fn page(node: &str, cluster: Option<&str>) -> Result<Page, String> {
    let node: Node = serde_json::from_str(node).map_err(|e| format!("{NODE_PATH}: {e}"))?;
    let cluster: Option<Cluster> =
        cluster.map(serde_json::from_str).transpose().map_err(|e| format!("{CLUSTER_PATH}: {e}"))?;
    let mut out = Out { page: Page::default(), scope: node.patroni.scope.clone() };
    of_node(&node, &mut out);
    if let Some(cluster) = &cluster {
        of_cluster(cluster, &mut out);
    }
    Ok(out.page)
}

struct Out {
    page: Page,
    scope: String,
}

impl Out {
    fn add(&mut self, name: &str, labels: &[(&str, &str)], value: impl Into<f64>) {
        let scope = ("scope", self.scope.as_str());
        let labels: BTreeMap<String, String> =
            labels.iter().chain([&scope]).map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        self.page.samples.push(Sample { labels, name: name.to_owned(), value: value.into(), ts_ms: None });
    }
}

fn of_node(node: &Node, out: &mut Out) {
    let name = node.patroni.name.clone().unwrap_or_default();
    let labels = [("name", name.as_str())];
    let is = |role: &[&str]| role.contains(&node.role.as_str());
    let streams = node.replication_state.as_deref();
    for (metric, holds) in [
        ("patroni_postgres_running", node.state == "running"),
        ("patroni_primary", is(&["primary", "master"])),
        ("patroni_standby_leader", is(&["standby_leader"])),
        ("patroni_replica", is(&["replica", "sync_standby", "quorum_standby"])),
        ("patroni_sync_standby", is(&["sync_standby"])),
        ("patroni_postgres_streaming", streams == Some("streaming")),
        ("patroni_postgres_in_archive_recovery", streams == Some("in archive recovery")),
        ("patroni_cluster_unlocked", node.cluster_unlocked),
        ("patroni_failsafe_mode_is_active", node.failsafe_mode_is_active),
        ("patroni_pending_restart", node.pending_restart),
        ("patroni_is_paused", node.pause),
    ] {
        out.add(metric, &labels, u8::from(holds));
    }
    let xlog = &node.xlog;
    let started = node.postmaster_start_time.as_deref().and_then(seconds);
    for (metric, value) in [
        ("patroni_version", version(&node.patroni.version)),
        ("patroni_postmaster_start_time", started),
        ("patroni_xlog_location", xlog.location),
        ("patroni_xlog_received_location", xlog.received_location),
        ("patroni_xlog_replayed_location", xlog.replayed_location),
        ("patroni_xlog_paused", xlog.paused.map(|p| f64::from(u8::from(p)))),
        ("patroni_postgres_server_version", node.server_version),
        ("patroni_postgres_timeline", node.timeline),
        ("patroni_dcs_last_seen", node.dcs_last_seen),
    ] {
        if let Some(value) = value {
            out.add(metric, &labels, value);
        }
    }
    let labels = [labels[0], ("state", node.state.as_str()), ("role", node.role.as_str())];
    out.add("patroni_node_info", &labels, 1);
}

fn of_cluster(cluster: &Cluster, out: &mut Out) {
    let leads = |m: &&Member| matches!(m.role.as_str(), "leader" | "master" | "standby_leader");
    out.add("patroni_cluster_members", &[], cluster.members.len() as f64);
    out.add("patroni_cluster_leaders", &[], cluster.members.iter().filter(leads).count() as f64);
    out.add("patroni_cluster_paused", &[], u8::from(cluster.pause));
    for member in cluster.members.iter().take(MEMBERS_MAX) {
        let labels = [("member", member.name.as_str())];
        let runs = matches!(member.state.as_str(), "running" | "streaming" | "in archive recovery");
        out.add("patroni_cluster_member_running", &labels, u8::from(runs));
        out.add("patroni_cluster_member_pending_restart", &labels, u8::from(member.pending_restart));
        if let Some(timeline) = member.timeline {
            out.add("patroni_cluster_member_timeline", &labels, timeline);
        }
        if let Some(lag) = &member.lag {
            // `unknown` is a value, not a gap.
            out.add("patroni_cluster_member_lag_bytes", &labels, lag.as_f64().unwrap_or(f64::NAN));
        }
        let labels = [labels[0], ("role", member.role.as_str()), ("state", member.state.as_str())];
        out.add("patroni_cluster_member_info", &labels, 1);
    }
}

/// `4.1.5` as 40105.
fn version(text: &str) -> Option<f64> {
    let mut parts = text.split('.').map(|p| p.parse::<u32>().ok());
    let mut next = || parts.next().flatten();
    Some(f64::from(next()? * 10_000 + next()? * 100 + next().unwrap_or(0)))
}

/// Seconds since 1970 of `2026-11-26 20:42:11.920571+00:00`.
fn seconds(text: &str) -> Option<f64> {
    let time = DateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S%.f%:z").ok()?;
    Some(time.timestamp_micros() as f64 / 1e6)
}

#[cfg(test)]
#[path = "patroni_tests.rs"]
mod tests;

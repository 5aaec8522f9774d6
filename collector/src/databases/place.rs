//! Where a server stands: which cluster, shard and role, and in Galera the state of the node and who else is there. Read
//! again and again, as a promotion or a lost node ends no connection. What is made of it is a function of values.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use tokio::time::Instant;

use super::{
    connection::Connection,
    template::ServerRole,
    trouble::{Class, Trouble},
};
use crate::config::{DatabaseConfig, Engine};

/// A member of a cluster that was not seen for this long belongs to it no more.
const MEMBER_KEPT: Duration = Duration::from_secs(24 * 3600);
/// Most members remembered.
const MEMBERS_MAX: usize = 256;

const POSTGRES_SQL: &str = "select /* tidewatch */ pg_is_in_recovery()::int as replica";
const GALERA_SQL: &str = "SHOW GLOBAL STATUS WHERE Variable_name IN ('wsrep_cluster_status', 'wsrep_cluster_size', \
  'wsrep_local_state', 'wsrep_local_state_comment', 'wsrep_incoming_addresses')";

/// What does not change while a server runs.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Standing {
    /// cluster_name, wsrep_cluster_name or group_replication_group_name.
    pub cluster: Option<String>,
    /// Its shard, if a template's identity tells.
    pub shard: Option<String>,
    /// Its name in Galera.
    pub node: Option<String>,
}

/// Where a server stands now.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Place {
    /// In replication.
    pub role: ServerRole,
    /// The cluster.
    pub cluster: Option<String>,
    /// The shard.
    pub shard: Option<String>,
    /// As a node of Galera.
    pub node: Option<Node>,
}

/// A node of Galera, as it sees itself and its cluster.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// wsrep_node_name.
    pub name: String,
    /// wsrep_local_state_comment.
    pub state: String,
    /// wsrep_local_state: 4 is synced, 2 a donor.
    pub state_number: i64,
    /// Whether it belongs to the part of the cluster that takes writes.
    pub in_primary: bool,
    /// Nodes it counts.
    pub size: usize,
    /// Their addresses.
    pub members: BTreeSet<String>,
}

impl Node {
    /// Whether it takes part in everything.
    pub fn is_synced(&self) -> bool {
        self.state_number == 4
    }
}

impl Place {
    /// Asks.
    pub async fn read(
        connection: &mut Connection,
        config: &DatabaseConfig,
        engine: Engine,
        standing: &Standing,
    ) -> Result<Place, Trouble> {
        let mut place = Place { cluster: standing.cluster.clone(), shard: standing.shard.clone(), ..Place::default() };
        if let Some(template) = &config.template
            && let Some(identity) = &template.identity
        {
            let answer = connection.read(identity).await?;
            if answer.first().and_then(|r| r.truth("replica")) == Some(true) {
                place.role = ServerRole::Replica;
            }
            return Ok(place);
        }
        if engine == Engine::Postgresql {
            let answer = connection.read(POSTGRES_SQL).await?;
            if answer.first().and_then(|r| r.truth("replica")) == Some(true) {
                place.role = ServerRole::Replica;
            }
            return Ok(place);
        }
        // Whoever receives binary logs follows somebody; the server's own word may need a right we lack.
        let follows = if engine == Engine::Mariadb { "SHOW ALL SLAVES STATUS" } else { "SHOW REPLICA STATUS" };
        match connection.read(follows).await {
            Ok(answer) if !answer.rows.is_empty() => place.role = ServerRole::Replica,
            Err(trouble) if trouble.connection_lost() => return Err(trouble),
            _ => {}
        }
        if let Some(name) = &standing.node {
            let answer = connection.read(GALERA_SQL).await?;
            let value = |name: &str| {
                answer
                    .iter()
                    .find(|r| r.text("Variable_name").is_some_and(|n| n.eq_ignore_ascii_case(name)))
                    .and_then(|r| r.string("Value"))
            };
            place.node = Some(Node {
                name: name.clone(),
                state: value("wsrep_local_state_comment").unwrap_or_default(),
                state_number: value("wsrep_local_state").and_then(|v| v.parse().ok()).unwrap_or(0),
                in_primary: value("wsrep_cluster_status").as_deref() == Some("Primary"),
                size: value("wsrep_cluster_size").and_then(|v| v.parse().ok()).unwrap_or(0),
                members: value("wsrep_incoming_addresses")
                    .unwrap_or_default()
                    .split(',')
                    .map(str::trim)
                    .filter(|a| !a.is_empty()) // arbitrators have no address
                    .take(MEMBERS_MAX)
                    .map(str::to_owned)
                    .collect(),
            });
        }
        Ok(place)
    }

    /// The word of its role: `primary` and `replica`; of a node of Galera that does not take part `donor`, `joiner` or
    /// `non-primary`.
    pub fn role_word(&self) -> &'static str {
        match (&self.node, self.role) {
            (Some(node), _) if !node.in_primary => "non-primary",
            (Some(Node { state_number: 2, .. }), _) => "donor",
            (Some(node), _) if !node.is_synced() => "joiner",
            (_, ServerRole::Primary) => "primary",
            (_, ServerRole::Replica) => "replica",
        }
    }
}

/// Who was seen in a cluster.
#[derive(Clone, Debug, Default)]
pub struct Members {
    seen: BTreeMap<String, Instant>,
}

impl Members {
    /// Takes note of who is there; gives who was there and is not. A node outside the primary part knows of nobody.
    pub fn observe(&mut self, now: Instant, node: &Node) -> Vec<String> {
        if !node.in_primary {
            return Vec::new();
        }
        self.seen.retain(|_, at| now.saturating_duration_since(*at) < MEMBER_KEPT);
        for member in &node.members {
            if self.seen.len() < MEMBERS_MAX || self.seen.contains_key(member) {
                self.seen.insert(member.clone(), now);
            }
        }
        self.seen.keys().filter(|m| !node.members.contains(*m)).cloned().collect()
    }
}

/// Every trouble a place can be in, with its text where it is in it. What a trouble is about stands beside its class.
pub fn troubles(config: &DatabaseConfig, place: &Place, lost: &[String]) -> Vec<(Class, &'static str, Option<String>)> {
    let differs = |configured: Option<&str>, found: Option<&str>, what: &str| match (configured, found) {
        (Some(a), Some(b)) if a != b => Some(format!("the configuration says {what} {a:?}, the server {b:?}")),
        _ => None,
    };
    // Other words are the owner's own, of which the server knows nothing.
    let configured_role = config.role.as_deref().filter(|r| matches!(*r, "primary" | "replica"));
    let node = place.node.as_ref();
    let cluster = config.cluster.as_deref().or(place.cluster.as_deref()).unwrap_or("");
    vec![
        (Class::PlaceDrift, "cluster", differs(config.cluster.as_deref(), place.cluster.as_deref(), "cluster")),
        (Class::PlaceDrift, "shard", differs(config.shard.as_deref(), place.shard.as_deref(), "shard")),
        (Class::PlaceDrift, "role", differs(configured_role, Some(place.role_word()), "role")),
        (
            Class::ClusterNotPrimary,
            "",
            node.filter(|n| !n.in_primary)
                .map(|n| format!("node {} is cut off from the part of cluster {cluster} that takes writes", n.name)),
        ),
        (
            Class::ClusterIncomplete,
            "",
            node.filter(|_| !lost.is_empty()).map(|n| {
                let all = n.members.len() + lost.len();
                format!("cluster {cluster} lost {}: {} of {all} nodes are there", lost.join(", "), n.members.len())
            }),
        ),
        (
            Class::NodeNotSynced,
            "",
            node.filter(|n| n.in_primary && !n.is_synced())
                .map(|n| format!("node {} of cluster {cluster} is {}, not Synced", n.name, n.state)),
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Address;

    fn node(members: &[&str], state_number: i64, in_primary: bool) -> Node {
        Node {
            name: "n1".into(),
            state: "Donor/Desynced".into(),
            state_number,
            in_primary,
            size: members.len(),
            members: members.iter().map(|m| (*m).to_owned()).collect(),
        }
    }

    #[test]
    fn a_lost_node_is_named_until_it_is_back_or_long_gone() {
        let start = Instant::now();
        let mut members = Members::default();
        assert!(members.observe(start, &node(&["a:1", "b:2", "c:3"], 4, true)).is_empty());
        let left = node(&["a:1", "b:2"], 4, true);
        assert_eq!(members.observe(start, &left), ["c:3"]);
        assert!(members.observe(start, &node(&["a:1"], 4, false)).is_empty(), "cut off it can't tell");
        assert!(members.observe(start, &node(&["a:1", "b:2", "c:3"], 4, true)).is_empty());
        assert_eq!(members.observe(start, &left), ["c:3"]);
        assert!(members.observe(start + MEMBER_KEPT, &left).is_empty());
    }

    #[test]
    fn a_place_is_judged_against_the_configuration() {
        let mut config = DatabaseConfig::new(Engine::Mariadb, Address::Tcp { host: "a".into(), port: 1 }, "u");
        let mut place = Place { cluster: Some("shop".into()), ..Place::default() };
        let said = |config: &DatabaseConfig, place: &Place, lost: &[String]| -> Vec<String> {
            troubles(config, place, lost).into_iter().filter_map(|(_, _, text)| text).collect()
        };
        assert!(said(&config, &place, &[]).is_empty());
        config.cluster = Some("store".into());
        config.role = Some("replica".into());
        assert_eq!(
            said(&config, &place, &[]),
            [
                "the configuration says cluster \"store\", the server \"shop\"",
                "the configuration says role \"replica\", the server \"primary\"",
            ]
        );
        (config.cluster, config.role) = (None, None);
        place.node = Some(node(&["a:1"], 2, true));
        assert_eq!(place.role_word(), "donor");
        assert_eq!(
            said(&config, &place, &["b:2".into()]),
            ["cluster shop lost b:2: 1 of 2 nodes are there", "node n1 of cluster shop is Donor/Desynced, not Synced",]
        );
        place.node = Some(node(&["a:1"], 0, false));
        assert_eq!(place.role_word(), "non-primary");
        assert_eq!(said(&config, &place, &[]).len(), 1);
    }
}

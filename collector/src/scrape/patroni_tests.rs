//! Answers of Patroni 4.1.5 with Raft over two nodes of PostgreSQL 15.18, recorded with `curl`: a leader and a replica;
//! then paused, with a changed max_connections, the replica's PostgreSQL stopped.
#![allow(clippy::unwrap_used)]

use super::*;

macro_rules! recorded {
    ($file:literal) => {
        include_str!(concat!("../../testdata/patroni/", $file))
    };
}

/// `name{label=value,…} value`, of samples whose name begins with `begin`; `scope` and `name`, which all have, left out.
fn lines(page: &Page, begin: &str) -> Vec<String> {
    let line = |s: &Sample| {
        assert_eq!(s.labels["scope"], "demo");
        let labels: Vec<String> = s
            .labels
            .iter()
            .filter(|(n, _)| !matches!(n.as_str(), "scope" | "name"))
            .map(|(n, v)| format!("{n}={v}"))
            .collect();
        format!("{}{{{}}} {}", s.name, labels.join(","), s.value)
    };
    page.samples.iter().filter(|s| s.name.starts_with(begin)).map(line).collect()
}

/// What Patroni's own page said at the same time, those left out that it says as 0 because there is nothing to say.
const LEADERS_OWN_PAGE: &[(&str, f64)] = &[
    ("patroni_version", 40105.0),
    ("patroni_postgres_running", 1.0),
    ("patroni_postmaster_start_time", 1_795_725_731.920571),
    ("patroni_primary", 1.0),
    ("patroni_xlog_location", 50_331_744.0),
    ("patroni_standby_leader", 0.0),
    ("patroni_replica", 0.0),
    ("patroni_sync_standby", 0.0),
    ("patroni_postgres_streaming", 0.0),
    ("patroni_postgres_in_archive_recovery", 0.0),
    ("patroni_postgres_server_version", 150_018.0),
    ("patroni_cluster_unlocked", 0.0),
    ("patroni_failsafe_mode_is_active", 0.0),
    ("patroni_postgres_timeline", 1.0),
    ("patroni_dcs_last_seen", 1_795_725_765.0),
    ("patroni_pending_restart", 0.0),
    ("patroni_is_paused", 0.0),
];

#[test]
fn a_leader_says_what_its_own_page_says() {
    let page = page(recorded!("leader.json"), None).unwrap();
    let mut found: BTreeMap<&str, f64> = page.samples.iter().map(|s| (s.name.as_str(), s.value)).collect();
    assert!(page.samples.iter().all(|s| s.labels["name"] == "b"));
    for (name, want) in LEADERS_OWN_PAGE {
        assert_eq!(found.remove(name), Some(*want), "{name}");
    }
    assert_eq!(found.into_keys().collect::<Vec<_>>(), ["patroni_node_info"]);
}

#[test]
fn a_replica_and_its_cluster() {
    let page = page(recorded!("replica.json"), Some(recorded!("cluster.json"))).unwrap();
    for want in [
        "patroni_replica{} 1",
        "patroni_primary{} 0",
        "patroni_postgres_streaming{} 1",
        "patroni_xlog_received_location{} 50331744",
        "patroni_xlog_replayed_location{} 50331744",
        "patroni_xlog_paused{} 0",
        "patroni_node_info{role=replica,state=running} 1",
    ] {
        assert!(lines(&page, "patroni_").contains(&want.to_owned()), "{want}");
    }
    assert!(lines(&page, "patroni_xlog_location").is_empty(), "a replica has none");
    let want = [
        "patroni_cluster_members{} 2",
        "patroni_cluster_leaders{} 1",
        "patroni_cluster_paused{} 0",
        "patroni_cluster_member_running{member=a} 1",
        "patroni_cluster_member_pending_restart{member=a} 0",
        "patroni_cluster_member_timeline{member=a} 1",
        "patroni_cluster_member_lag_bytes{member=a} 0",
        "patroni_cluster_member_info{member=a,role=replica,state=streaming} 1",
        "patroni_cluster_member_running{member=b} 1",
        "patroni_cluster_member_pending_restart{member=b} 0",
        "patroni_cluster_member_timeline{member=b} 1",
        "patroni_cluster_member_info{member=b,role=leader,state=running} 1",
    ];
    let of_cluster = lines(&page, "patroni_cluster_");
    assert_eq!(of_cluster.into_iter().filter(|l| !l.starts_with("patroni_cluster_unlocked")).collect::<Vec<_>>(), want);
}

#[test]
fn paused_and_stopped_are_told_and_an_unknown_lag_is_a_value() {
    let page = page(recorded!("stopped.json"), Some(recorded!("cluster_paused.json"))).unwrap();
    for want in [
        "patroni_postgres_running{} 0",
        "patroni_is_paused{} 1",
        "patroni_pending_restart{} 1",
        "patroni_node_info{role=replica,state=stopped} 1",
        "patroni_cluster_paused{} 1",
        "patroni_cluster_member_running{member=a} 0",
        "patroni_cluster_member_lag_bytes{member=a} NaN",
        "patroni_cluster_member_pending_restart{member=b} 1",
    ] {
        assert!(lines(&page, "patroni_").contains(&want.to_owned()), "{want}: {:#?}", lines(&page, ""));
    }
    let leader = super::page(recorded!("leader_paused.json"), None).unwrap();
    assert!(lines(&leader, "patroni_is_paused").contains(&"patroni_is_paused{} 1".to_owned()));
}

#[test]
fn what_is_not_patronis_is_an_error() {
    for (node, cluster) in [("<html>", None), ("{}", None), (recorded!("leader.json"), Some("[1]"))] {
        assert!(page(node, cluster).unwrap_err().starts_with('/'));
    }
}

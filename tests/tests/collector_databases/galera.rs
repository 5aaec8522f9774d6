//! Three nodes of Galera seen as one thing with parts: cluster, each node's role and state, flow control, a node lost and back.

use collector::config::DatabaseConfig;
use tests::{galera::Galera, postgres::StartError};

use super::{watching::Watching, *};

#[tokio::test(flavor = "multi_thread")]
async fn galera_is_one_cluster_of_three_nodes() {
    let mut cluster = match Galera::start("tw-shop", 3).await {
        Ok(cluster) => cluster,
        Err(StartError::NotInstalled(what)) => return println!("skipped: {what} is not installed"),
        Err(error) => panic!("{error}"),
    };
    let mut configs: Vec<DatabaseConfig> = cluster.nodes.iter().map(MariaDb::config).collect();
    // The third says something else than the server does: drift.
    configs[2].cluster = Some("tw-store".into());
    let mut watches: Vec<Watching> =
        configs.iter().enumerate().map(|(i, c)| Watching::start(c.clone(), &format!("n{}", i + 1))).collect();
    for (i, watch) in watches.iter_mut().enumerate() {
        watch.until_value("mysql_galera_cluster_size", |v| v == 3.0).await;
        watch.until_value("mysql_galera_node_synced", |v| v == 1.0).await;
        watch.until_value("mysql_global_status_wsrep_cluster_size", |v| v == 3.0).await;
        for metric in [
            "mysql_global_status_wsrep_flow_control_paused",
            "mysql_galera_flow_control_paused_seconds_total",
            "mysql_global_status_wsrep_local_recv_queue",
            "mysql_global_status_wsrep_cert_deps_distance",
            "mysql_galera_receive_queue",
            "mysql_galera_evs_repl_latency_avg_seconds",
        ] {
            watch.until_value(metric, |v| v >= 0.0).await;
        }
        watch.until_value("mysql_galera_gcache_size_bytes", |v| v == f64::from(16 << 20)).await;
        let info = watch.newest(&["__name__=\"tidewatch_target_info\""]);
        let [(labels, _)] = &info[..] else { panic!("{info:?}") };
        let named = if i == 2 { "tw-store" } else { "tw-shop" };
        for part in [
            format!("cluster=\"{named}\""),
            "role=\"primary\"".into(),
            "template=\"galera\"".into(),
            format!("node=\"node{}\"", i + 1),
        ] {
            assert!(labels.contains(&part), "{part} in {labels}");
        }
        let target = watch.target();
        assert_eq!(target["members"].as_array().map(Vec::len), Some(3), "{target}");
        assert_eq!(target["state"], "Synced");
    }
    let drift = watches[2].until_said("place_drift", "").await;
    assert_eq!(drift, "the configuration says cluster \"tw-store\", the server \"tw-shop\"");
    assert!(watches[0].said("place_drift").is_empty());
    // What is written on one is on all.
    let mut client = cluster.nodes[0].connect("root").await.unwrap();
    client.query_drop("create database app").await.unwrap();
    client.query_drop("create table app.t (id int primary key)").await.unwrap();
    client.query_drop("insert into app.t values (1)").await.unwrap();
    watches[1].until_value("mysql_global_status_wsrep_replicated_bytes", |v| v >= 0.0).await;
    watches[1].until_value("mysql_global_status_wsrep_received", |v| v > 0.0).await;

    // A node is lost: the others name it, and its own watch says that nobody answers.
    let lost = cluster.address(2);
    cluster.nodes[2].stop();
    for watch in &mut watches[..2] {
        let said = watch.until_said("cluster_incomplete", "lost").await;
        assert_eq!(said, format!("cluster tw-shop lost {lost}: 2 of 3 nodes are there"));
        watch.until_value("mysql_galera_cluster_size", |v| v == 2.0).await;
    }
    watches[2].until_value("up", |v| v == 0.0).await;
    client.query_drop("insert into app.t values (2)").await.unwrap();

    // It comes back, fetches what it missed, and all is well again.
    cluster.run(2, false).await.unwrap();
    for watch in &mut watches {
        watch.until_value("mysql_galera_cluster_size", |v| v == 3.0).await;
    }
    watches[0].until_said("cluster_incomplete", "over: ").await;
    watches[2].until_value("mysql_galera_node_synced", |v| v == 1.0).await;
    watches[2].until_said("target_restarted", "restarted").await;

    // A node that is cut off says so itself, and its role changes while its connection stays.
    cluster.nodes[0].stop();
    cluster.nodes[1].crash();
    let said = watches[2].until_said("cluster_not_primary", "node3").await;
    assert!(said.contains("cut off"), "{said}");
    watches[2].until_said("role_changed", "its role was primary and is non-primary").await;
    let seen = until(LIMIT, async || {
        let info = watches[2].newest(&["__name__=\"tidewatch_target_info\""]);
        (info.len() == 1 && info[0].0.contains("role=\"non-primary\"")).then_some(())
    });
    seen.await.expect("one series says where it stands, and that is cut off");
    for watch in watches {
        watch.stop().await;
    }
}

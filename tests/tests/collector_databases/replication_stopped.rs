//! A delay that the server does not know is a value, not a gap: a stopped thread of MariaDB, a lost primary of PostgreSQL.

use super::{watching::Watching, *};

/// Waits until the delay is NaN under the engine's name and under the canonical one.
async fn until_unknown(watch: &mut Watching, metric: &str) {
    let unknown = watch.until_value(metric, f64::is_nan).await;
    assert!(!proto::samples::is_stale(unknown), "a value, not the end of the series");
    assert!(watch.value("replica_lag_seconds").is_some_and(f64::is_nan), "the canonical name as well");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_replica_of_mariadb_has_an_unknown_delay() {
    let primary = MariaDb::start(&["--server-id=1", "--log-bin"]).await.unwrap();
    let replica = MariaDb::start(&["--server-id=2"]).await.unwrap();
    replica.follow(&primary).await.unwrap();
    let mut follower = replica.connect("root").await.unwrap();
    const LAG: &str = "mysql_slave_status_seconds_behind_master";
    let mut watch = Watching::start(replica.config(), "replica");
    watch.until_value(LAG, |v| v == 0.0).await;
    for stopped in ["stop slave sql_thread", "stop slave"] {
        follower.query_drop(stopped).await.unwrap();
        until_unknown(&mut watch, LAG).await;
        watch.until_value("mysql_slave_status_slave_sql_running", |v| v == 0.0).await;
        watch.until_value("replica_sql_running", |v| v == 0.0).await;
        follower.query_drop("start slave").await.unwrap();
        watch.until_value(LAG, |v| v >= 0.0).await;
        watch.until_value("mysql_slave_status_slave_sql_running", |v| v == 1.0).await;
    }
    watch.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_of_postgresql_without_its_primary_has_an_unknown_delay() {
    let mut primary = Postgres::start(&[]).await.unwrap();
    let client = primary.connect("postgres").await.unwrap();
    client.batch_execute("select pg_create_physical_replication_slot('s', true)").await.unwrap();
    let replica = primary.follower("s", &[]).await.unwrap();
    client.batch_execute("create table t (id int)").await.unwrap();
    const LAG: &str = "pg_replication_lag_seconds";
    let mut watch = Watching::start(replica.config(), "replica");
    watch.until_value("pg_stat_wal_receiver_streaming", |v| v == 1.0).await;
    watch.until_value(LAG, |v| v == 0.0).await;
    drop(client);
    primary.stop();
    until_unknown(&mut watch, LAG).await;
    watch.until_value("pg_stat_wal_receiver_streaming", |v| v == 0.0).await;
    primary.run().await.unwrap();
    watch.until_value(LAG, |v| v >= 0.0).await;
    watch.until_value("pg_stat_wal_receiver_streaming", |v| v == 1.0).await;
    watch.stop().await;
}

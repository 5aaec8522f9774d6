//! Faults on MariaDB. Each is injected, stays until `healed`, and is then undone.

use mysql_async::prelude::Queryable;
use tokio_util::sync::CancellationToken;

use crate::{fault_stage::Stage, shop::CUSTOMERS, wait};

/// A row that only the replica has.
const ROW: i64 = CUSTOMERS + 999_999;

/// An application takes every connection and goes on asking for more.
pub async fn connections(stage: &Stage, healed: CancellationToken) -> anyhow::Result<()> {
    let mut held = Vec::new();
    while !healed.is_cancelled() {
        match stage.mariadb.connect("crm").await {
            Ok(session) => held.push(session),
            Err(_) => tokio::select! {
                () = healed.cancelled() => {}
                () = tokio::time::sleep(std::time::Duration::from_millis(500)) => {}
            },
        }
    }
    for session in held {
        session.disconnect().await?;
    }
    Ok(())
}

/// Somebody writes to the replica; the primary's own row of that key can't be applied there.
pub async fn replication(stage: &Stage, healed: CancellationToken) -> anyhow::Result<()> {
    let insert = format!("INSERT INTO shop.customers VALUES ({ROW}, 'somebody', 'somebody@example.org')");
    let mut replica = stage.mariadb_replica.connect("root").await?;
    for statement in ["SET sql_log_bin = 0", insert.as_str()] {
        replica.query_drop(statement).await?;
    }
    let mut primary = stage.mariadb.connect("root").await?;
    primary.query_drop(&insert).await?;
    healed.cancelled().await;
    replica.query_drop(format!("DELETE FROM shop.customers WHERE id = {ROW}")).await?;
    replica.query_drop("START SLAVE SQL_THREAD").await?;
    let caught_up = wait::until(std::time::Duration::from_secs(60), async || {
        replica.query_first::<i64, _>(format!("SELECT id FROM shop.customers WHERE id = {ROW}")).await.ok()?
    });
    anyhow::ensure!(caught_up.await.is_some(), "the replica does not apply again");
    primary.query_drop(format!("DELETE FROM shop.customers WHERE id = {ROW}")).await?;
    primary.disconnect().await?;
    replica.disconnect().await?;
    Ok(())
}

/// A long report holds the table's metadata lock, an ALTER TABLE wants it for itself, customers queue behind.
pub async fn metadata_lock(stage: &Stage, healed: CancellationToken) -> anyhow::Result<()> {
    let mut report = stage.mariadb.connect("root").await?;
    report.query_drop("START TRANSACTION").await?;
    report.query_drop("SELECT count(*) FROM shop.stock").await?;
    let mut others = tokio::task::JoinSet::new();
    let statements = std::iter::once("ALTER TABLE shop.stock ADD COLUMN IF NOT EXISTS remark text")
        .chain(std::iter::repeat_n("SELECT * FROM shop.stock WHERE article_id = 3", 8));
    for statement in statements {
        let mut session = stage.mariadb.connect("root").await?;
        others.spawn(async move {
            // ends when the report lets go
            let _ = session.query_drop(statement).await;
        });
    }
    healed.cancelled().await;
    report.query_drop("COMMIT").await?;
    while others.join_next().await.is_some() {}
    Ok(())
}

//! Reads a whole part of an event table and says what is not as its format says.

use std::sync::Arc;

use arrow::array::AsArray;
use futures::StreamExt;
use object_store::ObjectStore;
use proto::Table;

use super::{read::open, write::timestamps};

/// What a part was found to hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct EventFacts {
    pub(crate) rows: u64,
    /// Oldest and newest timestamp, milliseconds; `None` without rows.
    pub(crate) times: Option<(i64, i64)>,
}

/// What it holds. What is wrong is added to `damages`; then the facts are of what could be read.
pub(crate) async fn check(
    store: Arc<dyn ObjectStore>,
    path: &str,
    bytes: u64,
    table: Table,
    damages: &mut Vec<String>,
) -> EventFacts {
    let mut facts = EventFacts::default();
    let mut batches = match open(store, path, bytes, table, None, |_| true).await {
        Ok(batches) => batches,
        Err(e) => {
            damages.push(e.to_string());
            return facts;
        }
    };
    let mut last: Option<(String, i64)> = None;
    while let Some(batch) = batches.next().await {
        let batch = match batch {
            Ok(batch) => batch,
            Err(e) => {
                damages.push(format!("after row {}: {e}", facts.rows));
                return facts;
            }
        };
        let instances = batch.column(0).as_string::<i32>();
        for (row, ts) in timestamps(&batch).iter().enumerate() {
            let instance = instances.value(row);
            if last.as_ref().is_some_and(|(i, t)| (i.as_str(), *t) > (instance, *ts)) {
                damages.push(format!("row {} stands behind a later one", facts.rows));
                return facts;
            }
            match &mut last {
                Some((i, t)) if i == instance => *t = *ts,
                _ => last = Some((instance.to_owned(), *ts)),
            }
            let (min, max) = facts.times.unwrap_or((*ts, *ts));
            facts.times = Some((min.min(*ts), max.max(*ts)));
            facts.rows += 1;
        }
    }
    facts
}

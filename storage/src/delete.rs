//! Deleting samples: the parts that hold some are written anew without them, and take their place with one manifest.

use std::collections::BTreeMap;

use crate::{
    MaintainError, Matcher, Store,
    manifest::Manifest,
    metrics::Cut,
    part::{METRICS, PartEntry},
    store::Inner,
    upkeep::off_runtime,
};

/// What a deletion did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DeleteReport {
    /// Parts that held some of the samples.
    pub parts: usize,
    /// Of these, parts that held nothing else.
    pub emptied_parts: usize,
}

impl Store {
    /// Removes the samples within the range (inclusive, milliseconds) of every series that all matchers of one of
    /// `selectors` select. All of them are gone when this returns, or none are: what was appended before the call is
    /// deleted, from memory too; what comes later stays. The files of the old parts go with the next upkeep.
    pub async fn delete_series(
        &self,
        tenant: &str,
        selectors: &[Vec<Matcher>],
        min_ms: i64,
        max_ms: i64,
    ) -> Result<DeleteReport, MaintainError> {
        if selectors.is_empty() || min_ms > max_ms {
            return Ok(DeleteReport::default());
        }
        let (inner, tenant) = (self.inner.clone(), tenant.to_owned());
        let cut = Cut { selectors: selectors.to_vec(), min_ts: min_ms, max_ts: max_ms };
        // to its end, even if whoever asked has gone: a manifest half exchanged would be neither
        let done = off_runtime(async move {
            let _alone = inner.upkeep.lock().await;
            inner.flush_all().await?;
            inner.cut(&tenant, cut).await
        });
        done.await.map_err(|e| MaintainError::Encode { table: METRICS, what: e.to_string() })?
    }
}

impl Inner {
    /// The caller holds `upkeep`.
    async fn cut(&self, tenant: &str, cut: Cut) -> Result<DeleteReport, MaintainError> {
        let parts = self.state.lock().parts.clone();
        let mut manifest = Manifest::clone(&self.state.lock().manifest);
        let mut replaced: BTreeMap<u64, Option<PartEntry>> = BTreeMap::new();
        for part in parts.iter().filter(|p| p.entry.tenant == tenant && p.entry.table == METRICS) {
            let old = &part.entry;
            let Some(metrics) = part.metrics.clone() else { continue };
            if old.min_ts_ms > cut.max_ts || old.max_ts_ms < cut.min_ts || !metrics.holds_any(&cut).await? {
                continue;
            }
            let entry = self.new_entry(&mut manifest, tenant, METRICS, old.day, old.level, Some(old.sequence));
            let path = entry.path.clone();
            let written = self.rewrite_metrics(vec![metrics], entry, Some(cut.clone())).await;
            let written = written.inspect_err(|_| self.state.lock().orphans.push(path))?;
            replaced.insert(old.id, written);
        }
        let report = DeleteReport {
            parts: replaced.len(),
            emptied_parts: replaced.values().filter(|entry| entry.is_none()).count(),
        };
        if replaced.is_empty() {
            return Ok(report);
        }
        manifest.parts.retain(|p| !replaced.contains_key(&p.id));
        manifest.parts.extend(replaced.into_values().flatten());
        self.commit(manifest, |state| state.counters.deletions += 1).await?;
        Ok(report)
    }
}

//! Upkeep: head to parts, parts to fewer parts, expired parts to nothing; each step ends with a new manifest.
//!
//! The order is what makes a crash harmless: files first, synced; then the manifest that names them; then the removal of
//! what it no longer names. A step that fails changes nothing and is tried again.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, atomic::Ordering},
};

use bytes::Bytes;
use proto::Table;

use crate::{
    FlushReason, FlushReport, MaintainError, MaintainReport, StoreConfig,
    compact::{self, Bounds},
    config::DAY_MS,
    events::{merge, write},
    head::{HeadSize, Sealed, SealedTenant},
    log::{Failure, frame::FrameKind},
    manifest::Manifest,
    metrics,
    part::{METRICS, Part, PartEntry, event_table},
    retain::{Aged, expired},
    store::Inner,
};

/// A day counts as over this long after its end, milliseconds: late rows have come by then.
const DAY_GRACE_MS: i64 = 2 * 3_600_000;

/// So long after a flush that rows pressed for, days that are over and got rows by it are not merged for good, milliseconds:
/// while more come, each such merge would write all of them again.
const PRESS_GRACE_MS: i64 = 60_000;

/// A finished file, not written yet.
struct Encoded {
    tenant: Arc<str>,
    table: Option<Table>,
    day: i64,
    min_ts_ms: i64,
    max_ts_ms: i64,
    rows: u64,
    bytes: Bytes,
}

/// Whether the head is to be flushed now, and why.
pub(crate) fn flush_due(
    config: &StoreConfig,
    head: HeadSize,
    log_bytes: u64,
    oldest_ms: Option<i64>,
    has_failed: bool,
    now_ms: i64,
) -> Option<FlushReason> {
    // what is known of series stays when rows go: a share of the whole would be reached again at once where there are many
    let room_bytes = config.head_bytes_max.saturating_sub(head.series_bytes as u64);
    if has_failed {
        Some(FlushReason::Retry)
    } else if oldest_ms.is_some() && head.row_bytes as u64 >= room_bytes / 2 {
        Some(FlushReason::HeadBytes)
    } else if log_bytes >= config.flush_log_bytes {
        Some(FlushReason::LogBytes)
    } else if oldest_ms.is_some_and(|oldest| now_ms.saturating_sub(oldest) >= config.flush_age_ms) {
        Some(FlushReason::Age)
    } else {
        None
    }
}

impl Inner {
    /// Flush if due, one compaction step, retention, removal.
    pub(crate) async fn maintain(&self, now_ms: i64) -> Result<MaintainReport, MaintainError> {
        let mut report = MaintainReport::default();
        let due = {
            let state = self.state.lock();
            let (head, log_bytes) = (state.head_size(), self.log.size().0);
            flush_due(&self.config, head, log_bytes, state.oldest_ms, state.sealed.is_some(), now_ms)
        };
        let made = self.flush_and_compact(due, now_ms, &mut report).await;
        // also if that failed: perhaps for want of the room that this makes
        report.expired_parts = self.expire(now_ms).await?;
        report.deleted_files = self.remove_obsolete().await?;
        made.map(|()| report)
    }

    async fn flush_and_compact(
        &self,
        due: Option<FlushReason>,
        now_ms: i64,
        report: &mut MaintainReport,
    ) -> Result<(), MaintainError> {
        if due.is_some() {
            let first_part = self.state.lock().manifest.next_part;
            self.flush().await?;
            report.flushed = due;
            if matches!(due, Some(FlushReason::HeadBytes | FlushReason::LogBytes)) {
                self.state.lock().pressed = Some((now_ms, first_part));
            }
        }
        report.compacted_parts = self.compact_step(now_ms).await?;
        Ok(())
    }

    /// Head to parts. The caller holds `upkeep`.
    pub(crate) async fn flush(&self) -> Result<FlushReport, MaintainError> {
        // before the work, whose end would fail
        self.home.check().await.inspect_err(|e| self.note_lost(e))?;
        let Some(sealed) = self.seal()? else { return Ok(FlushReport::default()) };
        self.carry_exemplars(&sealed).await?;
        let mut manifest = Manifest::clone(&self.state.lock().manifest);
        let named = manifest.parts.len();
        let written = self.write_sealed(&sealed, &mut manifest).await.inspect_err(|_| {
            let orphans = manifest.parts[named..].iter().map(|entry| entry.path.clone());
            self.state.lock().orphans.extend(orphans);
        });
        let report = written?;
        manifest.log_segment = sealed.log_segment;
        manifest.sources.clone_from(&sealed.sources);
        manifest.offsets.clone_from(&sealed.offsets);
        manifest.families.clone_from(&sealed.families);
        self.commit(manifest, |state| {
            state.sealed = None;
            state.counters.flushes += 1;
            state.counters.flushed_bytes += report.bytes;
        })
        .await?;
        if let Err(e) = self.log.truncate(sealed.log_segment) {
            tracing::warn!(error = %e, "log segments that are no longer needed could not be removed; at the next flush");
        }
        Ok(report)
    }

    /// Writes the exemplars there are into the log's new generation, once for a sealed head: the segments that had them go
    /// with the flush.
    async fn carry_exemplars(&self, sealed: &Sealed) -> Result<(), MaintainError> {
        if sealed.has_exemplars_carried.load(Ordering::Relaxed) {
            return Ok(());
        }
        let (exemplars, log, bytes_max) = (self.exemplars.clone(), self.log.clone(), self.config.flush_log_bytes / 4);
        let carry = move || exemplars.carry(bytes_max, |payload| log.append(FrameKind::Exemplars, payload));
        let carried = tokio::task::spawn_blocking(carry).await.map_err(|e| encode_error("exemplars", e))?;
        if let Some(at) = carried.map_err(stopped)? {
            self.log.reached(at).await.map_err(stopped)?;
        }
        sealed.has_exemplars_carried.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// Everything appended so far to parts, what an earlier flush failed with included. The caller holds `upkeep`.
    pub(crate) async fn flush_all(&self) -> Result<(), MaintainError> {
        let has_failed = self.state.lock().sealed.is_some();
        if has_failed {
            self.flush().await?;
        }
        self.flush().await.map(drop)
    }

    /// Writes the parts of a sealed head, and adds each to the manifest before it is written.
    async fn write_sealed(&self, sealed: &Arc<Sealed>, manifest: &mut Manifest) -> Result<FlushReport, MaintainError> {
        let mut report = FlushReport::default();
        for index in 0..sealed.tenants.len() {
            let of_thread = sealed.clone();
            let encoded = tokio::task::spawn_blocking(move || encode(&of_thread.tenants[index])).await;
            for part in encoded.map_err(|e| encode_error(METRICS, e))?? {
                let entry = self.new_entry(manifest, &part.tenant, table_name(part.table), part.day, 0, None);
                let entry = PartEntry {
                    min_ts_ms: part.min_ts_ms,
                    max_ts_ms: part.max_ts_ms,
                    rows: part.rows,
                    bytes: part.bytes.len() as u64,
                    ..entry
                };
                report.parts += 1;
                report.bytes += entry.bytes;
                let path = entry.path.clone();
                manifest.parts.push(entry);
                self.parts.put(&path, part.bytes).await?;
            }
        }
        Ok(report)
    }

    /// From here on nothing is taken any more, if that is what the error says.
    fn note_lost(&self, error: &MaintainError) {
        if let MaintainError::Lost { .. } = error
            && self.lost.set(error.to_string()).is_ok()
        {
            tracing::error!(%error, "this server must be stopped");
        }
    }

    /// Ends the head's present rows, or takes those of a flush that failed; `None` if there is nothing.
    fn seal(&self) -> Result<Option<Arc<Sealed>>, MaintainError> {
        let mut state = self.state.lock();
        if let Some(sealed) = &state.sealed {
            return Ok(Some(sealed.clone()));
        }
        if state.oldest_ms.is_none() {
            return Ok(None);
        }
        let log_segment = self.log.roll().map_err(stopped)?;
        let (sources, offsets, families) = (state.sources.entries(), state.offsets.entries(), state.tenants.iter());
        let families = families
            .filter(|(_, t)| !t.families.is_empty())
            .map(|(name, t)| (name.to_string(), BTreeMap::clone(&t.families)))
            .collect();
        let filled = state.tenants.iter_mut().filter(|(_, t)| !t.is_empty());
        let tenants: Vec<SealedTenant> = filled.map(|(name, tenant)| tenant.seal(name)).collect();
        let bytes = tenants.iter().map(|tenant| tenant.bytes).sum();
        let has_exemplars_carried = false.into();
        let sealed =
            Arc::new(Sealed { log_segment, tenants, sources, offsets, families, bytes, has_exemplars_carried });
        state.sealed = Some(sealed.clone());
        state.oldest_ms = None;
        Ok(Some(sealed))
    }

    /// Saves a manifest, then makes it the present one, together with what `also` changes.
    pub(crate) async fn commit(
        &self,
        mut manifest: Manifest,
        also: impl FnOnce(&mut crate::store::State),
    ) -> Result<(), MaintainError> {
        manifest.revision += 1;
        self.home.save(&manifest).await.inspect_err(|e| self.note_lost(e))?;
        let mut state = self.state.lock();
        let mut held: BTreeMap<u64, Arc<Part>> = state.parts.iter().map(|p| (p.entry.id, p.clone())).collect();
        let parts =
            manifest.parts.iter().map(|entry| held.remove(&entry.id).unwrap_or_else(|| self.parts.part(entry.clone())));
        state.parts = Arc::new(parts.collect());
        state.obsolete.extend(held.into_values());
        state.manifest = Arc::new(manifest);
        also(&mut state);
        Ok(())
    }

    /// Merges some parts of one tenant, table and day, if it is worth it; the answer is how many.
    async fn compact_step(&self, now_ms: i64) -> Result<usize, MaintainError> {
        let (parts, pressed) = {
            let state = self.state.lock();
            (state.parts.clone(), state.pressed)
        };
        let pressed = pressed.filter(|(at_ms, _)| (0..PRESS_GRACE_MS).contains(&now_ms.saturating_sub(*at_ms)));
        let mut groups: BTreeMap<(&str, &str, i64), Vec<&Arc<Part>>> = BTreeMap::new();
        for part in parts.iter() {
            groups.entry((&part.entry.tenant, &part.entry.table, part.entry.day)).or_default().push(part);
        }
        let mut best: Option<Vec<Arc<Part>>> = None;
        for ((_, table, day), mut group) in groups {
            group.sort_unstable_by_key(|p| p.entry.sequence);
            let sizes: Vec<u64> = group.iter().map(|p| p.entry.bytes).collect();
            let has_pressed = pressed.is_some_and(|(_, first)| group.iter().any(|p| p.entry.sequence >= first));
            let is_over = (day + 1).saturating_mul(DAY_MS).saturating_add(DAY_GRACE_MS) <= now_ms && !has_pressed;
            let bounds = if table == METRICS { Bounds::metrics } else { Bounds::events }(self.config.part_bytes_max);
            if let Some(range) = compact::choose(&sizes, is_over, bounds)
                && best.as_ref().is_none_or(|b| b.len() < range.len())
            {
                best = Some(group[range].iter().map(|p| (*p).clone()).collect());
            }
        }
        let Some(inputs) = best else { return Ok(0) };
        let mut manifest = Manifest::clone(&self.state.lock().manifest);
        let first = inputs[0].entry.clone();
        let level = 1 + inputs.iter().map(|p| p.entry.level).max().unwrap_or(0);
        let sequence = inputs.iter().map(|p| p.entry.sequence).max();
        let entry = self.new_entry(&mut manifest, &first.tenant, &first.table, first.day, level, sequence);
        let path = entry.path.clone();
        let merged = match event_table(&first.table) {
            None => self.merge_metrics(&inputs, entry).await,
            Some(table) => self.merge_events(table, &inputs, entry).await,
        };
        let entry = merged.inspect_err(|_| self.state.lock().orphans.push(path))?;
        let gone: BTreeSet<u64> = inputs.iter().map(|p| p.entry.id).collect();
        manifest.parts.retain(|p| !gone.contains(&p.id));
        let bytes = entry.bytes;
        manifest.parts.push(entry);
        self.commit(manifest, |state| {
            state.counters.compactions += 1;
            state.counters.compacted_bytes += bytes;
        })
        .await?;
        Ok(inputs.len())
    }

    async fn merge_metrics(&self, inputs: &[Arc<Part>], entry: PartEntry) -> Result<PartEntry, MaintainError> {
        let parts: Vec<_> = inputs.iter().filter_map(|p| p.metrics.clone()).collect();
        let merged = self.rewrite_metrics(parts, entry, None).await?;
        merged.ok_or_else(|| encode_error(METRICS, "merged parts hold nothing"))
    }

    /// Parts to one, without the samples of `cut`; `None` if no sample is left.
    pub(crate) async fn rewrite_metrics(
        &self,
        parts: Vec<Arc<metrics::MetricsPart>>,
        entry: PartEntry,
        cut: Option<metrics::Cut>,
    ) -> Result<Option<PartEntry>, MaintainError> {
        let output = object_store::path::Path::from(entry.path.as_str());
        let merged = off_runtime(async move { metrics::rewrite_parts(&parts, &output, cut.as_ref()).await }).await;
        let merged = merged.map_err(|e| encode_error(METRICS, e))?.map_err(|e| match e {
            metrics::PartError::Read(e) => MaintainError::Read(e),
            metrics::PartError::Write(e) => encode_error(METRICS, e),
        })?;
        if merged.chunks == 0 {
            return Ok(None);
        }
        self.parts.make_durable(&entry.path).await?;
        Ok(Some(PartEntry {
            min_ts_ms: merged.min_ts_ms,
            max_ts_ms: merged.max_ts_ms,
            rows: merged.chunks,
            bytes: merged.size_bytes,
            ..entry
        }))
    }

    async fn merge_events(
        &self,
        table: Table,
        inputs: &[Arc<Part>],
        entry: PartEntry,
    ) -> Result<PartEntry, MaintainError> {
        let files: Vec<_> =
            inputs.iter().map(|p| merge::Input { path: p.entry.path.clone(), bytes: p.entry.bytes }).collect();
        let (objects, day) = (self.parts.objects.clone(), entry.day);
        let merged = off_runtime(async move { merge::merge(objects, table, day, &files).await }).await;
        let merged = merged.map_err(|e| encode_error(table.name(), e))??;
        let bytes = merged.bytes.len() as u64;
        self.parts.put(&entry.path, merged.bytes).await?;
        Ok(PartEntry { min_ts_ms: merged.min_ts_ms, max_ts_ms: merged.max_ts_ms, rows: merged.rows, bytes, ..entry })
    }

    /// Takes expired parts out of the manifest.
    async fn expire(&self, now_ms: i64) -> Result<usize, MaintainError> {
        let mut manifest = Manifest::clone(&self.state.lock().manifest);
        let mut tables: BTreeMap<&str, Vec<Aged>> = BTreeMap::new();
        for part in &manifest.parts {
            let aged = Aged { id: part.id, max_ts_ms: part.max_ts_ms, bytes: part.bytes };
            tables.entry(&part.table).or_default().push(aged);
        }
        let mut gone = BTreeSet::new();
        for (name, parts) in tables {
            gone.extend(expired(&parts, self.config.retention.of(event_table(name)), now_ms));
        }
        if gone.is_empty() {
            return Ok(0);
        }
        manifest.parts.retain(|p| !gone.contains(&p.id));
        self.commit(manifest, |state| state.counters.expired_parts += gone.len() as u64).await?;
        Ok(gone.len())
    }

    /// An entry with a new id; `sequence` is the id too unless it is inherited. The caller holds `upkeep`.
    pub(crate) fn new_entry(
        &self,
        manifest: &mut Manifest,
        tenant: &str,
        table: &str,
        day: i64,
        level: u32,
        sequence: Option<u64>,
    ) -> PartEntry {
        let id = manifest.next_part.max(self.next_part.load(Ordering::Relaxed));
        manifest.next_part = id + 1;
        self.next_part.store(id + 1, Ordering::Relaxed);
        PartEntry {
            id,
            sequence: sequence.unwrap_or(id),
            tenant: tenant.into(),
            table: table.into(),
            day,
            min_ts_ms: 0,
            max_ts_ms: 0,
            rows: 0,
            bytes: 0,
            level,
            path: self.parts.path_of(tenant, table, day, id),
        }
    }

    /// Removes the files of parts that neither the manifest nor a reader needs.
    async fn remove_obsolete(&self) -> Result<usize, MaintainError> {
        let (free, orphans): (Vec<Arc<Part>>, _) = {
            let mut state = self.state.lock();
            let (free, held) = std::mem::take(&mut state.obsolete).into_iter().partition(|p| Arc::strong_count(p) == 1);
            state.obsolete = held;
            (free, std::mem::take(&mut state.orphans))
        };
        let mut removed = 0;
        for path in orphans {
            if let Err(error) = self.parts.remove(&path).await {
                tracing::warn!(path, %error, "what a failed attempt has left could not be removed; at the next start");
            }
        }
        let mut free = free.into_iter();
        while let Some(part) = free.next() {
            if let Err(e) = self.parts.remove(&part.entry.path).await {
                self.state.lock().obsolete.extend(std::iter::once(part).chain(free));
                return Err(e);
            }
            removed += 1;
        }
        Ok(removed)
    }
}

/// Runs what is mostly computing, or must not be cut off, beside the runtime's own threads: to its end, even if nobody
/// waits for it.
pub(crate) async fn off_runtime<T: Send + 'static>(
    work: impl Future<Output = T> + Send + 'static,
) -> Result<T, tokio::task::JoinError> {
    let handle = tokio::runtime::Handle::current();
    tokio::task::spawn_blocking(move || handle.block_on(work)).await
}

fn table_name(table: Option<Table>) -> &'static str {
    table.map_or(METRICS, Table::name)
}

/// Why the log takes nothing, as upkeep says it.
fn stopped(failure: Failure) -> MaintainError {
    match failure {
        Failure::Full(why) => MaintainError::Full(why),
        Failure::Poisoned(why) => MaintainError::Poisoned(why),
        Failure::Closed => MaintainError::Full("the store is closed".into()),
    }
}

fn encode_error(table: &'static str, what: impl ToString) -> MaintainError {
    MaintainError::Encode { table, what: what.to_string() }
}

fn encode(sealed: &SealedTenant) -> Result<Vec<Encoded>, MaintainError> {
    let mut out = Vec::new();
    for part in metrics::write_parts(&sealed.metrics).map_err(|e| encode_error(METRICS, e))? {
        out.push(Encoded {
            tenant: sealed.tenant.clone(),
            table: None,
            day: part.day,
            min_ts_ms: part.min_ts_ms,
            max_ts_ms: part.max_ts_ms,
            rows: part.chunks,
            bytes: part.bytes,
        });
    }
    for (table, head) in &sealed.events {
        let parts = write::write_parts(*table, &head.first(usize::MAX)).map_err(|e| encode_error(table.name(), e))?;
        for part in parts {
            out.push(Encoded {
                tenant: sealed.tenant.clone(),
                table: Some(*table),
                day: part.day,
                min_ts_ms: part.min_ts_ms,
                max_ts_ms: part.max_ts_ms,
                rows: part.rows,
                bytes: part.bytes,
            });
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flush_is_due_for_a_reason() {
        let config =
            StoreConfig { head_bytes_max: 100, flush_log_bytes: 1000, flush_age_ms: 10, ..StoreConfig::default() };
        let due = |(series_bytes, row_bytes), log, oldest, failed| {
            flush_due(&config, HeadSize { series: 1, series_bytes, row_bytes }, log, oldest, failed, 100)
        };
        assert_eq!(due((0, 0), 0, None, false), None);
        assert_eq!(due((0, 49), 999, Some(91), false), None);
        assert_eq!(due((0, 50), 0, Some(91), false), Some(FlushReason::HeadBytes));
        assert_eq!(due((60, 19), 0, Some(91), false), None, "what a flush leaves does not make it due");
        assert_eq!(due((60, 20), 0, Some(91), false), Some(FlushReason::HeadBytes));
        assert_eq!(due((100, 0), 0, None, false), None, "there is nothing to flush");
        assert_eq!(due((0, 0), 1000, None, false), Some(FlushReason::LogBytes));
        assert_eq!(due((0, 0), 0, Some(90), false), Some(FlushReason::Age));
        assert_eq!(due((0, 0), 0, None, true), Some(FlushReason::Retry));
    }
}

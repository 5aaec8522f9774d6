//! The store: log, head, parts and manifest together.

use std::{
    collections::BTreeMap,
    sync::{Arc, OnceLock, atomic::AtomicU64},
};

use arrow::array::RecordBatch;
use parking_lot::Mutex;
use proto::{Class, Events, Table, refusal::Refusal, tables::class_name};
use tokio::sync::broadcast;

use crate::{
    Append, AppendError, Consumed, FlushReport, MaintainError, MaintainReport, ObjectStoreConfig, OpenError, Outcome,
    PendingAppend, Rows, SampleRows, Snapshot, StoreConfig, StoreStats,
    admission::{Refused, Window, check_consumed, check_shape},
    disk::{DirLock, Disk, Files},
    events::to_batch,
    exemplars::Exemplars,
    head::{HeadSize, Sealed, Tenant},
    log::{Failure, Log, Position, frame::FrameKind, record},
    manifest::{self, Manifest, ManifestHome},
    offsets::Offsets,
    part::{Part, PartStore},
    remote::owner,
    sources::Sources,
};

/// Notices that a subscriber may fall behind by before it loses the oldest.
const NOTICES_MAX: usize = 1024;
/// Most tenants.
const TENANTS_MAX: usize = 4096;

/// Keeps what was admitted. Cheap to clone; all clones are the same store.
#[derive(Clone)]
pub struct Store {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) config: StoreConfig,
    pub(crate) parts: PartStore,
    pub(crate) home: ManifestHome,
    pub(crate) log: Arc<Log>,
    pub(crate) state: Mutex<State>,
    pub(crate) exemplars: Arc<Exemplars>,
    /// Held by a flush, a compaction step, an expiry: one at a time changes the manifest.
    pub(crate) upkeep: tokio::sync::Mutex<()>,
    /// The next part's id: one that a failed attempt has used is not used again.
    pub(crate) next_part: AtomicU64,
    /// Why no more is taken though the log is sound: the object store is another server's by now.
    pub(crate) lost: OnceLock<String>,
    /// Held while a snapshot for backup is taken: one at a time.
    pub(crate) backing_up: tokio::sync::Mutex<()>,
    notices: broadcast::Sender<Notice>,
    pub(crate) _lock: Option<DirLock>,
}

/// Rows on their way in.
enum Work<'a> {
    Samples(&'a SampleRows<'a>),
    Events(Table, MadeEvents),
}

/// Event rows ready for head and log.
struct MadeEvents {
    batch: RecordBatch,
    kind: FrameKind,
    payload: Vec<u8>,
    refused: Refused,
}

/// Everything that appends, reads and upkeep share; held for microseconds.
#[derive(Default)]
pub(crate) struct State {
    pub(crate) tenants: BTreeMap<Arc<str>, Tenant>,
    pub(crate) sealed: Option<Arc<Sealed>>,
    pub(crate) sources: Sources,
    pub(crate) offsets: Offsets,
    /// As last saved.
    pub(crate) manifest: Arc<Manifest>,
    pub(crate) parts: Arc<Vec<Arc<Part>>>,
    /// No longer in the manifest, perhaps still being read.
    pub(crate) obsolete: Vec<Arc<Part>>,
    /// Paths of parts that an attempt has written, or may have, and that no manifest was to name.
    pub(crate) orphans: Vec<String>,
    /// When the oldest row of the head came.
    pub(crate) oldest_ms: Option<i64>,
    /// When rows last pressed for a flush, and the least id that a part of it may have.
    pub(crate) pressed: Option<(i64, u64)>,
    pub(crate) counters: StoreStats,
}

/// Something was appended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// Whose.
    pub tenant: Arc<str>,
    /// Of what class.
    pub class: Class,
    /// How many rows.
    pub rows: u64,
}

/// A bounded queue of notices: a slow reader loses the oldest, and learns how many.
pub struct Subscription {
    receiver: broadcast::Receiver<Notice>,
    lost: u64,
}

impl Subscription {
    /// The next notice; `None` when the store is gone.
    pub async fn next(&mut self) -> Option<Notice> {
        loop {
            match self.receiver.recv().await {
                Ok(notice) => return Some(notice),
                Err(broadcast::error::RecvError::Lagged(n)) => self.lost += n,
                Err(broadcast::error::RecvError::Closed) => return None,
            }
        }
    }

    /// How many notices this subscription has lost so far.
    pub fn lost(&self) -> u64 {
        self.lost
    }
}

impl Store {
    /// Opens or creates the store at `config.data_dir` and replays its log. `now_ms`: the time, milliseconds.
    pub async fn open(config: StoreConfig, now_ms: i64) -> Result<Store, OpenError> {
        config.check()?;
        let dir = config.data_dir.clone();
        let io = |source| OpenError::Io { what: format!("creating {}", dir.display()), source };
        std::fs::create_dir_all(&dir).map_err(io)?;
        let lock_path = dir.join("lock");
        let lock = DirLock::take(&lock_path).map_err(|e| match e.kind() {
            std::io::ErrorKind::WouldBlock => OpenError::InUse { path: lock_path.display().to_string() },
            _ => io(e),
        })?;
        let other_home = match &config.object_store {
            ObjectStoreConfig::Local => (owner::NAME, "parts in an S3-compatible store: set kind: s3 again"),
            ObjectStoreConfig::S3(_) => (manifest::NAME, "local parts: they don't move by themselves"),
        };
        if dir.join(other_home.0).exists() {
            let message = format!("{} is of a store with {}, or use another data_dir", dir.display(), other_home.1);
            return Err(OpenError::Config { field: "object_store", message });
        }
        let disk: Arc<dyn Disk> = Arc::new(Files);
        let parts = PartStore::open(&config.object_store, &dir, disk.clone())?;
        Store::open_with(config, disk, parts, Some(lock), now_ms).await
    }

    pub(crate) fn of(
        config: StoreConfig,
        parts: PartStore,
        home: ManifestHome,
        log: Log,
        state: State,
        exemplars: Exemplars,
        lock: Option<DirLock>,
    ) -> Store {
        let inner = Inner {
            exemplars: Arc::new(exemplars),
            config,
            parts,
            home,
            log: Arc::new(log),
            state: Mutex::new(state),
            upkeep: tokio::sync::Mutex::new(()),
            next_part: AtomicU64::new(0),
            lost: OnceLock::new(),
            backing_up: tokio::sync::Mutex::new(()),
            notices: broadcast::channel(NOTICES_MAX).0,
            _lock: lock,
        };
        Store { inner: Arc::new(inner) }
    }

    /// Puts rows into the log's buffer and the head, where they can be read at once. The answer resolves when they are
    /// synced: acknowledge only then.
    pub fn append(&self, append: Append<'_>) -> Result<PendingAppend, AppendError> {
        self.append_from(append, None)
    }

    /// [`Store::append`] of rows that were read at a place of a stream: after a crash both are there, rows and place, or
    /// neither. The place is kept too if the rows are a duplicate; if they are refused nothing is.
    pub fn append_consumed(&self, append: Append<'_>, at: Consumed<'_>) -> Result<PendingAppend, AppendError> {
        self.append_from(append, Some(at))
    }

    fn append_from(&self, append: Append<'_>, at: Option<Consumed<'_>>) -> Result<PendingAppend, AppendError> {
        let rows = append.rows.len() as u64;
        let sound = check_shape(&append).and_then(|()| at.as_ref().map_or(Ok(()), check_consumed));
        let taken = sound.and_then(|()| self.inner.append(&append, at));
        match taken {
            Ok((at, outcome)) => Ok(self.inner.pending(at, outcome)),
            Err(e) => {
                *self.inner.state.lock().counters.refused.entry(e.refusal()).or_default() += rows.max(1);
                Err(e)
            }
        }
    }

    /// Keeps a place of a stream that brought no rows.
    pub fn consume(&self, at: Consumed<'_>, now_ms: i64) -> Result<PendingAppend, AppendError> {
        check_consumed(&at)?;
        let kept = self.inner.consume(&mut self.inner.state.lock(), at, now_ms)?;
        Ok(self.inner.pending(kept, Outcome::Stored { rows: 0, refused: Vec::new() }))
    }

    /// The partitions of a stream, each with the offset to go on at.
    pub fn offsets(&self, stream: &str) -> BTreeMap<u32, u64> {
        self.inner.state.lock().offsets.of(stream)
    }

    /// The highest sequence taken of a class of a source, on disk or not yet; 0 if there is none.
    pub fn last_sequence(&self, collector: &str, epoch: u64, class: Class) -> u64 {
        self.inner.state.lock().sources.last(collector, epoch, class)
    }

    /// The highest sequence on disk of each class of a source.
    pub fn durable(&self, collector: &str, epoch: u64) -> Vec<(Class, u64)> {
        let synced = self.inner.log.progress().borrow().synced;
        self.inner.state.lock().sources.durable(collector, epoch, synced)
    }

    /// A consistent view of one tenant's data.
    pub fn snapshot(&self, tenant: &str) -> Snapshot {
        let state = self.inner.state.lock();
        let (mut epochs, mut events) = (Vec::new(), Vec::new());
        for sealed in state.sealed.iter().flat_map(|s| &s.tenants).filter(|t| *t.tenant == *tenant) {
            epochs.push(sealed.metrics.clone());
            events.extend(sealed.events.iter().cloned());
        }
        let mut families = Arc::default();
        if let Some(live) = state.tenants.get(tenant) {
            epochs.push(live.metrics.epoch());
            events.extend(live.events.iter().map(|(table, head)| (*table, head.clone())));
            families = live.families.clone();
        }
        Snapshot::new(tenant, self.inner.parts.event_parts(), state.parts.clone(), epochs, events, families)
    }

    /// Tenants that have data.
    pub fn tenants(&self) -> Vec<Arc<str>> {
        let state = self.inner.state.lock();
        let mut names: Vec<Arc<str>> = state.tenants.keys().cloned().collect();
        names.extend(state.parts.iter().map(|p| p.entry.tenant.as_str().into()));
        names.sort_unstable();
        names.dedup();
        names
    }

    /// Notices of what is appended from now on.
    pub fn subscribe(&self) -> Subscription {
        Subscription { receiver: self.inner.notices.subscribe(), lost: 0 }
    }

    /// Turns the head into parts and shortens the log.
    pub async fn flush(&self, _now_ms: i64) -> Result<FlushReport, MaintainError> {
        let _alone = self.inner.upkeep.lock().await;
        self.inner.flush().await
    }

    /// One round of upkeep: a flush if one is due, one compaction step, retention, removal of files nobody reads.
    /// Call it every few seconds from one task.
    pub async fn maintain(&self, now_ms: i64) -> Result<MaintainReport, MaintainError> {
        let _alone = self.inner.upkeep.lock().await;
        self.inner.maintain(now_ms).await.inspect_err(|_| self.inner.state.lock().counters.maintain_errors += 1)
    }

    /// The present numbers.
    pub fn stats(&self) -> StoreStats {
        self.inner.stats()
    }

    /// Syncs the log and stops its writer. Appends are refused from here on; snapshots stay readable.
    pub async fn close(self) {
        let inner = self.inner.clone();
        // joining a thread would hold up the runtime; that it panicked has been said already
        let _ = tokio::task::spawn_blocking(move || inner.log.close()).await;
    }
}

impl Inner {
    fn append(&self, append: &Append<'_>, at: Option<Consumed<'_>>) -> Result<(Position, Outcome), AppendError> {
        self.check_lost()?;
        let head = record::Head { tenant: append.tenant, origin: append.origin, consumed: at };
        let work = match &append.rows {
            Rows::Samples(rows) => Work::Samples(rows),
            Rows::Events(events) | Rows::Batch(events, _) => {
                // what takes time is done before the lock is taken that all others wait for
                if let Some(known) = self.answered(&mut self.state.lock(), append, at)? {
                    return Ok(known);
                }
                Work::Events(events.table, self.make_events(&head, events, append.rows.encoded(), append.now_ms)?)
            }
        };
        let mut guard = self.state.lock();
        let state = &mut *guard;
        if let Some(known) = self.answered(state, append, at)? {
            return Ok(known);
        }
        let tenant: Arc<str> = append.tenant.into();
        if !state.tenants.contains_key(&tenant) {
            if state.tenants.len() >= TENANTS_MAX {
                return Err(AppendError::TooLarge { what: "tenants", found: TENANTS_MAX + 1, max: TENANTS_MAX });
            }
            state.tenants.insert(tenant.clone(), Tenant::new(BTreeMap::new()));
        }
        let (durable_at, rows, refused) = match work {
            Work::Samples(rows) => self.append_samples(state, &head, rows, append.now_ms)?,
            Work::Events(table, made) => self.append_events(state, &head, table, made)?,
        };
        if let Some(origin) = &append.origin {
            let synced = self.log.progress().borrow().synced;
            state.sources.advance(origin, durable_at, synced, append.now_ms);
        }
        if let Some(at) = &at {
            state.offsets.set(at, append.now_ms);
        }
        state.oldest_ms.get_or_insert(append.now_ms);
        state.counters.rows += rows;
        for (refusal, n) in &refused {
            *state.counters.refused.entry(*refusal).or_default() += n;
        }
        drop(guard);
        if rows > 0 {
            // nobody listening is no error
            let _ = self.notices.send(Notice { tenant, class: append.rows.class(), rows });
        }
        Ok((durable_at, Outcome::Stored { rows, refused: refused.into_iter().collect() }))
    }

    /// What can be said of rows without storing them: they were here before, or there is no room.
    fn answered(
        &self,
        state: &mut State,
        append: &Append<'_>,
        at: Option<Consumed<'_>>,
    ) -> Result<Option<(Position, Outcome)>, AppendError> {
        let Some(durable_at) = append.origin.as_ref().and_then(|origin| state.sources.duplicate(origin)) else {
            return self.check_room(state.head_size(), append.rows.class()).map(|()| None);
        };
        let durable_at = match at {
            None => durable_at,
            Some(at) => self.consume(state, at, append.now_ms)?,
        };
        state.counters.duplicates += 1;
        Ok(Some((durable_at, Outcome::Duplicate)))
    }

    fn check_lost(&self) -> Result<(), AppendError> {
        self.lost.get().map_or(Ok(()), |why| Err(AppendError::Poisoned(why.clone())))
    }

    /// Logs a place alone; the answer is where it becomes durable.
    fn consume(&self, state: &mut State, at: Consumed<'_>, now_ms: i64) -> Result<Position, AppendError> {
        self.check_lost()?;
        let kept = self.log.append(FrameKind::Consumed, &record::encode_consumed(at)).map_err(|e| refused(&e))?;
        state.offsets.set(&at, now_ms);
        state.oldest_ms.get_or_insert(now_ms);
        Ok(kept)
    }

    fn append_samples(
        &self,
        state: &mut State,
        of: &record::Head<'_>,
        rows: &SampleRows<'_>,
        now_ms: i64,
    ) -> Result<(Position, u64, Refused), AppendError> {
        let limits = &self.config.limits;
        let window = Window::new(limits, self.config.retention.of(None).age_ms, now_ms);
        let series_free = limits.series_max.saturating_sub(state.tenants.values().map(|t| t.metrics.series()).sum());
        let Some(head) = state.tenants.get_mut(of.tenant) else { return Err(AppendError::Closed) };
        let admitted = head.admit(rows, limits, window, series_free, of.origin.as_ref());
        let payload = record::encode_samples(
            of,
            admitted.definitions.iter().copied(),
            &admitted.series,
            &admitted.timestamps_ms,
            &admitted.values,
            &admitted.families,
            &admitted.histograms,
        );
        match self.log.append(FrameKind::Samples, &payload) {
            Ok(at) => {
                head.put_samples(&admitted);
                if !admitted.families.is_empty() {
                    head.put_families(admitted.families.iter().copied());
                }
                Ok((at, (admitted.values.len() + admitted.histograms.len()) as u64, admitted.refused))
            }
            Err(failure) => {
                head.forget_definitions(&admitted.definitions);
                Err(refused(&failure))
            }
        }
    }

    /// What event rows become in head and log, without those that are refused.
    fn make_events(
        &self,
        of: &record::Head<'_>,
        events: &Events,
        encoded: Option<&[u8]>,
        now_ms: i64,
    ) -> Result<MadeEvents, AppendError> {
        let age_ms = self.config.retention.of(Some(events.table)).age_ms;
        let window = Window::new(&self.config.limits, age_ms, now_ms);
        let mut refused = Refused::new();
        let keep: Vec<u32> = (0..events.rows() as u32)
            .filter(|row| match window.refuse(events.ts_ms(*row as usize)) {
                None => true,
                Some(refusal) => {
                    *refused.entry(refusal).or_insert(0) += 1;
                    false
                }
            })
            .collect();
        let keep_only = (keep.len() < events.rows()).then_some(&keep[..]);
        let batch = to_batch(events, keep_only).map_err(|e| AppendError::Malformed(e.to_string()))?;
        let (kind, payload) = match (encoded, keep_only) {
            (Some(encoded), None) => (FrameKind::Batch, record::encode_batch(of, encoded)),
            _ => (FrameKind::Events, record::encode_events(of, events, keep_only)),
        };
        if payload.len() > record::RECORD_BYTES_MAX {
            return Err(AppendError::TooLarge { what: "bytes", found: payload.len(), max: record::RECORD_BYTES_MAX });
        }
        Ok(MadeEvents { batch, kind, payload, refused })
    }

    fn append_events(
        &self,
        state: &mut State,
        of: &record::Head<'_>,
        table: Table,
        made: MadeEvents,
    ) -> Result<(Position, u64, Refused), AppendError> {
        let Some(head) = state.tenants.get_mut(of.tenant) else { return Err(AppendError::Closed) };
        let at = self.log.append(made.kind, &made.payload).map_err(|failure| refused(&failure))?;
        let rows = made.batch.num_rows();
        if rows > 0 {
            head.put_events(table, made.batch)?;
        }
        Ok((at, rows as u64, made.refused))
    }

    /// Whether the head takes more rows of a class. Its last eighth is for what is more important than other events: samples,
    /// what alerts did, and what was lost, so that a flood of logs does not blind the rules.
    fn check_room(&self, head: HeadSize, class: Class) -> Result<(), AppendError> {
        let max = self.config.head_bytes_max;
        let kept_free = match class {
            Class::Samples | Class::AlertEvents | Class::Gaps => 0,
            _ => max.saturating_sub(head.series_bytes as u64) / 8,
        };
        if head.bytes() < max - kept_free {
            return Ok(());
        }
        let (held, class) = (head.bytes(), class_name(class));
        let free = match kept_free {
            0 => String::new(),
            free => format!(", of which {free} are not for {class},"),
        };
        Err(AppendError::Full(format!("the head holds {held} of {max} bytes{free} until it is flushed")))
    }

    pub(crate) fn pending(&self, at: Position, outcome: Outcome) -> PendingAppend {
        let reached = self.log.reached(at);
        PendingAppend(Box::pin(async move { reached.await.map(|()| outcome).map_err(|failure| refused(&failure)) }))
    }

    fn stats(&self) -> StoreStats {
        let state = self.state.lock();
        let mut stats = state.counters.clone();
        let head = state.head_size();
        (stats.head_series, stats.head_bytes) = (head.series as u64, head.bytes());
        (stats.head_series_max, stats.head_bytes_max) =
            (self.config.limits.series_max as u64, self.config.head_bytes_max);
        for part in state.parts.iter() {
            let name = crate::part::event_table(&part.entry.table).map_or(crate::part::METRICS, proto::Table::name);
            let table = stats.tables.entry(name).or_default();
            table.parts += 1;
            table.bytes += part.entry.bytes;
            table.rows += part.entry.rows;
        }
        drop(state);
        (stats.log_bytes, stats.log_segments) = self.log.size();
        let progress = self.log.progress().borrow().clone();
        stats.log_syncs = progress.syncs;
        match progress.failure {
            Some(Failure::Full(_)) => stats.full = true,
            Some(Failure::Poisoned(why)) => stats.poisoned = Some(why),
            Some(Failure::Closed) | None => stats.full = self.log.lacks_room(),
        }
        stats.poisoned = stats.poisoned.or_else(|| self.lost.get().cloned());
        stats.read_cache = self.parts.read_cache_stats();
        stats.remote = self.parts.remote_stats();
        stats.exemplars = self.exemplars.stats();
        stats
    }
}

impl State {
    /// What the head holds, what is being flushed included.
    pub(crate) fn head_size(&self) -> HeadSize {
        let row_bytes = self.sealed.as_ref().map_or(0, |s| s.bytes);
        let mut size = HeadSize { row_bytes, ..HeadSize::default() };
        self.tenants.values().for_each(|tenant| size += tenant.size());
        size
    }
}

pub(crate) fn refused(failure: &Failure) -> AppendError {
    match failure {
        Failure::Full(why) => AppendError::Full(why.clone()),
        Failure::Poisoned(why) => AppendError::Poisoned(why.clone()),
        Failure::Closed => AppendError::Closed,
    }
}

const _: () = assert!(Refusal::ALL.len() == 12, "a new reason needs a place in AppendError::refusal");

#[cfg(test)]
mod tests;

//! Exemplars: of which request, say by its trace, a sample tells. Kept as Prometheus keeps them: the newest of all series in one
//! ring in memory, none older than the newest of its series. They are in the log too, so that a restart finds them: each flush,
//! which takes the log away, writes all there are into the next generation. They are in no part and no snapshot.
//!
//! Source of the rules: Prometheus 3, `tsdb/exemplar.go` and `model/exemplar`; the bound of an exemplar's labels is OpenMetrics'.

use std::{collections::BTreeMap, sync::Arc};

use hashbrown::{Equivalent, HashMap};
use parking_lot::RwLock;
use proto::Labels;

use crate::{
    AppendError, PendingAppend, Store,
    append::Outcome,
    log::{
        Failure, Position,
        frame::FrameKind,
        record::{RECORD_BYTES_MAX, RECORD_ROWS_MAX},
        record_exemplars::{ExemplarsRecord, ExemplarsWriter},
    },
    store::refused,
};

/// Exemplars kept unless the config says otherwise: Prometheus' number.
pub const EXEMPLARS_DEFAULT: usize = 100_000;
/// Most that a config may ask for: some 2 GB if they are as usual, a trace each.
pub const EXEMPLARS_MAX: usize = 10_000_000;
/// Most characters of an exemplar's labels, names and values together.
pub const LABEL_CHARS_MAX: usize = 128;

/// Most bytes of one record of all, before compression.
const ROOM_MAX: usize = RECORD_BYTES_MAX / 2;

const _: () = assert!(EXEMPLARS_DEFAULT <= EXEMPLARS_MAX);

/// One exemplar.
#[derive(Clone, Debug, PartialEq)]
pub struct Exemplar {
    /// What leads to the request, as `trace_id`.
    pub labels: Labels,
    /// Milliseconds since 1970-01-01 UTC.
    pub timestamp_ms: i64,
    /// What was observed.
    pub value: f64,
}

/// The exemplars of one series, oldest first.
#[derive(Clone, Debug, PartialEq)]
pub struct SeriesExemplars {
    /// The series.
    pub series: Labels,
    /// At least one.
    pub exemplars: Vec<Exemplar>,
}

/// An exemplar on its way in.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ExemplarRow<'a> {
    /// Index into the series it travels with.
    pub series: u32,
    /// Milliseconds since 1970-01-01 UTC.
    pub timestamp_ms: i64,
    /// What was observed.
    pub value: f64,
    /// Canonical [`Labels`] bytes; an error: what was sent can't be labels.
    pub labels: Result<&'a [u8], NotKept>,
}

/// Why an exemplar is not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum NotKept {
    /// The newest of its series is the same: a resend, which is no error.
    Duplicate,
    /// Older than the newest of its series, or of the same time and smaller.
    OutOfOrder,
    /// Further in the future than clocks may differ.
    TooNew,
    /// Its labels have more than [`LABEL_CHARS_MAX`] characters.
    LabelsTooLong,
    /// Its labels are none: one twice, one without a name, or no UTF-8.
    BadLabels,
    /// Nothing recent is known of its series: its samples were refused, or there are none.
    UnknownSeries,
    /// The config keeps none.
    Disabled,
}

impl NotKept {
    /// All of them, for metrics.
    pub const ALL: [NotKept; 7] = [
        NotKept::Duplicate,
        NotKept::OutOfOrder,
        NotKept::TooNew,
        NotKept::LabelsTooLong,
        NotKept::BadLabels,
        NotKept::UnknownSeries,
        NotKept::Disabled,
    ];

    /// The word.
    pub fn as_str(self) -> &'static str {
        match self {
            NotKept::Duplicate => "duplicate",
            NotKept::OutOfOrder => "out_of_order",
            NotKept::TooNew => "too_new",
            NotKept::LabelsTooLong => "labels_too_long",
            NotKept::BadLabels => "bad_labels",
            NotKept::UnknownSeries => "unknown_series",
            NotKept::Disabled => "disabled",
        }
    }
}

/// What became of exemplars.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExemplarOutcome {
    /// How many are kept.
    pub kept: u64,
    /// How many are not, by reason.
    pub not_kept: BTreeMap<NotKept, u64>,
}

/// The ring's numbers; counters begin at open.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExemplarStats {
    /// Exemplars there now.
    pub exemplars: u64,
    /// Exemplars there may be.
    pub exemplars_max: u64,
    /// Series that have any.
    pub series: u64,
    /// Time of the one that goes next, milliseconds; 0 if there is none.
    pub oldest_ms: i64,
    /// Exemplars kept so far.
    pub kept: u64,
    /// Exemplars removed for newer ones.
    pub evicted: u64,
    /// Exemplars not kept, by reason.
    pub not_kept: BTreeMap<NotKept, u64>,
}

/// The ring of a store.
pub(crate) struct Exemplars {
    max: usize,
    ring: RwLock<Ring>,
}

#[derive(Default)]
struct Ring {
    /// In order of arrival, begun anew at the front once it is full.
    entries: Vec<Entry>,
    /// Where the next one goes: at the oldest, once the ring is full.
    next: usize,
    chains: HashMap<Series, Chain>,
    kept: u64,
    evicted: u64,
    not_kept: BTreeMap<NotKept, u64>,
    /// Whether it has some that the log refused: the next record is to have all.
    is_ahead: bool,
}

struct Entry {
    series: Series,
    exemplar: Exemplar,
    /// The next one of its series.
    newer: Option<usize>,
}

/// Where the exemplars of a series begin and end.
struct Chain {
    oldest: usize,
    newest: usize,
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct Series {
    tenant: Arc<str>,
    labels: Labels,
}

/// A [`Series`] to look for; its hash is that of the series.
#[derive(Hash)]
struct Sought<'a> {
    tenant: &'a str,
    labels: &'a [u8],
}

impl Equivalent<Series> for Sought<'_> {
    fn equivalent(&self, series: &Series) -> bool {
        self.labels == series.labels.as_bytes() && *self.tenant == *series.tenant
    }
}

impl Store {
    /// Keeps exemplars of series the head knows; `labels`: the canonical bytes of the series that rows point to. Those of one
    /// request belong behind its samples. They can be read at once; acknowledge them when what is pending resolves (`None`:
    /// nothing was kept). An error: the log did not take them, so they are to be sent again.
    pub fn append_exemplars(
        &self,
        tenant: &str,
        labels: &[&[u8]],
        rows: &[ExemplarRow<'_>],
        now_ms: i64,
    ) -> Result<(ExemplarOutcome, Option<PendingAppend>), AppendError> {
        if rows.is_empty() {
            return Ok((ExemplarOutcome::default(), None));
        }
        let max_ms = now_ms.saturating_add(self.inner.config.limits.future_ms_max);
        let mut known = vec![false; labels.len()];
        {
            let state = self.inner.state.lock();
            let writer = state.tenants.get(tenant).map(|of| of.metrics.writer());
            for row in rows {
                let at = row.series as usize;
                if let (Some(writer), Some(bytes)) = (&writer, labels.get(at)) {
                    known[at] = known[at] || writer.resolve(bytes).is_some();
                }
            }
        }
        let is_known = |series| known.get(series) == Some(&true);
        let log = |payload: &[u8]| self.inner.log.append(FrameKind::Exemplars, payload);
        let (outcome, at) = self.inner.exemplars.append(tenant, labels, rows, max_ms, is_known, log);
        let at = at.map_err(|failure| refused(&failure))?;
        Ok((outcome, at.map(|at| self.inner.pending(at, Outcome::Stored { rows: 0, refused: Vec::new() }))))
    }

    /// The exemplars from `start_ms` to `end_ms` of the series that match, in order of their labels.
    pub fn exemplars(
        &self,
        tenant: &str,
        matches: impl Fn(&Labels) -> bool,
        start_ms: i64,
        end_ms: i64,
    ) -> Vec<SeriesExemplars> {
        self.inner.exemplars.select(tenant, matches, start_ms, end_ms)
    }
}

impl Exemplars {
    /// An empty ring for `max` exemplars; 0: none are kept.
    pub(crate) fn new(max: usize) -> Exemplars {
        Exemplars { max, ring: RwLock::default() }
    }

    /// Puts them into the ring, then into the log, in one order: a replay finds what the ring had.
    fn append(
        &self,
        tenant: &str,
        labels: &[&[u8]],
        rows: &[ExemplarRow<'_>],
        max_ms: i64,
        is_known: impl Fn(usize) -> bool,
        log: impl FnOnce(&[u8]) -> Result<Position, Failure>,
    ) -> (ExemplarOutcome, Result<Option<Position>, Failure>) {
        let mut outcome = ExemplarOutcome::default();
        let mut writer = ExemplarsWriter::new();
        let mut ring = self.ring.write();
        for row in rows {
            let read = match row.timestamp_ms {
                _ if self.max == 0 => Err(NotKept::Disabled),
                ms if ms > max_ms => Err(NotKept::TooNew),
                _ if !is_known(row.series as usize) => Err(NotKept::UnknownSeries),
                _ => row.labels.and_then(read_labels),
            };
            let series = labels.get(row.series as usize).copied().unwrap_or_default();
            let taken = read.and_then(|labels| {
                let exemplar = Exemplar { labels, timestamp_ms: row.timestamp_ms, value: row.value };
                ring.push(&Sought { tenant, labels: series }, exemplar, self.max)
            });
            if let (Ok(slot), true) = (taken, outcome.kept < RECORD_ROWS_MAX as u64) {
                writer.put(tenant, series, &ring.entries[slot].exemplar);
            }
            match taken {
                Ok(_) => outcome.kept += 1,
                Err(why) => *outcome.not_kept.entry(why).or_default() += 1,
            }
        }
        ring.kept += outcome.kept;
        outcome.not_kept.iter().for_each(|(why, n)| *ring.not_kept.entry(*why).or_default() += n);
        let payload = match (ring.is_ahead, outcome.kept) {
            (true, _) => ring.whole(ROOM_MAX),
            (false, 0) => None,
            (false, _) => Some(writer.payload(false)),
        };
        let at = payload.map(|payload| log(&payload)).transpose();
        ring.is_ahead = at.is_err();
        (outcome, at)
    }

    /// Writes the newest, as many as have room in `bytes_max` before compression, into the log's present generation: all
    /// that a replay from there on is to find. The answer is where they are durable; `None` if there are none.
    pub(crate) fn carry(
        &self,
        bytes_max: u64,
        log: impl FnOnce(&[u8]) -> Result<Position, Failure>,
    ) -> Result<Option<Position>, Failure> {
        let room = usize::try_from(bytes_max).unwrap_or(usize::MAX).min(ROOM_MAX);
        // held until the log has them: what comes meanwhile stands behind them
        let ring = self.ring.read();
        ring.whole(room).map(|payload| log(&payload)).transpose()
    }

    /// Puts logged ones into the ring; counters stay. What was in there already is not taken twice.
    pub(crate) fn replay(&self, of: ExemplarsRecord) {
        if self.max == 0 {
            return;
        }
        let mut ring = self.ring.write();
        if of.is_whole {
            *ring = Ring::default();
        }
        for row in of.rows {
            let sought = Sought { tenant: &row.tenant, labels: row.series.as_bytes() };
            let _ = ring.push(&sought, row.exemplar, self.max); // one that the ring does not want now was there before
        }
        ring.evicted = 0;
    }

    /// Matches outside of the lock: expressions may take their time.
    fn select(
        &self,
        tenant: &str,
        matches: impl Fn(&Labels) -> bool,
        start_ms: i64,
        end_ms: i64,
    ) -> Vec<SeriesExemplars> {
        let mut found: Vec<Series> = {
            let ring = self.ring.read();
            let of_tenant = ring.chains.iter().filter(|(series, _)| *series.tenant == *tenant);
            let within = of_tenant.filter(|(_, chain)| {
                let at = |slot: usize| ring.entries[slot].exemplar.timestamp_ms;
                at(chain.oldest) <= end_ms && at(chain.newest) >= start_ms
            });
            within.map(|(series, _)| series.clone()).collect()
        };
        found.retain(|series| matches(&series.labels));
        found.sort_by(|a, b| a.labels.cmp(&b.labels));
        let ring = self.ring.read();
        let all = found.into_iter().map(|series| {
            let exemplars =
                ring.of(&series).filter(|e| (start_ms..=end_ms).contains(&e.timestamp_ms)).cloned().collect();
            SeriesExemplars { series: series.labels, exemplars }
        });
        all.filter(|of| !of.exemplars.is_empty()).collect()
    }

    /// The present numbers.
    pub(crate) fn stats(&self) -> ExemplarStats {
        let ring = self.ring.read();
        let oldest = ring.entries.get(ring.next).or(ring.entries.first());
        ExemplarStats {
            exemplars: ring.entries.len() as u64,
            exemplars_max: self.max as u64,
            series: ring.chains.len() as u64,
            oldest_ms: oldest.map_or(0, |entry| entry.exemplar.timestamp_ms),
            kept: ring.kept,
            evicted: ring.evicted,
            not_kept: ring.not_kept.clone(),
        }
    }
}

impl Ring {
    /// The answer is its place.
    fn push(&mut self, sought: &Sought<'_>, exemplar: Exemplar, max: usize) -> Result<usize, NotKept> {
        let series = match self.chains.get_key_value(sought) {
            Some((series, chain)) => match refuse(&self.entries[chain.newest].exemplar, &exemplar) {
                Some(why) => return Err(why),
                None => series.clone(),
            },
            None => {
                let labels = Labels::from_bytes(sought.labels).ok_or(NotKept::UnknownSeries)?;
                Series { tenant: sought.tenant.into(), labels }
            }
        };
        if self.entries.len() == max {
            self.evict(self.next);
        }
        let slot = self.next;
        match self.chains.get_mut(&series) {
            Some(chain) => {
                let newest = std::mem::replace(&mut chain.newest, slot);
                self.entries[newest].newer = Some(slot);
            }
            None => {
                self.chains.insert(series.clone(), Chain { oldest: slot, newest: slot });
            }
        }
        let entry = Entry { series, exemplar, newer: None };
        match self.entries.get_mut(slot) {
            Some(old) => *old = entry,
            None => self.entries.push(entry),
        }
        self.next = (slot + 1) % max;
        Ok(slot)
    }

    /// A record of the newest, as many as have room in so many bytes before compression.
    fn whole(&self, room: usize) -> Option<Vec<u8>> {
        let in_order = || {
            let (newer, older) = self.entries.split_at(self.next.min(self.entries.len()));
            older.iter().chain(newer)
        };
        let mut bytes = 0;
        let fits = in_order().rev().take(RECORD_ROWS_MAX).take_while(|Entry { series, exemplar, .. }| {
            bytes += ExemplarsWriter::row_bytes_max(&series.tenant, series.labels.as_bytes(), exemplar);
            bytes <= room
        });
        let fits = fits.count();
        let mut writer = ExemplarsWriter::new();
        for Entry { series, exemplar, .. } in in_order().skip(self.entries.len() - fits) {
            writer.put(&series.tenant, series.labels.as_bytes(), exemplar);
        }
        (fits > 0).then(|| writer.payload(true))
    }

    /// Takes an entry, the oldest of its series, out of its chain.
    fn evict(&mut self, slot: usize) {
        let Entry { series, newer, .. } = &self.entries[slot];
        match (newer, self.chains.get_mut(series)) {
            (Some(newer), Some(chain)) => chain.oldest = *newer,
            _ => {
                self.chains.remove(series);
            }
        }
        self.evicted += 1;
    }

    /// The exemplars of a series, oldest first.
    fn of(&self, series: &Series) -> impl Iterator<Item = &Exemplar> {
        let mut slot = self.chains.get(series).map(|chain| chain.oldest);
        std::iter::from_fn(move || {
            let entry = self.entries.get(slot?)?;
            slot = entry.newer;
            Some(&entry.exemplar)
        })
    }
}

/// Why an exemplar can't follow the newest of its series. Of one time there may be several, as buckets of a native histogram
/// have: ascending by value, then by labels (there Prometheus compares hashes, which is no order a sender could keep).
fn refuse(newest: &Exemplar, next: &Exemplar) -> Option<NotKept> {
    let same_value = next.value == newest.value || next.value.to_bits() == newest.value.to_bits();
    if next.timestamp_ms == newest.timestamp_ms && same_value && next.labels == newest.labels {
        return Some(NotKept::Duplicate);
    }
    let is_before = next.timestamp_ms < newest.timestamp_ms
        || next.timestamp_ms == newest.timestamp_ms
            && (next.value < newest.value || same_value && next.labels < newest.labels);
    is_before.then_some(NotKept::OutOfOrder)
}

fn read_labels(bytes: &[u8]) -> Result<Labels, NotKept> {
    let labels = Labels::from_bytes(bytes).ok_or(NotKept::BadLabels)?;
    let chars: usize = labels.iter().map(|(name, value)| name.chars().count() + value.chars().count()).sum();
    if chars <= LABEL_CHARS_MAX { Ok(labels) } else { Err(NotKept::LabelsTooLong) }
}

#[cfg(test)]
mod tests;

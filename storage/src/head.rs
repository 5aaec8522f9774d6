//! Recent rows: what each tenant has appended since the last flush, and what a flush is writing just now.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, atomic::AtomicBool},
};

use proto::{Histogram, Table, refusal::Refusal, samples::Family};

use crate::{
    AppendError, Limits, Origin, SampleRows,
    admission::{Refused, Window, check_labels},
    events::EventHead,
    log::{numbers::SeriesNumbers, record},
    manifest::{FamilyEntry, OffsetEntry, SourceEntry},
    metrics::{HeadEpoch, MetricsHead, SeriesId},
};

/// Most metric families described per tenant.
const FAMILIES_MAX: usize = 100_000;
/// Longest help text kept, bytes.
const HELP_BYTES_MAX: usize = 1024;

/// One tenant's recent rows.
pub(crate) struct Tenant {
    pub(crate) metrics: MetricsHead,
    /// Memory of its series and of their samples, bytes.
    metrics_bytes: (usize, usize),
    pub(crate) events: BTreeMap<Table, Arc<EventHead>>,
    pub(crate) families: Arc<BTreeMap<String, FamilyEntry>>,
    /// Which series the present generation of the log has defined: a bit each.
    defined: Vec<u64>,
    /// New series by collector since the last flush.
    new_series: HashMap<String, usize>,
}

/// How much is held, of one tenant or of all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct HeadSize {
    /// Series known.
    pub(crate) series: usize,
    /// Memory of what is known of them, estimated, bytes: a flush leaves it to the rows that come next.
    pub(crate) series_bytes: usize,
    /// Memory of rows, estimated, bytes: a flush frees it.
    pub(crate) row_bytes: usize,
}

impl HeadSize {
    /// Memory in all, estimated, bytes.
    pub(crate) fn bytes(&self) -> u64 {
        (self.series_bytes + self.row_bytes) as u64
    }
}

impl std::ops::AddAssign for HeadSize {
    fn add_assign(&mut self, other: HeadSize) {
        self.series += other.series;
        self.series_bytes += other.series_bytes;
        self.row_bytes += other.row_bytes;
    }
}

/// What a flush writes: fixed rows, and what the manifest has to say once they are parts.
pub(crate) struct Sealed {
    /// The first log segment without any of these rows.
    pub(crate) log_segment: u64,
    pub(crate) tenants: Vec<SealedTenant>,
    pub(crate) sources: Vec<SourceEntry>,
    pub(crate) offsets: Vec<OffsetEntry>,
    pub(crate) families: BTreeMap<String, BTreeMap<String, FamilyEntry>>,
    /// Memory that goes with it, bytes.
    pub(crate) bytes: usize,
    /// Whether the exemplars of the log that it ends are in the log that follows.
    pub(crate) has_exemplars_carried: AtomicBool,
}

/// One tenant's rows in it.
pub(crate) struct SealedTenant {
    pub(crate) tenant: Arc<str>,
    pub(crate) metrics: Arc<HeadEpoch>,
    pub(crate) events: Vec<(Table, Arc<EventHead>)>,
    /// Memory that goes with it, bytes.
    pub(crate) bytes: usize,
}

/// Samples that passed, ready for log and head.
pub(crate) struct Admitted<'a> {
    pub(crate) series: Vec<SeriesId>,
    pub(crate) timestamps_ms: std::borrow::Cow<'a, [i64]>,
    pub(crate) values: std::borrow::Cow<'a, [f64]>,
    /// Series, milliseconds, sample.
    pub(crate) histograms: Vec<(SeriesId, i64, &'a Histogram)>,
    pub(crate) definitions: Vec<(SeriesId, &'a [u8])>,
    pub(crate) families: Vec<&'a Family>,
    pub(crate) refused: Refused,
}

impl Tenant {
    pub(crate) fn new(families: BTreeMap<String, FamilyEntry>) -> Tenant {
        Tenant {
            metrics: MetricsHead::new(),
            metrics_bytes: (0, 0),
            events: BTreeMap::new(),
            families: Arc::new(families),
            defined: Vec::new(),
            new_series: HashMap::new(),
        }
    }

    /// What it holds.
    pub(crate) fn size(&self) -> HeadSize {
        let (series_bytes, sample_bytes) = self.metrics_bytes;
        let row_bytes = sample_bytes + self.events.values().map(|e| e.bytes()).sum::<usize>();
        HeadSize { series: self.metrics.series(), series_bytes, row_bytes }
    }

    /// Whether nothing was appended since the last flush.
    pub(crate) fn is_empty(&self) -> bool {
        self.metrics.epoch().samples() == 0 && self.events.values().all(|e| e.rows() == 0)
    }

    /// Looks up or creates the series of samples and leaves out what is refused. Series may be created though the log
    /// then has no room: they are empty, and found again at the next attempt.
    pub(crate) fn admit<'a>(
        &mut self,
        rows: &SampleRows<'a>,
        limits: &Limits,
        window: Window,
        series_free: usize,
        origin: Option<&Origin<'_>>,
    ) -> Admitted<'a> {
        let mut ids: Vec<Result<SeriesId, Refusal>> = Vec::with_capacity(rows.labels.len());
        let mut definitions = Vec::new();
        let mut writer = self.metrics.writer();
        let mut created = 0;
        let mut of_source = origin.map_or(0, |o| self.new_series.get(o.collector).copied().unwrap_or(0));
        for labels in rows.labels {
            let id = match writer.resolve(labels) {
                Some(id) => Ok(id),
                None => check_labels(labels, limits).and_then(|labels| {
                    if created >= series_free || of_source >= limits.series_per_source_max {
                        return Err(Refusal::SeriesLimit);
                    }
                    (created, of_source) = (created + 1, of_source + 1);
                    Ok(writer.create(labels))
                }),
            };
            if let Ok(id) = id {
                let (word, bit) = (id as usize / 64, 1u64 << (id % 64));
                if self.defined.len() <= word {
                    self.defined.resize(word + 1, 0);
                }
                if self.defined[word] & bit == 0 {
                    self.defined[word] |= bit;
                    definitions.push((id, *labels));
                }
            }
            ids.push(id);
        }
        drop(writer);
        if let (Some(origin), true) = (origin, created > 0) {
            self.new_series.insert(origin.collector.to_owned(), of_source);
        }
        let refuse = |row: usize| match ids[rows.series[row] as usize] {
            Err(refusal) => Some(refusal),
            Ok(_) => window.refuse(rows.timestamps_ms[row]),
        };
        let mut refused = Refused::new();
        let mut kept: Vec<u32> = Vec::new();
        let all = rows.values.len();
        let first_refused = (0..all).find(|row| refuse(*row).is_some());
        if let Some(first) = first_refused {
            kept.extend(0..first as u32);
            for row in first..all {
                match refuse(row) {
                    None => kept.push(row as u32),
                    Some(refusal) => *refused.entry(refusal).or_default() += 1,
                }
            }
        }
        let id = |row: usize| ids[rows.series[row] as usize].unwrap_or(0);
        let of = |row: &u32| *row as usize;
        let (series, timestamps_ms, values) = match first_refused {
            None => ((0..all).map(id).collect(), rows.timestamps_ms.into(), rows.values.into()),
            Some(_) => (
                kept.iter().map(of).map(id).collect(),
                kept.iter().map(|r| rows.timestamps_ms[of(r)]).collect::<Vec<_>>().into(),
                kept.iter().map(|r| rows.values[of(r)]).collect::<Vec<_>>().into(),
            ),
        };
        let mut histograms = Vec::with_capacity(rows.histograms.len());
        for row in rows.histograms {
            match ids[row.series as usize].and_then(|id| window.refuse(row.timestamp_ms).map_or(Ok(id), Err)) {
                Ok(id) => histograms.push((id, row.timestamp_ms, &row.histogram)),
                Err(refusal) => *refused.entry(refusal).or_default() += 1,
            }
        }
        let families = rows.families.iter().filter(|f| self.is_news(f)).collect();
        Admitted { series, timestamps_ms, values, histograms, definitions, families, refused }
    }

    /// Takes back that series are defined in the log: the record that did it was not taken.
    pub(crate) fn forget_definitions(&mut self, definitions: &[(SeriesId, &[u8])]) {
        for (id, _) in definitions {
            self.defined[*id as usize / 64] &= !(1 << (id % 64));
        }
    }

    /// Puts samples into the head.
    pub(crate) fn put_samples(&mut self, of: &Admitted<'_>) {
        let mut writer = self.metrics.writer();
        for ((id, ts), value) in of.series.iter().zip(&*of.timestamps_ms).zip(&*of.values) {
            writer.append(*id, *ts, *value);
        }
        for (id, ts, histogram) in &of.histograms {
            writer.append_histogram(*id, *ts, (*histogram).clone());
        }
        drop(writer);
        self.metrics_bytes = self.metrics.bytes();
    }

    /// Puts replayed samples into the head, their logged ids translated by `known`; the answer is how many rows had an
    /// id that no definition explains.
    pub(crate) fn replay_samples(&mut self, samples: &record::SamplesRecord, known: &mut SeriesNumbers) -> usize {
        let mut writer = self.metrics.writer();
        for (id, labels) in &samples.definitions {
            let head_id = writer.resolve(labels.as_bytes()).unwrap_or_else(|| writer.create(labels.clone()));
            known.set(*id, head_id);
        }
        let mut unknown = 0;
        for ((id, ts), value) in samples.series.iter().zip(&samples.timestamps_ms).zip(&samples.values) {
            match known.get(*id) {
                Some(id) => writer.append(id, *ts, *value),
                None => unknown += 1,
            }
        }
        for (id, ts, histogram) in &samples.histograms {
            match known.get(*id) {
                Some(id) => writer.append_histogram(id, *ts, histogram.clone()),
                None => unknown += 1,
            }
        }
        drop(writer);
        self.metrics_bytes = self.metrics.bytes();
        unknown
    }

    /// Puts event rows into the head.
    pub(crate) fn put_events(&mut self, table: Table, batch: arrow::array::RecordBatch) -> Result<(), AppendError> {
        let head = self.events.entry(table).or_insert_with(|| Arc::new(EventHead::new(table)));
        head.push(batch).map_err(|e| AppendError::Malformed(e.to_string()))
    }

    fn is_news(&self, family: &Family) -> bool {
        match self.families.get(&family.name) {
            Some(known) => *known != entry(family),
            None => !family.name.is_empty() && self.families.len() < FAMILIES_MAX,
        }
    }

    /// Remembers what metrics are.
    pub(crate) fn put_families<'a>(&mut self, families: impl Iterator<Item = &'a Family>) {
        for family in families {
            Arc::make_mut(&mut self.families).insert(family.name.clone(), entry(family));
        }
    }

    /// Ends what was appended so far, for a flush, and begins anew.
    pub(crate) fn seal(&mut self, tenant: &Arc<str>) -> SealedTenant {
        let metrics = self.metrics.seal();
        self.metrics_bytes = self.metrics.bytes();
        self.defined.clear();
        self.new_series.clear();
        let events: Vec<(Table, Arc<EventHead>)> = std::mem::take(&mut self.events).into_iter().collect();
        let bytes =
            metrics.bytes_beside(&self.metrics.epoch()) + events.iter().map(|(_, head)| head.bytes()).sum::<usize>();
        SealedTenant { tenant: tenant.clone(), metrics, events, bytes }
    }
}

fn entry(family: &Family) -> FamilyEntry {
    let mut help = family.help.clone();
    help.truncate((0..=HELP_BYTES_MAX.min(help.len())).rev().find(|n| help.is_char_boundary(*n)).unwrap_or(0));
    FamilyEntry { kind: family.kind.clone(), help, unit: family.unit.clone() }
}

#[cfg(test)]
mod tests {
    use proto::Labels;

    use super::*;

    fn put(tenant: &mut Tenant, series: std::ops::Range<u32>) {
        let labels: Vec<Labels> =
            series.map(|n| Labels::from_pairs([("__name__", "up"), ("instance", &format!("db{n}"))])).collect();
        let bytes: Vec<&[u8]> = labels.iter().map(Labels::as_bytes).collect();
        let (ids, ones): (Vec<u32>, Vec<f64>) = (0..labels.len() as u32).map(|n| (n, 1.0)).unzip();
        let rows = SampleRows {
            labels: &bytes,
            series: &ids,
            timestamps_ms: &vec![1000; labels.len()],
            values: &ones,
            histograms: &[],
            families: &[],
        };
        let limits = Limits::default();
        let admitted = tenant.admit(&rows, &limits, Window::new(&limits, None, 1000), usize::MAX, None);
        tenant.put_samples(&admitted);
    }

    #[test]
    fn a_flush_takes_rows_and_leaves_series_that_are_counted_once() {
        let name: Arc<str> = "0".into();
        let mut tenant = Tenant::new(BTreeMap::new());
        put(&mut tenant, 0..1000);
        let before = tenant.size();
        assert!(before.series == 1000 && before.series_bytes > 50_000 && before.row_bytes > 50_000, "{before:?}");
        let sealed = tenant.seal(&name);
        assert_eq!((sealed.bytes, tenant.size()), (before.row_bytes, HeadSize { row_bytes: 0, ..before }));
        put(&mut tenant, 0..100);
        let before = tenant.size();
        let sealed = tenant.seal(&name);
        assert_eq!(sealed.bytes as u64, before.bytes(), "series without samples are forgotten with it");
        assert!(tenant.size().series == 100 && tenant.size().series_bytes < before.series_bytes / 5);
    }
}

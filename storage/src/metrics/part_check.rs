//! Reads a whole part and says what is not as its format says: every checksum, every chunk, every statistic.

use std::{cmp::Ordering, collections::BTreeMap};

use super::{
    MetricsPart,
    chunk::{Chunk, ChunkDecoder},
    labels_text,
    samples::{Histograms, Samples},
    statistics::{self, Statistics},
};

/// What a part was found to hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct PartFacts {
    pub(crate) groups: usize,
    /// Rows: chunks.
    pub(crate) rows: u64,
    pub(crate) series: u64,
    pub(crate) samples: u64,
    /// Oldest and newest timestamp, milliseconds; `None` without rows.
    pub(crate) times: Option<(i64, i64)>,
    /// Per coding of values: chunks, samples, and bytes before page compression.
    pub(crate) codecs: BTreeMap<&'static str, (u64, u64, u64)>,
}

impl MetricsPart {
    /// What it holds. What is wrong is added to `damages`, each with its place; then the facts are of what could be read.
    pub(crate) async fn check(&self, damages: &mut Vec<String>) -> PartFacts {
        let mut facts = PartFacts::default();
        let footer = match self.footer().await {
            Ok(footer) => footer,
            Err(e) => {
                damages.push(e.to_string());
                return facts;
            }
        };
        if self.file(footer.sums.clone()).check_all(damages).await > 0 {
            return facts; // the rows could only say the same again
        }
        facts.groups = footer.arrow.metadata().num_row_groups();
        let mut walk = Walk::default();
        for group in 0..facts.groups {
            if let Err(what) = self.check_group(group, &mut walk, &mut facts).await {
                damages.push(format!("row group {group}: {what}"));
            }
        }
        facts
    }

    async fn check_group(&self, group: usize, walk: &mut Walk, facts: &mut PartFacts) -> Result<(), String> {
        let index = self.load_index(group).await.map_err(|e| e.to_string())?;
        let chunks = self.chunks(group, &index).await.map_err(|e| e.to_string())?;
        for (id, labels) in index.series.iter().enumerate() {
            let is_new = match walk.series.as_ref().map(|last| labels_text::order(last, labels)) {
                Some(Ordering::Greater) => return Err(format!("{labels} stands behind a later series")),
                Some(Ordering::Equal) => false,
                Some(Ordering::Less) | None => true,
            };
            if is_new {
                (walk.series, walk.last_ts) = (Some(labels.clone()), [None; 2]);
                facts.series += 1;
            }
            for row in index.rows_of(id as u32) {
                let chunk = &chunks[row];
                walk.check(chunk).map_err(|what| format!("row {row}, {labels}: {what}"))?;
                let (coding, bytes) = match &chunk.values {
                    None => ("constant", 0),
                    Some(bytes) => (super::values::name(bytes), bytes.len() as u64),
                };
                let of = facts.codecs.entry(coding).or_default();
                *of = (of.0 + 1, of.1 + chunk.samples() as u64, of.2 + bytes);
                facts.rows += 1;
                facts.samples += chunk.samples() as u64;
                let (min, max) = facts.times.unwrap_or((chunk.first_ts, chunk.last_ts));
                facts.times = Some((min.min(chunk.first_ts), max.max(chunk.last_ts)));
            }
        }
        Ok(())
    }
}

/// Where a check stands among the rows.
#[derive(Default)]
struct Walk {
    series: Option<proto::Labels>,
    /// Of the chunk of floats before, and of that of histograms.
    last_ts: [Option<i64>; 2],
    first_ts: i64,
    decoder: ChunkDecoder,
    timestamps: Vec<i64>,
    values: Vec<f64>,
    histograms: Histograms,
}

impl Walk {
    fn check(&mut self, chunk: &Chunk) -> Result<(), String> {
        if self.last_ts.iter().any(Option::is_some) && chunk.first_ts < self.first_ts {
            return Err("it begins before the chunk before it".into());
        }
        self.first_ts = chunk.first_ts;
        let last_ts = &mut self.last_ts[usize::from(chunk.is_histogram())];
        if last_ts.is_some_and(|last| chunk.first_ts <= last) {
            return Err("it overlaps the chunk before it".into());
        }
        *last_ts = Some(chunk.last_ts);
        if chunk.is_histogram() {
            return self.check_histograms(chunk);
        }
        self.timestamps.clear();
        self.values.clear();
        let decoded = self.decoder.decode(chunk.body(), i64::MIN, i64::MAX, &mut self.timestamps, &mut self.values);
        decoded.map_err(|e| e.to_string())?;
        if self.values.len() != chunk.samples() || self.timestamps.len() != chunk.samples() {
            return Err(format!("{} samples, but the row says {}", self.values.len(), chunk.samples()));
        }
        if statistics::stale(&self.values) != chunk.stale as usize {
            return Err("another number of staleness markers than the row says".into());
        }
        let expected = match chunk.values {
            Some(_) => statistics::of(&self.values),
            None => Statistics { first: chunk.statistics.first, ..Statistics::default() },
        };
        if bits(&expected) == bits(&chunk.statistics) {
            return Ok(());
        }
        Err(format!("statistics {:?}, but its samples have {expected:?}", chunk.statistics))
    }

    fn check_histograms(&mut self, chunk: &Chunk) -> Result<(), String> {
        self.histograms.clear();
        self.histograms.decode(&mut self.decoder, chunk, i64::MIN, i64::MAX).map_err(|e| e.to_string())?;
        let found = &self.histograms.0;
        if found.len() != chunk.samples() {
            return Err(format!("{} histograms, but the row says {}", found.len(), chunk.samples()));
        }
        if found.iter().filter(|(_, histogram)| histogram.is_stale()).count() != chunk.stale as usize {
            return Err("another number of staleness markers than the row says".into());
        }
        match chunk.statistics == Statistics::default() {
            true => Ok(()),
            false => Err(format!("statistics {:?}, but histograms have none", chunk.statistics)),
        }
    }
}

fn bits(of: &Statistics) -> [Option<u64>; 6] {
    // which NaN stands for "no number" is not promised
    let bits = |value: f64| if value.is_nan() { f64::NAN.to_bits() } else { value.to_bits() };
    [of.min, of.max, of.sum, of.first, of.last, of.increase].map(|value| value.map(bits))
}

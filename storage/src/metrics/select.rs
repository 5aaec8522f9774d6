//! Samples of series out of parts and epochs, older appended first, so that the last of equal timestamps stays.
//!
//! First a plan from indexes alone (which series, which rows, how many samples at least), then the reading, a few row
//! groups ahead of the decoding.

use std::{collections::HashMap, ops::Range, sync::Arc};

use futures::{StreamExt, TryStreamExt, stream};
use proto::Labels;

use super::{
    HeadEpoch, MetricsPart, MetricsView, ReadError, SeriesId, SeriesSamples,
    chunk::{self, ChunkDecoder},
    part::Bodies,
    part_index::GroupIndex,
};
use crate::matcher::Matcher;

/// Row groups that are read ahead of the one being decoded.
const READ_AHEAD_GROUPS: usize = 4;

/// Which series.
#[derive(Clone, Copy)]
pub(crate) enum Wanted<'a> {
    /// Those that all matchers select.
    Matching(&'a [Matcher]),
    /// These, in the order of rows.
    Exactly(&'a [Labels]),
}

/// What a read may use.
#[derive(Clone, Copy)]
pub(crate) struct Budget {
    pub(crate) series_max: usize,
    pub(crate) samples_max: usize,
}

impl Budget {
    fn series(&self, used: usize) -> Result<(), ReadError> {
        let allowed = self.series_max;
        if used > allowed { Err(ReadError::TooMuch { what: "series", allowed }) } else { Ok(()) }
    }

    fn samples(&self, used: usize) -> Result<(), ReadError> {
        let allowed = self.samples_max;
        if used > allowed { Err(ReadError::TooMuch { what: "samples", allowed }) } else { Ok(()) }
    }
}

/// What is to be read, by source, and for which series.
#[derive(Default)]
pub(crate) struct Plan {
    /// Each series once, in the order it was met.
    pub(crate) series: Vec<Labels>,
    /// Samples of each series in sources that overlap the range: an upper bound.
    pub(crate) samples: Vec<usize>,
    places: HashMap<Labels, usize>,
    groups: Vec<GroupPlan>,
    epochs: Vec<EpochPlan>,
    /// Samples that lie in the range for certain.
    samples_min: usize,
}

/// Series of an epoch, each with its place in the plan.
type EpochPlan = (Arc<HeadEpoch>, Vec<(SeriesId, usize)>);

struct GroupPlan {
    part: Arc<MetricsPart>,
    group: usize,
    index: Arc<GroupIndex>,
    rows: Vec<Range<usize>>,
    /// Of each of those rows: its series' place in the plan.
    places: Vec<u32>,
}

impl Plan {
    /// Makes the plan; stops as soon as a budget is exceeded.
    pub(crate) async fn make(
        view: &MetricsView,
        wanted: Wanted<'_>,
        (min_ts, max_ts): (i64, i64),
        budget: Budget,
    ) -> Result<Plan, ReadError> {
        let mut plan = Plan::default();
        if min_ts > max_ts {
            return Ok(plan);
        }
        let mut parts: Vec<&Arc<MetricsPart>> = view.parts.iter().filter(|p| p.overlaps(min_ts, max_ts)).collect();
        parts.sort_by_key(|part| part.info().sequence);
        for part in parts {
            let matchers = match wanted {
                Wanted::Matching(matchers) => matchers,
                Wanted::Exactly(_) => &[],
            };
            for group in part.groups(matchers, min_ts, max_ts).await? {
                if let Wanted::Exactly(labels) = wanted
                    && !part.may_hold(group, labels).await?
                {
                    continue;
                }
                let index = part.index(group).await?;
                plan.add_group(part, group, index, wanted, (min_ts, max_ts));
                budget.series(plan.series.len())?;
                budget.samples(plan.samples_min)?;
            }
        }
        for epoch in &view.epochs {
            plan.add_epoch(epoch, wanted, (min_ts, max_ts));
            budget.series(plan.series.len())?;
        }
        Ok(plan)
    }

    fn place(&mut self, labels: &Labels) -> usize {
        if let Some(&place) = self.places.get(labels) {
            return place;
        }
        let place = self.series.len();
        self.places.insert(labels.clone(), place);
        self.series.push(labels.clone());
        self.samples.push(0);
        place
    }

    fn add_group(
        &mut self,
        part: &Arc<MetricsPart>,
        group: usize,
        index: Arc<GroupIndex>,
        wanted: Wanted<'_>,
        (min_ts, max_ts): (i64, i64),
    ) {
        let series = match wanted {
            Wanted::Matching(matchers) => index.select(matchers),
            Wanted::Exactly(labels) => labels.iter().filter_map(|l| index.find(l)).collect(),
        };
        let (mut rows, mut places): (Vec<Range<usize>>, Vec<u32>) = (Vec::new(), Vec::new());
        for id in series {
            let mut place = None;
            for row in index.rows_of(id) {
                let of = &index.rows[row];
                if !of.overlaps(min_ts, max_ts) {
                    continue;
                }
                let place = *place.get_or_insert_with(|| self.place(&index.series[id as usize]));
                self.samples[place] += of.samples();
                self.samples_min += if of.lies_in(min_ts, max_ts) { of.samples() } else { 0 };
                places.push(place as u32);
                match rows.last_mut() {
                    Some(last) if last.end == row => last.end = row + 1,
                    _ => rows.push(row..row + 1),
                }
            }
        }
        if !rows.is_empty() {
            self.groups.push(GroupPlan { part: part.clone(), group, index, rows, places });
        }
    }

    fn add_epoch(&mut self, epoch: &Arc<HeadEpoch>, wanted: Wanted<'_>, (min_ts, max_ts): (i64, i64)) {
        let found: Vec<(SeriesId, usize)> = match wanted {
            Wanted::Matching(matchers) => {
                let found = epoch.find(matchers, min_ts, max_ts);
                found.into_iter().map(|(id, labels)| (id, self.place(&labels))).collect()
            }
            Wanted::Exactly(labels) => {
                let found = epoch.find_exactly(labels, min_ts, max_ts);
                found.into_iter().map(|(id, at)| (id, self.place(&labels[at]))).collect()
            }
        };
        for ((_, place), count) in found.iter().zip(epoch.counts(found.iter().map(|(id, _)| *id))) {
            self.samples[*place] += count;
        }
        if !found.is_empty() {
            self.epochs.push((epoch.clone(), found));
        }
    }

    /// Reads and decodes what was planned. Series without a sample in the range are left out; sorted by labels.
    pub(crate) async fn read(
        self,
        (min_ts, max_ts): (i64, i64),
        budget: Budget,
    ) -> Result<Vec<SeriesSamples>, ReadError> {
        let empty = |labels| SeriesSamples { labels, timestamps_ms: Vec::new(), values: Vec::new() };
        let mut series: Vec<SeriesSamples> = self.series.into_iter().map(empty).collect();
        let mut samples = 0;
        let mut decoder = ChunkDecoder::default();
        let reads = self.groups.into_iter().map(|plan| async move {
            let bodies = plan.part.bodies(plan.group, &plan.rows).await?;
            Ok::<_, ReadError>((plan, bodies))
        });
        let mut reads = stream::iter(reads).buffered(READ_AHEAD_GROUPS);
        while let Some((plan, bodies)) = reads.try_next().await? {
            samples += plan.decode(&bodies, (min_ts, max_ts), &mut decoder, &mut series)?;
            budget.samples(samples)?;
        }
        for (epoch, found) in self.epochs {
            let streams = epoch.streams(found.iter().map(|(id, _)| *id));
            for (stream, (_, place)) in streams.iter().zip(&found) {
                let of = &mut series[*place];
                let before = of.values.len();
                stream.read(min_ts, max_ts, &mut of.timestamps_ms, &mut of.values);
                samples += of.values.len() - before;
                budget.samples(samples)?;
            }
        }
        series.retain(|s| !s.values.is_empty());
        series.iter_mut().for_each(|s| chunk::resolve(&mut s.timestamps_ms, &mut s.values));
        series.sort_by(|a, b| a.labels.cmp(&b.labels));
        Ok(series)
    }
}

impl GroupPlan {
    /// Appends the rows' samples to their series; gives how many.
    fn decode(
        &self,
        bodies: &Bodies,
        (min_ts, max_ts): (i64, i64),
        decoder: &mut ChunkDecoder,
        series: &mut [SeriesSamples],
    ) -> Result<usize, ReadError> {
        if bodies.len() != self.places.len() {
            return Err(self.part.damaged("a row group whose columns have different lengths".into()));
        }
        let rows = self.rows.iter().flat_map(|range| &self.index.rows[range.clone()]).copied();
        let mut samples = 0;
        for (body, place) in bodies.iter(rows).zip(&self.places) {
            let body = body.ok_or_else(|| self.part.damaged("its columns are not those of its format".into()))?;
            let of = &mut series[*place as usize];
            let before = of.values.len();
            decoder
                .decode(body, min_ts, max_ts, &mut of.timestamps_ms, &mut of.values)
                .map_err(|e| self.part.damaged(format!("{}: {e}", of.labels)))?;
            samples += of.values.len() - before;
        }
        Ok(samples)
    }
}

//! Samples of series out of parts and epochs, older appended first, so that the last of equal timestamps stays.
//!
//! First a plan from indexes alone (which series, which rows, how many samples at least), then the reading, a few row
//! groups ahead of the decoding. Every few row groups and between epochs of the head the task yields, so that whoever waits for
//! a read can drop it.

use std::{
    ops::Range,
    sync::{Arc, LazyLock},
};

use futures::{StreamExt, TryStreamExt, stream};
use hashbrown::HashMap;
use proto::{Histogram, Labels};

use super::{
    HeadEpoch, MetricsPart, MetricsView, ReadError, SeriesId, SeriesSamples,
    chunk::{self, ChunkBody, ChunkDecoder},
    codec::CodecError,
    head_histograms, labels_text,
    part_bodies::Bodies,
    part_index::{GroupIndex, Row},
    whole::{self, Cover, WholeChunk, WholeChunks},
};
use crate::matcher::Matcher;

/// Row groups that are read at a time.
const READ_AHEAD_GROUPS: usize = 4;
/// Row groups are decoded together until they have so many samples: what is still encoded is held until then.
const SAMPLES_WAITING_MAX: usize = 1 << 22;
/// Fewest samples that a further thread is worth. Unit tests, which have few, use several all the same.
const SAMPLES_PER_THREAD: usize = if cfg!(test) { 16 } else { 1 << 14 };
/// Rows of row groups that are looked through before others get a turn.
const ROWS_PER_PAUSE: usize = 4096;
/// What is wrong with a row group whose columns can't belong to the same rows.
const UNEVEN: &str = "a row group whose columns have different lengths";
/// Streams of an epoch that are copied under one lock.
const COPIED_STREAMS: usize = 512;

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
    /// The place behind the last one that was asked for.
    next_place: usize,
    /// Whether the present source is the first that has series, so that none of its series is known.
    is_first_source: bool,
    groups: Vec<GroupPlan>,
    epochs: Vec<EpochPlan>,
    /// Samples that lie in the range for certain.
    samples_min: usize,
    /// Which chunks may be given as wholes; `None`: none.
    whole: Option<WholeChunks>,
    /// What covers which time, if chunks may be given as wholes.
    covers: Vec<Cover>,
}

/// Series of an epoch, each with its place in the plan.
type EpochPlan = (Arc<HeadEpoch>, Vec<(SeriesId, usize)>);

/// Rows of a row group. Its index is not held: those of many parts are larger than all that is read of them.
struct GroupPlan {
    part: Arc<MetricsPart>,
    group: usize,
    /// Rows the row group has.
    rows_all: usize,
    rows: Vec<Range<usize>>,
    /// Times and size of each of those rows.
    shapes: Vec<Row>,
    /// Of each of those rows: its series' place in the plan.
    places: Vec<u32>,
    /// Of each of those rows, if any: whether its statistics may stand for it.
    alone: Vec<bool>,
}

impl Plan {
    /// Makes the plan; stops as soon as a budget is exceeded.
    pub(crate) async fn make(
        view: &MetricsView,
        wanted: Wanted<'_>,
        (min_ts, max_ts): (i64, i64),
        budget: Budget,
    ) -> Result<Plan, ReadError> {
        Plan::default().fill(view, wanted, (min_ts, max_ts), budget).await
    }

    /// An empty plan that may give such chunks, if any, as wholes.
    pub(crate) fn with_whole(whole: Option<WholeChunks>) -> Plan {
        Plan { whole, ..Plan::default() }
    }

    /// The same for a plan that knows already which chunks it may give as wholes.
    pub(crate) async fn fill(
        mut self,
        view: &MetricsView,
        wanted: Wanted<'_>,
        (min_ts, max_ts): (i64, i64),
        budget: Budget,
    ) -> Result<Plan, ReadError> {
        let plan = &mut self;
        if min_ts > max_ts {
            return Ok(self);
        }
        let mut parts: Vec<&Arc<MetricsPart>> = view.parts.iter().filter(|p| p.overlaps(min_ts, max_ts)).collect();
        parts.sort_by_key(|part| part.info().sequence);
        let mut rows_since_pause = 0;
        for part in parts {
            plan.begin_source();
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
                plan.add_group(part, group, &index, wanted, (min_ts, max_ts));
                budget.series(plan.series.len())?;
                if plan.whole.is_none() {
                    budget.samples(plan.samples_min)?;
                }
                rows_since_pause += index.rows.len();
                if rows_since_pause >= ROWS_PER_PAUSE {
                    rows_since_pause = 0;
                    tokio::task::yield_now().await;
                }
            }
        }
        for epoch in &view.epochs {
            plan.add_epoch(epoch, wanted, (min_ts, max_ts));
            budget.series(plan.series.len())?;
        }
        for (group, row) in whole::alone(std::mem::take(&mut plan.covers)) {
            let group = &mut plan.groups[group as usize];
            group.alone.resize(group.shapes.len(), false);
            group.alone[row as usize] = whole::is_worth_it(&group.shapes[row as usize], (min_ts, max_ts));
        }
        Ok(self)
    }

    /// The place of a series. Each source has a series once, and most have the same in the same order, so that it is mostly where
    /// the one before it leads; only where it is not are series looked up.
    fn place(&mut self, labels: &Labels) -> usize {
        let place = match self.series.get(self.next_place) {
            Some(next) if next == labels => self.next_place,
            _ if self.is_first_source => self.add(labels),
            _ => self.look_up(labels),
        };
        self.next_place = place + 1;
        place
    }

    /// A part, whose row groups have series in order, or an epoch follows.
    fn begin_source(&mut self) {
        self.next_place = 0;
        self.is_first_source = self.series.is_empty();
    }

    fn look_up(&mut self, labels: &Labels) -> usize {
        let known = self.places.len();
        self.places.extend(self.series[known..].iter().cloned().zip(known..));
        match self.places.get(labels) {
            Some(place) => *place,
            None => self.add(labels),
        }
    }

    fn add(&mut self, labels: &Labels) -> usize {
        self.series.push(labels.clone());
        self.samples.push(0);
        self.series.len() - 1
    }

    fn add_group(
        &mut self,
        part: &Arc<MetricsPart>,
        group: usize,
        index: &GroupIndex,
        wanted: Wanted<'_>,
        (min_ts, max_ts): (i64, i64),
    ) {
        let series = match wanted {
            Wanted::Matching(matchers) => index.select(matchers),
            Wanted::Exactly(labels) => labels.iter().filter_map(|l| index.find(l)).collect(),
        };
        let (mut rows, mut shapes, mut places): (Vec<Range<usize>>, Vec<Row>, Vec<u32>) = Default::default();
        if let (Some(last), Some(first)) = (self.series.last(), series.first()) {
            // rows of one series may lie in two row groups
            self.is_first_source &= labels_text::order(last, &index.series[*first as usize]).is_lt();
        }
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
                if self.whole.is_some() {
                    let row = Some((self.groups.len() as u32, shapes.len() as u32));
                    self.covers.push(Cover { place: place as u32, first_ts: of.first_ts, last_ts: of.last_ts, row });
                }
                shapes.push(*of);
                places.push(place as u32);
                push_row(&mut rows, row);
            }
        }
        if !rows.is_empty() {
            let rows_all = index.rows.len();
            let (part, alone) = (part.clone(), Vec::new());
            self.groups.push(GroupPlan { part, group, rows_all, rows, shapes, places, alone });
        }
    }

    fn add_epoch(&mut self, epoch: &Arc<HeadEpoch>, wanted: Wanted<'_>, (min_ts, max_ts): (i64, i64)) {
        self.begin_source();
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
        if self.whole.is_some() {
            let covers = found.iter().zip(epoch.covers(found.iter().map(|(id, _)| *id)));
            let covers = covers.filter_map(|((_, place), cover)| Some((*place as u32, cover?)));
            self.covers.extend(covers.map(|(place, (first_ts, last_ts))| Cover {
                place,
                first_ts,
                last_ts,
                row: None,
            }));
        }
        if !found.is_empty() {
            self.epochs.push((epoch.clone(), found));
        }
    }

    /// Reads and decodes what was planned, on several threads where there is much of it. Series without a sample in the range are
    /// left out; sorted by labels.
    pub(crate) async fn read(self, range: (i64, i64), budget: Budget) -> Result<Vec<SeriesSamples>, ReadError> {
        let empty =
            |labels| SeriesSamples { labels, timestamps_ms: vec![], values: vec![], histograms: vec![], whole: vec![] };
        let mut series: Vec<SeriesSamples> = self.series.into_iter().map(empty).collect();
        let mut samples = 0;
        let threads = threads(self.samples.iter().sum());
        let reads = self.groups.into_iter().map(|plan| plan.read(self.whole, threads > 1));
        let mut reads = stream::iter(reads).buffered(READ_AHEAD_GROUPS);
        let (mut groups, mut waiting) = (Vec::new(), 0);
        loop {
            let group = reads.try_next().await?;
            let is_last = group.is_none();
            if let Some(group) = group {
                samples += group.whole.len();
                group.whole.iter().for_each(|(place, chunk)| series[*place as usize].whole.push(*chunk));
                waiting += group.plan.shapes.iter().map(Row::samples).sum::<usize>();
                groups.push(group);
            }
            if is_last || waiting > SAMPLES_WAITING_MAX {
                let chunks = Chunks { groups: std::mem::take(&mut groups), expected: &self.samples, range, budget };
                samples += chunks.decode_on(threads, &mut series, samples)?;
                budget.samples(samples)?;
                waiting = 0;
                tokio::task::yield_now().await;
            }
            if is_last {
                break;
            }
        }
        for (epoch, found) in self.epochs {
            let expected = found.iter().map(|(_, place)| self.samples[*place]).sum();
            for (columns, (_, place)) in read_epoch(&epoch, &found, expected, range, budget)?.into_iter().zip(&found) {
                samples += columns.weight();
                columns.move_to(&mut series[*place], self.samples[*place]);
            }
            budget.samples(samples)?;
            tokio::task::yield_now().await;
        }
        series.retain(|s| !s.values.is_empty() || !s.histograms.is_empty() || !s.whole.is_empty());
        series.iter_mut().for_each(resolve);
        series.sort_by(|a, b| a.labels.cmp(&b.labels));
        Ok(series)
    }
}

/// Samples of one series out of one source.
#[derive(Default)]
struct Columns {
    timestamps_ms: Vec<i64>,
    values: Vec<f64>,
    histograms: Vec<(i64, Histogram)>,
}

impl Columns {
    /// How many samples it counts for in a budget.
    fn weight(&self) -> usize {
        self.values.len() + self.histograms.iter().map(|(_, histogram)| histogram.weight()).sum::<usize>()
    }

    /// Behind what the series has already, which will have at most `expected` samples.
    fn move_to(self, series: &mut SeriesSamples, expected: usize) {
        if series.values.is_empty() {
            (series.timestamps_ms, series.values) = (self.timestamps_ms, self.values);
        } else {
            expect(series, expected);
            series.timestamps_ms.extend_from_slice(&self.timestamps_ms);
            series.values.extend_from_slice(&self.values);
        }
        if series.histograms.is_empty() {
            series.histograms = self.histograms;
        } else {
            series.histograms.extend(self.histograms);
        }
    }
}

/// Makes room in a series that will have at most so many samples.
fn expect(series: &mut SeriesSamples, samples: usize) {
    let more = samples.saturating_sub(series.values.len());
    series.timestamps_ms.reserve_exact(more);
    series.values.reserve_exact(more);
}

/// One sample a timestamp: the one appended last, of a float and a histogram the histogram.
fn resolve(series: &mut SeriesSamples) {
    series.whole.sort_unstable_by_key(|chunk| chunk.first_ms);
    chunk::resolve(&mut series.timestamps_ms, &mut series.values);
    if series.histograms.is_empty() {
        return;
    }
    head_histograms::resolve(&mut series.histograms);
    let histograms = &series.histograms;
    let is_alone = |ts: &i64| histograms.binary_search_by_key(ts, |(ts, _)| *ts).is_err();
    let mut alone = series.timestamps_ms.iter().map(is_alone).collect::<Vec<_>>().into_iter();
    series.values.retain(|_| alone.next().unwrap_or(true));
    series.timestamps_ms.retain(is_alone);
}

/// The samples of each series found in an epoch, about `expected` in all. Streams are copied a few at a time, so that the
/// writer is never held up for long.
fn read_epoch(
    epoch: &HeadEpoch,
    found: &[(SeriesId, usize)],
    expected: usize,
    (min_ts, max_ts): (i64, i64),
    budget: Budget,
) -> Result<Vec<Columns>, ReadError> {
    let read = |share: &[(SeriesId, usize)]| {
        let (mut out, mut samples) = (Vec::with_capacity(share.len()), 0);
        for some in share.chunks(COPIED_STREAMS) {
            let begin = out.len();
            for stream in epoch.streams(some.iter().map(|(id, _)| *id)) {
                let mut columns = Columns::default();
                stream.read(min_ts, max_ts, &mut columns.timestamps_ms, &mut columns.values);
                samples += columns.values.len();
                budget.samples(samples)?;
                out.push(columns);
            }
            for (at, stream) in epoch.histograms(some.iter().map(|(id, _)| *id)) {
                let columns: &mut Columns = &mut out[begin + at];
                stream.read(min_ts, max_ts, &mut columns.histograms);
                samples += columns.weight() - columns.values.len();
                budget.samples(samples)?;
            }
        }
        Ok(out)
    };
    shared_out(found, threads(expected), read)
}

/// Threads that so many samples are worth.
fn threads(samples: usize) -> usize {
    // asking reads files of the control group: once is enough
    static THREADS_MAX: LazyLock<usize> = LazyLock::new(|| std::thread::available_parallelism().map_or(1, usize::from));
    (samples / SAMPLES_PER_THREAD).clamp(1, *THREADS_MAX)
}

/// What `read` makes of `all`, a share on each thread, this one among them, in order.
fn shared_out<T: Sync>(
    all: &[T],
    threads: usize,
    read: impl Fn(&[T]) -> Result<Vec<Columns>, ReadError> + Sync,
) -> Result<Vec<Columns>, ReadError> {
    if threads < 2 {
        return read(all);
    }
    let read = &read;
    let shares: Vec<Result<Vec<Columns>, ReadError>> = std::thread::scope(|scope| {
        let mut shares = all.chunks(all.len().div_ceil(threads).max(1));
        let own = shares.next().unwrap_or(&[]);
        let others: Vec<_> = shares.map(|share| scope.spawn(move || read(share))).collect();
        let own = read(own);
        // a panic there is one here
        let others = others.into_iter().map(|h| h.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        std::iter::once(own).chain(others).collect()
    });
    let mut out = Vec::with_capacity(all.len());
    for share in shares {
        out.append(&mut share?);
    }
    Ok(out)
}

/// What was read of a row group: chunks still to be decoded.
struct GroupRead {
    /// Without what was taken as wholes.
    plan: GroupPlan,
    /// Of the rows of the plan; none if all were taken.
    bodies: Option<Arc<Bodies>>,
    /// Chunks given as wholes, each with its series' place.
    whole: Vec<(u32, WholeChunk)>,
}

/// Chunks that wait to be decoded, straight into their series.
struct Chunks<'a> {
    /// In the order in which samples are to stand in a series.
    groups: Vec<GroupRead>,
    /// Most samples each series will have.
    expected: &'a [usize],
    range: (i64, i64),
    budget: Budget,
}

impl Chunks<'_> {
    /// Decodes them, each thread for a share of the series, about as much for each. Returns how many samples they count for;
    /// `used` are those that count already.
    fn decode_on(&self, threads: usize, series: &mut [SeriesSamples], used: usize) -> Result<usize, ReadError> {
        if threads < 2 {
            return self.decode(0, series, used);
        }
        let share = self.expected.iter().sum::<usize>() / threads;
        std::thread::scope(|scope| {
            let (mut first, mut rest, mut others) = (0, series, Vec::new());
            while others.len() + 1 < threads {
                let mut samples = 0;
                let is_within = |expected: &&usize| {
                    samples += **expected;
                    samples <= share
                };
                let length = self.expected[first..].iter().take_while(is_within).count();
                let (others_series, own) = rest.split_at_mut(length);
                others.push(scope.spawn(move || self.decode(first, others_series, used)));
                (first, rest) = (first + length, own);
            }
            let own = self.decode(first, rest, used)?;
            // a panic there is one here
            let join = |handle: std::thread::ScopedJoinHandle<'_, _>| {
                handle.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            };
            others.into_iter().map(join).try_fold(own, |sum, more| Ok(sum + more?))
        })
    }

    /// Decodes those of the series that stand from `first` on.
    fn decode(&self, first: usize, series: &mut [SeriesSamples], used: usize) -> Result<usize, ReadError> {
        let (mut decoder, mut samples) = (ChunkDecoder::default(), used);
        for GroupRead { plan, bodies, .. } in &self.groups {
            let Some(bodies) = bodies else { continue };
            let chunks = bodies.iter(&plan.rows, &plan.shapes).zip(&plan.places);
            for (at, (body, place)) in chunks.enumerate() {
                let series = (*place as usize).checked_sub(first).and_then(|at| series.get_mut(at));
                let Some(series) = series else { continue };
                if plan.shapes[at].lies_in(self.range.0, self.range.1) {
                    expect(series, self.expected[*place as usize]);
                }
                let damaged = |reason: String| plan.part.damaged(reason);
                let body = body.ok_or_else(|| damaged("a constant chunk without its value".into()))?;
                samples += decode(&mut decoder, body, self.range, series)
                    .map_err(|e| damaged(format!("row {at} of those read of row group {}: {e}", plan.group)))?;
                self.budget.samples(samples)?;
            }
        }
        Ok(samples - used)
    }
}

/// Appends the samples of a chunk. Returns how many they count for in a budget.
fn decode(
    decoder: &mut ChunkDecoder,
    body: ChunkBody<'_>,
    (min_ts, max_ts): (i64, i64),
    series: &mut SeriesSamples,
) -> Result<usize, CodecError> {
    if body.is_histogram() {
        let before = series.histograms.len();
        decoder.decode_histograms(body, min_ts, max_ts, &mut series.histograms)?;
        return Ok(series.histograms[before..].iter().map(|(_, histogram)| histogram.weight()).sum());
    }
    let before = series.values.len();
    decoder.decode(body, min_ts, max_ts, &mut series.timestamps_ms, &mut series.values)?;
    Ok(series.values.len() - before)
}

impl GroupPlan {
    /// The bodies of the rows. Those of a large question that are not in memory are read on threads of their own.
    async fn read(self, whole: Option<WholeChunks>, is_large: bool) -> Result<GroupRead, ReadError> {
        if !is_large || self.part.keeps_bodies(self.group) {
            return self.read_here(whole).await;
        }
        let (runtime, path) = (tokio::runtime::Handle::current(), self.part.info().path.to_string());
        let reading = tokio::task::spawn_blocking(move || runtime.block_on(self.read_here(whole)));
        reading.await.unwrap_or_else(|e| Err(ReadError::Damaged { path, reason: e.to_string() }))
    }

    async fn read_here(mut self, whole: Option<WholeChunks>) -> Result<GroupRead, ReadError> {
        let whole = match whole.filter(|_| !self.alone.is_empty()) {
            Some(wanted) => self.take_whole(wanted).await?,
            None => Vec::new(),
        };
        if self.places.is_empty() {
            return Ok(GroupRead { plan: self, bodies: None, whole });
        }
        let bodies = self.part.bodies(self.group, &self.rows).await?;
        if !bodies.fits(self.places.len(), self.rows_all) {
            return Err(self.part.damaged(UNEVEN.into()));
        }
        Ok(GroupRead { plan: self, bodies: Some(bodies), whole })
    }

    /// Takes the rows out of the plan whose statistics say what is wanted of them.
    async fn take_whole(&mut self, wanted: WholeChunks) -> Result<Vec<(u32, WholeChunk)>, ReadError> {
        let statistics = self.part.statistics(self.group).await?;
        if statistics.len() != self.rows_all {
            return Err(self.part.damaged(UNEVEN.into()));
        }
        let numbers = std::mem::take(&mut self.rows).into_iter().flatten();
        let (shapes, places) = (std::mem::take(&mut self.shapes), std::mem::take(&mut self.places));
        let mut taken = Vec::new();
        for (((number, shape), place), alone) in numbers.zip(shapes).zip(places).zip(&self.alone) {
            match alone.then(|| statistics.whole(number, &shape, wanted)).flatten() {
                Some(chunk) => taken.push((place, chunk)),
                None => {
                    push_row(&mut self.rows, number);
                    self.shapes.push(shape);
                    self.places.push(place);
                }
            }
        }
        Ok(taken)
    }
}

/// Adds a row behind others.
fn push_row(rows: &mut Vec<Range<usize>>, row: usize) {
    match rows.last_mut() {
        Some(last) if last.end == row => last.end = row + 1,
        _ => rows.push(row..row + 1),
    }
}

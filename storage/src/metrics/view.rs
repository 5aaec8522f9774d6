//! Reads over epochs of the head and parts together.

use std::{collections::BTreeSet, sync::Arc};

use arrow::array::RecordBatch;
use futures::stream::BoxStream;
use proto::Labels;

use super::{
    HeadEpoch, MetricsPart, ReadError, SeriesQuery, SeriesSamples, WholeChunks, flat,
    select::{Budget, Plan, Wanted},
};
use crate::matcher::Matcher;

/// What one tenant's metrics were at one moment: sealed epochs that are not in parts yet, the present epoch, and parts.
#[derive(Clone)]
pub struct MetricsView {
    /// Oldest first; the present epoch last.
    pub epochs: Vec<Arc<HeadEpoch>>,
    /// In any order (they know their `sequence`).
    pub parts: Vec<Arc<MetricsPart>>,
}

/// Samples that were found and are still to be read.
pub struct PlannedRead {
    plan: Plan,
    range: (i64, i64),
    budget: Budget,
}

impl PlannedRead {
    /// How many samples there are at most.
    pub fn samples_at_most(&self) -> usize {
        self.plan.samples.iter().sum()
    }

    /// Reads and decodes them, on several threads where there are many.
    pub async fn read(self) -> Result<Vec<SeriesSamples>, ReadError> {
        self.plan.read(self.range, self.budget).await
    }
}

impl MetricsView {
    /// Samples of the matching series within the range; series without any are left out. Sorted by labels. The budget of
    /// samples counts duplicates before they are resolved.
    pub async fn select(&self, query: &SeriesQuery<'_>) -> Result<Vec<SeriesSamples>, ReadError> {
        self.plan(query, None).await?.read().await
    }

    /// The first half of that: which samples there are. With `whole`, chunks of which statistics say what it wants are given as
    /// such instead of as samples; one counts as a sample in the budget.
    pub async fn plan(&self, query: &SeriesQuery<'_>, whole: Option<WholeChunks>) -> Result<PlannedRead, ReadError> {
        let range = (query.min_ms, query.max_ms);
        let budget = Budget { series_max: query.series_max, samples_max: query.samples_max };
        let plan = Plan::with_whole(whole).fill(self, Wanted::Matching(query.matchers), range, budget).await?;
        Ok(PlannedRead { plan, range, budget })
    }

    /// Matching series with a chunk or a head buffer that overlaps the range, sorted, at most `limit` of them.
    pub async fn series(
        &self,
        matchers: &[Matcher],
        min_ms: i64,
        max_ms: i64,
        limit: usize,
    ) -> Result<Vec<Labels>, ReadError> {
        let mut found: BTreeSet<Labels> = BTreeSet::new();
        self.visit(matchers, min_ms, max_ms, |labels| {
            found.insert(labels.clone());
            if found.len() > limit {
                found.pop_last(); // the first of all are the answer, whatever the order of meeting them
            }
        })
        .await?;
        Ok(found.into_iter().collect())
    }

    /// Names of labels of those series, sorted, at most `limit` of them.
    pub async fn label_names(
        &self,
        matchers: &[Matcher],
        min_ms: i64,
        max_ms: i64,
        limit: usize,
    ) -> Result<Vec<String>, ReadError> {
        self.label_texts(None, matchers, min_ms, max_ms, limit).await
    }

    /// Values of the label `name` of those series, sorted, at most `limit` of them.
    pub async fn label_values(
        &self,
        name: &str,
        matchers: &[Matcher],
        min_ms: i64,
        max_ms: i64,
        limit: usize,
    ) -> Result<Vec<String>, ReadError> {
        self.label_texts(Some(name), matchers, min_ms, max_ms, limit).await
    }

    /// The flat SQL view: batches of [`super::flat_schema`], sorted by metric, labels, ts, a few series read at a time.
    /// More than `series_max` series are [`ReadError::TooMuch`]; samples are not bounded, as they stream,
    /// but for those of the series that are read together.
    pub async fn scan_flat(
        &self,
        matchers: &[Matcher],
        min_ms: i64,
        max_ms: i64,
        series_max: usize,
    ) -> Result<BoxStream<'static, Result<RecordBatch, ReadError>>, ReadError> {
        let budget = Budget { series_max, samples_max: usize::MAX };
        let plan = Plan::make(self, Wanted::Matching(matchers), (min_ms, max_ms), budget).await?;
        Ok(flat::scan(self.clone(), plan, (min_ms, max_ms)))
    }

    /// Names of labels (`name` is `None`) or values of one, of the matching series.
    async fn label_texts(
        &self,
        name: Option<&str>,
        matchers: &[Matcher],
        min_ms: i64,
        max_ms: i64,
        limit: usize,
    ) -> Result<Vec<String>, ReadError> {
        let mut found: BTreeSet<String> = BTreeSet::new();
        let mut note = |text: &str| {
            if !found.contains(text) {
                found.insert(text.to_owned());
            }
        };
        if min_ms > max_ms {
            return Ok(Vec::new());
        }
        let by_postings = matchers.is_empty();
        if by_postings {
            self.epochs.iter().flat_map(|e| e.label_texts(name, min_ms, max_ms)).for_each(|text| note(&text));
        }
        let rest = MetricsView {
            epochs: if by_postings { Vec::new() } else { self.epochs.clone() },
            parts: self.parts.clone(),
        };
        rest.visit(matchers, min_ms, max_ms, |labels| match name {
            Some(name) => labels.get(name).into_iter().for_each(&mut note),
            None => labels.iter().for_each(|(name, _)| note(name)),
        })
        .await?;
        Ok(found.into_iter().take(limit).collect())
    }

    /// Shows each matching series of each source; those of several sources are shown several times.
    async fn visit(
        &self,
        matchers: &[Matcher],
        min_ms: i64,
        max_ms: i64,
        mut show: impl FnMut(&Labels),
    ) -> Result<(), ReadError> {
        if min_ms > max_ms {
            return Ok(());
        }
        for part in self.parts.iter().filter(|part| part.overlaps(min_ms, max_ms)) {
            for group in part.groups(matchers, min_ms, max_ms).await? {
                let index = part.index(group).await?;
                let ids = index.select(matchers).into_iter().filter(|&id| index.overlaps(id, min_ms, max_ms));
                ids.for_each(|id| show(&index.series[id as usize]));
                tokio::task::yield_now().await;
            }
        }
        for epoch in &self.epochs {
            epoch.find(matchers, min_ms, max_ms).iter().for_each(|(_, labels)| show(labels));
        }
        Ok(())
    }
}

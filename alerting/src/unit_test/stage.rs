//! Plays one test group: a private store, a virtual clock, groups evaluated step by step.

use std::sync::Arc;

use parking_lot::RwLock;
use proto::Labels;
use proto::labels::METRIC_NAME;
use query::promql::{MemorySource, Point};
use query::{Querier, QueryLimits};
use storage::{Append, Rows, SampleRows, Store, StoreConfig};

use super::compare;
use super::file::{TestFile, TestGroup};
use super::input::InputSeries;
use crate::evaluate::Evaluator;
use crate::forecast::kept::Forecasts;
use crate::group::{Group, Health};
use crate::rule::RuleGroup;

const TENANT: &str = "0";
/// Log segments of a test's store, bytes: small, they are preallocated.
const SEGMENT_BYTES: u64 = 1 << 20;
/// Most samples of one append.
const APPEND_MAX: usize = 100_000;

/// Everything a test group stands on. Its folder goes with it.
struct Stage {
    store: Store,
    memory: Arc<RwLock<MemorySource>>,
    evaluator: Evaluator,
    _folder: tempfile::TempDir,
}

/// Plays a test group over these rules; gives back what is not as expected.
pub(super) async fn play(file: &TestFile, test: &TestGroup, groups: Vec<RuleGroup>, diff: bool) -> Vec<String> {
    let stage = match Stage::open(file, test).await {
        Ok(stage) => stage,
        Err(e) => return vec![format!("the test's own store: {e}")],
    };
    let mut groups: Vec<Group> = groups.into_iter().map(|g| Group::new(g, test.start_ms)).collect();
    // a stable sort: groups that are not listed come with the first, in the order of their files
    groups.sort_by_key(|g| file.order.iter().position(|name| *name == g.group.name).unwrap_or(0));
    let failures = stage.play(file, test, &mut groups, diff).await;
    stage.store.close().await;
    failures
}

impl Stage {
    async fn open(file: &TestFile, test: &TestGroup) -> Result<Stage, String> {
        let folder = tempfile::tempdir().map_err(|e| e.to_string())?;
        let config = StoreConfig { segment_bytes: SEGMENT_BYTES, ..StoreConfig::at(folder.path()) };
        let store = Store::open(config, test.start_ms).await.map_err(|e| e.to_string())?;
        let memory = Arc::new(RwLock::new(MemorySource::new()));
        let querier = Querier::new(store.clone(), QueryLimits::default()).beside(memory.clone(), file.interval_ms);
        let evaluator = Evaluator {
            querier,
            tenant: TENANT.into(),
            external_labels: test.external_labels.clone(),
            external_url: test.external_url.clone(),
            forecasts: Forecasts::default(),
        };
        Ok(Stage { store, memory, evaluator, _folder: folder })
    }

    async fn play(&self, file: &TestFile, test: &TestGroup, groups: &mut [Group], diff: bool) -> Vec<String> {
        let times = test.alerts.iter().map(|a| a.at_ms).chain(test.exprs.iter().map(|e| e.at_ms));
        let last_ms = times.max().unwrap_or(0);
        let mut failures = Vec::new();
        let mut loaded_ms = -1;
        for offset_ms in (0..=last_ms).step_by(usize::try_from(file.interval_ms).unwrap_or(usize::MAX)) {
            let now_ms = test.start_ms + offset_ms;
            if let Err(e) = self.load(test, loaded_ms, offset_ms).await {
                failures.push(e);
                return failures;
            }
            loaded_ms = offset_ms;
            let mut broken = Vec::new();
            for group in groups.iter_mut() {
                group.evaluate_at(&self.evaluator, &self.store, now_ms, now_ms, &|| now_ms).await;
                for (rule, state) in group.group.rules.iter().zip(&group.rules) {
                    if let Health::Err(e) = &state.health {
                        broken.push(format!("rule: {}, time: {}, err: {e}", rule.name, compare::time(offset_ms)));
                    }
                }
            }
            let any_broken = !broken.is_empty();
            failures.extend(broken);
            if any_broken {
                return failures;
            }
            let due = |at_ms: i64| at_ms >= offset_ms && at_ms < offset_ms + file.interval_ms;
            for expected in test.alerts.iter().filter(|a| due(a.at_ms)) {
                failures.extend(compare::alerts(expected, groups, diff));
            }
        }
        for expected in &test.exprs {
            let found = self.evaluator.points(&expected.expr, test.start_ms + expected.at_ms).await;
            failures.extend(compare::samples(expected, found, file.fuzzy, diff));
        }
        failures
    }

    /// Loads what lies in `(after_ms, until_ms]` from the test's start.
    async fn load(&self, test: &TestGroup, after_ms: i64, until_ms: i64) -> Result<(), String> {
        let mut floats: Vec<(&Labels, i64, f64)> = Vec::new();
        for (number, series) in test.series.iter().enumerate() {
            // a series written twice is what was written last
            if test.series[number + 1..].iter().any(|s| s.labels == series.labels) {
                continue;
            }
            let first = if after_ms < 0 { 0 } else { after_ms / test.interval_ms + 1 };
            let last = until_ms / test.interval_ms;
            for index in first..=last {
                let Some(written) = series.points.get(index as usize) else { break };
                let Some(point) = &written.point else { continue };
                let at_ms = test.start_ms + index * test.interval_ms;
                match point {
                    Point::Float(value) if fits_a_store(series) => floats.push((&series.labels, at_ms, *value)),
                    point => self.memory.write().insert(&series.labels, at_ms, point.clone(), 0),
                }
            }
        }
        let now_ms = test.start_ms + until_ms;
        let mut landings = Vec::new();
        for samples in floats.chunks(APPEND_MAX) {
            let labels: Vec<&[u8]> = samples.iter().map(|(labels, ..)| labels.as_bytes()).collect();
            let index: Vec<u32> = (0..samples.len() as u32).collect();
            let timestamps: Vec<i64> = samples.iter().map(|(_, at, _)| *at).collect();
            let values: Vec<f64> = samples.iter().map(|(.., value)| *value).collect();
            let rows = SampleRows {
                labels: &labels,
                series: &index,
                timestamps_ms: &timestamps,
                values: &values,
                histograms: &[],
                families: &[],
            };
            let append = Append { tenant: TENANT, origin: None, rows: Rows::Samples(rows), now_ms };
            landings.push(self.store.append(append).map_err(|e| e.to_string())?);
        }
        for rows in &test.rows {
            if let Some(events) = rows.events(test.start_ms, after_ms, until_ms) {
                let append = Append { tenant: TENANT, origin: None, rows: Rows::Events(&events), now_ms };
                landings.push(self.store.append(append).map_err(|e| e.to_string())?);
            }
        }
        // rows can be read at once; that they reach the disk matters to no test
        drop(landings);
        Ok(())
    }
}

/// Native histograms and series without a name are kept beside the store, which takes neither.
fn fits_a_store(series: &InputSeries) -> bool {
    let is_histogram = |w: &query::promql::notation::Written| matches!(w.point, Some(Point::Histogram(_)));
    series.labels.get(METRIC_NAME).is_some() && !series.points.iter().any(is_histogram)
}

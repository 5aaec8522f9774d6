//! Where questions come in: PromQL and SQL over one tenant's data as it is at that moment.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use parking_lot::RwLock;

use crate::{
    QueryError, QueryLimits, SqlAnswer,
    promql::{Answer, Engine, Features, Limits, MemorySource, Options, Query, Stop},
    source::StoreSource,
    sql,
};

/// Answers questions over a store. Cheap to clone.
#[derive(Clone)]
pub struct Querier {
    store: storage::Store,
    engine: Arc<Engine>,
    limits: Arc<QueryLimits>,
    beside: Option<Arc<RwLock<MemorySource>>>,
}

/// When a PromQL query is evaluated.
#[derive(Clone, Copy)]
enum When {
    At(i64),
    Steps { start_ms: i64, end_ms: i64, step_ms: i64 },
}

/// Ends a running query when the future that waits for it is dropped.
struct StopOnDrop(Arc<AtomicBool>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Querier {
    /// Questions over `store`, each within `limits`.
    pub fn new(store: storage::Store, limits: QueryLimits) -> Querier {
        let features = if limits.experimental { Features::all() } else { Features::default() };
        let defaults = Options::default();
        let engine = Engine::new(Options {
            features,
            lookback_ms: limits.lookback_ms,
            limits: Limits { samples_max: limits.samples_max, series_max: limits.series_max, ..defaults.limits },
            ..defaults
        });
        Querier { store, engine: Arc::new(engine), limits: Arc::new(limits), beside: None }
    }

    /// The same, reading also what stands in `memory`: series a store can't hold, such as native histograms in unit tests of
    /// rules. Subqueries that name no step use `subquery_step_ms`.
    pub fn beside(self, memory: Arc<RwLock<MemorySource>>, subquery_step_ms: i64) -> Querier {
        let engine = Engine::new(Options { subquery_step_ms, ..self.engine.options().clone() });
        Querier { engine: Arc::new(engine), beside: Some(memory), ..self }
    }

    /// What is read beside the store.
    pub fn memory(&self) -> Option<&RwLock<MemorySource>> {
        self.beside.as_deref()
    }

    /// The store that is asked.
    pub fn store(&self) -> &storage::Store {
        &self.store
    }

    /// What one question may cost.
    pub fn limits(&self) -> &QueryLimits {
        &self.limits
    }

    /// The parts of PromQL that are on.
    pub fn features(&self) -> &Features {
        &self.engine.options().features
    }

    /// Evaluates a PromQL query at one moment, milliseconds.
    pub async fn instant(&self, tenant: &str, query: &str, at_ms: i64) -> Result<Answer, QueryError> {
        self.promql(tenant, query, When::At(at_ms), None, None).await
    }

    /// Evaluates a PromQL query at `start_ms`, `start_ms + step_ms`, … up to `end_ms`.
    pub async fn range(
        &self,
        tenant: &str,
        query: &str,
        start_ms: i64,
        end_ms: i64,
        step_ms: i64,
    ) -> Result<Answer, QueryError> {
        self.promql(tenant, query, When::Steps { start_ms, end_ms, step_ms }, None, None).await
    }

    /// As [`Querier::instant`], with a lookback and a timeout (never above the limit) of the caller's own, milliseconds.
    pub async fn instant_with(
        &self,
        tenant: &str,
        query: &str,
        at_ms: i64,
        lookback_ms: Option<i64>,
        timeout_ms: Option<u64>,
    ) -> Result<Answer, QueryError> {
        self.promql(tenant, query, When::At(at_ms), lookback_ms, timeout_ms).await
    }

    /// As [`Querier::range`] over `(start_ms, end_ms, step_ms)`, with a lookback and a timeout of the caller's own.
    pub async fn range_with(
        &self,
        tenant: &str,
        query: &str,
        (start_ms, end_ms, step_ms): (i64, i64, i64),
        lookback_ms: Option<i64>,
        timeout_ms: Option<u64>,
    ) -> Result<Answer, QueryError> {
        self.promql(tenant, query, When::Steps { start_ms, end_ms, step_ms }, lookback_ms, timeout_ms).await
    }

    /// Answers a read-only SQL query over every event table and `metrics`. Dropping the future ends the query.
    pub async fn sql(&self, tenant: &str, text: &str) -> Result<SqlAnswer, QueryError> {
        self.check_length(text)?;
        let answer = sql::run(self.store.snapshot(tenant), text, &self.limits);
        match tokio::time::timeout(Duration::from_millis(self.limits.timeout_ms), answer).await {
            Ok(answer) => answer,
            Err(_) => Err(QueryError::Timeout(self.limits.timeout_ms)),
        }
    }

    async fn promql(
        &self,
        tenant: &str,
        text: &str,
        when: When,
        lookback_ms: Option<i64>,
        timeout_ms: Option<u64>,
    ) -> Result<Answer, QueryError> {
        self.check_length(text)?;
        let engine = match lookback_ms {
            Some(lookback_ms) => Arc::new(Engine::new(Options { lookback_ms, ..self.engine.options().clone() })),
            None => self.engine.clone(),
        };
        let query = Query::parse(text, &engine.options().features).map_err(crate::promql::QueryError::Parse)?;
        let source = StoreSource { snapshot: self.store.snapshot(tenant), beside: self.beside.clone() };
        let timeout_ms = timeout_ms.unwrap_or(u64::MAX).min(self.limits.timeout_ms);
        let deadline = now() + Duration::from_millis(timeout_ms);
        let left = Arc::new(AtomicBool::new(false));
        let _guard = StopOnDrop(left.clone());
        let runtime = tokio::runtime::Handle::current();
        let evaluation = tokio::task::spawn_blocking(move || {
            let stop = move || {
                if left.load(Ordering::Relaxed) {
                    return Some(Stop::Cancelled);
                }
                (now() >= deadline).then_some(Stop::TimedOut)
            };
            runtime.block_on(async {
                match when {
                    When::At(at_ms) => engine.instant(&source, &query, at_ms, &stop).await,
                    When::Steps { start_ms, end_ms, step_ms } => {
                        engine.range(&source, &query, (start_ms, end_ms, step_ms), &stop).await
                    }
                }
            })
        });
        match evaluation.await {
            Ok(answer) => Ok(answer?),
            Err(panic) => Err(QueryError::Internal(panic.to_string())),
        }
    }

    fn check_length(&self, text: &str) -> Result<(), QueryError> {
        let (found, max) = (text.len(), self.limits.text_bytes_max);
        if found > max { Err(QueryError::TooLong { found, max }) } else { Ok(()) }
    }
}

/// The only clock of this room: it ends a question at its deadline and decides nothing about its answer.
#[allow(clippy::disallowed_methods)]
fn now() -> Instant {
    Instant::now()
}

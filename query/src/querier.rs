//! Where questions come in: PromQL and SQL over one tenant's data as it is at that moment.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::RwLock;
use tokio_util::sync::CancellationToken;

use crate::{
    Ask, Asker, QueryError, QueryLimits, SqlAnswer, Teller, Told, When,
    ask::Question,
    place::Place,
    promql::{Answer, Engine, Features, Limits, MemorySource, Options, Query, Stats, Stop},
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
    asker: Arc<Asker>,
    teller: Option<Teller>,
}

/// When a question ends before it is answered.
#[derive(Clone)]
pub(crate) struct Ending {
    /// Whoever asked has left.
    left: CancellationToken,
    deadline: Instant,
}

impl Ending {
    /// Whether it is to end now.
    pub(crate) fn check(&self) -> Option<Stop> {
        if self.left.is_cancelled() {
            return Some(Stop::Cancelled);
        }
        (now() >= self.deadline).then_some(Stop::TimedOut)
    }

    /// Waits until it is to end.
    pub(crate) async fn reached(&self) {
        tokio::select! {
            () = self.left.cancelled() => {}
            () = tokio::time::sleep_until(self.deadline.into()) => {}
        }
    }
}

/// A question under way, to be told of when it has ended.
struct Note {
    began: Instant,
    /// To whom, who asked, and what; nothing if nobody wants to know.
    told: Option<(Teller, Arc<Asker>, Question)>,
}

impl Note {
    fn end(self, outcome: Result<Option<&Stats>, &QueryError>) {
        let Some((teller, asker, question)) = self.told else { return };
        let (stats, error) = match outcome {
            Ok(stats) => (stats.cloned(), None),
            Err(error) => (None, Some(error.to_string())),
        };
        teller.tell(Told { asker, question, took: now() - self.began, stats, error });
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
        Querier {
            store,
            engine: Arc::new(engine),
            limits: Arc::new(limits),
            beside: None,
            asker: Arc::default(),
            teller: None,
        }
    }

    /// The same, telling of every question that has ended.
    pub fn telling(self, teller: Teller) -> Querier {
        Querier { teller: Some(teller), ..self }
    }

    /// The same, asked by somebody.
    pub fn asked_by(&self, asker: Asker) -> Querier {
        Querier { asker: Arc::new(asker), ..self.clone() }
    }

    /// The same, reading also what stands in `memory`: series a store can't hold, such as those without a name in unit tests of
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
        self.ask(Ask::new(tenant, query, When::At(at_ms))).await
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
        self.ask(Ask::new(tenant, query, When::Steps { start_ms, end_ms, step_ms })).await
    }

    /// Evaluates a PromQL query. Dropping the future ends it.
    pub async fn ask(&self, ask: Ask<'_>) -> Result<Answer, QueryError> {
        let note = self.note(|| Question::Promql { query: ask.query.to_owned(), when: ask.when });
        let began = note.began;
        let (engine, query) = match self.read(&ask) {
            Ok(read) => read,
            Err(error) => {
                note.end(Err(&error));
                return Err(error);
            }
        };
        let timeout_ms = ask.timeout_ms.unwrap_or(u64::MAX).min(self.limits.timeout_ms);
        let ending = Ending { left: CancellationToken::new(), deadline: began + Duration::from_millis(timeout_ms) };
        let _guard = ending.left.clone().drop_guard();
        let place = Place::default();
        let snapshot = self.store.snapshot(ask.tenant);
        let source = StoreSource::new(snapshot, self.beside.clone(), ending.clone(), place.clone());
        let when = ask.when;
        let work = async move {
            let (began, stop) = (now(), move || ending.check());
            let answer = match when {
                When::At(at_ms) => engine.instant(&source, &query, at_ms, &stop).await,
                When::Steps { start_ms, end_ms, step_ms } => {
                    engine.range(&source, &query, (start_ms, end_ms, step_ms), &stop).await
                }
            };
            let answer = answer.map_err(QueryError::from).map(|mut answer| {
                let (all, reading) = (now() - began, source.reading());
                (answer.stats.preparing, answer.stats.evaluating) = (reading, all.saturating_sub(reading));
                answer
            });
            note.end(answer.as_ref().map(|answer| Some(&answer.stats)));
            answer
        };
        place.run(work).await.unwrap_or_else(|panic| Err(QueryError::Internal(panic)))
    }

    /// Answers a read-only SQL query over every event table and `metrics`. Dropping the future ends the query.
    pub async fn sql(&self, tenant: &str, text: &str) -> Result<SqlAnswer, QueryError> {
        let note = self.note(|| Question::Sql(text.to_owned()));
        let answer = async {
            self.check_length(text)?;
            sql::run(self.store.snapshot(tenant), text, &self.limits).await
        };
        let answer = match tokio::time::timeout(Duration::from_millis(self.limits.timeout_ms), answer).await {
            Ok(answer) => answer,
            Err(_) => Err(QueryError::Timeout(self.limits.timeout_ms)),
        };
        note.end(answer.as_ref().map(|_| None));
        answer
    }

    /// The engine for a question, and the question read.
    fn read(&self, ask: &Ask<'_>) -> Result<(Arc<Engine>, Query), QueryError> {
        self.check_length(ask.query)?;
        let engine = if ask.lookback_ms.is_some() || ask.per_step_stats {
            let options = self.engine.options().clone();
            let lookback_ms = ask.lookback_ms.unwrap_or(options.lookback_ms);
            Arc::new(Engine::new(Options { lookback_ms, per_step_stats: ask.per_step_stats, ..options }))
        } else {
            self.engine.clone()
        };
        let query = Query::parse(ask.query, &engine.options().features).map_err(crate::promql::QueryError::Parse)?;
        Ok((engine, query))
    }

    fn note(&self, question: impl FnOnce() -> Question) -> Note {
        let told = self.teller.clone().map(|teller| (teller, self.asker.clone(), question()));
        Note { began: now(), told }
    }

    fn check_length(&self, text: &str) -> Result<(), QueryError> {
        let (found, max) = (text.len(), self.limits.text_bytes_max);
        if found > max { Err(QueryError::TooLong { found, max }) } else { Ok(()) }
    }
}

/// The only clock of this room: it ends a question at its deadline, says how long it took, and decides nothing about its answer.
#[allow(clippy::disallowed_methods)]
pub(crate) fn now() -> Instant {
    Instant::now()
}

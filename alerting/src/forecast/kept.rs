//! Forecasts that were made and are still good: a forecast costs milliseconds a series and does not change between two
//! evaluations of a rule.

use std::collections::BTreeMap;
use std::sync::Arc;

use diagnosis::forecast::SeriesReport;
use parking_lot::Mutex;
use query::Querier;

use super::rule::ForecastSource;
use super::{AskError, Asked, ask};
use crate::fingerprint::Fingerprint;

/// Most questions whose answers are kept.
const QUESTIONS_MAX: usize = 1_000;
/// Most alerts whose forecasts are kept.
const ALERTS_MAX: usize = 10_000;

/// Forecasts by question, and by alert for its evidence. Cheap to clone; all clones are the same.
#[derive(Clone, Debug, Default)]
pub struct Forecasts(Arc<Mutex<Kept>>);

#[derive(Debug, Default)]
struct Kept {
    questions: BTreeMap<String, (i64, Arc<Asked>)>,
    alerts: BTreeMap<Fingerprint, SeriesReport>,
}

impl Forecasts {
    /// The answer to a rule's question as of `at_ms`: one made lately, or a new one.
    pub async fn of(
        &self,
        querier: &Querier,
        tenant: &str,
        source: &ForecastSource,
        at_ms: i64,
    ) -> Result<Arc<Asked>, AskError> {
        let key = format!("{tenant} {:?}", source.ask);
        if let Some((made_ms, answer)) = self.0.lock().questions.get(&key)
            && (0..source.refresh_ms().max(1)).contains(&(at_ms - made_ms))
        {
            return Ok(answer.clone());
        }
        let answer = Arc::new(ask(querier, tenant, &source.ask, at_ms).await?);
        let mut kept = self.0.lock();
        if kept.questions.len() >= QUESTIONS_MAX && !kept.questions.contains_key(&key) {
            let oldest = kept.questions.iter().min_by_key(|(_, (made_ms, _))| *made_ms).map(|(key, _)| key.clone());
            oldest.and_then(|key| kept.questions.remove(&key));
        }
        kept.questions.insert(key, (at_ms, answer.clone()));
        Ok(answer)
    }

    /// Keeps an alert's forecast for its evidence.
    pub fn note(&self, alert: Fingerprint, report: SeriesReport) {
        let mut kept = self.0.lock();
        if kept.alerts.len() < ALERTS_MAX || kept.alerts.contains_key(&alert) {
            kept.alerts.insert(alert, report);
        }
    }

    /// Forgets an alert's forecast.
    pub fn forget(&self, alert: Fingerprint) {
        self.0.lock().alerts.remove(&alert);
    }

    /// The forecast behind an alert, if it is of a forecast rule.
    pub fn of_alert(&self, alert: Fingerprint) -> Option<SeriesReport> {
        self.0.lock().alerts.get(&alert).cloned()
    }
}

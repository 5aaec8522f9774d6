//! The HTTP API: Prometheus' forms, and ours in the same form. One file per group of questions; the routes stand here.

pub mod admin;
pub mod alertmanager;
pub mod alerts;
pub mod client;
pub mod exemplars;
pub mod forecast;
pub mod form;
pub mod instances;
pub mod operate;
pub mod promql;
pub mod query_stats;
pub mod reply;
pub mod series;
pub mod sql;
pub mod status;
pub mod syntax_tree;
pub mod time;

use std::{sync::Arc, time::Duration};

use alerting::Alerting;
use axum::{
    Router,
    extract::{DefaultBodyLimit, MatchedPath, Request, State},
    http::StatusCode,
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use ingest::{Collectors, admission::Clock};
use query::Querier;
use storage::Snapshot;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tower_http::compression::CompressionLayer;

use crate::{config::Config, pages, request_counts::RequestCounts, self_metrics::SelfMetrics};
use reply::{ApiError, ErrorType};

/// Largest form in a request's body, bytes.
const FORM_BYTES_MAX: usize = 8 << 20;

/// What handlers work with. Cheap to clone.
#[derive(Clone)]
pub struct Api {
    /// Answers questions.
    pub querier: Querier,
    /// Rules and alerts.
    pub alerting: Alerting,
    /// Who is connected.
    pub collectors: Collectors,
    /// The settings in force.
    pub settings: Arc<Config>,
    /// Whose data is asked.
    pub tenant: Arc<str>,
    /// When the server started, milliseconds.
    pub started_ms: i64,
    /// Numbers about the server.
    pub metrics: SelfMetrics,
    clock: Clock,
    turns: Arc<Semaphore>,
}

impl Api {
    /// Answers for the default tenant.
    pub fn new(
        querier: Querier,
        alerting: Alerting,
        collectors: Collectors,
        settings: Arc<Config>,
        metrics: SelfMetrics,
        clock: Clock,
    ) -> Api {
        let turns = Arc::new(Semaphore::new(settings.concurrency_max));
        let (tenant, started_ms) = (proto::DEFAULT_TENANT.into(), clock());
        Api { querier, alerting, collectors, settings, tenant, started_ms, metrics, clock, turns }
    }

    /// Now, milliseconds.
    pub fn now_ms(&self) -> i64 {
        (self.clock)()
    }

    /// The data as it is now.
    pub fn snapshot(&self) -> Snapshot {
        self.querier.store().snapshot(&self.tenant)
    }

    /// What a read of the store answers, or an error once it took as long as a question may.
    pub async fn within<T>(&self, read: impl Future<Output = Result<T, storage::ReadError>>) -> Result<T, ApiError> {
        let limit = Duration::from_millis(self.settings.query.timeout_ms);
        match tokio::time::timeout(limit, read).await {
            Ok(answer) => answer.map_err(reply::read_error),
            Err(_) => Err(ApiError { kind: ErrorType::Timeout, message: "query timed out".into() }),
        }
    }

    /// Waits until fewer than `concurrency_max` questions are being answered, at most as long as a question may run.
    pub async fn turn(&self) -> Result<OwnedSemaphorePermit, ApiError> {
        let patience = Duration::from_millis(self.settings.query.timeout_ms);
        match tokio::time::timeout(patience, self.turns.clone().acquire_owned()).await {
            Ok(Ok(permit)) => Ok(permit),
            Ok(Err(_)) | Err(_) => {
                let message = format!("{} questions are being answered", self.settings.concurrency_max);
                Err(ApiError { kind: ErrorType::Unavailable, message })
            }
        }
    }
}

/// Every route of the HTTP port.
pub fn router(api: Api, remote_write: Router) -> Router {
    let counts = api.metrics.requests.clone();
    Router::new()
        .route("/api/v1/query", get(promql::instant).post(promql::instant))
        .route("/api/v1/query_range", get(promql::range).post(promql::range))
        .route("/api/v1/query_exemplars", get(exemplars::exemplars).post(exemplars::exemplars))
        .route("/api/v1/format_query", get(promql::format).post(promql::format))
        .route("/api/v1/parse_query", get(promql::tree).post(promql::tree))
        .route("/api/v1/series", get(series::series).post(series::series))
        .route("/api/v1/labels", get(series::labels).post(series::labels))
        .route("/api/v1/label/{name}/values", get(series::label_values))
        .route("/api/v1/metadata", get(series::metadata))
        .route("/api/v1/rules", get(alerts::rules))
        .route("/api/v1/alerts", get(alerts::alerts))
        .route("/api/v1/alert", get(alerts::list))
        .route("/api/v1/alert/{id}", get(alerts::one))
        .route("/api/v1/forecast", get(forecast::forecast).post(forecast::forecast))
        .route("/api/v1/alert/{id}/why", get(operate::why))
        .route("/api/v1/alert/{id}/acknowledge", post(operate::acknowledge).delete(operate::take_back))
        .route("/api/v1/silences/preview", post(operate::preview))
        .route("/api/v2/status", get(alertmanager::status))
        .route("/api/v2/receivers", get(alertmanager::receivers))
        .route("/api/v2/silences", get(alertmanager::silences).post(alertmanager::set_silence))
        .route("/api/v2/silence/{id}", get(alertmanager::silence).delete(alertmanager::expire_silence))
        .route("/api/v2/alerts", get(alertmanager::alerts).post(alertmanager::take_alerts))
        .route("/api/v2/alerts/groups", get(alertmanager::groups))
        .route("/api/v1/targets", get(status::targets))
        .route("/api/v1/scrape_pools", get(status::scrape_pools))
        .route("/api/v1/targets/metadata", get(status::target_metadata))
        .route("/api/v1/notifications", get(status::notifications))
        .route("/api/v1/alertmanagers", get(status::alertmanagers))
        .route("/api/v1/status/buildinfo", get(status::build_info))
        .route("/api/v1/status/runtimeinfo", get(status::runtime_info))
        .route("/api/v1/status/flags", get(status::flags))
        .route("/api/v1/status/config", get(status::config))
        .route("/api/v1/status/tsdb", get(status::tsdb))
        .route("/api/v1/admin/tsdb/snapshot", post(admin::snapshot).put(admin::snapshot))
        .route("/api/v1/admin/tsdb/delete_series", post(admin::delete_series).put(admin::delete_series))
        .route("/api/v1/admin/tsdb/clean_tombstones", post(admin::clean_tombstones).put(admin::clean_tombstones))
        .route("/api/v1/sql", get(sql::sql).post(sql::sql))
        .route("/api/v1/instances", get(instances::instances))
        .route("/api/v1/collectors", get(status::collectors))
        .route("/api/{*rest}", get(no_such_path).post(no_such_path))
        .route("/-/healthy", get(status::healthy))
        .route("/-/ready", get(status::ready))
        .route("/metrics", get(metrics))
        .layer(DefaultBodyLimit::max(FORM_BYTES_MAX))
        .with_state(api)
        .merge(remote_write)
        .fallback(get(pages::page))
        .layer(middleware::from_fn_with_state(counts, count))
        .layer(CompressionLayer::new())
}

async fn no_such_path(request: Request) -> ApiError {
    ApiError::not_found(format!("there is no {}", request.uri().path()))
}

async fn metrics(State(api): State<Api>) -> Response {
    let kind = "text/plain; version=0.0.4; charset=utf-8";
    (StatusCode::OK, [("content-type", kind)], api.metrics.text()).into_response()
}

/// Counts requests by route and status.
async fn count(State(counts): State<Arc<RequestCounts>>, request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>().map_or("page", MatchedPath::as_str).to_owned();
    let began = tokio::time::Instant::now();
    let response = next.run(request).await;
    counts.add(&route, response.status().as_u16(), began.elapsed());
    response
}

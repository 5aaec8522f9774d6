//! Reads the config's alerting section and the rule files again, on SIGHUP or `POST /-/reload`: all of it or, when anything
//! is wrong, nothing. Ports, store and limits stay as they were until a restart.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
};

use alerting::Alerting;
use axum::{Router, extract::State, http::StatusCode, routing::post};
use ingest::admission::Clock;

use crate::config::Config;

/// How the last reload went, for the server's own metrics.
#[derive(Debug)]
pub struct LastReload {
    successful: AtomicBool,
    success_ms: AtomicI64,
}

impl LastReload {
    /// The config was read when the server started.
    pub fn new(started_ms: i64) -> LastReload {
        LastReload { successful: AtomicBool::new(true), success_ms: AtomicI64::new(started_ms) }
    }

    /// Whether the last one took effect, and when the last one that did was, milliseconds.
    pub fn read(&self) -> (bool, i64) {
        (self.successful.load(Ordering::Relaxed), self.success_ms.load(Ordering::Relaxed))
    }
}

/// Reloads. Cheap to clone.
#[derive(Clone)]
pub struct Reloader {
    alerting: Alerting,
    file: Option<PathBuf>,
    external_url: String,
    last: Arc<LastReload>,
    clock: Clock,
}

impl Reloader {
    /// Of a server whose config stands in `file` (`None`: built-in defaults) and whose links begin with `external_url` unless
    /// the config says otherwise.
    pub fn new(
        alerting: Alerting,
        file: Option<PathBuf>,
        external_url: String,
        last: Arc<LastReload>,
        clock: Clock,
    ) -> Reloader {
        Reloader { alerting, file, external_url, last, clock }
    }

    /// Reads everything again; the error names the file, and nothing has changed.
    pub async fn reload(&self) -> Result<(), String> {
        let outcome = self.try_reload().await;
        self.last.successful.store(outcome.is_ok(), Ordering::Relaxed);
        match &outcome {
            Ok(()) => {
                self.last.success_ms.store((self.clock)(), Ordering::Relaxed);
                tracing::info!("rules and receivers were read again");
            }
            Err(error) => tracing::error!(error, "reload failed; what ran before runs on"),
        }
        outcome
    }

    async fn try_reload(&self) -> Result<(), String> {
        let mut settings = match &self.file {
            Some(file) => Config::load(file).map_err(|e| e.to_string())?.alerting,
            None => self.alerting.settings().as_ref().clone(),
        };
        if settings.external_url.is_empty() {
            settings.external_url.clone_from(&self.external_url);
        }
        self.alerting.reload(settings).await.map_err(|e| e.to_string())
    }
}

/// `POST` and `PUT /-/reload`.
pub fn routes(reloader: Reloader) -> Router {
    Router::new().route("/-/reload", post(reload).put(reload)).with_state(reloader)
}

async fn reload(State(reloader): State<Reloader>) -> (StatusCode, String) {
    match reloader.reload().await {
        Ok(()) => (StatusCode::OK, String::new()),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("failed to reload config: {error}\n")),
    }
}

//! The other end of a webhook or of a Slack robot: keeps every body it was sent, with its idempotency key and the moment.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use axum::{
    Json, Router,
    extract::{DefaultBodyLimit, State},
    http::{HeaderMap, StatusCode},
    routing::post,
};
use collector::Clock;
use serde_json::Value;
use tokio::{net::TcpListener, sync::Mutex, task::JoinHandle};

/// Most bodies kept; a test or demo that gets more has failed anyway.
const BODIES_MAX: usize = 10_000;
/// Largest body taken.
const BODY_BYTES_MAX: usize = 64 << 20;

/// What came in one request.
#[derive(Clone, Debug)]
pub struct Heard {
    /// When, milliseconds.
    pub at_ms: i64,
    /// Its `Idempotency-Key`, empty if it had none.
    pub key: String,
    /// Its body.
    pub body: Value,
    /// Whether it was answered, with a 200.
    pub answered: bool,
}

#[derive(Clone, Default)]
struct Shared {
    heard: Arc<Mutex<Vec<Heard>>>,
    mute: Arc<AtomicBool>,
}

/// Listens on a free loopback port until dropped.
pub struct Receiver {
    url: String,
    shared: Shared,
    task: JoinHandle<()>,
}

impl Receiver {
    /// Starts to listen.
    pub async fn start() -> io::Result<Receiver> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let url = format!("http://{}/alerts", listener.local_addr()?);
        let shared = Shared::default();
        let limit = DefaultBodyLimit::max(BODY_BYTES_MAX);
        let router = Router::new().route("/alerts", post(keep)).layer(limit).with_state(shared.clone());
        let task = tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, router).await {
                eprintln!("receiver: {error}");
            }
        });
        Ok(Receiver { url, shared, task })
    }

    /// Where to send to.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// What came so far.
    pub async fn bodies(&self) -> Vec<Value> {
        self.shared.heard.lock().await.iter().map(|h| h.body.clone()).collect()
    }

    /// The same with keys and moments.
    pub async fn heard(&self) -> Vec<Heard> {
        self.shared.heard.lock().await.clone()
    }

    /// While mute it keeps what it is sent and never answers.
    pub fn be_mute(&self, mute: bool) {
        self.shared.mute.store(mute, Ordering::SeqCst);
    }

    /// The first body with an alert of that name and status (`firing`, `resolved`).
    pub async fn find(&self, alertname: &str, status: &str) -> Option<Value> {
        let of_alert = |alert: &Value| alert["labels"]["alertname"] == alertname && alert["status"] == status;
        let heard = self.shared.heard.lock().await;
        heard
            .iter()
            .map(|h| &h.body)
            .find(|b| b["alerts"].as_array().is_some_and(|alerts| alerts.iter().any(of_alert)))
            .cloned()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn keep(State(shared): State<Shared>, headers: HeaderMap, Json(body): Json<Value>) -> (StatusCode, &'static str) {
    let key = headers.get("idempotency-key").and_then(|k| k.to_str().ok()).unwrap_or_default().to_string();
    let mute = shared.mute.load(Ordering::SeqCst);
    {
        let mut heard = shared.heard.lock().await;
        if heard.len() >= BODIES_MAX {
            return (StatusCode::TOO_MANY_REQUESTS, "full");
        }
        heard.push(Heard { at_ms: Clock::system().now_ms(), key, body, answered: !mute });
    }
    if mute {
        std::future::pending::<()>().await;
    }
    (StatusCode::OK, "ok") // Slack's answer; a webhook's is not looked at
}

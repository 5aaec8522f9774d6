//! A webhook's other end: keeps every body it was sent.

use std::{io, sync::Arc};

use axum::{Json, Router, extract::State, http::StatusCode, routing::post};
use serde_json::Value;
use tokio::{net::TcpListener, sync::Mutex, task::JoinHandle};

/// Most bodies kept; a test or demo that gets more has failed anyway.
const BODIES_MAX: usize = 10_000;

/// Listens on a free loopback port until dropped.
pub struct Receiver {
    url: String,
    bodies: Arc<Mutex<Vec<Value>>>,
    task: JoinHandle<()>,
}

impl Receiver {
    /// Starts to listen.
    pub async fn start() -> io::Result<Receiver> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let url = format!("http://{}/alerts", listener.local_addr()?);
        let bodies = Arc::new(Mutex::new(Vec::new()));
        let router = Router::new().route("/alerts", post(keep)).with_state(bodies.clone());
        let task = tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, router).await {
                eprintln!("receiver: {error}");
            }
        });
        Ok(Receiver { url, bodies, task })
    }

    /// Where to send to.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// What came so far.
    pub async fn bodies(&self) -> Vec<Value> {
        self.bodies.lock().await.clone()
    }

    /// The first body with an alert of that name and status (`firing`, `resolved`).
    pub async fn find(&self, alertname: &str, status: &str) -> Option<Value> {
        let of_alert = |alert: &Value| alert["labels"]["alertname"] == alertname && alert["status"] == status;
        let bodies = self.bodies.lock().await;
        bodies.iter().find(|b| b["alerts"].as_array().is_some_and(|alerts| alerts.iter().any(of_alert))).cloned()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn keep(State(bodies): State<Arc<Mutex<Vec<Value>>>>, Json(body): Json<Value>) -> StatusCode {
    let mut bodies = bodies.lock().await;
    if bodies.len() >= BODIES_MAX {
        return StatusCode::TOO_MANY_REQUESTS;
    }
    bodies.push(body);
    StatusCode::OK
}

//! Gets one page over HTTP, within its time and its size.

use std::time::Duration;

use reqwest::header::{ACCEPT, CONTENT_TYPE};

use super::exposition::Format;
use crate::{
    config::{Password, ScrapeAccess, ScrapeConfig},
    databases::tls,
};

/// What we read, the richer first.
const ACCEPTED: &str = "application/openmetrics-text;version=1.0.0;q=0.6,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
const USER_AGENT: &str = concat!("tidewatch-collector/", env!("CARGO_PKG_VERSION"));

/// The client of one job.
#[derive(Clone, Debug)]
pub struct Client {
    client: reqwest::Client,
    access: ScrapeAccess,
    timeout: Duration,
    body_bytes_max: usize,
}

impl Client {
    /// Reads the job's certificates.
    pub fn new(config: &ScrapeConfig) -> Result<Client, String> {
        let tls = tls::client_config(&config.tls).map_err(|t| t.text)?;
        let client = reqwest::Client::builder()
            .user_agent(USER_AGENT)
            .timeout(config.timeout)
            .pool_max_idle_per_host(1)
            .use_preconfigured_tls(tls)
            .build()
            .map_err(|e| e.to_string())?;
        Ok(Client {
            client,
            access: config.access.clone(),
            timeout: config.timeout,
            body_bytes_max: config.limits.body_bytes,
        })
    }

    /// A page and how it is written.
    pub async fn get(&self, url: &str) -> Result<(String, Format), String> {
        let timeout = self.timeout.as_secs_f64().to_string();
        let mut request =
            self.client.get(url).header(ACCEPT, ACCEPTED).header("X-Prometheus-Scrape-Timeout-Seconds", timeout);
        request = match &self.access {
            ScrapeAccess::Open => request,
            ScrapeAccess::Basic { username, password } => request.basic_auth(username, secret(password)?),
            ScrapeAccess::Token { scheme, token } => {
                request.header("Authorization", format!("{scheme} {}", secret(token)?.unwrap_or_default()))
            }
        };
        let mut answer = request.send().await.map_err(|e| said(&e))?;
        if !answer.status().is_success() {
            return Err(format!("server returned HTTP status {}", answer.status()));
        }
        let format = answer.headers().get(CONTENT_TYPE).and_then(|v| v.to_str().ok()).map_or(Format::Text, Format::of);
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(|e| said(&e))? {
            if body.len() + chunk.len() > self.body_bytes_max {
                return Err(format!("body_size_limit: the page is larger than {} bytes", self.body_bytes_max));
            }
            body.extend_from_slice(&chunk);
        }
        let text = String::from_utf8(body).map_err(|_| "the page is not UTF-8".to_owned())?;
        Ok((text, format))
    }
}

fn secret(password: &Password) -> Result<Option<String>, String> {
    password.read().map_err(|e| e.to_string())
}

/// The innermost reason: what stands around it names only the URL again.
fn said(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return "no answer within scrape_timeout".into();
    }
    let mut reason: &dyn std::error::Error = error;
    while let Some(source) = reason.source() {
        reason = source;
    }
    reason.to_string()
}

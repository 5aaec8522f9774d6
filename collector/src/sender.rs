//! Carries the spool's batches to the server over one long gRPC stream, and the server's requests to the sources.
//!
//! Sends what is not durable, a few batches of each class ahead of the acknowledgements; forgets what is acknowledged;
//! after a lost connection waits a little longer each time, asks what is durable, and sends the rest again.

pub mod session;
pub mod skew;

use std::{path::Path, sync::Arc, time::Duration};

use proto::wire::ingest_client::IngestClient;
use tokio_util::sync::CancellationToken;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};

use self::skew::Change;
use crate::{clock::Clock, config::ServerConfig, outlet::Way, source::Desk};

/// First wait after a lost connection.
const BACKOFF_MIN: Duration = Duration::from_millis(200);
/// Longest wait between two attempts.
const BACKOFF_MAX: Duration = Duration::from_secs(30);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(20);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(10);
/// Largest message taken from the server, bytes: acknowledgements and requests are small.
const SERVER_MESSAGE_BYTES_MAX: usize = 1 << 20;
/// Authorities of the system, where no file is configured.
const SYSTEM_CA_FILE: &str = "/etc/ssl/certs/ca-certificates.crt";

/// What the sender needs.
#[derive(Clone, Debug)]
pub struct Sender {
    /// Where to.
    pub server: ServerConfig,
    /// What is to be sent.
    pub way: Way,
    /// Time of gaps made of refusals.
    pub clock: Clock,
    /// Who reads on request.
    pub desk: Desk,
    /// This host's name.
    pub host: Arc<str>,
    /// Whose data.
    pub tenant: Arc<str>,
    /// Ends it.
    pub shutdown: CancellationToken,
}

/// Why a connection ended or never was.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// A certificate file.
    #[error("{path}: {source}")]
    Certificate {
        /// Which.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// The network, TLS or the server's door.
    #[error("{}", with_causes(.0))]
    Transport(#[from] tonic::transport::Error),
    /// The server ended the call.
    #[error("server: {}: {}", .0.code(), .0.message())]
    Status(#[from] tonic::Status),
    /// The server said something it must not, or nothing for too long.
    #[error("{0}")]
    Protocol(&'static str),
    /// Our own disk.
    #[error(transparent)]
    Spool(#[from] crate::spool::SpoolError),
}

fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

/// How long to wait after this many failures in a row; `chance` from 0 to 1 spreads collectors out.
pub fn backoff(failures: u32, chance: f64) -> Duration {
    let doubled = BACKOFF_MIN.saturating_mul(1u32.checked_shl(failures.saturating_sub(1)).unwrap_or(u32::MAX));
    doubled.min(BACKOFF_MAX).mul_f64(0.5 + chance.clamp(0.0, 1.0) / 2.0)
}

/// Opens the way to the server; the connection itself is made by the first call.
pub fn channel(server: &ServerConfig) -> Result<Endpoint, SendError> {
    let mut endpoint = Endpoint::from_shared(server.address.clone())?
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(KEEP_ALIVE_INTERVAL)
        .keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
        .keep_alive_while_idle(true);
    if let Some(tls) = &server.tls {
        let ca_file = tls.ca_file.as_deref().unwrap_or(Path::new(SYSTEM_CA_FILE));
        let mut config = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(read(ca_file)?));
        if let Some((cert_file, key_file)) = &tls.identity {
            config = config.identity(Identity::from_pem(read(cert_file)?, read(key_file)?));
        }
        if let Some(name) = &tls.server_name {
            config = config.domain_name(name);
        }
        endpoint = endpoint.tls_config(config)?;
    }
    Ok(endpoint)
}

fn read(path: &Path) -> Result<Vec<u8>, SendError> {
    std::fs::read(path).map_err(|source| SendError::Certificate { path: path.display().to_string(), source })
}

impl Sender {
    /// Takes the time a message of the server bears.
    fn measure_skew(&self, server_ms: i64) {
        let change = self.way.skew.measure(self.clock.now_ms(), server_ms);
        let ahead_ms = self.way.skew.ahead_ms().unwrap_or(0);
        match change {
            Change::None => {}
            Change::Began => {
                tracing::warn!(ahead_ms, "this host's clock differs from the server's; rows bear this host's")
            }
            Change::Ended => tracing::info!(ahead_ms, "this host's clock agrees with the server's again"),
        }
    }

    /// Sends until shutdown.
    pub async fn run(self) {
        let mut failures = 0u32;
        let mut last_error = String::new();
        while !self.shutdown.is_cancelled() {
            match self.once(&mut failures, &mut last_error).await {
                Ok(()) => return,
                Err(e) => {
                    failures = failures.saturating_add(1);
                    let text = e.to_string();
                    if text != last_error {
                        tracing::warn!(server = %self.server.address, error = %text, "not connected; rows wait in the spool");
                        last_error = text;
                    }
                }
            }
            tokio::select! {
                () = self.shutdown.cancelled() => return,
                () = tokio::time::sleep(backoff(failures, fastrand::f64())) => {}
            }
        }
    }

    /// One connection from beginning to end; `Ok` when shutdown ended it.
    async fn once(&self, failures: &mut u32, last_error: &mut String) -> Result<(), SendError> {
        let endpoint = channel(&self.server)?;
        let channel: Channel = tokio::select! {
            () = self.shutdown.cancelled() => return Ok(()),
            connected = endpoint.connect() => connected?,
        };
        let client = IngestClient::new(channel).max_decoding_message_size(SERVER_MESSAGE_BYTES_MAX);
        let session = session::open(self, client).await?;
        *failures = 0;
        last_error.clear();
        tracing::info!(server = %self.server.address, version = session.server_version(), "connected");
        session.run(self).await
    }
}

#[cfg(test)]
#[path = "sender/tests.rs"]
mod tests;

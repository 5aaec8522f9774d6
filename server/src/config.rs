//! The server's config: read raw, then checked into valid types before a port or file is opened. Errors name file, line, field
//! and what is allowed.

mod check;
mod check_kafka;
mod check_object_store;
pub mod raw;

use std::{net::SocketAddr, path::PathBuf};

use query::QueryLimits;
use storage::StoreConfig;

/// Default HTTP address.
pub const HTTP_LISTEN_DEFAULT: &str = "127.0.0.1:7400";
/// Default address for collectors.
pub const GRPC_LISTEN_DEFAULT: &str = "127.0.0.1:7401";
/// Questions answered at once unless the config says otherwise; more wait their turn.
pub const CONCURRENCY_DEFAULT: usize = 20;

/// Everything a server needs to know.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where HTTP answers; port 0 takes a free one.
    pub http_listen: SocketAddr,
    /// Whether the HTTP port takes snapshots and deletions.
    pub admin_api: bool,
    /// Where collectors connect; port 0 takes a free one.
    pub grpc_listen: SocketAddr,
    /// Certificates of the collectors' port, if it is encrypted.
    pub grpc_tls: Option<TlsConfig>,
    /// The topic that is read, if one is.
    pub kafka: Option<ingest::KafkaSettings>,
    /// The store, its directory included.
    pub store: StoreConfig,
    /// What one question may cost.
    pub query: QueryLimits,
    /// Questions answered at once.
    pub concurrency_max: usize,
    /// Where questions are written down, if they are.
    pub query_log: Option<PathBuf>,
    /// Rules and receivers.
    pub alerting: alerting::Settings,
    /// The file it was read from; `None`: built-in defaults.
    pub file: Option<PathBuf>,
}

/// Certificates of a port, read and found to be PEM.
#[derive(Clone, PartialEq, Eq)]
pub struct TlsConfig {
    /// Certificate chain, PEM.
    pub cert_pem: Vec<u8>,
    /// Private key, PEM.
    pub key_pem: Vec<u8>,
    /// Authority of clients' certificates, PEM.
    pub client_ca_pem: Option<Vec<u8>>,
}

impl std::fmt::Debug for TlsConfig {
    /// Without the key.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TlsConfig").field("client_ca", &self.client_ca_pem.is_some()).finish_non_exhaustive()
    }
}

/// A config that can't be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}: {message}", place(.file, *.line, *.column))]
pub struct ConfigError {
    /// The file as it was named.
    pub file: String,
    /// Line, from 1; 0: the whole file.
    pub line: u64,
    /// Column, from 1; 0: the whole line.
    pub column: u64,
    /// Field, what is wrong, and what is allowed.
    pub message: String,
}

fn place(file: &str, line: u64, column: u64) -> String {
    match (line, column) {
        (0, _) => file.to_owned(),
        (line, 0) => format!("{file}:{line}"),
        (line, column) => format!("{file}:{line}:{column}"),
    }
}

/// What the command line says over the file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Overrides {
    /// `--data-dir`.
    pub data_dir: Option<PathBuf>,
    /// `--http-listen`.
    pub http_listen: Option<SocketAddr>,
    /// `--grpc-listen`.
    pub grpc_listen: Option<SocketAddr>,
    /// `--take-over`.
    pub take_over: bool,
}

impl Config {
    /// Reads and checks a file.
    pub fn load(path: &std::path::Path) -> Result<Config, ConfigError> {
        let file = path.display().to_string();
        let text = std::fs::read_to_string(path).map_err(|e| ConfigError {
            file: file.clone(),
            line: 0,
            column: 0,
            message: e.to_string(),
        })?;
        let mut config = Config::parse(&file, &text)?;
        config.file = Some(path.to_owned());
        Ok(config)
    }

    /// Checks a text; `file` is its name in errors and where relative paths in it start from.
    pub fn parse(file: &str, text: &str) -> Result<Config, ConfigError> {
        check::parse(file, text)
    }

    /// What `tidewatch up` runs with: defaults, the built-in rules, nobody to tell.
    pub fn defaults() -> Result<Config, ConfigError> {
        Config::parse("built-in defaults", "{}")
    }

    /// Puts the command line's wishes over the file's.
    pub fn with(mut self, overrides: Overrides) -> Config {
        self.http_listen = overrides.http_listen.unwrap_or(self.http_listen);
        self.grpc_listen = overrides.grpc_listen.unwrap_or(self.grpc_listen);
        if let Some(data_dir) = overrides.data_dir {
            self.store.data_dir = data_dir;
        }
        self.store.take_over = overrides.take_over;
        self
    }
}

#[cfg(test)]
mod tests;

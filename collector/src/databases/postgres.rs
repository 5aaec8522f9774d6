//! Connecting to PostgreSQL: session limits by start-up options, so that they cost no statement of their own.

use std::time::Duration;

use tokio::task::JoinHandle;
use tokio_postgres::{Client, NoTls, SimpleQueryMessage, config::SslMode};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::{
    connection::{APPLICATION_NAME, CONNECT_TIMEOUT, LOCK_TIMEOUT_MS, STATEMENT_TIMEOUT_MS},
    reading::Reading,
    tls,
    trouble::{Class, Trouble},
};
use crate::config::{Address, DatabaseConfig, TlsMode};

/// A peer that is gone is noticed after about a minute.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(30);

/// The database everyone has.
pub const MAINTENANCE_DATABASE: &str = "postgres";

/// One session.
pub struct PostgresClient {
    client: Client,
    driver: JoinHandle<()>,
}

impl PostgresClient {
    /// Connects; the caller sets the time limit.
    pub async fn open(
        config: &DatabaseConfig,
        password: Option<String>,
        database: Option<&str>,
    ) -> Result<PostgresClient, Trouble> {
        let mut options = tokio_postgres::Config::new();
        match &config.address {
            Address::Tcp { host, port } => options.host(host).port(*port),
            Address::Socket { path, port } => options.host_path(path).port(*port),
        };
        options.user(&config.user).application_name(APPLICATION_NAME).connect_timeout(CONNECT_TIMEOUT);
        options.keepalives_idle(KEEPALIVE_IDLE);
        let template = config.template.as_deref();
        let usual = template.and_then(|t| t.database.as_deref()).unwrap_or(MAINTENANCE_DATABASE);
        options.dbname(database.or(config.database.as_deref()).unwrap_or(usual));
        if let Some(password) = password {
            options.password(password);
        }
        let session = match template.and_then(|t| t.session.as_ref()) {
            Some(given) => given.iter().map(|setting| format!("-c {setting} ")).collect(),
            None => format!(
                "-c statement_timeout={STATEMENT_TIMEOUT_MS} -c lock_timeout={LOCK_TIMEOUT_MS} \
                 -c idle_in_transaction_session_timeout={STATEMENT_TIMEOUT_MS} -c default_transaction_read_only=on \
                 -c jit=off -c plan_cache_mode=force_generic_plan -c datestyle=iso -c intervalstyle=postgres -c client_min_messages=error"
            ),
        };
        if !session.is_empty() {
            options.options(session);
        }
        let plain = matches!(config.address, Address::Socket { .. }) || config.tls == TlsMode::Disable;
        options.ssl_mode(match config.tls {
            _ if plain => SslMode::Disable,
            TlsMode::Disable => SslMode::Disable,
            TlsMode::Prefer => SslMode::Prefer,
            TlsMode::Require | TlsMode::Verify(_) => SslMode::Require,
        });
        let (client, driver) = if plain {
            let (client, connection) = options.connect(NoTls).await.map_err(trouble)?;
            (client, tokio::spawn(drive(connection)))
        } else {
            let tls = tls::client_config(&config.tls)?;
            let connector = MakeRustlsConnect::new(tls);
            let (client, connection) = options.connect(connector).await.map_err(trouble)?;
            (client, tokio::spawn(drive(connection)))
        };
        Ok(PostgresClient { client, driver })
    }

    /// Sends a query text.
    pub async fn read(&mut self, sql: &str) -> Result<Reading, Trouble> {
        let mut reading = Reading::default();
        for message in self.client.simple_query(sql).await.map_err(trouble)? {
            match message {
                SimpleQueryMessage::RowDescription(columns) => {
                    reading.columns = columns.iter().map(|c| c.name().to_owned()).collect();
                    reading.rows.clear();
                }
                SimpleQueryMessage::Row(row) => {
                    reading.rows.push((0..row.len()).map(|i| row.get(i).map(str::to_owned)).collect());
                }
                _ => {}
            }
        }
        Ok(reading)
    }

    /// Ends the session and waits until it is gone from our side.
    pub async fn close(self) {
        drop(self.client);
        let _ = tokio::time::timeout(CONNECT_TIMEOUT, self.driver).await;
    }
}

/// Carries the session's bytes until it ends; how it ended, the query that was waiting is told.
async fn drive<C: Future<Output = Result<(), tokio_postgres::Error>>>(connection: C) {
    if let Err(error) = connection.await {
        tracing::debug!(%error, "connection ended");
    }
}

fn trouble(error: tokio_postgres::Error) -> Trouble {
    if let Some(server) = error.as_db_error() {
        let code = server.code().code();
        let mut text = server.message().to_owned();
        if let Some(hint) = server.hint() {
            text = format!("{text} (hint: {hint})");
        }
        return Trouble { class: Class::of_sqlstate(code, &text), text, code: Some(code.to_owned()) };
    }
    let mut text = error.to_string();
    let mut source: Option<&dyn std::error::Error> = std::error::Error::source(&error);
    while let Some(inner) = source {
        text = format!("{text}: {inner}");
        source = inner.source();
    }
    let class = if text.contains("password missing") { Class::AuthFailed } else { Class::TargetUnreachable };
    Trouble::new(class, text)
}

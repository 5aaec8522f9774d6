//! Connecting to MySQL and MariaDB: session limits are set in one statement after the handshake.

use std::time::Duration;

use mysql_async::{Conn, Opts, OptsBuilder, SslOpts, Value, prelude::Queryable};

use super::{
    connection::{LOCK_TIMEOUT_MS, STATEMENT_TIMEOUT_MS},
    reading::Reading,
    trouble::{Class, Trouble},
};
use crate::config::{Address, DatabaseConfig, TlsMode};

/// Lock waits are counted in whole seconds here.
const LOCK_TIMEOUT_S: u64 = LOCK_TIMEOUT_MS.div_ceil(1000);

const DIRTY_READS: &str = "SET SESSION wsrep_dirty_reads=1";

/// Largest answer packet taken, bytes.
const PACKET_BYTES_MAX: usize = 64 << 20;
/// A peer that is gone is noticed by packets sent after this much silence.
const KEEPALIVE: Duration = Duration::from_secs(30);
/// How long the server may keep our idle session, seconds (its own default).
const WAIT_TIMEOUT_S: usize = 28_800;

/// One session.
pub struct MysqlClient {
    conn: Conn,
    sent: Vec<String>,
}

impl MysqlClient {
    /// Connects; the caller sets the time limit.
    pub async fn open(
        config: &DatabaseConfig,
        password: Option<String>,
        database: Option<&str>,
    ) -> Result<MysqlClient, Trouble> {
        let template = config.template.as_deref();
        let of_template = template.and_then(|t| t.database.as_deref());
        let mut options = OptsBuilder::default()
            .user(Some(&config.user))
            .pass(password)
            .db_name(database.or(config.database.as_deref()).or(of_template))
            .prefer_socket(false)
            .stmt_cache_size(0)
            .tcp_keepalive(Some(KEEPALIVE))
            // Known here, so that the client does not ask the server.
            .max_allowed_packet(Some(PACKET_BYTES_MAX))
            .wait_timeout(Some(WAIT_TIMEOUT_S));
        options = match &config.address {
            Address::Tcp { host, port } => options.ip_or_hostname(host).tcp_port(*port),
            Address::Socket { path, .. } => options.socket(Some(path.display().to_string())),
        };
        let local = match &config.address {
            Address::Socket { .. } => true,
            Address::Tcp { host, .. } => matches!(host.as_str(), "127.0.0.1" | "::1" | "localhost"),
        };
        let encrypt = match &config.tls {
            TlsMode::Disable => None,
            TlsMode::Prefer if local => None,
            TlsMode::Prefer | TlsMode::Require => {
                Some(SslOpts::default().with_danger_accept_invalid_certs(true).with_danger_skip_domain_validation(true))
            }
            TlsMode::Verify(None) => Some(SslOpts::default()),
            TlsMode::Verify(Some(path)) => {
                Some(SslOpts::default().with_root_certs(vec![path.clone().into()]).with_disable_built_in_roots(true))
            }
        };
        let encrypted = encrypt.is_some();
        let result = Conn::new(Opts::from(options.clone().ssl_opts(encrypt))).await;
        let conn = match result {
            Err(mysql_async::Error::Driver(mysql_async::DriverError::NoClientSslFlagFromServer))
                if encrypted && config.tls == TlsMode::Prefer =>
            {
                Conn::new(Opts::from(options)).await
            }
            other => other,
        };
        let mut client = MysqlClient { conn: conn.map_err(trouble)?, sent: Vec::new() };
        if let Some(given) = template.and_then(|t| t.session.as_ref()) {
            if !given.is_empty() {
                let limits = format!("SET SESSION {}", given.join(", "));
                client.read(&limits).await?;
                client.sent.push(limits);
            }
            return Ok(client);
        }
        let (major, _, _) = client.conn.server_version();
        let mariadb = major >= 10 || config_says_mariadb(&mut client).await?;
        let time_limit = if mariadb {
            format!("max_statement_time={}", STATEMENT_TIMEOUT_MS / 1000)
        } else {
            format!("max_execution_time={STATEMENT_TIMEOUT_MS}")
        };
        let limits = format!(
            "SET SESSION {time_limit}, lock_wait_timeout={LOCK_TIMEOUT_S}, innodb_lock_wait_timeout={LOCK_TIMEOUT_S}, \
             transaction_read_only=1, sql_mode='', group_concat_max_len=65536"
        );
        // MariaDB knows the variable as tx_read_only before 11.1.
        if let Err(first) = client.read(&limits).await {
            if first.class != Class::MissingObject {
                return Err(first);
            }
            let older = limits.replace("transaction_read_only", "tx_read_only");
            client.read(&older).await?;
            client.sent.push(older);
        }
        client.sent.push(limits);
        if mariadb {
            // A node of Galera that lost its cluster still tells what it knows; other servers do not have the setting.
            match client.read(DIRTY_READS).await {
                Err(trouble) if !matches!(trouble.class, Class::MissingObject | Class::MissingRight) => {
                    return Err(trouble);
                }
                _ => client.sent.push(DIRTY_READS.into()),
            }
        }
        Ok(client)
    }

    /// What was sent while connecting, to be told apart from what others run.
    pub fn sent(&self) -> &[String] {
        &self.sent
    }

    /// Sends a query text.
    pub async fn read(&mut self, sql: &str) -> Result<Reading, Trouble> {
        let mut result = self.conn.query_iter(sql).await.map_err(trouble)?;
        let mut reading = Reading {
            columns: result.columns_ref().iter().map(|c| c.name_str().into_owned()).collect(),
            rows: Vec::new(),
        };
        while let Some(row) = result.next().await.map_err(trouble)? {
            reading.rows.push(row.unwrap().into_iter().map(cell).collect());
        }
        result.drop_result().await.map_err(trouble)?;
        Ok(reading)
    }

    /// Ends the session.
    pub async fn close(self) {
        let _ = self.conn.disconnect().await;
    }
}

async fn config_says_mariadb(client: &mut MysqlClient) -> Result<bool, Trouble> {
    const SQL: &str = "SELECT VERSION() AS version";
    client.sent.push(SQL.into());
    let reading = client.read(SQL).await?;
    Ok(reading.first().and_then(|r| r.text("version")).is_some_and(|v| v.contains("MariaDB")))
}

/// Answers to plain text queries are text; the rest is written as the server would.
fn cell(value: Value) -> Option<String> {
    match value {
        Value::NULL => None,
        Value::Bytes(bytes) => {
            Some(String::from_utf8(bytes).unwrap_or_else(|e| String::from_utf8_lossy(e.as_bytes()).into_owned()))
        }
        Value::Int(v) => Some(v.to_string()),
        Value::UInt(v) => Some(v.to_string()),
        Value::Float(v) => Some(v.to_string()),
        Value::Double(v) => Some(v.to_string()),
        other => Some(other.as_sql(true)),
    }
}

fn trouble(error: mysql_async::Error) -> Trouble {
    match error {
        mysql_async::Error::Server(server) => {
            Trouble { class: Class::of_errno(server.code), text: server.message, code: Some(server.code.to_string()) }
        }
        other => Trouble::new(Class::TargetUnreachable, other.to_string()),
    }
}

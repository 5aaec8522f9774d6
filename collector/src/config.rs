//! The configuration: parsed raw, then checked into values that can't be wrong any more.
//!
//! Nothing is opened here but the files of templates. An error names file, line and field, and says what is allowed.

mod check;
mod check_kafka;
pub mod raw;
mod scrape;

use std::{
    fmt, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

pub(crate) use check::Place;
use proto::{Labels, kafka::Connection};
pub(crate) use raw::Text;
pub use scrape::{HistogramParts, Records, ScrapeAccess, ScrapeConfig, ScrapeLimits, ScrapeSource, ScrapeTls, Speech};

use crate::databases::{template::Template, templates::Templates};

/// Smallest spool, bytes: room for one segment of every class.
pub const SPOOL_BYTES_MIN: u64 = 16 << 20;
/// Spool without a setting, bytes.
pub const SPOOL_BYTES_DEFAULT: u64 = 512 << 20;
/// Most databases one collector watches.
pub const DATABASES_MAX: usize = 256;
/// Shortest interval of anything.
pub const INTERVAL_MIN: Duration = Duration::from_secs(1);
/// Longest interval of anything.
pub const INTERVAL_MAX: Duration = Duration::from_secs(24 * 3600);

/// Smallest share of time that may be allowed to queries.
pub const TIME_BUDGET_MIN: f64 = 0.001;
/// Share of time allowed to queries without a setting.
pub const TIME_BUDGET_DEFAULT: f64 = 0.1;

/// A checked configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where to send to.
    pub destination: Destination,
    /// The collector's id; `None`: the one kept in the data directory.
    pub id: Option<Arc<str>>,
    /// Whose data.
    pub tenant: Arc<str>,
    /// Labels put on every batch.
    pub labels: Labels,
    /// Where spool and positions are kept.
    pub data_dir: PathBuf,
    /// Most bytes the spool keeps on disk.
    pub spool_bytes_max: u64,
    /// Host metrics; `None`: off.
    pub host: Option<HostConfig>,
    /// Databases to watch.
    pub databases: Vec<DatabaseConfig>,
    /// Log files beside those of the databases.
    pub logs: Vec<LogConfig>,
    /// Logs in systemd's journal.
    pub journals: Vec<JournalConfig>,
    /// Pages of metrics to scrape.
    pub scrapes: Vec<ScrapeConfig>,
}

/// Where to send to.
#[derive(Clone, Debug, PartialEq)]
pub enum Destination {
    /// The server itself.
    Grpc(ServerConfig),
    /// A topic that the server reads.
    Kafka(KafkaConfig),
}

impl Destination {
    /// Largest batch it takes, bytes.
    pub fn batch_bytes_max(&self) -> usize {
        match self {
            Destination::Grpc(_) => proto::batch::ENCODED_BYTES_MAX,
            Destination::Kafka(kafka) => kafka.value_bytes_max,
        }
    }
}

/// A topic.
#[derive(Clone, Debug, PartialEq)]
pub struct KafkaConfig {
    /// How brokers are reached.
    pub connection: Connection,
    /// Its name.
    pub topic: String,
    /// Largest batch it takes, bytes.
    pub value_bytes_max: usize,
    /// Compression of requests, beyond that of each batch.
    pub compression: Compression,
}

/// Compression of requests. Batches are zstd frames already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// None.
    None,
    /// zstd, for a broker or topic that asks for it.
    Zstd,
}

impl Compression {
    /// Kafka's word, which is also that of the config file.
    pub fn as_str(self) -> &'static str {
        match self {
            Compression::None => "none",
            Compression::Zstd => "zstd",
        }
    }
}

/// The server.
#[derive(Clone, Debug, PartialEq)]
pub struct ServerConfig {
    /// `http://host:port` or `https://host:port`.
    pub address: String,
    /// With https.
    pub tls: Option<ServerTls>,
}

/// Certificates of the way to the server.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ServerTls {
    /// PEM of the authority; `None`: the well-known ones.
    pub ca_file: Option<PathBuf>,
    /// PEM of our certificate and of its key.
    pub identity: Option<(PathBuf, PathBuf)>,
    /// Name the server's certificate must bear.
    pub server_name: Option<String>,
}

/// Host metrics.
#[derive(Clone, Debug, PartialEq)]
pub struct HostConfig {
    /// The host's name; `None`: the kernel's.
    pub instance: Option<Arc<str>>,
    /// How often.
    pub interval: Duration,
    /// Where `/proc` is mounted.
    pub proc_dir: PathBuf,
    /// Where `/sys` is mounted.
    pub sys_dir: PathBuf,
    /// Where the host's root file system is mounted.
    pub root_dir: PathBuf,
}

impl Default for HostConfig {
    fn default() -> HostConfig {
        HostConfig {
            instance: None,
            interval: Duration::from_secs(10),
            proc_dir: "/proc".into(),
            sys_dir: "/sys".into(),
            root_dir: "/".into(),
        }
    }
}

/// What speaks at the other end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Engine {
    /// PostgreSQL.
    Postgresql,
    /// MySQL and what calls itself so.
    Mysql,
    /// MariaDB.
    Mariadb,
}

impl Engine {
    /// Each with its word.
    pub const WORDS: [(&'static str, Engine); 3] =
        [("postgresql", Engine::Postgresql), ("mysql", Engine::Mysql), ("mariadb", Engine::Mariadb)];

    /// The word in `engine` columns and labels.
    pub fn as_str(self) -> &'static str {
        match self {
            Engine::Postgresql => "postgresql",
            Engine::Mysql => "mysql",
            Engine::Mariadb => "mariadb",
        }
    }

    /// The `job` label of its metrics.
    pub fn job(self) -> &'static str {
        match self {
            Engine::Postgresql => "postgres",
            Engine::Mysql | Engine::Mariadb => "mysql",
        }
    }
}

impl fmt::Display for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Where a database listens.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Address {
    /// Over the network.
    Tcp {
        /// Name or IP address.
        host: String,
        /// Port.
        port: u16,
    },
    /// A Unix socket: of PostgreSQL its directory (the port names the file in it), of MySQL the file itself (port 0).
    Socket {
        /// Directory (PostgreSQL) or file (MySQL).
        path: PathBuf,
        /// PostgreSQL's port; 0 for MySQL.
        port: u16,
    },
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Address::Tcp { host, port } => write!(f, "{host}:{port}"),
            Address::Socket { path, port: 0 } => write!(f, "{}", path.display()),
            Address::Socket { path, port } => write!(f, "{}:{port}", path.display()),
        }
    }
}

/// Where a password comes from. Its text never appears in messages.
#[derive(Clone, PartialEq, Eq)]
pub enum Password {
    /// None is sent.
    None,
    /// Written in the configuration.
    Text(String),
    /// First line of a file, read at each connect.
    File(PathBuf),
    /// An environment variable, read at each connect.
    Env(String),
}

impl Password {
    /// The password now; `Ok(None)` if none is to be sent.
    pub fn read(&self) -> io::Result<Option<String>> {
        match self {
            Password::None => Ok(None),
            Password::Text(text) => Ok(Some(text.clone())),
            Password::File(path) => {
                let text = std::fs::read_to_string(path)
                    .map_err(|e| io::Error::new(e.kind(), format!("password_file {}: {e}", path.display())))?;
                Ok(Some(text.lines().next().unwrap_or("").to_owned()))
            }
            Password::Env(name) => match std::env::var(name) {
                Ok(text) => Ok(Some(text)),
                Err(e) => Err(io::Error::new(io::ErrorKind::NotFound, format!("password_env {name}: {e}"))),
            },
        }
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Password::None => f.write_str("None"),
            Password::Text(_) => f.write_str("Text(***)"),
            Password::File(path) => write!(f, "File({})", path.display()),
            Password::Env(name) => write!(f, "Env({name})"),
        }
    }
}

/// How a connection is protected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TlsMode {
    /// Never.
    Disable,
    /// If the server offers it; its certificate is not checked.
    Prefer,
    /// Always; the certificate is not checked.
    Require,
    /// Always; certificate and name are checked, against this PEM file or the well-known authorities.
    Verify(Option<PathBuf>),
}

/// Names to take and to leave; `*` stands for any run of characters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NameFilter {
    /// Take these; empty: all.
    pub include: Vec<String>,
    /// Never these.
    pub exclude: Vec<String>,
}

impl NameFilter {
    /// Whether a name passes.
    pub fn allows(&self, name: &str) -> bool {
        let any = |patterns: &[String]| patterns.iter().any(|p| name_matches(p, name));
        (self.include.is_empty() || any(&self.include)) && !any(&self.exclude)
    }
}

/// Whether a name matches a pattern in which `*` stands for any run of characters.
pub fn name_matches(pattern: &str, name: &str) -> bool {
    let Some((head, mut rest)) = pattern.split_once('*') else { return pattern == name };
    let Some(mut name) = name.strip_prefix(head) else { return false };
    while let Some((part, after)) = rest.split_once('*') {
        let Some(at) = name.find(part) else { return false };
        name = &name[at + part.len()..];
        rest = after;
    }
    name.ends_with(rest)
}

/// How often what is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Intervals {
    /// Counters and gauges.
    pub metrics: Duration,
    /// Sessions, waits, blockers.
    pub activity: Duration,
    /// Statement statistics.
    pub statements: Duration,
    /// Tables, indexes, settings.
    pub objects: Duration,
}

impl Default for Intervals {
    fn default() -> Intervals {
        Intervals {
            metrics: Duration::from_secs(10),
            activity: Duration::from_secs(5),
            statements: Duration::from_secs(60),
            objects: Duration::from_secs(600),
        }
    }
}

/// What to do about a database's own logs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogChoice {
    /// Read the files the server says it writes, if they are here and readable.
    Auto,
    /// Leave them.
    Off,
    /// Read these; the last component may hold `*`.
    Files(Vec<PathBuf>),
}

/// Values that the configuration lets leave this host, kind by kind; none by default. Credentials never do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unmasked {
    /// Literals of statements, and what servers quote in messages. Plans stay masked.
    pub literals: bool,
    /// Parameters of prepared statements.
    pub parameters: bool,
    /// Values of rows: `Key (id)=(1)`, failing rows, lines of COPY, duplicate entries, InnoDB's dumps.
    pub row_values: bool,
}

/// A database instance to watch.
#[derive(Clone, Debug, PartialEq)]
pub struct DatabaseConfig {
    /// Its name; `None`: the server's own id with its address.
    pub instance: Option<Arc<str>>,
    /// What speaks there.
    pub engine: Engine,
    /// The template it is read by; `None`: that of what answers.
    pub template: Option<Arc<Template>>,
    /// Every template there is.
    pub templates: Arc<Templates>,
    /// Where.
    pub address: Address,
    /// Role or account.
    pub user: String,
    /// Its password.
    pub password: Password,
    /// Database to connect to first; `None`: the engine's usual one.
    pub database: Option<String>,
    /// Which databases of the instance to visit.
    pub databases: NameFilter,
    /// Protection of the connection.
    pub tls: TlsMode,
    /// The distributed database it is a part of.
    pub cluster: Option<Arc<str>>,
    /// Its shard there.
    pub shard: Option<Arc<str>>,
    /// Its configured role; the server's own word is reported beside it.
    pub role: Option<Arc<str>>,
    /// production, test ….
    pub environment: Option<Arc<str>>,
    /// How often what is read.
    pub intervals: Intervals,
    /// Most of the time that our queries may take there: 0.1 is 100 ms of each second.
    pub time_budget: f64,
    /// Its logs.
    pub logs: LogChoice,
    /// Values of its statements and logs that stay.
    pub unmasked: Unmasked,
}

impl DatabaseConfig {
    /// A database with every setting but these at its default.
    pub fn new(engine: Engine, address: Address, user: &str) -> DatabaseConfig {
        DatabaseConfig {
            instance: None,
            engine,
            template: None,
            templates: Templates::shipped(),
            address,
            user: user.into(),
            password: Password::None,
            database: None,
            databases: NameFilter::default(),
            tls: TlsMode::Prefer,
            cluster: None,
            shard: None,
            role: None,
            environment: None,
            intervals: Intervals::default(),
            time_budget: TIME_BUDGET_DEFAULT,
            logs: LogChoice::Auto,
            unmasked: Unmasked::default(),
        }
    }

    /// The name to use in messages before the server told its own id.
    pub fn display_name(&self) -> String {
        self.instance.as_deref().map_or_else(|| self.address.to_string(), str::to_owned)
    }
}

/// How a log is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// Found out from the file's name and first records.
    Auto,
    /// PostgreSQL's stderr with this `log_line_prefix`; `None`: found out from the records.
    Stderr(Option<String>),
    /// PostgreSQL's CSV.
    Csvlog,
    /// PostgreSQL's JSON (15 and later).
    Jsonlog,
    /// The error log of MySQL or MariaDB; of a file that ends in .json, MySQL's JSON.
    ErrorLog,
    /// Their slow log.
    SlowLog,
}

/// What is made of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogRows {
    /// A row of `logs` for each record.
    Records,
    /// A row of `statement_samples` for each execution it tells of.
    Executions,
}

/// Where to begin in a file never read before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogStart {
    /// At its end: history is left alone.
    End,
    /// At its first byte.
    Beginning,
}

/// Log files to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogConfig {
    /// Path; the last component may hold `*`.
    pub path: PathBuf,
    /// Whose log it is.
    pub instance: Arc<str>,
    /// What writes it.
    pub engine: Engine,
    /// How.
    pub format: LogFormat,
    /// Where to begin in files never read before.
    pub start: LogStart,
    /// What is made of it.
    pub rows: LogRows,
    /// Values that stay.
    pub unmasked: Unmasked,
}

/// A part of systemd's journal to read as a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JournalConfig {
    /// Whose lines.
    pub matches: JournalMatch,
    /// A journal of its own, by namespace; `None`: the system's.
    pub namespace: Option<String>,
    /// What is made of them; its path is the name of the stream, `journal:` and the match.
    pub log: LogConfig,
}

/// Which lines of the journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JournalMatch {
    /// Those of a unit of systemd.
    Unit(String),
    /// Those with this SYSLOG_IDENTIFIER.
    Identifier(String),
}

/// What is wrong with a configuration, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file}:{line}:{column}: {message}")]
pub struct ConfigError {
    /// The file as it was named.
    pub file: String,
    /// Line, from 1; 0 if it has none.
    pub line: u64,
    /// Column, from 1; 0 if it has none.
    pub column: u64,
    /// Field and what is allowed.
    pub message: String,
}

impl Config {
    /// Reads and checks a file.
    pub fn load(path: &Path) -> Result<Config, ConfigError> {
        let file = path.display().to_string();
        let text = std::fs::read_to_string(path).map_err(|e| ConfigError {
            file: file.clone(),
            line: 0,
            column: 0,
            message: e.to_string(),
        })?;
        Config::parse(&file, &text)
    }

    /// Checks a text; `file` is its name in errors.
    pub fn parse(file: &str, text: &str) -> Result<Config, ConfigError> {
        check::parse(file, text)
    }
}

#[cfg(test)]
#[path = "config/tests.rs"]
mod tests;

//! The command line of `tidewatch`.

use std::{net::SocketAddr, path::PathBuf};

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::config::Overrides;

/// Observability for databases: metrics, statements, plans, sessions and logs in one store, with alerts that bring their evidence.
#[derive(Debug, Parser)]
#[command(name = "tidewatch", version)]
pub struct Cli {
    /// What is logged: error, warn, info, debug, or filters like storage=debug.
    #[arg(long, global = true, value_name = "FILTER", default_value = "info", env = "TIDEWATCH_LOG")]
    pub log: String,
    /// Log as JSON, one object a line.
    #[arg(long, global = true)]
    pub log_json: bool,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Runs the server.
    Serve {
        /// Configuration file (YAML).
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
        /// What goes over the file.
        #[command(flatten)]
        ports: Ports,
    },
    /// Runs server and collector on this host without config: finds its databases and watches them.
    Up {
        /// The server's configuration file (YAML), for receivers and limits; none is needed.
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
        /// Seconds between two readings of statement statistics.
        #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(5..=3_600))]
        statements_every: Option<u64>,
        /// What goes over the defaults; data goes to ./tidewatch-data.
        #[command(flatten)]
        ports: Ports,
    },
    /// Checks files without running anything.
    Check {
        /// What to check.
        #[command(subcommand)]
        what: Check,
    },
    /// Runs tests without a server.
    Test {
        /// What to test.
        #[command(subcommand)]
        what: Test,
    },
    /// Messages to receivers.
    Notify {
        /// What to do.
        #[command(subcommand)]
        what: Notify,
    },
    /// Looks at what a store has on disk.
    Storage {
        /// What to do.
        #[command(subcommand)]
        what: StorageWhat,
    },
    /// Has a running server take a snapshot of its store (needs `http: {admin_api: true}`); prints its directory.
    Snapshot {
        /// The server.
        #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:7400", env = "TIDEWATCH_SERVER")]
        server: String,
    },
    /// Makes a new store out of a snapshot, after checking all of it.
    Restore {
        /// The snapshot's directory.
        #[arg(value_name = "DIR")]
        from: PathBuf,
        /// Where to.
        #[command(flatten)]
        to: StoreAt,
    },
    /// Asks a running server why somebody was, or was not, told of an alert.
    Why {
        /// The alert's id, or the name of its rule.
        alert: String,
        /// The server.
        #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:7400", env = "TIDEWATCH_SERVER")]
        server: String,
        /// Answers in Chinese.
        #[arg(long)]
        zh: bool,
    },
    /// Asks a running server.
    Query {
        /// In which language.
        #[command(subcommand)]
        language: Language,
        /// The server.
        #[arg(
            long,
            global = true,
            value_name = "URL",
            default_value = "http://127.0.0.1:7400",
            env = "TIDEWATCH_SERVER"
        )]
        server: String,
        /// How the answer is written.
        #[arg(short, long, global = true, value_enum, default_value_t = Output::Table)]
        output: Output,
    },
}

/// What goes over the file.
#[derive(Clone, Debug, Args)]
pub struct Ports {
    /// Where everything is kept.
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// HTTP address; port 0 takes a free one.
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub http_listen: Option<SocketAddr>,
    /// Address for collectors; port 0 takes a free one.
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub grpc_listen: Option<SocketAddr>,
    /// Takes the object store over from the server it belongs to, which must be gone for good.
    #[arg(long)]
    pub take_over: bool,
}

impl From<Ports> for Overrides {
    fn from(ports: Ports) -> Overrides {
        Overrides {
            data_dir: ports.data_dir,
            http_listen: ports.http_listen,
            grpc_listen: ports.grpc_listen,
            take_over: ports.take_over,
        }
    }
}

/// Which store.
#[derive(Clone, Debug, Args)]
pub struct StoreAt {
    /// The server's configuration file (YAML).
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Its data directory; goes over the file.
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
}

/// What to do with a store on disk.
#[derive(Debug, Subcommand)]
pub enum StorageWhat {
    /// Reads manifest, parts and log of a store that no server runs on, or of a snapshot, and says what is damaged; fails
    /// if anything is.
    Verify {
        /// Which store.
        #[command(flatten)]
        at: StoreAt,
    },
    /// Says what files of parts hold, what their columns cost, and whether they are sound.
    Inspect {
        /// The files.
        #[arg(required = true, value_name = "PART")]
        parts: Vec<PathBuf>,
    },
}

/// What to check.
#[derive(Debug, Subcommand)]
pub enum Check {
    /// A server's configuration file and the rule files it names.
    Config {
        /// The file.
        file: PathBuf,
    },
    /// Rule files.
    Rules {
        /// The files; builtin:NAME is one of the program's own.
        #[arg(required = true, value_name = "FILE")]
        files: Vec<String>,
    },
}

/// What to test.
#[derive(Debug, Subcommand)]
pub enum Test {
    /// Unit tests of rules, in promtool's format.
    Rules {
        /// Files of tests.
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
        /// Only test groups whose name this regular expression finds something in; may be repeated.
        #[arg(long, value_name = "REGEX")]
        run: Vec<String>,
        /// Show what differs, line by line.
        #[arg(long)]
        diff: bool,
        /// Write a JUnit report to this file.
        #[arg(long, value_name = "FILE")]
        junit: Option<PathBuf>,
    },
}

/// What to do with messages.
#[derive(Debug, Subcommand)]
pub enum Notify {
    /// Sends a test message through every channel of a receiver and says what came of each; fails if any did.
    Test {
        /// The receiver's name.
        receiver: String,
        /// Configuration file (YAML) that holds the receiver.
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
    },
}

/// A question's language.
#[derive(Debug, Subcommand)]
pub enum Language {
    /// PromQL: at one time, or over a range.
    Promql {
        /// The query.
        query: String,
        /// Evaluate over this long, ending at `--time`.
        #[arg(long, value_name = "DURATION")]
        range: Option<String>,
        /// Distance of evaluations in a range.
        #[arg(long, value_name = "DURATION", default_value = "15s")]
        step: String,
        /// When: seconds since 1970 or RFC 3339; now if left out.
        #[arg(long, value_name = "TIME")]
        time: Option<String>,
    },
    /// SQL over every table.
    Sql {
        /// The query.
        query: String,
    },
}

/// How an answer is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// Columns for people.
    Table,
    /// The server's JSON.
    Json,
    /// Comma-separated values with a header.
    Csv,
}

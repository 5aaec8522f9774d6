//! One log record as its server wrote it, before masking.

/// A record in parts. Nothing in it is masked yet.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Record {
    /// Its own time, milliseconds; `None` if it bears none.
    pub ts_ms: Option<i64>,
    /// debug, info, notice, warning, error, fatal or panic.
    pub level: Level,
    /// The message, continuation lines included.
    pub message: String,
    /// What follows it, in order: DETAIL, HINT, CONTEXT, STATEMENT, QUERY ….
    pub extras: Vec<(Extra, String)>,
    /// Backend or connection id.
    pub pid: Option<i64>,
    /// Database.
    pub database: Option<String>,
    /// Role or account.
    pub user: Option<String>,
    /// application_name.
    pub application: Option<String>,
    /// Address of the client.
    pub client: Option<String>,
    /// SQLSTATE or error number.
    pub code: Option<String>,
    /// Kind of process or part of the server that wrote it.
    pub component: Option<String>,
    /// Nothing in it says where a record begins: it may be the middle of one.
    pub is_unread: bool,
}

/// How bad it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// For developers.
    Debug,
    /// Usual course.
    #[default]
    Info,
    /// Worth knowing.
    Notice,
    /// May become trouble.
    Warning,
    /// A statement or a part failed.
    Error,
    /// A session ended.
    Fatal,
    /// The server ended.
    Panic,
}

impl Level {
    /// The word in `logs.level`.
    pub fn as_str(self) -> &'static str {
        match self {
            Level::Debug => "debug",
            Level::Info => "info",
            Level::Notice => "notice",
            Level::Warning => "warning",
            Level::Error => "error",
            Level::Fatal => "fatal",
            Level::Panic => "panic",
        }
    }

    /// From PostgreSQL's word.
    pub fn of_postgresql(word: &str) -> Option<Level> {
        Some(match word {
            "LOG" | "INFO" => Level::Info,
            "NOTICE" => Level::Notice,
            "WARNING" => Level::Warning,
            "ERROR" => Level::Error,
            "FATAL" => Level::Fatal,
            "PANIC" => Level::Panic,
            _ if word.starts_with("DEBUG") => Level::Debug,
            _ => return None,
        })
    }

    /// From MySQL's or MariaDB's word.
    pub fn of_mysql(word: &str) -> Option<Level> {
        Some(match word {
            "System" => Level::Info,
            "Note" => Level::Notice,
            "Warning" => Level::Warning,
            "ERROR" | "Error" => Level::Error,
            _ => return None,
        })
    }
}

/// A part that follows the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extra {
    /// More of what happened.
    Detail,
    /// What to do.
    Hint,
    /// Where in the server's work.
    Context,
    /// The client's statement.
    Statement,
    /// A statement the server itself made.
    Query,
    /// Where in the server's source.
    Location,
}

impl Extra {
    /// From PostgreSQL's word.
    pub fn from_word(word: &str) -> Option<Extra> {
        Some(match word {
            "DETAIL" => Extra::Detail,
            "HINT" => Extra::Hint,
            "CONTEXT" => Extra::Context,
            "STATEMENT" => Extra::Statement,
            "QUERY" => Extra::Query,
            "LOCATION" | "BACKTRACE" => Extra::Location,
            _ => return None,
        })
    }

    /// PostgreSQL's word.
    pub fn word(self) -> &'static str {
        match self {
            Extra::Detail => "DETAIL",
            Extra::Hint => "HINT",
            Extra::Context => "CONTEXT",
            Extra::Statement => "STATEMENT",
            Extra::Query => "QUERY",
            Extra::Location => "LOCATION",
        }
    }
}

/// SQLSTATE of what PL/pgSQL's RAISE EXCEPTION throws, unless it names another.
const RAISED: &str = "P0001";

impl Record {
    /// A record of text that can't be taken apart.
    pub fn unread(raw: &str) -> Record {
        Record { message: raw.trim_end().into(), is_unread: true, ..Record::default() }
    }

    /// Whether its message is a text of the user's own code.
    pub fn is_raised(&self) -> bool {
        let by_code = |(extra, text): &(Extra, String)| *extra == Extra::Context && text.contains(" at RAISE");
        self.code.as_deref() == Some(RAISED) || self.extras.iter().any(by_code)
    }

    /// The statement it names, if any.
    pub fn statement(&self) -> Option<&str> {
        self.extras.iter().find(|(extra, _)| *extra == Extra::Statement).map(|(_, text)| text.as_str())
    }
}

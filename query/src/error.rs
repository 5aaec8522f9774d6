//! Why a question got no answer, in the kinds that the HTTP API and a caller can act on.

use crate::promql;

/// What a caller can do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// The question is wrong: mend it.
    BadData,
    /// The question can't be answered, or costs more than a question may: narrow it.
    Execution,
    /// It ran longer than it may: narrow it or allow more time.
    Timeout,
    /// It was stopped because nobody waits for the answer.
    Canceled,
    /// Our fault, or the disk's.
    Internal,
}

/// A question without an answer.
#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    /// PromQL: wording and position as Prometheus gives them.
    #[error("{0}")]
    Promql(#[from] promql::QueryError),
    /// SQL: DataFusion's words.
    #[error("{message}")]
    Sql {
        /// Whose fault it is.
        kind: ErrorKind,
        /// What is wrong, with position where the parser knows it.
        message: String,
    },
    /// The text is longer than questions may be.
    #[error("query has {found} bytes, more than the {max} allowed")]
    TooLong {
        /// Its length.
        found: usize,
        /// The bound.
        max: usize,
    },
    /// It ran longer than it may.
    #[error("query timed out after {0} ms")]
    Timeout(u64),
    /// Our own mistake.
    #[error("query failed: {0}")]
    Internal(String),
}

impl QueryError {
    /// Whose fault it is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            QueryError::Promql(error) => match error.api_type() {
                "bad_data" => ErrorKind::BadData,
                "timeout" => ErrorKind::Timeout,
                "canceled" => ErrorKind::Canceled,
                "internal" => ErrorKind::Internal,
                _ => ErrorKind::Execution,
            },
            QueryError::Sql { kind, .. } => *kind,
            QueryError::TooLong { .. } => ErrorKind::BadData,
            QueryError::Timeout(_) => ErrorKind::Timeout,
            QueryError::Internal(_) => ErrorKind::Internal,
        }
    }
}
